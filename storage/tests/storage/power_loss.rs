//! The two halves of `cargo xtask torture --only power`. Inside a machine whose disk records every write, `write_until_told`
//! runs log and state database as a node does and says what was acknowledged, by marks in that record. On each disk that a
//! power cut could have left, `recover` reads both again. Ignored: `xtask/src/power_loss.rs` runs them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use storage::log::{Backend, Log, LogOptions, Record};
use storage::state::{Family, StateDb, StateOptions};

const IDENTITY: [u8; 32] = [9; 32];
/// Threads that append and wait, as many kinds of records.
const WRITERS: u8 = 4;
/// The kind of the records that the state database applies.
const COMMIT: u8 = 9;
/// Rows that commits write in turn.
const ROWS: u64 = 64;
const HEIGHT: &[u8] = b"height";

/// What was acknowledged: the number of records of each writer, of commits, and the height that the database flushed.
#[derive(Debug, Default)]
struct Acknowledged {
    writers: [AtomicU64; WRITERS as usize],
    commits: AtomicU64,
    flushed: AtomicU64,
}

impl Acknowledged {
    fn mark(&self) -> String {
        let all = self.writers.iter().chain([&self.commits, &self.flushed]);
        all.map(|count| count.load(Ordering::Acquire).to_string()).collect::<Vec<_>>().join(",")
    }
}

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("`cargo xtask torture --only power` runs this: {name} is not set"))
}

fn dir() -> PathBuf {
    PathBuf::from(env("STELE_POWER_DIR"))
}

fn options(dir: &Path) -> LogOptions {
    LogOptions { segment_bytes: 512 << 10, group_bytes_max: 64 << 10, ..LogOptions::new(dir.join("log"), IDENTITY) }
}

fn state(dir: &Path) -> StateDb {
    StateDb::open(dir.join("state"), IDENTITY, StateOptions::default()).expect("the state opens")
}

/// What record `number` of a kind holds: its number, and as many more bytes as come from both.
fn payload(kind: u8, number: u64) -> Vec<u8> {
    let mixed = (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(kind);
    let length = match number % 16 {
        0 => mixed % 40_000,
        _ => mixed % 1_500,
    };
    let filler = (0..length).map(|at| (mixed >> (at % 57)) as u8);
    number.to_le_bytes().into_iter().chain(filler).collect()
}

fn row(key: u64) -> [u8; 16] {
    let mut row = [0; 16];
    row[8..].copy_from_slice(&key.to_be_bytes());
    row
}

#[test]
#[ignore = "half of `cargo xtask torture --only power`"]
fn write_until_told() {
    let dir = dir();
    let backend = if env("STELE_POWER_BACKEND") == "threaded" { Backend::Threaded } else { Backend::IoUring };
    let log = Arc::new(Log::open(LogOptions { backend, ..options(&dir) }, None, &mut |_| Ok(())).unwrap());
    let state = state(&dir);
    let (said, over) = (Acknowledged::default(), AtomicBool::new(false));
    // Opening takes its time as well.
    let until = Instant::now() + Duration::from_secs(env("STELE_POWER_SECONDS").parse().unwrap());
    std::thread::scope(|scope| {
        for kind in 0..WRITERS {
            let (log, said) = (Arc::clone(&log), &said.writers[usize::from(kind)]);
            scope.spawn(move || {
                for number in (0..).take_while(|_| Instant::now() < until) {
                    append(&log, kind, number);
                    said.store(number + 1, Ordering::Release);
                }
            });
        }
        let (for_commits, for_marks) = (Arc::clone(&log), &over);
        let (said, state) = (&said, &state);
        scope.spawn(move || {
            for height in (0..).take_while(|_| Instant::now() < until) {
                let segment = append(&for_commits, COMMIT, height);
                said.commits.store(height + 1, Ordering::Release);
                apply(state, height);
                // As a node does: what the database has flushed need not be read again.
                if height % 40 == 39 {
                    state.flush().unwrap();
                    said.flushed.store(height + 1, Ordering::Release);
                    for_commits.release_before(segment);
                }
            }
            for_marks.store(true, Ordering::Release);
        });
        while !over.load(Ordering::Acquire) {
            // What is in the mark was acknowledged before anything that is recorded after it.
            let marked = Command::new("dmsetup").args(["message", "power", "0", "mark"]).arg(said.mark()).status();
            assert!(marked.unwrap().success());
        }
    });
    println!("acknowledged {}, {:?}", said.mark(), log.stats().backend);
}

fn append(log: &Log, kind: u8, number: u64) -> u64 {
    log.append_durable(kind, &[&payload(kind, number)]).unwrap().segment
}

fn apply(state: &StateDb, height: u64) {
    let mut batch = state.batch();
    batch.put(Family::Accounts, &row(height % ROWS), &height.to_le_bytes());
    batch.put(Family::Meta, HEIGHT, &(height + 1).to_le_bytes());
    state.commit(batch).unwrap();
}

#[test]
#[ignore = "half of `cargo xtask torture --only power`"]
fn recover() {
    let dir = dir();
    let said: Vec<u64> = env("STELE_POWER_ACKNOWLEDGED").split(',').map(|count| count.parse().unwrap()).collect();
    let [said_writers @ .., said_commits, said_flushed] = said.as_slice() else { panic!("{said:?}") };
    let mut found: Vec<Option<(u64, u64)>> = vec![None; 256];
    let mut visit = |record: Record| {
        let number = u64::from_le_bytes(record.payload[..8].try_into().unwrap());
        assert!(record.payload == payload(record.kind, number), "record {number} of kind {} is another", record.kind);
        let range = found[usize::from(record.kind)].get_or_insert((number, number));
        assert!(number == range.0 || number == range.1 + 1, "kind {}: {number} follows {range:?}", record.kind);
        range.1 = number;
        Ok(())
    };
    let log = Log::open(options(&dir), None, &mut visit).expect("a power cut is no damage");
    let end = |kind: u8| found[usize::from(kind)].map_or(0, |(_, last)| last + 1);
    for (kind, said) in (0..WRITERS).zip(said_writers) {
        assert!(end(kind) >= *said, "writer {kind}: {said} were acknowledged, {} are there", end(kind));
    }
    assert!(end(COMMIT) >= *said_commits, "{said_commits} commits were acknowledged, {} are there", end(COMMIT));

    let state = state(&dir);
    let applied = state.get(Family::Meta, HEIGHT).unwrap();
    let applied = applied.map_or(0, |row| u64::from_le_bytes(row.try_into().unwrap()));
    assert!(applied >= *said_flushed, "the database had flushed {said_flushed}, {applied} is there");
    assert!(applied <= end(COMMIT), "the database holds {applied} of {} commits that are durable", end(COMMIT));
    let first = found[usize::from(COMMIT)].map_or(0, |(first, _)| first);
    assert!(first <= applied, "the log begins with commit {first}, the database ends at {applied}");
    for key in 0..ROWS {
        let last = (0..applied).rev().find(|height| height % ROWS == key);
        let value = state.get(Family::Accounts, &row(key)).unwrap();
        assert_eq!(value.as_deref(), last.map(u64::to_le_bytes).as_ref().map(<[u8; 8]>::as_slice), "row {key}");
    }
    (applied..end(COMMIT)).for_each(|height| apply(&state, height));
    append(&log, COMMIT, end(COMMIT));
    let extra: u64 = (0..WRITERS).zip(said_writers).map(|(kind, said)| end(kind) - said).sum();
    println!("recovered {} commits, {applied} applied, {extra} records more than acknowledged", end(COMMIT));
}
