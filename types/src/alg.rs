//! The registry of algorithms. Every key, signature and digest carries its [`AlgId`], so that a later era can add or
//! retire an algorithm while old blocks still replay bit for bit.
//!
//! An id is never reused. An algorithm can be *registered* (its lengths are known, so its values decode) without being
//! *supported* by this build (its values verify); an unsupported one is refused with a typed error, never accepted.

use crate::codec::{Decode, DecodeError, Encode, Reader};
use std::fmt;

/// What an algorithm is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlgKind {
    /// Signs and verifies.
    Signature,
    /// Hashes.
    Digest,
}

/// A registered algorithm. The number is its wire value: below `0x80` signatures, from there on digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AlgId {
    /// Ed25519 (RFC 8032) with the verdicts of ZIP-215.
    Ed25519 = 0x01,
    /// SM2 with SM3 (GM/T 0003.2, GM/T 0009 default user id).
    Sm2Sm3 = 0x02,
    /// ECDSA on P-256 with SHA-256 (FIPS 186-5), low-s.
    EcdsaP256 = 0x03,
    /// ECDSA on secp256k1 with SHA-256 (SEC 1, SEC 2), low-s.
    EcdsaSecp256k1 = 0x04,
    /// ML-DSA-65 (FIPS 204).
    MlDsa65 = 0x05,
    /// SHA-256 (FIPS 180-4).
    Sha256 = 0x81,
    /// SM3 (GM/T 0004).
    Sm3 = 0x82,
}

impl AlgId {
    /// All registered algorithms, in the order of their ids.
    pub const ALL: [AlgId; 7] =
        [Self::Ed25519, Self::Sm2Sm3, Self::EcdsaP256, Self::EcdsaSecp256k1, Self::MlDsa65, Self::Sha256, Self::Sm3];

    /// The algorithm with this wire value.
    pub fn from_u8(id: u8) -> Result<Self, DecodeError> {
        Self::ALL.into_iter().find(|alg| *alg as u8 == id).ok_or(DecodeError::UnknownAlgorithm(id))
    }

    /// What it is for.
    pub fn kind(self) -> AlgKind {
        if (self as u8) < 0x80 { AlgKind::Signature } else { AlgKind::Digest }
    }

    /// Its name in configuration, logs and command output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::Sm2Sm3 => "sm2-sm3",
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaSecp256k1 => "ecdsa-secp256k1",
            Self::MlDsa65 => "ml-dsa-65",
            Self::Sha256 => "sha256",
            Self::Sm3 => "sm3",
        }
    }

    /// The algorithm with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|alg| alg.name() == name)
    }

    /// The algorithm with this name, if it is one of [`AlgId::signing`].
    pub fn signing_from_name(name: &str) -> Option<Self> {
        Self::signing().find(|alg| alg.name() == name)
    }

    /// The algorithms that clients can sign with in this build.
    pub fn signing() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|alg| alg.kind() == AlgKind::Signature && alg.supported())
    }

    /// Length of a public key in bytes (points are compressed); 0 for a digest algorithm.
    pub const fn public_key_len(self) -> usize {
        match self {
            Self::Ed25519 => 32,
            Self::Sm2Sm3 | Self::EcdsaP256 | Self::EcdsaSecp256k1 => 33,
            Self::MlDsa65 => 1952,
            Self::Sha256 | Self::Sm3 => 0,
        }
    }

    /// Length of a signature in bytes (ECDSA and SM2 as r‖s); 0 for a digest algorithm.
    pub const fn signature_len(self) -> usize {
        match self {
            Self::Ed25519 | Self::Sm2Sm3 | Self::EcdsaP256 | Self::EcdsaSecp256k1 => 64,
            Self::MlDsa65 => 3309,
            Self::Sha256 | Self::Sm3 => 0,
        }
    }

    /// Whether this build verifies (or computes) it.
    pub fn supported(self) -> bool {
        self != Self::MlDsa65
    }
}

impl fmt::Display for AlgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Encode for AlgId {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }
}

impl Decode for AlgId {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::from_u8(u8::decode(reader)?)
    }
}

/// Reads an algorithm id of the given kind.
pub(crate) fn decode_kind(reader: &mut Reader<'_>, kind: AlgKind) -> Result<AlgId, DecodeError> {
    let alg = AlgId::decode(reader)?;
    if alg.kind() == kind { Ok(alg) } else { Err(DecodeError::UnknownAlgorithm(alg as u8)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_registered_id_reads_back_and_its_neighbours_do_not() {
        for id in 0..=u8::MAX {
            match AlgId::from_u8(id) {
                Ok(alg) => assert_eq!(alg as u8, id),
                Err(error) => assert_eq!(error, DecodeError::UnknownAlgorithm(id)),
            }
        }
    }
}
