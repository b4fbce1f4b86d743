//! `stele rebuild`: the state database made anew out of the log, which is the only durable record.
//!
//! Commits are read in the order of the log and executed by the node's own [`Executor`](crate::execution::Executor),
//! from genesis on. Votes for headers stand in the log's blocks: from them the certificates are put
//! together again, and no height passes whose header is another one than was certified. The database is made beside the
//! one in use, flushed every so many bytes of log, and takes its place when it is whole; killed on the way, the next run
//! goes on behind the last flush. Deliberately absent: repairs of the log (`stele fsck --repair-from`).

mod beside;
mod error;
mod finish;
mod replay;
#[cfg(test)]
pub mod tests;

pub use beside::Unreadable;
pub use error::RebuildError;

use crate::backup::restore;
use crate::config::{LOG, STATE};
use crate::node::ledger_options;
use crate::replica::recovery::write_genesis;
use crate::state_sync::install::Site;
use crate::tables::{Applied, Tables};
use ledger::Ledger;
use replay::Replay;
use serde::Serialize;
use std::io;
use std::num::NonZeroU16;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use storage::log::{Files, LogError, LogReader, scan};
use storage::state::{StateDb, StateError, StateLock, StateOptions};
use types::{ChainId, Digest, Epoch, EpochStart, Genesis, Height};

/// Bytes of log after which the rebuilt rows are flushed: what an interruption costs.
const FLUSH_BYTES: u64 = 256 << 20;

/// What is rebuilt.
#[derive(Clone, Debug)]
pub struct Source {
    /// Directory of log and state.
    pub data_dir: PathBuf,
    /// The genesis.
    pub genesis: Arc<Genesis>,
    /// What log and state are marked with.
    pub identity: [u8; 32],
    /// Threads of execution.
    pub shards: NonZeroU16,
    /// Bytes of log between two flushes.
    pub flush_bytes: u64,
}

impl Source {
    /// With the usual bytes between flushes.
    pub fn new(data_dir: PathBuf, genesis: Arc<Genesis>, identity: [u8; 32], shards: NonZeroU16) -> Self {
        Self { data_dir, genesis, identity, shards, flush_bytes: FLUSH_BYTES }
    }

    /// Where the database is made.
    pub fn site(&self) -> Site {
        Site::rebuilding(&self.data_dir)
    }

    /// Forgets what an interrupted run has made.
    ///
    /// # Errors
    /// [`RebuildError::InUse`], [`RebuildError::Unwritable`].
    pub fn forget_begun(&self) -> Result<(), RebuildError> {
        let _held = hold(self)?;
        self.site().clear().map_err(self.unwritable())
    }

    fn unwritable(&self) -> impl FnOnce(io::Error) -> RebuildError {
        let dir = self.data_dir.clone();
        move |source| RebuildError::Unwritable { dir, source }
    }

