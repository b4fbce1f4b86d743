//! What a node keeps for others: when, and what they get.

use super::*;
use crate::fixtures::{certificate, commits, genesis, header_over, ledger};
use crate::state_sync::pack::{Rows, unpack};
use crate::state_sync::stream;
use crate::tables::BlockPlace;
use crate::wire::state::{Offer, OffersResponse};
use ledger::Account;
use storage::log::{Backend, Log, LogOptions, LogPosition};
use storage::state::{StateDb, StateOptions};
use types::{Address, Amount, Decode, Encode, StateKey};

struct Node {
    snapshots: Snapshots,
    thread: Option<JoinHandle<()>>,
    tables: Tables,
    dir: Arc<tempfile::TempDir>,
}

fn who() -> Address {
    Address::from_bytes([1; 32])
}

impl Node {
    fn new() -> Self {
        Self::over(Arc::new(tempfile::tempdir().expect("temporary directory")))
    }

    fn over(dir: Arc<tempfile::TempDir>) -> Self {
        let db = StateDb::open(dir.path().join("state"), [1; 32], StateOptions::default()).expect("a database");
        let mut options = LogOptions::new(dir.path().join("log"), [1; 32]);
        options.backend = Backend::Threaded;
        let log = Arc::new(Log::open(options, None, &mut |_| Ok(())).expect("a log"));
        let tables = Tables::new(Arc::new(db));
        let archive = Archive::new(ledger().0, log, tables.clone());
        let mut parameters = genesis().parameters;
        parameters.snapshot_interval_heights = 16;
        let service = Service {
            bytes_per_second: 1 << 30,
            genesis: Arc::new(genesis()),
            parameters,
            anchor: Height(0),
            dir: dir.path().join("snapshots"),
        };
        let (snapshots, thread) = Snapshots::start(service, tables.clone(), archive).expect("a thread");
        Self { snapshots, thread: Some(thread), tables, dir }
    }

    fn header(&self, height: u64) -> LedgerHeader {
        let mut header = header_over(&commits(height));
        if let Some(taken) = SnapshotPlan::new(Height(0), 16).root_due(header.height)
            && (taken > Height(0) || self.takes_genesis())
        {
            header.state_root = self.snapshots.root(taken).expect("it can be computed");
        }
        header
    }

    /// The header of height 0.
    fn genesis() -> LedgerHeader {
        LedgerHeader { height: Height(0), commit: Digest::ZERO, ..header_over(&commits(1)) }
    }

    /// Whether height 0 was executed here.
    fn takes_genesis(&self) -> bool {
        self.tables.header(Height(0)).expect("readable").is_some()
    }

    /// Height 0 is executed: one account has 1,000 as its balance.
    fn execute_genesis(&self) {
        let mut batch = self.tables.batch();
        batch.header(&Self::genesis());
        let account = Account { balance: Amount(1_000), transfers_out: 0 };
        batch.value(&who().into(), Some(&account.into()));
        self.tables.commit(batch).expect("a batch");
        self.snapshots.take(&Self::genesis(), Approvals::default());
        self.wait(0);
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
        let header = self.header(height);
        batch.header(&header);
        let account = Account { balance: height.into(), transfers_out: 0 };
        batch.value(&who().into(), Some(&account.into()));
        self.tables.commit(batch).expect("a batch");
        if height.is_multiple_of(16) {
            self.snapshots.take(&header, Approvals::default());
        }
    }

    fn certify(&self, height: u64) {
        let mut batch = self.tables.batch();
        batch.certificate(&certificate(&self.header(height)));
        self.tables.commit(batch).expect("a batch");
    }

    fn offers(&self) -> OffersResponse {
        self.snapshots.0.offers().expect("a readable database")
    }

    fn kept(&self) -> Vec<u64> {
        self.snapshots.0.lock().kept.keys().map(|height| height.0).collect()
    }

    /// Waits until the state of a height is on the disk.
    fn wait(&self, height: u64) {
        while !self.kept().contains(&height) {
            std::thread::yield_now();
        }
    }

    /// A file of a snapshot, or its directory.
    fn file(&self, height: u64, name: &str) -> PathBuf {
        self.dir.path().join(format!("snapshots/state-{height}/{name}"))
    }

