//! The JSON of objects, grants, and what has happened to them.

use super::TransactionInfo;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use types::{
    Address, Amount, DecodeError, Digest, Grant, GrantId, Height, LedgerEvent, Object, ObjectId, StateKey, TimestampMs,
};

/// An object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectInfo {
    /// Which.
    pub object: ObjectId,
    /// Whose.
    pub owner: Address,
    /// Who created it, or what it was split off.
    pub issuer: Address,
    /// What it is made of; equal for the parts of one created object.
    pub asset: Digest,
    /// Digest of what describes it.
    pub content: Digest,
    /// Units of it.
    pub quantity: Amount,
    /// Whether its owner may hand it on.
    pub transferable: bool,
    /// Whether its owner may split it.
    pub divisible: bool,
    /// The executed height of the answer.
    pub height: Height,
}

impl ObjectInfo {
    /// An object after a height.
    pub fn new(object: ObjectId, value: &Object, height: Height) -> Self {
        let Object { owner, issuer, asset, content, quantity, rights } = *value;
        let (transferable, divisible) = (rights.transferable, rights.divisible);
        Self { object, owner, issuer, asset, content, quantity, transferable, divisible, height }
    }
}

/// A grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantInfo {
    /// Which.
    pub grant: GrantId,
    /// Who gave it.
    pub grantor: Address,
    /// Who has it.
    pub grantee: Address,
    /// On what.
    pub resource: Digest,
    /// To do what; nothing once it is revoked.
    pub rights: u32,
    /// The last moment at which it may be exercised, in milliseconds since the Unix epoch.
    pub expires: TimestampMs,
    /// Entries of its audit trail.
    pub entries: u64,
    /// Head of its audit trail, see [`types::Grant::audited`].
    pub audit: Digest,
    /// The executed height of the answer.
    pub height: Height,
}

impl GrantInfo {
    /// A grant after a height.
    pub fn new(grant: GrantId, value: &Grant, height: Height) -> Self {
        let Grant { grantor, grantee, resource, rights, expires, entries, audit } = *value;
        Self { grant, grantor, grantee, resource, rights, expires, entries, audit, height }
    }
}

/// What has a history: an object or a grant, in its text form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An object.
    Object(ObjectId),
    /// A grant.
    Grant(GrantId),
}

impl Subject {
    /// Its key in the state.
    pub fn key(&self) -> StateKey {
        match self {
            Self::Object(object) => (*object).into(),
            Self::Grant(grant) => (*grant).into(),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(object) => object.fmt(f),
            Self::Grant(grant) => grant.fmt(f),
        }
    }
}

impl FromStr for Subject {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        text.parse().map(Self::Object).or_else(|_| text.parse().map(Self::Grant))
    }
}

impl Serialize for Subject {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Subject {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A transaction with what it emitted, all of it, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsInfo {
    /// The transaction. Its receipt holds [`LedgerEvent::digest`] of the events, so that a proof of it proves them.
    pub transaction: TransactionInfo,
    /// What it emitted.
    pub events: Vec<LedgerEvent>,
}

/// Where to read a history on: behind a transaction that was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryCursor {
    /// Height of the transaction.
    pub height: Height,
    /// Its position there.
    pub index: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_reads_back_from_its_text() {
        for subject in [Subject::Object(ObjectId::from_bytes([1; 32])), Subject::Grant(GrantId::from_bytes([2; 32]))] {
            let json = serde_json::to_string(&subject).expect("text");
            assert_eq!(serde_json::from_str::<Subject>(&json).ok(), Some(subject));
        }
        assert!("stele1".parse::<Subject>().is_err());
    }

    #[test]
    fn an_event_is_an_object_that_names_its_kind() {
        let event = LedgerEvent::Burned {
            object: ObjectId::from_bytes([1; 32]),
            owner: Address::from_bytes([2; 32]),
            quantity: Amount(3),
        };
        let json = serde_json::to_value(&event).expect("JSON");
        assert_eq!((&json["event"], &json["quantity"]), (&"burned".into(), &"3".into()));
        assert_eq!(serde_json::from_value::<LedgerEvent>(json).ok(), Some(event));
    }
}
