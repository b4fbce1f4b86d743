//! Directories as a node leaves them, and what is found once something in them was changed.

use super::*;
use crate::fixtures::{self, block, commits, genesis};
use crate::node::ledger_options;
use crate::records::{BLOCK, COMMIT, Commit, PROPOSAL, Proposal, block_part};
use crate::replica::recovery::{RecoveryError, write_genesis};
use crate::tables::Tables;
use ledger::{Account, Ledger};
use std::fs;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::log::{Log, LogOptions};
use storage::state::StateOptions;
use types::{Amount, Digest, Encode, Height, Payload};

const IDENTITY: [u8; 32] = [4; 32];
const RECORDS: u64 = 24;

fn open_log(dir: &Path) -> Log {
    fixtures::open_log(dir, IDENTITY)
}

fn open_tables(dir: &Path) -> Tables {
    open_tables_of(dir, IDENTITY)
}

fn open_tables_of(dir: &Path, identity: [u8; 32]) -> Tables {
    let state = StateDb::open(dir.join(STATE), identity, StateOptions::default()).expect("a database");
    Tables::new(Arc::new(state))
}

fn append(log: &Log, kind: u8, parts: &[&[u8]]) {
    log.append_durable(kind, parts).expect("room");
}

/// The state of height 0, and eight heights in the log: an own proposal, another's block and a commit each.
fn directory() -> tempfile::TempDir {
    directory_of(IDENTITY)
}

fn directory_of(identity: [u8; 32]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let tables = open_tables_of(dir.path(), identity);
    let started = Ledger::genesis(&genesis(), NonZeroU16::MIN, Arc::new(tables.clone()), ledger_options());
    write_genesis(&tables, &started.expect("a genesis").1).expect("a batch");
    let mut batch = tables.batch();
    batch.log_begins_with(0);
    tables.commit(batch).expect("a batch");
    tables.flush().expect("a disk that works");
    let log = fixtures::open_log(dir.path(), identity);
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

/// A directory of which nothing is known but what it says itself.
fn place(dir: &Path) -> Place {
    Place { data_dir: dir.to_owned(), identity: None, chain: None }
}

fn deep(dir: &tempfile::TempDir) -> Report {
    examine(&place(dir.path()), true).expect("it can be checked")
}

fn shallow(dir: &tempfile::TempDir) -> Report {
    examine(&place(dir.path()), false).expect("it can be checked")
}

fn segment(dir: &tempfile::TempDir, number: u64) -> PathBuf {
    dir.path().join(LOG).join(format!("{number:020}.seg"))
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
    let shallow = shallow(&dir);
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
    fs::rename(segment(1), dir.path().join("aside")).expect("a file");
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
    assert!(shallow(&dir).whole());
}

#[test]
fn an_account_that_was_changed_spoils_the_state_digest() {
    let dir = directory();
    let tables = open_tables(dir.path());
    let mut batch = tables.batch();
    let (key, account) =
        (genesis().accounts[0].address.into(), Account { balance: Amount(1_000_000), transfers_out: 0 });
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
    assert_eq!(kinds(&shallow(&dir)), ["behind_state"]);
}

#[test]
fn a_log_without_its_lock_file_is_read_and_one_segment_that_cannot_be_is_named() {
    let dir = directory();
    fs::remove_file(dir.path().join(LOG).join("LOCK")).expect("a lock file");
    assert!(shallow(&dir).whole());
    let first = segment(&dir, 0);
    fs::remove_file(&first).expect("a segment");
    fs::create_dir(&first).expect("a directory");
    let report = shallow(&dir);
    assert!(kinds(&report).contains(&"unreadable") && report.records > 0, "{report:?}");
}

#[test]
fn a_node_that_runs_is_in_the_way_and_no_log_is_said() {
    let dir = directory();
    let log = open_log(dir.path());
    assert!(matches!(examine(&place(dir.path()), false), Err(FsckError::InUse { .. })));
    drop(log);
    let tables = open_tables(dir.path());
    assert!(matches!(examine(&place(dir.path()), true), Err(FsckError::InUse { .. })));
    drop(tables);
    assert!(matches!(examine(&place(&dir.path().join("nowhere")), true), Err(FsckError::NoLog { .. })));
}

#[test]
fn a_log_whose_first_segments_are_gone_is_not_whole_unless_they_were_given_up() {
    let dir = directory();
    for gone in (0..).take_while(|number| segment(&dir, *number).exists()).collect::<Vec<_>>() {
        fs::remove_file(segment(&dir, gone)).expect("a segment");
        for report in [shallow(&dir), deep(&dir)] {
            let named = report.damaged.iter().any(|place| (place.segment, place.kind) == (0, "missing_segment"));
            assert!(named, "without {}: {report:?}", gone + 1);
        }
    }
    let dir = directory();
    fs::remove_file(segment(&dir, 0)).expect("a segment");
    let tables = open_tables(dir.path());
    let (mut batch, mut applied) = (tables.batch(), tables.applied().expect("a row").expect("genesis"));
    applied.replay_from = 1;
    batch.applied(&applied);
    batch.log_begins_with(1);
    tables.commit(batch).expect("a batch");
    tables.flush().expect("a disk that works");
    drop(tables);
    assert!(deep(&dir).whole());
}

#[test]
fn a_file_in_the_log_that_is_none_of_its_is_named_and_what_a_start_removes_is_not() {
    let dir = directory();
    let stray = dir.path().join(LOG).join("00000000000000000001.seg.bak");
    fs::copy(segment(&dir, 1), &stray).expect("a file");
    fs::write(dir.path().join(LOG).join("00000000000000000099.new"), b"half made").expect("a file");
    for report in [shallow(&dir), deep(&dir)] {
        let place = &report.damaged[0];
        assert_eq!((kinds(&report), place.file.as_ref()), (vec!["stray_file"], Some(&stray)));
        assert!(!report.whole() && report.to_text().contains("seg.bak: stray_file"), "{}", report.to_text());
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).expect("JSON");
        assert_eq!(json["damaged"][0]["file"], stray.display().to_string());
    }
    let options = LogOptions::new(dir.path().join(LOG), IDENTITY);
    let refused = Log::open(options, None, &mut |_| Ok(())).expect_err("a node does not start either");
    let told = miette::Report::from(RecoveryError::from(refused));
    assert!(format!("{told:?}").contains("move it away"), "{told:?}");
    fs::remove_file(stray).expect("a file");
    assert!(shallow(&dir).whole());
}

