//! Why a log cannot be repaired; for the operator, with what to do next.

use crate::backup::BackupError;
use crate::committees::CommitteeError;
use crate::rebuild::RebuildError;
use crate::replica::intake::Refused;
use crate::tables::TableError;
use miette::Diagnostic;
use std::io;
use std::path::PathBuf;
use storage::log::{LogError, LogFault};
use storage::state::StateError;
use thiserror::Error;
use types::{DecodeError, Height};

/// Why a log cannot be repaired. It is as it was, unless it says that the next run finishes.
#[derive(Debug, Error, Diagnostic)]
pub enum RepairError {
    /// A node runs there, or there is no log.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Held(#[from] RebuildError),
    /// Not one segment is this node's.
    #[error("all of the log in {} is another node's, or of another ledger", .0.display())]
    #[diagnostic(help("nothing was touched: put the log of this node there, or name the other node's configuration"))]
    Foreign(PathBuf),
    /// The directory of the log holds something else as well.
    #[error("{}: it is none of the log's", .0.display())]
    #[diagnostic(help(
        "nothing was repaired: the damaged log is removed with its directory once it is repaired; move the file away first"
    ))]
    StrayFile(PathBuf),
    /// The log.
    #[error("the log cannot be used: {0}")]
    Log(#[from] LogError),
    /// Writing the new one.
    #[error("the new log cannot be written: {0}")]
    #[diagnostic(help("it takes as much room as the log has from its first damaged segment on"))]
    Append(#[from] LogFault),
    /// A record whose checksum holds is not what its kind says.
    #[error("a record does not decode: {0}")]
    Record(#[from] DecodeError),
    /// Who was named to fetch from.
    #[error("`{name}` is no validator of the present committee, and no directory or bucket")]
    #[diagnostic(help("the committee has: {known}"))]
    UnknownPeer {
        /// The name.
        name: String,
        /// The validators.
        known: String,
    },
    /// A validator was named, and there is no configuration with which it can be reached.
    #[error("to fetch from validator `{0}` this node's own links are used")]
    #[diagnostic(help("name node.toml with --config, and let the signer run; or name a backup"))]
    NoConfig(String),
    /// The links.
    #[error("no link to peers: {0}")]
    Links(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Nobody has it.
    #[error("nobody who was asked has height {height}{}", reason.map(|reason| format!("; one answer was refused: {reason}")).unwrap_or_default())]
    #[diagnostic(help(
        "name others with --repair-from as well, or a backup; with an empty directory the node takes everything from its peers"
    ))]
    Nobody {
        /// The height.
        height: Height,
        /// What was wrong with an answer.
        reason: Option<Refused>,
    },
    /// What was fetched is certified, and names another commit than the log does.
    #[error("the log's commit of height {0} is not the one that is certified")]
    OtherCommit(Height),
    /// The new log is damaged too.
    #[error("the log that was written is damaged as well, in {0} places")]
    #[diagnostic(help("the disk does not keep what is written: replace it"))]
    StillDamaged(u64),
    /// A backup.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Backup(#[from] BackupError),
    /// Committees.
    #[error(transparent)]
    Committee(#[from] CommitteeError),
    /// The database.
    #[error("the state cannot be used: {0}")]
    State(#[from] StateError),
    /// A row.
    #[error("the state cannot be read: {0}")]
    Table(#[from] TableError),
    /// A file or directory.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
}

impl RepairError {
    pub(super) fn file(path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}
