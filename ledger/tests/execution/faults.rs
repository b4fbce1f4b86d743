//! Storage that fails: the commit is not applied in any shard, and the same commit can be tried again.

use crate::oracle::Oracle;
use crate::workload::{Mix, Workload};
use ledger::{Ledger, LedgerOptions, MemoryState, StateFault, StateReader, Value};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use types::StateKey;

/// Fails, or panics, at one call in `every`.
struct Flaky {
    state: MemoryState,
    calls: AtomicUsize,
    every: usize,
    panics: bool,
}

impl Flaky {
    fn new(every: usize, panics: bool) -> Arc<Self> {
        Arc::new(Self { state: MemoryState::default(), calls: AtomicUsize::new(0), every, panics })
    }
}

impl StateReader for Flaky {
    fn value(&self, key: &StateKey) -> Result<Option<Value>, StateFault> {
        self.state.value(key)
    }

    fn values(&self, keys: &[StateKey]) -> Result<Vec<Option<Value>>, StateFault> {
        if self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.every) {
            assert!(!self.panics, "the reader panics");
            return Err(StateFault::Read("disk".into()));
        }
        keys.iter().map(|key| self.state.value(key)).collect()
    }
}

fn workload() -> Workload {
    Mix { seed: 3, commits: 10, size: 150, accounts: 90, hot: 5, cross: 60, odd: 10, calls: 20, live_ids_max: 1_000 }
        .build()
}

fn options(parallel_min: usize) -> LedgerOptions {
    LedgerOptions { cached_values: 16, parallel_min, table_seed: 0 }
}

#[test]
fn a_commit_that_met_a_fault_goes_through_when_tried_again() {
    let workload = workload();
    // In line and on workers.
    for parallel_min in [usize::MAX, 0] {
        let reader = Flaky::new(5, false);
        let shards = NonZeroU16::new(4).unwrap();
        let (mut ledger, start) =
            Ledger::genesis(&workload.genesis, shards, reader.clone(), options(parallel_min)).unwrap();
        reader.state.apply(&start.changes);
        let (mut oracle, mut faults) = (Oracle::new(&workload.genesis), 0);
        for input in &workload.commits {
            oracle.execute(input);
            let executed = loop {
                let before = ledger.checkpoint();
                match ledger.execute(input.clone()) {
                    Ok(executed) => break executed,
                    Err(fault) => {
                        assert!(matches!(fault, StateFault::Read(_)), "the first cause is reported: {fault}");
                        assert_eq!(ledger.checkpoint(), before);
                        faults += 1;
                    }
                }
            };
            assert_eq!(executed.header, oracle.header);
            reader.state.apply(&executed.changes);
            ledger.persisted(executed.header.height);
        }
        assert!(faults >= 2, "{faults} faults");
    }
}

#[test]
#[should_panic(expected = "a shard worker panicked")]
fn a_panic_on_a_worker_reaches_the_caller_and_leaves_nobody_waiting() {
    let workload = workload();
    let reader = Flaky::new(7, true);
    reader.calls.store(3, Ordering::Relaxed);
    let shards = NonZeroU16::new(4).unwrap();
    let (mut ledger, start) = Ledger::genesis(&workload.genesis, shards, reader.clone(), options(0)).unwrap();
    reader.state.apply(&start.changes);
    for input in workload.commits {
        let executed = ledger.execute(input).unwrap();
        reader.state.apply(&executed.changes);
        ledger.persisted(executed.header.height);
    }
}

#[test]
fn an_answer_of_the_wrong_length_is_a_fault() {
    struct Short;
    impl StateReader for Short {
        fn value(&self, _: &StateKey) -> Result<Option<Value>, StateFault> {
            Ok(None)
        }

        fn values(&self, _: &[StateKey]) -> Result<Vec<Option<Value>>, StateFault> {
            Ok(Vec::new())
        }
    }
    let workload = workload();
    let (mut ledger, _) = Ledger::genesis(&workload.genesis, NonZeroU16::MIN, Arc::new(Short), options(0)).unwrap();
    let input = workload.commits.into_iter().find(|input| input.transactions.len() > 20).unwrap();
    let input = ledger::CommitInput { height: types::Height(1), ..input };
    assert!(matches!(ledger.execute(input), Err(StateFault::Answers { answered: 0, .. })));
}
