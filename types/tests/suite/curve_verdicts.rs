//! The reference verdicts of ECDSA and SM2, and SM3, against public vectors, hostile keys, and each kind of damage.
//!
//! The vectors are those of `accel/tests/vectors`, whose README names their sources and licences.

use crate::samples::Random;
use serde_json::Value;
use types::{AlgId, Digest, InvalidSignature, KeyError, PublicKey, SecretKey, Signature, SignatureError};

const CURVES: [AlgId; 3] = [AlgId::Sm2Sm3, AlgId::EcdsaP256, AlgId::EcdsaSecp256k1];

const INVALID: Result<(), SignatureError> = Err(SignatureError::Invalid(InvalidSignature));

fn file(name: &str) -> Value {
    let path = format!("{}/../accel/tests/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(&path).expect(&path)).unwrap()
}

fn unhex(source: &Value) -> Vec<u8> {
    hex::decode(source.as_str().unwrap()).unwrap()
}

/// The order of each group, big-endian.
fn order(alg: AlgId) -> [u8; 32] {
    let digits = match alg {
        AlgId::Sm2Sm3 => "fffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54123",
        AlgId::EcdsaP256 => "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
        _ => "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141",
    };
    hex::decode(digits).unwrap().try_into().unwrap()
}

/// The prime of each field, big-endian.
fn prime(alg: AlgId) -> [u8; 32] {
    let digits = match alg {
        AlgId::Sm2Sm3 => "fffffffeffffffffffffffffffffffffffffffff00000000ffffffffffffffff",
        AlgId::EcdsaP256 => "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
        _ => "fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f",
    };
    hex::decode(digits).unwrap().try_into().unwrap()
}

/// a − b, big-endian, modulo 2^256.
fn minus(a: &[u8; 32], b: &[u8]) -> [u8; 32] {
    let (mut difference, mut borrow) = ([0; 32], 0);
    for at in (0..32).rev() {
        let digit = i16::from(a[at]) - i16::from(b[at]) - borrow;
        (difference[at], borrow) = (digit.rem_euclid(256) as u8, i16::from(digit < 0));
    }
    difference
}

/// r and n − s.
fn mirrored(alg: AlgId, signature: &[u8]) -> Vec<u8> {
    [&signature[..32], &minus(&order(alg), &signature[32..])].concat()
}

fn is_low(alg: AlgId, signature: &[u8]) -> bool {
    signature[32..] < minus(&order(alg), &signature[32..])[..]
}

/// The verdict; over the message and over its prehash it is the same.
fn verdict(key: &PublicKey, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
    let signature = Signature::from_parts(key.alg(), signature).unwrap();
    let verdict = key.verify_bytes(message, &signature);
    match key.prehash(message) {
        Some(prehash) => assert_eq!(key.verify_prehashed(&prehash, &signature), verdict),
        None => assert_eq!(verdict, INVALID, "only a key that is no point has no prehash"),
    }
    verdict
}

#[test]
fn wycheproof_cases_have_their_verdicts_but_for_the_high_s_ones() {
    for (alg, name, count, high_count) in [
        (AlgId::EcdsaP256, "wycheproof-ecdsa-p256.json", 262, 70),
        (AlgId::EcdsaSecp256k1, "wycheproof-ecdsa-secp256k1.json", 252, 72),
    ] {
        let (mut checked, mut high) = (0, 0);
        for group in file(name)["testGroups"].as_array().unwrap() {
            let key = PublicKey::from_point_bytes(alg, &unhex(&group["publicKey"]["uncompressed"])).unwrap();
            for test in group["tests"].as_array().unwrap() {
                let (id, message, signature) = (&test["tcId"], unhex(&test["msg"]), unhex(&test["sig"]));
                let valid = test["result"] == "valid";
                checked += 1;
                if signature.len() != 64 {
                    assert!(!valid, "{name} {id}");
                    assert!(Signature::from_parts(alg, &signature).is_err());
                } else if valid && !is_low(alg, &signature) {
                    high += 1;
                    assert_eq!(verdict(&key, &message, &signature), INVALID, "{name} {id}");
                    assert_eq!(verdict(&key, &message, &mirrored(alg, &signature)), Ok(()), "{name} {id} normalised");
                } else {
                    assert_eq!(
                        verdict(&key, &message, &signature),
                        if valid { Ok(()) } else { INVALID },
                        "{name} {id}"
                    );
                }
            }
        }
        assert_eq!((checked, high), (count, high_count));
    }
}

#[test]
fn sm2_cases_have_their_verdicts_and_their_prehashes() {
    let cases = file("sm2-verify.json");
    let cases = cases.as_array().unwrap();
    let mut outcomes = [0; 4];
    for case in cases {
        let (name, valid) = (&case["name"], case["valid"].as_bool().unwrap());
        assert_eq!(case["id"], "1234567812345678");
        let point = [unhex(&case["px"]), unhex(&case["py"])].concat();
        let key = match PublicKey::from_point_bytes(AlgId::Sm2Sm3, &point) {
            Ok(key) => key,
            Err(error) => {
                assert_eq!((error, valid), (KeyError::NotAPoint(AlgId::Sm2Sm3), false), "{name}");
                outcomes[0] += 1;
                continue;
            }
        };
        let (r, s) = (case["r"].as_str().unwrap(), case["s"].as_str().unwrap());
        if r.len() + s.len() != 128 {
            assert!(!valid, "{name}: a number that does not fit is no signature");
            outcomes[1] += 1;
            continue;
        }
        let signature = hex::decode([r, s].concat()).unwrap();
        let signature = Signature::from_parts(AlgId::Sm2Sm3, &signature).unwrap();
        let e: [u8; 32] = unhex(&case["e"]).try_into().unwrap();
        let expected = if valid { Ok(()) } else { INVALID };
        assert_eq!(key.verify_prehashed(&e, &signature), expected, "{name}");
        if case["msg"].is_string() {
            let message = unhex(&case["msg"]);
            assert_eq!(key.prehash(&message), Some(e), "{name}");
            assert_eq!(key.verify_bytes(&message, &signature), expected, "{name}");
        }
        outcomes[2 + usize::from(valid)] += 1;
    }
    assert_eq!(outcomes, [1, 1, 3, 24], "no point, no signature, invalid, valid");
}

#[test]
fn sm3_digests_are_those_of_openssl() {
    let cases = file("sm3-openssl.json");
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 150);
    for case in cases {
        let digest = Digest::sm3(&unhex(&case["msg"]));
        assert_eq!(digest.alg(), AlgId::Sm3);
        assert_eq!(digest.as_bytes().as_slice(), unhex(&case["md"]));
    }
}

