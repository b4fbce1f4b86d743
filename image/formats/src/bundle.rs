//! The configuration of one machine: a few small files and a serial number under an Ed25519 signature. It lies raw at the
//! start of a partition, so it can be written by `dd` and read without a file system. Nothing in it is looked at before the
//! signature over all of it holds.
//!
//! ```text
//! "STELECFG" | format u32 = 1 | length u32 of what is signed after this field | serial u64 | files u16
//! each file: name length u8 | name | length u32 | content
//! signature, 64 bytes, over "stele configuration bundle 1\0" and everything before it
//! ```
//! All numbers are little-endian.

use crate::field::{array_at, bytes_at, u16_at, u32_at, u64_at};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use thiserror::Error;

/// Bytes of a bundle at most.
pub const BYTES_MAX: usize = 1 << 20;
/// Bytes of a name at most.
const NAME_MAX: usize = 128;
/// Folders above a file at most.
const FOLDERS_MAX: usize = 3;
/// Files of a bundle at most.
pub const FILES_MAX: usize = 64;
const MAGIC: &[u8; 8] = b"STELECFG";
const HEAD: usize = 16;
const DOMAIN: &[u8] = b"stele configuration bundle 1\0";

/// Why a bundle is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BundleError {
    /// Something else, or nothing, stands at its place.
    #[error("there is no configuration bundle")]
    Absent,
    /// A later format.
    #[error("the configuration bundle has format {0}, this release reads format 1")]
    Format(u32),
    /// Longer than allowed, or cut off.
    #[error("the configuration bundle is cut off or longer than {BYTES_MAX} bytes")]
    Length,
    /// Not signed by the key of the image.
    #[error("the configuration bundle is not signed by the key that this image trusts")]
    Signature,
    /// The trusted key is none.
    #[error("the trusted key is not an Ed25519 key")]
    Key,
    /// Signed, but not to be understood.
    #[error("the configuration bundle is malformed")]
    Malformed,
    /// A name with a part that is empty, begins with a dot or is not made of `a-z`, `0-9`, `.`, `_` and `-`; or one that is
    /// there twice.
    #[error("{0:?} cannot be the name of a file in a configuration bundle")]
    Name(String),
}

/// A machine's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle {
    /// Rises with each bundle of a machine; an older one is refused.
    pub serial: u64,
    /// Names and contents.
    pub files: Vec<(String, Vec<u8>)>,
}

impl Bundle {
    /// The content of a file.
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.iter().find(|file| file.0 == name).map(|file| &file.1[..])
    }

    /// Signs it.
    pub fn encode(&self, key: &SigningKey) -> Result<Vec<u8>, BundleError> {
        check_names(&self.files)?;
        let mut body = self.serial.to_le_bytes().to_vec();
        body.extend((self.files.len() as u16).to_le_bytes());
        for (name, content) in &self.files {
            let length = u32::try_from(content.len()).map_err(|_| BundleError::Length)?;
            body.push(name.len() as u8);
            body.extend(name.as_bytes());
            body.extend(length.to_le_bytes());
            body.extend(content);
        }
        let mut out = MAGIC.to_vec();
        out.extend(1_u32.to_le_bytes());
        out.extend((body.len() as u32).to_le_bytes());
        out.extend(body);
        out.extend(key.sign(&[DOMAIN, &out].concat()).to_bytes());
        if out.len() > BYTES_MAX { Err(BundleError::Length) } else { Ok(out) }
    }

    /// The serial number that the bundle at the start of `bytes` claims, before any signature was looked at: to tell a person
    /// who is about to replace it.
    pub fn serial_of(bytes: &[u8]) -> Option<u64> {
        (bytes.starts_with(MAGIC) && u32_at(bytes, 8) == Some(1)).then(|| u64_at(bytes, HEAD)).flatten()
    }

    /// Checks the bundle at the start of `bytes`, which may go on behind it, and reads it.
    pub fn decode(bytes: &[u8], trusted: &[u8; 32]) -> Result<Self, BundleError> {
        let key = VerifyingKey::from_bytes(trusted).map_err(|_| BundleError::Key)?;
        if !bytes.starts_with(MAGIC) {
            return Err(BundleError::Absent);
        }
        let format = u32_at(bytes, 8).ok_or(BundleError::Length)?;
        if format != 1 {
            return Err(BundleError::Format(format));
        }
        let end = u32_at(bytes, 12).map(|length| HEAD + length as usize).ok_or(BundleError::Length)?;
        let signature = array_at::<64>(bytes, end).ok_or(BundleError::Length)?;
        if end + 64 > BYTES_MAX {
            return Err(BundleError::Length);
        }
        let signed = [DOMAIN, &bytes[..end]].concat();
        key.verify_strict(&signed, &Signature::from_bytes(&signature)).map_err(|_| BundleError::Signature)?;
        let bundle = Self::read(&bytes[HEAD..end]).ok_or(BundleError::Malformed)?;
        check_names(&bundle.files)?;
        Ok(bundle)
    }

    fn read(body: &[u8]) -> Option<Self> {
        let mut bundle = Self { serial: u64_at(body, 0)?, files: Vec::new() };
        let count = u16_at(body, 8)?;
        let mut at = 10;
        for _ in 0..count {
            let name = usize::from(*body.get(at)?);
            let text = std::str::from_utf8(bytes_at(body, at + 1, name)?).ok()?;
            let length = u32_at(body, at + 1 + name)? as usize;
            bundle.files.push((text.to_owned(), bytes_at(body, at + 5 + name, length)?.to_vec()));
            at += 5 + name + length;
        }
        (at == body.len()).then_some(bundle)
    }
}

