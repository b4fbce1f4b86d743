//! Secret keys of every algorithm, and public keys as other programs write them.

use crate::samples::Random;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use types::{AlgId, AlgKind, ChainId, Digest, KeyError, PublicKey, SecretKey, Transaction, TransactionBody};

#[test]
fn every_supported_algorithm_has_keys_and_no_other_has() {
    for alg in AlgId::ALL {
        let key = SecretKey::from_seed(alg, [7; 32]);
        match (alg.kind(), alg.supported()) {
            (AlgKind::Digest, _) => assert_eq!(key.unwrap_err(), KeyError::NotASignatureAlgorithm(alg)),
            (AlgKind::Signature, false) => assert_eq!(key.unwrap_err(), KeyError::Unsupported(alg)),
            (AlgKind::Signature, true) => {
                let key = key.unwrap();
                assert_eq!((key.alg(), key.public_key().alg()), (alg, alg));
                assert_eq!(key.expose_seed(), &[7; 32]);
                assert_eq!(key.sign_bytes(b"twice"), key.clone().sign_bytes(b"twice"), "signing is deterministic");
            }
        }
        assert_eq!(AlgId::from_name(alg.name()), Some(alg));
    }
    let signing: Vec<_> = AlgId::signing().map(AlgId::name).collect();
    assert_eq!(signing, ["ed25519", "sm2-sm3", "ecdsa-p256", "ecdsa-secp256k1"]);
    assert_eq!(SecretKey::from_seed(AlgId::Ed25519, [7; 32]).unwrap().public_key(), {
        SecretKey::ed25519_from_seed([7; 32]).public_key()
    });
}

/// The rule from seed to key and the deterministic nonces are a promise: a keystore of an older version has to give the
/// same key.
#[test]
fn the_keys_and_signatures_of_seeds_are_pinned() {
    let pins = [
        (AlgId::Ed25519, "e6117863c735701c3d27a2754539c5a862fb70770ac65590068af58e0c8fd036"),
        (AlgId::Sm2Sm3, "2a2c3fae1493b0418c7091eb81d6593d34f01f2a7ef5dd7ae46f35f7e56ba1ac"),
        (AlgId::EcdsaP256, "eef2ba5d9fdc68eece8eb9e35d0b4d3ffb2fb88dfe6e7122d85e25686cc734f5"),
        (AlgId::EcdsaSecp256k1, "f2ff47dfd8d7b706a603be37d78ebe646cd6094b3fa432d91dd8dd6ebde8bc84"),
    ];
    for (alg, pin) in pins {
        let (mut random, mut hasher) = (Random::new(1), Sha256::new());
        for _ in 0..100 {
            let key = SecretKey::from_seed(alg, random.array()).unwrap();
            hasher.update(key.public_key().as_bytes());
            hasher.update(key.sign_bytes(&random.bytes(47)).as_bytes());
        }
        assert_eq!(hex::encode(hasher.finalize()), pin, "{alg}");
    }
}

/// The keys of the seed 07…07, computed from the written rule by a program of a few lines with big integers.
#[test]
fn keys_follow_the_written_rule() {
    for (alg, digits) in [
        (AlgId::Sm2Sm3, "034f18e6c95506f9ef30176de3781e2589dd50220debdc51e846adc3b6c692e588"),
        (AlgId::EcdsaP256, "039da372cc6a7deda9cfcd163283278c4a766965ef9be622bf9e3c5d96d0b18e24"),
        (AlgId::EcdsaSecp256k1, "027690063a65b9b97e160ebbe456e1719447dcb10e926b5da42c644a4cf89ea413"),
    ] {
        assert_eq!(hex::encode(SecretKey::from_seed(alg, [7; 32]).unwrap().public_key().as_bytes()), digits, "{alg}");
    }
}

#[test]
fn one_seed_gives_unrelated_keys() {
    let keys: BTreeSet<Vec<u8>> = AlgId::signing()
        .map(|alg| SecretKey::from_seed(alg, [1; 32]).unwrap().public_key().as_bytes()[1..].to_vec())
        .collect();
    assert_eq!(keys.len(), AlgId::signing().count());
}

#[test]
fn no_secret_is_printed() {
    for alg in AlgId::signing() {
        let printed = format!("{:?}", SecretKey::from_seed(alg, [0xab; 32]).unwrap());
        assert!(printed.contains(alg.name()) && !printed.contains("abab"), "{printed}");
    }
}

