//! Why log and state cannot be used; for the operator, with what to do next.

use crate::config::Outside;
use crate::tables::TableError;
use consensus::RecoverError;
use ledger::{ResumeError, StateFault};
use miette::Diagnostic;
use storage::log::LogError;
use storage::state::StateError;
use thiserror::Error;
use types::{EpochStart, GenesisError, Height};

/// Why log or state cannot be used.
#[derive(Debug, Error, Diagnostic)]
pub enum RecoveryError {
    /// Another process works on the data directory.
    #[error("the data directory is in use")]
    #[diagnostic(help(
        "another `stele node` runs on it: stop that one, or set another `data_dir` in node.toml; or `stele fsck` or `stele rebuild` is at work: wait until it has ended"
    ))]
    InUse(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The data directory is of another ledger or another node.
    #[error("the data directory belongs to another ledger or another validator")]
    #[diagnostic(help("nothing in it was touched; check `genesis`, `validator` and `data_dir` in node.toml"))]
    Foreign(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No room.
    #[error("the disk is full")]
    #[diagnostic(help("make room and start the node again: it continues where it stopped"))]
    DiskFull(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The file system can be read and not written.
    #[error("the file system of the data directory is read-only")]
    #[diagnostic(help(
        "nothing is lost: have it mounted for writing and start the node again. Linux itself makes a file system read-only after errors of its disk: look into the kernel's log first"
    ))]
    ReadOnly(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Another version wrote the log.
    #[error("the log was written by another version of stele")]
    #[diagnostic(help("nothing in it was touched: start the version that wrote it, or a newer one"))]
    Version(#[source] LogError),
    /// Something that is no segment lies among the segments.
    #[error("the directory of the log holds a file that is none of the log's")]
    #[diagnostic(help(
        "nothing was touched: move it away, out of a directory that is the log's alone, and start the node again; `stele fsck` names all such files"
    ))]
    StrayFile(#[source] LogError),
    /// The log.
    #[error("the log cannot be used")]
    #[diagnostic(help(
        "a damaged log is never cut in the middle. `stele fsck` names all damage, and `stele fsck --repair-from PEER` fetches what it took. Or start with an empty data directory, and the signer's guard file kept: the node fetches everything from its peers"
    ))]
    Log(#[source] LogError),
    /// The state database.
    #[error("the state database cannot be used")]
    #[diagnostic(help("if it is damaged it can be rebuilt: remove the `state` directory and keep the log"))]
    State(#[source] StateError),
    /// A row of the state database.
    #[error("the state database cannot be read")]
    #[diagnostic(help("the state can be rebuilt: remove the `state` directory and keep the log"))]
    Table(#[from] TableError),
    /// Genesis accounts.
    #[error("genesis cannot be applied")]
    Genesis(#[source] GenesisError),
    /// State and genesis do not fit.
    #[error("the state does not belong to this genesis")]
    Ledger(#[source] ResumeError),
    /// Reading state failed.
    #[error(transparent)]
    Fault(#[from] StateFault),
    /// The log ends before what the state holds: it was cut, or is of an older copy.
    #[error("the log ends at height {log}, but the state holds height {state}")]
    #[diagnostic(help(
        "put the log and the state of one moment together again, or remove the data directory and let the node catch up from its peers; keep the signer's guard file in either case"
    ))]
    LogBehindState {
        /// Last height in the log.
        log: Height,
        /// Height of the state.
        state: Height,
    },
    /// A commit that came with the state is not there.
    #[error("the commit of height {0} that came with the state cannot be read")]
    #[diagnostic(help(
        "remove the data directory and let the node catch up from its peers; keep the signer's guard file"
    ))]
    SyncedCommit(Height),
    /// A restore was interrupted.
    #[error("a restore into the data directory is unfinished")]
    #[diagnostic(help(
        "run the same `stele restore` again, it goes on where it was; or remove the `restoring` directory"
    ))]
    RestoreUnfinished,
    /// A repair was interrupted.
    #[error("a repair of the log is unfinished")]
    #[diagnostic(help("run `stele fsck --repair-from` again, it finishes"))]
    RepairUnfinished,
    /// This node has no part in the last epoch that it knows of.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Outside(Box<NoPart>),
    /// Log and state do not fit.
    #[error("consensus cannot go on from this log")]
    #[diagnostic(help("log and state must come from one node and be kept together"))]
    Consensus(#[source] RecoverError),
}

/// An epoch in which a node has no part.
#[derive(Clone, Debug, Error)]
#[error("{why}")]
pub struct NoPart {
    /// Why not.
    pub why: Outside,
    /// The epoch.
    pub start: EpochStart,
}

impl Diagnostic for NoPart {
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.why.help()
    }
}

impl From<LogError> for RecoveryError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::InUse { .. } => Self::InUse(Box::new(error)),
            LogError::OtherIdentity { .. } => Self::Foreign(Box::new(error)),
            LogError::DiskFull { .. } => Self::DiskFull(Box::new(error)),
            LogError::Version { .. } => Self::Version(error),
            LogError::ForeignFile { .. } => Self::StrayFile(error),
            LogError::Io { ref source, .. } if is_read_only(source) => Self::ReadOnly(Box::new(error)),
            other => Self::Log(other),
        }
    }
}

impl From<StateError> for RecoveryError {
    fn from(error: StateError) -> Self {
        match error {
            StateError::InUse { .. } => Self::InUse(Box::new(error)),
            StateError::OtherIdentity { .. } => Self::Foreign(Box::new(error)),
            StateError::DiskFull(_) => Self::DiskFull(Box::new(error)),
            StateError::Io { ref source, .. } if is_read_only(source) => Self::ReadOnly(Box::new(error)),
            other => Self::State(other),
        }
    }
}

fn is_read_only(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::ReadOnlyFilesystem
}
