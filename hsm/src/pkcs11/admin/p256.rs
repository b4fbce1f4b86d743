//! P-256 as tokens speak it: three encodings of a point, and signatures whose s may be the high one.

use types::{AlgId, PublicKey};

/// The order of the curve (FIPS 186-5, SP 800-186 §3.2.1.3), big-endian.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// The key of a CKA_EC_POINT: 04‖x‖y raw, in a DER OCTET STRING, or in a DER BIT STRING.
pub(super) fn public_key(bytes: &[u8]) -> Option<PublicKey> {
    let raw = match bytes {
        [0x04, 0x41, raw @ ..] if raw.len() == 65 => raw,
        [0x03, 0x42, 0x00, raw @ ..] if raw.len() == 65 => raw,
        raw => raw,
    };
    PublicKey::from_point_bytes(AlgId::EcdsaP256, raw).ok()
}

/// The one of (r, s) and (r, n − s) that is a signature here. What is no pair of two numbers below n is left for the
/// verdict to refuse.
pub(super) fn low_s(mut signature: Vec<u8>) -> Vec<u8> {
    if let Some(s) = signature.get_mut(32..64) {
        let mut negated = [0; 32];
        let mut borrow = 0;
        for place in (0..32).rev() {
            let difference = i16::from(ORDER[place]) - i16::from(s[place]) - borrow;
            borrow = i16::from(difference < 0);
            negated[place] = difference.rem_euclid(256) as u8;
        }
        if borrow == 0 && negated.as_slice() < &*s {
            s.copy_from_slice(&negated);
        }
    }
    signature
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{SecretKey, Signature};

    #[test]
    fn of_a_signature_and_its_twin_the_low_one_is_taken() {
        let key = SecretKey::from_seed(AlgId::EcdsaP256, [7; 32]).expect("a scalar");
        for number in 0..20u8 {
            let low = key.sign_bytes(&[number]).as_bytes().to_vec();
            let mut high = low.clone();
            let mut borrow = 0;
            for place in (0..32).rev() {
                let difference = i16::from(ORDER[place]) - i16::from(low[32 + place]) - borrow;
                borrow = i16::from(difference < 0);
                high[32 + place] = difference.rem_euclid(256) as u8;
            }
            assert_ne!(high, low);
            assert_eq!(low_s(high), low);
            assert_eq!(low_s(low.clone()), low);
            let signature = Signature::from_parts(AlgId::EcdsaP256, &low).expect("64 bytes");
            assert!(key.public_key().verify_bytes(&[number], &signature).is_ok());
        }
        assert_eq!(low_s(vec![0xff; 64]), vec![0xff; 64], "not below n");
        assert_eq!(low_s(vec![1; 7]), vec![1; 7]);
    }
}