#[test]
fn a_log_that_a_first_start_never_made_is_told_from_one_that_was_lost() {
    let dir = tempfile::tempdir().expect("a directory");
    let tables = open_tables(dir.path());
    let started = Ledger::genesis(&genesis(), NonZeroU16::MIN, Arc::new(tables.clone()), ledger_options());
    write_genesis(&tables, &started.expect("a genesis").1).expect("a batch");
    fs::create_dir(dir.path().join(LOG)).expect("a directory");
    fs::write(dir.path().join(LOG).join("LOCK"), b"").expect("a file");
    drop(tables);
    for deep in [false, true] {
        let told = examine(&place(dir.path()), deep).expect_err("nothing can be checked");
        assert!(matches!(told, FsckError::NeverMade { .. }), "{told:?}");
    }
    let tables = open_tables(dir.path());
    let mut batch = tables.batch();
    batch.log_begins_with(0);
    tables.commit(batch).expect("a batch");
    tables.flush().expect("a disk that works");
    drop(tables);
    assert_eq!(kinds(&shallow(&dir)), ["missing_segment"]);
    // Without a state nothing says that there was a log.
    fs::remove_dir_all(dir.path().join(STATE)).expect("a directory");
    assert!(matches!(examine(&place(dir.path()), false), Err(FsckError::NoLog { .. })));
}

#[test]
fn the_lock_file_of_the_state_has_no_say_in_whose_a_directory_is() {
    let dir = directory();
    let lock = dir.path().join(STATE).join("LOCK");
    let whole = fs::read(&lock).expect("a file");
    assert_eq!(whole, IDENTITY);
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&lock, flipped).expect("a file");
        assert!(shallow(&dir).whole(), "bit {bit}");
    }
    // A start reads the database itself, and writes the file anew.
    drop(open_tables(dir.path()));
    assert_eq!(fs::read(&lock).expect("a file"), whole);
}

#[test]
fn what_is_another_s_is_said_to_be_and_not_its_counterpart() {
    const OTHER: [u8; 32] = [9; 32];
    let (dir, other) = (directory(), directory_of(OTHER));
    fs::rename(dir.path().join(STATE), dir.path().join("own")).expect("a directory");
    fs::rename(other.path().join(STATE), dir.path().join(STATE)).expect("a directory");
    for report in [shallow(&dir), deep(&dir)] {
        assert_eq!((report.damaged_total, report.records), (0, RECORDS), "{report:?}");
        assert!(report.state_error.is_some_and(|error| error.contains("another")), "the state is told");
    }
    // All of it another's: only who knows whose it should be can tell.
    fs::remove_dir_all(dir.path().join(STATE)).expect("a directory");
    fs::rename(dir.path().join("own"), dir.path().join(STATE)).expect("a directory");
    let expected = Place { identity: Some(OTHER), ..place(dir.path()) };
    let report = examine(&expected, false).expect("it can be checked");
    assert_eq!((kinds(&report)[0], report.records), ("other_identity", 0));
    assert!(report.state_error.is_some() && shallow(&dir).whole());
    let elsewhere = Place { chain: Some(types::ChainId(Digest::ZERO)), ..place(dir.path()) };
    assert!(matches!(examine(&elsewhere, false), Err(FsckError::OtherLedger { .. })));
}

#[test]
fn no_byte_of_a_table_can_change_unseen() {
    let dir = directory();
    let tables: Vec<PathBuf> = fs::read_dir(dir.path().join(STATE).join("rocksdb"))
        .expect("the database")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sst"))
        .collect();
    for table in tables {
        let whole = fs::read(&table).expect("a file");
        // Filters, indexes and the footer lie behind the rows, and what is wrong with a filter no reader ever says.
        for at in (0..whole.len()).step_by(whole.len() / 24 + 1) {
            spoil(&table, at);
            assert!(!deep(&dir).whole(), "{} of {}", at, table.display());
            fs::write(&table, &whole).expect("a file");
        }
    }
    assert!(deep(&dir).whole());
}