#[test]
fn what_is_signed_is_valid_and_each_kind_of_damage_is_not() {
    let mut random = Random::new(1);
    for round in 0..60 {
        for alg in CURVES {
            let secret = SecretKey::from_seed(alg, random.array()).unwrap();
            let length = random.below(200);
            let (key, message) = (secret.public_key(), random.bytes(length));
            let signature = secret.sign_bytes(&message).as_bytes().to_vec();
            assert_eq!(verdict(&key, &message, &signature), Ok(()));
            if alg != AlgId::Sm2Sm3 {
                assert!(is_low(alg, &signature));
            }
            assert_eq!(verdict(&key, &message, &mirrored(alg, &signature)), INVALID, "{alg} {round}: n − s");

            let mut other = message.clone();
            other.push(round);
            assert_eq!(verdict(&key, &other, &signature), INVALID, "{alg} {round}: another message");
            let stranger = SecretKey::from_seed(alg, random.array()).unwrap().public_key();
            assert_eq!(verdict(&stranger, &message, &signature), INVALID, "{alg} {round}: another key");
            let swapped = [&signature[32..], &signature[..32]].concat();
            assert_eq!(verdict(&key, &message, &swapped), INVALID, "{alg} {round}: s and r");

            let mut flipped = signature.clone();
            flipped[random.below(64)] ^= 1 << random.below(8);
            assert_eq!(verdict(&key, &message, &flipped), INVALID, "{alg} {round}: a bit of the signature");
            let mut flipped = key.as_bytes().to_vec();
            flipped[random.below(33)] ^= 1 << random.below(8);
            let flipped = PublicKey::from_parts(alg, &flipped).unwrap();
            assert_eq!(verdict(&flipped, &message, &signature), INVALID, "{alg} {round}: a bit of the key");
        }
    }
}

