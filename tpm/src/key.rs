//! P-256 signing keys as a TPM writes them (TPM 2.0 Library part 2, TPMT_PUBLIC), and the names by which it knows objects.

use crate::pcr::SHA256;
use sha2::{Digest, Sha256};

/// TPM_ALG_ECDSA.
pub(crate) const ECDSA: u16 = 0x18;
/// Bytes of a digest of SHA-256 and of a coordinate.
pub(crate) const WIDTH: usize = 32;

/// The public area of a key with these attributes (TPMA_OBJECT), up to its point: P-256, ECDSA with SHA-256, no policy.
pub(crate) const fn signing_key(attributes: u32) -> [u8; 20] {
    let [a, b, c, d] = attributes.to_be_bytes();
    [0x00, 0x23, 0x00, 0x0b, a, b, c, d, 0x00, 0x00, 0x00, 0x10, 0x00, 0x18, 0x00, 0x0b, 0x00, 0x03, 0x00, 0x10]
}

/// The name of what has this public area: the algorithm of the digest, and the digest (part 1, chapter 16).
pub(crate) fn name(area: &[u8]) -> [u8; 2 + WIDTH] {
    let mut name = [0; 2 + WIDTH];
    name[..2].copy_from_slice(&SHA256.to_be_bytes());
    name[2..].copy_from_slice(&Sha256::digest(area));
    name
}
