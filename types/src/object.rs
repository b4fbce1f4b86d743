//! The values that contracts keep: an object, and a grant with the head of its audit trail.

use crate::address::Address;
use crate::amount::Amount;
use crate::codec::{Decode, DecodeError, Encode, Reader};
use crate::digest::{Digest, Hasher};
use crate::event::LedgerEvent;
use crate::transaction::TransactionId;
use crate::units::TimestampMs;
use serde::{Deserialize, Serialize};

/// What an object allows; fixed when it is created, and shared by all its parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectRights {
    /// Whether its owner may hand it on.
    pub transferable: bool,
    /// Whether its owner may split it, and merge parts of it.
    pub divisible: bool,
}

impl Encode for ObjectRights {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.transferable) | u8::from(self.divisible) << 1);
    }
}

impl Decode for ObjectRights {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(reader)? {
            bits @ 0..=3 => Ok(Self { transferable: bits & 1 != 0, divisible: bits & 2 != 0 }),
            value => Err(DecodeError::UnknownTag { field: "object rights", value: value.into() }),
        }
    }
}

/// An asset with an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object {
    /// Who may hand it on, split, merge and burn it.
    pub owner: Address,
    /// Who created it, or what it was split off.
    pub issuer: Address,
    /// What it is made of: equal for the parts of one created object and for no others, because it is derived from the
    /// transaction that created it, which the ledger takes once. See [`Object::asset_of`].
    pub asset: Digest,
    /// Digest of whatever describes it.
    pub content: Digest,
    /// Units of it, at least one.
    pub quantity: Amount,
    /// What its owner may do.
    pub rights: ObjectRights,
}

impl Object {
    /// The asset that a step of a transaction creates.
    pub fn asset_of(transaction: &TransactionId, step: u8) -> Digest {
        Hasher::new("stele/asset/1").with_encoded(transaction).with_encoded(&step).finish()
    }
}

impl Encode for Object {
    fn encode(&self, out: &mut Vec<u8>) {
        self.owner.encode(out);
        self.issuer.encode(out);
        self.asset.encode(out);
        self.content.encode(out);
        self.quantity.encode(out);
        self.rights.encode(out);
    }
}

impl Decode for Object {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            owner: Address::decode(reader)?,
            issuer: Address::decode(reader)?,
            asset: Digest::decode(reader)?,
            content: Digest::decode(reader)?,
            quantity: Amount::decode(reader)?,
            rights: ObjectRights::decode(reader)?,
        })
    }
}

/// Leave that one account gives another on a resource. It is never removed, because its audit trail hangs on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Who gives leave, and takes it back.
    pub grantor: Address,
    /// Who has it.
    pub grantee: Address,
    /// On what: a digest whose meaning is the parties' own.
    pub resource: Digest,
    /// A set of bits whose meaning is the parties' own; none once it is revoked.
    pub rights: u32,
    /// The last moment at which it may be exercised.
    pub expires: TimestampMs,
    /// Entries of the trail: each grant, revocation and exercise is one.
    pub entries: u64,
    /// Head of the trail, which makes the list of its events checkable: see [`Grant::audited`].
    pub audit: Digest,
}

impl Grant {
    /// The head of the trail after one more entry: a digest over the head before, the transaction and the event.
    pub fn audited(before: &Digest, transaction: &TransactionId, event: &LedgerEvent) -> Digest {
        Hasher::new("stele/grant-audit/1").with_encoded(before).with_encoded(transaction).with_encoded(event).finish()
    }
}

impl Encode for Grant {
    fn encode(&self, out: &mut Vec<u8>) {
        self.grantor.encode(out);
        self.grantee.encode(out);
        self.resource.encode(out);
        self.rights.encode(out);
        self.expires.encode(out);
        self.entries.encode(out);
        self.audit.encode(out);
    }
}

impl Decode for Grant {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            grantor: Address::decode(reader)?,
            grantee: Address::decode(reader)?,
            resource: Digest::decode(reader)?,
            rights: u32::decode(reader)?,
            expires: TimestampMs::decode(reader)?,
            entries: u64::decode(reader)?,
            audit: Digest::decode(reader)?,
        })
    }
}
