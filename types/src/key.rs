//! Public keys, signatures, the reference verifier, and software secret keys of clients.
//!
//! [`PublicKey::verify`] is the single-item reference that every engine must agree with, bit for bit. The rules of a
//! verdict stand at the top of one file an algorithm:
//!
//! - `ed25519.rs`: ZIP-215; s is canonical, A and R are any encodings that decode, the equation is cofactored.
//! - `ecdsa.rs`: P-256 and secp256k1 with SHA-256; r and s from 1 to n − 1, and s at most (n − 1) / 2.
//! - `sm2.rs`: GM/T 0003.2 with the default user id; r and s from 1 to n − 1, r + s no multiple of n.
//!
//! A key or signature is any bytes of its algorithm's length; one that does not decode is invalid, never an error apart.

mod ecdsa;
mod ed25519;
mod point;
mod secret;
mod sm2;

pub use secret::SecretKey;

use crate::address::Address;
use crate::alg::{AlgId, AlgKind, decode_kind};
use crate::codec::{Decode, DecodeError, Encode, Reader};
use crate::digest::{Hasher, SigningMessage};
use k256::Secp256k1;
use p256::NistP256;
use std::fmt;
use thiserror::Error;

/// Longest value that is stored inline: a compressed point, or an r‖s pair, and one byte to spare.
const INLINE_MAX: usize = 65;

/// Key or signature bytes: inline for curves, on the heap for lattices.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Material {
    Inline(u8, [u8; INLINE_MAX]),
    Heap(Box<[u8]>),
}

impl Material {
    fn new(bytes: &[u8]) -> Self {
        if bytes.len() > INLINE_MAX {
            return Self::Heap(bytes.into());
        }
        let mut inline = [0; INLINE_MAX];
        inline[..bytes.len()].copy_from_slice(bytes);
        Self::Inline(u8::try_from(bytes.len()).expect("checked against INLINE_MAX"), inline)
    }

    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Inline(len, bytes) => &bytes[..usize::from(*len)],
            Self::Heap(bytes) => bytes,
        }
    }
}

/// Why a key or signature could not be made from parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The algorithm does not sign.
    #[error("{0} is not a signature algorithm")]
    NotASignatureAlgorithm(AlgId),
    /// The bytes are not as many as the algorithm takes.
    #[error("{alg}: {found} bytes, {expected} expected")]
    WrongLength {
        /// The algorithm.
        alg: AlgId,
        /// Bytes it takes.
        expected: usize,
        /// Bytes that were given.
        found: usize,
    },
    /// The bytes are not as many as any encoding of a point takes.
    #[error("{alg}: {found} bytes, 64 (x‖y), 65 (04‖x‖y) or 33 (compressed) expected")]
    WrongPointLength {
        /// The algorithm.
        alg: AlgId,
        /// Bytes that were given.
        found: usize,
    },
    /// The bytes are no point of the curve.
    #[error("{0}: not a point of the curve")]
    NotAPoint(AlgId),
    /// Registered, but without keys in this build.
    #[error("{0} is not supported by this build")]
    Unsupported(AlgId),
    /// The seed gives a scalar that is no key.
    #[error("{0}: this seed gives no key")]
    UnusableSeed(AlgId),
}

/// The equation does not hold, or an encoding does not decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the signature does not verify")]
pub struct InvalidSignature;

/// Why a signature was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// It is wrong.
    #[error(transparent)]
    Invalid(#[from] InvalidSignature),
    /// Key and signature name different algorithms.
    #[error("a {signature} signature under a {key} key")]
    AlgorithmMismatch {
        /// The key's algorithm.
        key: AlgId,
        /// The signature's algorithm.
        signature: AlgId,
    },
    /// Registered, but not verified by this build.
    #[error("{0} is not supported by this build")]
    Unsupported(AlgId),
}

