//! The reference verifier against public vectors under ZIP-215, and against an independent implementation of it.
//!
//! The vectors are those of `accel/tests/vectors`, whose README names their sources and licences.

use crate::samples::Random;
use curve25519_dalek::constants::EIGHT_TORSION;
use serde_json::Value;
use std::collections::HashSet;
use types::{AlgId, PublicKey, Signature};

struct Case {
    name: String,
    key: [u8; 32],
    message: Vec<u8>,
    signature: [u8; 64],
}

impl Case {
    fn reference(&self) -> bool {
        let key = PublicKey::from_parts(AlgId::Ed25519, &self.key).unwrap();
        let signature = Signature::from_parts(AlgId::Ed25519, &self.signature).unwrap();
        key.verify_bytes(&self.message, &signature).is_ok()
    }

    fn zebra(&self) -> bool {
        ed25519_zebra::VerificationKey::try_from(self.key)
            .and_then(|key| key.verify(&self.signature.into(), &self.message))
            .is_ok()
    }

    /// Both say `valid`.
    fn check(&self, valid: bool) {
        assert_eq!((self.reference(), self.zebra()), (valid, valid), "{}: (reference, oracle)", self.name);
    }

    /// Both say the same, whatever it is.
    fn agree(&self) -> bool {
        let verdict = self.reference();
        let (key, signature) = (hex::encode(self.key), hex::encode(self.signature));
        assert_eq!(verdict, self.zebra(), "{}: key {key}, signature {signature}", self.name);
        verdict
    }
}

