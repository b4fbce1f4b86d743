//! Groups that a thread writes itself, with a blocking call: a caller that waits, or the writer's thread where it has nothing
//! else to do. Over the simulated disk with an eye on who writes, and over files.

use std::io::{self, PipeReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use storage::log::buffer::PageBuffer;
use storage::log::io::{LogDisk, LogIo, SegmentReader, Write};
use storage::log::{Backend, Log, LogFault, LogOptions};
use storage::sim::{SimDisk, SimFault, SimRng};

/// Runs on the thread that writes a group itself, before it does.
type Hook = Box<dyn FnMut() + Send>;

/// A simulated disk that tells when a thread writes itself.
struct Watched {
    disk: SimDisk,
    hook: Mutex<Hook>,
}

impl SegmentReader for Watched {
    fn segments(&self) -> io::Result<Vec<u64>> {
        self.disk.segments()
    }

    fn length(&self, segment: u64) -> io::Result<u64> {
        self.disk.length(segment)
    }

    fn read(&self, segment: u64, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.disk.read(segment, offset, into)
    }
}

impl LogDisk for Watched {
    fn create(&self, segment: u64, header: &[u8], bytes: u64) -> io::Result<()> {
        self.disk.create(segment, header, bytes)
    }

    fn recycle(&self, from: u64, segment: u64, header: &[u8], bytes: u64) -> io::Result<()> {
        self.disk.recycle(from, segment, header, bytes)
    }

    fn settle(&self, from: u64) -> io::Result<()> {
        self.disk.settle(from)
    }

    fn remove(&self, segment: u64) -> io::Result<()> {
        self.disk.remove(segment)
    }

    fn open_io(&self, buffers: &[Arc<PageBuffer>], depth: u32, wake: PipeReader) -> io::Result<Box<dyn LogIo>> {
        self.disk.open_io(buffers, depth, wake)
    }

    fn write(&self, write: Write) -> Result<(), LogFault> {
        (self.hook.lock().unwrap_or_else(PoisonError::into_inner))();
        self.disk.write(write)
    }

    fn direct(&self) -> bool {
        self.disk.direct()
    }
}

fn options(groups_in_flight_max: u32) -> LogOptions {
    let mut options = LogOptions::new("unused", [1; 32]);
    options.segment_bytes = 256 << 10;
    options.group_bytes_max = 32 << 10;
    options.queue_bytes_max = 128 << 10;
    options.groups_in_flight_max = groups_in_flight_max;
    options
}

/// With two groups on their way the writer's thread leaves all of its own to the disk.
fn open(disk: &SimDisk, hook: impl FnMut() + Send + 'static) -> Log {
    open_with(2, disk, hook)
}

fn open_with(groups: u32, disk: &SimDisk, hook: impl FnMut() + Send + 'static) -> Log {
    let watched = Watched { disk: disk.clone(), hook: Mutex::new(Box::new(hook)) };
    Log::open_on(Arc::new(watched), &options(groups), None, &mut |_| Ok(())).unwrap()
}

#[test]
fn one_who_waits_alone_writes_and_callbacks_are_never_his() {
    let (wrote, writers) = channel();
    let log = open(&SimDisk::new(1), move || wrote.send(thread::current().id()).unwrap());
    for number in 0..100u64 {
        log.append_durable(1, &[&number.to_le_bytes()]).unwrap();
        assert_eq!(writers.try_iter().collect::<Vec<_>>(), [thread::current().id()]);
        let (told, answer) = channel();
        let done = move |result| told.send((result, thread::current().id())).unwrap();
        let position = log.append(1, &[b"called back"], Box::new(done));
        let (result, by) = answer.recv().unwrap();
        assert_eq!(result, position);
        assert_ne!(by, thread::current().id());
        assert_eq!(writers.try_iter().count(), 0);
    }
    assert!(log.stats().syncs >= 200 && log.stats().groups >= 200, "{:?}", log.stats());
}

#[test]
fn of_many_who_wait_most_share_groups() {
    let wrote = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&wrote);
    let log = open(&SimDisk::new(2), move || {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    thread::scope(|scope| {
        for kind in 0..32 {
            let log = &log;
            scope.spawn(move || (0..200).all(|_| log.append_durable(kind, &[&[0; 700]]).is_ok()));
        }
    });
    let (wrote, stats) = (wrote.load(Ordering::Relaxed), log.stats());
    assert_eq!(stats.records, 32 * 200);
    assert!(stats.groups < stats.records && wrote < stats.records / 2, "{wrote} {stats:?}");
}

#[test]
fn one_who_waits_returns_after_the_callbacks_of_what_came_before() {
    // The second caller keeps groups on their way, so that the first one's overtake each other.
    let log = open(&SimDisk::new(3), thread::yield_now);
    let told = Arc::new(AtomicU64::new(0));
    thread::scope(|scope| {
        let other = scope.spawn(|| (0..3000).all(|_| log.append_durable(2, &[b"beside"]).is_ok()));
        for number in 1..=3000u64 {
            let told_now = Arc::clone(&told);
            let done = move |_| {
                for _ in 0..number % 4 {
                    thread::yield_now();
                }
                told_now.store(number, Ordering::Release);
            };
            log.append(1, &[b"called back"], Box::new(done)).unwrap();
            if number.is_multiple_of(3) {
                thread::yield_now();
            }
            log.append_durable(1, &[b"waited for"]).unwrap();
            assert_eq!(told.load(Ordering::Acquire), number);
        }
        assert!(other.join().unwrap());
    });
}

#[test]
fn on_a_quiet_log_the_thread_that_calls_back_writes() {
    let (wrote, writers) = channel();
    let log = open_with(1, &SimDisk::new(8), move || wrote.send(thread::current().id()).unwrap());
    for number in 0..100u64 {
        let (told, answer) = channel();
        let done = move |result| told.send((result, thread::current().id())).unwrap();
        let position = log.append(1, &[&number.to_le_bytes()], Box::new(done));
        let (result, by) = answer.recv().unwrap();
        assert_eq!(result, position);
        assert_eq!(writers.try_iter().collect::<Vec<_>>(), [by]);
    }
    assert_eq!((log.stats().syncs, log.stats().groups), (100, 100));
}

#[test]
fn what_comes_while_the_log_writes_itself_is_one_group_and_a_fault_in_it_is_heard_by_all() {
    let disk = SimDisk::new(9);
    // Dropped last: a test that fails lets go of a write that is held.
    let log;
    let ((wrote, writing), (go_on, held)) = (channel(), channel::<()>());
    let hook = move || {
        wrote.send(()).unwrap();
        let _ = held.recv();
    };
    log = open_with(1, &disk, hook);
    let (told, answers) = channel();
    let append = |name: &'static str| {
        let told = told.clone();
        log.append(1, &[name.as_bytes()], Box::new(move |result| told.send((name, result)).unwrap())).unwrap()
    };
    let held_up = append("held up");
    writing.recv().unwrap();
    let behind = [append("behind"), append("behind it")];
    thread::scope(|scope| {
        let waits = scope.spawn(|| log.append_durable(1, &[b"waits"]));
        while log.stats().records < 4 {
            thread::yield_now();
        }
        assert!(!waits.is_finished() && answers.try_recv().is_err());
        go_on.send(()).unwrap();
        assert_eq!(answers.recv().unwrap(), ("held up", Ok(held_up)));
        // There was something to tell, so the three behind it went by the disk's own path.
        assert_eq!(answers.recv().unwrap(), ("behind", Ok(behind[0])));
        assert_eq!(answers.recv().unwrap(), ("behind it", Ok(behind[1])));
        assert!(waits.join().unwrap().is_ok());
    });
    assert_eq!((log.stats().groups, writing.try_iter().count()), (2, 0));
    append("fails");
    writing.recv().unwrap();
    append("hears of it");
    disk.fail_write(0, SimFault::Sync);
    go_on.send(()).unwrap();
    let fault = Err(LogFault::Io { operation: "sync", os: Some(libc::EIO) });
    assert_eq!(answers.recv().unwrap(), ("fails", fault));
    assert_eq!(answers.recv().unwrap(), ("hears of it", fault));
    assert_eq!(log.append_durable(1, &[b"later"]), fault);
}

#[test]
fn what_comes_while_a_caller_writes_is_written_and_a_close_waits_for_him() {
    let ((wrote, writing), (go_on, held)) = (channel(), channel::<()>());
    let hook = move || {
        wrote.send(()).unwrap();
        held.recv().unwrap();
    };
    let log = open(&SimDisk::new(4), hook);
    thread::scope(|scope| {
        let caller = scope.spawn(|| log.append_durable(1, &[b"held up"]));
        writing.recv().unwrap();
        let (told, answer) = channel();
        let position = log.append(1, &[b"behind"], Box::new(move |result| told.send(result).unwrap()));
        let closer = scope.spawn(|| log.close());
        while log.fault().is_none() {
            thread::yield_now();
        }
        assert!(!caller.is_finished() && !closer.is_finished() && answer.try_recv().is_err());
        go_on.send(()).unwrap();
        assert!(caller.join().unwrap().is_ok());
        assert_eq!(answer.recv().unwrap(), position);
        closer.join().unwrap();
    });
    assert_eq!(log.append_durable(1, &[b"late"]), Err(LogFault::Closed));
}

#[test]
fn a_caller_that_dies_while_it_writes_ends_the_log_for_all() {
    let ((wrote, writing), (go_on, held)) = (channel(), channel::<()>());
    let mut first = true;
    let hook = move || {
        // One of those who wait may write beside him; that is too late.
        if std::mem::take(&mut first) {
            wrote.send(()).unwrap();
            held.recv().unwrap();
            panic!("a disk of this test");
        }
    };
    let log = open(&SimDisk::new(5), hook);
    thread::scope(|scope| {
        let dies = scope.spawn(|| catch_unwind(AssertUnwindSafe(|| log.append_durable(1, &[b"dies"]))).is_err());
        writing.recv().unwrap();
        let (told, answer) = channel();
        log.append(1, &[b"called back"], Box::new(move |result| told.send(result).unwrap())).unwrap();
        let waits: Vec<_> = (0..4).map(|_| scope.spawn(|| log.append_durable(1, &[b"waits"]))).collect();
        while log.stats().records < 6 {
            thread::yield_now();
        }
        go_on.send(()).unwrap();
        assert!(dies.join().unwrap());
        assert_eq!(answer.recv().unwrap(), Err(LogFault::Closed));
        for thread in waits {
            assert_eq!(thread.join().unwrap(), Err(LogFault::Closed));
        }
    });
    assert_eq!(log.fault(), Some(LogFault::Closed));
}

#[test]
fn a_write_that_fails_is_heard_of_by_its_caller_and_by_all_behind_him() {
    let disk = SimDisk::new(6);
    let ((wrote, writing), (go_on, held)) = (channel(), channel::<()>());
    let hook = move || {
        wrote.send(()).unwrap();
        held.recv().unwrap();
    };
    let log = open(&disk, hook);
    thread::scope(|scope| {
        let caller = scope.spawn(|| log.append_durable(1, &[b"fails"]));
        writing.recv().unwrap();
        let (told, answer) = channel();
        // It is on the disk before, and still not acknowledged.
        log.append(1, &[b"behind"], Box::new(move |result| told.send(result).unwrap())).unwrap();
        while log.stats().groups == 0 {
            thread::yield_now();
        }
        disk.fail_write(0, SimFault::Sync);
        go_on.send(()).unwrap();
        let fault = Err(LogFault::Io { operation: "sync", os: Some(libc::EIO) });
        assert_eq!(caller.join().unwrap(), fault);
        assert_eq!(answer.recv().unwrap(), fault);
        assert_eq!(log.append_durable(1, &[b"later"]), fault);
    });
}

#[test]
fn a_power_cut_loses_nothing_that_few_callers_were_told() {
    let mut disk = SimDisk::new(7);
    let mut told = [0u64; 2];
    for round in 0..40u64 {
        let mut found = [0u64; 2];
        let mut visit = |record: storage::log::Record| {
            let found = &mut found[usize::from(record.kind)];
            assert_eq!(record.payload[..8], found.to_le_bytes());
            *found += 1;
            Ok(())
        };
        let groups = 1 + u32::from(round.is_multiple_of(2));
        let log = Log::open_on(Arc::new(disk.clone()), &options(groups), None, &mut visit).unwrap();
        assert!(found.iter().zip(&told).all(|(found, told)| found >= told), "{round}: {found:?} {told:?}");
        let counts = found.map(AtomicU64::new);
        disk = thread::scope(|scope| {
            for (kind, count) in (0..).zip(&counts) {
                let log = &log;
                scope.spawn(move || {
                    let number = || count.load(Ordering::Relaxed);
                    while log.append_durable(kind, &[&number().to_le_bytes(), &[0; 700]]).is_ok() {
                        count.fetch_add(1, Ordering::Release);
                    }
                });
            }
            let sum = || counts.iter().map(|count| count.load(Ordering::Acquire)).sum::<u64>();
            let enough = sum() + 10 + round;
            while sum() < enough {
                thread::yield_now();
            }
            told = std::array::from_fn(|kind| counts[kind].load(Ordering::Acquire));
            let next = disk.crash();
            log.close();
            next
        });
    }
    let coverage = disk.coverage();
    assert!(coverage.dropped > 0 && coverage.torn > 0 && coverage.kept > 0, "{coverage:?}");
}

#[test]
fn files_hold_what_callers_and_callbacks_wrote_side_by_side() {
    for (backend, dsync_bytes_max, groups) in [
        (Backend::IoUring, 1 << 20, 2),
        (Backend::IoUring, 1 << 20, 1),
        (Backend::IoUring, 0, 2),
        (Backend::Threaded, 1 << 20, 2),
        (Backend::Threaded, 4096, 1),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let options = LogOptions { dir: dir.path().to_owned(), backend, dsync_bytes_max, ..options(groups) };
        let log = Log::open(options.clone(), None, &mut |_| Ok(())).unwrap();
        let records = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for kind in 0..3u8 {
                let (log, records) = (&log, &records);
                scope.spawn(move || {
                    let mut rng = SimRng::new(kind.into());
                    for _ in 0..100 {
                        let bytes = if rng.below(30) == 0 { 100_000 } else { rng.below(9000) };
                        let payload: Vec<u8> = (0..bytes).map(|_| rng.next_u64() as u8).collect();
                        // One of the three never waits.
                        let position = match kind {
                            0 => log.append_quiet(kind, &[&payload]),
                            _ => log.append_durable(kind, &[&payload]),
                        };
                        records.lock().unwrap().push((position.unwrap(), kind, payload));
                    }
                });
            }
        });
        drop(log);
        let mut expected = records.into_inner().unwrap();
        expected.sort_by_key(|record| record.0);
        let mut found = Vec::new();
        let mut visit = |record: storage::log::Record| {
            found.push((record.position, record.kind, record.payload.to_vec()));
            Ok(())
        };
        drop(Log::open(options, None, &mut visit).unwrap());
        assert!(found == expected, "{backend:?} {dsync_bytes_max}");
    }
}
