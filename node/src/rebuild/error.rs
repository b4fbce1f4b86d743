//! Why a state cannot be rebuilt; for the operator, with what to do next.

use crate::execution::ApplyError;
use crate::replica::recovery::RecoveryError;
use crate::replica::serve::ServeError;
use crate::state_sync::snapshots::RootError;
use crate::tables::TableError;
use ledger::ResumeError;
use miette::Diagnostic;
use std::io;
use std::path::PathBuf;
use storage::log::{LogError, LogPosition};
use storage::state::StateError;
use thiserror::Error;
use types::{BlockRef, DecodeError, Digest, GenesisError, Height};

/// Why a state cannot be rebuilt. The database in use is as it was.
#[derive(Debug, Error, Diagnostic)]
pub enum RebuildError {
    /// A node or another tool is at work on the directory.
    #[error("{}: another process works on it", dir.display())]
    #[diagnostic(help(
        "stop the node that runs on it; or wait until another `stele rebuild` or `stele fsck` has ended"
    ))]
    InUse {
        /// The data directory.
        dir: PathBuf,
    },
    /// A restore was interrupted.
    #[error("{}: a restore is unfinished", dir.display())]
    #[diagnostic(help("run the same `stele restore` again, or remove the `restoring` directory"))]
    RestoreUnfinished {
        /// The data directory.
        dir: PathBuf,
    },
    /// There is no log.
    #[error("{}: there is no log", dir.display())]
    #[diagnostic(help("name the directory that node.toml calls data_dir; it holds log and state"))]
    NoLog {
        /// The data directory.
        dir: PathBuf,
    },
    /// The log.
    #[error("the log cannot be read: {0}")]
    #[diagnostic(help(
        "`stele fsck` names all that is damaged, `stele fsck --repair-from PEER` fetches it from a peer"
    ))]
    Log(#[from] LogError),
    /// A record is not what its kind says.
    #[error("the record at {position} (kind {kind}) does not decode: {source}")]
    #[diagnostic(help("`stele fsck --deep` names all such records"))]
    Record {
        /// Where.
        position: LogPosition,
        /// What it says it is.
        kind: u8,
        /// What is wrong.
        source: DecodeError,
    },
    /// The log is of another ledger than the genesis.
    #[error("the log belongs to another ledger than this genesis")]
    #[diagnostic(help("give the genesis of this node with --genesis or --config"))]
    OtherLedger,
    /// A block of a commit is not in the log.
    #[error("block {block} of height {height} is not in the log any more")]
    #[diagnostic(help(
        "the log was pruned: `stele restore` from a backup, or start the node without its state directory: it takes a state from its peers"
    ))]
    BlockMissing {
        /// The height.
        height: Height,
        /// The block.
        block: BlockRef,
    },
    /// Heights are missing: the log was pruned, or the node took a state from its peers.
    #[error("the log goes on with height {found}, and the state has reached {reached}")]
    #[diagnostic(help(
        "the log was pruned, or the node once took a state from its peers: `stele restore` from a backup, or start the node without its state directory, so that it takes a state again"
    ))]
    Gap {
        /// The last height that is there.
        reached: Height,
        /// The next commit in the log.
        found: Height,
    },
    /// The log has lost its end.
    #[error("the log ends with height {height}, and the state that is there has reached {state}")]
    #[diagnostic(help(
        "the end of the log is lost: `stele fsck --repair-from` a validator or a backup brings it back; to go on without it all the same, move the `state` directory away"
    ))]
    Behind {
        /// The last height of the log.
        height: Height,
        /// That of the state.
        state: Height,
    },
    /// A commit does not follow the one before it.
    #[error("the commit of height {0} does not follow the one before it")]
    #[diagnostic(help(
        "the log is not of one piece; if a rebuild was interrupted and the log exchanged since, begin again with --anew"
    ))]
    Chain(Height),
    /// Execution gives another header than was certified.
    #[error("height {height} gives header {computed}, and {certified} is certified")]
    #[diagnostic(help(
        "log and genesis do not belong together, or this version of stele executes otherwise than that of the network"
    ))]
    Contradicted {
        /// The height.
        height: Height,
        /// What execution gives.
        computed: Digest,
        /// What the committee has certified.
        certified: Digest,
    },
    /// A certificate out of the log's blocks does not verify.
    #[error("the signatures of the certificate of height {0} do not verify")]
    #[diagnostic(help("a block in the log is not what its author signed: `stele fsck --deep`"))]
    Certificate(Height),
    /// The state of consensus cannot be rebuilt.
    #[error("the commits below height {0} do not give the state of consensus")]
    Consensus(Height),
    /// The genesis cannot be used.
    #[error(transparent)]
    Committee(#[from] GenesisError),
    /// The state of height 0 cannot be written.
    #[error("genesis cannot be applied: {0}")]
    Genesis(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What an interrupted run has left is not of this genesis.
    #[error("what was rebuilt so far cannot be used: {0}")]
    #[diagnostic(help("begin again with --anew"))]
    Resume(#[from] ResumeError),
    /// Execution.
    #[error("a commit cannot be applied: {0}")]
    Apply(#[from] ApplyError),
    /// The root of a state.
    #[error(transparent)]
    Root(#[from] RootError),
    /// A block in the log.
    #[error(transparent)]
    Archive(#[from] ServeError),
    /// The database that is being made.
    #[error("the database cannot be written: {0}")]
    State(#[from] StateError),
    /// A row of it.
    #[error("the database cannot be read: {0}")]
    Table(#[from] TableError),
    /// Nothing can be made in the data directory.
    #[error("{}: cannot be written to", dir.display())]
    #[diagnostic(help(
        "the new database is made in `rebuild` there: see that this user may write and that the file system is not mounted read-only, then run it again"
    ))]
    Unwritable {
        /// The data directory.
        dir: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// No room.
    #[error("{}: the disk is full", dir.display())]
    #[diagnostic(help(
        "make room there and run the same command again: it goes on behind the last height that it flushed, and nothing in use was changed"
    ))]
    DiskFull {
        /// The data directory.
        dir: PathBuf,
        /// What had no room.
        source: Box<RebuildError>,
    },
    /// It was told to stop.
    #[error("interrupted; run it again to go on")]
    Interrupted,
}

impl RebuildError {
    /// Whether it is room that was missing.
    pub(super) fn is_disk_full(&self) -> bool {
        match self {
            Self::State(error)
            | Self::Table(TableError::State(error))
            | Self::Apply(ApplyError::Table(TableError::State(error))) => error.is_disk_full(),
            Self::Genesis(error) => match error.downcast_ref() {
                Some(RecoveryError::Table(TableError::State(error))) => error.is_disk_full(),
                other => matches!(other, Some(RecoveryError::DiskFull(_))),
            },
            Self::Unwritable { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            _ => false,
        }
    }
}
