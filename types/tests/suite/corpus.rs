//! Replays the fuzz corpora of this crate's decoders in the normal suite. Inputs that fuzzing found are added to the
//! folders and stay; the seeds, one of each kind of value, are written by the test that is ignored here.

use crate::samples::Random;
use std::path::PathBuf;
use types::{Encode, LedgerEvent};

#[path = "../../fuzz/src/checks.rs"]
mod checks;

fn folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

fn replay(target: &str, check: fn(&[u8])) {
    let folder = folder(target);
    let mut inputs = 0;
    for entry in std::fs::read_dir(&folder).expect("the corpus is part of the sources") {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        check(&std::fs::read(&path).unwrap());
        inputs += 1;
    }
    assert!(inputs >= 3, "{} holds {inputs} inputs", folder.display());
}

#[test]
fn transactions() {
    replay("transaction", checks::transaction);
}

#[test]
fn calls() {
    replay("call", checks::transaction);
}

#[test]
fn contract_values() {
    replay("contract_values", checks::contract_values);
}

#[test]
fn signatures() {
    replay("signature", checks::signature);
}

#[test]
fn block_headers() {
    replay("block_header", checks::block_header);
}

#[test]
fn payloads() {
    replay("payload", checks::payload);
}

#[test]
fn commit_records() {
    replay("commit_record", checks::commit_record);
}

#[test]
fn certificates() {
    replay("certificate", checks::certificate);
}

#[test]
fn epoch_changes() {
    replay("epoch_change", checks::epoch_change);
}

#[test]
fn snapshots() {
    replay("snapshot", checks::snapshot);
}

#[test]
fn genesis() {
    replay("genesis", checks::genesis);
}

/// The seeds: `cargo test -p stele-types --test suite -- --ignored write_the_seeds`.
#[test]
#[ignore = "writes into the source tree"]
fn write_the_seeds() {
    type Sample = fn(&mut Random) -> Vec<u8>;
    let samples: [(&str, Sample); 11] = [
        ("transaction", |random| random.transaction(&checks::chain()).raw().to_vec()),
        ("call", |random| random.call(&checks::chain()).raw().to_vec()),
        ("contract_values", |random| match random.below(3) {
            0 => random.object().to_bytes(),
            1 => random.grant().to_bytes(),
            _ => LedgerEvent::list_to_bytes(&random.list(8, Random::event)),
        }),
        ("signature", Random::signed_message),
        ("block_header", |random| random.block_header(checks::chain()).raw().to_vec()),
        ("payload", |random| random.payload().raw().to_vec()),
        ("commit_record", |random| random.commit_record().to_bytes()),
        ("certificate", |random| random.certificate().to_bytes()),
        ("epoch_change", |random| random.epoch_change().to_bytes()),
        ("snapshot", |random| match random.below(2) {
            0 => random.state_manifest().to_bytes(),
            _ => random.state_proof().to_bytes(),
        }),
        ("genesis", |random| random.genesis().to_toml().into_bytes()),
    ];
    for (target, sample) in samples {
        let mut random = Random::new(1);
        std::fs::create_dir_all(folder(target)).unwrap();
        for number in 0..6 {
            std::fs::write(folder(target).join(format!("seed-{number}")), sample(&mut random)).unwrap();
        }
        // A value cut short, and one with a lying length in its second half.
        let mut value = sample(&mut random);
        std::fs::write(folder(target).join("cut"), &value[..value.len() * 2 / 3]).unwrap();
        let middle = value.len() / 2;
        value[middle..].iter_mut().take(4).for_each(|byte| *byte = 0xff);
        std::fs::write(folder(target).join("lie"), &value).unwrap();
    }
    let certified = Random::new(2).certified_header(checks::chain());
    std::fs::write(folder("block_header").join("certified"), certified.raw()).unwrap();
}
