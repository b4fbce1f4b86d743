//! Newtypes for the quantities of the protocol, so that a round can never be passed where a height is meant.

use crate::codec::{Decode, DecodeError, Encode, Reader};
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Encode for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                self.0.encode(out);
            }
        }

        impl Decode for $name {
            const ENCODED_LEN_MIN: usize = size_of::<$inner>();

            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                <$inner>::decode(reader).map(Self)
            }
        }
    };
}

unit! {
    /// A round of the DAG; round 0 holds the genesis blocks.
    Round(u64)
}
unit! {
    /// Position of a commit and of its ledger header; height 0 is genesis.
    Height(u64)
}
unit! {
    /// A period with one committee.
    Epoch(u64)
}
unit! {
    /// Position of a validator in its committee.
    AuthorityIndex(u16)
}
unit! {
    /// Voting weight.
    Stake(u64)
}
unit! {
    /// A partition of the state, one thread each.
    ShardId(u16)
}
unit! {
    /// Milliseconds since the Unix epoch, by a validator's clock or by BFT time (CONSENSUS.md §0.10).
    TimestampMs(u64)
}

impl Round {
    /// The round after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// This round moved down by `rounds`, stopping at 0.
    pub fn saturating_sub(self, rounds: u64) -> Self {
        Self(self.0.saturating_sub(rounds))
    }
}

impl Epoch {
    /// The epoch after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Height {
    /// The height after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl AuthorityIndex {
    /// As an index into a slice ordered as the committee is.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}
