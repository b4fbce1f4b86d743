//! Contracts as clients call them: steps that are applied all or not at all, the parties that sign, and the keys of the
//! state that the transaction declares.
//!
//! The declaration binds: a step that looks at a key that is not declared, or changes one that is declared for looking
//! alone, fails the transaction. It is what lets shards order a transaction without knowing what it does. Limits are part
//! of the encoding. Deliberately absent: what the steps do, which is the ledger's.

use crate::address::Address;
use crate::amount::Amount;
use crate::codec::{DecodeError, Reader, put_bytes, put_list, tagged};
use crate::digest::Digest;
use crate::key::PublicKey;
use crate::object::ObjectRights;
use crate::state_key::{Access, GrantId, ObjectId, StateKey};
use crate::units::TimestampMs;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most steps of a transaction.
pub const STEPS_MAX: usize = 8;
/// Most signatures of a transaction, that of the sender among them.
pub const SIGNERS_MAX: usize = 8;
/// Most keys that a transaction declares.
pub const KEYS_MAX: usize = 16;

tagged! {
    /// One thing that a transaction does. The account that it names first must be among the signers, apart from steps on
    /// objects, which the object's owner signs.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(tag = "step", rename_all = "snake_case", deny_unknown_fields)]
    Step, "step", {
        /// Moves units of the ledger's currency between accounts.
        1 Pay {
            /// Who pays, and signs.
            from: Address,
            /// Who is paid; the account is created where it does not exist.
            to: Address,
            /// Not zero.
            amount: Amount,
        },
        /// Creates the object [`ObjectId::issued`].
        2 Create {
            /// Who creates it, and signs.
            issuer: Address,
            /// Tells apart what one issuer creates.
            salt: u64,
            /// Its first owner.
            owner: Address,
            /// Units of it; not zero.
            quantity: Amount,
            /// What its owners may do.
            rights: ObjectRights,
            /// Digest of whatever describes it.
            content: Digest,
        },
        /// Gives an object to another owner.
        3 Transfer {
            /// Which; its owner signs.
            object: ObjectId,
            /// Its next owner.
            to: Address,
        },
        /// Splits units off an object into one of the same owner, [`ObjectId::part`].
        4 Split {
            /// Which; its owner signs.
            object: ObjectId,
            /// Tells apart what is split off one object.
            salt: u64,
            /// Units to split off; not zero, and fewer than there are.
            quantity: Amount,
        },
        /// Merges an object into another of the same asset and owner.
        5 Merge {
            /// The one that goes; its owner signs.
            object: ObjectId,
            /// The one that takes it in.
            into: ObjectId,
        },
        /// Removes an object.
        6 Burn {
            /// Which; its owner signs.
            object: ObjectId,
        },
        /// Gives leave, or other leave in place of what there was.
        7 Grant {
            /// Who gives it, and signs.
            grantor: Address,
            /// Who has it then.
            grantee: Address,
            /// On what.
            resource: Digest,
            /// To do what: a set of bits; not none.
            rights: u32,
            /// The last moment at which it can be used.
            expires: TimestampMs,
        },
        /// Takes leave back.
        8 Revoke {
            /// Who gave it, and signs.
            grantor: Address,
            /// Who had it.
            grantee: Address,
            /// On what.
            resource: Digest,
        },
        /// Puts on record that leave is used; refused where it is not there.
        9 Exercise {
            /// Who uses it, and signs.
            grantee: Address,
            /// Who gave it.
            grantor: Address,
            /// On what.
            resource: Digest,
            /// To do what; not nothing.
            rights: u32,
            /// Digest of whatever describes the use.
            purpose: Digest,
        },
    }
}

impl Step {
    /// The keys that the step reads or writes, where it is not refused before.
    pub fn keys(&self) -> Vec<StateKey> {
        match self {
            Self::Pay { from, to, .. } => vec![(*from).into(), (*to).into()],
            Self::Create { issuer, salt, .. } => vec![ObjectId::issued(issuer, *salt).into()],
            Self::Transfer { object, .. } | Self::Burn { object } => vec![(*object).into()],
            Self::Split { object, salt, .. } => vec![(*object).into(), ObjectId::part(object, *salt).into()],
            Self::Merge { object, into } => vec![(*object).into(), (*into).into()],
            Self::Grant { grantor, grantee, resource, .. }
            | Self::Revoke { grantor, grantee, resource }
            | Self::Exercise { grantor, grantee, resource, .. } => {
                vec![GrantId::of(grantor, grantee, resource).into()]
            }
        }
    }
}

/// The body of a transaction that calls contracts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Who signs besides the sender, in rising order of addresses, the sender not among them.
    pub cosigners: Vec<PublicKey>,
    /// Keys that the steps may touch, rising. The sender's account is looked at, so it must be among them.
    pub access: Vec<Access>,
    /// What is done, in order; at least one.
    pub steps: Vec<Step>,
    /// Free bytes, kept in the block.
    pub memo: Bytes,
}

impl Call {
    /// A call of `sender` that declares what its steps need and no more.
    pub fn new(sender: &Address, mut cosigners: Vec<PublicKey>, steps: Vec<Step>, memo: Bytes) -> Self {
        cosigners.sort_by_key(PublicKey::address);
        let mut declared = BTreeMap::from([(StateKey::from(*sender), false)]);
        declared.extend(steps.iter().flat_map(Step::keys).map(|key| (key, true)));
        let access = declared.into_iter().map(|(key, write)| Access { key, write }).collect();
        Self { cosigners, access, steps, memo }
    }

    /// Whether [`Call::decode`] would take it.
    pub(crate) fn check(&self) -> Result<(), DecodeError> {
        for (field, length, limit) in [
            ("cosigners", self.cosigners.len(), SIGNERS_MAX - 1),
            ("access", self.access.len(), KEYS_MAX),
            ("steps", self.steps.len(), STEPS_MAX),
        ] {
            if length > limit {
                return Err(DecodeError::TooLong { field, length, limit });
            }
        }
        self.check_order()
    }

    fn check_order(&self) -> Result<(), DecodeError> {
        if self.cosigners.len() > 1 {
            let addresses: Vec<_> = self.cosigners.iter().map(PublicKey::address).collect();
            if !addresses.is_sorted_by(|one, next| one < next) {
                return Err(DecodeError::NotCanonical { field: "cosigners" });
            }
        }
        if !self.access.is_sorted_by(|one, next| one.key < next.key) {
            return Err(DecodeError::NotCanonical { field: "access" });
        }
        if self.steps.is_empty() { Err(DecodeError::NotCanonical { field: "steps" }) } else { Ok(()) }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_list(out, &self.cosigners);
        put_list(out, &self.access);
        put_list(out, &self.steps);
        put_bytes(out, &self.memo);
    }

    pub(crate) fn decode(
        reader: &mut Reader<'_>,
        memo: impl FnOnce(&mut Reader<'_>) -> Result<Bytes, DecodeError>,
    ) -> Result<Self, DecodeError> {
        let call = Self {
            cosigners: reader.list("cosigners", SIGNERS_MAX - 1)?,
            access: reader.list("access", KEYS_MAX)?,
            steps: reader.list("steps", STEPS_MAX)?,
            memo: memo(reader)?,
        };
        call.check_order()?;
        Ok(call)
    }
}
