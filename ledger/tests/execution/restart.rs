//! A ledger that continues from a checkpoint at any height makes the headers it would have made.

use crate::workload::{Dice, Mix};
use ledger::{Account, Executed, Ledger, LedgerCheckpoint, LedgerOptions, LiveBucket, MemoryState, ResumeError};
use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;
use types::{Decode, Encode, Height};

const SHARDS: NonZeroU16 = NonZeroU16::new(3).unwrap();

/// What storage holds.
#[derive(Default)]
struct Stored {
    state: Arc<MemoryState>,
    live: BTreeMap<Height, Vec<u8>>,
    checkpoint: Vec<u8>,
}

impl Stored {
    fn write(&mut self, executed: &Executed) {
        self.state.apply(&executed.changes);
        if let Some(bucket) = &executed.live.added {
            self.live.insert(bucket.height, bucket.to_bytes());
        }
        for height in &executed.live.dropped {
            assert!(self.live.remove(height).is_some(), "only stored buckets are dropped");
        }
        self.checkpoint = executed.checkpoint.to_bytes();
    }

    fn buckets(&self) -> Vec<LiveBucket> {
        self.live.values().rev().map(|bytes| LiveBucket::from_bytes(bytes).unwrap()).collect()
    }

    fn checkpoint(&self) -> LedgerCheckpoint {
        LedgerCheckpoint::from_bytes(&self.checkpoint).unwrap()
    }
}

fn mix() -> Mix {
    Mix { seed: 77, commits: 24, size: 80, accounts: 50, hot: 5, cross: 50, odd: 40, calls: 0, live_ids_max: 200 }
}

#[test]
fn resuming_before_every_commit_changes_no_header() {
    let workload = mix().build();
    let options = LedgerOptions { parallel_min: 0, ..LedgerOptions::default() };
    let (mut steady, mut moved) = (Stored::default(), Stored::default());
    let (mut ledger, start) = Ledger::genesis(&workload.genesis, SHARDS, steady.state.clone(), options).unwrap();
    steady.write(&start);
    moved.write(&start);
    for input in workload.commits {
        let mut resumed = Ledger::resume(
            &workload.genesis,
            ledger.epoch().clone(),
            moved.checkpoint(),
            moved.buckets(),
            NonZeroU16::new(1 + (input.height.0 % 5) as u16).unwrap(),
            moved.state.clone(),
            LedgerOptions { table_seed: input.height.0, ..options },
        )
        .unwrap();
        let (expected, again) = (ledger.execute(input.clone()).unwrap(), resumed.execute(input).unwrap());
        assert_eq!(again.header, expected.header);
        assert_eq!(again.receipts, expected.receipts);
        assert_eq!(again.changes, expected.changes);
        assert_eq!(again.live, expected.live);
        assert_eq!(again.checkpoint, expected.checkpoint);
        steady.write(&expected);
        moved.write(&again);
    }
    assert_eq!(steady.state.all(), moved.state.all());
}

#[test]
fn what_does_not_belong_together_is_not_continued() {
    let workload = mix().build();
    let mut stored = Stored::default();
    let options = LedgerOptions::default();
    let (mut ledger, start) = Ledger::genesis(&workload.genesis, SHARDS, stored.state.clone(), options).unwrap();
    stored.write(&start);
    for input in workload.commits.iter().take(5) {
        stored.write(&ledger.execute(input.clone()).unwrap());
    }
    let resume = |genesis, checkpoint, live: Vec<LiveBucket>| {
        Ledger::resume(genesis, ledger.epoch().clone(), checkpoint, live, SHARDS, stored.state.clone(), options).err()
    };
    assert_eq!(resume(&workload.genesis, stored.checkpoint(), stored.buckets()), None);

    let mut other = workload.genesis.clone();
    other.name = "another".into();
    let error = resume(&other, stored.checkpoint(), stored.buckets());
    assert!(matches!(error, Some(ResumeError::OtherChain { .. })), "{error:?}");

    let wrong_sum = LedgerCheckpoint { state: start.checkpoint.state.clone(), ..stored.checkpoint() };
    let error = resume(&workload.genesis, wrong_sum, stored.buckets());
    assert!(matches!(error, Some(ResumeError::StateDigest { .. })), "{error:?}");

    let (mut missing, mut repeated) = (stored.buckets(), stored.buckets());
    missing.pop().unwrap();
    repeated.push(repeated[0].clone());
    for live in [missing, repeated] {
        let error = resume(&workload.genesis, stored.checkpoint(), live);
        assert!(matches!(error, Some(ResumeError::LiveIds { .. })), "{error:?}");
    }
}

#[test]
fn a_damaged_checkpoint_is_a_decode_error_and_no_panic() {
    let workload = mix().build();
    let state = Arc::new(MemoryState::default());
    let (_, start) = Ledger::genesis(&workload.genesis, SHARDS, state, LedgerOptions::default()).unwrap();
    let bytes = start.checkpoint.to_bytes();
    assert_eq!(LedgerCheckpoint::from_bytes(&bytes).as_ref(), Ok(&start.checkpoint));
    for length in 0..bytes.len() {
        assert!(LedgerCheckpoint::from_bytes(&bytes[..length]).is_err());
    }
    assert!(LedgerCheckpoint::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
}

/// Bytes either are the one encoding of a value or none.
fn canonical_or_refused<T: Decode + Encode>(bytes: &[u8]) {
    if let Ok(value) = T::from_bytes(bytes) {
        assert_eq!(value.to_bytes(), bytes);
    }
}

#[test]
fn damaged_and_random_bytes_are_refused_or_are_another_value() {
    let workload = mix().build();
    let state = Arc::new(MemoryState::default());
    let (mut ledger, start) =
        Ledger::genesis(&workload.genesis, SHARDS, state.clone(), LedgerOptions::default()).unwrap();
    state.apply(&start.changes);
    let executed: Vec<_> = workload.commits.into_iter().map(|input| ledger.execute(input).unwrap()).collect();
    let bucket = executed.iter().find_map(|executed| executed.live.added.clone()).unwrap().to_bytes();
    let checkpoint = ledger.checkpoint().to_bytes();
    let mut dice = Dice(5);
    for _ in 0..4_000 {
        let mut damaged = if dice.percent(50) { bucket.clone() } else { checkpoint.clone() };
        for _ in 0..1 + dice.below(3) {
            // Most of a checkpoint is lanes, where any byte will do; the damage is to the front, where the structure is.
            let at = dice.below(damaged.len().min(400));
            damaged[at] ^= 1 << dice.below(8);
        }
        damaged.truncate(damaged.len() - if dice.percent(30) { dice.below(damaged.len()) } else { 0 });
        canonical_or_refused::<LiveBucket>(&damaged);
        canonical_or_refused::<LedgerCheckpoint>(&damaged);
        canonical_or_refused::<Account>(&damaged[..damaged.len().min(dice.below(40))]);
    }
    // A length that lies is refused before anything of that size is allocated.
    let mut lying = bucket.clone();
    lying[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(LiveBucket::from_bytes(&lying).is_err());
}

#[test]
fn a_ledger_can_be_moved_to_the_thread_that_executes() {
    fn sendable<T: Send>(_: &T) {}
    fn shareable<T: Send + Sync>(_: &T) {}
    let workload = mix().build();
    let state = Arc::new(MemoryState::default());
    let (ledger, _) = Ledger::genesis(&workload.genesis, SHARDS, state, LedgerOptions::default()).unwrap();
    sendable(&ledger);
    shareable(&ledger.screen());
}
