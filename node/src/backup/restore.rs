//! A data directory out of a backup. Everything is checked and made in `DIR/restoring`: ranges go to a new log, `rebuild`
//! makes the state of it, and only then do both take their places. Killed at any moment, the next run goes on; a node does
//! not start on a directory in which a restore is unfinished.
//!
//! Invariant: the restored log ends with [`records::RESTORED`] and holds no own proposal, so that a validator that starts
//! on it makes no block before it knows how far its own chain went.

use super::depot::Depot;
use super::read::Reading;
use super::{BackupError, Manifest};
use crate::config::{LOG, STATE};
use crate::durable;
use crate::rebuild::{self, RebuildError, Source};
use crate::records;
use crate::replica::event::CertifiedCommit;
use crate::tables::Tables;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, TryLockError};
use std::io;
use std::num::NonZeroU16;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::log::{Log, LogOptions};
use storage::state::{StateDb, StateOptions};
use types::{ChainId, Decode, Encode, Genesis, Height};

/// Name of the directory in which a restore is at work.
pub const RESTORING: &str = "restoring";
/// Where genesis and node.toml of the backup are put.
const RESTORED: &str = "restored";
const LOCK: &str = "LOCK";
const WHOLE: &str = "whole";
const READ: &str = "read.json";
/// Segments of a small ledger, and the usual ones.
const SMALL: u64 = 64 << 20;
const SEGMENT_BYTES: (u64, u64) = (16 << 20, 256 << 20);

/// What is wanted.
#[derive(Debug)]
pub struct Wanted {
    /// The data directory to make.
    pub data_dir: PathBuf,
    /// The genesis that the backup has to be of; without one that of the backup is believed.
    pub genesis: Option<Genesis>,
    /// What log and state are marked with; by default as where the backup was taken.
    pub identity: Option<[u8; 32]>,
    /// Threads of execution.
    pub shards: NonZeroU16,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Done {
    /// The ledger.
    pub ledger: ChainId,
    /// The last height, which is certified.
    pub height: Height,
    /// Its header.
    pub header: types::Digest,
    /// The state behind it.
    pub state_digest: types::Digest,
    /// Transactions applied since genesis.
    pub transactions: u64,
}

/// What is being done.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Commits are fetched, checked and logged.
    Reading {
        /// The last one.
        height: Height,
        /// The last that is to come.
        of: Height,
    },
    /// They are executed.
    Executing {
        /// The last one.
        height: Height,
        /// The last that is to come.
        of: Height,
    },
}

/// What the log in the making holds.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Read {
    /// Hashes of the ranges that it holds whole, in order.
    ranges: Vec<String>,
    /// The segment in which the last of them ends.
    #[serde(default)]
    segment: u64,
}

impl Read {
    fn keep(&self, site: &Path) -> Result<(), BackupError> {
        keep(&site.join(READ), &serde_json::to_vec(self).expect("numbers and strings have a JSON form"))
    }
}

/// Whether a restore is unfinished in a data directory.
pub fn is_unfinished(data_dir: &Path) -> bool {
    data_dir.join(RESTORING).exists()
}

/// Makes the directory. `progress` hears of every height.
///
/// # Errors
/// [`BackupError`]: nothing is in its place, and the next run goes on where this one was.
pub fn restore(depot: &Depot, wanted: Wanted, progress: &mut dyn FnMut(Step)) -> Result<Done, BackupError> {
    let dir = wanted.data_dir.clone();
    restore_in(depot, wanted, progress).map_err(|error| match error.is_disk_full() {
        true => BackupError::DiskFull { dir, source: Box::new(error) },
        false => error,
    })
}

fn restore_in(depot: &Depot, wanted: Wanted, progress: &mut dyn FnMut(Step)) -> Result<Done, BackupError> {
    let data = &wanted.data_dir;
    let site = data.join(RESTORING);
    vacant(data)?;
    fs::create_dir_all(&site).map_err(file(&site))?;
    let lock = File::create(site.join(LOCK)).map_err(file(&site))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(BackupError::InUse(data.clone())),
        Err(TryLockError::Error(error)) => return Err(file(&site)(error)),
    }
    let mut reading = Reading::open(depot, wanted.genesis)?;
    let (first, last) = reading.manifest.heights().ok_or(BackupError::Contradictory("it has no heights"))?;
    if first != Height(1) {
        return Err(BackupError::NotFromGenesis(first));
    }
    let identity = match wanted.identity {
        Some(identity) => identity,
        None => marked(&reading.manifest).ok_or(BackupError::NoIdentity)?,
    };
    let source = Source::new(site.clone(), Arc::new(reading.genesis.clone()), identity, wanted.shards);
    let whole = site.join(WHOLE);
    if !whole.exists() {
        read_all(depot, &mut reading, &source, last, progress)?;
        make_state(&reading, &source, last, progress)?;
        keep_files(depot, &reading, &site.join(RESTORED))?;
        keep(&whole, b"")?;
    }
    let done = {
        let tables = open_state(&source, data)?;
        let applied = tables.applied()?.ok_or(BackupError::Short { expected: last, found: Height(0) })?;
        let header = applied.ledger.header;
        let (ledger, height, transactions) = (header.chain, header.height, applied.committed);
        Done { ledger, height, header: header.digest(), state_digest: header.state_digest, transactions }
    };
    // The log last: without one nothing starts.
    for name in [RESTORED, STATE, LOG] {
        if site.join(name).exists() {
            fs::rename(site.join(name), data.join(name)).map_err(file(&data.join(name)))?;
        }
    }
    durable::sync_dir(data).map_err(file(data))?;
    fs::remove_dir_all(&site).map_err(file(&site))?;
    durable::sync_dir(data).map_err(file(data))?;
    Ok(done)
}

