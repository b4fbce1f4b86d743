//! Cases to verify: the public vectors, the small-order matrix of ZIP-215, and valid signatures to mix them with.

use accel::ed25519::Entry;
use curve25519_dalek::constants::EIGHT_TORSION;
use serde_json::Value;
use types::SecretKey;

pub struct Case {
    pub name: String,
    pub key: [u8; 32],
    pub message: Vec<u8>,
    pub signature: [u8; 64],
    /// What ZIP-215 says, where the source says it.
    pub expected: Option<bool>,
}

impl Case {
    pub fn entry(&self) -> Entry<'_> {
        Entry { key: &self.key, message: &self.message, signature: &self.signature }
    }

    /// The verdict of an independent implementation of ZIP-215.
    pub fn zebra(&self) -> bool {
        ed25519_zebra::VerificationKey::try_from(self.key)
            .and_then(|key| key.verify(&self.signature.into(), &self.message))
            .is_ok()
    }
}

fn unhex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn case(name: String, source: &Value, fields: [&str; 3], expected: Option<bool>) -> Option<Case> {
    let [key, message, signature] = fields.map(|field| unhex(&source[field]));
    Some(Case { name, key: key.try_into().ok()?, message, signature: signature.try_into().ok()?, expected })
}

pub fn rfc8032_and_djb() -> Vec<Case> {
    let files =
        [include_str!("../vectors/rfc8032-ed25519.json"), include_str!("../vectors/djb-sign-input-ed25519.json")];
    let sources = files.into_iter().flat_map(|file| serde_json::from_str::<Vec<Value>>(file).unwrap());
    let numbered = sources.enumerate();
    numbered
        .map(|(i, source)| case(format!("signed {i}"), &source, ["pk", "msg", "sig"], Some(true)).unwrap())
        .collect()
}

pub fn speccheck() -> Vec<Case> {
    let sources: Vec<Value> = serde_json::from_str(include_str!("../vectors/ed25519-speccheck-cases.json")).unwrap();
    let expected = "VVVVVVXXXVVV".chars().map(|verdict| verdict == 'V');
    let numbered = sources.iter().zip(expected).enumerate();
    let fields = ["pub_key", "message", "signature"];
    numbered.map(|(i, (source, valid))| case(format!("speccheck {i}"), source, fields, Some(valid)).unwrap()).collect()
}

/// Those with 64-byte signatures; other lengths cannot be expressed.
pub fn wycheproof() -> Vec<Case> {
    let file: Value = serde_json::from_str(include_str!("../vectors/wycheproof-ed25519.json")).unwrap();
    let mut cases = Vec::new();
    for group in file["testGroups"].as_array().unwrap() {
        for test in group["tests"].as_array().unwrap() {
            let mut source = test.clone();
            source["pk"] = group["publicKey"]["pk"].clone();
            let id = test["tcId"].as_u64().unwrap();
            let expected = test["result"] == "valid" || id == 151;
            cases.extend(case(format!("wycheproof {id}"), &source, ["pk", "msg", "sig"], Some(expected)));
        }
    }
    cases
}

/// The 14 encodings of small-order points: eight canonical ones, and six that are not.
pub fn small_order_encodings() -> Vec<[u8; 32]> {
    let mut encodings: Vec<[u8; 32]> = EIGHT_TORSION.iter().map(|point| point.compress().to_bytes()).collect();
    let with_low_byte = |low: u8, sign: bool| {
        // p = 2^255 − 19 = 0x7fff…ffed, so this is p − 0xed + low.
        let mut encoding = [0xff; 32];
        encoding[0] = low;
        encoding[31] = if sign { 0xff } else { 0x7f };
        encoding
    };
    let mut one_with_sign = [0; 32];
    (one_with_sign[0], one_with_sign[31]) = (1, 0x80);
    encodings.push(one_with_sign);
    encodings.push(with_low_byte(0xec, true));
    for low in [0xed, 0xee] {
        encodings.extend([with_low_byte(low, false), with_low_byte(low, true)]);
    }
    encodings
}

/// 14 × 14 pairs of A and R with s = 0: each side of the equation has small order, so all are valid.
pub fn small_order_matrix() -> Vec<Case> {
    let encodings = small_order_encodings();
    let mut cases = Vec::new();
    for (i, key) in encodings.iter().enumerate() {
        for (j, r) in encodings.iter().enumerate() {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(r);
            let name = format!("small order {i} {j}");
            cases.push(Case { name, key: *key, message: b"Zcash".to_vec(), signature, expected: Some(true) });
        }
    }
    cases
}

/// Encodings on all sides of every edge of y, as key and as R: whether they decode is left to the oracle.
pub fn edge_encodings() -> Vec<Case> {
    let mut cases = Vec::new();
    let honest = valid(9);
    for low in 0..=0x20_u8 {
        for (fill, top) in [(0, 0), (0, 0x80), (0xff, 0x7f), (0xff, 0xff)] {
            let mut encoding = [fill; 32];
            encoding[0] = if fill == 0 { low } else { 0xff - low };
            encoding[31] = top;
            let as_key = Case { name: format!("key {low} {top}"), key: encoding, expected: None, ..valid(9) };
            let mut as_r = Case { name: format!("r {low} {top}"), expected: None, ..valid(9) };
            as_r.signature[..32].copy_from_slice(&encoding);
            let mut both = Case { name: format!("both {low} {top}"), key: encoding, expected: None, ..valid(9) };
            both.signature[..32].copy_from_slice(&encoding);
            both.signature[32..].fill(0);
            // s on both sides of L, with an honest R.
            let mut s = honest.signature;
            s[63] = s[63].wrapping_add(low);
            let moved_s = Case { name: format!("s {low}"), signature: s, expected: None, ..valid(9) };
            cases.extend([as_key, as_r, both, moved_s]);
        }
    }
    cases
}

/// A valid signature, made from `number`; every fourth shares its key with another.
pub fn valid(number: u32) -> Case {
    let mut seed = [7; 32];
    seed[..4].copy_from_slice(&(number / 4 * 3 + number % 4 % 3).to_le_bytes());
    let secret = SecretKey::ed25519_from_seed(seed);
    let message = number.to_le_bytes().repeat(1 + number as usize % 40);
    Case {
        name: format!("valid {number}"),
        key: secret.public_key().as_bytes().try_into().unwrap(),
        signature: secret.sign_bytes(&message).as_bytes().try_into().unwrap(),
        message,
        expected: Some(true),
    }
}
