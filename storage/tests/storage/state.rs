//! The state database: what a crash leaves, who may open it.

use std::path::Path;

use storage::state::{Direction, Family, StateDb, StateError, StateOptions};

const IDENTITY: [u8; 32] = [3; 32];

fn small() -> StateOptions {
    StateOptions { block_cache_bytes: 4 << 20, write_buffer_bytes: 1 << 20, background_threads: 1 }
}

fn open(path: &Path) -> StateDb {
    StateDb::open(path, IDENTITY, small()).unwrap()
}

/// One commit: every family gets the number, and so does `applied`.
fn commit(db: &StateDb, number: u64, payload: usize) {
    let mut batch = db.batch();
    for family in Family::ALL {
        batch.put(family, b"the number", &number.to_be_bytes());
        batch.put(family, &[b"key".as_slice(), &number.to_be_bytes()].concat(), &vec![number as u8; payload]);
    }
    batch.put(Family::Meta, b"applied", &number.to_be_bytes());
    db.commit(batch).unwrap();
}

fn number(value: Option<Vec<u8>>) -> Option<u64> {
    value.map(|bytes| u64::from_be_bytes(bytes.try_into().unwrap()))
}

/// What a power cut leaves: the files as they are, without what is only in memory.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_crash_leaves_all_families_at_the_commit_that_applied_names() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir.path().join("a"));
    commit(&db, 1, 10);
    commit(&db, 2, 10);
    assert_eq!(number(db.persisted(Family::Meta, b"applied").unwrap()), None);
    db.flush().unwrap();
    commit(&db, 3, 10);
    assert_eq!(number(db.persisted(Family::Meta, b"applied").unwrap()), Some(2));
    assert_eq!(number(db.get(Family::Meta, b"applied").unwrap()), Some(3));
    copy(&dir.path().join("a"), &dir.path().join("b"));
    let after = open(&dir.path().join("b"));
    for family in Family::ALL {
        assert_eq!(number(after.get(family, b"the number").unwrap()), Some(2), "{family:?}");
    }
    assert_eq!(number(after.get(Family::Meta, b"applied").unwrap()), Some(2));
}

const CRASH_DIR: &str = "STORAGE_TEST_CRASH_DIR";

#[test]
#[ignore = "run by `flushes_by_memory_pressure_keep_families_together` in a process of its own"]
fn commits_until_it_dies() {
    let Ok(dir) = std::env::var(CRASH_DIR) else { return };
    let db = open(Path::new(&dir));
    for index in 1..=400 {
        commit(&db, index, 2000);
    }
    std::process::abort();
}

#[test]
fn flushes_by_memory_pressure_keep_families_together() {
    let dir = tempfile::tempdir().unwrap();
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "state::commits_until_it_dies"])
        .env(CRASH_DIR, dir.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(!status.success());
    let after = open(dir.path());
    let applied = number(after.get(Family::Meta, b"applied").unwrap());
    assert!(applied > Some(0) && applied < Some(400), "some were flushed, the last was not: {applied:?}");
    for family in Family::ALL {
        assert_eq!(number(after.get(family, b"the number").unwrap()), applied, "{family:?}");
        assert_eq!(after.iterate_all(family).count() as u64, applied.unwrap() + 1 + u64::from(family == Family::Meta));
    }
}

#[test]
fn closing_without_a_flush_keeps_data_and_applied_in_step() {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..4 {
        let db = open(dir.path());
        let applied = number(db.get(Family::Meta, b"applied").unwrap());
        for family in Family::ALL {
            assert_eq!(number(db.get(family, b"the number").unwrap()), applied);
        }
        commit(&db, round, 10);
    }
}

