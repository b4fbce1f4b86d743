//! A state in a file becomes a database, and the database the node's.
//!
//! The database is built beside the one in use, and checked while it is built. Until it is whole it holds how many rows of which
//! state are in it, so that who is interrupted goes on behind them. A mark says that it is whole; then the node stops using
//! the old one and the directories change places. A crash at any point leaves either the old state or a mark, with which
//! the next start finishes the exchange.

use crate::config::{SNAPSHOTS, STATE};
use crate::durable;
use crate::state_sync::history::Commit;
use crate::state_sync::stream::{self, Row, StreamError};
use crate::tables::{Applied, TableError, Tables};
use consensus::{Checkpoint, Config};
use ledger::LedgerCheckpoint;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::state::{Family, StateBatch, StateDb, StateError, StateOptions};
use thiserror::Error;
use types::{Certificate, Decode, DecodeError, Digest, Encode, EpochChange, Height, LedgerHeader, Reader};

/// Bytes of rows written at a time.
const BATCH_BYTES: usize = 1 << 20;
/// Under it a database that is not whole says what it holds.
const BEGUN_KEY: &[u8] = b"install-begun";

/// Why a state could not be installed.
#[derive(Debug, Error)]
pub enum InstallError {
    /// The file is no state.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// It is a state, and another one than the header says: every peer that offered it lied.
    #[error("the state sums up to another digest than its certified header says")]
    OtherState,
    /// The commits below it do not give the state of consensus.
    #[error("the commits below the state do not reach down far enough")]
    History,
    /// The database.
    #[error(transparent)]
    State(#[from] StateError),
    /// A row.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A file or a directory.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Where a state is put together: a directory beside the node's log and state.
#[derive(Clone, Debug)]
pub struct Site {
    data_dir: PathBuf,
    name: &'static str,
}

/// What a node that starts from a state needs besides the state.
#[derive(Debug)]
pub struct Base {
    /// The certified header.
    pub header: LedgerHeader,
    /// Its certificate; none for genesis, and none where the proof of the epoch that begins behind it is not here.
    pub certificate: Option<Certificate>,
    /// The last commits, in rising order; none at the height that the epoch begins behind.
    pub commits: Vec<Commit>,
    /// The proofs of all epochs after the first.
    pub epochs: Vec<EpochChange>,
    /// Height of the epoch's first commit.
    pub first: Height,
    /// First segment of this node's own log that a start has to read.
    pub replay_from: u64,
}

impl Base {
    /// Consensus as the commits leave it; none where the epoch begins behind the state.
    ///
    /// # Errors
    /// [`InstallError::History`] where the commits do not lead to the header, or begin too high.
    pub fn checkpoint(&self, config: &Config) -> Result<Option<Checkpoint>, InstallError> {
        if self.header.height == config.anchor.height {
            return Ok(None);
        }
        let rebuilt = Checkpoint::rebuild(config, self.first, &self.commits);
        let checkpoint = rebuilt.filter(|checkpoint| checkpoint.commit == self.header.commit);
        checkpoint.map(Some).ok_or(InstallError::History)
    }
}

/// What a database that is not whole holds. It is written with the rows, and what RocksDB keeps of a batch it keeps whole.
struct Begun {
    /// Of which state.
    root: Digest,
    /// How many of its rows, in their order.
    rows: u64,
}

impl Encode for Begun {
    fn encode(&self, out: &mut Vec<u8>) {
        self.root.encode(out);
        self.rows.encode(out);
    }
}

impl Decode for Begun {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { root: Digest::decode(reader)?, rows: u64::decode(reader)? })
    }
}

impl Site {
    /// In a node's data directory, for a state that comes from peers.
    pub fn new(data_dir: &Path) -> Self {
        Self { data_dir: data_dir.to_owned(), name: "sync" }
    }

    /// In a node's data directory, for a state that is made out of the log.
    pub fn rebuilding(data_dir: &Path) -> Self {
        Self { data_dir: data_dir.to_owned(), name: "rebuild" }
    }

    /// The database while it is made.
    pub fn database(&self) -> PathBuf {
        self.dir().join(STATE)
    }

    /// The chunks.
    pub fn stream(&self) -> PathBuf {
        self.dir().join("stream")
    }

    /// The manifest that the chunks are of.
    pub fn manifest(&self) -> PathBuf {
        self.dir().join("manifest")
    }

    /// Where the node keeps snapshots for others.
    pub fn snapshots(&self) -> PathBuf {
        self.data_dir.join(SNAPSHOTS)
    }

    /// Makes the directory.
    pub fn prepare(&self) -> io::Result<()> {
        std::fs::create_dir_all(self.dir())
    }

