//! A release as it travels to a machine: an image behind a page that says how long it is and who stands for it. It lies raw in a
//! partition of a stick. Nothing of the image is looked at before the signature over all of it holds.
//!
//! ```text
//! "STELEREL" | format u32 = 1 | zero u32 | length of the image u64
//! signature, 64 bytes, Ed25519 over "stele release 1\0", the length, and the image's SHA-256 | zeros up to 4096
//! the image
//! ```
//! All numbers are little-endian.

use crate::field::{array_at, u32_at, u64_at};
use crate::gpt::Guid;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// The kind of partition that holds one.
pub const RELEASE: Guid = Guid::new(0x5E1E_4E1E, 0x6B1D, 0x4E6A, 0x9C0F_5354_454C_4552);
/// Bytes before the image.
pub const HEAD: usize = 4096;
/// Bytes of an image at most: two slots of a disk.
pub const BYTES_MAX: u64 = 512 << 20;
const MAGIC: &[u8; 8] = b"STELEREL";
const DOMAIN: &[u8] = b"stele release 1\0";

/// Why a release is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReleaseError {
    /// Something else, or nothing, stands at its place.
    #[error("there is no release")]
    Absent,
    /// A later format.
    #[error("the release is packed in format {0}, this one reads format 1")]
    Format(u32),
    /// Longer than allowed, or cut off.
    #[error("the release is cut off or longer than {BYTES_MAX} bytes")]
    Length,
    /// Not signed by the key of the image that runs, or damaged on its way.
    #[error("the release is damaged, or not signed by the key that this image trusts")]
    Signature,
    /// The trusted key is none.
    #[error("the trusted key is not an Ed25519 key")]
    Key,
}

/// The page before an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of the image.
    pub length: u64,
    signature: [u8; 64],
}

impl Head {
    /// Stands for an image.
    pub fn sign(image: &[u8], key: &SigningKey) -> Result<Self, ReleaseError> {
        let length = image.len() as u64;
        if length > BYTES_MAX {
            return Err(ReleaseError::Length);
        }
        Ok(Self { length, signature: key.sign(&statement(image)).to_bytes() })
    }

    /// As it lies before the image.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend(1_u32.to_le_bytes());
        out.extend([0; 4]);
        out.extend(self.length.to_le_bytes());
        out.extend(self.signature);
        out.resize(HEAD, 0);
        out
    }

    /// Reads it; believes nothing of it but a length that is allowed.
    pub fn decode(start: &[u8]) -> Result<Self, ReleaseError> {
        if !start.starts_with(MAGIC) {
            return Err(ReleaseError::Absent);
        }
        match u32_at(start, 8).ok_or(ReleaseError::Length)? {
            1 => {}
            format => return Err(ReleaseError::Format(format)),
        }
        let (length, signature) = u64_at(start, 16).zip(array_at(start, 24)).ok_or(ReleaseError::Length)?;
        if length > BYTES_MAX { Err(ReleaseError::Length) } else { Ok(Self { length, signature }) }
    }

    /// Whether the owner of a key stands for this image.
    pub fn check(&self, image: &[u8], trusted: &[u8; 32]) -> Result<(), ReleaseError> {
        let key = VerifyingKey::from_bytes(trusted).map_err(|_| ReleaseError::Key)?;
        if image.len() as u64 != self.length {
            return Err(ReleaseError::Length);
        }
        let signature = Signature::from_bytes(&self.signature);
        key.verify_strict(&statement(image), &signature).map_err(|_| ReleaseError::Signature)
    }
}

fn statement(image: &[u8]) -> Vec<u8> {
    let digest = Sha256::digest(image);
    [DOMAIN, &(image.len() as u64).to_le_bytes(), &digest].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn trusted(seed: u8) -> [u8; 32] {
        key(seed).verifying_key().to_bytes()
    }

    #[test]
    fn a_release_is_its_signers_and_no_others() {
        let image = vec![7; 5000];
        let page = Head::sign(&image, &key(1)).unwrap().encode();
        assert_eq!(page.len(), HEAD);
        let head = Head::decode(&page).unwrap();
        assert_eq!(head.check(&image, &trusted(1)), Ok(()));
        assert_eq!(head.check(&image, &trusted(2)), Err(ReleaseError::Signature));
        assert_eq!(head.check(&image[1..], &trusted(1)), Err(ReleaseError::Length));
        for at in [0, 2500, 4999] {
            let mut other = image.clone();
            other[at] ^= 1;
            assert_eq!(head.check(&other, &trusted(1)), Err(ReleaseError::Signature));
        }
    }

    #[test]
    fn every_flipped_bit_of_what_counts_is_noticed() {
        let image = vec![7; 64];
        let page = Head::sign(&image, &key(1)).unwrap().encode();
        let counts = (0..12).chain(16..88);
        for bit in counts.flat_map(|byte| (0..8).map(move |bit| byte * 8 + bit)) {
            let mut other = page.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(Head::decode(&other).and_then(|head| head.check(&image, &trusted(1))).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn what_is_none_is_told_apart() {
        assert_eq!(Head::decode(&[]), Err(ReleaseError::Absent));
        assert_eq!(Head::decode(&[0; HEAD]), Err(ReleaseError::Absent));
        assert_eq!(Head::decode(MAGIC), Err(ReleaseError::Length));
        let mut later = Head::sign(&[], &key(1)).unwrap().encode();
        later[8] = 2;
        assert_eq!(Head::decode(&later), Err(ReleaseError::Format(2)));
        let mut long = Head::sign(&[], &key(1)).unwrap().encode();
        long[16..24].copy_from_slice(&(BYTES_MAX + 1).to_le_bytes());
        assert_eq!(Head::decode(&long), Err(ReleaseError::Length));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Head::decode(&bytes);
            let _ = Head::decode(&[&MAGIC[..], &[1, 0, 0, 0], &bytes].concat());
        }
    }
}
