//! The log over real files, with both backends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use storage::log::io::SegmentReader;
use storage::log::{Backend, Files, Log, LogError, LogFault, LogOptions, LogPosition, Record};
use storage::sim::{SimDisk, SimFault, SimRng};

const IDENTITY: [u8; 32] = [1; 32];

fn options(dir: &std::path::Path, backend: Backend) -> LogOptions {
    let mut options = LogOptions::new(dir, IDENTITY);
    options.backend = backend;
    options.segment_bytes = 256 << 10;
    options.group_bytes_max = 32 << 10;
    options.queue_bytes_max = 128 << 10;
    options.lock_wait_ms = 20;
    options
}

fn open(options: &LogOptions, from: Option<u64>) -> (Log, Vec<Record>) {
    let mut found = Vec::new();
    let log = Log::open(options.clone(), from, &mut |record| {
        found.push(record);
        Ok(())
    });
    (log.unwrap(), found)
}

type Answers = Receiver<Result<LogPosition, LogFault>>;

fn append(log: &Log, kind: u8, payload: &[u8]) -> (Result<LogPosition, LogFault>, Answers) {
    let (sender, receiver) = channel();
    (log.append(kind, &[payload], Box::new(move |result| sender.send(result).unwrap())), receiver)
}

/// Appends records of many sizes, some larger than a group; all are durable at the end.
fn fill(log: &Log, seed: u64, count: usize) -> Vec<Record> {
    let mut rng = SimRng::new(seed);
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut records = Vec::new();
    for index in 0..count {
        let length = match rng.below(20) {
            0 => 100_000,
            1..4 => rng.below(20_000),
            _ => rng.below(900),
        };
        let payload: Vec<u8> = (0..length).map(|_| rng.next_u64() as u8).collect();
        let kind = index as u8;
        let position = if index % 3 == 0 {
            log.append_quiet(kind, &[&payload[..payload.len() / 2], &payload[payload.len() / 2..]]).unwrap()
        } else {
            let order = Arc::clone(&order);
            let done = move |result: Result<LogPosition, LogFault>| order.lock().unwrap().push(result.unwrap());
            log.append(kind, &[&payload], Box::new(done)).unwrap()
        };
        records.push(Record { position, kind, payload: payload.into() });
    }
    let (position, answer) = append(log, 255, b"last");
    assert_eq!(answer.recv().unwrap(), position);
    records.push(Record { position: position.unwrap(), kind: 255, payload: b"last"[..].into() });
    let order = order.lock().unwrap();
    assert_eq!(order.len(), (0..count).filter(|index| index % 3 != 0).count());
    assert!(order.is_sorted(), "callbacks run in the order of the log");
    records
}

#[test]
fn both_backends_write_the_same_log_and_read_each_others() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let backends = [Backend::IoUring, Backend::Threaded];
    let mut written = Vec::new();
    for (dir, backend) in dirs.iter().zip(backends) {
        let (log, found) = open(&options(dir.path(), backend), None);
        assert_eq!(found, []);
        let records = fill(&log, 7, 400);
        for record in &records {
            assert_eq!(&log.read(record.position).unwrap(), record);
        }
        let stats = log.stats();
        assert_eq!(stats.backend, if backend == Backend::IoUring { "io_uring" } else { "threaded" });
        assert_eq!(stats.records, 401);
        assert!(stats.groups > 0 && stats.syncs > 0 && stats.sync_max_us > 0 && stats.bytes > stats.payload_bytes);
        written.push(records);
    }
    for (dir, (backend, mut records)) in dirs.iter().zip(backends.into_iter().rev().zip(written)) {
        for round in 0..3 {
            let (log, found) = open(&options(dir.path(), backend), None);
            assert_eq!(found, records);
            records.extend(fill(&log, round, 50));
        }
    }
}

#[test]
fn the_ring_syncs_either_way() {
    for dsync_bytes_max in [0, 4096, u32::MAX] {
        let dir = tempfile::tempdir().unwrap();
        let options = LogOptions { dsync_bytes_max, ..options(dir.path(), Backend::IoUring) };
        let (log, _) = open(&options, None);
        let mut records = fill(&log, 3, 200);
        drop(log);
        let (log, found) = open(&options, None);
        assert_eq!(found, records);
        records.extend(fill(&log, 4, 20));
        drop(log);
        assert_eq!(open(&options, None).1, records);
    }
}

#[test]
fn records_of_many_threads_are_all_there() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(&options(dir.path(), Backend::Auto), None);
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let log = &log;
            scope.spawn(move || {
                for index in 0..500u32 {
                    log.append_quiet(thread, &[&index.to_le_bytes(), &[0; 300]]).unwrap();
                }
            });
        }
    });
    drop(log);
    let (_, found) = open(&options(dir.path(), Backend::Auto), None);
    assert_eq!(found.len(), 2000);
    for thread in 0..4 {
        let own = found.iter().filter(|record| record.kind == thread);
        assert!(
            own.map(|record| record.payload[..4].to_vec()).eq((0..500u32).map(|index| index.to_le_bytes().to_vec()))
        );
    }
}

