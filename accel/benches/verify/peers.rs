//! Public implementations beside ours, each with the key decoded beforehand: what a verification alone costs them.

use accel::Item;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256K1_SHA256_FIXED, EcdsaVerificationAlgorithm, ParsedPublicKey,
};
use p256::ecdsa::signature::Verifier as _;
use types::AlgId;

/// A name, and a verification of the item.
type Peer = (&'static str, Box<dyn Fn() -> bool>);

/// The peers that know the item's algorithm.
pub fn decoded(item: &Item) -> Vec<Peer> {
    let message = item.message.bytes().expect("not hashed yet").to_vec();
    let (key, signature) = (item.key.as_bytes(), item.signature.as_bytes().to_vec());
    match item.key.alg() {
        AlgId::Sm2Sm3 => {
            let key = sm2::dsa::VerifyingKey::from_sec1_bytes("1234567812345678", key).expect("a key");
            let parsed = sm2::dsa::Signature::from_slice(&signature).expect("in range");
            vec![("crate sm2", Box::new(move || key.verify(&message, &parsed).is_ok()))]
        }
        AlgId::EcdsaP256 => {
            let aws = aws_lc(&ECDSA_P256_SHA256_FIXED, key, message.clone(), signature.clone());
            let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(key).expect("a key");
            let parsed = p256::ecdsa::Signature::from_slice(&signature).expect("in range");
            vec![("crate p256", Box::new(move || key.verify(&message, &parsed).is_ok())), aws]
        }
        AlgId::EcdsaSecp256k1 => {
            let aws = aws_lc(&ECDSA_P256K1_SHA256_FIXED, key, message.clone(), signature.clone());
            let key = k256::ecdsa::VerifyingKey::from_sec1_bytes(key).expect("a key");
            let parsed = k256::ecdsa::Signature::from_slice(&signature).expect("in range");
            vec![("crate k256", Box::new(move || key.verify(&message, &parsed).is_ok())), aws]
        }
        _ => Vec::new(),
    }
}

fn aws_lc(alg: &'static EcdsaVerificationAlgorithm, key: &[u8], message: Vec<u8>, signature: Vec<u8>) -> Peer {
    let key = ParsedPublicKey::new(alg, key).expect("a key");
    ("aws-lc-rs", Box::new(move || key.verify_sig(&message, &signature).is_ok()))
}
