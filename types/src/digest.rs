//! Digests, domain separation, and the one shape of message that is ever signed.

use crate::alg::{AlgId, AlgKind, decode_kind};
use crate::codec::{Decode, DecodeError, Encode, Reader};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use std::fmt;
use std::str::FromStr;

/// A 256-bit digest with the algorithm that made it. Text form: `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    alg: AlgId,
    bytes: [u8; 32],
}

impl Digest {
    /// Bytes of an encoded digest.
    pub const ENCODED_LEN: usize = 33;

    /// All zero: the value of a reserved or first link.
    pub const ZERO: Digest = Digest { alg: AlgId::Sha256, bytes: [0; 32] };

    /// SHA-256 of `bytes`, without a domain: for documents and for the digest of a file.
    pub fn sha256(bytes: &[u8]) -> Self {
        Self { alg: AlgId::Sha256, bytes: sha2::Sha256::digest(bytes).into() }
    }

    /// SM3 of `bytes` (GM/T 0004), without a domain: for documents whose digest has to be a national one.
    pub fn sm3(bytes: &[u8]) -> Self {
        Self { alg: AlgId::Sm3, bytes: sm3::Sm3::digest(bytes).into() }
    }

    /// A digest computed elsewhere.
    ///
    /// # Errors
    /// [`DecodeError::UnknownAlgorithm`] where `alg` is no digest algorithm.
    pub fn from_parts(alg: AlgId, bytes: [u8; 32]) -> Result<Self, DecodeError> {
        if alg.kind() == AlgKind::Digest {
            Ok(Self { alg, bytes })
        } else {
            Err(DecodeError::UnknownAlgorithm(alg as u8))
        }
    }

    /// The algorithm.
    pub fn alg(&self) -> AlgId {
        self.alg
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.alg, hex::encode(self.bytes))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", hex::encode(&self.bytes[..4]))
    }
}

impl FromStr for Digest {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let malformed = DecodeError::NotCanonical { field: "digest" };
        let (alg, digits) = text.split_once(':').ok_or(malformed)?;
        let alg = AlgId::from_name(alg).ok_or(malformed)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| malformed)?;
        Self::from_parts(alg, bytes)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Encode for Digest {
    fn encode(&self, out: &mut Vec<u8>) {
        self.alg.encode(out);
        out.extend_from_slice(&self.bytes);
    }
}

impl Decode for Digest {
    const ENCODED_LEN_MIN: usize = Digest::ENCODED_LEN;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { alg: decode_kind(reader, AlgKind::Digest)?, bytes: reader.array()? })
    }
}

/// The identity of a ledger: the digest of its genesis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainId(pub Digest);

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Encode for ChainId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
}

impl Decode for ChainId {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Digest::decode(reader).map(Self)
    }
}

/// Hashes with a domain: the input starts with the length of the domain's name and the name, so no two domains collide.
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// A SHA-256 hasher for `domain`, an ASCII name of at most 255 bytes.
    pub fn new(domain: &'static str) -> Self {
        let mut inner = sha2::Sha256::new();
        inner.update([u8::try_from(domain.len()).expect("domain names are short literals")]);
        inner.update(domain.as_bytes());
        Self(inner)
    }

    /// Takes in bytes.
    #[must_use]
    pub fn with(mut self, bytes: &[u8]) -> Self {
        self.0.update(bytes);
        self
    }

    /// Takes in the canonical encoding of a value.
    #[must_use]
    pub fn with_encoded(self, value: &impl Encode) -> Self {
        // Room for nearly every value that is hashed, so that the buffer does not grow step by step.
        let mut encoded = Vec::with_capacity(256);
        value.encode(&mut encoded);
        self.with(&encoded)
    }

    /// The digest of everything taken in.
    pub fn finish(self) -> Digest {
        Digest { alg: AlgId::Sha256, bytes: self.0.finalize().into() }
    }
}

/// What is signed, always: a 14-byte tag that names the purpose, and a digest with its algorithm.
///
/// 47 bytes, so that Ed25519's SHA-512 over R‖A‖M (64 + 47 bytes, and 17 of padding) is a single block on CPU and GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SigningMessage([u8; SigningMessage::LEN]);

impl SigningMessage {
    /// Length in bytes.
    pub const LEN: usize = 14 + Digest::ENCODED_LEN;

    /// A client's transaction, over its id.
    pub fn transaction(id: &Digest) -> Self {
        Self::new(b"stele-tx-1\0\0\0\0", id)
    }

    /// A validator's one statement of a round, over its block digest.
    pub fn round(block: &Digest) -> Self {
        Self::new(b"stele-round-1\0", block)
    }

    /// A consensus key's certificate for an epoch key, over the digest of what it says.
    pub fn epoch_key(certificate: &Digest) -> Self {
        Self::new(b"stele-ekey-1\0\0", certificate)
    }

    /// A validator's word that a TPM's quote was made on its machine, over the digest of the quote.
    pub fn attestation(quote: &Digest) -> Self {
        Self::new(b"stele-attest-1", quote)
    }

    fn new(tag: &[u8; 14], digest: &Digest) -> Self {
        let mut message = [0; Self::LEN];
        message[..14].copy_from_slice(tag);
        message[14] = digest.alg as u8;
        message[15..].copy_from_slice(&digest.bytes);
        Self(message)
    }

    /// The bytes to sign.
    pub fn as_bytes(&self) -> &[u8; SigningMessage::LEN] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_reads_back() {
        let digest = Digest::sha256(b"abc");
        assert_eq!(digest.to_string(), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert!("sha256:00".parse::<Digest>().is_err());
        assert!(format!("ed25519:{}", "00".repeat(32)).parse::<Digest>().is_err());
    }

    #[test]
    fn domains_do_not_collide_by_concatenation() {
        assert_ne!(Hasher::new("ab").with(b"c").finish(), Hasher::new("a").with(b"bc").finish());
    }
}
