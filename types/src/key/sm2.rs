//! SM2 with SM3: the reference verdict, and signing.
//!
//! # The rules of a verdict
//! A signature r‖s, two numbers of 32 bytes, big-endian, over a message M under a key P is valid iff all of this holds
//! (GM/T 0003.2 §7.1, with the curve of GM/T 0003.5):
//!
//! 1. P decodes: 33 bytes, 02 or 03 and x, x < p, a point of the curve has this x.
//! 2. 1 ≤ r < n and 1 ≤ s < n. There is no low-s rule: (r, n − s) is no second signature.
//! 3. t = (r + s) mod n is not zero.
//! 4. (x₁, y₁) = `[s]G + [t]P` is not the point at infinity (which has no x₁; the standard does not name this case).
//! 5. (e + x₁) mod n = r, with e = SM3(Z ‖ M) as a number, big-endian, taken modulo n.
//!
//! Z = SM3(ENTL ‖ ID ‖ a ‖ b ‖ x_G ‖ y_G ‖ x_P ‖ y_P) (GM/T 0003.2 §5.5), where ID is always the default user id of GM/T
//! 0009, the 16 bytes `1234567812345678`, and ENTL is its length in bits in two bytes, 0080.
//!
//! A prehashed verdict takes the 32 bytes of e, Z in it already, in place of M; all values of them are allowed.

use super::{InvalidSignature, point};
use ecdsa::elliptic_curve::ops::Reduce as _;
use ecdsa::elliptic_curve::point::AffineCoordinates as _;
use ecdsa::elliptic_curve::sec1::ToSec1Point as _;
use ecdsa::elliptic_curve::{Curve as _, Group as _, PrimeField as _};
use ecdsa::signature::hazmat::PrehashVerifier as _;
use sm2::dsa::{Signature, VerifyingKey};
use sm2::{FieldBytes, ProjectivePoint, PublicKey, Scalar, Sm2, U256};
use sm3::{Digest as _, Sm3};
use zeroize::Zeroizing;

/// The user id of every key of the ledger (GM/T 0009).
const USER_ID: &str = "1234567812345678";

/// ENTL of [`USER_ID`].
const USER_ID_BITS: [u8; 2] = [0x00, 0x80];

/// a, b, x_G, y_G (GM/T 0003.5 §2).
#[rustfmt::skip]
const CURVE: [[u8; 32]; 4] = [
    [
        0xff, 0xff, 0xff, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfc,
    ],
    [
        0x28, 0xe9, 0xfa, 0x9e, 0x9d, 0x9f, 0x5e, 0x34, 0x4d, 0x5a, 0x9e, 0x4b, 0xcf, 0x65, 0x09, 0xa7,
        0xf3, 0x97, 0x89, 0xf5, 0x15, 0xab, 0x8f, 0x92, 0xdd, 0xbc, 0xbd, 0x41, 0x4d, 0x94, 0x0e, 0x93,
    ],
    [
        0x32, 0xc4, 0xae, 0x2c, 0x1f, 0x19, 0x81, 0x19, 0x5f, 0x99, 0x04, 0x46, 0x6a, 0x39, 0xc9, 0x94,
        0x8f, 0xe3, 0x0b, 0xbf, 0xf2, 0x66, 0x0b, 0xe1, 0x71, 0x5a, 0x45, 0x89, 0x33, 0x4c, 0x74, 0xc7,
    ],
    [
        0xbc, 0x37, 0x36, 0xa2, 0xf4, 0xf6, 0x77, 0x9c, 0x59, 0xbd, 0xce, 0xe3, 0x6b, 0x69, 0x21, 0x53,
        0xd0, 0xa9, 0x87, 0x7c, 0xc6, 0x2a, 0x47, 0x40, 0x02, 0xdf, 0x32, 0xe5, 0x21, 0x39, 0xf0, 0xa0,
    ],
];

/// e of a message under a key.
pub(super) fn prehash(key: &PublicKey, message: &[u8]) -> [u8; 32] {
    let point = key.to_sec1_point(false);
    let coordinates = &point.as_bytes()[1..];
    let z = CURVE.iter().fold(Sm3::new_with_prefix(USER_ID_BITS).chain_update(USER_ID), |z, part| z.chain_update(part));
    let z = z.chain_update(coordinates).finalize();
    Sm3::new_with_prefix(z).chain_update(message).finalize().into()
}