#[test]
fn a_record_of_a_mebibyte_and_more_fits() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = LogOptions::new(dir.path(), IDENTITY);
    options.segment_bytes = 8 << 20;
    let payload: Vec<u8> = (0..3_000_001u32).map(|index| index as u8).collect();
    let (log, _) = open(&options, None);
    let (position, answer) = append(&log, 1, &payload);
    assert_eq!(answer.recv().unwrap(), position);
    let (refused, answer) = append(&log, 1, &vec![0; 9 << 20]);
    assert!(matches!(refused, Err(LogFault::TooLarge { .. })));
    assert_eq!(answer.recv().unwrap(), refused);
    append(&log, 1, b"still alive").1.recv().unwrap().unwrap();
    drop(log);
    let (log, found) = open(&options, None);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].payload, payload);
    assert_eq!(log.read(position.unwrap()).unwrap().payload, payload);
}

#[test]
fn released_segments_are_reused_and_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path(), Backend::Auto);
    let (log, _) = open(&options, None);
    let mut last = Vec::new();
    for round in 0..20 {
        let records = fill(&log, round, 40);
        let keep = records[0].position.segment;
        assert_eq!(log.release_before(keep), keep);
        if let Some(old) = last.first().filter(|old: &&Record| old.position.segment < keep) {
            assert!(matches!(log.read(old.position), Err(LogError::Released(_))));
        }
        last = records;
    }
    assert!(log.release_before(u64::MAX) <= last.last().unwrap().position.segment);
    drop(log);
    let files = std::fs::read_dir(dir.path()).unwrap().count();
    assert!(files < 12, "{files} files are left of more than 20 segments");
    let (log, found) = open(&options, None);
    assert_eq!(found.last(), last.last());
    let keep = last.last().unwrap().position.segment;
    drop(log);
    let (_, tail) = open(&options, Some(keep));
    assert!(tail.iter().all(|record| record.position.segment >= keep));
    assert_eq!(tail.last(), last.last());
}

#[test]
fn wrong_directories_are_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let right = options(dir.path(), Backend::Auto);
    let (log, _) = open(&right, None);
    let attempt = |options: &LogOptions| Log::open(options.clone(), None, &mut |_| Ok(())).unwrap_err();
    assert!(matches!(attempt(&right), LogError::InUse { .. }));
    drop(log);
    let other = LogOptions { identity: [2; 32], ..right.clone() };
    assert!(
        matches!(attempt(&other), LogError::OtherIdentity { expected, found, .. } if expected == [2; 32] && found == IDENTITY)
    );
    std::fs::write(dir.path().join("holiday.jpg"), b"x").unwrap();
    assert!(matches!(attempt(&right), LogError::ForeignFile { .. }));
    let files = Files::inspect(dir.path()).unwrap();
    assert_eq!(files.strays().unwrap(), [dir.path().join("holiday.jpg")]);
    drop(files);
    std::fs::remove_file(dir.path().join("holiday.jpg")).unwrap();
    std::fs::write(dir.path().join(format!("{:020}.seg", 0)), b"short").unwrap();
    assert!(matches!(attempt(&right), LogError::Corrupt { segment: 0, .. }));
    let odd = LogOptions { segment_bytes: 1000, ..right };
    assert!(matches!(attempt(&odd), LogError::Option { option: "segment_bytes" }));
}

#[test]
fn the_segment_size_may_change_between_starts() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path(), Backend::Auto);
    let mut records = Vec::new();
    for segment_bytes in [256 << 10, 512 << 10, 1 << 20, 256 << 10] {
        options.segment_bytes = segment_bytes;
        let (log, found) = open(&options, None);
        assert_eq!(found, records);
        records.extend(fill(&log, segment_bytes, 60));
    }
}

#[test]
fn a_position_that_is_none_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(&options(dir.path(), Backend::Auto), None);
    let records = fill(&log, 1, 30);
    let mut position = records[3].position;
    position.offset += 1;
    assert!(matches!(log.read(position), Err(LogError::Corrupt { .. })));
    position.segment += 1000;
    assert!(matches!(log.read(position), Err(LogError::NoRecord(_))));
}

