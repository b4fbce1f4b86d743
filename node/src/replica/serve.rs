//! Answers to peers from the log and the state database: payloads of old blocks, and commits for nodes that were away.
//!
//! Runs on a blocking thread of the network runtime; it needs nothing of the replica.

use crate::records;
use crate::tables::{TableError, Tables};
use crate::wire::{CommitWithBlocks, CommitsResponse, HEADERS_MAX, PayloadFrame, RESPONSE_BYTES_SOFT};
use bytes::Bytes;
use std::sync::Arc;
use storage::log::{Log, LogError, LogPosition, Record};
use thiserror::Error;
use types::{BlockHeader, BlockRef, ChainId, DecodeError, Height, Payload};

/// Commits in one answer at most; an answer also ends at [`RESPONSE_BYTES_SOFT`].
const COMMITS_PER_ANSWER: u64 = 256;

/// Why an answer could not be read.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The database failed.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A record of the log does not decode.
    #[error("a record of the log does not decode: {0}")]
    Record(#[from] DecodeError),
    /// A record is not of the kind that its index says.
    #[error("the record at {0:?} is not a block")]
    NotABlock(LogPosition),
}

/// Reads blocks and commits back.
#[derive(Clone)]
pub struct Archive {
    chain: ChainId,
    log: Arc<Log>,
    tables: Tables,
}

impl Archive {
    /// Over an open log and database.
    pub fn new(chain: ChainId, log: Arc<Log>, tables: Tables) -> Self {
        Self { chain, log, tables }
    }

    /// Header and payload of the block at a place of the log. For an own proposal the header is not signed and so not
    /// there: only its payload is.
    pub fn block_at(&self, position: LogPosition) -> Result<(Option<Bytes>, Bytes), ServeError> {
        let Record { kind, payload, .. } = self.log.read(position)?;
        match kind {
            records::BLOCK => {
                let (header, payload) = records::parse_block(&self.chain, &payload)?;
                Ok((Some(header.raw().clone()), payload))
            }
            records::PROPOSAL => Ok((None, records::Proposal::parse(&payload)?.1)),
            _ => Err(ServeError::NotABlock(position)),
        }
    }

    /// The payload of the block at a place of the log. It was within the limits when it was written.
    pub fn payload_at(&self, position: LogPosition) -> Result<Payload, ServeError> {
        Ok(Payload::parse(self.block_at(position)?.1, usize::MAX)?)
    }

    /// A signed own header at a place of the log.
    pub fn signed_at(&self, position: LogPosition) -> Result<BlockHeader, ServeError> {
        let record = self.log.read(position)?;
        Ok(BlockHeader::parse(&self.chain, record.payload)?)
    }

    /// Header and payload of a committed block.
    pub fn block(&self, block: &BlockRef) -> Result<Option<(Bytes, Bytes)>, ServeError> {
        let Some(place) = self.tables.block_place(&block.digest)? else { return Ok(None) };
        let (header, payload) = self.block_at(place.block)?;
        match (header, place.signed) {
            (Some(header), _) => Ok(Some((header, payload))),
            (None, Some(signed)) => Ok(Some((self.signed_at(signed)?.raw().clone(), payload))),
            (None, None) => Ok(None),
        }
    }

    /// Headers of committed blocks.
    pub fn headers(&self, blocks: &[BlockRef]) -> Result<Vec<Bytes>, ServeError> {
        let mut found = Vec::new();
        for block in blocks.iter().take(HEADERS_MAX) {
            found.extend(self.block(block)?.map(|(header, _)| header));
        }
        Ok(found)
    }

    /// Payloads of committed blocks.
    pub fn payloads(&self, blocks: &[BlockRef]) -> Result<Vec<PayloadFrame>, ServeError> {
        let (mut found, mut bytes) = (Vec::new(), 0);
        for block in blocks {
            if let Some((_, payload)) = self.block(block)? {
                bytes += payload.len();
                found.push(PayloadFrame { block: *block, payload });
            }
            if bytes > RESPONSE_BYTES_SOFT {
                break;
            }
        }
        Ok(found)
    }

    /// Commits from a height upward, ending at one that has a certificate.
    pub fn commits(&self, from: Height) -> Result<CommitsResponse, ServeError> {
        let mut response = CommitsResponse { commits: Vec::new(), proof: None };
        let (mut certified, mut bytes) = (0, 0);
        for height in (from.0.max(1)..).take(COMMITS_PER_ANSWER as usize).map(Height) {
            let Some(record) = self.tables.commit_record(height)? else { break };
            let mut blocks = Vec::with_capacity(record.blocks.len());
            for block in &record.blocks {
                let Some((header, payload)) = self.block(block)? else { break };
                bytes += header.len() + payload.len();
                blocks.push((header, payload));
            }
            if blocks.len() < record.blocks.len() {
                break;
            }
            response.commits.push(CommitWithBlocks { record, blocks });
            if let (Some(certificate), Some(header)) = (self.tables.certificate(height)?, self.tables.header(height)?) {
                certified = response.commits.len();
                response.proof = Some((header, certificate));
                if bytes > RESPONSE_BYTES_SOFT {
                    break;
                }
            }
            // Without a certificate for many heights in a row an answer could outgrow the link's limit.
            if bytes > 2 * RESPONSE_BYTES_SOFT {
                break;
            }
        }
        response.commits.truncate(certified);
        Ok(response)
    }
}
