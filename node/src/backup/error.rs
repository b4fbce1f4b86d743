//! Why a backup ends; for the operator, with what to do next.

use super::depot::DepotError;
use crate::committees::CommitteeError;
use crate::rebuild::{RebuildError, Unreadable};
use crate::replica::intake::Refused;
use crate::replica::serve::ServeError;
use crate::tables::TableError;
use miette::Diagnostic;
use std::io;
use std::path::PathBuf;
use storage::log::{LogError, LogFault};
use storage::state::StateError;
use thiserror::Error;
use types::{ChainId, GenesisError, Height};

/// Why a backup, its check, or a restore ended.
#[derive(Debug, Error, Diagnostic)]
pub enum BackupError {
    /// The place.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Depot(#[from] DepotError),
    /// There is no backup.
    #[error("{0}: there is no backup: it has no manifest.json")]
    #[diagnostic(help("name the place that `stele backup --to` or `stele archive export --to` was given"))]
    Nothing(String),
    /// It is an export.
    #[error("{0}: it is an export of `stele export`, and no backup")]
    #[diagnostic(help(
        "an export holds tables for query engines, and nothing can be restored or repaired from them: name the place that `stele backup --to` or `stele archive export --to` was given"
    ))]
    Tables(String),
    /// The manifest is none.
    #[error("{place}: manifest.json is not that of a backup")]
    #[diagnostic(help("it was altered or cut; another copy of the backup may have it"))]
    Manifest {
        /// Where.
        place: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// node.toml was kept once, is lost, and was not named.
    #[error("{place}: {file}, a copy of node.toml that the manifest names, is gone or altered")]
    #[diagnostic(help(
        "all else is there, what is new included. Back up once with --config node.toml, and it is put back"
    ))]
    ConfigLost {
        /// Where.
        place: String,
        /// The file.
        file: String,
    },
    /// Ranges that do not follow each other, or numbers that contradict each other.
    #[error("manifest.json contradicts itself: {0}")]
    Contradictory(&'static str),
    /// Of a later version.
    #[error("the backup has format {found}, and this version of stele reads up to {known}")]
    #[diagnostic(help("use the version of stele that wrote it, or a later one"))]
    Newer {
        /// What it says.
        found: u64,
        /// What is known.
        known: u64,
    },
    /// Of another ledger.
    #[error("the backup is of ledger {found}, not of {expected}")]
    #[diagnostic(help("check --genesis or --config, and where the backup lies"))]
    OtherLedger {
        /// Of the genesis.
        expected: ChainId,
        /// Of the backup.
        found: ChainId,
    },
    /// A file is not what the manifest says.
    #[error("{0} is not what the manifest says: its SHA-256 is another one")]
    #[diagnostic(help("the file was altered or damaged; another copy of the backup may have it"))]
    Altered(String),
    /// A file is not of its format.
    #[error("{name} is damaged: {what}")]
    Damaged {
        /// The file.
        name: String,
        /// What is wrong.
        what: &'static str,
    },
    /// What it holds is not what the committee has certified.
    #[error("from height {from} on it is not what the committee certified: {reason}")]
    Refused {
        /// First height of the run that was checked.
        from: Height,
        /// What is wrong.
        reason: Refused,
    },
    /// An epoch whose committee is not proven.
    #[error(transparent)]
    Committee(#[from] CommitteeError),
    /// The genesis in the backup.
    #[error("the genesis is not usable: {0}")]
    Genesis(#[from] GenesisError),
    /// The node does not have the next heights any more.
    #[error("height {wanted} is not in the log any more; the oldest that is whole is {oldest}")]
    #[diagnostic(help(
        "back up more often than the log is pruned, or from a node that keeps everything; a new backup can begin at {oldest} in another place"
    ))]
    Released {
        /// The next one.
        wanted: Height,
        /// The oldest one.
        oldest: Height,
    },
    /// The backup does not begin with the first height.
    #[error("the backup begins with height {0}, so that no state can be made of it")]
    #[diagnostic(help(
        "it is an archive of history; restore from a backup of a node that keeps everything, or start the node with an empty directory, so that it takes a state from its peers"
    ))]
    NotFromGenesis(Height),
    /// The directory to restore to holds something.
    #[error("{}: it is not empty", .0.display())]
    #[diagnostic(help("a restore never writes over anything: name an empty directory, or put that one aside"))]
    NotEmpty(PathBuf),
    /// Another process restores there.
    #[error("{}: another restore is at work there", .0.display())]
    InUse(PathBuf),
    /// What was restored does not end where the backup does.
    #[error("the restored ledger ends at height {found}, and the backup at {expected}")]
    Short {
        /// The backup's last height.
        expected: Height,
        /// What was made of it.
        found: Height,
    },
    /// Nobody says which validator the directory is for.
    #[error("the backup does not say which validator it is of")]
    #[diagnostic(help("name the node's configuration with --config"))]
    NoIdentity,
    /// The node's database.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Unreadable(#[from] Unreadable),
    /// The database that is being made.
    #[error("the state cannot be written: {0}")]
    State(#[from] StateError),
    /// A row of it.
    #[error("the state cannot be read: {0}")]
    Table(#[from] TableError),
    /// The log.
    #[error("the log cannot be used: {0}")]
    Log(#[from] LogError),
    /// Writing to it.
    #[error("the log cannot be written: {0}")]
    Append(#[from] LogFault),
    /// What they hold.
    #[error("the node's data cannot be read: {0}")]
    Serve(#[from] ServeError),
    /// Making the state.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Rebuild(#[from] RebuildError),
    /// No room for what is restored.
    #[error("{}: the disk is full", dir.display())]
    #[diagnostic(help(
        "make room there and run the same command again: it goes on with what it has made so far, which is in `restoring`"
    ))]
    DiskFull {
        /// The data directory.
        dir: PathBuf,
        /// What had no room.
        source: Box<BackupError>,
    },
    /// A file or directory.
    #[error("{}: {source}", path.display())]
    #[diagnostic(help("see that this user may read and write there; then run the same command again"))]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
}

impl BackupError {
    /// Whether it is room that was missing. A rebuild says so itself.
    pub(super) fn is_disk_full(&self) -> bool {
        match self {
            Self::Log(LogError::DiskFull { .. }) | Self::Append(LogFault::DiskFull) => true,
            Self::State(error) | Self::Table(TableError::State(error)) => error.is_disk_full(),
            Self::Log(LogError::Io { source, .. }) | Self::File { source, .. } => {
                source.kind() == io::ErrorKind::StorageFull
            }
            _ => false,
        }
    }
}