/// x‖y of a key, by the curve's crate.
fn coordinates(key: &PublicKey) -> Vec<u8> {
    let uncompressed = match key.alg() {
        AlgId::Sm2Sm3 => sm2::PublicKey::from_sec1_bytes(key.as_bytes()).map(|key| {
            use sm2::elliptic_curve::sec1::ToSec1Point;
            key.to_sec1_point(false).as_bytes().to_vec()
        }),
        AlgId::EcdsaP256 => p256::PublicKey::from_sec1_bytes(key.as_bytes()).map(|key| {
            use p256::elliptic_curve::sec1::ToSec1Point;
            key.to_sec1_point(false).as_bytes().to_vec()
        }),
        _ => k256::PublicKey::from_sec1_bytes(key.as_bytes()).map(|key| {
            use k256::elliptic_curve::sec1::ToSec1Point;
            key.to_sec1_point(false).as_bytes().to_vec()
        }),
    };
    uncompressed.unwrap()[1..].to_vec()
}

#[test]
fn each_encoding_of_a_point_is_the_same_key() {
    let mut random = Random::new(2);
    for alg in AlgId::signing().filter(|alg| *alg != AlgId::Ed25519) {
        for _ in 0..20 {
            let key = SecretKey::from_seed(alg, random.array()).unwrap().public_key();
            let point = coordinates(&key);
            for encoding in [point.clone(), [&[4], point.as_slice()].concat(), key.as_bytes().to_vec()] {
                assert_eq!(PublicKey::from_point_bytes(alg, &encoding).as_ref(), Ok(&key), "{alg}");
            }
            for prefix in [0, 2, 3, 5, 6, 7, 0xff] {
                let encoding = [&[prefix], point.as_slice()].concat();
                assert_eq!(PublicKey::from_point_bytes(alg, &encoding), Err(KeyError::NotAPoint(alg)));
            }
            let mut moved = point.clone();
            moved[random.below(64)] ^= 1 << random.below(8);
            assert_eq!(PublicKey::from_point_bytes(alg, &moved), Err(KeyError::NotAPoint(alg)), "off the curve");
        }
        for found in (0..200).filter(|length| ![33, 64, 65].contains(length)) {
            let error = KeyError::WrongPointLength { alg, found };
            assert_eq!(PublicKey::from_point_bytes(alg, &vec![2; found]), Err(error));
        }
        for length in [33, 64, 65] {
            assert_eq!(PublicKey::from_point_bytes(alg, &vec![0; length]), Err(KeyError::NotAPoint(alg)), "infinity");
        }
    }
}

#[test]
fn other_algorithms_take_their_own_bytes_or_none() {
    let key = SecretKey::ed25519_from_seed([1; 32]).public_key();
    assert_eq!(PublicKey::from_point_bytes(AlgId::Ed25519, key.as_bytes()).as_ref(), Ok(&key));
    let wrong = KeyError::WrongLength { alg: AlgId::Ed25519, expected: 32, found: 33 };
    assert_eq!(PublicKey::from_point_bytes(AlgId::Ed25519, &[2; 33]), Err(wrong));
    assert_eq!(PublicKey::from_point_bytes(AlgId::MlDsa65, &[2; 33]), Err(KeyError::Unsupported(AlgId::MlDsa65)));
    let digest = KeyError::NotASignatureAlgorithm(AlgId::Sm3);
    assert_eq!(PublicKey::from_point_bytes(AlgId::Sm3, &[2; 33]), Err(digest));
}

#[test]
fn transactions_of_every_algorithm_are_signed_read_and_verified() {
    let chain = ChainId(Digest::sha256(b"a genesis"));
    let mut random = Random::new(3);
    for alg in AlgId::signing() {
        let key = SecretKey::from_seed(alg, random.array()).unwrap();
        let body = TransactionBody::Certify { document: Digest::sm3(b"a document"), memo: random.bytes(20).into() };
        let transaction = Transaction::sign(&chain, &key, 1, 2, body).unwrap();
        let read = Transaction::parse(&chain, transaction.raw().clone()).unwrap();
        assert_eq!(read.verify(), Ok(()), "{alg}");
        assert_eq!(read.sender(), key.public_key().address());
    }
}
