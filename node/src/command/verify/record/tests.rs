//! What a line asks, and why it asks nothing.
#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::{Value, json};
use types::SecretKey;

const ALGORITHMS: [(AlgId, &str); 4] = [
    (AlgId::Ed25519, "ed25519"),
    (AlgId::Sm2Sm3, "sm2"),
    (AlgId::EcdsaP256, "p256"),
    (AlgId::EcdsaSecp256k1, "secp256k1"),
];

/// A valid line over this message.
fn line(alg: AlgId, message: &[u8]) -> Value {
    let name = ALGORITHMS.iter().find(|(known, _)| *known == alg).unwrap().1;
    let secret = SecretKey::from_seed(alg, [7; 32]).unwrap();
    json!({
        "alg": name,
        "pk": hex::encode(secret.public_key().as_bytes()),
        "msg": hex::encode(message),
        "sig": hex::encode(secret.sign_bytes(message).as_bytes()),
    })
}

fn with(mut line: Value, field: &str, value: impl Into<Value>) -> Value {
    line[field] = value.into();
    line
}

fn without(mut line: Value, field: &str) -> Value {
    line.as_object_mut().unwrap().remove(field);
    line
}

fn parse(line: &Value) -> Result<Question, Malformed> {
    Question::parse(line.to_string().as_bytes())
}

fn verdict(line: &Value) -> bool {
    match parse(line).unwrap() {
        Question::Open(item) => item.verify_alone(),
        Question::NoPoint => false,
    }
}

fn why(line: &Value) -> Malformed {
    parse(line).unwrap_err()
}

/// x‖y of a compressed key.
fn uncompressed(alg: AlgId, compressed: &[u8]) -> Vec<u8> {
    use sm2::elliptic_curve::sec1::ToSec1Point;
    let sec1 = match alg {
        AlgId::Sm2Sm3 => sm2::PublicKey::from_sec1_bytes(compressed).unwrap().to_sec1_point(false).as_bytes().to_vec(),
        AlgId::EcdsaP256 => {
            p256::PublicKey::from_sec1_bytes(compressed).unwrap().to_sec1_point(false).as_bytes().to_vec()
        }
        _ => k256::PublicKey::from_sec1_bytes(compressed).unwrap().to_sec1_point(false).as_bytes().to_vec(),
    };
    sec1[1..].to_vec()
}

#[test]
fn every_algorithm_with_messages_of_every_length_up_to_the_limit() {
    for (alg, _) in ALGORITHMS {
        for length in [0, 1, 55, 56, 63, 64, 119, 128, 200] {
            let good = line(alg, &vec![0xa5; length]);
            assert!(verdict(&good), "{alg}, {length} bytes");
            assert!(!verdict(&with(good, "msg", "00")), "{alg}, {length} bytes: another message");
        }
    }
    let longest = line(AlgId::Ed25519, &vec![1; MESSAGE_BYTES_MAX]);
    assert!(longest.to_string().len() < super::super::input::LINE_BYTES_MAX);
    assert!(verdict(&longest));
    let longer = with(longest, "msg", "00".repeat(MESSAGE_BYTES_MAX + 1));
    assert_eq!(why(&longer).to_string(), "`msg` has 1048577 bytes; 1,048,576 at most");
}

