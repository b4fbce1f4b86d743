//! The claim of sharding: accounts, receipts and headers are those of serial execution in commit order, for any number of
//! shards, in line or on workers, with any caches, and however far storage lags.

use crate::oracle::Oracle;
use crate::workload::{Mix, Workload};
use ledger::{Executed, Ledger, LedgerOptions, LtHash, MemoryState, StateReader, Value};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::sync::Arc;
use types::{Encode, Outcome, StateKey, TransactionId};

/// A ledger whose storage is some heights behind.
struct Lagging {
    ledger: Ledger,
    state: Arc<MemoryState>,
    unwritten: VecDeque<Executed>,
    lag: usize,
}

impl Lagging {
    fn new(workload: &Workload, shards: u16, lag: usize, options: LedgerOptions) -> Self {
        let state = Arc::new(MemoryState::default());
        let reader: Arc<dyn StateReader> = state.clone();
        let shards = NonZeroU16::new(shards).unwrap();
        let (ledger, start) = Ledger::genesis(&workload.genesis, shards, reader, options).unwrap();
        state.apply(&start.changes);
        Self { ledger, state, unwritten: VecDeque::new(), lag }
    }

    fn write(&mut self, left: usize) {
        while self.unwritten.len() > left {
            let executed = self.unwritten.pop_front().unwrap();
            self.state.apply(&executed.changes);
            self.ledger.persisted(executed.header.height);
        }
    }
}

fn options(cached_values: usize, parallel_min: usize, table_seed: u64) -> LedgerOptions {
    LedgerOptions { cached_values, parallel_min, table_seed }
}

fn agree(mix: &Mix) {
    let workload = mix.build();
    let mut oracle = Oracle::new(&workload.genesis);
    let supply: u128 = workload.genesis.accounts.iter().map(|allocation| allocation.balance.0).sum();
    let mut ledgers = vec![
        Lagging::new(&workload, 1, 0, LedgerOptions::default()),
        Lagging::new(&workload, 1, 3, options(4, 0, 1)),
        Lagging::new(&workload, 2, 1, options(10, 0, 2)),
        Lagging::new(&workload, 4, 2, options(1 << 10, 0, 3)),
        Lagging::new(&workload, 4, 4, options(8, usize::MAX, 4)),
        Lagging::new(&workload, 16, 0, options(0, 0, 5)),
        Lagging::new(&workload, 16, 5, options(64, 20, 6)),
    ];
    for input in &workload.commits {
        let before = oracle.values.clone();
        let expected = oracle.execute(input);
        let total: u128 = oracle.values.values().filter_map(Value::account).map(|account| account.balance.0).sum();
        assert_eq!(total, supply);
        for (which, lagging) in ledgers.iter_mut().enumerate() {
            let executed = lagging.ledger.execute(input.clone()).unwrap();
            assert_eq!(executed.receipts, expected.receipts, "ledger {which}, height {}", input.height);
            assert_eq!(executed.header, oracle.header, "ledger {which}");
            assert_eq!(executed.header_digest, oracle.header.digest());
            assert_eq!(executed.certified, expected.certified);
            assert_eq!(executed.events, expected.events);
            let faulty =
                executed.faulty.iter().map(|entry| (entry.author(), entry.block.digest, entry.index, entry.reject));
            assert_eq!(faulty.collect::<Vec<_>>(), expected.faulty);
            assert!(executed.changes.is_sorted_by(|(one, _), (other, _)| one < other));
            let held = executed.changes.iter().map(|(key, _)| before.get(key).cloned());
            assert_eq!(executed.before, held.collect::<Vec<_>>(), "ledger {which}, height {}", input.height);
            let claimed: Vec<TransactionId> = expected
                .receipts
                .iter()
                .filter(|receipt| ledger::claims_id(receipt.outcome))
                .map(|receipt| receipt.transaction)
                .collect();
            assert_eq!(executed.live.added.as_ref().map_or(vec![], |bucket| bucket.ids.clone()), claimed);
            assert_eq!(executed.checkpoint.live_buckets, oracle.live.len() as u64);
            lagging.unwritten.push_back(executed);
            let lag = lagging.lag;
            lagging.write(lag);
        }
    }
    let expected: Vec<(StateKey, Value)> = oracle.values.into_iter().collect();
    for mut lagging in ledgers {
        lagging.write(0);
        assert_eq!(lagging.state.all(), expected);
        let live: Vec<_> = oracle
            .live
            .iter()
            .map(|(height, (max, ids))| ledger::LiveBucket { height: *height, max_valid_until: *max, ids: ids.clone() })
            .collect();
        let audit = LtHash::of_state(expected.iter().cloned(), &live, lagging.ledger.approvals());
        assert_eq!(audit, lagging.ledger.checkpoint().state);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, rng_seed: RngSeed::Fixed(2), ..ProptestConfig::default() })]

    #[test]
    fn any_number_of_shards_agrees_with_serial_execution(
        seed: u64,
        size in prop::sample::select(vec![3usize, 60, 250]),
        accounts in 10usize..120,
        hot in 1usize..8,
        cross in prop::sample::select(vec![0u32, 10, 50, 100]),
        odd in prop::sample::select(vec![0u32, 20, 60]),
        calls in prop::sample::select(vec![0u32, 30, 100]),
        live_ids_max in prop::sample::select(vec![40u64, 300, 1_000_000]),
    ) {
        agree(&Mix { seed, commits: 8, size, accounts, hot, cross, odd, calls, live_ids_max });
    }
}