fn file(name: &str) -> Value {
    let path = format!("{}/../accel/tests/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(&path).expect(&path)).unwrap()
}

/// `None` where the signature has not 64 bytes, which the type cannot hold.
fn case(name: String, source: &Value, [key, message, signature]: [&str; 3]) -> Option<Case> {
    let unhex = |field: &str| hex::decode(source[field].as_str().unwrap()).unwrap();
    let signature = unhex(signature).try_into().ok()?;
    Some(Case { name, key: unhex(key).try_into().unwrap(), message: unhex(message), signature })
}

#[test]
fn signatures_of_rfc_8032_and_of_the_original_authors_are_valid() {
    for (name, count) in [("rfc8032-ed25519.json", 3), ("djb-sign-input-ed25519.json", 128)] {
        let sources = file(name);
        let sources = sources.as_array().unwrap();
        assert_eq!(sources.len(), count);
        for (index, source) in sources.iter().enumerate() {
            case(format!("{name} {index}"), source, ["pk", "msg", "sig"]).unwrap().check(true);
        }
    }
}

#[test]
fn speccheck_cases_have_the_verdicts_of_zip_215() {
    let sources = file("ed25519-speccheck-cases.json");
    let sources = sources.as_array().unwrap();
    let verdicts = "VVVVVVXXXVVV";
    assert_eq!(sources.len(), verdicts.len());
    for (index, (source, verdict)) in sources.iter().zip(verdicts.chars()).enumerate() {
        case(format!("speccheck {index}"), source, ["pub_key", "message", "signature"]).unwrap().check(verdict == 'V');
    }
}

#[test]
fn wycheproof_cases_have_their_verdicts_but_for_the_one_that_zip_215_allows() {
    let mut checked = 0;
    for group in file("wycheproof-ed25519.json")["testGroups"].as_array().unwrap() {
        for test in group["tests"].as_array().unwrap() {
            let mut source = test.clone();
            source["pk"] = group["publicKey"]["pk"].clone();
            let id = test["tcId"].as_u64().unwrap();
            let valid = test["result"] == "valid" || id == 151;
            match case(format!("wycheproof {id}"), &source, ["pk", "msg", "sig"]) {
                Some(case) => case.check(valid),
                None => assert!(!valid, "wycheproof {id}: a valid signature has 64 bytes"),
            }
            checked += 1;
        }
    }
    assert_eq!(checked, 151);
}

/// The eight points of small order in canonical form, and the six other encodings that decode to one of them.
fn small_order_encodings() -> Vec<[u8; 32]> {
    let mut encodings: Vec<[u8; 32]> = EIGHT_TORSION.iter().map(|point| point.compress().to_bytes()).collect();
    // y = p − 0xed + low, that is −1, 0 and 1 modulo p with p added, under both signs.
    for (low, top) in [(0xed, 0x7f), (0xed, 0xff), (0xee, 0x7f), (0xee, 0xff), (0xec, 0xff)] {
        let mut encoding = [0xff; 32];
        (encoding[0], encoding[31]) = (low, top);
        encodings.push(encoding);
    }
    let mut negative_one = [0; 32];
    (negative_one[0], negative_one[31]) = (1, 0x80);
    encodings.push(negative_one);
    encodings
}

#[test]
fn all_196_pairs_of_small_order_points_are_valid() {
    let encodings = small_order_encodings();
    assert_eq!(encodings.iter().collect::<HashSet<_>>().len(), 14);
    for key in &encodings {
        for r in &encodings {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(r);
            let name = "small order".to_owned();
            Case { name, key: *key, message: b"Zcash".to_vec(), signature }.check(true);
        }
    }
}

/// A signature over a message of up to 200 bytes.
fn signed(random: &mut Random) -> Case {
    let secret = random.secret();
    let length = random.below(200);
    let message = random.bytes(length);
    Case {
        name: "signed".to_owned(),
        key: secret.public_key().as_bytes().try_into().unwrap(),
        signature: secret.sign_bytes(&message).as_bytes().try_into().unwrap(),
        message,
    }
}

#[test]
fn what_is_signed_is_valid_and_what_is_corrupted_is_not() {
    let mut random = Random::new(1);
    for _ in 0..200 {
        let mut case = signed(&mut random);
        case.check(true);
        let bit = random.below(8);
        match random.below(3) {
            0 => case.key[random.below(32)] ^= 1 << bit,
            1 => case.signature[random.below(64)] ^= 1 << bit,
            _ => case.message.push(bit as u8),
        }
        assert!(!case.agree());
    }
}

#[test]
fn random_keys_and_signatures_have_the_oracles_verdicts() {
    let mut random = Random::new(2);
    for _ in 0..1000 {
        let mut signature: [u8; 64] = random.array();
        // Mostly below the order, so that it is not s that decides.
        signature[63] &= if random.below(4) == 0 { 0xff } else { 0x0f };
        let case = Case { name: "random".to_owned(), key: random.array(), message: random.bytes(47), signature };
        assert!(!case.agree());
    }
}

#[test]
fn torsion_in_key_or_nonce_has_the_oracles_verdicts() {
    let mut random = Random::new(3);
    let encodings = small_order_encodings();
    let mut valid = 0;
    for round in 0..300 {
        let mut case = signed(&mut random);
        case.name = format!("torsion {round}");
        let point = encodings[random.below(encodings.len())];
        match round % 3 {
            0 => case.key = point,
            1 => case.signature[..32].copy_from_slice(&point),
            // Key and R small, s kept: sB is not of small order.
            _ => {
                case.key = point;
                case.signature[..32].copy_from_slice(&point);
            }
        }
        valid += u32::from(case.agree());
    }
    assert_eq!(valid, 0, "s is not zero, so no small point satisfies the equation");
    for edge in 0..=0x20_u8 {
        for (fill, top) in [(0, 0), (0, 0x80), (0xff, 0x7f), (0xff, 0xff)] {
            let mut encoding = [fill; 32];
            encoding[0] = if fill == 0 { edge } else { 0xff - edge };
            encoding[31] = top;
            let mut case = Case { name: format!("edge {edge} {top}"), key: encoding, ..signed(&mut random) };
            case.agree();
            case.signature = [0; 64];
            case.signature[..32].copy_from_slice(&encoding);
            case.agree();
        }
    }
}

#[test]
fn an_s_that_is_not_reduced_is_refused() {
    // L, little-endian (RFC 8032 §5.1).
    let order = hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
    let mut random = Random::new(4);
    for _ in 0..50 {
        let mut case = signed(&mut random);
        let mut carry = 0;
        for (byte, order) in case.signature[32..].iter_mut().zip(&order) {
            let sum = u16::from(*byte) + u16::from(*order) + carry;
            (*byte, carry) = (sum as u8, sum >> 8);
        }
        case.check(false);
    }
}
