//! One line: from JSON to the question it asks, or why it asks none.
//!
//! *Malformed* is what asks nothing; *invalid* is a question whose answer is known to be no. A key of the right length
//! that is no point of its curve is invalid, and already so here: the engines take compressed points, in which a wrong y
//! could not be seen. Deliberately absent: line numbers, which the writer has.

use super::user_id;
use accel::{Item, Message};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use std::borrow::Cow;
use std::fmt;
use thiserror::Error;
use types::{AlgId, PublicKey, Signature};

/// Longest message in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;
const SIGNATURE_BYTES: usize = 64;

/// What a line asks.
// Almost every line is the larger variant, so a box would only cost.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
pub enum Question {
    /// An engine has to say.
    Open(Item),
    /// The key is no point of its curve, so the answer is no.
    NoPoint,
}

/// Why a line asks nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// Over the limit of the reader.
    #[error("longer than {} bytes", super::input::LINE_BYTES_MAX)]
    LineTooLong,
    /// Not even text.
    #[error("not UTF-8")]
    NotUtf8,
    /// No object with these fields as strings.
    #[error("not a JSON object of this form at column {column}: {reason:?}")]
    NotAnObject {
        /// Bytes into the line, from 1.
        column: usize,
        /// What kind of mistake.
        reason: serde_json::error::Category,
    },
    /// A field that has to be there.
    #[error("no `{0}`")]
    Missing(&'static str),
    /// None of the four.
    #[error("unknown algorithm")]
    UnknownAlgorithm,
    /// An odd number of digits, or something else than a digit.
    #[error("`{0}` is not hexadecimal")]
    NotHex(&'static str),
    /// More or fewer bytes than the algorithm takes.
    #[error("`{field}` has {found} bytes; {expected}")]
    WrongLength {
        /// The field.
        field: &'static str,
        /// How many it may have, in words.
        expected: &'static str,
        /// How many it has.
        found: usize,
    },
    /// Two answers could be meant.
    #[error("both `msg` and `e`")]
    MessageAndDigest,
}

/// The fields, as they stand in the line.
#[derive(Debug, serde::Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    alg: Option<Text<'a>>,
    #[serde(borrow)]
    pk: Option<Text<'a>>,
    #[serde(borrow)]
    msg: Option<Text<'a>>,
    #[serde(borrow)]
    sig: Option<Text<'a>>,
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    e: Option<Text<'a>>,
}

/// A string without a copy of it, unless it has escapes.
#[derive(Debug)]
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrow;
        impl<'de> Visitor<'de> for Borrow {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Borrow)
    }
}

impl Question {
    /// Reads a line.
    ///
    /// # Errors
    /// [`Malformed`], the first reason in the order of the fields.
    pub fn parse(line: &[u8]) -> Result<Self, Malformed> {
        let line = std::str::from_utf8(line).map_err(|_| Malformed::NotUtf8)?;
        let record: Record<'_> = serde_json::from_str(line)
            .map_err(|error| Malformed::NotAnObject { column: error.column(), reason: error.classify() })?;
        let alg = algorithm(&record.alg.ok_or(Malformed::Missing("alg"))?.0)?;
        let key = hex("pk", record.pk)?.ok_or(Malformed::Missing("pk"))?;
        check_key_length(alg, key.len())?;
        let signature = hex("sig", record.sig)?.ok_or(Malformed::Missing("sig"))?;
        check_length("sig", "64 expected", signature.len() == SIGNATURE_BYTES, signature.len())?;
        let signature = Signature::from_parts(alg, &signature).expect("64 bytes and an algorithm that signs");
        let is_sm2 = alg == AlgId::Sm2Sm3;
        let message = match (record.msg, record.e.filter(|_| is_sm2)) {
            (Some(_), Some(_)) => return Err(Malformed::MessageAndDigest),
            (None, None) => return Err(Malformed::Missing("msg")),
            (None, Some(digest)) => {
                let digest = hex("e", Some(digest))?.expect("it is there");
                Message::Prehashed(digest.as_slice().try_into().map_err(|_| Malformed::WrongLength {
                    field: "e",
                    expected: "32 expected",
                    found: digest.len(),
                })?)
            }
            (message, None) => {
                let message = hex("msg", message)?.expect("it is there");
                let fits = message.len() <= MESSAGE_BYTES_MAX;
                check_length("msg", "1,048,576 at most", fits, message.len())?;
                let id = if is_sm2 { hex("id", record.id)? } else { None };
                match id.filter(|id| id != user_id::DEFAULT) {
                    None => Message::Bytes(message.into()),
                    Some(id) => {
                        check_length("id", "8,191 at most", id.len() <= user_id::BYTES_MAX, id.len())?;
                        match user_id::digest(&id, &key, &message) {
                            Some(digest) => Message::Prehashed(digest),
                            None => return Ok(Self::NoPoint),
                        }
                    }
                }
            }
        };
        match PublicKey::from_point_bytes(alg, &key) {
            Ok(key) => Ok(Self::Open(Item { key, message, signature })),
            // The length was right, so it is the point that is not.
            Err(_) => Ok(Self::NoPoint),
        }
    }
}

fn algorithm(name: &str) -> Result<AlgId, Malformed> {
    match name {
        "ed25519" => Ok(AlgId::Ed25519),
        "sm2" => Ok(AlgId::Sm2Sm3),
        "p256" => Ok(AlgId::EcdsaP256),
        "secp256k1" => Ok(AlgId::EcdsaSecp256k1),
        _ => Err(Malformed::UnknownAlgorithm),
    }
}

fn check_key_length(alg: AlgId, found: usize) -> Result<(), Malformed> {
    match alg {
        AlgId::Ed25519 => check_length("pk", "32 expected", found == 32, found),
        _ => check_length("pk", "64 (x‖y), 65 or 33 (SEC 1) expected", matches!(found, 33 | 64 | 65), found),
    }
}

fn check_length(field: &'static str, expected: &'static str, fits: bool, found: usize) -> Result<(), Malformed> {
    if fits { Ok(()) } else { Err(Malformed::WrongLength { field, expected, found }) }
}

/// The bytes of a field, where it is there.
fn hex(field: &'static str, text: Option<Text<'_>>) -> Result<Option<Vec<u8>>, Malformed> {
    text.map(|text| hex::decode(text.0.as_bytes()).map_err(|_| Malformed::NotHex(field))).transpose()
}

#[cfg(test)]
mod tests;
