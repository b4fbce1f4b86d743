//! The segmented append log: the only durable record of a node. Callers append records and hear when they, and all
//! before them, are durable; a start reads them back in order.
//!
//! Deliberately absent: what records mean, stored indexes, compaction. Files of this folder, from the disk upwards:
//! `format` (bytes), `io` (backends), `files` (segments), `scan` (recovery), `check` (what is damaged), `kinds` (where
//! records of a kind lie), `reader` (beside the writer's process), `writer` (the decisions), `driver` (threads), `lead`
//! (callers that write), `scrub` (what is damaged, beside the writer).

pub mod buffer;
pub mod check;
mod driver;
mod error;
mod files;
pub mod format;
mod gate;
pub mod io;
mod kinds;
mod lead;
mod position;
mod read_ahead;
mod reader;
pub mod scan;
mod scrub;
mod stats;
mod turns;
mod window;
pub mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU32;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;

use driver::{Core, Done, Shared};
pub use error::{LogError, LogFault};
use files::FileDisk;
pub use files::Files;
use format::{PAGE, SegmentHeader};
use io::{LogDisk, Waker};
pub use kinds::RecordsOf;
pub use position::LogPosition;
pub use reader::{LogReader, ReadRecords};
pub use stats::LogStats;
use writer::{Limits, Tail, Writer};

/// What a visitor of [`Log::open`] may answer to refuse a record.
pub type VisitError = Box<dyn std::error::Error + Send + Sync>;

/// How the log writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// io_uring if the kernel allows it, else blocking calls. Also with io_uring a thread that would only wait for its group writes it
    /// with a blocking call.
    #[default]
    Auto,
    /// io_uring or an error.
    IoUring,
    /// Blocking calls on the writer's thread.
    Threaded,
}

/// Where and how a log is kept.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Directory of its own.
    pub dir: PathBuf,
    /// Chain and node; written into each segment, and another one is refused.
    pub identity: [u8; 32],
    /// Bytes of a segment: a multiple of 4096 from 16 KiB to 4 GiB. Default 16 MiB.
    pub segment_bytes: u64,
    /// How to write.
    pub backend: Backend,
    /// Groups on their way to the disk at the same time, 1 to 64. Default 1: a disk that ends one flush after the other makes the
    /// second wait for the first, and what waits in memory instead becomes one larger group. More are for a disk that flushes
    /// side by side.
    pub groups_in_flight_max: u32,
    /// While groups of so many bytes are on their way, no other one follows: they keep the disk busy, and behind them it would
    /// only wait. At least 1. Default 1 MiB.
    pub bytes_in_flight_max: u64,
    /// Bytes of a group, 4 KiB to 16 MiB. Default 1 MiB.
    pub group_bytes_max: u32,
    /// Bytes accepted and not durable; `append` waits above it. Default 8 MiB.
    pub queue_bytes_max: u64,
    /// Groups up to this size may be one synchronous write (`RWF_DSYNC`), where that is found to be faster than a write
    /// and a linked `fdatasync`: on an idle machine, or a disk with FUA. Larger ones are always the latter. Of what goes
    /// through the ring only; what a thread writes itself is always a synchronous write up to this size. Bytes.
    /// Default 1 MiB; 0 is always an `fdatasync`.
    pub dsync_bytes_max: u32,
    /// Segments made ahead, at least 1. Default 2.
    pub spare_segments: u32,
    /// How long to wait for a process that still holds the directory, milliseconds. Default 5000.
    pub lock_wait_ms: u32,
}

impl LogOptions {
    /// The defaults for a directory and an identity.
    pub fn new(dir: impl AsRef<Path>, identity: [u8; 32]) -> Self {
        Self {
            dir: dir.as_ref().to_owned(),
            identity,
            segment_bytes: 16 << 20,
            backend: Backend::Auto,
            groups_in_flight_max: 1,
            bytes_in_flight_max: 1 << 20,
            group_bytes_max: 1 << 20,
            queue_bytes_max: 8 << 20,
            dsync_bytes_max: 1 << 20,
            spare_segments: 2,
            lock_wait_ms: 5000,
        }
    }

    fn check(&self) -> Result<(), LogError> {
        let segment_ok = (16 << 10..=1 << 32).contains(&self.segment_bytes);
        let checks = [
            ("segment_bytes", segment_ok && self.segment_bytes.is_multiple_of(PAGE as u64)),
            ("groups_in_flight_max", (1..=64).contains(&self.groups_in_flight_max)),
            ("bytes_in_flight_max", self.bytes_in_flight_max >= 1),
            ("group_bytes_max", (4 << 10..=16 << 20).contains(&self.group_bytes_max)),
            ("spare_segments", self.spare_segments >= 1),
        ];
        let bad = checks.into_iter().find(|(_, ok)| !ok);
        bad.map_or(Ok(()), |(option, _)| Err(LogError::Option { option }))
    }
}

/// A record read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it lies.
    pub position: LogPosition,
    /// The caller's tag.
    pub kind: u8,
    /// The caller's bytes.
    pub payload: Bytes,
}