#[test]
fn keys_are_taken_in_every_form_and_off_the_curve_they_are_invalid() {
    for (alg, _) in &ALGORITHMS[1..] {
        let good = line(*alg, b"a message");
        let compressed = hex::decode(good["pk"].as_str().unwrap()).unwrap();
        let mut point = uncompressed(*alg, &compressed);
        assert!(verdict(&with(good.clone(), "pk", hex::encode(&point))));
        assert!(verdict(&with(good.clone(), "pk", hex::encode([&[4], &point[..]].concat()))));
        assert!(verdict(&with(good.clone(), "pk", hex::encode(&point).to_uppercase())));
        for tag in [0, 1, 2, 5, 6, 7] {
            assert!(!verdict(&with(good.clone(), "pk", hex::encode([&[tag], &point[..]].concat()))), "tag {tag}");
        }
        // The compressed form of this key has no trace of the flipped bit.
        point[40] ^= 1;
        assert!(!verdict(&with(good.clone(), "pk", hex::encode(&point))), "{alg}: off the curve");
        assert!(!verdict(&with(good.clone(), "pk", "00".repeat(64))), "{alg}: zero");
        assert!(!verdict(&with(good.clone(), "pk", "ff".repeat(64))), "{alg}: beyond the field");
        assert!(!verdict(&with(good, "pk", format!("05{}", "11".repeat(32)))), "{alg}: no such compressed form");
    }
    assert!(!verdict(&with(line(AlgId::Ed25519, b""), "pk", format!("02{}", "00".repeat(31)))), "no point has this y");
}

#[test]
fn r_and_s_out_of_range_are_invalid_and_not_malformed() {
    for (alg, _) in ALGORITHMS {
        let good = line(alg, b"a message");
        let digits = good["sig"].as_str().unwrap();
        let (r, s) = digits.split_at(64);
        for bad in ["00".repeat(32), "ff".repeat(32)] {
            assert!(!verdict(&with(good.clone(), "sig", format!("{r}{bad}"))), "{alg}: s");
            assert!(!verdict(&with(good.clone(), "sig", format!("{bad}{s}"))), "{alg}: r");
        }
    }
}

#[test]
fn sm2_takes_a_digest_in_place_of_the_message() {
    let good = line(AlgId::Sm2Sm3, b"a message");
    let key = hex::decode(good["pk"].as_str().unwrap()).unwrap();
    let digest = user_id::digest(user_id::DEFAULT, &key, b"a message").unwrap();
    let prehashed = with(without(good.clone(), "msg"), "e", hex::encode(digest));
    assert!(verdict(&prehashed));
    assert!(!verdict(&with(prehashed.clone(), "e", "00".repeat(32))));
    assert_eq!(why(&with(prehashed.clone(), "e", "00".repeat(31))).to_string(), "`e` has 31 bytes; 32 expected");
    assert_eq!(why(&with(prehashed.clone(), "e", "zz")), Malformed::NotHex("e"));
    assert_eq!(why(&with(prehashed, "msg", "00")), Malformed::MessageAndDigest);
    // Others know no `e`.
    let other = line(AlgId::EcdsaP256, b"a message");
    assert!(verdict(&with(other.clone(), "e", "00")));
    assert_eq!(why(&with(without(other, "msg"), "e", "00".repeat(32))), Malformed::Missing("msg"));
}

#[test]
fn sm2_user_ids_change_the_verdict() {
    let good = line(AlgId::Sm2Sm3, b"a message");
    assert!(verdict(&with(good.clone(), "id", hex::encode("1234567812345678"))), "the default id, said");
    assert!(!verdict(&with(good.clone(), "id", hex::encode("ALICE123@YAHOO.COM"))));
    assert!(!verdict(&with(good.clone(), "id", "")), "an empty id is an id");
    assert!(!verdict(&with(good.clone(), "id", "00".repeat(8191))));
    assert_eq!(why(&with(good.clone(), "id", "00".repeat(8192))).to_string(), "`id` has 8192 bytes; 8,191 at most");
    assert_eq!(why(&with(good.clone(), "id", "0")), Malformed::NotHex("id"));
    assert!(verdict(&with(good, "id", Value::Null)), "as if it were not there");
    assert!(verdict(&with(line(AlgId::Ed25519, b""), "id", "0")), "not looked at under another algorithm");
}

