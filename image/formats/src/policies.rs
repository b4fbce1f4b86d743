//! What a kernel image brings so that a sealed state opens: the public key in its section `.pcrpkey`, which is measured, and
//! in `.pcrsig`, which is not, the key's signatures over the policies of the states that this image boots into. The loader
//! stub hands both on as files.
//!
//! `.pcrpkey` is a P-256 key as `openssl pkey -pubout` writes it (PEM). `.pcrsig` is ours; numbers are little-endian:
//!
//! ```text
//! "STELEPOL" | format u32 = 1 | count u32 | each: policy, 32 bytes | signature r, 32 bytes | s, 32 bytes
//! ```
//! Format 1 is of policies over PCR 11 and 12. Absent: whether a signature holds, which the TPM checks.

use crate::field::{array_at, u32_at};
use thiserror::Error;

/// The registers that policies of format 1 are over: what the stub measures of a kernel image, and the command line where one
/// came from outside of it.
pub const MEASURED: [u8; 2] = [11, 12];
/// Where the stub puts `.pcrpkey`.
pub const KEY_FILE: &str = "/.extra/tpm2-pcr-public-key.pem";
/// Where the stub puts `.pcrsig`.
pub const SIGNATURE_FILE: &str = "/.extra/tpm2-pcr-signature.json";
/// Policies of an image at most.
pub const COUNT_MAX: usize = 16;

const MAGIC: &[u8; 8] = b"STELEPOL";
const HEAD: usize = 16;
const ENTRY: usize = 96;
/// SubjectPublicKeyInfo of a P-256 key (RFC 5480), up to its point.
const SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE,
    0x3D, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const POINT: usize = 65;
const PEM: [&str; 2] = ["-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"];

/// Why there are no policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// Something else.
    #[error("the signed policies are cut off or none of ours")]
    Malformed,
    /// Not a P-256 key in PEM.
    #[error("the policy key is not a P-256 public key in PEM")]
    Key,
}

/// A policy and the signature over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The digest of the policy.
    pub digest: [u8; 32],
    /// r, then s.
    pub signature: [u8; 64],
}

/// The content of `.pcrsig`.
pub fn encode(policies: &[Policy]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend(1_u32.to_le_bytes());
    out.extend((policies.len() as u32).to_le_bytes());
    for policy in policies {
        out.extend(policy.digest);
        out.extend(policy.signature);
    }
    out
}

/// Reads the content of `.pcrsig`, all of it.
pub fn decode(bytes: &[u8]) -> Result<Vec<Policy>, PolicyError> {
    let count = u32_at(bytes, 12).map(|count| count as usize).filter(|count| (1..=COUNT_MAX).contains(count));
    let count = count.ok_or(PolicyError::Malformed)?;
    if !bytes.starts_with(MAGIC) || u32_at(bytes, 8) != Some(1) || bytes.len() != HEAD + count * ENTRY {
        return Err(PolicyError::Malformed);
    }
    let entry = |at| Some(Policy { digest: array_at(bytes, at)?, signature: array_at(bytes, at + 32)? });
    let entries: Option<Vec<Policy>> = (0..count).map(|index| entry(HEAD + index * ENTRY)).collect();
    entries.ok_or(PolicyError::Malformed)
}

/// The uncompressed point of the key in some PEM.
pub fn point(pem: &[u8]) -> Result<[u8; POINT], PolicyError> {
    let text = std::str::from_utf8(pem).map_err(|_| PolicyError::Key)?.trim();
    let body = text.strip_prefix(PEM[0]).and_then(|text| text.strip_suffix(PEM[1])).ok_or(PolicyError::Key)?;
    let der = base64(body).ok_or(PolicyError::Key)?;
    let point = der.strip_prefix(&SPKI).and_then(|point| point.try_into().ok());
    point.filter(|point: &[u8; POINT]| point[0] == 4).ok_or(PolicyError::Key)
}

/// RFC 4648, over lines.
fn base64(text: &str) -> Option<Vec<u8>> {
    let letters: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let mut out = Vec::with_capacity(letters.len() / 4 * 3);
    let groups = letters.chunks_exact(4);
    if !groups.remainder().is_empty() {
        return None;
    }
    let last = groups.len();
    for (index, group) in groups.enumerate() {
        let padding = group.iter().rev().take_while(|letter| **letter == b'=').count();
        if padding > 2 || (padding > 0 && index + 1 < last) {
            return None;
        }
        let mut bits = 0_u32;
        for letter in group {
            let value = match letter {
                b'A'..=b'Z' => letter - b'A',
                b'a'..=b'z' => letter - b'a' + 26,
                b'0'..=b'9' => letter - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                b'=' => 0,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        out.extend(&bits.to_be_bytes()[1..4 - padding]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `openssl ecparam -name prime256v1 -genkey -noout | openssl pkey -pubout`.
    const KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEDnKQaZV785j21210MsWOS2hQVTbF
VQv5RIZyVUNl1IYkz7dfwjXxKTK/NeuQIzJ/EbBo0BH+G8r0JZdV8OsjqQ==
-----END PUBLIC KEY-----
";

    fn policies() -> Vec<Policy> {
        (0..3).map(|n| Policy { digest: [n; 32], signature: [n + 7; 64] }).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(decode(&encode(&policies())), Ok(policies()));
        assert_eq!(decode(&encode(&[])), Err(PolicyError::Malformed));
    }

    #[test]
    fn a_key_is_read_out_of_its_pem() {
        let point = point(KEY.as_bytes()).unwrap();
        assert_eq!((point[0], point[1], point[64]), (4, 0x0E, 0xA9));
        assert_eq!(base64("aGk="), Some(b"hi".to_vec()));
        assert_eq!(base64("aGk=aGk="), None);
        // Of another curve.
        let other = KEY.replace("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcD", &"A".repeat(32));
        assert_eq!(super::point(other.as_bytes()), Err(PolicyError::Key));
    }

    proptest! {
        #[test]
        fn truncations_and_additions_are_refused(length in 0_usize..303, more in 1_usize..99) {
            let bytes = encode(&policies());
            prop_assert_eq!(decode(&bytes[..length]), Err(PolicyError::Malformed));
            prop_assert_eq!(decode(&[&bytes[..], &vec![0; more]].concat()), Err(PolicyError::Malformed));
        }

        #[test]
        fn nothing_makes_the_readers_panic(bytes: Vec<u8>, at in 0_usize..178, value: u8) {
            let mut pem = KEY.as_bytes().to_vec();
            pem[at] = value;
            let _ = (decode(&bytes), point(&bytes), point(&pem));
        }
    }
}
