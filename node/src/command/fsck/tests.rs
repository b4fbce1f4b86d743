//! Directories as a node leaves them, and what is found once something in them was changed.

use super::*;
use crate::fixtures::{self, block, commits, genesis};
use crate::node::ledger_options;
use crate::records::{BLOCK, COMMIT, Commit, PROPOSAL, Proposal, block_part};
use crate::replica::recovery::write_genesis;
use crate::tables::Tables;
use ledger::{Account, Ledger};
use std::fs;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::Arc;
use storage::log::Log;
use storage::state::StateOptions;
use types::{Encode, Height, Payload};

const IDENTITY: [u8; 32] = [4; 32];
const RECORDS: u64 = 24;

fn open_log(dir: &Path) -> Log {
    fixtures::open_log(dir, IDENTITY)
}

fn open_tables(dir: &Path) -> Tables {
    let state = StateDb::open(dir.join(STATE), IDENTITY, StateOptions::default()).expect("a database");
    Tables::new(Arc::new(state))
}

fn append(log: &Log, kind: u8, parts: &[&[u8]]) {
    log.append_durable(kind, parts).expect("room");
}

/// The state of height 0, and eight heights in the log: an own proposal, another's block and a commit each.
fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let tables = open_tables(dir.path());
    let started = Ledger::genesis(&genesis(), NonZeroU16::MIN, Arc::new(tables.clone()), ledger_options());
    write_genesis(&tables, &started.expect("a genesis").1).expect("a batch");
    let log = open_log(dir.path());
    for (record, _) in commits(RECORDS / 3) {
        let payload = Payload::build([vec![record.height.0 as u8; 9_000]]);
        let own = block(0, record.height.0, Vec::new(), &payload, Vec::new());
        let (statement, body, votes) = (*own.statement(), own.body().clone(), Vec::new());
        append(&log, PROPOSAL, &[&Proposal { statement, body, votes }.to_part(), payload.raw()]);
        append(
            &log,
            BLOCK,
            &[&block_part(&block(1, record.height.0, Vec::new(), &payload, Vec::new())), payload.raw()],
        );
        append(&log, COMMIT, &[&Commit { record, verdicts: vec![1] }.to_bytes()]);
    }
    dir
}

fn deep(dir: &tempfile::TempDir) -> Report {
    examine(dir.path(), true).expect("it can be checked")
}

fn kinds(report: &Report) -> Vec<&'static str> {
    report.damaged.iter().map(|place| place.kind).collect()
}

/// Changes a byte of a file.
fn spoil(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("a file");
    bytes[at] ^= 0x40;
    fs::write(path, bytes).expect("a file");
}

#[test]
fn what_a_node_leaves_is_whole_and_is_left_as_it_was() {
    let dir = directory();
    let log = dir.path().join(LOG).join(format!("{:020}.seg", 1));
    let before = fs::read(&log).expect("a second segment");
    for _ in 0..2 {
        let report = deep(&dir);
        assert!(report.whole(), "{report:?}");
        assert_eq!((report.records, report.state_digest_ok, report.state_height), (RECORDS, Some(true), Some(0)));
    }
    let shallow = examine(dir.path(), false).expect("it can be checked");
    assert_eq!((shallow.records, shallow.state_digest_ok), (RECORDS, None));
    assert_eq!(fs::read(&log).expect("a file"), before);
    // The next start finds nothing strange.
    drop((open_log(dir.path()), open_tables(dir.path())));
    assert!(deep(&dir).whole());
}

#[test]
fn the_json_has_the_documented_fields() {
    let dir = directory();
    spoil(&dir.path().join(LOG).join(format!("{:020}.seg", 0)), 4096 + 64 + 12 + 5);
    let report = deep(&dir);
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).expect("JSON");
    assert_eq!(json["records"], RECORDS - 1);
    assert!(json["segments"].as_u64() > Some(3));
    assert_eq!(json["damaged"], serde_json::json!([{ "segment": 0, "offset": 4096 + 64, "kind": "record" }]));
    assert_eq!(json["state_digest_ok"], true);
    assert!(!report.whole() && report.to_text().contains("segment 0, offset 4160: record"));
}