macro_rules! material {
    ($(#[$doc:meta])* $name:ident, $len:ident, $min:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name {
            alg: AlgId,
            material: Material,
        }

        impl $name {
            /// From an algorithm and raw bytes of its length. Whether they decode to a point is the verifier's matter.
            ///
            /// # Errors
            /// [`KeyError`] for an algorithm that does not sign or a wrong length.
            pub fn from_parts(alg: AlgId, bytes: &[u8]) -> Result<Self, KeyError> {
                if alg.kind() != AlgKind::Signature {
                    return Err(KeyError::NotASignatureAlgorithm(alg));
                }
                let expected = alg.$len();
                if bytes.len() != expected {
                    return Err(KeyError::WrongLength { alg, expected, found: bytes.len() });
                }
                Ok(Self { alg, material: Material::new(bytes) })
            }

            /// The algorithm.
            pub fn alg(&self) -> AlgId {
                self.alg
            }

            /// The raw bytes, without the algorithm id.
            pub fn as_bytes(&self) -> &[u8] {
                self.material.as_slice()
            }
        }

        impl Encode for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                self.alg.encode(out);
                out.extend_from_slice(self.as_bytes());
            }
        }

        impl Decode for $name {
            const ENCODED_LEN_MIN: usize = $min;

            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                let alg = decode_kind(reader, AlgKind::Signature)?;
                Ok(Self { alg, material: Material::new(reader.take(alg.$len())?) })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}:{}", self.alg, hex::encode(self.as_bytes()))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}:{}…", self.alg, hex::encode(&self.as_bytes()[..4]))
            }
        }

        impl std::str::FromStr for $name {
            type Err = DecodeError;

            fn from_str(text: &str) -> Result<Self, DecodeError> {
                let malformed = DecodeError::NotCanonical { field: stringify!($name) };
                let (alg, digits) = text.split_once(':').ok_or(malformed)?;
                let alg = AlgId::from_name(alg).ok_or(malformed)?;
                let bytes = hex::decode(digits).map_err(|_| malformed)?;
                Self::from_parts(alg, &bytes).map_err(|_| malformed)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

material! {
    /// A public key with its algorithm. Text form: `ed25519:` and hexadecimal digits.
    PublicKey, public_key_len, 1 + 32
}
material! {
    /// A signature with its algorithm.
    Signature, signature_len, 1 + 64
}

impl PublicKey {
    /// The account that this key owns.
    pub fn address(&self) -> Address {
        // The encoding of a key, without a copy of it: this runs for every transaction.
        Address::from_digest(&Hasher::new("stele/address/1").with(&[self.alg as u8]).with(self.as_bytes()).finish())
    }

    /// Verifies one signature: the reference verdict.
    ///
    /// # Errors
    /// [`SignatureError`]; an unsupported algorithm is never accepted.
    pub fn verify(&self, message: &SigningMessage, signature: &Signature) -> Result<(), SignatureError> {
        self.verify_bytes(message.as_bytes(), signature)
    }

    /// [`PublicKey::verify`] over any bytes: for test vectors and for protocols whose message is not ours (TLS).
    ///
    /// # Errors
    /// As [`PublicKey::verify`].
    pub fn verify_bytes(&self, message: &[u8], signature: &Signature) -> Result<(), SignatureError> {
        let (key, sig) = (self.as_bytes(), self.matching(signature)?);
        match self.alg {
            AlgId::Ed25519 => ed25519::verify(key, message, sig)?,
            AlgId::Sm2Sm3 => {
                let key = sm2::decode(key).ok_or(InvalidSignature)?;
                sm2::verify(key, &sm2::prehash(&key, message), sig)?;
            }
            AlgId::EcdsaP256 => ecdsa::verify::<NistP256>(key, &ecdsa::prehash(message), sig)?,
            AlgId::EcdsaSecp256k1 => ecdsa::verify::<Secp256k1>(key, &ecdsa::prehash(message), sig)?,
            other => return Err(SignatureError::Unsupported(other)),
        }
        Ok(())
    }

    /// Verifies over 32 bytes that were hashed elsewhere: e of SM2 (GM/T 0003.2 §7.1, Z included), the digest of ECDSA.
    /// [`PublicKey::prehash`] gives them for a message.
    ///
    /// # Errors
    /// As [`PublicKey::verify`]; Ed25519 takes no digest, so none is ever valid under it.
    pub fn verify_prehashed(&self, digest: &[u8; 32], signature: &Signature) -> Result<(), SignatureError> {
        let (key, sig) = (self.as_bytes(), self.matching(signature)?);
        match self.alg {
            AlgId::Ed25519 => return Err(InvalidSignature.into()),
            AlgId::Sm2Sm3 => sm2::verify(sm2::decode(key).ok_or(InvalidSignature)?, digest, sig)?,
            AlgId::EcdsaP256 => ecdsa::verify::<NistP256>(key, digest, sig)?,
            AlgId::EcdsaSecp256k1 => ecdsa::verify::<Secp256k1>(key, digest, sig)?,
            other => return Err(SignatureError::Unsupported(other)),
        }
        Ok(())
    }

    /// What [`PublicKey::verify_prehashed`] takes for a message: SHA-256 of it for ECDSA; for SM2 SM3(Z ‖ M), which has
    /// the key in it. `None` where there is no such thing: under Ed25519, an algorithm that is not supported, an SM2 key
    /// that is no point.
    pub fn prehash(&self, message: &[u8]) -> Option<[u8; 32]> {
        match self.alg {
            AlgId::Sm2Sm3 => Some(sm2::prehash(&sm2::decode(self.as_bytes())?, message)),
            AlgId::EcdsaP256 | AlgId::EcdsaSecp256k1 => Some(ecdsa::prehash(message)),
            _ => None,
        }
    }

    /// A key from any usual encoding of it, as other programs write them: for Ed25519 the 32 bytes; for the others a point
    /// as x‖y (64 bytes), as 04‖x‖y (SEC 1, 65 bytes) or compressed (SEC 1, 33 bytes).
    ///
    /// The point is checked to be on the curve, because the compressed form that is kept could not tell. An Ed25519 key
    /// is not decoded, as in [`PublicKey::from_parts`]: whether it decodes is the verdict's matter.
    ///
    /// # Errors
    /// [`KeyError::NotAPoint`], [`KeyError::WrongPointLength`], and those of [`PublicKey::from_parts`];
    /// [`KeyError::Unsupported`] for an algorithm without points.
    pub fn from_point_bytes(alg: AlgId, bytes: &[u8]) -> Result<Self, KeyError> {
        let compressed = match alg {
            AlgId::Ed25519 => return Self::from_parts(alg, bytes),
            AlgId::Sm2Sm3 => point::compress::<::sm2::Sm2>(alg, bytes)?,
            AlgId::EcdsaP256 => point::compress::<NistP256>(alg, bytes)?,
            AlgId::EcdsaSecp256k1 => point::compress::<Secp256k1>(alg, bytes)?,
            other if other.kind() == AlgKind::Signature => return Err(KeyError::Unsupported(other)),
            other => return Err(KeyError::NotASignatureAlgorithm(other)),
        };
        Ok(Self { alg, material: Material::new(&compressed) })
    }

    fn matching<'a>(&self, signature: &'a Signature) -> Result<&'a [u8], SignatureError> {
        if self.alg == signature.alg {
            Ok(signature.as_bytes())
        } else {
            Err(SignatureError::AlgorithmMismatch { key: self.alg, signature: signature.alg })
        }
    }
}
