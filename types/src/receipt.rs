//! What became of a transaction.

use crate::codec::{Decode, DecodeError, Encode, Reader};
use crate::digest::Digest;
use crate::reject::Reject;
use crate::transaction::TransactionId;

/// The result of executing one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It took effect.
    Applied,
    /// It took effect with these events: [`crate::LedgerEvent::digest`] of them.
    Emitted(Digest),
    /// It changed nothing.
    Rejected(Reject),
}

impl Outcome {
    /// In place of a reject's code, before the digest of events.
    const EMITTED: u16 = u16::MAX;

    /// Whether it took effect.
    pub fn is_applied(&self) -> bool {
        matches!(self, Self::Applied | Self::Emitted(_))
    }
}

/// Leaf of a height's receipt tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The transaction; for bytes that are no transaction, their SHA-256.
    pub transaction: TransactionId,
    /// What became of it.
    pub outcome: Outcome,
}

impl Encode for Outcome {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Applied => 0u16.encode(out),
            Self::Emitted(events) => {
                Self::EMITTED.encode(out);
                events.encode(out);
            }
            Self::Rejected(reject) => reject.encode(out),
        }
    }
}

impl Decode for Outcome {
    const ENCODED_LEN_MIN: usize = 2;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u16::decode(reader)? {
            0 => Ok(Self::Applied),
            Self::EMITTED => Digest::decode(reader).map(Self::Emitted),
            code => Reject::from_code(code)
                .map(Self::Rejected)
                .ok_or(DecodeError::UnknownTag { field: "reject", value: code.into() }),
        }
    }
}

impl Encode for Receipt {
    fn encode(&self, out: &mut Vec<u8>) {
        self.transaction.encode(out);
        self.outcome.encode(out);
    }
}

impl Decode for Receipt {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { transaction: TransactionId::decode(reader)?, outcome: Outcome::decode(reader)? })
    }
}