/// An open log. All methods may be called from any thread; records of one thread keep their order.
///
/// Dropping it writes what was accepted and ends its threads.
pub struct Log {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    first: LogPosition,
    /// Read by any thread; what it holds can be read again.
    kinds: Mutex<kinds::Kept>,
}

impl Log {
    /// Locks the directory, shows `visit` every record from segment `from` on (all that are kept if `None`), in order
    /// and with the memory of one group, cuts a torn tail and starts to accept.
    pub fn open(
        options: LogOptions,
        from: Option<u64>,
        visit: &mut dyn FnMut(Record) -> Result<(), VisitError>,
    ) -> Result<Self, LogError> {
        options.check()?;
        let wait = Duration::from_millis(options.lock_wait_ms.into());
        let disk = FileDisk::open(&options.dir, options.backend, options.dsync_bytes_max, wait)?;
        Self::open_on(Arc::new(disk), &options, from, visit)
    }

    /// As [`Log::open`], on a disk that is not the directory of `options`: the simulated one.
    pub fn open_on(
        disk: Arc<dyn LogDisk>,
        options: &LogOptions,
        from: Option<u64>,
        visit: &mut dyn FnMut(Record) -> Result<(), VisitError>,
    ) -> Result<Self, LogError> {
        options.check()?;
        disk.settle(from.unwrap_or(0)).map_err(LogError::io("sync the log before reading it"))?;
        let resume = Resume::new(disk.as_ref(), options, from, visit)?;
        let limits = Limits {
            segment_bytes: options.segment_bytes,
            groups_in_flight_max: options.groups_in_flight_max,
            bytes_in_flight_max: options.bytes_in_flight_max,
            group_bytes_max: options.group_bytes_max,
            queue_bytes_max: options.queue_bytes_max,
        };
        let mut writer = Writer::new(limits, format::identity_tag(&options.identity), resume.tail);
        let first = writer.next_position();
        for segment in resume.tail.segment + 1..resume.next_segment {
            writer.segment_ready(segment, options.segment_bytes);
        }
        let (waker, wake) = Waker::new().map_err(LogError::io("make a pipe"))?;
        let mut counters = stats::Counters::new();
        counters.stats.direct = disk.direct();
        let core = Core {
            writer,
            counters,
            finished: Vec::new(),
            telling: false,
            asleep: false,
            closing: false,
            next_segment: resume.next_segment,
            oldest: resume.oldest,
            release_before: 0,
        };
        let shared = Arc::new(Shared {
            core: Mutex::new(core),
            room: Condvar::new(),
            work: Condvar::new(),
            waker,
            callers: AtomicU32::new(0),
            disk,
            identity: options.identity,
            segment_bytes: options.segment_bytes,
            spares_wanted: options.spare_segments as usize,
            groups_in_flight_max: options.groups_in_flight_max,
        });
        Self::start(shared, wake, first)
    }

    fn start(shared: Arc<Shared>, wake: std::io::PipeReader, first: LogPosition) -> Result<Self, LogError> {
        let (sender, started) = sync_channel(1);
        let for_writer = Arc::clone(&shared);
        let write = move || driver::write_groups(for_writer, wake, &sender);
        let writer = thread::Builder::new()
            .name("log-writer".into())
            .spawn(write)
            .map_err(LogError::io("start the thread of the log"))?;
        let log = Self { shared, threads: Mutex::new(vec![writer]), first, kinds: Mutex::default() };
        let backend = started
            .recv()
            .unwrap_or_else(|_| Err(std::io::Error::other("the writer's thread died")))
            .map_err(LogError::io("set up the write path of the log"))?;
        log.shared.lock().counters.stats.backend = backend;
        let for_maker = Arc::clone(&log.shared);
        let maker = thread::Builder::new()
            .name("log-segments".into())
            .spawn(move || driver::make_segments(&for_maker))
            .map_err(LogError::io("start the thread of the log"))?;
        log.threads.lock().unwrap_or_else(PoisonError::into_inner).push(maker);
        Ok(log)
    }

    /// Appends a record made of `parts`, in order, and says where it will lie. Waits while the queue is full.
    ///
    /// `done` runs exactly once: on the writer's thread when this record and all earlier ones are durable or never
    /// will be, or here if the record is refused. It must be quick and must not append.
    pub fn append(
        &self,
        kind: u8,
        parts: &[&[u8]],
        done: Box<dyn FnOnce(Result<LogPosition, LogFault>) + Send>,
    ) -> Result<LogPosition, LogFault> {
        let mut done = Some(Done::Call(done));
        let result = self.shared.append(kind, parts, &mut done);
        if let (Err(_), Some(done)) = (&result, done) {
            done.tell(result);
        }
        result
    }

    /// Appends a record without asking when it is durable: the next record with a callback says it for this one too.
    pub fn append_quiet(&self, kind: u8, parts: &[&[u8]]) -> Result<LogPosition, LogFault> {
        self.shared.append(kind, parts, &mut None)
    }

