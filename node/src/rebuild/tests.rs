//! A state out of a log alone: whole, after interruptions, and refused where the log is not what was certified.

use super::*;
use crate::fixtures::{self, Executed, executed, genesis, log_executed};
use crate::tables::Place;
use miette::Diagnostic;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use storage::log::Log;

pub const IDENTITY: [u8; 32] = [6; 32];
const HEIGHTS: u64 = 40;

pub fn open_log(dir: &Path) -> Log {
    fixtures::open_log(dir, IDENTITY)
}

/// A log of some heights, and what makes a state of it.
pub fn directory(heights: &[Executed]) -> (tempfile::TempDir, Source) {
    let dir = tempfile::tempdir().expect("a directory");
    let log = open_log(dir.path());
    heights.iter().for_each(|height| log_executed(&log, height));
    drop(log);
    let mut source = Source::new(dir.path().to_owned(), Arc::new(genesis()), IDENTITY, NonZeroU16::MIN);
    source.flush_bytes = 20_000;
    (dir, source)
}

pub fn rebuild(source: &Source) -> Result<Done, RebuildError> {
    run(source, &mut |_| ControlFlow::Continue(()))
}

pub fn tables(source: &Source) -> Tables {
    let database = StateDb::open(source.data_dir.join(STATE), IDENTITY, StateOptions::default());
    Tables::new(Arc::new(database.expect("a database")))
}

#[test]
fn the_log_alone_gives_headers_receipts_indexes_certificates_and_the_state_of_consensus() {
    let heights = executed(HEIGHTS);
    let (_dir, source) = directory(&heights);
    let done = rebuild(&source).expect("a whole log");
    let last = &heights.last().expect("heights").header;
    assert_eq!((done.from, done.height, done.certified), (Height(0), Height(HEIGHTS), Height(HEIGHTS - 1)));
    assert_eq!((done.header, done.state_digest), (last.digest(), last.state_digest));
    assert_eq!(done.transactions, HEIGHTS);
    let tables = tables(&source);
    for height in &heights {
        assert_eq!(tables.header(height.header.height).expect("a row").as_ref(), Some(&height.header));
        let transfer = height.blocks[0].1.transactions().next().expect("a transfer");
        let transfer = types::Transaction::parse(&source.chain(), transfer).expect("it decodes");
        let place = tables.place(&transfer.id()).expect("a row");
        assert_eq!(place, Some(Place { height: height.header.height, index: 0 }));
    }
    let applied = tables.applied().expect("a row").expect("a state");
    let consensus = applied.consensus.expect("the state of consensus");
    assert_eq!((consensus.height, consensus.commit), (Height(HEIGHTS), last.commit));
    assert!(!source.site().database().exists() && !source.data_dir.join("rebuild").exists());
}