#[test]
fn workloads_reach_every_outcome() {
    let (mut receipts, mut events) = (Vec::new(), Vec::new());
    // Transfers and the governance, and then calls for the most part.
    for (commits, odd, calls, live_ids_max) in [(12, 60, 0, 500), (24, 40, 95, 1_000_000)] {
        let mix = Mix { seed: 1, commits, size: 300, accounts: 60, hot: 4, cross: 50, odd, calls, live_ids_max };
        let workload = mix.build();
        let mut oracle = Oracle::new(&workload.genesis);
        for input in &workload.commits {
            let outcomes = oracle.execute(input);
            receipts.extend(outcomes.receipts);
            events.extend(outcomes.events.into_iter().flat_map(|(_, events)| events));
        }
    }
    use types::Reject::*;
    // WrongChain and AlgorithmNotAllowed come from parsing; BalanceOverflow needs a broken genesis. See `rejects`.
    let reached = [
        Malformed,
        TooLarge,
        Expired,
        ValidUntilTooFar,
        Duplicate,
        BadSignature,
        UnknownSender,
        Overdraft,
        SelfTransfer,
        ZeroAmount,
        TooManyLiveIds,
        NotGoverning,
        WrongEpoch,
        EpochClosing,
        AlreadyApproved,
        UnknownValidator,
        RepeatedValidator,
        InvalidStake,
        InvalidParameters,
        DeclaredKeys,
        Undeclared,
        NotAuthorised,
        UnknownObject,
        ObjectExists,
        NotTransferable,
        NotDivisible,
        InvalidQuantity,
        DifferentObjects,
        UnknownGrant,
        InvalidGrant,
        NotGranted,
    ];
    for reject in reached {
        assert!(receipts.iter().any(|receipt| receipt.outcome == Outcome::Rejected(reject)), "{reject:?}");
    }
    assert!(receipts.iter().any(|receipt| receipt.outcome == Outcome::Applied));
    let emitted: std::collections::BTreeSet<u8> = events.iter().map(|event| event.to_bytes()[0]).collect();
    assert_eq!(emitted, (1..=9).collect(), "every kind of event");
}

#[test]
fn one_hot_account_on_both_sides_of_every_transfer_runs_on_workers() {
    agree(&Mix {
        seed: 9,
        commits: 4,
        size: 800,
        accounts: 64,
        hot: 1,
        cross: 100,
        odd: 0,
        calls: 0,
        live_ids_max: 1_000_000,
    });
}