    fn offered(&self) -> Vec<u64> {
        self.offers().offers.iter().map(|offer| offer.height.0).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.snapshots.stop();
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn flip_last(path: &std::path::Path) {
    let mut bytes = std::fs::read(path).expect("a file");
    *bytes.last_mut().expect("some bytes") ^= 1;
    std::fs::write(path, bytes).expect("room");
}

#[test]
fn a_state_is_offered_once_its_root_is_certified_and_is_that_of_its_height() {
    let node = Node::new();
    (1..=24).for_each(|height| node.execute(height));
    node.wait(16);
    assert!(node.offers().preparing && node.offered().is_empty(), "it is read, and not certified");
    node.certify(16);
    assert!(node.offered().is_empty(), "its root is not certified");
    node.certify(24);
    assert_eq!(node.offered(), [16]);
    let Offer { manifest: root, .. } = node.offers().offers[0];
    let described = node.snapshots.0.small_answer(&crate::wire::state::StateRequest::Manifest(root)).expect("readable");
    let described =
        crate::wire::state::ManifestResponse::from_bytes(&described.expect("there is one")).expect("it is one");
    assert_eq!((described.manifest.root(), described.manifest.summary.height), (root, Height(16)));
    let chunk = |index: usize| {
        let packed = node.snapshots.0.chunk(&root, index as u32).expect("a chunk");
        Ok(unpack(&described.manifest.chunks[index], &packed).expect("that of the manifest"))
    };
    let mut balances = Vec::new();
    stream::read(&mut Rows::new(described.manifest.chunks.len(), chunk), |row| {
        balances.push(u128::from_le_bytes(*row.value.first_chunk().expect("an account")));
        Ok::<_, StreamError>(())
    })
    .expect("a state");
    assert_eq!(balances, [16]);
    assert_eq!(node.snapshots.0.chunk(&root, 1), None);
    assert_eq!(node.snapshots.0.chunk(&Digest::ZERO, 0), None);
}

#[test]
fn files_that_fail_cost_a_snapshot_and_not_its_root() {
    let node = Node::new();
    let snapshots = node.dir.path().join("snapshots");
    // In the way of the directory itself, and of the one that becomes it: no directory, so that neither can be removed.
    for (height, in_the_way) in [(16, "state-16"), (32, "state-32.part")] {
        std::fs::write(snapshots.join(in_the_way), b"a file").expect("a file");
        (height - 15..=height + 8).for_each(|height| node.execute(height));
        assert!(node.snapshots.root_if_known(Height(height)).is_some());
    }
    (41..=56).for_each(|height| node.execute(height));
    node.wait(48);
    assert_eq!(node.kept(), [48]);
}

#[test]
fn what_is_kept_is_found_again_after_a_start_and_what_is_damaged_is_not() {
    let mut node = Node::new();
    (1..=24).for_each(|height| node.execute(height));
    node.wait(16);
    [16, 24].iter().for_each(|height| node.certify(*height));
    let offers = node.offers();
    let dir = Arc::clone(&node.dir);
    drop(node);
    // What a crash in the middle of the next one would leave.
    std::fs::create_dir(dir.path().join("snapshots/state-32.part")).expect("room");
    node = Node::over(Arc::clone(&dir));
    assert_eq!(node.offers(), offers);
    drop(node);
    assert!(!dir.path().join("snapshots/state-32.part").exists());
    let index = dir.path().join("snapshots/state-16/index");
    let mut bytes = std::fs::read(&index).expect("the index");
    bytes[60] ^= 4;
    std::fs::write(&index, bytes).expect("room");
    let node = Node::over(dir);
    assert_eq!(node.kept(), [0; 0]);
}

#[test]
fn a_damaged_chunk_is_not_passed_on() {
    let node = Node::new();
    (1..=24).for_each(|height| node.execute(height));
    node.wait(16);
    [16, 24].iter().for_each(|height| node.certify(*height));
    let root = node.offers().offers[0].manifest;
    assert!(node.snapshots.0.chunk(&root, 0).is_some());
    assert_eq!(node.snapshots.0.chunk(&root, 1), None, "there is no such chunk");
    assert_eq!(node.kept(), [16]);
    flip_last(&node.file(16, "chunks"));
    assert_eq!(node.snapshots.0.chunk(&root, 0), None);
    assert!(node.kept().is_empty() && !node.file(16, "").exists(), "it is given up");
}

#[test]
fn a_damaged_chunk_that_a_start_finds_is_given_up_before_somebody_asks_for_it() {
    let node = Node::new();
    (1..=24).for_each(|height| node.execute(height));
    node.wait(16);
    flip_last(&node.file(16, "chunks"));
    let dir = Arc::clone(&node.dir);
    drop(node);
    let node = Node::over(dir);
    while !node.kept().is_empty() {
        std::thread::yield_now();
    }
    assert!(!node.file(16, "").exists());
}

#[test]
fn a_proof_comes_from_the_state_before_where_the_newest_is_damaged() {
    let node = Node::new();
    for height in 1..=40 {
        node.execute(height);
        if height % 16 == 0 {
            node.wait(height);
        }
        node.certify(height);
    }
    let root = node.snapshots.0.lock().kept[&Height(16)].pack.root();
    assert!(node.snapshots.0.chunk(&root, 0).is_some(), "who has asked for it keeps it there for a while");
    node.snapshots.0.look();
    let balance = || {
        let (proof, vouched) = node.snapshots.prove(&who().into())?;
        let (root, _) = vouched.certified.root.as_ref().expect("a root");
        let account = proof.verify(&who().into(), &root.state_root).expect("it holds").expect("it is there");
        Some(Account::from_bytes(account).expect("an account").balance)
    };
    assert_eq!(balance(), Some(Amount(32)));
    flip_last(&node.file(32, "chunks"));
    assert_ne!(balance(), Some(Amount(32)));
    // Certificates of the older one are looked for once it is the newest.
    node.snapshots.0.look();
    assert_eq!(balance(), Some(Amount(16)));
    flip_last(&node.file(16, "chunks"));
    assert_eq!(balance(), None);
    assert!(node.kept().is_empty());
}

#[test]
fn what_vouches_for_a_snapshot_is_proven_at_a_start_and_written_anew_where_it_is_damaged() {
    let mut node = Node::new();
    (1..=24).for_each(|height| node.execute(height));
    node.wait(16);
    [16, 24].iter().for_each(|height| node.certify(*height));
    node.snapshots.0.look();
    let whole = std::fs::read(node.file(16, "certified")).expect("it is certified");
    let pack = pack::Pack::open(&node.file(16, "")).expect("it is whole");
    Vouched::from_bytes(&whole).expect("what was written").prove(&pack, &genesis()).expect("it holds");
    for at in (0..whole.len()).step_by(whole.len() / 40) {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        std::fs::write(node.file(16, "certified"), altered).expect("room");
        let dir = Arc::clone(&node.dir);
        drop(node);
        node = Node::over(dir);
        while std::fs::read(node.file(16, "certified")).ok().as_ref() != Some(&whole) {
            if let Some((_, vouched)) = node.snapshots.prove(&who().into()) {
                assert_eq!(vouched.to_bytes(), whole, "byte {at}");
            }
            if !node.file(16, "certified").exists() {
                node.snapshots.0.look();
            }
        }
    }
}

#[test]
fn a_newer_certified_state_takes_the_place_of_the_older_and_the_log_is_kept_for_what_is_there() {
    let node = Node::new();
    assert_eq!(node.snapshots.first_segment(), None);
    for height in 1..=56 {
        node.execute(height);
        if height % 16 == 0 {
            node.wait(height);
        }
        node.certify(height);
    }
    node.snapshots.0.look();
    assert_eq!((node.kept(), node.offered()), (vec![48], vec![48]));
    assert_eq!(node.snapshots.first_segment(), Some(0));
}

#[test]
fn the_state_of_genesis_is_certified_half_an_interval_later_and_proves_but_is_not_offered() {
    let node = Node::new();
    node.execute_genesis();
    (1..=8).for_each(|height| node.execute(height));
    (1..=7).for_each(|height| node.certify(height));
    node.snapshots.0.look();
    assert!(node.snapshots.prove(&who().into()).is_none(), "its root is not certified");
    node.certify(8);
    node.snapshots.0.look();
    let (proof, vouched) = node.snapshots.prove(&who().into()).expect("certified");
    let certified = &vouched.certified;
    let (root_header, _) = certified.root.as_ref().expect("a root");
    assert_eq!((certified.header.height, root_header.height), (Height(0), Height(8)));
    let account = proof.verify(&who().into(), &root_header.state_root).expect("it holds").expect("it is there");
    assert_eq!(Account::from_bytes(account).map(|account| account.balance), Ok(Amount(1_000)));
    let pack = pack::Pack::open(&node.dir.path().join("snapshots/state-0")).expect("it is whole");
    let (chain, committee) = ledger();
    let anchor = types::Anchor::genesis(genesis().timestamp());
    assert_eq!(certified.vouch(pack.manifest(), chain, &committee, &anchor), Ok(()));
    assert_eq!((vouched.commits.as_deref(), node.offered()), (Some(&[][..]), vec![]));
    assert_eq!(node.snapshots.first_segment(), Some(u64::MAX), "nobody needs the log for it");
}

#[test]
fn the_newest_certified_state_proves_what_it_holds_and_what_it_does_not() {
    let node = Node::new();
    let (here, nowhere) = (StateKey::from(who()), StateKey::from(Address::from_bytes([2; 32])));
    (1..=24).for_each(|height| node.execute(height));
    node.wait(16);
    assert!(node.snapshots.prove(&here).is_none(), "not certified yet");
    [16, 24].iter().for_each(|height| node.certify(*height));
    node.snapshots.0.look();
    let (proof, vouched) = node.snapshots.prove(&here).expect("certified");
    let (root_header, _) = vouched.certified.root.as_ref().expect("a root");
    let account =
        Account::from_bytes(proof.verify(&here, &root_header.state_root).expect("it holds").expect("it is there"));
    assert_eq!(account.map(|account| account.balance), Ok(Amount(16)));
    let (proof, _) = node.snapshots.prove(&nowhere).expect("certified");
    assert_eq!(proof.verify(&nowhere, &root_header.state_root), Ok(None));
}