    /// Of the genesis.
    pub fn chain(&self) -> ChainId {
        self.genesis.chain_id()
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// The last executed height.
    pub height: Height,
    /// The segment of the log that is read.
    pub segment: u64,
    /// The last one that there is.
    pub newest_segment: u64,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Done {
    /// The height that this run began behind: genesis, a state, or where an interrupted run was.
    pub from: Height,
    /// The last height of the log.
    pub height: Height,
    /// The last height whose certificate the log's blocks give.
    pub certified: Height,
    /// The epoch of the next height.
    pub epoch: Epoch,
    /// Transactions that were applied since genesis, or since the state that it began with.
    pub transactions: u64,
    /// Digest of the last header.
    pub header: Digest,
    /// Digest of the state behind it.
    pub state_digest: Digest,
}

/// Holds off nodes for as long as it exists.
pub struct Held {
    files: Files,
    _state: Option<StateLock>,
}

impl Held {
    /// The log's segments.
    pub fn files(&self) -> &Files {
        &self.files
    }
}

/// Locks log and state of a data directory.
///
/// # Errors
/// [`RebuildError::InUse`] while a node, or another tool, is at work there.
pub fn hold(source: &Source) -> Result<Held, RebuildError> {
    if restore::is_unfinished(&source.data_dir) {
        return Err(RebuildError::RestoreUnfinished { dir: source.data_dir.clone() });
    }
    let in_use = || RebuildError::InUse { dir: source.data_dir.clone() };
    let files = Files::inspect(&source.data_dir.join(LOG)).map_err(|error| match error {
        LogError::InUse { .. } => in_use(),
        LogError::NoLog { .. } => RebuildError::NoLog { dir: source.data_dir.clone() },
        error => RebuildError::Log(error),
    })?;
    let state = StateDb::hold(source.data_dir.join(STATE)).map_err(|error| match error {
        StateError::InUse { .. } => in_use(),
        error => RebuildError::State(error),
    })?;
    Ok(Held { files, _state: state })
}

/// Makes the database and puts it in the place of the one that is there. `progress` hears of every height, and may end
/// the run: what was flushed stays for the next.
///
/// # Errors
/// [`RebuildError`]: the database in use is as it was.
pub fn run(source: &Source, progress: &mut dyn FnMut(Progress) -> ControlFlow<()>) -> Result<Done, RebuildError> {
    run_in(source, progress).map_err(|error| match error.is_disk_full() {
        true => RebuildError::DiskFull { dir: source.data_dir.clone(), source: Box::new(error) },
        false => error,
    })
}

fn run_in(source: &Source, progress: &mut dyn FnMut(Progress) -> ControlFlow<()>) -> Result<Done, RebuildError> {
    let held = hold(source)?;
    let site = source.site();
    // A run that was killed between the mark and the exchange.
    if site.is_whole() {
        site.exchange().map_err(source.unwritable())?;
    }
    let done = {
        let (tables, applied) = open(source, &site)?;
        make(source, &held, tables, applied, progress)?
    };
    site.finish().map_err(source.unwritable())?;
    drop(held);
    site.exchange().map_err(source.unwritable())?;
    Ok(done)
}

/// The database that is being made, and what it has reached.
fn open(source: &Source, site: &Site) -> Result<(Tables, Applied), RebuildError> {
    site.prepare().map_err(source.unwritable())?;
    let database = match StateDb::open(site.database(), source.identity, StateOptions::default()) {
        Err(StateError::Io { source: refused, .. }) => return Err(source.unwritable()(refused)),
        opened => opened?,
    };
    let tables = Tables::new(Arc::new(database));
    if let Some(applied) = tables.applied()? {
        return Ok((tables, applied));
    }
    let reader = Arc::new(tables.clone());
    let (_, executed) = Ledger::genesis(&source.genesis, source.shards, reader, ledger_options())?;
    let applied = write_genesis(&tables, &executed).map_err(|error| RebuildError::Genesis(Box::new(error)))?;
    Ok((tables, applied))
}

fn make(
    source: &Source,
    held: &Held,
    tables: Tables,
    applied: Applied,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Done, RebuildError> {
    let log = LogReader::open(&source.data_dir.join(LOG), source.identity)?;
    let from = applied.ledger.height();
    let mut replay = Replay::new(source, tables.clone(), Arc::new(log), applied)?;
    let read_from = replay.reads_from();
    let newest_segment = replay.newest_segment(&held.files)?;
    let scanned = scan::scan(&held.files, &source.identity, read_from, &mut |record| {
        let segment = record.position.segment;
        if replay.take(record)? {
            let at = Progress { height: replay.height(), segment, newest_segment };
            if progress(at).is_break() {
                return Err(RebuildError::Interrupted.into());
            }
        }
        Ok(())
    });
    match scanned {
        Ok(_) => {}
        Err(LogError::Visitor { position, source }) => {
            return Err(match source.downcast::<RebuildError>() {
                Ok(error) => *error,
                Err(source) => RebuildError::Log(LogError::Visitor { position, source }),
            });
        }
        Err(error) => return Err(error.into()),
    }
    replay.prove()?;
    let (height, state) = (replay.height(), reached(source));
    if state > height {
        return Err(RebuildError::Behind { height, state });
    }
    finish::carry_over(source, &tables)?;
    let done = Done {
        from,
        height: replay.height(),
        certified: tables.last_certified()?,
        epoch: replay.epoch().epoch(),
        transactions: replay.transactions(),
        header: replay.header().digest(),
        state_digest: replay.header().state_digest,
    };
    finish::set_consensus(source, &tables, &mut replay)?;
    tables.flush()?;
    Ok(done)
}

/// The height of the state that is there; 0 where there is none that can be read.
fn reached(source: &Source) -> Height {
    let database = StateDb::open_read_only(source.data_dir.join(STATE), source.identity);
    let applied = database.ok().and_then(|database| Tables::new(Arc::new(database)).applied().ok().flatten());
    applied.map_or(Height(0), |applied| applied.ledger.height())
}

/// The epoch of the next height, as the tables have it.
fn epoch_of(source: &Source, tables: &Tables) -> Result<EpochStart, RebuildError> {
    match tables.last_epoch()? {
        Some(start) => Ok(start),
        None => Ok(EpochStart::first(&source.genesis)?),
    }
}
