//! Public vectors: Wycheproof for ECDSA, the example of the standard and cases to refuse for SM2.

use super::check;
use accel::{Item, Message};
use serde_json::Value;
use types::{AlgId, PublicKey, Signature};

fn file(name: &str) -> Value {
    let path = format!("{}/tests/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(&path).expect(&path)).unwrap()
}

fn unhex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

/// n of the curve, which tells a high s from a low one.
fn half_order(alg: AlgId) -> Vec<u8> {
    hex::decode(match alg {
        AlgId::EcdsaP256 => "7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8",
        _ => "7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0",
    })
    .unwrap()
}

fn wycheproof(alg: AlgId, name: &str) {
    let (mut names, mut items, mut expected) = (Vec::new(), Vec::new(), Vec::new());
    for group in file(name)["testGroups"].as_array().unwrap() {
        let point = unhex(&group["publicKey"]["uncompressed"]);
        let compressed = [&[2 + (point[64] & 1)], &point[1..33]].concat();
        for test in group["tests"].as_array().unwrap() {
            // Other lengths than 64 cannot be held by the type.
            let Ok(signature) = Signature::from_parts(alg, &unhex(&test["sig"])) else { continue };
            expected.push(test["result"] == "valid" && signature.as_bytes()[32..] <= half_order(alg)[..]);
            names.push(format!("wycheproof {}", test["tcId"]));
            items.push(Item {
                key: PublicKey::from_parts(alg, &compressed).unwrap(),
                message: Message::Bytes(unhex(&test["msg"]).into()),
                signature,
            });
        }
    }
    assert!(items.len() > 200 && expected.iter().filter(|valid| **valid).count() > 50, "{} cases", items.len());
    let verdicts = check(alg, &names, &items);
    for ((name, verdict), expected) in names.iter().zip(verdicts).zip(expected) {
        assert_eq!(verdict, expected, "{alg} {name}: the reference disagrees with the source");
    }
}

#[test]
fn wycheproof_p256_cases_have_their_low_s_verdicts() {
    wycheproof(AlgId::EcdsaP256, "wycheproof-ecdsa-p256.json");
}

#[test]
fn wycheproof_secp256k1_cases_have_their_low_s_verdicts() {
    wycheproof(AlgId::EcdsaSecp256k1, "wycheproof-ecdsa-secp256k1.json");
}

#[test]
fn sm2_cases_have_the_verdicts_of_the_standard() {
    let alg = AlgId::Sm2Sm3;
    let (mut names, mut items, mut expected) = (Vec::new(), Vec::new(), Vec::new());
    for case in file("sm2-verify.json").as_array().unwrap() {
        let (x, y) = (unhex(&case["px"]), unhex(&case["py"]));
        // A point off the curve has no compressed form.
        let Ok(key) = PublicKey::from_point_bytes(alg, &[x, y].concat()) else {
            assert_eq!(case["valid"], false, "{}", case["name"]);
            continue;
        };
        // A number of 257 bits cannot be held by the type.
        let Ok(signature) = hex::decode([&case["r"], &case["s"]].map(|number| number.as_str().unwrap()).concat())
        else {
            assert_eq!(case["valid"], false, "{}", case["name"]);
            continue;
        };
        let signature = Signature::from_parts(alg, &signature).unwrap();
        let digest = Message::Prehashed(unhex(&case["e"]).try_into().unwrap());
        let mut push = |kind: &str, message: Message| {
            names.push(format!("{} {kind}", case["name"]));
            items.push(Item { key: key.clone(), message, signature: signature.clone() });
            expected.push(case["valid"].as_bool().unwrap());
        };
        push("prehashed", digest);
        if !case["msg"].is_null() && case["id"] == "1234567812345678" {
            push("hashed here", Message::Bytes(unhex(&case["msg"]).into()));
        }
    }
    assert!(items.len() > 30 && expected.iter().any(|valid| *valid), "{} cases", items.len());
    let verdicts = check(alg, &names, &items);
    for ((name, verdict), expected) in names.iter().zip(verdicts).zip(expected) {
        assert_eq!(verdict, expected, "{name}: the reference disagrees with the source");
    }
}