fn check_names(files: &[(String, Vec<u8>)]) -> Result<(), BundleError> {
    if files.len() > FILES_MAX {
        return Err(BundleError::Malformed);
    }
    for (index, (name, _)) in files.iter().enumerate() {
        let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        let plain = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(letter);
        let again = files[..index].iter().any(|other| other.0 == *name);
        let folders = name.split('/').count() - 1;
        if name.len() > NAME_MAX || folders > FOLDERS_MAX || again || !name.split('/').all(plain) {
            return Err(BundleError::Name(name.clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(n: u8) -> SigningKey {
        SigningKey::from_bytes(&[n; 32])
    }

    fn bundle() -> Bundle {
        let file = |name: &str, content: &[u8]| (name.to_owned(), content.to_vec());
        Bundle { serial: 5, files: vec![file("node.toml", b"genesis = 1"), file("node/genesis.toml", b"")] }
    }

    #[test]
    fn what_was_signed_is_read_with_a_partition_behind_it() {
        let mut bytes = bundle().encode(&key(1)).unwrap();
        bytes.resize(4096, 0);
        assert_eq!(Bundle::decode(&bytes, key(1).verifying_key().as_bytes()), Ok(bundle()));
    }

    #[test]
    fn another_key_is_refused_and_so_is_an_empty_partition() {
        let bytes = bundle().encode(&key(1)).unwrap();
        assert_eq!(Bundle::decode(&bytes, key(2).verifying_key().as_bytes()), Err(BundleError::Signature));
        assert_eq!(Bundle::decode(&[0; 4096], key(2).verifying_key().as_bytes()), Err(BundleError::Absent));
    }

    #[test]
    fn names_cannot_leave_the_folder() {
        for name in ["../x", "a/../b", "/a", "a/", "a//b", "a/b/c/d/e", "", ".", "..", "A", "a b", "node.toml"] {
            let mut bundle = bundle();
            bundle.files.push((name.to_owned(), Vec::new()));
            assert_eq!(bundle.encode(&key(1)), Err(BundleError::Name(name.to_owned())));
        }
    }

    proptest! {
        #[test]
        fn flips_and_truncations_are_refused(at in 0_usize..200, bit in 0_u8..8) {
            let bytes = bundle().encode(&key(1)).unwrap();
            let trusted = key(1).verifying_key().to_bytes();
            let at = at % bytes.len();
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            prop_assert!(Bundle::decode(&flipped, &trusted).is_err());
            prop_assert!(Bundle::decode(&bytes[..at], &trusted).is_err());
        }

        #[test]
        fn signed_noise_is_an_error_or_a_bundle(body: Vec<u8>) {
            prop_assert!(Bundle::read(&body).is_none_or(|bundle| bundle.files.len() <= body.len()));
        }
    }
}
