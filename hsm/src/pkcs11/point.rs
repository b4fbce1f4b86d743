//! CKA_EC_POINT of an Ed25519 key. PKCS#11 3.0 was read as a DER BIT STRING, 3.1 says raw bytes, SoftHSM 2 gives a DER
//! OCTET STRING; the length tells them apart.

use types::{AlgId, PublicKey};

/// The key, from any of the three encodings.
pub(super) fn ed25519(bytes: &[u8]) -> Option<PublicKey> {
    let raw = match bytes {
        [0x04, 0x20, raw @ ..] if raw.len() == 32 => raw,
        [0x03, 0x21, 0x00, raw @ ..] if raw.len() == 32 => raw,
        raw => raw,
    };
    PublicKey::from_parts(AlgId::Ed25519, raw).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_encodings_of_a_point_are_one_key() {
        let raw: Vec<u8> = (0..32).collect();
        let key = ed25519(&raw).expect("raw");
        assert_eq!(ed25519(&[&[0x04, 0x20], &raw[..]].concat()), Some(key.clone()));
        assert_eq!(ed25519(&[&[0x03, 0x21, 0x00], &raw[..]].concat()), Some(key));
        for wrong in [&[][..], &raw[1..], &[&[0x04, 0x21], &raw[..]].concat(), &[0; 35]] {
            assert_eq!(ed25519(wrong), None);
        }
    }
}
