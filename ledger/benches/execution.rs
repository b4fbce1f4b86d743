//! Cost of execution: microseconds a transfer by size of commit and number of shards; and of the parts that it is made
//! of.
//!
//! `cargo bench -p stele-ledger --profile dev`; every transfer names two of 10,000 accounts at random.
#![allow(missing_docs)]

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ledger::{
    Account, Accumulator, CommitInput, Element, Ledger, LedgerOptions, MemoryState, OrderedTransaction, proof,
};
use std::hint::black_box;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};
use types::*;

const ACCOUNTS: u32 = 10_000;
const POOL: usize = 1 << 16;
const START_MS: u64 = 1_000_000;

fn key(seed: u32) -> SecretKey {
    let mut bytes = [3; 32];
    bytes[..4].copy_from_slice(&seed.to_le_bytes());
    SecretKey::ed25519_from_seed(bytes)
}

struct Pool {
    genesis: Genesis,
    transactions: Vec<OrderedTransaction>,
}

impl Pool {
    fn build() -> Self {
        let keys: Vec<_> = (0..ACCOUNTS).map(key).collect();
        let addresses: Vec<_> = keys.iter().map(|key| key.public_key().address()).collect();
        let validator = Authority {
            name: "v".into(),
            consensus_key: key(1 << 30).public_key(),
            transport_key: key(1 << 31).public_key(),
            stake: Stake(1),
            peer_address: "127.0.0.1:1".parse().expect("an address"),
            client_address: "127.0.0.1:2".parse().expect("an address"),
            rpc_address: "127.0.0.1:3".parse().expect("an address"),
        };
        let genesis = Genesis {
            ceremonies: Vec::new(),
            name: "bench".into(),
            created_ms: START_MS,
            signature_algorithms: vec!["ed25519".into()],
            parameters: Parameters { validity_window_ms: 3_600_000, ..Parameters::default() },
            governance: Governance::default(),
            validators: vec![validator],
            accounts: addresses
                .iter()
                .map(|address| Allocation { address: *address, balance: Amount(1 << 40) })
                .collect(),
        };
        let (chain, block) =
            (genesis.chain_id(), BlockRef { round: Round(1), author: AuthorityIndex(0), digest: Digest::ZERO });
        let mut state = 1u64;
        let mut below = |bound: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % bound
        };
        let transfer = |index: usize| {
            let (from, to) = (below(keys.len()), below(keys.len()));
            let body =
                TransactionBody::Transfer { to: addresses[to], amount: Amount(1), memo: Bytes::from(vec![0; 300]) };
            // Buckets of ids run out all along, so that dropping them is part of what is measured.
            let valid_until = START_MS + index as u64 + 8_192;
            let signed = Transaction::sign(&chain, &keys[from], valid_until, index as u64, body).expect("signs");
            OrderedTransaction { transaction: Ok(Arc::new(signed)), signature_valid: true, block, index: index as u32 }
        };
        let transactions = (0..POOL).map(transfer).collect();
        Self { genesis, transactions }
    }

    /// Time of `commits` commits of `size` transfers.
    fn run(&self, commits: u64, size: usize, shards: u16, options: LedgerOptions) -> Duration {
        let (mut spent, mut left) = (Duration::ZERO, commits);
        while left > 0 {
            let state = Arc::new(MemoryState::default());
            let shards = NonZeroU16::new(shards).expect("not zero");
            let (mut ledger, start) =
                Ledger::genesis(&self.genesis, shards, state.clone(), options).expect("genesis is sound");
            state.apply(&start.changes);
            for (index, transactions) in self.transactions.chunks(size).enumerate() {
                if left == 0 {
                    break;
                }
                let input = CommitInput {
                    height: Height(index as u64 + 1),
                    commit: Digest::ZERO,
                    timestamp: TimestampMs(START_MS + (index * size) as u64),
                    state_root: Digest::ZERO,
                    last_of_epoch: false,
                    transactions: transactions.to_vec(),
                };
                let begin = Instant::now();
                let executed = black_box(ledger.execute(input).expect("the state is in memory"));
                // The first tenth reads cold accounts and is not counted.
                if index * size >= POOL / 10 {
                    spent += begin.elapsed();
                    left -= 1;
                }
                state.apply(&executed.changes);
                ledger.persisted(executed.header.height);
            }
        }
        spent
    }
}

fn execution(criterion: &mut Criterion) {
    let pool = Pool::build();
    let mut group = criterion.benchmark_group("execute");
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    let mut measure = |name: String, size: usize, shards: u16, options: LedgerOptions| {
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(BenchmarkId::new(name, size), |bencher| {
            bencher.iter_custom(|commits| pool.run(commits, size, shards, options));
        });
    };
    for size in [256, 1_024, 4_096] {
        for shards in [1, 2, 4] {
            let in_line = LedgerOptions { parallel_min: usize::MAX, ..LedgerOptions::default() };
            measure(format!("{shards}-in-line"), size, shards, in_line);
        }
        for shards in [2, 4] {
            let workers = LedgerOptions { parallel_min: 0, ..LedgerOptions::default() };
            measure(format!("{shards}-workers"), size, shards, workers);
        }
    }
    group.finish();

    let receipts: Vec<_> = pool.transactions[..1_024]
        .iter()
        .filter_map(|entry| entry.transaction.as_ref().ok())
        .map(|transaction| Receipt { transaction: transaction.id(), outcome: Outcome::Applied })
        .collect();
    let mut group = criterion.benchmark_group("merkle");
    group.throughput(Throughput::Elements(1_024));
    group.bench_function("both roots of 1024", |bencher| {
        bencher.iter(|| {
            let ids = receipts.iter().map(|receipt| receipt.transaction);
            (proof::transaction_root(ids), proof::receipt_root(&receipts))
        });
    });
    group.finish();
}

fn state_digest(criterion: &mut Criterion) {
    let (address, account) = (Address::from_bytes([9; 32]), Account { balance: Amount(1), transfers_out: 2 });
    let mut sum = Accumulator::default();
    let mut group = criterion.benchmark_group("lthash");
    group.bench_function("add", |bencher| {
        bencher.iter(|| sum.add(&Element::account(black_box(&address), black_box(&account))));
    });
    group.bench_function("sum", |bencher| bencher.iter(|| black_box(&sum).sum()));
    let sum = sum.sum();
    group.bench_function("digest", |bencher| bencher.iter(|| black_box(&sum).digest()));
    group.finish();
}

criterion_group!(benches, state_digest, execution);
criterion_main!(benches);
