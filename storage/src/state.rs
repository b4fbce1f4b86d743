//! RocksDB for what can be rebuilt from the log: state, receipts, indexes and the applied position.
//!
//! Its own log is off and all families flush together, so after a crash the database is exactly as after some earlier
//! commit; the caller replays from the applied position that it finds there. Deliberately absent: a way to flush one
//! family alone (it would tear state from `applied`), meanings of keys and values, caching of values.

mod batch;
mod checksums;
mod error;
mod family;
mod snapshot;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

pub use batch::StateBatch;
pub use error::StateError;
pub use family::Family;
use rocksdb::{
    Cache, ColumnFamily, ColumnFamilyDescriptor, DB, FlushOptions, IteratorMode, LogLevel, Options, ReadOptions,
    ReadTier, WriteOptions,
};
pub use snapshot::StateSnapshot;

const IDENTITY_KEY: &[u8] = b"identity";
/// Name of the lock file in the directory of a database, and of the folder with its files.
const LOCK: &str = "LOCK";
const FILES: &str = "rocksdb";
/// What RocksDB says while this process is still closing a database that lay in the same place.
const HELD_HERE: &str = "lock hold by current process";

/// How much memory and how many threads a database may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateOptions {
    /// Blocks, indexes and filters, bytes. Default 64 MiB.
    pub block_cache_bytes: usize,
    /// Changes that are not flushed yet, all families together, bytes. While a flush runs it may be passed by half.
    /// Default 64 MiB.
    pub write_buffer_bytes: usize,
    /// Threads for flushes and compactions. Default 2.
    pub background_threads: u32,
}

impl Default for StateOptions {
    fn default() -> Self {
        Self { block_cache_bytes: 64 << 20, write_buffer_bytes: 64 << 20, background_threads: 2 }
    }
}

/// Order of an iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Ascending keys.
    Forward,
    /// Descending keys.
    Reverse,
}

/// Figures of a database, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateStats {
    /// Bytes in memtables.
    pub memtable_bytes: u64,
    /// Bytes in the block cache.
    pub cache_bytes: u64,
    /// Bytes that compaction has still to rewrite.
    pub pending_compaction_bytes: u64,
    /// Bytes of files.
    pub disk_bytes: u64,
    /// Whether writes are being held back.
    pub stalled: bool,
}