/// GM/T 0003.5 §A.2: the signature over "message digest" with the default id.
#[test]
fn the_example_of_the_standard_is_valid() {
    let good = json!({
        "alg": "sm2",
        "pk": "09F9DF311E5421A150DD7D161E4BC5C672179FAD1833FC076BB08FF356F35020CCEA490CE26775A52DC6EA718CC1AA600AED05FBF35E084A6632F6072DA9AD13",
        "msg": hex::encode("message digest"),
        "sig": "F5A03B0648D2C4630EEAC513E1BB81A15944DA3827D5B74143AC7EACEEE720B3B1B6AA29DF212FD8763182BC0D421CA1BB9038FD1F7F42D4840B69C485BBC1AA",
        "id": hex::encode("1234567812345678"),
    });
    assert!(verdict(&good));
    assert!(verdict(&without(good.clone(), "id")));
    // e = SM3(Z ‖ M) as the standard prints it.
    let e = "F0B43E94BA45ACCAACE692ED534382EB17E6AB5A19CE7B31F4486FDFC0D28640";
    let digest =
        user_id::digest(user_id::DEFAULT, &hex::decode(good["pk"].as_str().unwrap()).unwrap(), b"message digest");
    assert_eq!(hex::encode_upper(digest.unwrap()), e);
    assert!(verdict(&with(without(good, "msg"), "e", e)));
}

#[test]
fn what_asks_nothing_says_why() {
    let good = line(AlgId::Ed25519, b"a message");
    for field in ["alg", "pk", "sig", "msg"] {
        assert_eq!(why(&without(good.clone(), field)), Malformed::Missing(field));
    }
    for field in ["pk", "sig", "msg"] {
        for bad in ["0", "0x00", "zz", "00 ", "é0"] {
            assert_eq!(why(&with(good.clone(), field, bad)), Malformed::NotHex(field), "{bad}");
        }
    }
    for name in ["", "ED25519", "rsa", "ed25519 ", "ml-dsa-65"] {
        assert_eq!(why(&with(good.clone(), "alg", name)), Malformed::UnknownAlgorithm);
    }
    assert_eq!(why(&with(good.clone(), "pk", "00".repeat(33))).to_string(), "`pk` has 33 bytes; 32 expected");
    assert_eq!(why(&with(good.clone(), "sig", "00".repeat(65))).to_string(), "`sig` has 65 bytes; 64 expected");
    assert_eq!(why(&with(good.clone(), "sig", "")).to_string(), "`sig` has 0 bytes; 64 expected");
    let point = with(line(AlgId::EcdsaP256, b""), "pk", "00".repeat(32));
    assert_eq!(why(&point).to_string(), "`pk` has 32 bytes; 64 (x‖y), 65 or 33 (SEC 1) expected");
    assert_eq!(Question::parse(b"{\"alg\":\"\xff\"}").unwrap_err(), Malformed::NotUtf8);
}

#[test]
fn what_is_no_object_of_strings_says_where() {
    let text = line(AlgId::Ed25519, b"a message").to_string();
    let twice = text.replacen('{', "{\"alg\":\"sm2\",", 1);
    let deep = format!("{{\"x\":{}", "[".repeat(100_000));
    let cases =
        ["null", "3", "[", "{", "\"x\"", "{}x", &text[..text.len() - 1], &twice, &deep, "{\"alg\":1}", "{'alg':''}"];
    for case in cases {
        let error = Question::parse(case.as_bytes()).unwrap_err();
        assert!(matches!(error, Malformed::NotAnObject { .. }), "{error} for {:.60}", case);
    }
    let error = Question::parse(b"{\"alg\": 1}").unwrap_err();
    assert_eq!(error, Malformed::NotAnObject { column: 9, reason: serde_json::error::Category::Data });
}

#[test]
fn other_fields_escapes_and_spaces_change_nothing() {
    let good = line(AlgId::Ed25519, b"a message");
    assert!(verdict(&with(good.clone(), "comment", json!({"deep": [1, 2, null]}))));
    let text = good.to_string().replace("ed25519", "\\u0065d25519").replace(':', " :\t");
    let Question::Open(item) = Question::parse(format!(" {text} ").as_bytes()).unwrap() else { panic!("a point") };
    assert!(item.verify_alone());
}
