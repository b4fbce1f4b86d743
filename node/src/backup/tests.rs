//! Out of a node into a place and back: whole, added to, gone on with, and refused where anything is another than it was.

use super::depot::Depot;
use super::read::verify;
use super::restore::{Step, Wanted as Restored, is_unfinished, restore};
use super::take::{Done, Wanted, take};
use super::*;
use crate::committees::CommitteeError;
use crate::config::{LOG, STATE};
use crate::export;
use crate::fixtures::{Executed, executed, genesis, log_executed};
use crate::rebuild::Source;
use crate::rebuild::tests::{IDENTITY, directory, open_log, rebuild};
use crate::records;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::num::NonZeroU16;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use storage::log::{Files, LogError, LogFault, scan};
use tempfile::TempDir;
use types::Height;

const HEIGHTS: u64 = 40;
/// A dozen heights are a range.
const RANGE_BYTES: usize = 60_000;

/// A node that has executed all but the last of some heights, and that has a certificate for all of those.
fn node(heights: &[Executed]) -> (TempDir, Source) {
    let (dir, source) = directory(heights);
    rebuild(&source).expect("a whole log");
    fs::write(dir.path().join("guard"), b"a guard file that is never taken").expect("a file");
    fs::write(dir.path().join("keys.enc"), b"keys that are never taken").expect("a file");
    (dir, source)
}

fn open(dir: &TempDir) -> Depot {
    Depot::open(dir.path().to_str().expect("it is text"), None).expect("a directory")
}

fn back_up(source: &Source, depot: &Depot) -> Result<Done, BackupError> {
    let wanted = Wanted { range_bytes: RANGE_BYTES, run_heights: 5, ..Wanted::default() };
    take(source, depot, &wanted, &mut |_, _| {})
}

fn wanted(data_dir: &Path) -> Restored {
    Restored { data_dir: data_dir.to_owned(), genesis: Some(genesis()), identity: None, shards: NonZeroU16::MIN }
}

fn restore_to(depot: &Depot, data_dir: &Path) -> Result<restore::Done, BackupError> {
    restore(depot, wanted(data_dir), &mut |_| {})
}

fn kinds(dir: &Path) -> Vec<u8> {
    let (files, mut kinds) = (Files::inspect(&dir.join(LOG)).expect("a log"), Vec::new());
    scan::scan(&files, &IDENTITY, None, &mut |record| {
        kinds.push(record.kind);
        Ok(())
    })
    .expect("a whole log");
    kinds
}