/// See [`StateDb::hold`].
#[derive(Debug)]
pub struct StateLock(#[expect(dead_code, reason = "it is held, not used")] File);

/// An open database. Reads may come from any thread; commits become visible in the order they are made.
pub struct StateDb {
    db: DB,
    cache: Cache,
    /// Commits write no log of their own.
    write: WriteOptions,
    /// Held for as long as the database is open; its content says whose it is.
    lock: File,
}

impl StateDb {
    /// Opens, or makes, the database of `identity` in `path`.
    pub fn open(path: impl AsRef<Path>, identity: [u8; 32], options: StateOptions) -> Result<Self, StateError> {
        let path = path.as_ref();
        let io = |operation| move |source| StateError::Io { operation, source };
        fs::create_dir_all(path).map_err(io("make the directory of the state"))?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join(LOCK))
            .map_err(io("open the lock file of the state"))?;
        hold(&lock, path)?;
        // Opening a database changes its files, so whose it is stands in the lock file as well. One that is empty or torn
        // says nothing; the database does.
        let mut owner = Vec::new();
        lock.read_to_end(&mut owner).map_err(io("read the lock file of the state"))?;
        let known = owner == identity;
        if !known && owner.len() == identity.len() {
            // The lock file has no checksum. The database has, and to read it changes nothing in it.
            let read = lock.try_clone().map_err(io("read the lock file of the state"))?;
            Self::read_only(path, identity, read).map_err(|error| match error {
                other @ StateError::OtherIdentity { .. } => other,
                _ => StateError::OtherIdentity { expected: identity, found: owner },
            })?;
        }
        let cache = cache(&options);
        let opened = DB::open_cf_descriptors(&database_options(&options), path.join(FILES), families(&cache, &options));
        let closing = |error: &rocksdb::Error| error.as_ref().contains(HELD_HERE);
        let db = opened
            .map_err(|error| if closing(&error) { StateError::InUse { dir: path.to_owned() } } else { error.into() })?;
        let database = Self { db, cache, write: write_options(), lock };
        database.check_identity(identity)?;
        if !known {
            let mut lock = &database.lock;
            lock.set_len(0).and_then(|()| lock.rewind()).map_err(io("write the lock file of the state"))?;
            lock.write_all(&identity).map_err(io("write the lock file of the state"))?;
        }
        Ok(database)
    }

    /// The database of `identity` in `path` as it was last flushed, to read from. Takes no lock, so that the process which
    /// writes may go on; what that has not flushed is not seen, and commits are refused by RocksDB.
    pub fn open_read_only(path: impl AsRef<Path>, identity: [u8; 32]) -> Result<Self, StateError> {
        let path = path.as_ref();
        Self::read_only(path, identity, lock_file(path)?)
    }

    fn read_only(path: &Path, identity: [u8; 32], lock: File) -> Result<Self, StateError> {
        let options = StateOptions::default();
        let cache = cache(&options);
        let mut read = database_options(&options);
        read.create_if_missing(false);
        read.create_missing_column_families(false);
        // Files that the writer's process removes stay readable for as long as they are open.
        read.set_max_open_files(-1);
        let db = DB::open_cf_descriptors_read_only(&read, path.join(FILES), families(&cache, &options), false)?;
        match db.get(IDENTITY_KEY)? {
            Some(found) if found == identity => Ok(Self { db, cache, write: write_options(), lock }),
            found => Err(StateError::OtherIdentity { expected: identity, found: found.unwrap_or_default() }),
        }
    }

    /// As [`StateDb::open_read_only`], but not while a node runs on it: what is read stays as it is.
    ///
    /// # Errors
    /// [`StateError::InUse`] while a node runs on it; [`StateError::OtherIdentity`] if it is not that of `identity`.
    pub fn inspect(path: impl AsRef<Path>, identity: [u8; 32]) -> Result<Self, StateError> {
        let path = path.as_ref();
        let lock = lock_file(path)?;
        hold(&lock, path)?;
        Self::read_only(path, identity, lock)
    }

    /// Keeps everybody else from opening the database in `path` for as long as what it returns exists; `None` where there
    /// is none. Nothing of it is opened: it may be damaged.
    ///
    /// # Errors
    /// [`StateError::InUse`] while a node runs on it.
    pub fn hold(path: impl AsRef<Path>) -> Result<Option<StateLock>, StateError> {
        let path = path.as_ref();
        match lock_file(path) {
            Ok(lock) => hold(&lock, path).map(|()| Some(StateLock(lock))),
            Err(StateError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whose database lies in `path`, as far as its lock file says, which has no checksum; nothing is opened.
    pub fn owner(path: impl AsRef<Path>) -> Option<[u8; 32]> {
        fs::read(path.as_ref().join(LOCK)).ok()?.try_into().ok()
    }

    fn check_identity(&self, expected: [u8; 32]) -> Result<(), StateError> {
        match self.db.get(IDENTITY_KEY)? {
            Some(found) if found == expected => Ok(()),
            Some(found) => Err(StateError::OtherIdentity { expected, found }),
            None => {
                // To walk over a hashed family is to sort it first, however little is in it.
                let written = self.db.latest_sequence_number() > 0;
                if written && Family::ALL.iter().any(|family| self.iterate_all(*family).next().is_some()) {
                    return Err(StateError::OtherIdentity { expected, found: Vec::new() });
                }
                self.db.put_opt(IDENTITY_KEY, expected, &self.write)?;
                self.flush()
            }
        }
    }

    /// An empty batch.
    pub fn batch(&self) -> StateBatch {
        StateBatch::default()
    }

    /// Applies a batch as a whole. Keys of accounts, transactions and blocks have at least 9 bytes. It survives a crash of the process or the machine once a flush has covered it.
    pub fn commit(&self, batch: StateBatch) -> Result<(), StateError> {
        batch.check()?;
        let families = Family::ALL.map(|family| self.family(family));
        Ok(self.db.write_opt(batch.write_batch(&families), &self.write)?)
    }

    /// The value of a key.
    pub fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.db.get_cf(self.family(family), key)?)
    }

    /// The values of many keys, in their order; one pass over the files.
    pub fn multi_get<K: AsRef<[u8]>>(&self, family: Family, keys: &[K]) -> Result<Vec<Option<Vec<u8>>>, StateError> {
        let values = self.db.batched_multi_get_cf(self.family(family), keys, false);
        values.into_iter().map(|value| Ok(value?.map(|bytes| bytes.to_vec()))).collect()
    }

    /// Keys and values from `from_key` on, that key included. In a hashed family (accounts, transactions, blocks) only
    /// those that share the first 9 bytes of `from_key`, and what follows them is not defined: stop at the prefix.
    pub fn iterate(&self, family: Family, from_key: &[u8], direction: Direction) -> StateIterator<'_> {
        let direction = match direction {
            Direction::Forward => rocksdb::Direction::Forward,
            Direction::Reverse => rocksdb::Direction::Reverse,
        };
        self.iterator(family, IteratorMode::From(from_key, direction))
    }

    /// Everything in a family, ascending. What is read is not kept in the cache: for start-up.
    pub fn iterate_all(&self, family: Family) -> StateIterator<'_> {
        self.iterator(family, IteratorMode::Start)
    }

    /// The last key and value of a family.
    pub fn last(&self, family: Family) -> Result<Option<KeyValue>, StateError> {
        self.iterator(family, IteratorMode::End).next().transpose()
    }

    fn iterator(&self, family: Family, mode: IteratorMode<'_>) -> StateIterator<'_> {
        let mut options = ReadOptions::default();
        options.fill_cache(!matches!(mode, IteratorMode::Start));
        // From a key, a hashed family gives the keys that share its bucket; only a walk over all is worth sorting for.
        options.set_total_order_seek(!matches!(mode, IteratorMode::From(..)) || !family.hashed());
        StateIterator(self.db.iterator_cf_opt(self.family(family), options, mode))
    }

    /// Makes all commits so far durable, all families at one point. Waits until it is done.
    pub fn flush(&self) -> Result<(), StateError> {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        let home = self.db.cf_handle("default");
        let families: Vec<&ColumnFamily> =
            Family::ALL.map(|family| self.family(family)).into_iter().chain(home).collect();
        Ok(self.db.flush_cfs_opt(&families, &options)?)
    }

    /// Reads every block of every file, those included that a walk over all rows passes by.
    ///
    /// # Errors
    /// [`StateError::Damaged`] for the first one that is not what was written.
    pub fn verify_checksums(&self) -> Result<(), StateError> {
        checksums::verify(&self.db).map_err(StateError::Damaged)
    }

    /// The value of a key as a crash now would leave it. For `applied`: the log is needed from there on.
    pub fn persisted(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::Persisted);
        Ok(self.db.get_cf_opt(self.family(family), key, &options)?)
    }

    /// The database as it is now: later commits are not seen through it.
    pub fn snapshot(&self) -> StateSnapshot<'_> {
        StateSnapshot::new(self)
    }

    /// Figures for metrics.
    pub fn stats(&self) -> Result<StateStats, StateError> {
        use rocksdb::properties;
        let mut stats = StateStats { cache_bytes: self.cache.get_usage() as u64, ..StateStats::default() };
        for family in Family::ALL {
            let property =
                |name| Ok::<_, StateError>(self.db.property_int_value_cf(self.family(family), name)?.unwrap_or(0));
            stats.memtable_bytes += property(properties::CUR_SIZE_ALL_MEM_TABLES)?;
            stats.pending_compaction_bytes += property(properties::ESTIMATE_PENDING_COMPACTION_BYTES)?;
            stats.disk_bytes += property(properties::TOTAL_SST_FILES_SIZE)?;
            stats.stalled |= property(properties::IS_WRITE_STOPPED)? > 0;
        }
        Ok(stats)
    }

    fn family(&self, family: Family) -> &ColumnFamily {
        self.db.cf_handle(family.name()).expect("every family was named when the database was opened")
    }
}

