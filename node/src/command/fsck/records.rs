//! Whether a record is what its kind says, and a payload what its header says. Deliberately absent: signatures, which were
//! verified before a block was logged.

use crate::records::{self, Commit, Proposal};
use bytes::Bytes;
use types::{BlockHeader, ChainId, Decode, DecodeError, Height, Payload, PayloadDescriptor};

/// It does not decode.
const UNDECODABLE: &str = "undecodable";
/// The payload is not the one that the header names.
const PAYLOAD: &str = "payload";

/// Looks at records in the order of the log.
#[derive(Debug)]
pub struct Records {
    /// Of the state, or of the first own proposal where there is no state. Headers before it is known are not decoded.
    chain: Option<ChainId>,
    last_commit: Option<Height>,
}

impl Records {
    /// Of a chain, if it is known.
    pub fn new(chain: Option<ChainId>) -> Self {
        Self { chain, last_commit: None }
    }

    /// The highest commit so far.
    pub fn last_commit(&self) -> Option<Height> {
        self.last_commit
    }

    /// Takes notice of a commit; what does not decode is a deep check's to tell.
    pub fn count(&mut self, kind: u8, payload: &[u8]) {
        if kind == records::COMMIT {
            self.look(kind, payload);
        }
    }

    /// What is wrong with a record.
    pub fn look(&mut self, kind: u8, payload: &[u8]) -> Option<&'static str> {
        match self.decode(kind, Bytes::copy_from_slice(payload)) {
            Err(_) => Some(UNDECODABLE),
            Ok(false) => Some(PAYLOAD),
            Ok(true) => None,
        }
    }

    /// Whether the payload is right, where there is one.
    fn decode(&mut self, kind: u8, record: Bytes) -> Result<bool, DecodeError> {
        match kind {
            records::PROPOSAL => {
                let (proposal, payload) = Proposal::parse(&record)?;
                let chain = *self.chain.get_or_insert(proposal.statement.chain);
                Ok(chain == proposal.statement.chain && holds(payload, &proposal.body.payload)?)
            }
            records::SIGNED => self.chain.map_or(Ok(true), |chain| BlockHeader::parse(&chain, record).map(|_| true)),
            records::BLOCK => {
                let Some(chain) = self.chain else { return Ok(true) };
                let (header, payload) = records::parse_block(&chain, &record)?;
                holds(payload, &header.body().payload)
            }
            records::COMMIT => {
                let height = Commit::from_bytes(&record)?.record.height;
                self.last_commit = self.last_commit.max(Some(height));
                Ok(true)
            }
            records::RESTORED => Ok(true),
            other => Err(DecodeError::UnknownTag { field: "record kind", value: other.into() }),
        }
    }
}

fn holds(payload: Bytes, said: &PayloadDescriptor) -> Result<bool, DecodeError> {
    Ok(Payload::parse(payload, usize::MAX)?.descriptor() == *said)
}
