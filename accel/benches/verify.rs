//! Microseconds a signature on one core: the reference, batches with a warm and a cold key cache, public crates beside
//! them; and Merkle roots. Every item has a key of its own. Criterion's time is for the whole batch: its `elem/s` says
//! the rest.

#[path = "verify/peers.rs"]
mod peers;

use accel::ed25519::{Ed25519, Entry};
use accel::weierstrass::{self, Weierstrass};
use accel::{Batch, CpuEngine, Engine, Item, Path};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use types::{AlgId, Digest, SecretKey, SigningMessage};

fn items(alg: AlgId, count: u32) -> Vec<Item> {
    (0..count)
        .map(|number| {
            let mut seed = [3; 32];
            seed[..4].copy_from_slice(&number.to_le_bytes());
            let secret = SecretKey::from_seed(alg, seed).expect("an algorithm that signs");
            let message = SigningMessage::transaction(&Digest::sha256(&number.to_le_bytes()));
            Item { key: secret.public_key(), message: message.into(), signature: secret.sign(&message) }
        })
        .collect()
}

fn entries(items: &[Item]) -> Vec<Entry<'_>> {
    items
        .iter()
        .map(|item| Entry {
            key: item.key.as_bytes().try_into().expect("32 bytes"),
            message: item.message.bytes().expect("not hashed yet"),
            signature: item.signature.as_bytes().try_into().expect("64 bytes"),
        })
        .collect()
}

fn verify(criterion: &mut Criterion) {
    let all = items(AlgId::Ed25519, 4096);
    let mut group = criterion.benchmark_group("ed25519");
    group.throughput(Throughput::Elements(1));
    group.bench_function("reference", |bencher| bencher.iter(|| black_box(all[0].verify_alone())));
    for size in [1, 2, 4, 8, 16, 64, 256, 1024, 4096] {
        group.throughput(Throughput::Elements(size as u64));
        let batch = Batch::new(all[..size].to_vec(), Path::Together);
        let mut warm = CpuEngine::new(1, 65_536).expect("an engine");
        let id = |name: String| BenchmarkId::new(name, size);
        group.bench_function(id(format!("{} warm", warm.name())), |bencher| {
            bencher.iter(|| assert!(warm.verify(&batch).expect("verdicts").all_valid()));
        });
        // A cache of 32 keys: with more distinct ones in a batch every key is decoded.
        let mut cold = CpuEngine::new(1, 1).expect("an engine");
        if size >= 64 {
            group.bench_function(id(format!("{} cold", cold.name())), |bencher| {
                bencher.iter(|| assert!(cold.verify(&batch).expect("verdicts").all_valid()));
            });
        }
        let portable = Ed25519::portable(65_536).expect("an engine");
        let entries = entries(&all[..size]);
        group.bench_function(id("dalek warm".into()), |bencher| {
            bencher.iter(|| black_box(portable.verify(&entries, Path::Together)));
        });
        group.bench_function(id("zebra".into()), |bencher| {
            bencher.iter(|| {
                let mut zebra = ed25519_zebra::batch::Verifier::new();
                for entry in &entries {
                    zebra.queue(((*entry.key).into(), (*entry.signature).into(), &entry.message));
                }
                let rng = getrandom::rand_core::UnwrapErr(getrandom::SysRng);
                zebra.verify(rng).expect("all valid");
            });
        });
    }
    let (batch, mut engine) =
        (Batch::new(all[..1024].to_vec(), Path::Singly), CpuEngine::new(1, 65_536).expect("an engine"));
    group.throughput(Throughput::Elements(1024));
    group.bench_function(BenchmarkId::new(format!("{} singly", engine.name()), 1024), |bencher| {
        bencher.iter(|| assert!(engine.verify(&batch).expect("verdicts").all_valid()));
    });
    let mut one_bad = all[..1024].to_vec();
    one_bad[700].message = one_bad[701].message.clone();
    group.throughput(Throughput::Elements(1024));
    let all_bad: Vec<Item> =
        one_bad.iter().map(|item| Item { message: all[0].message.clone(), ..item.clone() }).collect();
    let (batch, mut engine) = (Batch::new(all_bad, Path::Together), CpuEngine::new(1, 65_536).expect("an engine"));
    group.bench_function(BenchmarkId::new(format!("{} nearly all bad", engine.name()), 1024), |bencher| {
        bencher.iter(|| assert_eq!(engine.verify(&batch).expect("verdicts").valid_count(), 1));
    });
    let (batch, mut engine) = (Batch::new(one_bad, Path::Together), CpuEngine::new(1, 65_536).expect("an engine"));
    group.bench_function(BenchmarkId::new(format!("{} one bad", engine.name()), 1024), |bencher| {
        bencher.iter(|| assert_eq!(engine.verify(&batch).expect("verdicts").valid_count(), 1023));
    });
}

/// SM2 and ECDSA: batches with every key at hand, and with none, on each arithmetic; then the crates with the key
/// decoded.
fn verify_weierstrass(criterion: &mut Criterion) {
    for alg in [AlgId::Sm2Sm3, AlgId::EcdsaP256, AlgId::EcdsaSecp256k1] {
        let all = items(alg, 1024);
        let entries: Vec<weierstrass::Entry<'_>> = all
            .iter()
            .map(|item| weierstrass::Entry {
                key: item.key.as_bytes().try_into().expect("33 bytes"),
                message: &item.message,
                signature: item.signature.as_bytes().try_into().expect("64 bytes"),
            })
            .collect();
        let mut group = criterion.benchmark_group(alg.name());
        group.throughput(Throughput::Elements(1));
        group.bench_function("reference", |bencher| bencher.iter(|| assert!(all[0].verify_alone())));
        for (name, verify) in peers::decoded(&all[0]) {
            group.bench_function(name, |bencher| bencher.iter(|| assert!(verify())));
        }
        for make in [Weierstrass::portable, Weierstrass::new] {
            for size in [1, 8, 64, 1024] {
                group.throughput(Throughput::Elements(size as u64));
                let warm = make(alg, 65_536).expect("one of the three");
                group.bench_function(BenchmarkId::new(format!("{} warm", warm.name()), size), |bencher| {
                    bencher.iter(|| assert!(warm.verify(&entries[..size]).iter().all(|valid| *valid)));
                });
                // A cache of 32 keys, and every key seen before its turn comes again.
                let cold = make(alg, 0).expect("one of the three");
                let mut batches = entries.chunks(size).cycle();
                group.bench_function(BenchmarkId::new(format!("{} cold", cold.name()), size), |bencher| {
                    bencher.iter(|| {
                        let batch = batches.next().expect("it is endless");
                        assert!(cold.verify(batch).iter().all(|valid| *valid));
                    });
                });
            }
        }
    }
}

fn merkle(criterion: &mut Criterion) {
    let leaves: Vec<Digest> = (0..4096_u32).map(|number| Digest::sha256(&number.to_le_bytes())).collect();
    let mut group = criterion.benchmark_group("merkle-sha256");
    for size in [64, 1024, 4096] {
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| black_box(types::merkle_root(leaves[..size].iter().map(|leaf| leaf.as_bytes()))));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(std::time::Duration::from_secs(1)).warm_up_time(std::time::Duration::from_millis(200));
    targets = verify, verify_weierstrass, merkle
}
criterion_main!(benches);