#[test]
fn an_interrupted_rebuild_leaves_the_old_state_and_goes_on_where_it_was_flushed() {
    let heights = executed(HEIGHTS);
    let (_dir, source) = directory(&heights);
    rebuild(&source).expect("a whole log");
    fs::write(source.data_dir.join(STATE).join("mark"), b"the old one").expect("a file");
    let mut began = Vec::new();
    for stop_at in [9, 18, 33] {
        let mut first = None;
        let stopped = run(&source, &mut |at| {
            first.get_or_insert(at.height);
            if at.height == Height(stop_at) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(stopped, Err(RebuildError::Interrupted)), "{stopped:?}");
        assert!(source.data_dir.join(STATE).join("mark").exists());
        began.push(first.expect("a height"));
    }
    assert!(began[0] == Height(1) && began[1] > Height(1) && began[2] > began[1], "{began:?}");
    let done = rebuild(&source).expect("a whole log");
    assert!(done.from > began[2].next());
    assert_eq!((done.height, done.certified), (Height(HEIGHTS), Height(HEIGHTS - 1)));
    assert_eq!(done.header, heights.last().expect("heights").header.digest());
    assert!(!source.data_dir.join(STATE).join("mark").exists());
    let tables = tables(&source);
    let missing = (1..HEIGHTS).find(|height| tables.certificate(Height(*height)).expect("a row").is_none());
    assert_eq!(missing, None, "certificates of both runs");
}

#[test]
fn a_kill_between_the_mark_and_the_exchange_is_finished_by_the_next_run() {
    let heights = executed(8);
    let (_dir, source) = directory(&heights);
    rebuild(&source).expect("a whole log");
    fs::create_dir(source.data_dir.join("rebuild")).expect("a directory");
    fs::rename(source.data_dir.join(STATE), source.site().database()).expect("a directory");
    source.site().finish().expect("a mark");
    assert_eq!(rebuild(&source).expect("a whole log").height, Height(8));
}

#[test]
fn a_header_that_was_not_certified_ends_it_and_the_old_state_stays() {
    let mut heights = executed(12);
    let (_dir, source) = directory(&heights);
    rebuild(&source).expect("a whole log");
    let before = heights[7].header.clone();
    // The transfer of height 8 is another one than the committee voted for.
    let payload = types::Payload::build([crate::fixtures::transfer(1_000, 5_000).raw().to_vec()]);
    let votes = heights[7].blocks[0].0.votes().to_vec();
    heights[7].blocks[0] = (crate::fixtures::block(0, 8, Vec::new(), &payload, votes), payload);
    heights[7].record.blocks[0] = heights[7].blocks[0].0.block_ref();
    let (_other, source_of_other) = directory(&heights[..9]);
    let ended = rebuild(&source_of_other);
    let Err(RebuildError::Contradicted { height, certified, .. }) = ended else { panic!("{ended:?}") };
    assert_eq!((height, certified), (Height(8), before.digest()));
    assert!(!source_of_other.data_dir.join(STATE).exists());
    let mut heights = executed(12);
    heights[10].record.previous = Digest::ZERO;
    let (_broken, source_of_broken) = directory(&heights);
    assert!(matches!(rebuild(&source_of_broken), Err(RebuildError::Chain(Height(11)))));
}

#[test]
fn what_is_missing_or_damaged_or_in_use_is_named() {
    let heights = executed(20);
    let (_dir, source) = directory(&heights[..0]);
    let log = open_log(&source.data_dir);
    heights[..5].iter().chain(&heights[6..]).for_each(|height| log_executed(&log, height));
    let ended = rebuild(&source).expect_err("somebody is at work");
    assert!(matches!(ended, RebuildError::InUse { .. }) && told(&ended).contains("another `stele rebuild`"));
    drop(log);
    let ended = rebuild(&source);
    assert!(matches!(ended, Err(RebuildError::Gap { reached: Height(5), found: Height(7) })), "{ended:?}");

    let (_dir, source) = directory(&heights);
    let segment = source.data_dir.join(LOG).join(format!("{:020}.seg", 0));
    let mut bytes = fs::read(&segment).expect("a segment");
    // Groups end in zeros, how many depends on how they came together; what is not zero is of a record.
    let within = (9_000..).find(|at| bytes[*at] != 0).expect("there are records behind it");
    bytes[within] ^= 1;
    fs::write(&segment, bytes).expect("a segment");
    assert!(matches!(rebuild(&source), Err(RebuildError::Log(LogError::Corrupt { segment: 0, .. }))));

    let mut other = genesis();
    other.name = "another".into();
    let (_dir, mut source) = directory(&heights);
    source.genesis = Arc::new(other);
    assert!(matches!(rebuild(&source), Err(RebuildError::OtherLedger)));
    let nowhere = Source { data_dir: source.data_dir.join("nowhere"), ..source };
    assert!(matches!(rebuild(&nowhere), Err(RebuildError::NoLog { .. })));
}

fn told(error: &dyn Diagnostic) -> String {
    format!("{error}; {}", error.help().expect("what to do"))
}

#[test]
fn a_directory_that_takes_nothing_is_named_and_so_is_a_full_disk() {
    let (dir, source) = directory(&executed(4));
    let name = dir.path().display().to_string();
    // Nothing can be made in it.
    fs::write(dir.path().join("rebuild"), b"in the way").expect("a file");
    for ended in [rebuild(&source).map(drop), source.forget_begun()] {
        let ended = ended.expect_err("nothing can be made there");
        assert!(matches!(ended, RebuildError::Unwritable { .. }), "{ended:?}");
        assert!(told(&ended).starts_with(&format!("{name}: cannot be written to; ")), "{}", told(&ended));
    }
    let full = || io::Error::from(io::ErrorKind::StorageFull);
    let no_room = StateError::Io { operation: "write", source: full() };
    assert!(RebuildError::from(no_room).is_disk_full());
    assert!(RebuildError::Unwritable { dir: name.into(), source: full() }.is_disk_full());
    assert!(!RebuildError::Interrupted.is_disk_full());
}

#[test]
fn a_state_is_read_beside_its_node_or_told_with_what_to_do() {
    let (dir, source) = directory(&executed(4));
    let told = |source: &Source| told(&source.tables().map(drop).expect_err("it cannot be read"));
    assert!(told(&source).contains("/state: there is no state database") && told(&source).contains("`stele rebuild`"));
    rebuild(&source).expect("a whole log");
    let writer = tables(&source);
    let beside = source.tables().expect("the node may run");
    assert_eq!(beside.last_certified().expect("a row"), writer.last_certified().expect("a row"));
    drop(writer);
    let other = Source { identity: [9; 32], ..source.clone() };
    assert!(told(&other).contains("another ledger") && !told(&other).contains("rebuild"));
    fs::write(dir.path().join(STATE).join("rocksdb/CURRENT"), b"damaged").expect("a file");
    assert!(told(&source).contains("`stele rebuild`"));
    let nowhere = Source { data_dir: dir.path().join("nowhere"), ..source };
    assert!(told(&nowhere).contains("neither a log nor a state") && told(&nowhere).contains("node.toml"));
}
