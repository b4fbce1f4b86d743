//! Points of the Weierstrass curves as bytes (SEC 1 §2.3.3, §2.3.4), and how a seed becomes a secret scalar.
//!
//! A key of the ledger has one form, the compressed one. Its prefix is looked at before the curve's crate sees it, because
//! SEC 1 crates know further prefixes of the same length.

use super::KeyError;
use crate::alg::AlgId;
use ecdsa::elliptic_curve::ops::Reduce;
use ecdsa::elliptic_curve::sec1::{FromSec1Point, ModulusSize, ToSec1Point};
use ecdsa::elliptic_curve::{AffinePoint, CurveArithmetic, Field, FieldBytes, FieldBytesSize, PublicKey, Scalar};
use sha2::Digest as _;
use zeroize::Zeroizing;

/// Bytes of a compressed point.
pub(super) const COMPRESSED_LEN: usize = 33;

/// A point of 33 bytes: 02 or 03 (y even or odd) and x, big-endian. `None` for another prefix or length, x ≥ p, and an x
/// that no point has. No such encoding stands for the point at infinity.
pub(super) fn decode<C>(bytes: &[u8]) -> Option<PublicKey<C>>
where
    C: CurveArithmetic,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
    FieldBytesSize<C>: ModulusSize,
{
    let compressed = bytes.len() == COMPRESSED_LEN && matches!(bytes[0], 2 | 3);
    if compressed { PublicKey::from_sec1_bytes(bytes).ok() } else { None }
}

/// The 33 bytes of a point.
pub(super) fn encode<C>(point: &PublicKey<C>) -> [u8; COMPRESSED_LEN]
where
    C: CurveArithmetic,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
    FieldBytesSize<C>: ModulusSize,
{
    point.to_sec1_point(true).as_bytes().try_into().expect("a compressed point of a 256-bit curve has 33 bytes")
}

/// The compressed form of a point that is given as x‖y (64 bytes), as 04‖x‖y (65 bytes) or compressed (33 bytes).
pub(super) fn compress<C>(alg: AlgId, bytes: &[u8]) -> Result<[u8; COMPRESSED_LEN], KeyError>
where
    C: CurveArithmetic,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
    FieldBytesSize<C>: ModulusSize,
{
    let point = match bytes.len() {
        COMPRESSED_LEN => decode::<C>(bytes),
        64 => PublicKey::from_sec1_bytes(&[&[4], bytes].concat()).ok(),
        65 if bytes[0] == 4 => PublicKey::from_sec1_bytes(bytes).ok(),
        65 => None,
        found => return Err(KeyError::WrongPointLength { alg, found }),
    };
    Ok(encode(&point.ok_or(KeyError::NotAPoint(alg))?))
}

/// The scalar of a seed: SHA-512 of the domain `stele/secret-key/1` (its length in one byte, then its name), the id of the
/// algorithm in one byte, and the seed; read big-endian, modulo n. 256 bits more than n has make it uniform (FIPS 186-5
/// §A.2.1), and the id in it gives one seed unrelated keys under different algorithms.
pub(super) fn scalar_from_seed<C>(alg: AlgId, seed: &[u8; 32]) -> Zeroizing<Scalar<C>>
where
    C: CurveArithmetic,
{
    const DOMAIN: &[u8; 18] = b"stele/secret-key/1";
    let hash = sha2::Sha512::new().chain_update([DOMAIN.len() as u8]).chain_update(DOMAIN).chain_update([alg as u8]);
    let wide = Zeroizing::new(<[u8; 64]>::from(hash.chain_update(seed).finalize()));
    let half = |bytes: &[u8]| {
        let bytes =
            Zeroizing::new(FieldBytes::<C>::try_from(bytes).expect("the scalars of these curves have 32 bytes"));
        Zeroizing::new(Scalar::<C>::reduce(&*bytes))
    };
    let two_to_256 = Scalar::<C>::from(1 << 32).square().square().square();
    Zeroizing::new(*half(&wide[..32]) * two_to_256 + *half(&wide[32..]))
}