#[test]
fn reads_iterate_and_delete() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    let mut batch = db.batch();
    assert!(batch.is_empty());
    for key in 0..10u8 {
        batch.put(Family::Headers, &[key], &[key; 3]);
    }
    batch.delete(Family::Headers, &[4]);
    batch.delete_range(Family::Headers, &[6], &[8]);
    assert_eq!(batch.len(), 12);
    assert_eq!(db.get(Family::Headers, &[1]).unwrap(), None, "nothing is seen before the commit");
    db.commit(batch).unwrap();
    let keys = |direction, from: u8| -> Vec<u8> {
        db.iterate(Family::Headers, &[from], direction).map(|item| item.unwrap().0[0]).collect()
    };
    assert_eq!(keys(Direction::Forward, 3), [3, 5, 8, 9]);
    assert_eq!(keys(Direction::Reverse, 5), [5, 3, 2, 1, 0]);
    assert_eq!(db.iterate_all(Family::Headers).count(), 7);
    assert_eq!(db.last(Family::Headers).unwrap().unwrap().0[..], [9]);
    let many = db.multi_get(Family::Headers, &[[9], [4], [0]]).unwrap();
    assert_eq!(many, [Some(vec![9; 3]), None, Some(vec![0; 3])]);
    assert!(db.stats().unwrap().memtable_bytes > 0);
}

#[test]
fn another_node_and_a_second_process_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    assert!(matches!(StateDb::open(dir.path(), IDENTITY, small()), Err(StateError::InUse { .. })));
    commit(&db, 1, 1);
    drop(db);
    let error = StateDb::open(dir.path(), [4; 32], small()).unwrap_err();
    assert!(matches!(error, StateError::OtherIdentity { expected, found } if expected == [4; 32] && found == IDENTITY));
    open(dir.path());
}

#[test]
fn rows_without_an_owner_are_not_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    commit(&db, 1, 1);
    db.flush().unwrap();
    drop(db);
    std::fs::write(dir.path().join("LOCK"), b"").unwrap();
    let files = dir.path().join("rocksdb");
    let families = rocksdb::DB::list_cf(&rocksdb::Options::default(), &files).unwrap();
    assert_eq!(families.len(), Family::ALL.len() + 1);
    let raw = rocksdb::DB::open_cf(&rocksdb::Options::default(), &files, families).unwrap();
    raw.delete(b"identity").unwrap();
    drop(raw);
    let error = StateDb::open(dir.path(), IDENTITY, small()).unwrap_err();
    assert!(matches!(error, StateError::OtherIdentity { expected: IDENTITY, found } if found.is_empty()));
}

#[test]
fn a_damaged_manifest_is_corruption() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let current = dir.path().join("rocksdb").join("CURRENT");
    std::fs::write(current, b"nonsense").unwrap();
    assert!(matches!(StateDb::open(dir.path(), IDENTITY, small()), Err(StateError::Corrupt(_))));
}

#[test]
fn a_key_too_short_for_a_hashed_family_is_refused_and_nothing_applied() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    for family in [Family::Accounts, Family::TransactionIndex, Family::BlockIndex] {
        let mut batch = db.batch();
        batch.put(Family::Meta, b"applied", &[1]);
        batch.put(family, &[7; 8], &[1]);
        assert!(matches!(db.commit(batch), Err(StateError::ShortKey { bytes: 8, least: 9, .. })));
        assert_eq!(db.get(Family::Meta, b"applied").unwrap(), None);
        let mut batch = db.batch();
        batch.put(family, &[7; 9], &[1]);
        db.commit(batch).unwrap();
        let mut batch = db.batch();
        batch.put(family, &[7; 10], &[2]);
        db.commit(batch).unwrap();
        assert_eq!(db.get(family, &[7; 9]).unwrap(), Some(vec![1]), "found before any flush");
        assert_eq!(db.iterate(family, &[7; 9], Direction::Forward).count(), 2);
    }
}

#[test]
fn a_snapshot_shows_every_family_at_its_moment_whatever_comes_later() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    for number in 1..=20 {
        commit(&db, number, 10);
    }
    let snapshot = db.snapshot();
    let before: Vec<_> =
        Family::ALL.map(|family| db.iterate_all(family).collect::<Result<Vec<_>, _>>().unwrap()).into();
    for number in 21..=40 {
        commit(&db, number, 10);
    }
    db.flush().unwrap();
    assert_eq!(number(snapshot.get(Family::Meta, b"applied").unwrap()), Some(20));
    assert_eq!(number(db.get(Family::Meta, b"applied").unwrap()), Some(40));
    for (family, before) in Family::ALL.into_iter().zip(before) {
        let seen: Vec<_> = snapshot.iterate_all(family).collect::<Result<_, _>>().unwrap();
        assert!(seen == before, "{family:?}");
        assert!(seen.is_sorted_by(|one, other| one.0 < other.0), "{family:?}");
    }
}
