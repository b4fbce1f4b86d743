//! Proofs out of chunks, at every place and at the seams; and rows out of what a later database still knows.

use super::*;
use crate::fixtures::{commits, header_over};
use crate::state_sync::stream::StreamError;
use crate::tables::{PendingSnapshot, Tables};
use ledger::{Account, Approvals, LiveBucket};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use storage::state::{StateDb, StateOptions};
use types::{Address, Amount, LedgerHeader, TimestampMs, TransactionId};

static GO_ON: AtomicBool = AtomicBool::new(false);

fn address(index: u32) -> Address {
    Address::from_bytes(*Digest::sha256(&index.to_le_bytes()).as_bytes())
}

fn header() -> LedgerHeader {
    header_over(&commits(30))
}

fn bucket(height: u64, ids: u32) -> LiveBucket {
    let ids = (0..ids).map(|index| TransactionId(Digest::sha256(&index.to_le_bytes()))).collect();
    LiveBucket { height: Height(height), max_valid_until: TimestampMs(height), ids }
}

fn tables(dir: &Path) -> Tables {
    Tables::new(Arc::new(StateDb::open(dir.join("db"), [1; 32], StateOptions::default()).expect("a database")))
}

#[test]
fn every_key_is_proven_present_or_absent_across_the_seams_of_chunks() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let tables = tables(dir.path());
    let mut batch = tables.batch();
    for index in 0..10_000 {
        batch.value(&address(index).into(), Some(&Account { balance: Amount(index.into()), transfers_out: 0 }.into()));
    }
    batch.live_bucket(&bucket(3, 9_000));
    tables.commit(batch).expect("room");
    let at = dir.path().join("pack");
    let database = tables.database();

    let packed = pack(&database.snapshot(), &header(), &Approvals::default(), Height(38), Some(&at), &GO_ON);
    let (manifest, written) = packed.expect("a state");
    assert!(written && manifest.chunks.len() == 4 && manifest.summary.rows == 10_000 + 5);
    let pack = Pack::open(&at).expect("it is whole");
    assert_eq!(pack.root(), manifest.root());
    let firsts: Vec<Vec<u8>> = pack.places.iter().map(|place| place.key.clone()).collect();
    let mut proven = 0;
    let seam = |key: &[u8]| firsts.iter().any(|first| first == key);
    for index in 0..10_000 {
        let key = StateKey::from(address(index));
        if index % 500 == 0 || seam(&key.to_row_key()) {
            let proof = pack.prove(&key).expect("readable");
            let value = proof.verify(&key, &manifest.root()).expect("it holds").expect("it is there");
            assert_eq!(value, Account { balance: Amount(index.into()), transfers_out: 0 }.to_bytes());
            // Right before and right behind it there is nothing.
            for step in [1, 255] {
                let mut bytes = *address(index).as_bytes();
                bytes[31] = bytes[31].wrapping_add(step);
                let beside = StateKey::from(Address::from_bytes(bytes));
                let proof = pack.prove(&beside).expect("readable");
                assert_eq!(proof.verify(&beside, &manifest.root()), Ok(None));
                proven += usize::from(proof.rows[0].in_state != proof.rows[proof.rows.len() - 1].in_state);
            }
        }
    }
    assert!(proven >= 2, "the two sides of a seam are proven together");
    for end in [[0; 32], [0xff; 32]] {
        let key = StateKey::from(Address::from_bytes(end));
        assert_eq!(pack.prove(&key).expect("readable").verify(&key, &manifest.root()), Ok(None));
    }
}

#[test]
fn an_empty_state_proves_that_there_is_nothing() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (tables, at) = (tables(dir.path()), dir.path().join("pack"));
    let database = tables.database();

    let (manifest, _) =
        pack(&database.snapshot(), &header(), &Approvals::default(), Height(38), Some(&at), &GO_ON).expect("a state");
    let key = StateKey::from(address(0));
    let proof = Pack::open(&at).expect("it is whole").prove(&key).expect("readable");
    assert_eq!(proof.verify(&key, &manifest.root()), Ok(None));
}

