//! Account addresses: 32 bytes in the state, `stele1…` (Bech32m, BIP-350: a checksum that catches any four wrong
//! characters) where a person reads or types them.

use crate::codec::{Decode, DecodeError, Encode, Reader};
use crate::digest::Digest;
use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32m, Hrp};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// The human-readable part.
const HRP: Hrp = Hrp::parse_unchecked("stele");

/// An account: the digest of its public key under a domain of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address([u8; 32]);

/// Why text is not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// Not Bech32m, or a wrong checksum: most often a typing error.
    #[error("not an address: the characters or the checksum are wrong")]
    Checksum,
    /// A valid Bech32m string of something else.
    #[error("not an address of Stele: it does not start with `stele1`")]
    Prefix,
    /// The bits after the last byte are not zero.
    #[error("not an address: it is spelled in another way than the one there is")]
    Padding,
    /// Not 32 bytes.
    #[error("not an address: the length is wrong")]
    Length,
}

impl Address {
    /// From the digest of a public key, see [`crate::PublicKey::address`].
    pub(crate) fn from_digest(digest: &Digest) -> Self {
        Self(*digest.as_bytes())
    }

    /// From its 32 bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bech32::encode::<Bech32m>(HRP, &self.0).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let checked = CheckedHrpstring::new::<Bech32m>(text).map_err(|_| AddressError::Checksum)?;
        if checked.hrp() != HRP {
            return Err(AddressError::Prefix);
        }
        // 32 bytes leave four bits of the last character over. They are zero, or one account would have 16 spellings.
        checked.validate_segwit_padding().map_err(|_| AddressError::Padding)?;
        let bytes: Vec<u8> = checked.byte_iter().collect();
        bytes.try_into().map(Self).map_err(|_| AddressError::Length)
    }
}

impl Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Encode for Address {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
}

impl Decode for Address {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.array().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_reads_back_and_catches_a_typing_error() {
        let address = Address::from_bytes([7; 32]);
        let text = address.to_string();
        assert_eq!(text.parse(), Ok(address));
        let typo = text.replacen('r', "t", 1);
        assert_eq!(typo.parse::<Address>(), Err(AddressError::Checksum));
        let other = bech32::encode::<Bech32m>(Hrp::parse_unchecked("other"), &[7; 32]).expect("encodes");
        assert_eq!(other.parse::<Address>(), Err(AddressError::Prefix));
        let short = bech32::encode::<Bech32m>(HRP, &[7; 31]).expect("encodes");
        assert_eq!(short.parse::<Address>(), Err(AddressError::Length));
    }
}