/// The verdict over e.
pub(super) fn verify(key: PublicKey, prehash: &[u8; 32], signature: &[u8]) -> Result<(), InvalidSignature> {
    let signature = Signature::from_slice(signature).map_err(|_| InvalidSignature)?;
    let key = VerifyingKey::new(USER_ID, key).map_err(|_| InvalidSignature)?;
    key.verify_prehash(prehash, &signature).map_err(|_| InvalidSignature)
}

/// A secret scalar d with what every signature needs of it.
#[derive(Clone)]
pub(super) struct SigningKey {
    d: Zeroizing<Scalar>,
    /// 1 / (1 + d).
    inverse: Zeroizing<Scalar>,
    public: PublicKey,
}

impl SigningKey {
    /// `None` for d = 0 and d = n − 1 (GM/T 0003.2 §6.1: d is from 1 to n − 2).
    pub(super) fn new(d: &Scalar) -> Option<Self> {
        let public = PublicKey::from_affine(ProjectivePoint::mul_by_generator(d).to_affine()).ok()?;
        let inverse = Zeroizing::new(Option::<Scalar>::from((*d + Scalar::ONE).invert())?);
        Some(Self { d: Zeroizing::new(*d), inverse, public })
    }

    pub(super) fn public(&self) -> &PublicKey {
        &self.public
    }

    /// r‖s over e (GM/T 0003.2 §6.1), with the nonce of RFC 6979 §3.2 under HMAC-SM3.
    pub(super) fn sign(&self, prehash: &[u8; 32]) -> [u8; 64] {
        let d = Zeroizing::new(self.d.to_repr());
        let mut nonces = rfc6979::KGenerator::<Sm3, U256>::new(&d, prehash, &[], &Sm2::ORDER);
        let e = Scalar::reduce(&FieldBytes::from(*prehash));
        loop {
            let mut k = Zeroizing::new(FieldBytes::default());
            nonces.fill_next_k(&mut k);
            let k = Zeroizing::new(Option::<Scalar>::from(Scalar::from_repr(*k)).expect("the generator stays below n"));
            let r = e + Scalar::reduce(&ProjectivePoint::mul_by_generator(&k).to_affine().x());
            let s = *self.inverse * (*k - r * *self.d);
            // A5 and A6: taken again with the next nonce where r = 0, r + k = n or s = 0.
            if bool::from(r.is_zero() | (r + *k).is_zero() | s.is_zero()) {
                continue;
            }
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&r.to_repr());
            signature[32..].copy_from_slice(&s.to_repr());
            return signature;
        }
    }
}

/// The key of 33 bytes, where they are a point.
pub(super) fn decode(key: &[u8]) -> Option<PublicKey> {
    point::decode::<Sm2>(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ecdsa::signature::hazmat::PrehashSigner as _;
    use ecdsa::signature::{Signer as _, Verifier as _};

    fn scalar(seed: u8) -> Zeroizing<Scalar> {
        point::scalar_from_seed::<Sm2>(crate::AlgId::Sm2Sm3, &[seed; 32])
    }

    #[test]
    fn it_signs_as_the_crate_does() {
        for seed in 0..20 {
            let (d, message) = (scalar(seed), [seed; 77]);
            let ours = SigningKey::new(&d).expect("in range");
            let theirs = sm2::dsa::SigningKey::from_slice(USER_ID, &d.to_repr()).expect("in range");
            let signed: Signature = theirs.sign(&message);
            assert_eq!(ours.sign(&prehash(ours.public(), &message)), signed.to_bytes().as_slice());
            let signed: Signature = theirs.sign_prehash(&[0xff; 32]).expect("32 bytes");
            assert_eq!(ours.sign(&[0xff; 32]), signed.to_bytes().as_slice(), "a prehash above n");
            let signed = Signature::from_slice(&ours.sign(&prehash(ours.public(), b"text"))).expect("in range");
            assert!(theirs.verifying_key().verify(b"text", &signed).is_ok());
        }
    }

    #[test]
    fn zero_and_minus_one_are_no_keys() {
        assert!(SigningKey::new(&Scalar::ZERO).is_none());
        assert!(SigningKey::new(&-Scalar::ONE).is_none());
        assert!(SigningKey::new(&(-Scalar::ONE - Scalar::ONE)).is_some());
    }
}
