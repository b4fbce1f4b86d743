//! Random batches with random damage: every verdict equals the reference verifier's.

use super::{ALGS, entry};
use accel::weierstrass::{Entry, Weierstrass};
use accel::{Batch, CpuEngine, Engine, Item, Message, Path};
use proptest::prelude::*;
use types::{AlgId, Digest, PublicKey, SecretKey, Signature, SigningMessage};

/// What is done to an honest item.
#[derive(Clone, Copy, Debug)]
enum Damage {
    None,
    Bit { part: u8, bit: u16 },
    OtherMessage,
    OtherKey,
    OtherAlgorithm,
    Prehashed,
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        6 => Just(Damage::None),
        3 => (0..2_u8, 0..512_u16).prop_map(|(part, bit)| Damage::Bit { part, bit }),
        1 => Just(Damage::OtherMessage),
        1 => Just(Damage::OtherKey),
        1 => Just(Damage::OtherAlgorithm),
        2 => Just(Damage::Prehashed),
    ]
}

fn flip(bytes: &[u8], bit: u16) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let bit = usize::from(bit) % (8 * bytes.len());
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

fn item(alg: AlgId, signer: u8, text: u16, damage: Damage) -> Item {
    let secret = SecretKey::from_seed(alg, [signer; 32]).unwrap();
    let message = SigningMessage::transaction(&Digest::sha256(&text.to_le_bytes()));
    let mut item = Item { key: secret.public_key(), message: message.into(), signature: secret.sign(&message) };
    match damage {
        Damage::None => {}
        Damage::Bit { part: 0, bit } => {
            item.key = PublicKey::from_parts(alg, &flip(item.key.as_bytes(), bit)).unwrap();
        }
        Damage::Bit { bit, .. } => {
            item.signature = Signature::from_parts(alg, &flip(item.signature.as_bytes(), bit)).unwrap();
        }
        Damage::OtherMessage => item.message = Message::Bytes(vec![7; usize::from(text % 300)].into()),
        Damage::OtherKey => item.key = SecretKey::from_seed(alg, [signer ^ 0x80; 32]).unwrap().public_key(),
        Damage::OtherAlgorithm => {
            let other = if alg == AlgId::Sm2Sm3 { AlgId::EcdsaP256 } else { AlgId::Sm2Sm3 };
            item.signature = Signature::from_parts(other, item.signature.as_bytes()).unwrap();
        }
        Damage::Prehashed => {
            // Ed25519 has none.
            item.message = item.key.prehash(message.as_bytes()).map_or(item.message, Message::Prehashed);
        }
    }
    item
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn verdicts_of_any_mixture_equal_the_reference(
        parts in prop::collection::vec((0..4_usize, 0..40_u8, any::<u16>(), damage()), 0..120),
        threads in 1..3_usize,
    ) {
        let algs = [ALGS[0], ALGS[1], ALGS[2], AlgId::Ed25519];
        let items: Vec<Item> =
            parts.into_iter().map(|(alg, signer, text, damage)| item(algs[alg], signer, text, damage)).collect();
        let expected: Vec<bool> = items.iter().map(Item::verify_alone).collect();
        // A cache of a few keys, so that eviction takes part.
        let mut engine = CpuEngine::new(threads, 160).unwrap();
        for path in [Path::Together, Path::Singly] {
            let verdicts = engine.verify(&Batch::new(items.clone(), path)).unwrap();
            prop_assert_eq!(verdicts.iter().collect::<Vec<_>>(), expected.clone());
        }
        for alg in ALGS {
            let chosen: Vec<(usize, Entry<'_>)> = items
                .iter()
                .enumerate()
                .filter(|(_, item)| item.key.alg() == alg && item.signature.alg() == alg)
                .map(|(index, item)| (index, entry(item)))
                .collect();
            let entries: Vec<Entry<'_>> = chosen.iter().map(|(_, entry)| *entry).collect();
            for engine in [Weierstrass::portable(alg, 40).unwrap(), Weierstrass::new(alg, 40).unwrap()] {
                for ((index, _), valid) in chosen.iter().zip(engine.verify(&entries)) {
                    prop_assert_eq!(valid, expected[*index], "{} on {}", alg, engine.name());
                }
            }
        }
    }
}

/// Every position of one bad item, and every size around the edges of groups.
#[test]
fn one_bad_item_is_found_wherever_it_stands() {
    for alg in ALGS {
        let all: Vec<Item> = (0..40).map(|i| item(alg, i % 11, i.into(), Damage::None)).collect();
        let engine = Weierstrass::new(alg, 64).unwrap();
        for len in [1, 2, 3, 7, 8, 9, 15, 16, 17, 24, 40] {
            let mut entries: Vec<Entry<'_>> = all[..len].iter().map(entry).collect();
            assert_eq!(engine.verify(&entries), vec![true; len], "{alg}, {len} valid ones");
            for position in 0..len {
                let honest = entries[position];
                entries[position].message = &all[(position + 1) % all.len()].message;
                let verdicts = engine.verify(&entries);
                for (index, valid) in verdicts.into_iter().enumerate() {
                    assert_eq!(valid, index != position, "{alg}, {position} of {len}, at {index}");
                }
                entries[position] = honest;
            }
        }
    }
}