#[test]
fn a_full_disk_stops_the_log_cleanly_and_room_starts_it_again() {
    let disk = SimDisk::new(1);
    let mut options = options(std::path::Path::new("unused"), Backend::Auto);
    options.lock_wait_ms = 0;
    disk.set_capacity(6 * options.segment_bytes);
    let log = Log::open_on(Arc::new(disk.clone()), &options, None, &mut |_| Ok(())).unwrap();
    let mut accepted = 0;
    let fault = loop {
        match log.append_quiet(1, &[&[7; 5000]]) {
            Ok(_) => accepted += 1,
            Err(fault) => break fault,
        }
    };
    assert_eq!((fault, log.fault()), (LogFault::DiskFull, Some(LogFault::DiskFull)));
    drop(log);
    let mut found = 0;
    let mut count = |_| {
        found += 1;
        Ok(())
    };
    disk.set_capacity(u64::MAX);
    let log = Log::open_on(Arc::new(disk.crash()), &options, None, &mut count).unwrap();
    assert_eq!(found, accepted, "what was accepted before the disk was full is there");
    append(&log, 1, b"on it goes").1.recv().unwrap().unwrap();
}

#[test]
fn a_full_disk_at_the_start_is_said_at_once() {
    let disk = SimDisk::new(1);
    let options = options(std::path::Path::new("unused"), Backend::Auto);
    disk.set_capacity(options.segment_bytes);
    let error = Log::open_on(Arc::new(disk), &options, None, &mut |_| Ok(())).unwrap_err();
    assert!(matches!(error, LogError::DiskFull { .. }));
}

#[test]
fn a_failed_sync_answers_everybody_and_is_not_tried_again() {
    let disk = SimDisk::new(4);
    let options = options(std::path::Path::new("unused"), Backend::Auto);
    let log = Log::open_on(Arc::new(disk.clone()), &options, None, &mut |_| Ok(())).unwrap();
    append(&log, 1, b"good").1.recv().unwrap().unwrap();
    disk.fail_write(0, SimFault::Sync);
    let (_, answer) = append(&log, 1, b"bad");
    let fault = answer.recv().unwrap().unwrap_err();
    assert!(matches!(fault, LogFault::Io { operation: "sync", .. }));
    let (refused, answer) = append(&log, 1, b"late");
    assert_eq!(refused, Err(fault));
    assert_eq!(answer.recv().unwrap(), Err(fault));
    drop(log);
    let mut found = Vec::new();
    let mut visit = |record: Record| {
        found.push(record.payload);
        Ok(())
    };
    Log::open_on(Arc::new(disk.crash()), &options, None, &mut visit).unwrap();
    assert_eq!(found.first().map(|payload| &payload[..]), Some(&b"good"[..]));
}

#[test]
fn a_power_cut_under_threads_loses_nothing_acknowledged() {
    let mut disk = SimDisk::new(11);
    let options = options(std::path::Path::new("unused"), Backend::Auto);
    let mut expected = 0;
    for round in 0..30u64 {
        let mut found = 0u64;
        let mut visit = |record: Record| {
            assert_eq!(record.payload[..8], found.to_le_bytes());
            found += 1;
            Ok(())
        };
        let log = Log::open_on(Arc::new(disk.clone()), &options, None, &mut visit).unwrap();
        assert!(found >= expected, "round {round}: {found} of {expected}");
        let (acknowledge, acknowledged) = std::sync::mpsc::channel();
        for number in found..found + 40 + round {
            let acknowledge = acknowledge.clone();
            let done = move |result: Result<LogPosition, LogFault>| {
                if result.is_ok() {
                    acknowledge.send(number + 1).ok();
                }
            };
            log.append(1, &[&number.to_le_bytes(), &[0; 700]], Box::new(done)).unwrap();
        }
        // The cut comes at some moment after so many; what is acknowledged after it was written to the disk from before.
        let waited_for = acknowledged.iter().take(1 + round as usize).last();
        expected = acknowledged.try_iter().last().or(waited_for).unwrap();
        let next = disk.crash();
        drop(log);
        disk = next;
    }
    assert!(disk.segments().unwrap().len() > 1);
}