#[test]
fn a_backup_is_added_to_verified_and_restored_without_a_secret_and_without_own_proposals() {
    let heights = executed(HEIGHTS);
    let (dir, source) = node(&heights[..25]);
    let (place, target) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let depot = open(&place);
    let first = back_up(&source, &depot).expect("a backup");
    assert_eq!((first.from, first.to, first.added), (Some(Height(1)), Some(Height(24)), 24));
    // Nothing is new.
    let again = back_up(&source, &depot).expect("a backup");
    assert_eq!((again.to, again.added, again.bytes_put, again.bytes), (first.to, 0, 0, first.bytes));
    let log = open_log(dir.path());
    heights[25..].iter().for_each(|height| log_executed(&log, height));
    drop(log);
    rebuild(&source).expect("a whole log");
    let more = back_up(&source, &depot).expect("a backup");
    assert_eq!((more.from, more.to, more.added), (Some(Height(1)), Some(Height(HEIGHTS - 1)), HEIGHTS - 25));
    let manifest = Manifest::read(&depot).expect("a manifest");
    assert!(manifest.ranges.len() > 2 && more.bytes_put < more.bytes);
    let verified = verify(&depot, Some(genesis()), &mut |_, _| {}).expect("it is whole");
    assert_eq!((verified.to, verified.transactions), (more.to, 2 * (HEIGHTS - 1)));
    let files = fs::read_dir(place.path().join("ranges")).expect("a directory").count();
    assert_eq!(files, manifest.ranges.len(), "ranges that were replaced are gone");
    let text = fs::read(place.path().join("manifest.json")).expect("a manifest");
    assert!(String::from_utf8(text).expect("text").contains("keys, PINs, guard files"));
    for file in walk(place.path()) {
        let bytes = fs::read(&file).expect("a file");
        assert!(!bytes.windows(11).any(|part| part == b"never taken"), "{}", file.display());
    }

    let data = target.path().join("data");
    let done = restore_to(&depot, &data).expect("a whole backup");
    let last = &heights[HEIGHTS as usize - 2].header;
    assert_eq!((done.height, done.header, done.state_digest), (last.height, last.digest(), last.state_digest));
    assert!(!is_unfinished(&data) && data.join("restored/genesis.toml").exists());
    let kinds = kinds(&data);
    assert_eq!(kinds.last(), Some(&records::RESTORED));
    assert!(kinds.iter().all(|kind| [records::BLOCK, records::COMMIT, records::RESTORED].contains(kind)));
    let restored = Source { data_dir: data.clone(), ..source };
    assert_eq!(rebuild(&restored).expect("the log alone gives the same").header, done.header);
    // It serves as the source of a backup itself.
    let second = tempfile::tempdir().expect("a directory");
    assert_eq!(back_up(&restored, &open(&second)).expect("a backup").added, HEIGHTS - 2);
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn an_interrupted_restore_goes_on_and_reads_nothing_twice() {
    let (_dir, source) = node(&executed(HEIGHTS));
    let (place, target) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let depot = open(&place);
    back_up(&source, &depot).expect("a backup");
    let manifest = Manifest::read(&depot).expect("a manifest");
    let path = |index: usize| place.path().join(&manifest.ranges[index].kept.file);
    let last = manifest.ranges.len() - 1;
    let kept = fs::read(path(last)).expect("a range");
    fs::remove_file(path(last)).expect("a range");
    assert!(restore_to(&depot, target.path()).is_err());
    assert!(is_unfinished(target.path()) && !target.path().join(STATE).exists());
    fs::write(path(last), kept).expect("a range");
    // The first one was read: it is not asked for again.
    fs::remove_file(path(0)).expect("a range");
    let mut read = Vec::new();
    let done = restore(&depot, wanted(target.path()), &mut |step| {
        if let Step::Reading { height, .. } = step {
            read.push(height);
        }
    });
    assert_eq!(done.expect("the rest is whole").height, Height(HEIGHTS - 1));
    assert_eq!(read.first(), Some(&manifest.ranges[last].from));
}

#[test]
fn a_restore_that_dies_within_a_range_writes_nothing_twice() {
    let (_dir, source) = node(&executed(HEIGHTS));
    let (place, target) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let depot = open(&place);
    back_up(&source, &depot).expect("a backup");
    let last = Manifest::read(&depot).expect("a manifest").heights().expect("heights").1;
    for dies_at in [3, 20, last.0 - 1] {
        let died = std::panic::catch_unwind(AssertUnwindSafe(|| {
            restore(&depot, wanted(target.path()), &mut |step| {
                assert!(!matches!(step, Step::Reading { height: Height(at), .. } if at == dies_at), "killed");
            })
        }));
        assert!(died.is_err());
    }
    restore_to(&depot, target.path()).expect("a whole backup");
    let commits = kinds(target.path()).into_iter().filter(|kind| *kind == records::COMMIT).count();
    assert_eq!(commits as u64, last.0);
}

#[test]
fn a_kill_while_things_take_their_places_is_finished_by_the_next_run() {
    let (_dir, source) = node(&executed(12));
    let (place, target) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let depot = open(&place);
    back_up(&source, &depot).expect("a backup");
    let before = restore_to(&depot, target.path()).expect("a whole backup");
    let site = target.path().join(restore::RESTORING);
    fs::create_dir(&site).expect("a directory");
    fs::rename(target.path().join(LOG), site.join(LOG)).expect("a directory");
    fs::write(site.join("whole"), b"").expect("a file");
    assert_eq!(restore_to(&depot, target.path()).expect("only the log is to be moved"), before);
    assert!(!is_unfinished(target.path()));
}

#[test]
fn what_was_altered_is_refused_wherever_it_stands() {
    let (_dir, source) = node(&executed(30));
    let (place, target) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let depot = open(&place);
    back_up(&source, &depot).expect("a backup");
    let manifest = Manifest::read(&depot).expect("a manifest");
    let range = place.path().join(&manifest.ranges[0].kept.file);
    let whole = fs::read(&range).expect("a range");
    // Whoever can write there can write hashes as well: then it is the committee's signatures that do not fit.
    let forge = |bytes: &[u8]| {
        let mut forged = manifest.clone();
        forged.ranges[0].kept.sha256 = hex::encode(Sha256::digest(bytes));
        forged.ranges[0].kept.bytes = bytes.len() as u64;
        forged.put(&depot).expect("a manifest");
        fs::write(&range, bytes).expect("a range");
    };
    for at in (0..whole.len()).step_by(whole.len() / 97) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&range, &bytes).expect("a range");
        assert!(matches!(restore_to(&depot, target.path()), Err(BackupError::Altered(_))), "byte {at}");
        forge(&bytes);
        assert!(verify(&depot, Some(genesis()), &mut |_, _| {}).is_err(), "byte {at}");
        manifest.put(&depot).expect("a manifest");
    }
    for cut in [0, 7, 40, whole.len() / 2, whole.len() - 1] {
        forge(&whole[..cut]);
        assert!(verify(&depot, Some(genesis()), &mut |_, _| {}).is_err(), "cut at {cut}");
    }
    let mut newer = whole.clone();
    newer[8] = 9;
    forge(&newer);
    assert!(matches!(restore_to(&depot, target.path()), Err(BackupError::Newer { found: 9, .. })));
    // A range that another manifest calls the first one.
    let mut moved = manifest.clone();
    moved.ranges.remove(0);
    (moved.ranges[0].from, moved.ranges[0].kept) = (Height(1), moved.ranges[0].kept.clone());
    moved.put(&depot).expect("a manifest");
    assert!(matches!(restore_to(&depot, target.path()), Err(BackupError::Refused { .. })));
    assert!(!target.path().join(LOG).exists() && !target.path().join(STATE).exists());
    // One that says it holds nothing is not whole.
    moved.ranges.clear();
    moved.put(&depot).expect("a manifest");
    assert!(matches!(verify(&depot, Some(genesis()), &mut |_, _| {}), Err(BackupError::Contradictory(_))));
}

