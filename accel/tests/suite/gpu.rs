//! The GPU engine against the reference, on whatever adapter there is: Mesa's software driver will do. One engine for the
//! whole process, because a driver takes seconds to compile a kernel.

use crate::cases::{self, Case};
use accel::gpu::{GpuEngine, Options};
use accel::{Batch, Device, DeviceFault, Engine, Item, Message, Path};
use bytes::Bytes;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Duration;
use types::{AlgId, PublicKey, SecretKey, Signature};

pub fn options() -> Options {
    Options {
        allow_software: true,
        slot_items_max: 1024,
        key_slots: 2048,
        slots: 2,
        // A software driver on a busy machine.
        launch_ms_max: 120_000,
        algorithms: vec![AlgId::Ed25519],
        // One folder for all runs: what the driver compiled once need not be compiled again.
        cache_dir: Some(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("gpu")),
        ..Options::default()
    }
}

fn engine() -> MutexGuard<'static, GpuEngine> {
    static ENGINE: OnceLock<Mutex<GpuEngine>> = OnceLock::new();
    let shared = ENGINE.get_or_init(|| {
        Mutex::new(
            GpuEngine::open(&options()).expect("a Vulkan adapter: `cargo xtask setup` installs mesa-vulkan-drivers"),
        )
    });
    // A test that failed while it held the engine has left it whole.
    shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

pub fn item(case: &Case) -> Item {
    Item {
        key: PublicKey::from_parts(AlgId::Ed25519, &case.key).unwrap(),
        message: Message::Bytes(Bytes::from(case.message.clone())),
        signature: Signature::from_parts(AlgId::Ed25519, &case.signature).unwrap(),
    }
}

fn check(cases: &[Case]) {
    let batch = Batch::new(cases.iter().map(item).collect(), Path::Singly);
    let verdicts = engine().verify(&batch).unwrap();
    for (case, valid) in cases.iter().zip(verdicts.iter()) {
        assert_eq!(valid, case.zebra(), "{}", case.name);
    }
}

#[test]
fn public_vectors_have_their_zip215_verdicts() {
    check(&cases::rfc8032_and_djb());
    check(&cases::speccheck());
    check(&cases::wycheproof());
}

#[test]
fn encodings_at_every_edge_have_their_zip215_verdicts() {
    check(&cases::small_order_matrix());
    check(&cases::edge_encodings());
}

#[test]
fn messages_of_every_length_around_block_edges_and_far_beyond_are_hashed_right() {
    let secret = SecretKey::ed25519_from_seed([3; 32]);
    let lengths = (0..200).chain([300, 431, 432, 1000, 4095, 4096, 4097, 1 << 20]);
    let items: Vec<Item> = lengths
        .flat_map(|length| {
            let message: Vec<u8> = (0..length).map(|index| (index * 7) as u8).collect();
            let signature = secret.sign_bytes(&message);
            let good = Item { key: secret.public_key(), message: Message::Bytes(message.clone().into()), signature };
            let mut changed = message;
            changed.push(1);
            let bad = Item { message: Message::Bytes(changed.into()), ..good.clone() };
            [good, bad]
        })
        .collect();
    let verdicts = engine().verify(&Batch::new(items, Path::Singly)).unwrap();
    assert!(verdicts.iter().enumerate().all(|(index, valid)| valid == (index % 2 == 0)));
}

#[test]
fn batches_of_no_item_one_item_and_many_launches_answer_in_order() {
    let mut engine = engine();
    for size in [0usize, 1, 2, 63, 64, 65, 1023, 1024, 1025, 5000] {
        let items: Vec<Item> = (0..size)
            .map(|number| {
                let mut case = cases::valid(number as u32 % 300);
                if number % 7 == 3 {
                    case.signature[number % 64] ^= 1 << (number % 8);
                }
                item(&case)
            })
            .collect();
        let expected: Vec<bool> = items.iter().map(Item::verify_alone).collect();
        let verdicts = engine.verify(&Batch::new(items, Path::Together)).unwrap();
        assert_eq!(verdicts.iter().collect::<Vec<_>>(), expected, "{size}");
    }
}

#[test]
fn batches_in_flight_come_back_under_their_tickets() {
    let mut engine = engine();
    let mut expected = std::collections::HashMap::new();
    for number in 0..5usize {
        let mut cases: Vec<Case> = (0..100).map(cases::valid).collect();
        cases[number].message.push(0);
        let batch = Batch::new(cases.iter().map(item).collect(), Path::Singly);
        expected.insert(engine.submit(&batch).unwrap(), number);
    }
    assert_eq!(engine.in_flight(), 5);
    while let Some((ticket, verdicts)) = engine.wait(Duration::from_secs(120)) {
        let number = expected.remove(&ticket).expect("each ticket once");
        assert_eq!(verdicts.unwrap().invalid().collect::<Vec<_>>(), [number]);
    }
    assert!(expected.is_empty());
}

#[test]
fn more_keys_than_slots_are_prepared_again_and_a_known_key_is_not() {
    let mut engine = engine();
    let all: Vec<Item> = (0..3000u32)
        .map(|number| {
            let mut seed = [9; 32];
            seed[..4].copy_from_slice(&number.to_le_bytes());
            let secret = SecretKey::ed25519_from_seed(seed);
            let message = number.to_le_bytes().to_vec();
            Item {
                key: secret.public_key(),
                signature: secret.sign_bytes(&message),
                message: Message::Bytes(message.into()),
            }
        })
        .collect();
    for _ in 0..2 {
        assert!(engine.verify(&Batch::new(all.clone(), Path::Singly)).unwrap().all_valid());
    }
    let few = Batch::new(all[2900..].to_vec(), Path::Singly);
    assert!(engine.verify(&few).unwrap().all_valid());
    let before = engine.timings();
    assert!(engine.verify(&few).unwrap().all_valid());
    let after = engine.timings();
    assert_eq!((after.key_misses - before.key_misses, after.key_hits - before.key_hits), (0, 100));
}

#[test]
fn an_algorithm_without_a_kernel_is_a_fault_and_never_a_verdict() {
    let key = PublicKey::from_parts(AlgId::MlDsa65, &[1; 1952]).unwrap();
    let signature = Signature::from_parts(AlgId::MlDsa65, &[1; 3309]).unwrap();
    let batch = Batch::new(vec![Item { key, message: Message::Bytes(Bytes::new()), signature }], Path::Singly);
    assert_eq!(engine().verify(&batch), Err(DeviceFault::Unsupported(AlgId::MlDsa65)));
}

#[test]
fn a_reset_engine_answers_again_and_forgets_what_was_in_flight() {
    let mut engine = GpuEngine::open(&options()).unwrap();
    let batch = Batch::new((0..50).map(|number| item(&cases::valid(number))).collect(), Path::Singly);
    engine.submit(&batch).unwrap();
    engine.reset().unwrap();
    assert_eq!((engine.in_flight(), engine.wait(Duration::ZERO)), (0, None));
    assert!(engine.verify(&batch).unwrap().all_valid());
}
