//! Shard workers under a scheduler that tries their interleavings: whatever the order in which values arrive, inboxes
//! fill and workers give up, the headers are those of one shard in line.
//!
//! `cargo test -p stele-ledger --features interleavings --test interleavings`. Inboxes and parcels are as small as they
//! can be there, so that full ones are the rule. A failure prints the schedule, which `shuttle::replay` runs again.
#![allow(clippy::unwrap_used)]

// Takes in what other tests need of it too.
#[allow(dead_code)]
#[path = "../execution/workload.rs"]
mod workload;

use ledger::{CommitInput, Ledger, LedgerOptions, MemoryState, StateFault, StateReader, Value};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use types::{Digest, Genesis, StateKey};
use workload::{Mix, Workload};

/// Fails the calls whose numbers are in a set of bits, the lowest first.
struct Faulty {
    state: MemoryState,
    calls: AtomicUsize,
    failing: u64,
}

impl StateReader for Faulty {
    fn value(&self, key: &StateKey) -> Result<Option<Value>, StateFault> {
        self.state.value(key)
    }

    fn values(&self, keys: &[StateKey]) -> Result<Vec<Option<Value>>, StateFault> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        if call < 64 && self.failing >> call & 1 == 1 {
            return Err(StateFault::Read("disk".into()));
        }
        keys.iter().map(|key| self.state.value(key)).collect()
    }
}

fn ledger(genesis: &Genesis, shards: u16, parallel_min: usize, failing: u64) -> (Ledger, Arc<Faulty>) {
    let reader = Arc::new(Faulty { state: MemoryState::default(), calls: AtomicUsize::new(0), failing });
    // Nothing stays in memory, so that every commit asks the reader.
    let options = LedgerOptions { cached_values: 0, parallel_min, table_seed: 0 };
    let (ledger, start) = Ledger::genesis(genesis, NonZeroU16::new(shards).unwrap(), reader.clone(), options).unwrap();
    reader.state.apply(&start.changes);
    (ledger, reader)
}

/// Headers after each commit, and how often storage failed on the way.
fn run((mut ledger, reader): (Ledger, Arc<Faulty>), commits: &[CommitInput]) -> (Vec<Digest>, usize) {
    let (mut headers, mut faults) = (Vec::new(), 0);
    for input in commits {
        let executed = loop {
            match ledger.execute(input.clone()) {
                Ok(executed) => break executed,
                Err(StateFault::Read(_)) => faults += 1,
                Err(other) => panic!("the cause is reported: {other}"),
            }
        };
        reader.state.apply(&executed.changes);
        ledger.persisted(executed.header.height);
        headers.push(executed.header_digest);
    }
    (headers, faults)
}

fn config() -> Config {
    let mut config = Config::new();
    // Expansions of the state digest lie on the stack.
    config.stack_size = 1 << 20;
    config.max_steps = shuttle::MaxSteps::FailAfter(1_000_000);
    config
}

fn mix(seed: u64) -> Mix {
    Mix { seed, commits: 3, size: 24, accounts: 12, hot: 2, cross: 70, odd: 15, calls: 40, live_ids_max: 1_000_000 }
}

/// One scenario for a scheduler: the same commits on three shards, with reads that fail.
fn scenario(seed: u64, failing: u64) -> impl Fn() + Send + Sync + 'static {
    let Workload { genesis, commits } = mix(seed).build();
    let (expected, _) = run(ledger(&genesis, 1, usize::MAX, 0), &commits);
    move || {
        let (headers, faults) = run(ledger(&genesis, 3, 0, failing), &commits);
        assert_eq!(headers, expected);
        assert!(failing == 0 || faults > 0);
    }
}

#[test]
fn any_interleaving_of_the_workers_gives_the_headers_of_one_shard() {
    for seed in 0..4 {
        Runner::new(RandomScheduler::new_from_seed(seed, 150), config()).run(scenario(seed, 0));
        Runner::new(PctScheduler::new_from_seed(seed, 3, 150), config()).run(scenario(seed, 0));
    }
}

#[test]
fn workers_that_give_up_in_the_middle_leave_nothing_behind_in_any_interleaving() {
    // One shard fails, two do, all do; and again when the commit is tried again.
    for (seed, failing) in [(5, 0b1), (6, 0b110), (7, 0b111), (8, 0b1_0010_1001)] {
        Runner::new(RandomScheduler::new_from_seed(seed, 150), config()).run(scenario(seed, failing));
        Runner::new(PctScheduler::new_from_seed(seed, 3, 150), config()).run(scenario(seed, failing));
    }
}
