//! A node is killed at every height while the state of a snapshot is being read, and at those around: what it finds on the
//! disk leads to the same roots and headers as if nothing had happened.

use super::*;
use crate::fixtures::{account, genesis};
use crate::replica::recovery::write_genesis;
use crate::replica::serve::Archive;
use crate::state_sync::snapshots::Service;
use crate::tables::Applied;
use ledger::{CommitInput, LedgerOptions, OrderedTransaction, StateReader};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use storage::log::{Backend, Log, LogOptions};
use storage::state::{StateDb, StateOptions};
use types::{
    Amount, AuthorityIndex, BlockRef, Genesis, LedgerHeader, Round, TimestampMs, Transaction, TransactionBody,
};

const INTERVAL: u64 = 16;
const HEIGHTS: u64 = 44;
const ACCOUNTS: u8 = 12;

fn ledger_genesis() -> Genesis {
    let mut genesis = genesis();
    genesis.parameters.snapshot_interval_heights = INTERVAL;
    genesis.parameters.validity_window_ms = 1_000;
    genesis.accounts = (0..ACCOUNTS)
        .map(|index| types::Allocation { address: account(index).public_key().address(), balance: Amount(1_000) })
        .collect();
    genesis
}

/// Transfers between accounts that are there and to new ones, whose ids are live for three heights.
fn commit(height: u64) -> CommitInput {
    let chain = ledger_genesis().chain_id();
    let time = 1_000 + height * 300;
    let transfer = |index: u64| {
        let from = account(((height * 5 + index) % u64::from(ACCOUNTS)) as u8);
        let to = if index == 0 {
            types::Address::from_bytes([height as u8; 32])
        } else {
            account(((height * 3 + index + 1) % u64::from(ACCOUNTS)) as u8).public_key().address()
        };
        let body = TransactionBody::Transfer { to, amount: Amount::from(1 + index), memo: Default::default() };
        Transaction::sign(&chain, &from, time + 900, height, body).expect("no memo")
    };
    let block = BlockRef { round: Round(1), author: AuthorityIndex(0), digest: Digest::ZERO };
    let ordered = |index: u64| OrderedTransaction {
        transaction: Ok(Arc::new(transfer(index))),
        signature_valid: true,
        block,
        index: index as u32,
    };
    CommitInput {
        height: Height(height),
        commit: Digest::sha256(&height.to_le_bytes()),
        timestamp: TimestampMs(time),
        state_root: Digest::ZERO,
        last_of_epoch: false,
        transactions: (0..4).map(ordered).collect(),
    }
}

/// As much of a node as executes.
struct Node {
    ledger: Ledger,
    tables: Tables,
    roots: StateRoots,
    snapshots: Snapshots,
    thread: Option<JoinHandle<()>>,
    _log: tempfile::TempDir,
}

impl Node {
    /// Starts from what a directory holds.
    fn start(dir: &Path) -> Self {
        let genesis = ledger_genesis();
        let db = StateDb::open(dir.join("state"), [1; 32], StateOptions::default()).expect("a database");
        let tables = Tables::new(Arc::new(db));
        let reader: Arc<dyn StateReader> = Arc::new(tables.clone());
        let (shards, options) = (NonZeroU16::new(2).expect("two"), LedgerOptions::default());
        let ledger = match tables.applied().expect("readable") {
            Some(applied) => {
                let live = tables.live_buckets().expect("readable");
                let start = types::EpochStart::first(&genesis).expect("a sound genesis");
                Ledger::resume(&genesis, start, applied.ledger, live, shards, reader, options).expect("it fits")
            }
            None => {
                let (ledger, executed) = Ledger::genesis(&genesis, shards, reader, options).expect("a sound genesis");
                write_genesis(&tables, &executed).expect("room");
                ledger
            }
        };
        let log_dir = tempfile::tempdir().expect("temporary directory");
        let mut log = LogOptions::new(log_dir.path().join("log"), [1; 32]);
        log.backend = Backend::Threaded;
        let log = Arc::new(Log::open(log, None, &mut |_| Ok(())).expect("a new log"));
        let archive = Archive::new(genesis.chain_id(), log, tables.clone());
        let service = Service {
            bytes_per_second: 1 << 30,
            genesis: Arc::new(genesis.clone()),
            parameters: genesis.parameters.clone(),
            anchor: Height(0),
            dir: dir.join("snapshots"),
        };
        let (snapshots, thread) = Snapshots::start(service, tables.clone(), archive).expect("a thread");
        let roots = StateRoots::recovered(snapshots.clone(), tables.clone(), &ledger).expect("it can be found again");
        Self { ledger, tables, roots, snapshots, thread: Some(thread), _log: log_dir }
    }

