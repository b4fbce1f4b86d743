//! CKA_EC_POINT. PKCS#11 3.0 was read as a DER BIT STRING, 3.1 says raw bytes, SoftHSM 2 gives a DER OCTET STRING; the
//! length tells them apart.

use types::{AlgId, PublicKey};

/// The key, from any of the three encodings of any encoding of its point.
pub(super) fn decode(alg: AlgId, bytes: &[u8]) -> Option<PublicKey> {
    // A point has one of these lengths, and none of them with a DER head (2 or 3 bytes) is one of these lengths.
    let lengths: &[usize] = if alg == AlgId::Ed25519 { &[32] } else { &[33, 64, 65] };
    let raw = match bytes {
        raw if lengths.contains(&raw.len()) => raw,
        [0x04, length, raw @ ..] if usize::from(*length) == raw.len() => raw,
        [0x03, length, 0x00, raw @ ..] if usize::from(*length) == raw.len() + 1 => raw,
        _ => return None,
    };
    if alg == AlgId::Ed25519 {
        PublicKey::from_parts(alg, raw).ok()
    } else {
        PublicKey::from_point_bytes(alg, raw).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::SecretKey;

    fn encodings(raw: &[u8]) -> [Vec<u8>; 3] {
        let length = raw.len() as u8;
        [raw.to_vec(), [&[0x04, length], raw].concat(), [&[0x03, length + 1, 0x00], raw].concat()]
    }

    #[test]
    fn three_encodings_of_a_point_are_one_key() {
        for alg in [AlgId::Ed25519, AlgId::EcdsaP256] {
            let key = SecretKey::from_seed(alg, [7; 32]).expect("a seed").public_key();
            for bytes in encodings(key.as_bytes()) {
                assert_eq!(decode(alg, &bytes), Some(key.clone()), "{alg} {bytes:?}");
                assert_eq!(decode(alg, &bytes[1..]), None);
            }
        }
        for wrong in [&[][..], &[0; 35], &[4, 33], &[3, 33, 0]] {
            assert_eq!(decode(AlgId::Ed25519, wrong), None);
            assert_eq!(decode(AlgId::EcdsaP256, wrong), None);
        }
    }

    #[test]
    fn an_uncompressed_point_is_the_same_key_as_its_compressed_form() {
        // RFC 6979 §A.2.5.
        let x = "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6";
        let y = "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";
        let uncompressed = hex::decode(format!("04{x}{y}")).expect("hexadecimal");
        let compressed = hex::decode(format!("03{x}")).expect("hexadecimal");
        let key = decode(AlgId::EcdsaP256, &compressed).expect("a point");
        for bytes in encodings(&uncompressed).into_iter().chain(encodings(&uncompressed[1..])) {
            assert_eq!(decode(AlgId::EcdsaP256, &bytes), Some(key.clone()));
        }
    }
}
