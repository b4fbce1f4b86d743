//! What became of a transaction.

use crate::codec::{Decode, DecodeError, Encode, Reader};
use crate::reject::Reject;
use crate::transaction::TransactionId;

/// The result of executing one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It took effect.
    Applied,
    /// It changed nothing.
    Rejected(Reject),
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
            Self::Rejected(reject) => reject.encode(out),
        }
    }
}

impl Decode for Outcome {
    const ENCODED_LEN_MIN: usize = 2;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u16::decode(reader)? {
            0 => Ok(Self::Applied),
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
