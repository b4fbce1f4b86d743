//! The check beside the writer: it finds what the disk has changed in segments that are full, and takes nothing that is only
//! being written, or given up, for damage.

use std::fs::{self, OpenOptions};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use storage::log::check::{Damage, DamageKind, Seen};
use storage::log::format::{GROUP_HEADER, PAGE, RECORD_HEADER};
use storage::log::{Backend, Log, LogOptions};

const SEGMENT_BYTES: u64 = 64 << 10;

fn open(dir: &Path, backend: Backend) -> Log {
    let mut options = LogOptions::new(dir, [1; 32]);
    (options.backend, options.segment_bytes, options.group_bytes_max) = (backend, SEGMENT_BYTES, 8 << 10);
    Log::open(options, None, &mut |_| Ok(())).unwrap()
}

/// Appends durable records until a segment is begun.
fn fill(log: &Log, segment: u64) {
    while log.append_durable(1, &[&[7; 1_000]]).unwrap().segment < segment {}
}

/// Records and damage of a pass.
fn scrub(log: &Log) -> (u64, Vec<Damage>) {
    let (mut records, mut damaged) = (0, Vec::new());
    let passed = log.scrub(&mut |seen| {
        match seen {
            Seen::Segment { .. } => {}
            Seen::Record { .. } => records += 1,
            Seen::Damage(damage) => damaged.push(damage),
        }
        ControlFlow::Continue(())
    });
    passed.unwrap();
    (records, damaged)
}

fn file(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("{segment:020}.seg"))
}

fn flip(dir: &Path, segment: u64, offset: u64) {
    let file = OpenOptions::new().read(true).write(true).open(file(dir, segment)).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 4], offset).unwrap();
    file.sync_all().unwrap();
}

#[test]
fn full_segments_are_read_and_the_one_that_is_written_to_is_not() {
    for backend in [Backend::Auto, Backend::Threaded] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path(), backend);
        assert_eq!(scrub(&log), (0, vec![]), "nothing is full");
        fill(&log, 0);
        flip(dir.path(), 0, PAGE as u64);
        assert_eq!(scrub(&log), (0, vec![]), "what is being written to is not looked at");
        flip(dir.path(), 0, PAGE as u64);
        let mut last = 0;
        for segment in 1..4 {
            fill(&log, segment);
            let (records, damaged) = scrub(&log);
            assert!(records >= last + SEGMENT_BYTES / PAGE as u64 - 2, "{records} records before segment {segment}");
            assert_eq!(damaged, []);
            last = records;
        }
    }
}

#[test]
fn what_the_disk_has_changed_is_named_while_the_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), Backend::Auto);
    fill(&log, 4);
    let record = (PAGE + GROUP_HEADER + RECORD_HEADER + 10) as u64;
    for (segment, offset, kind) in [
        (0, 8, DamageKind::SegmentHeader),
        (0, PAGE as u64 + 4, DamageKind::GroupHeader),
        (2, record, DamageKind::Record),
        // The last group: the next segment tells that there was one.
        (3, SEGMENT_BYTES - PAGE as u64 + (GROUP_HEADER + RECORD_HEADER) as u64 + 10, DamageKind::Record),
    ] {
        let (records, _) = scrub(&log);
        flip(dir.path(), segment, offset);
        log.append_durable(1, &[b"it goes on"]).unwrap();
        let (left, damaged) = scrub(&log);
        let [found] = damaged[..] else { panic!("{segment} at {offset}: {damaged:?}") };
        assert_eq!((found.segment, found.kind), (segment, kind), "at {offset}");
        assert!(found.offset <= offset && left >= records - 1);
        flip(dir.path(), segment, offset);
        assert_eq!(scrub(&log).1, []);
    }
    fs::rename(file(dir.path(), 1), dir.path().join("elsewhere")).unwrap();
    let (_, damaged) = scrub(&log);
    assert_eq!(damaged.iter().map(|damage| damage.segment).collect::<Vec<_>>(), [1], "{damaged:?}");
}

#[test]
fn a_pass_can_be_ended() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), Backend::Auto);
    fill(&log, 2);
    let mut seen = 0;
    log.scrub(&mut |_| {
        seen += 1;
        if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .unwrap();
    assert_eq!(seen, 3);
}

#[test]
fn what_is_written_or_given_up_meanwhile_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), Backend::Auto);
    let done = AtomicBool::new(false);
    let passes = thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| fill(&log, 60));
        }
        scope.spawn(|| {
            fill(&log, 60);
            done.store(true, Ordering::Relaxed);
        });
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                log.release_before(log.next_position().segment.saturating_sub(3));
            }
        });
        let mut passes = 0;
        while !done.load(Ordering::Relaxed) {
            assert_eq!(scrub(&log).1, []);
            passes += 1;
        }
        passes
    });
    assert!(passes > 5, "{passes} passes");
    assert!(log.oldest_segment() > 50);
}
