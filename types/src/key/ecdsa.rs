//! ECDSA with SHA-256 on P-256 and secp256k1: the reference verdict, and signing.
//!
//! # The rules of a verdict
//! A signature r‖s, two numbers of 32 bytes, big-endian, over a message M under a key Q is valid iff all of this holds
//! (FIPS 186-5 §6.4.2, and the low-s rule):
//!
//! 1. Q decodes: 33 bytes, 02 or 03 and x, x < p, a point of the curve has this x.
//! 2. 1 ≤ r < n.
//! 3. 1 ≤ s ≤ (n − 1) / 2: of (r, s) and (r, n − s), which both satisfy the equation, one is a signature. This holds on
//!    both curves, so a P-256 signature by a library that does not normalise has to be normalised before it is sent.
//! 4. With e = SHA-256(M) as a number, big-endian, taken modulo n, R = `[e/s]G + [r/s]Q` is not the point at infinity.
//! 5. R's x, taken modulo n, is r: where r + n < p, either of two x will do.
//!
//! A prehashed verdict takes the 32 bytes of e in place of M; all values of them are allowed, zero too.

use super::{InvalidSignature, point};
use ecdsa::elliptic_curve::array::ArraySize;
use ecdsa::elliptic_curve::ops::Invert;
use ecdsa::elliptic_curve::scalar::IsHigh;
use ecdsa::elliptic_curve::sec1::{FromSec1Point, ModulusSize, ToSec1Point};
use ecdsa::elliptic_curve::subtle::CtOption;
use ecdsa::elliptic_curve::{AffinePoint, CurveArithmetic, FieldBytesSize, NonZeroScalar, Scalar};
use ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use ecdsa::{DigestAlgorithm, EcdsaCurve, Signature, SignatureSize, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

/// e of a message.
pub(super) fn prehash(message: &[u8]) -> [u8; 32] {
    Sha256::digest(message).into()
}

/// The verdict over e.
pub(super) fn verify<C>(key: &[u8], prehash: &[u8; 32], signature: &[u8]) -> Result<(), InvalidSignature>
where
    C: EcdsaCurve + CurveArithmetic,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
    FieldBytesSize<C>: ModulusSize,
    SignatureSize<C>: ArraySize,
{
    let signature = Signature::<C>::from_slice(signature).map_err(|_| InvalidSignature)?;
    if bool::from(signature.s().is_high()) {
        return Err(InvalidSignature);
    }
    let key = VerifyingKey::from(point::decode::<C>(key).ok_or(InvalidSignature)?);
    key.verify_prehash(prehash, &signature).map_err(|_| InvalidSignature)
}

/// r‖s over e, low-s, with the nonce of RFC 6979.
pub(super) fn sign<C>(key: &SigningKey<C>, prehash: &[u8; 32]) -> [u8; 64]
where
    C: EcdsaCurve + CurveArithmetic + DigestAlgorithm,
    Scalar<C>: Invert<Output = CtOption<Scalar<C>>>,
    SignatureSize<C>: ArraySize,
{
    let signature: Signature<C> =
        key.sign_prehash(prehash).expect("a prehash of 32 bytes is long enough for the curve");
    signature.normalize_s().to_bytes().as_slice().try_into().expect("r and s of these curves have 32 bytes each")
}

/// The key with this scalar; `None` for zero.
pub(super) fn signing_key<C>(scalar: &Scalar<C>) -> Option<SigningKey<C>>
where
    C: EcdsaCurve + CurveArithmetic,
{
    Option::<NonZeroScalar<C>>::from(NonZeroScalar::new(*scalar)).map(SigningKey::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ecdsa::elliptic_curve::ops::Reduce;
    use ecdsa::elliptic_curve::point::AffineCoordinates;
    use ecdsa::elliptic_curve::{CurveGroup, Field, FieldBytes, Group, ProjectivePoint, PublicKey};
    use k256::Secp256k1;
    use p256::NistP256;

    /// A key is made for which s = (n − 1) / 2 and s = (n + 1) / 2 both satisfy the equation.
    fn edge_of_low_s<C>()
    where
        C: EcdsaCurve + CurveArithmetic,
        AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
        FieldBytesSize<C>: ModulusSize,
        SignatureSize<C>: ArraySize,
    {
        let message = prehash(b"a message");
        let z = Scalar::<C>::reduce(&FieldBytes::<C>::try_from(message.as_slice()).expect("32 bytes"));
        let nonce_point = ProjectivePoint::<C>::generator() * Scalar::<C>::from(11);
        let r = Scalar::<C>::reduce(&nonce_point.to_affine().x());
        // Half of −1.
        let low = -Option::<Scalar<C>>::from(Field::invert(&Scalar::<C>::from(2))).expect("two is not zero");
        let r_inverse = Option::<Scalar<C>>::from(Field::invert(&r)).expect("not zero");
        let key = (nonce_point * low - ProjectivePoint::<C>::generator() * z) * r_inverse;
        let key = point::encode(&PublicKey::<C>::from_affine(key.to_affine()).expect("not at infinity"));
        let with = |s: Scalar<C>| Signature::<C>::from_scalars(r, s).expect("neither is zero").to_bytes();
        assert_eq!(verify::<C>(&key, &message, &with(low)), Ok(()));
        assert_eq!(verify::<C>(&key, &message, &with(-low)), Err(InvalidSignature));
        assert_eq!(-low, low + Scalar::<C>::ONE, "the two are neighbours");
    }

    #[test]
    fn the_largest_low_s_is_valid_and_the_next_one_is_not() {
        edge_of_low_s::<NistP256>();
        edge_of_low_s::<Secp256k1>();
    }

    #[test]
    fn p256_signs_as_rfc_6979_does_and_normalises() {
        let unhex = |text: &str| hex::decode(text).expect("hexadecimal");
        let d = unhex("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721");
        let key = SigningKey::<NistP256>::from_slice(&d).expect("in range");
        // RFC 6979 §A.2.5, SHA-256: "test" has a low s, "sample" has s = f7cb1c94….
        let sample = sign(&key, &prehash(b"sample"));
        let test = sign(&key, &prehash(b"test"));
        assert_eq!(sample[..32], unhex("efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"));
        assert_eq!(sample[32..], unhex("0834e36ad29a83bf2bc9385e491d6099c8fdf9d1ed67aa7ea5f51f93782857a9"));
        assert_eq!(test[..32], unhex("f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367"));
        assert_eq!(test[32..], unhex("019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083"));
    }
}