    /// Appends a record and waits until it, and all before it, is durable. Not for the callback of another record.
    ///
    /// While few wait, this thread writes the record itself. It then has short turns on the processor from that time on, as the
    /// writer's thread has: on a busy machine it would wait for the disk a tick of the clock longer.
    ///
    /// # Errors
    /// Why it is refused, or never will be durable.
    pub fn append_durable(&self, kind: u8, parts: &[&[u8]]) -> Result<LogPosition, LogFault> {
        self.shared.append_durable(kind, parts)
    }

    /// Reads a record that was appended, durable or not. Its checksum is bound to its position, so bytes of another
    /// record are never taken for it. The payload is the memory that the disk wrote to, up to 16 KiB of other records
    /// included: keep a copy of what is kept for long.
    pub fn read(&self, position: LogPosition) -> Result<Record, LogError> {
        {
            let core = self.shared.lock();
            if position.segment < core.release_before.max(core.oldest) {
                return Err(LogError::Released(position));
            }
            if let Some((kind, payload)) = core.writer.pending(position) {
                return Ok(Record { position, kind, payload: payload.into() });
            }
            if position >= core.writer.next_position() {
                return Err(LogError::NoRecord(position));
            }
        }
        let disk = &self.shared.disk;
        let bytes = disk.length(position.segment).map_err(LogError::io("measure a segment"))?;
        reader::record_in(position, bytes, |offset, count| disk.read_shared(position.segment, offset, count))
    }

    /// Gives up all segments before `segment`, but never the one that a start has to begin with. They are reused or
    /// removed in the background, reads of them fail from now on. Returns the oldest segment that is kept.
    pub fn release_before(&self, segment: u64) -> u64 {
        let mut core = self.shared.lock();
        let kept = segment.min(core.writer.durable_segment()).max(core.release_before).max(core.oldest);
        let before = std::mem::replace(&mut core.release_before, kept);
        drop(core);
        if kept > before {
            self.shared.work.notify_one();
        }
        kept
    }

    /// The oldest segment that is kept.
    pub fn oldest_segment(&self) -> u64 {
        let core = self.shared.lock();
        core.release_before.max(core.oldest)
    }

    /// Why nothing more is accepted, if so.
    pub fn fault(&self) -> Option<LogFault> {
        self.shared.lock().writer.fault()
    }

    /// Where the first group after this start lies: everything before it was shown to the visitor.
    pub fn first_position(&self) -> LogPosition {
        self.first
    }

    /// Place after everything appended so far.
    pub fn next_position(&self) -> LogPosition {
        self.shared.lock().writer.next_position()
    }

    /// Counters since the start.
    pub fn stats(&self) -> LogStats {
        let core = self.shared.lock();
        LogStats {
            queued_bytes: core.writer.queued_bytes(),
            spare_segments: u32::try_from(core.writer.spares()).unwrap_or(u32::MAX),
            ..core.counters.snapshot()
        }
    }

    /// Writes what was accepted, then ends the threads. Later appends get [`LogFault::Closed`].
    pub fn close(&self) {
        self.shared.refuse(LogFault::Closed);
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // The last owner may be a callback on the writer's thread, which then ends by itself.
            if thread.thread().id() != thread::current().id() && thread.join().is_err() {
                tracing::error!("a thread of the log panicked");
            }
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("next", &self.next_position()).finish_non_exhaustive()
    }
}

/// What a start found or made.
struct Resume {
    tail: Tail,
    oldest: u64,
    next_segment: u64,
}

impl Resume {
    fn new(
        disk: &dyn LogDisk,
        options: &LogOptions,
        from: Option<u64>,
        visit: &mut dyn FnMut(Record) -> Result<(), VisitError>,
    ) -> Result<Self, LogError> {
        let bytes = options.segment_bytes;
        let make = |segment| {
            let header = SegmentHeader { identity: options.identity, segment, bytes };
            disk.create(segment, &header.to_page(), bytes).map_err(|source| match io::fault("", &source) {
                LogFault::DiskFull => LogError::DiskFull { bytes },
                _ => LogError::Io { operation: "make a segment", source },
            })
        };
        let (tail, oldest, spares) = match scan::scan(disk, &options.identity, from, visit)? {
            None => {
                make(0)?;
                let offset = PAGE as u32;
                (Tail { segment: 0, segment_bytes: bytes, offset, sequence: 0, crc: 0, incarnation: 1 }, 0, None)
            }
            Some(found) => {
                let records = found.records;
                tracing::info!(records, end = ?found.tail, cut = found.cut, "log read back");
                (found.tail, found.oldest, found.spares)
            }
        };
        let mut next_segment = tail.segment + 1;
        if let Some((first, last)) = spares {
            let length = |segment| disk.length(segment).map_err(LogError::io("measure a segment"));
            let usable = (first..=last).try_fold(true, |usable, segment| Ok(usable && length(segment)? == bytes))?;
            if usable {
                next_segment = last + 1;
            } else {
                for segment in (first..=last).rev() {
                    disk.remove(segment).map_err(LogError::io("remove a segment of another size"))?;
                }
            }
        }
        if next_segment == tail.segment + 1 {
            // Met here, a full disk is a clear answer; later it would stop a running node.
            make(next_segment)?;
            next_segment += 1;
        }
        Ok(Self { tail, oldest, next_segment })
    }
}