#[test]
fn a_power_cut_loses_nothing_that_threads_were_told_together() {
    const THREADS: u8 = 6;
    let mut disk = SimDisk::new(12);
    let options = options(std::path::Path::new("unused"), Backend::Auto);
    let mut expected = [0u64; THREADS as usize];
    for round in 0..30u64 {
        let mut found = [0u64; THREADS as usize];
        let mut visit = |record: Record| {
            let found = &mut found[usize::from(record.kind)];
            assert_eq!(record.payload[..8], found.to_le_bytes());
            *found += 1;
            Ok(())
        };
        let log = Log::open_on(Arc::new(disk.clone()), &options, None, &mut visit).unwrap();
        assert!(
            found.iter().zip(&expected).all(|(found, expected)| found >= expected),
            "{round}: {found:?} {expected:?}"
        );
        let told = found.map(AtomicU64::new);
        disk = std::thread::scope(|scope| {
            for kind in 0..THREADS {
                let (log, told) = (&log, &told[usize::from(kind)]);
                scope.spawn(move || {
                    for number in told.load(Ordering::Relaxed).. {
                        let parts: [&[u8]; 2] = [&number.to_le_bytes(), &[0; 700]];
                        // Some waiters of a group have a callback between them.
                        let durable = if (number + u64::from(kind)).is_multiple_of(5) {
                            let (sender, answer) = channel();
                            let _ = log.append(kind, &parts, Box::new(move |result| sender.send(result).unwrap()));
                            answer.recv().unwrap()
                        } else {
                            log.append_durable(kind, &parts)
                        };
                        if durable.is_err() {
                            break;
                        }
                        told.store(number + 1, Ordering::Release);
                    }
                });
            }
            let enough = found.iter().sum::<u64>() + 20 + 7 * round;
            while told.iter().map(|told| told.load(Ordering::Acquire)).sum::<u64>() < enough {
                std::thread::yield_now();
            }
            expected = std::array::from_fn(|kind| told[kind].load(Ordering::Acquire));
            let next = disk.crash();
            log.close();
            next
        });
    }
}

#[test]
fn all_who_wait_hear_that_the_log_has_failed() {
    let options = options(std::path::Path::new("unused"), Backend::Auto);
    let disk = SimDisk::new(5);
    let log = Log::open_on(Arc::new(disk.clone()), &options, None, &mut |_| Ok(())).unwrap();
    disk.fail_write(9, SimFault::Sync);
    std::thread::scope(|scope| {
        let wait = || (0..).find_map(|_| log.append_durable(1, &[b"waits"]).err()).unwrap();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(wait)).collect();
        for thread in threads {
            assert!(matches!(thread.join().unwrap(), LogFault::Io { operation: "sync", .. }));
        }
    });
}

#[test]
fn nobody_waits_for_a_thread_that_a_callback_has_killed() {
    let options = options(std::path::Path::new("unused"), Backend::Auto);
    let log = Log::open_on(Arc::new(SimDisk::new(6)), &options, None, &mut |_| Ok(())).unwrap();
    let (go_on, held) = channel::<()>();
    log.append(1, &[b"holds up"], Box::new(move |_| held.recv().unwrap())).unwrap();
    log.append(1, &[b"kills"], Box::new(|_| panic!("a callback of this test"))).unwrap();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| log.append_durable(1, &[b"waits"]))).collect();
        while log.stats().records < 10 {
            std::thread::yield_now();
        }
        go_on.send(()).unwrap();
        for thread in threads {
            // One who wrote his group himself may have had it on the disk by then.
            assert!(matches!(thread.join().unwrap(), Ok(_) | Err(LogFault::Closed)));
        }
    });
    assert_eq!(log.append_durable(1, &[b"late"]), Err(LogFault::Closed));
}

#[test]
fn the_records_of_a_kind_are_found_from_any_position_on() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path(), Backend::Auto);
    let (log, _) = open(&options, None);
    let mut records = fill(&log, 5, 300);
    drop(log);
    let (log, _) = open(&options, None);
    // Rebuilt from what a start finds as from what it wrote itself.
    records.extend(fill(&log, 6, 100));
    assert!(log.next_position().segment > 3);
    for kind in [0, 3, 200, 255] {
        for from in (0..records.len()).step_by(37) {
            let from = records[from].position;
            let expected: Vec<_> = records.iter().filter(|r| r.kind == kind && r.position >= from).cloned().collect();
            let found: Result<Vec<_>, _> = log.records_of(kind, from).collect();
            assert_eq!(found.unwrap(), expected);
        }
    }
    let start = LogPosition::default();
    let released = log.release_before(2);
    assert_eq!(released, 2);
    let found: Result<Vec<_>, _> = log.records_of(3, start).collect();
    assert!(found.unwrap().iter().eq(records.iter().filter(|r| r.kind == 3 && r.position.segment >= 2)));
}

#[test]
fn records_of_a_kind_behind_damage_are_not_passed_over_in_silence() {
    let disk = SimDisk::new(2);
    let options = options(std::path::Path::new("unused"), Backend::Auto);
    let log = Log::open_on(Arc::new(disk.clone()), &options, None, &mut |_| Ok(())).unwrap();
    let records = fill(&log, 5, 200);
    let hit = records.iter().filter(|record| record.position.segment == 1).nth(5).unwrap();
    disk.flip(1, hit.position.offset as usize + 2, 4);
    let found: Vec<_> = log.records_of(255, LogPosition::default()).collect();
    assert!(matches!(found[..], [Err(LogError::Corrupt { segment: 1, .. })]), "{found:?}");
}
