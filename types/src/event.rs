//! What contracts say that they did: typed events, whose digest stands in the receipt of their transaction.

use crate::address::Address;
use crate::amount::Amount;
use crate::codec::{DecodeError, Reader, put_list, tagged};
use crate::digest::{Digest, Hasher};
use crate::state_key::{GrantId, ObjectId, StateKey};
use crate::units::TimestampMs;
use serde::{Deserialize, Serialize};

/// Most events of one transaction: a step gives one.
pub const EVENTS_MAX: usize = crate::contract::STEPS_MAX;

tagged! {
    /// An effect of a step that was applied, with the values as they are afterwards.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(tag = "event", rename_all = "snake_case")]
    LedgerEvent, "event", {
        /// An amount was paid.
        1 Paid {
            /// Who paid.
            from: Address,
            /// Who was paid.
            to: Address,
            /// Units of the ledger's currency.
            amount: Amount,
        },
        /// An object came to be.
        2 Created {
            /// Which.
            object: ObjectId,
            /// What it is made of.
            asset: Digest,
            /// Who made it.
            issuer: Address,
            /// Whose it is.
            owner: Address,
            /// Units of it.
            quantity: Amount,
            /// Digest of what describes it.
            content: Digest,
        },
        /// An object has another owner.
        3 Transferred {
            /// Which.
            object: ObjectId,
            /// Whose it was.
            from: Address,
            /// Whose it is.
            to: Address,
            /// Units of it.
            quantity: Amount,
        },
        /// A part of an object is an object of its own.
        4 Split {
            /// What it was split off.
            object: ObjectId,
            /// The part.
            part: ObjectId,
            /// Units of the part.
            quantity: Amount,
            /// Units that are left of the object.
            left: Amount,
        },
        /// An object was merged into another of the same asset.
        5 Merged {
            /// The one that is gone.
            object: ObjectId,
            /// The one that took it in.
            into: ObjectId,
            /// Units of that one now.
            quantity: Amount,
        },
        /// An object is gone.
        6 Burned {
            /// Which.
            object: ObjectId,
            /// Whose it was.
            owner: Address,
            /// Units that it had.
            quantity: Amount,
        },
        /// An account has leave.
        7 Granted {
            /// Under which grant.
            grant: GrantId,
            /// Who gave it.
            grantor: Address,
            /// Who has it.
            grantee: Address,
            /// On what.
            resource: Digest,
            /// To do what.
            rights: u32,
            /// Until when.
            expires: TimestampMs,
        },
        /// A grant was taken back.
        8 Revoked {
            /// Which.
            grant: GrantId,
            /// What it allowed.
            rights: u32,
        },
        /// Leave was used, by whom it was given to.
        9 Exercised {
            /// Under which grant.
            grant: GrantId,
            /// What was done: rights that the grant gives.
            rights: u32,
            /// Digest of what describes the use.
            purpose: Digest,
        },
    }
}

impl LedgerEvent {
    /// What stands in the receipt of a transaction with these events.
    pub fn digest(events: &[LedgerEvent]) -> Digest {
        Hasher::new("stele/events/1").with(&Self::list_to_bytes(events)).finish()
    }

    /// The canonical encoding of the events of a transaction.
    pub fn list_to_bytes(events: &[LedgerEvent]) -> Vec<u8> {
        let mut out = Vec::new();
        put_list(&mut out, events);
        out
    }

    /// Reads [`LedgerEvent::list_to_bytes`].
    ///
    /// # Errors
    /// [`DecodeError`]; more than [`EVENTS_MAX`] events are too many.
    pub fn list_from_bytes(bytes: &[u8]) -> Result<Vec<LedgerEvent>, DecodeError> {
        let mut reader = Reader::new(bytes);
        let events = reader.list("events", EVENTS_MAX)?;
        reader.finish()?;
        Ok(events)
    }

    /// The objects and grants that it is about: under these it is found again.
    pub fn subjects(&self) -> Vec<StateKey> {
        match *self {
            Self::Paid { .. } => Vec::new(),
            Self::Created { object, .. } | Self::Transferred { object, .. } | Self::Burned { object, .. } => {
                vec![object.into()]
            }
            Self::Split { object, part, .. } => vec![object.into(), part.into()],
            Self::Merged { object, into, .. } => vec![object.into(), into.into()],
            Self::Granted { grant, .. } | Self::Revoked { grant, .. } | Self::Exercised { grant, .. } => {
                vec![grant.into()]
            }
        }
    }
}
