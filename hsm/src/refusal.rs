//! What the signer will never sign, with the digests that prove why.

use std::fmt;
use thiserror::Error;
use types::codec::{Decode, DecodeError, Encode, Reader};
use types::{ChainId, Digest, Epoch, Height, Round};

/// A place in the order of rounds, over all epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// The epoch.
    pub epoch: Epoch,
    /// The round in it.
    pub round: Round,
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {} round {}", self.epoch, self.round)
    }
}

impl Encode for Slot {
    fn encode(&self, out: &mut Vec<u8>) {
        self.epoch.encode(out);
        self.round.encode(out);
    }
}

impl Decode for Slot {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { epoch: Epoch::decode(reader)?, round: Round::decode(reader)? })
    }
}

/// Why a request is refused for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Another statement was approved for the round.
    #[error("{slot} has {approved}, asked for {asked}")]
    SecondStatement {
        /// The round.
        slot: Slot,
        /// Digest of the statement that was approved.
        approved: Digest,
        /// Digest of the statement that was asked for.
        asked: Digest,
    },
    /// The round is at or below the highest approved one, and not among those still remembered.
    #[error("{slot} is below the mark at {mark}; asked for {asked}")]
    BelowMark {
        /// The round that was asked for.
        slot: Slot,
        /// The highest approved round.
        mark: Slot,
        /// Digest of the statement at the mark.
        approved: Digest,
        /// Digest of the statement that was asked for.
        asked: Digest,
    },
    /// The file may be a copy, or its signer crashed: what was signed below the round is not known here.
    #[error(
        "{slot} may have been signed for by this key elsewhere or before a crash; it signs from {from} on; asked for {asked}"
    )]
    Fenced {
        /// The round that was asked for.
        slot: Slot,
        /// The first round that is signed for.
        from: Slot,
        /// Digest of the statement that was asked for.
        asked: Digest,
    },
    /// Another header was voted for at the height.
    #[error("height {height} has a vote for {voted}, asked to vote for {asked}")]
    SecondHeader {
        /// The height.
        height: Height,
        /// The header voted for.
        voted: Digest,
        /// The header asked for.
        asked: Digest,
    },
    /// The height is so low that the vote for it is no longer remembered.
    #[error("height {height} is not above {floor}, the last one forgotten")]
    ForgottenHeight {
        /// The height.
        height: Height,
        /// Highest height that was forgotten.
        floor: Height,
    },
    /// The statement is for another ledger.
    #[error("statement for chain {asked}, this signer is for {ours}")]
    WrongChain {
        /// The signer's ledger.
        ours: ChainId,
        /// The statement's.
        asked: ChainId,
    },
    /// The statement is for an epoch before those that this signer signs in.
    #[error("statement for epoch {asked}, this signer signs from epoch {ours} on")]
    WrongEpoch {
        /// The signer's first epoch.
        ours: Epoch,
        /// The statement's.
        asked: Epoch,
    },
    /// The statement is another validator's.
    #[error("statement of another validator")]
    WrongAuthor,
    /// The votes are not those that the statement names.
    #[error("the statement names votes {named}, these are {given}")]
    WrongVotes {
        /// Digest in the statement.
        named: Digest,
        /// Digest of the votes that came with it.
        given: Digest,
    },
    /// The bytes are not what TLS 1.3 signs in a CertificateVerify (RFC 8446 §4.4.3).
    #[error("not the content of a TLS 1.3 CertificateVerify")]
    NotAHandshake,
}

impl Encode for Refusal {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::SecondStatement { slot, approved, asked } => {
                out.push(1);
                slot.encode(out);
                approved.encode(out);
                asked.encode(out);
            }
            Self::BelowMark { slot, mark, approved, asked } => {
                out.push(2);
                slot.encode(out);
                mark.encode(out);
                approved.encode(out);
                asked.encode(out);
            }
            Self::SecondHeader { height, voted, asked } => {
                out.push(3);
                height.encode(out);
                voted.encode(out);
                asked.encode(out);
            }
            Self::ForgottenHeight { height, floor } => {
                out.push(4);
                height.encode(out);
                floor.encode(out);
            }
            Self::WrongChain { ours, asked } => {
                out.push(5);
                ours.encode(out);
                asked.encode(out);
            }
            Self::WrongEpoch { ours, asked } => {
                out.push(6);
                ours.encode(out);
                asked.encode(out);
            }
            Self::WrongAuthor => out.push(7),
            Self::WrongVotes { named, given } => {
                out.push(8);
                named.encode(out);
                given.encode(out);
            }
            Self::NotAHandshake => out.push(9),
            Self::Fenced { slot, from, asked } => {
                out.push(20);
                slot.encode(out);
                from.encode(out);
                asked.encode(out);
            }
        }
    }
}

impl Decode for Refusal {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match u8::decode(reader)? {
            1 => Self::SecondStatement {
                slot: Slot::decode(reader)?,
                approved: Digest::decode(reader)?,
                asked: Digest::decode(reader)?,
            },
            2 => Self::BelowMark {
                slot: Slot::decode(reader)?,
                mark: Slot::decode(reader)?,
                approved: Digest::decode(reader)?,
                asked: Digest::decode(reader)?,
            },
            3 => Self::SecondHeader {
                height: Height::decode(reader)?,
                voted: Digest::decode(reader)?,
                asked: Digest::decode(reader)?,
            },
            4 => Self::ForgottenHeight { height: Height::decode(reader)?, floor: Height::decode(reader)? },
            5 => Self::WrongChain { ours: ChainId::decode(reader)?, asked: ChainId::decode(reader)? },
            6 => Self::WrongEpoch { ours: Epoch::decode(reader)?, asked: Epoch::decode(reader)? },
            7 => Self::WrongAuthor,
            8 => Self::WrongVotes { named: Digest::decode(reader)?, given: Digest::decode(reader)? },
            9 => Self::NotAHandshake,
            20 => Self::Fenced {
                slot: Slot::decode(reader)?,
                from: Slot::decode(reader)?,
                asked: Digest::decode(reader)?,
            },
            tag => return Err(DecodeError::UnknownTag { field: "refusal", value: tag.into() }),
        })
    }
}