#[test]
fn other_ledgers_newer_formats_gaps_and_directories_in_use_are_named() {
    let (_dir, source) = node(&executed(12));
    let (place, target) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let depot = open(&place);
    let nothing = restore_to(&depot, target.path()).expect_err("there is nothing");
    assert!(matches!(&nothing, BackupError::Nothing(place) if *place == depot.place()), "{nothing:?}");
    fs::remove_dir_all(target.path().join(restore::RESTORING)).expect("a directory");
    back_up(&source, &depot).expect("a backup");
    let mut other = genesis();
    other.name = "another".into();
    let of_other = Restored { genesis: Some(other.clone()), ..wanted(target.path()) };
    assert!(matches!(restore(&depot, of_other, &mut |_| {}), Err(BackupError::OtherLedger { .. })));
    fs::write(target.path().join("notes"), b"mine").expect("a file");
    assert!(matches!(restore_to(&depot, target.path()), Err(BackupError::NotEmpty(_))));
    let path = place.path().join("manifest.json");
    let text = fs::read_to_string(&path).expect("a manifest");
    let fresh = tempfile::tempdir().expect("a directory");
    let check = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        fs::write(&path, text.replace(from, to)).expect("a manifest");
        restore_to(&depot, fresh.path()).expect_err("a manifest that was altered")
    };
    assert!(matches!(check("\"format\": 1", "\"format\": 2"), BackupError::Newer { found: 2, known: 1 }));
    assert!(matches!(check("\"from\": 1,", "\"from\": 2,"), BackupError::NotFromGenesis(Height(2))));
    assert!(matches!(check("\"from\": 1,", "\"from\": 99,"), BackupError::Contradictory(_)));
    assert!(matches!(check("genesis.", "../genesis."), BackupError::Depot(_)));
    assert!(matches!(check("\"ledger\"", "\"legder\""), BackupError::Manifest { .. }));
    fs::write(&path, &text).expect("a manifest");
    assert!(restore_to(&depot, fresh.path()).is_ok());
    let unknown = CommitteeError::Unknown(types::Epoch(7));
    assert_eq!(BackupError::from(unknown).to_string(), "there is no proof of epoch 7");
}