#[test]
fn r_and_s_outside_their_range_are_invalid() {
    let mut random = Random::new(2);
    for alg in CURVES {
        let secret = SecretKey::from_seed(alg, random.array()).unwrap();
        let key = secret.public_key();
        let signature = secret.sign_bytes(b"message").as_bytes().to_vec();
        let (r, s) = signature.split_at(32);
        let mut above = order(alg);
        above[31] += 1;
        for outside in [[0; 32], order(alg), above, [0xff; 32]] {
            for damaged in [[&outside, s].concat(), [r, &outside].concat(), [outside, outside].concat()] {
                assert_eq!(verdict(&key, b"message", &damaged), INVALID, "{alg}");
            }
        }
        // r and s stand for the same numbers with n added where that still fits.
        for (half, at) in [(r, 0), (s, 32)] {
            let raised = minus(&half.try_into().unwrap(), &minus(&[0; 32], &order(alg)));
            if raised[..] > *half {
                let mut damaged = signature.clone();
                damaged[at..at + 32].copy_from_slice(&raised);
                assert_eq!(verdict(&key, b"message", &damaged), INVALID, "{alg}");
            }
        }
        // r + s = n: t of SM2 is zero.
        let opposite = [r, &minus(&order(alg), r)].concat();
        assert_eq!(verdict(&key, b"message", &opposite), INVALID, "{alg}");
    }
}

#[test]
fn keys_that_are_no_point_are_never_valid_and_never_a_panic() {
    let mut random = Random::new(3);
    for alg in CURVES {
        let secret = SecretKey::from_seed(alg, random.array()).unwrap();
        let signature = secret.sign_bytes(b"message").as_bytes().to_vec();
        let honest = secret.public_key();
        // Every prefix but the right one: 05 is "compact", 00 "infinity", 04 and 06 "uncompressed" and "hybrid".
        for prefix in (0..=u8::MAX).filter(|prefix| *prefix != honest.as_bytes()[0]) {
            let mut bytes = honest.as_bytes().to_vec();
            bytes[0] = prefix;
            let key = PublicKey::from_parts(alg, &bytes).unwrap();
            assert_eq!(verdict(&key, b"message", &signature), INVALID, "{alg}: prefix {prefix:02x}");
            let point = PublicKey::from_point_bytes(alg, &bytes);
            assert_eq!(point.is_ok(), matches!(prefix, 2 | 3), "{alg}: prefix {prefix:02x}");
        }
        let (mut points, mut below) = (0, prime(alg));
        below[31] -= 1;
        let random_x: Vec<[u8; 32]> = (0..200).map(|_| random.array()).collect();
        for x in random_x.iter().chain([&[0; 32], &below]) {
            let bytes = [&[2], &x[..]].concat();
            let key = PublicKey::from_parts(alg, &bytes).unwrap();
            assert_eq!(verdict(&key, b"message", &signature), INVALID);
            points += u32::from(PublicKey::from_point_bytes(alg, &bytes).is_ok());
        }
        assert!((60..140).contains(&points), "{alg}: half of all x have a point: {points}");
        let mut above = prime(alg);
        above[31] = above[31].saturating_add(1);
        for x in [prime(alg), above, [0xff; 32]] {
            let bytes = [&[3], &x[..]].concat();
            assert_eq!(PublicKey::from_point_bytes(alg, &bytes), Err(KeyError::NotAPoint(alg)));
            let key = PublicKey::from_parts(alg, &bytes).unwrap();
            assert_eq!(verdict(&key, b"message", &signature), INVALID);
        }
    }
}

#[test]
fn a_prehash_may_be_any_32_bytes() {
    let mut random = Random::new(4);
    for alg in CURVES {
        let secret = SecretKey::from_seed(alg, random.array()).unwrap();
        let signature = secret.sign_bytes(b"message");
        for prehash in [[0; 32], order(alg), [0xff; 32], random.array()] {
            assert_eq!(secret.public_key().verify_prehashed(&prehash, &signature), INVALID);
        }
    }
    let secret = random.secret();
    let signature = secret.sign_bytes(b"message");
    assert_eq!(secret.public_key().prehash(b"message"), None, "Ed25519 has none");
    assert_eq!(secret.public_key().verify_prehashed(&[0; 32], &signature), INVALID);
}