/// Whether the directory is empty, but for a restore that is unfinished.
fn vacant(data: &Path) -> Result<(), BackupError> {
    let entries = match fs::read_dir(data) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(file(data))?,
    };
    let whole = data.join(RESTORING).join(WHOLE).exists();
    for entry in entries {
        let name = entry.map_err(file(data))?.file_name();
        let ours = name == RESTORING || (whole && [RESTORED, STATE, LOG].iter().any(|ours| name == *ours));
        if !ours {
            return Err(BackupError::NotEmpty(data.to_owned()));
        }
    }
    Ok(())
}

fn marked(manifest: &Manifest) -> Option<[u8; 32]> {
    hex::decode(manifest.identity.as_ref()?).ok()?.try_into().ok()
}

/// The database, before or after it took its place.
fn open_state(source: &Source, data: &Path) -> Result<Tables, BackupError> {
    let made = source.data_dir.join(STATE);
    let path = if made.exists() { made } else { data.join(STATE) };
    Ok(Tables::new(Arc::new(StateDb::open(path, source.identity, StateOptions::default())?)))
}

/// Checks all ranges and writes them to the log.
fn read_all(
    depot: &Depot,
    reading: &mut Reading,
    source: &Source,
    last: Height,
    progress: &mut dyn FnMut(Step),
) -> Result<(), BackupError> {
    let site = &source.data_dir;
    let hashes: Vec<String> = reading.manifest.ranges.iter().map(|range| range.kept.sha256.clone()).collect();
    let mut read: Read =
        fs::read(site.join(READ)).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    if !hashes.starts_with(&read.ranges) {
        // Of another backup, or of this one before its last range was replaced.
        for name in [LOG, STATE, "rebuild"] {
            let path = site.join(name);
            durable::remove_dir(&path).map_err(file(&path))?;
        }
        read = Read::default();
        read.keep(site)?;
    }
    let mut options = LogOptions::new(site.join(LOG), source.identity);
    let (small, usual) = SEGMENT_BYTES;
    options.segment_bytes = if reading.manifest.bytes() < SMALL { small } else { usual };
    options.spare_segments = 1;
    // Commits of the next range that an interrupted run has logged already.
    let mut logged = Height(0);
    let log = Log::open(options, Some(read.segment), &mut |record| {
        if record.kind == records::COMMIT {
            logged = logged.max(records::Commit::from_bytes(&record.payload)?.record.height);
        }
        Ok(())
    })?;
    reading.skip(read.ranges.len());
    for (index, hash) in hashes.into_iter().enumerate().skip(read.ranges.len()) {
        reading.range(depot, index, &mut |commit| {
            let height = commit.record.height;
            if height > logged {
                append(&log, commit)?;
            }
            progress(Step::Reading { height, of: last });
            Ok(())
        })?;
        // Also says that all before it is durable.
        read.segment = log.append_durable(records::RESTORED, &[])?.segment;
        read.ranges.push(hash);
        read.keep(site)?;
    }
    log.close();
    Ok(())
}

fn append(log: &Log, commit: CertifiedCommit) -> Result<(), BackupError> {
    let CertifiedCommit { record, blocks, .. } = commit;
    let mut verdicts = Vec::new();
    for (header, received) in &blocks {
        log.append_quiet(records::BLOCK, &[&records::block_part(header), received.payload.raw()])?;
        verdicts.extend_from_slice(received.contents.verdicts().unwrap_or_default());
    }
    let commit = records::Commit { record, verdicts: records::pack_verdicts(verdicts) };
    log.append_quiet(records::COMMIT, &[&commit.to_bytes()])?;
    Ok(())
}

/// Executes what the log holds, and compares what comes out with what was proven.
fn make_state(
    reading: &Reading,
    source: &Source,
    last: Height,
    progress: &mut dyn FnMut(Step),
) -> Result<(), BackupError> {
    let proven = reading.manifest.ranges.last().map(|range| range.header);
    let done = rebuild::run(source, &mut |at| {
        progress(Step::Executing { height: at.height, of: last });
        ControlFlow::Continue(())
    })?;
    if done.height != last {
        return Err(BackupError::Short { expected: last, found: done.height });
    }
    if let Some(certified) = proven.filter(|proven| *proven != done.header) {
        let computed = done.header;
        return Err(RebuildError::Contradicted { height: last, computed, certified }.into());
    }
    // Blocks that no commit has ordered are not in a backup, and with them the votes for the last heights.
    let tables = open_state(source, &source.data_dir)?;
    let mut batch = tables.batch();
    reading.epochs().iter().for_each(|change| match tables.epoch(change.start.epoch()) {
        Ok(Some(_)) => batch.certificate(&change.certificate),
        _ => batch.known_change(change),
    });
    reading.certificate.iter().for_each(|certificate| batch.certificate(certificate));
    tables.commit(batch)?;
    tables.flush().map_err(BackupError::from)
}

/// Genesis and node.toml, for whoever sets the machine up again.
fn keep_files(depot: &Depot, reading: &Reading, dir: &Path) -> Result<(), BackupError> {
    fs::create_dir_all(dir).map_err(file(dir))?;
    keep(&dir.join("genesis.toml"), reading.genesis.to_toml().as_bytes())?;
    if let Some(config) = &reading.manifest.config {
        keep(&dir.join("node.toml"), &config.get(depot)?)?;
    }
    Ok(())
}

fn keep(path: &Path, bytes: &[u8]) -> Result<(), BackupError> {
    durable::put(path, bytes).map_err(file(path))
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::File { path, source }
}