#[test]
fn an_export_of_tables_is_told_from_a_backup() {
    let (_dir, source) = node(&executed(12));
    let (place, target) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let dir = place.path().to_owned();
    let tables = export::Wanted { dir, format: export::Format::Jsonl, from: None, to: None, part_heights: 5 };
    export::run(&source, &tables, &mut |_, _| {}).expect("an export");
    let depot = open(&place);
    for refused in [
        restore_to(&depot, target.path()).map(drop),
        verify(&depot, Some(genesis()), &mut |_, _| {}).map(drop),
        back_up(&source, &depot).map(drop),
    ] {
        let refused = refused.expect_err("tables are no backup");
        assert!(matches!(&refused, BackupError::Tables(place) if *place == depot.place()), "{refused:?}");
        assert!(refused.to_string().contains("`stele export`"), "{refused}");
    }
}

#[test]
fn what_a_backup_lost_beside_its_ranges_is_put_back_or_asked_for() {
    let (dir, source) = node(&executed(12));
    let place = tempfile::tempdir().expect("a directory");
    let depot = open(&place);
    let config = dir.path().join("node.toml");
    fs::write(&config, b"validator = \"north\"").expect("a file");
    let with = Wanted { config: Some(&config), ..Wanted::default() };
    take(&source, &depot, &with, &mut |_, _| {}).expect("a backup");
    let manifest = Manifest::read(&depot).expect("a manifest");
    let kept = manifest.config.expect("it was named").file;
    let lose = |file: &str| fs::remove_file(place.path().join(file)).expect("a file");
    lose(&kept);
    fs::write(place.path().join(&manifest.genesis.file), b"altered").expect("a file");
    // The genesis is known; of node.toml nobody knows what stood in it.
    let Err(BackupError::ConfigLost { file, .. }) = back_up(&source, &depot) else { panic!("it is lost") };
    assert!(file == kept && verify(&depot, None, &mut |_, _| {}).is_err());
    take(&source, &depot, &with, &mut |_, _| {}).expect("a backup");
    verify(&depot, None, &mut |_, _| {}).expect("all is there again");
    lose(&manifest.genesis.file);
    back_up(&source, &depot).expect("a backup");
    verify(&depot, None, &mut |_, _| {}).expect("all is there again");
}

#[test]
fn a_disk_that_is_full_is_told_with_its_directory_and_the_next_run_goes_on() {
    let (_dir, source) = node(&executed(12));
    let (place, target) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let depot = open(&place);
    back_up(&source, &depot).expect("a backup");
    // What the restore notes behind its first range has no room.
    let note = target.path().join(restore::RESTORING).join("read.new");
    fs::create_dir(target.path().join(restore::RESTORING)).expect("a directory");
    std::os::unix::fs::symlink("/dev/full", &note).expect("a link");
    let full = restore_to(&depot, target.path()).expect_err("there is no room");
    assert!(matches!(&full, BackupError::DiskFull { dir, .. } if dir == target.path()), "{full:?}");
    assert!(full.to_string().contains(&target.path().display().to_string()));
    for full in [BackupError::from(LogFault::DiskFull), LogError::DiskFull { bytes: 1 }.into()] {
        assert!(full.is_disk_full(), "{full:?}");
    }
    fs::remove_file(note).expect("a link");
    restore_to(&depot, target.path()).expect("there is room again");
}

#[test]
fn an_archive_leaves_out_what_is_not_cold() {
    let (_dir, source) = node(&executed(20));
    let place = tempfile::tempdir().expect("a directory");
    let depot = open(&place);
    let cold = Wanted { keep: 9, ..Wanted::default() };
    let done = take(&source, &depot, &cold, &mut |_, _| {}).expect("an archive");
    assert_eq!((done.to, done.certified), (Some(Height(10)), Height(19)));
    let rest = take(&source, &depot, &Wanted::default(), &mut |_, _| {}).expect("an archive");
    assert_eq!((rest.to, rest.added), (Some(Height(19)), 9));
    assert_eq!(verify(&depot, None, &mut |_, _| {}).expect("it is whole").to, Some(Height(19)));
}
