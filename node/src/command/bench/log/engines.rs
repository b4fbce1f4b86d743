//! What makes a record durable: the log, RocksDB's write-ahead log, and a bare file. Each takes records of many threads at
//! once and returns when the record survives a power cut, as far as the disk tells the truth.
//!
//! RocksDB gets what is known to help it: a log that is preallocated and recycled, its own group commit, no compaction
//! and no compression beside it, hardware CRC where this build has it. Deliberately absent: reading back, which the
//! tests of `storage` do.

use rocksdb::{DB, Options, WriteOptions};
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use storage::log::{Log, LogError, LogFault, LogOptions, LogPosition};
use thiserror::Error;

/// Bytes of the bare file; writes go round in it. It is written once before, so that no write changes its metadata.
const FILE_BYTES: u64 = 64 << 20;
/// What RocksDB keeps in memory before it starts another write-ahead log.
const ROCKSDB_BUFFER_BYTES: usize = 128 << 20;

/// What the log is marked with.
pub const IDENTITY: [u8; 32] = [0x5e; 32];

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `storage::log`.
    Stele,
    /// A synced `put`.
    RocksDb,
    /// `pwrite` and `fdatasync`, of every writer for itself.
    File,
}

impl Kind {
    /// In the order of the tables.
    pub const ALL: [Self; 3] = [Self::Stele, Self::RocksDb, Self::File];

    /// As the JSON says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stele => "stele",
            Self::RocksDb => "rocksdb",
            Self::File => "file",
        }
    }
}

/// Why a record is not durable.
#[derive(Debug, Error)]
pub enum EngineFault {
    /// The log did not open.
    #[error("the log does not open")]
    Open(#[from] LogError),
    /// The log stopped.
    #[error("the log stopped")]
    Log(#[from] LogFault),
    /// RocksDB said no.
    #[error("RocksDB")]
    RocksDb(#[from] rocksdb::Error),
    /// The file said no.
    #[error("the file")]
    File(#[from] io::Error),
}

/// What a log says of the groups that it wrote since it was opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Groups {
    /// How many.
    pub count: u64,
    /// Their bytes, padding included.
    pub bytes: u64,
    /// Half of them became durable in so many microseconds,
    pub p50_us: u64,
    /// and 99 of 100 in so many.
    pub p99_us: u64,
    /// How the log writes.
    pub backend: &'static str,
    /// Whether past the page cache.
    pub direct: bool,
}

/// An open engine.
pub enum Engine {
    /// See [`Kind::Stele`]; the oldest segment that it keeps.
    Stele(Log, AtomicU64),
    /// See [`Kind::RocksDb`].
    RocksDb(DB, WriteOptions, AtomicU64),
    /// See [`Kind::File`].
    File(BareFile),
}

impl Engine {
    /// Makes one in a directory of its own; the log with so many groups on their way to the disk.
    pub fn open(kind: Kind, dir: &Path, groups_in_flight_max: u32) -> Result<Self, EngineFault> {
        Ok(match kind {
            Kind::Stele => {
                let options = LogOptions { groups_in_flight_max, ..LogOptions::new(dir, IDENTITY) };
                let log = Log::open(options, None, &mut |_| Ok(()))?;
                Self::Stele(log, AtomicU64::new(0))
            }
            Kind::RocksDb => {
                let mut options = Options::default();
                options.create_if_missing(true);
                options.set_write_buffer_size(ROCKSDB_BUFFER_BYTES);
                options.set_max_write_buffer_number(6);
                options.set_recycle_log_file_num(4);
                options.set_disable_auto_compactions(true);
                options.set_level_zero_slowdown_writes_trigger(i32::MAX);
                options.set_level_zero_stop_writes_trigger(i32::MAX);
                let mut write = WriteOptions::default();
                write.set_sync(true);
                Self::RocksDb(DB::open(&options, dir)?, write, AtomicU64::new(0))
            }
            Kind::File => Self::File(BareFile::make(&dir.join("file"))?),
        })
    }

    /// Makes a record durable.
    pub fn append(&self, payload: &[u8]) -> Result<(), EngineFault> {
        match self {
            Self::Stele(log, oldest) => give_back(log, oldest, log.append_durable(1, &[payload])?),
            Self::RocksDb(db, write, next) => {
                let key = next.fetch_add(1, Ordering::Relaxed).to_be_bytes();
                db.put_opt(key, payload, write)?;
            }
            Self::File(file) => file.append(payload)?,
        }
        Ok(())
    }

    /// Makes a record durable without waiting: `done` hears of it. Nothing but the log can do that.
    pub fn start(&self, payload: &[u8], done: impl FnOnce(Result<(), EngineFault>) + Send + 'static) {
        if let Self::Stele(log, oldest) = self {
            let done = move |result: Result<LogPosition, LogFault>| done(result.map(drop).map_err(EngineFault::from));
            // A refusal is told to `done` as well.
            if let Ok(position) = log.append(1, &[payload], Box::new(done)) {
                give_back(log, oldest, position);
            }
        }
    }

    /// What the log says of its groups; nothing of the others.
    pub fn groups(&self) -> Option<Groups> {
        let Self::Stele(log, _) = self else { return None };
        let stats = log.stats();
        Some(Groups {
            count: stats.groups,
            bytes: stats.bytes,
            p50_us: stats.sync_p50_us,
            p99_us: stats.sync_p99_us,
            backend: stats.backend,
            direct: stats.direct,
        })
    }
}

/// As RocksDB writes its log again once it is full, so is this one: what lies before this record is not needed.
fn give_back(log: &Log, oldest: &AtomicU64, position: LogPosition) {
    if oldest.fetch_max(position.segment, Ordering::Relaxed) < position.segment {
        log.release_before(position.segment);
    }
}

/// A file that is there already, with `pwrite` and `fdatasync`.
#[derive(Debug)]
pub struct BareFile {
    file: File,
    next: AtomicU64,
}

impl BareFile {
    /// Makes it and fills it.
    pub fn make(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        let zeroes = vec![0; 1 << 20];
        for place in (0..FILE_BYTES).step_by(zeroes.len()) {
            file.write_all_at(&zeroes, place)?;
        }
        file.sync_all()?;
        Ok(Self { file, next: AtomicU64::new(0) })
    }

    /// Writes the bytes behind the last ones and waits until they are durable.
    pub fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let room = FILE_BYTES / (bytes.len() as u64).max(1);
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % room.max(1);
        self.file.write_all_at(bytes, turn * bytes.len() as u64)?;
        self.file.sync_data()
    }
}
