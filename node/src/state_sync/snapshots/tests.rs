//! What a node keeps for others: when, and what they get.

use super::*;
use crate::fixtures::{certificate, commits, genesis, header_over, ledger};
use crate::tables::BlockPlace;
use ledger::Account;
use storage::log::{Backend, Log, LogOptions, LogPosition};
use storage::state::{StateDb, StateOptions};
use types::Address;

struct Node {
    snapshots: Snapshots,
    thread: Option<JoinHandle<()>>,
    tables: Tables,
    _dir: tempfile::TempDir,
}

impl Node {
    fn new(every_heights: u64) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let db = StateDb::open(dir.path().join("state"), [1; 32], StateOptions::default()).expect("a new database");
        let mut options = LogOptions::new(dir.path().join("log"), [1; 32]);
        options.backend = Backend::Threaded;
        let log = Arc::new(Log::open(options, None, &mut |_| Ok(())).expect("a new log"));
        let tables = Tables::new(Arc::new(db));
        let archive = Archive::new(ledger().0, log, tables.clone());
        let service = Service { every_heights, bytes_per_second: 1 << 30 };
        let at = dir.path().join("snapshots");
        let started = Snapshots::start(service, (genesis().parameters, Height(1)), at, tables.clone(), archive);
        let (snapshots, thread) = started.expect("a thread");
        Self { snapshots, thread: Some(thread), tables, _dir: dir }
    }

    /// Height `height` is executed: one account has it as its balance.
    fn execute(&self, height: u64) {
        let commits = commits(height);
        let mut batch = self.tables.batch();
        let place = BlockPlace { block: LogPosition { segment: 0, offset: 0 }, signed: None };
        for (record, _) in &commits {
            batch.synced_commits(&[(record.clone(), Vec::new())]);
            batch.block_place(&record.leader.digest, &place);
        }
        batch.header(&header_over(&commits));
        let account = Account { balance: height, transfers_out: 0 };
        batch.value(&Address::from_bytes([1; 32]).into(), Some(&account.into()));
        self.tables.commit(batch).expect("a batch");
        self.snapshots.executed(Height(height));
    }

    fn certify(&self, height: u64) {
        let mut batch = self.tables.batch();
        batch.certificate(&certificate(&header_over(&commits(height))));
        self.tables.commit(batch).expect("a batch");
    }

    fn offers(&self) -> OffersResponse {
        self.snapshots.0.offers().expect("a readable database")
    }

    /// Asks until what is being made is ready.
    fn ready(&self) -> Vec<Offer> {
        loop {
            let answer = self.offers();
            if !answer.preparing {
                return answer.offers;
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.snapshots.stop();
        drop(self.thread.take().map(JoinHandle::join));
    }
}

#[test]
fn a_state_is_offered_once_its_height_is_certified_and_is_that_of_its_height() {
    let node = Node::new(16);
    (1..=16).for_each(|height| node.execute(height));
    // Execution goes on as soon as the state is held; what of the log it needs is noted a moment later.
    let before = loop {
        let answer = node.offers();
        if answer.preparing {
            break answer;
        }
        std::thread::yield_now();
    };
    assert!(before.offers.is_empty(), "it is held, and not certified");
    (17..=20).for_each(|height| node.execute(height));
    node.certify(16);
    let offers = node.ready();
    assert_eq!(offers.iter().map(|offer| offer.height).collect::<Vec<_>>(), [Height(16)]);
    let chunk = node.snapshots.0.chunk(&offers[0].manifest, 0).expect("its one chunk");
    assert_eq!(chunk.len() as u64, offers[0].bytes);
    let mut balances = Vec::new();
    stream::read(&mut &chunk[..], |row| {
        balances.push(u64::from_le_bytes(*row.value.first_chunk().expect("an account")));
        Ok::<_, StreamError>(())
    })
    .expect("a state");
    assert_eq!(balances, [16]);
    assert_eq!(node.snapshots.0.chunk(&offers[0].manifest, 1), None);
    assert_eq!(node.snapshots.0.chunk(&Digest::ZERO, 0), None);
}

#[test]
fn the_same_height_has_the_same_manifest_on_every_node() {
    let offers = [Node::new(16), Node::new(16)].map(|node| {
        (1..=16).for_each(|height| node.execute(height));
        node.certify(16);
        node.ready()
    });
    assert_eq!(offers[0], offers[1]);
    assert_eq!(offers[0].len(), 1);
}

#[test]
fn a_newer_certified_state_takes_the_place_of_the_older_and_the_log_is_kept_for_what_is_held() {
    let node = Node::new(16);
    assert_eq!(node.snapshots.first_segment(), None);
    (1..=64).for_each(|height| {
        node.execute(height);
        node.certify(height);
    });
    let offers = node.ready();
    assert_eq!(offers.iter().map(|offer| offer.height).collect::<Vec<_>>(), [Height(64)]);
    assert_eq!(node.snapshots.first_segment(), Some(0));
}

#[test]
fn nothing_is_kept_where_the_configuration_says_so() {
    let node = Node::new(0);
    node.execute(16);
    node.certify(16);
    node.snapshots.recovered(Height(16));
    assert_eq!(node.offers(), OffersResponse::default());
}