    /// Forgets everything that was fetched.
    pub fn clear(&self) -> io::Result<()> {
        self.unmark()?;
        durable::remove_dir(&self.dir())
    }

    /// Makes the database out of the rows of the state with this root, and marks it as whole. Reads every row and adds all of
    /// them up. Returns how many of them an interrupted run had written.
    pub fn build(
        &self,
        identity: [u8; 32],
        config: &Config,
        base: &Base,
        root: &Digest,
        input: &mut impl Read,
    ) -> Result<u64, InstallError> {
        let checkpoint = base.checkpoint(config)?;
        self.unmark()?;
        let (database, held) = self.open(identity, root)?;
        let database = Arc::new(database);
        let (mut batch, mut rows) = (StateBatch::default(), 0);
        let total = stream::read(input, |Row { family, key, value }| {
            rows += 1;
            if rows <= held {
                return Ok(());
            }
            batch.put(family, &key, &value);
            if batch.bytes() >= BATCH_BYTES {
                let begun = Begun { root: *root, rows };
                batch.put(Family::Meta, BEGUN_KEY, &begun.to_bytes());
                database.commit(std::mem::take(&mut batch))?;
            }
            Ok::<_, InstallError>(())
        })?;
        batch.delete(Family::Meta, BEGUN_KEY);
        database.commit(batch)?;
        if total.sum.digest() != base.header.state_digest {
            return Err(InstallError::OtherState);
        }
        let tables = Tables::new(database);
        let mut batch = tables.batch();
        if base.header.height == Height(0) {
            // What genesis writes, which is executed by everybody and has no receipts.
            batch.height(&base.header, None, &[]);
        } else {
            batch.header(&base.header);
        }
        base.certificate.iter().for_each(|certificate| batch.certificate(certificate));
        base.epochs.iter().for_each(|change| batch.epoch_change(change));
        batch.synced_commits(&base.commits);
        let ledger = LedgerCheckpoint {
            header: base.header.clone(),
            state: total.sum,
            live_ids: total.live_ids,
            live_buckets: total.live_buckets,
            approvals: total.approvals,
        };
        batch.applied(&Applied {
            ledger,
            consensus: checkpoint,
            replay_from: base.replay_from,
            committed: 0,
            rejected: 0,
        });
        tables.commit(batch)?;
        tables.flush()?;
        drop(tables);
        self.finish()?;
        Ok(held)
    }

    /// The database that an interrupted run left, with the rows of this state that it holds; an empty one where it left none.
    fn open(&self, identity: [u8; 32], root: &Digest) -> Result<(StateDb, u64), InstallError> {
        let target = self.database();
        let open = || StateDb::open(&target, identity, StateOptions::default());
        if target.exists() {
            match open() {
                Ok(database) => {
                    let begun = database.get(Family::Meta, BEGUN_KEY)?.and_then(|row| Begun::from_bytes(&row).ok());
                    if let Some(begun) = begun.filter(|begun| begun.root == *root) {
                        return Ok((database, begun.rows));
                    }
                }
                Err(error @ StateError::InUse { .. }) => return Err(error.into()),
                // Another node's, or what a crash has made of it.
                Err(error) => tracing::debug!(%error, "what was begun is not gone on with"),
            }
            durable::remove_dir(&target)?;
        }
        Ok((open()?, 0))
    }

    /// Marks the database as whole. It must be closed.
    pub fn finish(&self) -> io::Result<()> {
        let mark = File::create(self.mark())?;
        mark.sync_all()?;
        durable::sync_dir(&self.dir())
    }

    /// Whether a whole database waits.
    pub fn is_whole(&self) -> bool {
        self.mark().exists()
    }

    /// Exchanges the databases, if a whole one waits. The old one must not be open.
    pub fn exchange(&self) -> io::Result<bool> {
        if !self.is_whole() {
            return Ok(false);
        }
        let (fetched, used) = (self.database(), self.data_dir.join(STATE));
        if fetched.exists() {
            if used.exists() {
                // A crash may have left an older one there.
                let old = self.dir().join("old");
                durable::remove_dir(&old)?;
                std::fs::rename(&used, &old)?;
            }
            std::fs::rename(&fetched, &used)?;
            durable::sync_dir(&self.data_dir)?;
        }
        self.clear()?;
        Ok(true)
    }

    /// Takes the mark away before the database under it is touched: an interruption must not leave it over half of one.
    fn unmark(&self) -> io::Result<()> {
        match std::fs::remove_file(self.mark()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| durable::sync_dir(&self.dir())),
        }
    }

    fn dir(&self) -> PathBuf {
        self.data_dir.join(self.name)
    }

    fn mark(&self) -> PathBuf {
        self.dir().join("whole")
    }
}

#[cfg(test)]
mod tests;
