//! The reference verdict of Ed25519: ZIP-215, one signature at a time.
//!
//! Deliberately absent: batches and caches, which `accel` has, and signing, which is in `secret`.

use super::InvalidSignature;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use sha2::Digest as _;

/// ZIP-215 §"Specification": accept iff s < L, A and R decode, and `[8](sB − kA − R) = O` with k = SHA-512(R‖A‖M) mod L.
pub(super) fn verify(key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
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
