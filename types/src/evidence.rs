//! Proofs that a validator broke the protocol: what blocks carry against their authors' peers (CONSENSUS.md §0.6, §2.3).
//!
//! A proof stands for itself: whoever has the committee's keys and the chain's identity can check it, with no block at hand.
//! Deliberately absent: signatures of the accused statements, which the caller verifies with the committee's keys.

use crate::block::{BlockBody, BlockHeader, Payload, RoundStatement};
use crate::codec::{Decode, DecodeError, Encode, Reader, put_bytes};
use crate::digest::{ChainId, Digest};
use crate::epoch_key::StatementSignature;
use crate::merkle::MerkleProof;
use crate::transaction::Transaction;
use crate::units::AuthorityIndex;
use bytes::Bytes;

/// Largest transaction that a proof carries: no genesis allows a larger one.
pub const EVIDENCE_TRANSACTION_BYTES_MAX: usize = 64 << 10;

/// Proof that a validator broke the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Two signed statements of one author, epoch and round with different digests.
    Equivocation {
        /// The statement with the smaller digest.
        first: (RoundStatement, StatementSignature),
        /// The other one.
        second: (RoundStatement, StatementSignature),
    },
    /// A signed block with a transaction that its author could have seen to be invalid.
    InvalidTransaction(InvalidTransaction),
}

/// A transaction that does not decode or whose signature does not verify, and the way from it to its author's signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidTransaction {
    /// What the author signed, and his signature.
    signed: (RoundStatement, StatementSignature),
    /// The block's body, its own proofs of misbehaviour left out.
    body: BlockBody,
    /// Digest of what was left out.
    misbehaviour: Digest,
    /// The transaction's raw bytes.
    transaction: Bytes,
    /// Its place in the payload.
    proof: MerkleProof,
}

impl InvalidTransaction {
    /// The proof about the transaction at `index` of a block; `None` where there is none or it is larger than
    /// [`EVIDENCE_TRANSACTION_BYTES_MAX`]. Whether the transaction is invalid is the caller's finding.
    pub fn of(header: &BlockHeader, payload: &Payload, index: usize) -> Option<Self> {
        let transaction = payload.transactions().nth(index)?;
        if transaction.len() > EVIDENCE_TRANSACTION_BYTES_MAX {
            return None;
        }
        let mut body = header.body().clone();
        let misbehaviour = body.misbehaviour_digest();
        body.misbehaviour = Vec::new();
        Some(Self {
            signed: (*header.statement(), header.signature().clone()),
            body,
            misbehaviour,
            // A copy: the slice would keep the whole payload in memory.
            transaction: Bytes::copy_from_slice(&transaction),
            proof: payload.prove(index)?,
        })
    }

    /// Whether the statement's author put this transaction into his block.
    pub fn is_of_its_block(&self) -> bool {
        let payload = &self.body.payload;
        self.signed.0.body_digest == self.body.digest_with(&self.misbehaviour)
            && self.proof.count == u64::from(payload.count)
            && self.proof.verify(&self.transaction, &payload.root)
    }

    /// Whether the transaction's bytes are no transaction of this ledger, or its signature does not verify: the verdict of
    /// the reference verifier, which every engine shares.
    pub fn is_invalid(&self, chain: &ChainId) -> bool {
        Transaction::parse(chain, self.transaction.clone()).map_or(true, |transaction| transaction.verify().is_err())
    }
}

impl Evidence {
    /// Who broke it.
    pub fn culprit(&self) -> AuthorityIndex {
        match self {
            Self::Equivocation { first, .. } => first.0.author,
            Self::InvalidTransaction(proof) => proof.signed.0.author,
        }
    }

    /// The statements that the culprit must have signed, for the proof to prove anything.
    pub fn signed(&self) -> Vec<&(RoundStatement, StatementSignature)> {
        match self {
            Self::Equivocation { first, second } => vec![first, second],
            Self::InvalidTransaction(proof) => vec![&proof.signed],
        }
    }
}

impl Evidence {
    const EQUIVOCATION: u8 = 1;
    const INVALID_TRANSACTION: u8 = 2;
}

impl Encode for Evidence {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Equivocation { first, second } => {
                out.push(Self::EQUIVOCATION);
                put_signed(out, first);
                put_signed(out, second);
            }
            Self::InvalidTransaction(proof) => {
                out.push(Self::INVALID_TRANSACTION);
                put_signed(out, &proof.signed);
                proof.body.encode_content(out);
                proof.misbehaviour.encode(out);
                put_bytes(out, &proof.transaction);
                proof.proof.encode(out);
            }
        }
    }
}

impl Decode for Evidence {
    const ENCODED_LEN_MIN: usize = 1 + RoundStatement::ENCODED_LEN_MIN + StatementSignature::ENCODED_LEN_MIN;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(reader)? {
            Self::EQUIVOCATION => {
                let (first, second) = (signed(reader)?, signed(reader)?);
                let ordered = first.0.digest() < second.0.digest();
                if ordered {
                    Ok(Self::Equivocation { first, second })
                } else {
                    Err(DecodeError::NotCanonical { field: "evidence" })
                }
            }
            Self::INVALID_TRANSACTION => Ok(Self::InvalidTransaction(InvalidTransaction {
                signed: signed(reader)?,
                body: BlockBody::decode_content(reader)?,
                misbehaviour: Digest::decode(reader)?,
                transaction: Bytes::copy_from_slice(
                    reader.bytes("invalid transaction", EVIDENCE_TRANSACTION_BYTES_MAX)?,
                ),
                proof: MerkleProof::decode(reader)?,
            })),
            tag => Err(DecodeError::UnknownTag { field: "evidence", value: tag.into() }),
        }
    }
}

fn put_signed(out: &mut Vec<u8>, (statement, signature): &(RoundStatement, StatementSignature)) {
    statement.encode(out);
    signature.encode(out);
}

fn signed(reader: &mut Reader<'_>) -> Result<(RoundStatement, StatementSignature), DecodeError> {
    Ok((RoundStatement::decode(reader)?, StatementSignature::decode(reader)?))
}
