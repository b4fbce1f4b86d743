//! What the state of a ledger is addressed by: 32 bytes in one of a few domains, and how a transaction declares them.
//!
//! Every key is a digest or chosen by nobody, so its first bits spread the state over slots. Identifiers of objects and
//! grants are derived from what they stand for, so a client knows the keys of a transaction before it is signed.
//! Deliberately absent: values.

use crate::address::Address;
use crate::codec::{Decode, DecodeError, Encode, Reader};
use crate::digest::{Digest, Hasher};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// From its 32 bytes.
            pub fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, ":{}"), hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, ":{}…"), hex::encode(&self.0[..4]))
            }
        }

        impl FromStr for $name {
            type Err = DecodeError;

            fn from_str(text: &str) -> Result<Self, DecodeError> {
                let malformed = DecodeError::NotCanonical { field: $prefix };
                let digits = text.strip_prefix(concat!($prefix, ":")).ok_or(malformed)?;
                let mut bytes = [0; 32];
                hex::decode_to_slice(digits, &mut bytes).map_err(|_| malformed)?;
                let id = Self(bytes);
                // Digits have one spelling.
                if id.to_string() == text { Ok(id) } else { Err(malformed) }
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl Encode for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.0);
            }
        }

        impl Decode for $name {
            const ENCODED_LEN_MIN: usize = 32;

            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                reader.array().map(Self)
            }
        }
    };
}

identifier! {
    /// An object. Text form: `object:` and 64 hexadecimal digits.
    ObjectId, "object"
}

identifier! {
    /// A grant. Text form: `grant:` and 64 hexadecimal digits.
    GrantId, "grant"
}

impl ObjectId {
    /// The object that `issuer` creates under a salt: he has one object at most under each.
    pub fn issued(issuer: &Address, salt: u64) -> Self {
        Self(*Hasher::new("stele/object/1").with_encoded(issuer).with_encoded(&salt).finish().as_bytes())
    }

    /// What is split off `whole` under a salt.
    pub fn part(whole: &ObjectId, salt: u64) -> Self {
        Self(*Hasher::new("stele/object-part/1").with_encoded(whole).with_encoded(&salt).finish().as_bytes())
    }
}

impl GrantId {
    /// What `grantor` has granted `grantee` on a resource: one grant, however often it is changed.
    pub fn of(grantor: &Address, grantee: &Address, resource: &Digest) -> Self {
        let hasher = Hasher::new("stele/grant/1").with_encoded(grantor).with_encoded(grantee).with_encoded(resource);
        Self(*hasher.finish().as_bytes())
    }
}

/// A key of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StateKey {
    /// An account.
    Account(Address),
    /// An object.
    Object(ObjectId),
    /// A grant.
    Grant(GrantId),
}

impl StateKey {
    const ACCOUNT: u8 = 1;
    const OBJECT: u8 = 2;
    const GRANT: u8 = 3;

    /// The domain's tag.
    pub fn domain(&self) -> u8 {
        match self {
            Self::Account(_) => Self::ACCOUNT,
            Self::Object(_) => Self::OBJECT,
            Self::Grant(_) => Self::GRANT,
        }
    }

    /// The 32 bytes within the domain.
    pub fn as_bytes(&self) -> &[u8; 32] {
        match self {
            Self::Account(address) => address.as_bytes(),
            Self::Object(object) => object.as_bytes(),
            Self::Grant(grant) => grant.as_bytes(),
        }
    }

    /// The key of a row in a store: the 32 bytes, and the domain's tag behind those of all domains but accounts.
    pub fn to_row_key(&self) -> Vec<u8> {
        let mut key = self.as_bytes().to_vec();
        if !matches!(self, Self::Account(_)) {
            key.push(self.domain());
        }
        key
    }

    /// Reads [`StateKey::to_row_key`]; `None` for any other bytes.
    pub fn from_row_key(key: &[u8]) -> Option<Self> {
        let (bytes, domain) = match key.len() {
            32 => (key, Self::ACCOUNT),
            33 if key[32] != Self::ACCOUNT => (&key[..32], key[32]),
            _ => return None,
        };
        Self::in_domain(domain, bytes.try_into().ok()?)
    }

    fn in_domain(domain: u8, bytes: [u8; 32]) -> Option<Self> {
        match domain {
            Self::ACCOUNT => Some(Self::Account(Address::from_bytes(bytes))),
            Self::OBJECT => Some(Self::Object(ObjectId(bytes))),
            Self::GRANT => Some(Self::Grant(GrantId(bytes))),
            _ => None,
        }
    }
}

/// The text form of what it is of: `stele1…`, `object:…` or `grant:…`.
impl fmt::Display for StateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(address) => address.fmt(f),
            Self::Object(object) => object.fmt(f),
            Self::Grant(grant) => grant.fmt(f),
        }
    }
}

impl FromStr for StateKey {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        match text.split_once(':') {
            Some(("object", _)) => text.parse().map(Self::Object),
            Some(("grant", _)) => text.parse().map(Self::Grant),
            _ => text.parse().map(Self::Account).map_err(|_| DecodeError::NotCanonical { field: "state key" }),
        }
    }
}

impl Serialize for StateKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StateKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Written by hand, because lookups by it are the inner loop of execution: the bytes alone nearly always tell keys apart.
impl std::hash::Hash for StateKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write(self.as_bytes());
        state.write_u8(self.domain());
    }
}

impl From<Address> for StateKey {
    fn from(address: Address) -> Self {
        Self::Account(address)
    }
}

impl From<ObjectId> for StateKey {
    fn from(object: ObjectId) -> Self {
        Self::Object(object)
    }
}

impl From<GrantId> for StateKey {
    fn from(grant: GrantId) -> Self {
        Self::Grant(grant)
    }
}

impl Encode for StateKey {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.domain());
        out.extend_from_slice(self.as_bytes());
    }
}

impl Decode for StateKey {
    const ENCODED_LEN_MIN: usize = 33;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let domain = u8::decode(reader)?;
        let unknown = DecodeError::UnknownTag { field: "state key", value: domain.into() };
        Self::in_domain(domain, reader.array()?).ok_or(unknown)
    }
}

/// A key that a transaction declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Which.
    pub key: StateKey,
    /// Whether the transaction may change the value; otherwise it may only look at it.
    pub write: bool,
}

impl Encode for Access {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.write.into());
        self.key.encode(out);
    }
}

impl Decode for Access {
    const ENCODED_LEN_MIN: usize = 1 + StateKey::ENCODED_LEN_MIN;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let write = match u8::decode(reader)? {
            0 => false,
            1 => true,
            value => return Err(DecodeError::UnknownTag { field: "access", value: value.into() }),
        };
        Ok(Self { key: StateKey::decode(reader)?, write })
    }
}
