//! Public keys, signatures, the reference verifier, and software secret keys of clients.
//!
//! [`PublicKey::verify`] is the single-item reference that every batch engine must agree with, bit for bit. Ed25519
//! follows ZIP-215: s is canonical, A and R are any encodings that decode, the equation is cofactored.

use crate::address::Address;
use crate::alg::{AlgId, AlgKind, decode_kind};
use crate::codec::{Decode, DecodeError, Encode, Reader};
use crate::digest::{Hasher, SigningMessage};
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use ed25519_dalek::Signer;
use sha2::Digest as _;
use std::fmt;
use thiserror::Error;
use zeroize::Zeroizing;

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
                let alg = AlgId::ALL.into_iter().find(|known| known.name() == alg).ok_or(malformed)?;
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
        if self.alg != signature.alg {
            return Err(SignatureError::AlgorithmMismatch { key: self.alg, signature: signature.alg });
        }
        match self.alg {
            AlgId::Ed25519 => Ok(verify_zip215(self.as_bytes(), message, signature.as_bytes())?),
            other => Err(SignatureError::Unsupported(other)),
        }
    }

    /// Verifies over 32 bytes that were hashed elsewhere: e of SM2 (GM/T 0003.2 §7.1, Z included), the digest of ECDSA.
    ///
    /// # Errors
    /// As [`PublicKey::verify`]; Ed25519 takes no digest, so none is ever valid under it.
    pub fn verify_prehashed(&self, _digest: &[u8; 32], signature: &Signature) -> Result<(), SignatureError> {
        if self.alg != signature.alg {
            return Err(SignatureError::AlgorithmMismatch { key: self.alg, signature: signature.alg });
        }
        match self.alg {
            AlgId::Ed25519 => Err(InvalidSignature.into()),
            other => Err(SignatureError::Unsupported(other)),
        }
    }
}

/// ZIP-215 §"Specification": accept iff s < L, A and R decode, and `[8](sB − kA − R) = O` with k = SHA-512(R‖A‖M) mod L.
fn verify_zip215(key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
    let decode =
        |bytes: &[u8]| CompressedEdwardsY::from_slice(bytes).ok().and_then(|y| y.decompress()).ok_or(InvalidSignature);
    let (r_bytes, s_bytes) = signature.split_at_checked(32).ok_or(InvalidSignature)?;
    let s = Option::<Scalar>::from(Scalar::from_canonical_bytes(s_bytes.try_into().map_err(|_| InvalidSignature)?))
        .ok_or(InvalidSignature)?;
    let (a, r) = (decode(key)?, decode(r_bytes)?);
    let k_wide: [u8; 64] =
        sha2::Sha512::new().chain_update(r_bytes).chain_update(key).chain_update(message).finalize().into();
    let k = Scalar::from_bytes_mod_order_wide(&k_wide);
    let difference = EdwardsPoint::vartime_double_scalar_mul_basepoint(&k, &-a, &s) - r;
    if difference.mul_by_cofactor().is_identity() { Ok(()) } else { Err(InvalidSignature) }
}

/// A software secret key: of clients, of tests, and inside the keystore of `hsm`. Wiped when dropped, never printed.
#[derive(Clone)]
pub struct SecretKey {
    seed: Zeroizing<[u8; 32]>,
    signing: ed25519_dalek::SigningKey,
}

impl SecretKey {
    /// The Ed25519 key with this seed (RFC 8032 §5.1.5). The seed must come from a secure source.
    pub fn ed25519_from_seed(seed: [u8; 32]) -> Self {
        Self { signing: ed25519_dalek::SigningKey::from_bytes(&seed), seed: Zeroizing::new(seed) }
    }

    /// The seed, for a keystore that encrypts it.
    pub fn expose_seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// Its public half.
    pub fn public_key(&self) -> PublicKey {
        PublicKey { alg: AlgId::Ed25519, material: Material::new(self.signing.verifying_key().as_bytes()) }
    }

    /// Signs. Deterministic (RFC 8032 §5.1.6).
    pub fn sign(&self, message: &SigningMessage) -> Signature {
        self.sign_bytes(message.as_bytes())
    }

    /// Signs any bytes: for protocols whose message is not ours (TLS).
    pub fn sign_bytes(&self, message: &[u8]) -> Signature {
        Signature { alg: AlgId::Ed25519, material: Material::new(&self.signing.sign(message).to_bytes()) }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({:?})", self.public_key())
    }
}
