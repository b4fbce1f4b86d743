//! Questions whose answers are known, of every algorithm: what an engine must answer before it is believed.
//!
//! Half of them are valid; in the others one bit is wrong, each time in another place, or the key is no point, or r or s is
//! out of range. The answers come from the reference, not from the engine's own crate.

use accel::{Batch, Item, Path};
use types::{AlgId, PublicKey, SecretKey, Signature};

/// What every engine is asked to verify.
pub const ALGORITHMS: [AlgId; 4] = [AlgId::Ed25519, AlgId::Sm2Sm3, AlgId::EcdsaP256, AlgId::EcdsaSecp256k1];
const ITEMS: u8 = 64;

/// A batch, and the right verdict for each of its items.
pub fn known_answers(alg: AlgId) -> (Batch, Vec<bool>) {
    let items: Vec<Item> = (0..ITEMS).map(|number| item(alg, number)).collect();
    let verdicts = items.iter().map(Item::verify_alone).collect();
    (Batch::new(items, Path::Together), verdicts)
}

fn item(alg: AlgId, number: u8) -> Item {
    let secret = SecretKey::from_seed(alg, [number; 32]).expect("no seed of one repeated byte gives a zero scalar");
    // Lengths on both sides of the block edges of all hashes.
    let message = vec![number; usize::from(number) * 3];
    let mut key = secret.public_key().as_bytes().to_vec();
    let mut signature = secret.sign_bytes(&message).as_bytes().to_vec();
    let mut message = message;
    if number % 2 == 1 {
        match number / 2 % 8 {
            0 => signature[usize::from(number) / 2] ^= 1,
            1 => signature[32 + usize::from(number) / 2 % 31] ^= 0x80,
            2 => message.push(0),
            3 => signature[..32].fill(0),
            4 => signature[32..].fill(0),
            5 => signature[32..].fill(0xff),
            6 => key[1..].fill(number),
            _ => key[0] ^= 1,
        }
    }
    Item {
        key: PublicKey::from_parts(alg, &key).expect("the length did not change"),
        message: accel::Message::Bytes(message.into()),
        signature: Signature::from_parts(alg, &signature).expect("the length did not change"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_answers_are_yes_and_most_others_no() {
        for alg in ALGORITHMS {
            let (batch, verdicts) = known_answers(alg);
            let valid = verdicts.iter().filter(|valid| **valid).count();
            assert_eq!((batch.len(), valid), (usize::from(ITEMS), usize::from(ITEMS) / 2), "{alg}");
            assert!(verdicts.iter().step_by(2).all(|valid| *valid), "{alg}");
        }
    }
}
