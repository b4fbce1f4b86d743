//! How much: units of the ledger's currency, or of an object.
//!
//! 128 bits, so that a currency with eighteen decimals, as tokens elsewhere have, fits with room for any supply. In text it is
//! decimal digits, and in JSON and TOML a string of them: numbers there end at 2^53 or 2^63 with most readers. A whole number
//! is read as well, where one is written by hand.

use crate::codec::{Decode, DecodeError, Encode, Reader};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Units of the ledger's currency, or of an object.
// Packed to the alignment of the numbers that stand beside it, so that an account takes 24 bytes of a table and not 32.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C, packed(8))]
pub struct Amount(pub u128);

/// Text that is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("an amount is a whole number below 2^128, in decimal digits alone")]
pub struct ParseAmountError;

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The most that can be said.
    pub const MAX: Self = Self(u128::MAX);

    /// The sum; `None` where it does not fit.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// What is left; `None` where it is less than nothing.
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(left) => Some(Self(left)),
            None => None,
        }
    }
}

impl From<u64> for Amount {
    fn from(units: u64) -> Self {
        Self(units.into())
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = self.0;
        units.fmt(f)
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Amount {
    type Err = ParseAmountError;

    fn from_str(text: &str) -> Result<Self, ParseAmountError> {
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ParseAmountError);
        }
        text.parse().map(Self).map_err(|_| ParseAmountError)
    }
}

impl Encode for Amount {
    fn encode(&self, out: &mut Vec<u8>) {
        let units = self.0;
        units.encode(out);
    }
}

impl Decode for Amount {
    const ENCODED_LEN_MIN: usize = size_of::<u128>();

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        u128::decode(reader).map(Self)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Text)
    }
}

struct Text;

impl Visitor<'_> for Text {
    type Value = Amount;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number below 2^128, as a string of decimal digits where it is large")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Amount, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, units: u64) -> Result<Amount, E> {
        Ok(units.into())
    }

    fn visit_i64<E: Error>(self, units: i64) -> Result<Amount, E> {
        u64::try_from(units).map(Amount::from).map_err(|_| E::custom(ParseAmountError))
    }
}
