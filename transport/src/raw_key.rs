//! Public keys and signatures of TLS 1.3 for the two algorithms of validators: `SubjectPublicKeyInfo` (RFC 7250) and the
//! signature schemes of RFC 8446 §4.2.3. Each key has one accepted encoding.

use p256::elliptic_curve::sec1::ToSec1Point;
use rustls::{SignatureAlgorithm, SignatureScheme};
use types::{AlgId, PublicKey};

/// DER of `SubjectPublicKeyInfo` up to the key itself: Ed25519 (RFC 8410 §4).
const ED25519: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The same for P-256 with an uncompressed point (RFC 5480 §2).
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The schemes of both algorithms.
pub(crate) const SCHEMES: [SignatureScheme; 2] = [SignatureScheme::ED25519, SignatureScheme::ECDSA_NISTP256_SHA256];

/// The RFC 7250 form of a key; `None` for an algorithm that no validator has, and for bytes that are no point.
pub(crate) fn spki(key: &PublicKey) -> Option<Vec<u8>> {
    match key.alg() {
        AlgId::Ed25519 => Some([&ED25519[..], key.as_bytes()].concat()),
        AlgId::EcdsaP256 => {
            let point = p256::PublicKey::from_sec1_bytes(key.as_bytes()).ok()?.to_sec1_point(false);
            Some([&P256[..], point.as_bytes()].concat())
        }
        _ => None,
    }
}

/// The key inside a `SubjectPublicKeyInfo`, if it is in its one form.
pub(crate) fn key_of(spki: &[u8]) -> Option<PublicKey> {
    if let Some(key) = spki.strip_prefix(&ED25519) {
        return PublicKey::from_parts(AlgId::Ed25519, key).ok();
    }
    let point = spki.strip_prefix(&P256)?;
    if point.len() == 65 { PublicKey::from_point_bytes(AlgId::EcdsaP256, point).ok() } else { None }
}

/// The scheme that a key signs handshakes with.
pub(crate) fn scheme(alg: AlgId) -> Option<(SignatureScheme, SignatureAlgorithm)> {
    match alg {
        AlgId::Ed25519 => Some((SCHEMES[0], SignatureAlgorithm::ED25519)),
        AlgId::EcdsaP256 => Some((SCHEMES[1], SignatureAlgorithm::ECDSA)),
        _ => None,
    }
}

/// A signature as TLS carries it: Ed25519 as it is, ECDSA r ‖ s as DER `Ecdsa-Sig-Value` (RFC 3279 §2.2.3).
pub(crate) fn tls_signature(alg: AlgId, signature: Vec<u8>) -> Vec<u8> {
    if alg != AlgId::EcdsaP256 || signature.len() != 64 {
        // A length that is none of the algorithm's is found out by the other end.
        return signature;
    }
    let integer = |bytes: &[u8]| {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count().min(bytes.len() - 1);
        let digits = &bytes[zeros..];
        // A leading one bit would be a sign.
        let sign: &[u8] = if digits[0] & 0x80 == 0 { &[] } else { &[0] };
        [&[0x02, (sign.len() + digits.len()) as u8], sign, digits].concat()
    };
    let content = [integer(&signature[..32]), integer(&signature[32..])].concat();
    [&[0x30, content.len() as u8], &content[..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::SecretKey;

    fn keys() -> [PublicKey; 2] {
        [AlgId::Ed25519, AlgId::EcdsaP256].map(|alg| SecretKey::from_seed(alg, [7; 32]).expect("a seed").public_key())
    }

    #[test]
    fn a_key_reads_back_and_no_other_form_of_it_does() {
        for key in keys() {
            let encoded = spki(&key).expect("an algorithm of validators");
            assert_eq!(key_of(&encoded), Some(key));
            assert_eq!(key_of(&encoded[..encoded.len() - 1]), None);
            assert_eq!(key_of(&[&encoded[..], &[0]].concat()), None);
            let mut altered = encoded.clone();
            altered[8] ^= 1;
            assert_eq!(key_of(&altered), None);
        }
        let compressed = [&P256[..], keys()[1].as_bytes()].concat();
        assert_eq!(key_of(&compressed), None);
        let secp256k1 = SecretKey::from_seed(AlgId::EcdsaSecp256k1, [7; 32]).expect("a seed").public_key();
        assert_eq!(spki(&secp256k1), None);
    }

    #[test]
    fn integers_are_as_short_as_they_can_be_and_never_negative() {
        let mut signature = vec![0; 64];
        signature[31] = 1;
        signature[32] = 0x80;
        let der = tls_signature(AlgId::EcdsaP256, signature.clone());
        let mut expected = vec![0x30, 3 + 35, 0x02, 1, 1, 0x02, 33, 0, 0x80];
        expected.extend([0; 31]);
        assert_eq!(der, expected);
        assert_eq!(tls_signature(AlgId::EcdsaP256, vec![0; 64]), [0x30, 6, 2, 1, 0, 2, 1, 0]);
        assert_eq!(tls_signature(AlgId::Ed25519, signature.clone()), signature);
    }
}
