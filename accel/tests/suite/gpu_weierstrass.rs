//! SM2 and ECDSA on the GPU against the reference, on whatever adapter there is: Mesa's software driver will do.

use crate::gpu::options;
use crate::weierstrass::ALGS;
use accel::gpu::{GpuEngine, Options};
use accel::{Batch, Engine, Item, Message, Path};
use std::sync::{Mutex, OnceLock, PoisonError};
use types::{AlgId, PublicKey, SecretKey, Signature};

/// Verdicts of the one engine of this process.
pub fn verdicts(items: &[Item]) -> Vec<bool> {
    static ENGINE: OnceLock<Mutex<GpuEngine>> = OnceLock::new();
    let shared = ENGINE.get_or_init(|| {
        let options = Options { algorithms: ALGS.to_vec(), ..options() };
        Mutex::new(
            GpuEngine::open(&options).expect("a Vulkan adapter: `cargo xtask setup` installs mesa-vulkan-drivers"),
        )
    });
    // A test that failed while it held the engine has left it whole.
    let mut engine = shared.lock().unwrap_or_else(PoisonError::into_inner);
    engine.verify(&Batch::new(items.to_vec(), Path::Singly)).unwrap().iter().collect()
}

fn signed(secret: &SecretKey, message: Vec<u8>) -> Item {
    let signature = secret.sign_bytes(&message);
    Item { key: secret.public_key(), message: Message::Bytes(message.into()), signature }
}

#[test]
fn messages_of_every_length_around_block_edges_and_far_beyond_are_hashed_right() {
    for alg in ALGS {
        let secret = SecretKey::from_seed(alg, [3; 32]).unwrap();
        let mut items = Vec::new();
        for length in (0..140).chain([183, 184, 1000, 4095, 4096, 4097, 1 << 20]) {
            let good = signed(&secret, (0..length).map(|index| (index * 7) as u8).collect());
            let mut changed = good.message.bytes().unwrap().to_vec();
            changed.push(1);
            let bad = Item { message: Message::Bytes(changed.into()), ..good.clone() };
            let digest = good.key.prehash(good.message.bytes().unwrap()).unwrap();
            let prehashed = Item { message: Message::Prehashed(digest), ..good.clone() };
            items.extend([good, bad, prehashed]);
        }
        for (index, valid) in verdicts(&items).into_iter().enumerate() {
            assert_eq!(valid, index % 3 != 1, "{alg} {index}");
        }
    }
}

#[test]
fn a_mixture_of_algorithms_with_any_bit_of_key_or_signature_turned_has_the_reference_verdicts() {
    let mut items = Vec::new();
    for number in 0..1200_usize {
        let alg = ALGS[number % 3];
        let secret = SecretKey::from_seed(alg, [(number % 40) as u8; 32]).unwrap();
        let mut item = signed(&secret, number.to_le_bytes().to_vec());
        let turned = |bytes: &[u8], bit: usize| {
            let mut bytes = bytes.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        };
        match number / 3 % 4 {
            0 => item.key = PublicKey::from_parts(alg, &turned(item.key.as_bytes(), number * 7 % 264)).unwrap(),
            1 => {
                item.signature =
                    Signature::from_parts(alg, &turned(item.signature.as_bytes(), number * 11 % 512)).unwrap();
            }
            _ => {}
        }
        items.push(item);
    }
    let expected: Vec<bool> = items.iter().map(Item::verify_alone).collect();
    assert!(expected.iter().filter(|valid| **valid).count() >= 600);
    assert_eq!(verdicts(&items), expected);
}

#[test]
fn more_keys_than_slots_are_prepared_again() {
    let alg = AlgId::Sm2Sm3;
    let items: Vec<Item> = (0..2500_u32)
        .map(|number| {
            let mut seed = [9; 32];
            seed[..4].copy_from_slice(&number.to_le_bytes());
            signed(&SecretKey::from_seed(alg, seed).unwrap(), number.to_le_bytes().to_vec())
        })
        .collect();
    for _ in 0..2 {
        assert!(verdicts(&items).into_iter().all(|valid| valid));
    }
}