impl std::fmt::Debug for StateDb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateDb").field("path", &self.db.path()).finish_non_exhaustive()
    }
}

/// A key and its value.
pub type KeyValue = (Box<[u8]>, Box<[u8]>);

/// Keys and values in order.
pub struct StateIterator<'a>(rocksdb::DBIterator<'a>);

impl Iterator for StateIterator<'_> {
    type Item = Result<KeyValue, StateError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.0.next()?.map_err(StateError::from))
    }
}

/// The lock file of a database that is there.
fn lock_file(path: &Path) -> Result<File, StateError> {
    File::open(path.join(LOCK))
        .map_err(|source| StateError::Io { operation: "open the lock file of the state", source })
}

/// Locks it for as long as it is open.
fn hold(lock: &File, path: &Path) -> Result<(), StateError> {
    match lock.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(StateError::InUse { dir: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(StateError::Io { operation: "lock the state", source }),
    }
}

fn cache(options: &StateOptions) -> Cache {
    // Charge 0 lets the cache size its table by itself, as entries are of several sizes.
    Cache::new_hyper_clock_cache(options.block_cache_bytes, 0)
}

fn families(cache: &Cache, options: &StateOptions) -> impl Iterator<Item = ColumnFamilyDescriptor> {
    let of =
        |family: Family| ColumnFamilyDescriptor::new(family.name(), family.options(cache, options.write_buffer_bytes));
    let home = ColumnFamilyDescriptor::new("default", Options::default());
    Family::ALL.map(of).into_iter().chain([home])
}

/// Commits write no log of their own.
fn write_options() -> WriteOptions {
    let mut write = WriteOptions::default();
    write.disable_wal(true);
    write
}

fn database_options(options: &StateOptions) -> Options {
    let mut database = Options::default();
    database.create_if_missing(true);
    database.create_missing_column_families(true);
    database.set_atomic_flush(true);
    database.set_db_write_buffer_size(options.write_buffer_bytes);
    database.set_max_background_jobs(i32::try_from(options.background_threads.clamp(1, 64)).unwrap_or(2));
    database.set_allow_concurrent_memtable_write(false);
    database.set_max_open_files(256);
    // Else an open starts fifteen threads, for a few files at most.
    database.set_max_file_opening_threads(1);
    database.set_bytes_per_sync(1 << 20);
    database.set_stats_dump_period_sec(0);
    database.set_keep_log_file_num(2);
    database.set_log_level(LogLevel::Warn);
    database
}