#[test]
fn a_file_of_the_log_that_is_gone_or_another_s_is_named() {
    let dir = directory();
    let segment = |number: u64| dir.path().join(LOG).join(format!("{number:020}.seg"));
    fs::rename(segment(1), segment(1).with_extension("bak")).expect("a file");
    assert_eq!(kinds(&deep(&dir)), ["missing_segment"]);
    fs::copy(segment(2), segment(1)).expect("a file");
    assert_eq!(kinds(&deep(&dir)), ["swapped_segment"]);
    let other = directory();
    fs::copy(other.path().join(LOG).join(format!("{:020}.seg", 1)), segment(1)).expect("a file");
    assert!(deep(&dir).whole(), "the same bytes");
    let bytes = fs::read(segment(1)).expect("a file");
    fs::write(segment(1), &bytes[..20_000]).expect("a file");
    assert_eq!(kinds(&deep(&dir))[0], "segment_length");
}

#[test]
fn a_record_whose_checksum_holds_and_which_is_not_what_it_says_is_named_only_by_a_deep_check() {
    let dir = directory();
    let log = open_log(dir.path());
    let (payload, other) = (Payload::build([[1; 100]]), Payload::build([[2; 100]]));
    append(&log, BLOCK, &[&block_part(&block(2, 50, Vec::new(), &payload, Vec::new())), other.raw()]);
    append(&log, COMMIT, &[b"no commit"]);
    append(&log, 200, &[b"unknown"]);
    drop(log);
    assert_eq!(kinds(&deep(&dir)), ["payload", "undecodable", "undecodable"]);
    assert!(examine(dir.path(), false).expect("it can be checked").whole());
}

#[test]
fn an_account_that_was_changed_spoils_the_state_digest() {
    let dir = directory();
    let tables = open_tables(dir.path());
    let mut batch = tables.batch();
    let (key, account) = (genesis().accounts[0].address.into(), Account { balance: 1_000_000, transfers_out: 0 });
    batch.value(&key, Some(&account.into()));
    tables.commit(batch).expect("a batch");
    tables.flush().expect("a disk that works");
    drop(tables);
    let report = deep(&dir);
    assert_eq!((report.damaged_total, report.state_digest_ok), (0, Some(false)));
    assert!(report.state_error.as_ref().is_some_and(|error| error.contains("add up to")), "{report:?}");
    assert!(!report.whole());
}

#[test]
fn a_spoiled_file_of_the_database_is_found() {
    let dir = directory();
    let mut tables: Vec<PathBuf> = fs::read_dir(dir.path().join(STATE).join("rocksdb"))
        .expect("the database")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sst"))
        .collect();
    tables.sort();
    assert!(!tables.is_empty());
    for table in tables {
        let whole = fs::read(&table).expect("a file");
        spoil(&table, 10);
        let report = deep(&dir);
        assert_eq!(report.state_digest_ok, Some(false), "{}: {report:?}", table.display());
        assert_eq!(report.records, RECORDS, "the log is checked all the same");
        fs::write(&table, whole).expect("a file");
    }
    assert!(deep(&dir).whole());
}

#[test]
fn a_log_that_ends_before_the_state_does_is_named() {
    let dir = directory();
    let tables = open_tables(dir.path());
    let mut applied = tables.applied().expect("a row").expect("genesis");
    let header = &mut applied.ledger.header;
    (header.previous, header.height) = (header.digest(), Height(RECORDS));
    let mut batch = tables.batch();
    batch.header(&applied.ledger.header);
    batch.applied(&applied);
    tables.commit(batch).expect("a batch");
    tables.flush().expect("a disk that works");
    drop(tables);
    assert_eq!(kinds(&deep(&dir)), ["behind_state"]);
}

#[test]
fn a_node_that_runs_is_in_the_way_and_no_log_is_said() {
    let dir = directory();
    let log = open_log(dir.path());
    assert!(matches!(examine(dir.path(), false), Err(FsckError::InUse { .. })));
    drop(log);
    let tables = open_tables(dir.path());
    assert!(matches!(examine(dir.path(), true), Err(FsckError::InUse { .. })));
    drop(tables);
    assert!(matches!(examine(&dir.path().join("nowhere"), true), Err(FsckError::NoLog { .. })));
}
