//! Random batches with random damage: every verdict equals the reference verifier's.

use accel::ed25519::{Ed25519, Entry};
use accel::{Batch, CpuEngine, Engine, Item, Path};
use proptest::prelude::*;
use types::{AlgId, Digest, PublicKey, SecretKey, Signature, SigningMessage};

/// What is done to an honest item.
#[derive(Clone, Copy, Debug)]
enum Damage {
    None,
    Bit {
        part: u8,
        bit: u16,
    },
    OtherMessage,
    OtherKey,
    OtherAlgorithm,
    /// A and R with torsion parts: valid under ZIP-215 if they cancel after the cofactor.
    Torsion {
        key: u8,
        r: u8,
    },
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        6 => Just(Damage::None),
        2 => (0..2_u8, 0..512_u16).prop_map(|(part, bit)| Damage::Bit { part, bit }),
        1 => Just(Damage::OtherMessage),
        1 => Just(Damage::OtherKey),
        1 => Just(Damage::OtherAlgorithm),
        2 => (0..8_u8, 0..8_u8).prop_map(|(key, r)| Damage::Torsion { key, r }),
    ]
}

fn flip(bytes: &[u8], bit: u16) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let bit = usize::from(bit) % (8 * bytes.len());
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

/// Signs with R and A moved by torsion points: the hash covers the moved encodings, so only the cofactored equation holds.
fn sign_with_torsion(seed: u8, message: &SigningMessage, key: u8, r: u8) -> (PublicKey, Signature) {
    use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT as B, EIGHT_TORSION};
    use curve25519_dalek::scalar::Scalar;
    use sha2::{Digest as _, Sha512};
    let secret = Scalar::from(u64::from(seed) + 1_000);
    let nonce = Scalar::from(u64::from(seed) + 77_000);
    let a = (B * secret + EIGHT_TORSION[usize::from(key)]).compress().to_bytes();
    let r = (B * nonce + EIGHT_TORSION[usize::from(r)]).compress().to_bytes();
    let wide = Sha512::new().chain_update(r).chain_update(a).chain_update(message.as_bytes()).finalize();
    let s = nonce + Scalar::from_bytes_mod_order_wide(&wide.into()) * secret;
    let signature = [r, s.to_bytes()].concat();
    let parts = (PublicKey::from_parts(AlgId::Ed25519, &a), Signature::from_parts(AlgId::Ed25519, &signature));
    (parts.0.unwrap(), parts.1.unwrap())
}

fn item(signer: u8, text: u16, damage: Damage) -> Item {
    let secret = SecretKey::ed25519_from_seed([signer; 32]);
    let message = SigningMessage::transaction(&Digest::sha256(&text.to_le_bytes()));
    let mut item = Item { key: secret.public_key(), message: message.into(), signature: secret.sign(&message) };
    match damage {
        Damage::None => {}
        Damage::Bit { part: 0, bit } => {
            item.key = PublicKey::from_parts(AlgId::Ed25519, &flip(item.key.as_bytes(), bit)).unwrap();
        }
        Damage::Bit { bit, .. } => {
            item.signature = Signature::from_parts(AlgId::Ed25519, &flip(item.signature.as_bytes(), bit)).unwrap();
        }
        Damage::OtherMessage => item.message = SigningMessage::round(&Digest::sha256(b"another")).into(),
        Damage::OtherKey => item.key = SecretKey::ed25519_from_seed([signer ^ 0x80; 32]).public_key(),
        Damage::OtherAlgorithm => {
            item.signature = Signature::from_parts(AlgId::Sm2Sm3, item.signature.as_bytes()).unwrap();
        }
        Damage::Torsion { key, r } => (item.key, item.signature) = sign_with_torsion(signer, &message, key, r),
    }
    item
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn verdicts_of_any_batch_equal_the_reference(
        parts in prop::collection::vec((any::<u8>(), any::<u16>(), damage()), 0..200),
        damaged_per_cent in prop_oneof![Just(0), Just(3), Just(100)],
        threads in 1..3_usize,
    ) {
        let items: Vec<Item> = parts
            .into_iter()
            .enumerate()
            .map(|(i, (signer, text, damage))| {
                item(signer, text, if i * 37 % 100 < damaged_per_cent { damage } else { Damage::None })
            })
            .collect();
        let expected: Vec<bool> = items.iter().map(Item::verify_alone).collect();
        for path in [Path::Together, Path::Singly] {
            // A cache of a few keys, so that eviction takes part.
            let mut engine = CpuEngine::new(threads, 40).unwrap();
            let batch = Batch::new(items.clone(), path);
            for round in 0..2 {
                let verdicts = engine.verify(&batch).unwrap();
                prop_assert_eq!(verdicts.iter().collect::<Vec<_>>(), expected.clone(), "round {}", round);
            }
        }
        let entries: Vec<Entry<'_>> = items
            .iter()
            .map(|item| Entry {
                key: item.key.as_bytes().try_into().unwrap(),
                message: item.message.bytes().expect("not hashed yet"),
                signature: item.signature.as_bytes().try_into().unwrap(),
            })
            .collect();
        for engine in [Ed25519::portable(40).unwrap(), Ed25519::new(40).unwrap()] {
            let verdicts = engine.verify(&entries, Path::Together);
            for ((item, valid), expected) in items.iter().zip(verdicts).zip(&expected) {
                let named_alike = item.signature.alg() == AlgId::Ed25519;
                prop_assert_eq!(valid && named_alike, *expected, "{}", engine.name());
            }
        }
    }
}

/// Every position of one bad item, and every size around the edges of groups and chunks.
#[test]
fn one_bad_item_is_found_wherever_it_stands() {
    let all: Vec<Item> = (0..1030).map(|i| item((i % 50) as u8, i as u16, Damage::None)).collect();
    let bad = item(3, 9, Damage::OtherMessage);
    let mut engine = CpuEngine::new(1, 1024).unwrap();
    for len in [1, 2, 3, 4, 5, 8, 9, 16, 17, 33, 100, 1023, 1024, 1025, 1030] {
        let clean = engine.verify(&Batch::new(all[..len].to_vec(), Path::Together)).unwrap();
        assert!(clean.all_valid(), "{len} valid ones");
        let step = if len < 40 { 1 } else { len / 3 };
        for position in (0..len).step_by(step).chain([len - 1]) {
            let mut items = all[..len].to_vec();
            items[position] = bad.clone();
            let verdicts = engine.verify(&Batch::new(items, Path::Together)).unwrap();
            assert_eq!(verdicts.invalid().collect::<Vec<_>>(), [position], "among {len}");
        }
    }
}