#[test]
fn a_later_database_gives_the_earlier_state() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let tables = tables(dir.path());
    let account = |units| Account { balance: Amount(units), transfers_out: 0 }.into();
    let mut batch = tables.batch();
    [2u32, 4, 6, 8].iter().for_each(|index| batch.value(&address(*index).into(), Some(&account(1))));
    [5, 9].iter().for_each(|height| batch.live_bucket(&bucket(*height, 3_000)));
    batch.begin_snapshot(&PendingSnapshot { height: Height(30), approvals: Approvals::default() });
    tables.commit(batch).expect("room");
    let database = tables.database();

    let root = || {
        let packed = pack(&database.snapshot(), &header(), &Approvals::default(), Height(38), None, &GO_ON);
        packed.expect("a state").0.root()
    };
    let expected = root();
    // Changed twice, removed, made anew, made and removed, and two buckets dropped of which one is younger than the state.
    let mut changes: Vec<(u64, u32, Option<u128>, Option<u128>)> = vec![
        (31, 2, Some(1), Some(7)),
        (32, 2, Some(7), Some(9)),
        (31, 4, Some(1), None),
        (31, 5, None, Some(3)),
        (31, 7, None, Some(3)),
        (33, 7, Some(3), None),
        (33, 4, None, Some(8)),
    ];
    for index in 100..140 {
        changes.push((34, index, None, Some(1)));
    }
    for (height, index, before, now) in changes {
        let mut batch = tables.batch();
        let key = address(index).into();
        batch.before(Height(height), &key, before.map(account).as_ref());
        batch.value(&key, now.map(account).as_ref());
        tables.commit(batch).expect("room");
        assert_eq!(root(), expected, "after height {height}");
    }
    let mut batch = tables.batch();
    batch.live_bucket(&bucket(31, 10));
    batch.before_bucket(Height(5), &bucket(5, 3_000).to_bytes());
    batch.drop_live_bucket(Height(5));
    tables.commit(batch).expect("room");
    assert_eq!(root(), expected);
    let mut batch = tables.batch();
    batch.before_bucket(Height(9), &bucket(9, 3_000).to_bytes());
    batch.drop_live_bucket(Height(9));
    tables.commit(batch).expect("room");
    assert_eq!(root(), expected);
    // It can tell: without those rows it is another state.
    let mut batch = database.batch();
    batch.delete_range(storage::state::Family::Before, b"v", b"w");
    database.commit(batch).expect("room");
    assert_ne!(root(), expected);
}

#[test]
fn a_directory_that_is_not_whole_is_not_opened() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (tables, at) = (tables(dir.path()), dir.path().join("pack"));
    let mut batch = tables.batch();
    (0..100).for_each(|index| batch.value(&address(index).into(), Some(&Account::default().into())));
    tables.commit(batch).expect("room");
    let database = tables.database();

    pack(&database.snapshot(), &header(), &Approvals::default(), Height(38), Some(&at), &GO_ON).expect("a state");
    let (index, chunks) = (at.join(INDEX), at.join(CHUNKS));
    let (whole, rows) = (std::fs::read(&index).expect("a file"), std::fs::read(&chunks).expect("a file"));
    for cut in 0..whole.len() {
        std::fs::write(&index, &whole[..cut]).expect("room");
        assert!(Pack::open(&at).is_err(), "cut at {cut}");
    }
    for byte in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[byte] ^= 0x10;
        std::fs::write(&index, flipped).expect("room");
        assert!(Pack::open(&at).is_err(), "flipped at {byte}");
    }
    std::fs::write(&index, &whole).expect("room");
    std::fs::write(&chunks, &rows[1..]).expect("room");
    assert!(matches!(Pack::open(&at), Err(PackError::Length { .. })));
    std::fs::write(&chunks, &rows).expect("room");
    assert!(Pack::open(&at).is_ok());
    let stop = AtomicBool::new(true);
    let stopped = pack(&database.snapshot(), &header(), &Approvals::default(), Height(38), None, &stop);
    assert!(matches!(stopped, Err(StreamError::Stopped)));
}