    fn step(&mut self) -> LedgerHeader {
        let height = self.ledger.tip().0.next();
        let plan = SnapshotPlan::of(self.ledger.epoch());
        let state_root = self.roots.due(plan, height).expect("a root");
        let executed = self.ledger.execute(CommitInput { state_root, ..commit(height.0) }).expect("readable");
        let mut batch = self.tables.batch();
        batch.height(&executed.header, None, &executed.receipts);
        executed.changes.iter().for_each(|(key, value)| batch.value(key, value.as_ref()));
        executed.live.added.iter().for_each(|bucket| batch.live_bucket(bucket));
        executed.live.dropped.iter().for_each(|height| batch.drop_live_bucket(*height));
        self.roots.write(&mut batch, &executed, plan).expect("readable");
        let ledger = executed.checkpoint.clone();
        batch.applied(&Applied { ledger, consensus: None, replay_from: 0, committed: 0, rejected: 0 });
        self.tables.commit(batch).expect("room");
        self.ledger.persisted(height);
        self.roots.written(&executed);
        executed.header
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.snapshots.stop();
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// Files of a directory, and their lengths.
fn files(dir: &Path, found: &mut Vec<(PathBuf, u64)>) {
    for entry in std::fs::read_dir(dir).expect("readable").flatten() {
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => files(&entry.path(), found),
            Ok(metadata) => found.push((entry.path(), metadata.len())),
            Err(_) => {}
        }
    }
}

/// Copies a directory as it is at one moment: again, if the database removed or added files meanwhile.
fn copy(from: &Path, to: &Path) {
    loop {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        files(from, &mut before);
        drop(std::fs::remove_dir_all(to));
        let whole = before.iter().all(|(path, _)| {
            let target = to.join(path.strip_prefix(from).expect("inside"));
            std::fs::create_dir_all(target.parent().expect("a directory")).expect("room");
            std::fs::copy(path, target).is_ok()
        });
        files(from, &mut after);
        before.sort_unstable();
        after.sort_unstable();
        if whole && before == after {
            return;
        }
    }
}

/// Runs a node whose snapshots are read as late as can be, and keeps what a crash at each height would leave.
fn run(dir: &Path) -> (Vec<LedgerHeader>, Vec<PathBuf>) {
    let mut node = Node::start(&dir.join("node"));
    let (mut headers, mut crashes) = (Vec::new(), Vec::new());
    let gate = node.snapshots.gate();
    let mut held = None;
    for height in 1..=HEIGHTS {
        if height % INTERVAL == INTERVAL / 2 {
            // The root is due.
            held = None;
        }
        if height % INTERVAL == 0 {
            held = Some(gate.lock().unwrap_or_else(PoisonError::into_inner));
        }
        headers.push(node.step());
        node.tables.flush().expect("room");
        let crash = dir.join(format!("crash-{height}"));
        copy(&dir.join("node"), &crash);
        crashes.push(crash);
    }
    drop(held);
    (headers, crashes)
}

#[test]
fn headers_carry_roots_half_an_interval_behind_the_states_and_none_elsewhere() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (headers, _) = run(dir.path());
    let with_root: Vec<u64> =
        headers.iter().filter(|header| header.state_root != Digest::ZERO).map(|header| header.height.0).collect();
    assert_eq!(with_root, [8, 24, 40]);
    assert_ne!(headers[7].state_root, headers[23].state_root);
}

#[test]
fn a_node_that_is_killed_at_any_height_comes_to_the_same_roots() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (headers, crashes) = run(dir.path());
    let mut behind = 0;
    for (height, crash) in (1..).zip(crashes) {
        let mut node = Node::start(&crash);
        assert_eq!(node.ledger.tip().1, &headers[height - 1]);
        behind += usize::from(node.roots.pending.is_some_and(|pending| pending < node.ledger.tip().0));
        // As far as the next root.
        for expected in headers[height..].iter().take(INTERVAL as usize + 1) {
            assert_eq!(&node.step(), expected, "killed at height {height}");
        }
        // Nothing of what was before is left over once the root is known.
        if node.roots.pending.is_none() {
            let left = node.tables.database().iterate_all(storage::state::Family::Before).count();
            assert_eq!(left, 0, "killed at height {height}");
        }
    }
    assert!(behind >= 14, "the state was gone and had to be found again after {behind} of the crashes");
}

#[test]
fn a_state_that_is_gone_without_a_trace_is_a_fault_and_no_other_root() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (_, crashes) = run(dir.path());
    let at = crashes[INTERVAL as usize + 2].clone();
    let db = Arc::new(StateDb::open(at.join("state"), [1; 32], StateOptions::default()).expect("a database"));
    let mut batch = db.batch();
    batch.delete_range(storage::state::Family::Before, &[], &[0xff]);
    db.commit(batch).expect("room");
    drop(db);
    let started = std::panic::catch_unwind(|| drop(Node::start(&at)));
    assert!(started.is_err(), "it can be found again");
}
