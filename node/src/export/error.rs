//! Why an export ended; for the operator, with what to do next. What caused an error is its source and never in its text
//! as well, so that it is told once.

use super::sink::{Format, SinkError};
use crate::committees::CommitteeError;
use crate::rebuild::Unreadable;
use crate::replica::intake::Refused;
use crate::replica::serve::ServeError;
use crate::tables::TableError;
use miette::Diagnostic;
use parquet::errors::ParquetError;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use storage::log::LogError;
use thiserror::Error;
use types::{ChainId, Height};

/// Names that a message shows.
const SHOWN_MAX: usize = 5;

/// Why an export ended.
#[derive(Debug, Error, Diagnostic)]
pub enum ExportError {
    /// The state database.
    #[error(transparent)]
    #[diagnostic(transparent)]
    State(#[from] Unreadable),
    /// A row of it.
    #[error("the state cannot be read")]
    #[diagnostic(help("`stele fsck --deep` says what is damaged; `stele rebuild` makes the state anew from the log"))]
    Table(#[from] TableError),
    /// The log.
    #[error("the log cannot be read")]
    #[diagnostic(help("`stele fsck` says what is damaged; another node has it whole"))]
    Log(#[from] LogError),
    /// Something in them.
    #[error("the node's data cannot be read")]
    #[diagnostic(help("`stele fsck --deep` says what is damaged; another node has it whole"))]
    Archive(#[from] ServeError),
    /// An epoch whose committee nobody has proven.
    #[error("a committee is not proven")]
    Committee(#[from] CommitteeError),
    /// What the disk holds is not what the committee has certified.
    #[error("from height {from} on the data is not what the committee certified: {reason}")]
    #[diagnostic(help(
        "nothing of this was exported; `stele fsck` says what is damaged, and another node has it whole"
    ))]
    Refused {
        /// First height of the run that was checked.
        from: Height,
        /// What is wrong.
        reason: Refused,
    },
    /// The blocks are not in the log any more.
    #[error("height {wanted} is not in the log any more; the oldest that is whole is {oldest}")]
    #[diagnostic(help(
        "begin there with --from {oldest} in another directory, or export from a node that keeps everything"
    ))]
    Released {
        /// The height.
        wanted: Height,
        /// The oldest one.
        oldest: Height,
    },
    /// `--from` amid what the directory holds, or above it.
    #[error("the directory holds heights up to {held}, so that it goes on at {next} and not at {wanted}", next = held.next())]
    #[diagnostic(help("leave --from away, or name another directory"))]
    NotNext {
        /// Up to where.
        held: Height,
        /// Where to begin.
        wanted: Height,
    },
    /// `--to 0`.
    #[error("there is no height 0 to export: heights begin at 1")]
    #[diagnostic(help("--to is the last height that is wanted; leave it away for all that is certified and flushed"))]
    NoHeight,
    /// `--to` below `--from`.
    #[error("there is nothing from height {from} to {to}")]
    Empty {
        /// First.
        from: Height,
        /// Last.
        to: Height,
    },
    /// `--from` or `--to` above what is there.
    #[error("height {wanted} is not certified and flushed yet; the last one that is, is {certified}")]
    #[diagnostic(help(
        "a running node flushes its state after `log.flush_seconds` at the latest (node.toml; 60 by default): wait, or ask for less"
    ))]
    NotYet {
        /// The height.
        wanted: Height,
        /// The last.
        certified: Height,
    },
    /// A later version wrote the directory.
    #[error("{}: has format {found}, which a newer version of stele wrote; this one knows formats up to {known}", path.display())]
    #[diagnostic(help("use the version of stele that wrote it, or a later one, or export into another directory"))]
    Newer {
        /// The manifest.
        path: PathBuf,
        /// What it says.
        found: u64,
        /// What is known.
        known: u64,
    },
    /// An earlier version wrote the directory, with other tables.
    #[error("{}: has format {found} of an older version of stele, and this one writes format {known}", path.display())]
    #[diagnostic(help("export into another directory: tables of two formats cannot be read as one"))]
    Older {
        /// The manifest.
        path: PathBuf,
        /// What it says.
        found: u64,
        /// What is known.
        known: u64,
    },
    /// The directory holds another ledger.
    #[error("{}: holds the export of ledger {found}, not of {expected}", dir.display())]
    #[diagnostic(help("check --config, or export into another directory"))]
    OtherLedger {
        /// The directory.
        dir: PathBuf,
        /// Of the export.
        found: ChainId,
        /// Of the node.
        expected: ChainId,
    },
    /// The directory holds files of another format.
    #[error("{}: holds an export as {found}, not as {wanted}", dir.display(), found = found.extension(), wanted = wanted.extension())]
    #[diagnostic(help("say --format {}, or export into another directory", found.extension()))]
    OtherFormat {
        /// The directory.
        dir: PathBuf,
        /// Of the export.
        found: Format,
        /// Of this run.
        wanted: Format,
    },
    /// Another process writes there.
    #[error("{}: another export is being written there", .0.display())]
    #[diagnostic(help("wait for it, or name another directory"))]
    InUse(PathBuf),
    /// A file that the manifest names.
    #[error("{}: is gone, or not as long as the manifest says", path.display())]
    #[diagnostic(help("put it back from a copy of the directory, or export into another directory"))]
    PartDamaged {
        /// The file.
        path: PathBuf,
    },
    /// There is nothing to verify.
    #[error("{}: there is no manifest.json, and so no export", .0.display())]
    #[diagnostic(help("--out names the directory that `stele export` wrote, or a copy of all of it"))]
    Nothing(PathBuf),
    /// Files that look like parts and that the manifest does not name.
    #[error("{}: parts of an export lie there that manifest.json does not name: {}", dir.display(), some(files))]
    #[diagnostic(help(
        "a query over all files there would count rows twice; put manifest.json back if it was lost or replaced, or move these files away, or export into another directory"
    ))]
    Leftovers {
        /// The directory.
        dir: PathBuf,
        /// Their names.
        files: Vec<String>,
    },
    /// A manifest that cannot be read.
    #[error("{}: is no manifest of an export", path.display())]
    #[diagnostic(help("put it back from a copy of the directory, or export into another directory"))]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A manifest whose parts do not follow each other.
    #[error("{}: its parts do not follow each other, or one has not a file for each table", path.display())]
    #[diagnostic(help("put it back from a copy of the directory, or export into another directory"))]
    Gap {
        /// The file.
        path: PathBuf,
    },
    /// A file or directory of the export cannot be read.
    #[error("{}: cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// A file or directory of the export cannot be written.
    #[error("{}: cannot be written", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
        /// What to do about it.
        #[help]
        cure: &'static str,
    },
    /// Rows have no form in Parquet.
    #[error("{}: its rows cannot be encoded", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ParquetError,
    },
}

impl ExportError {
    /// A file or directory cannot be read.
    pub fn reading(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }

    /// A file or directory cannot be written.
    pub fn writing(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Write { cure: cure(source.kind()), path, source }
    }

    /// Rows cannot be written to a file.
    pub fn rows(path: &Path) -> impl FnOnce(SinkError) -> Self {
        let path = path.to_owned();
        move |error| match error {
            SinkError::Io(source) => Self::writing(&path)(source),
            SinkError::Parquet(source) => Self::Encode { path, source },
        }
    }
}

/// The first of some names, and how many more there are.
fn some(names: &[String]) -> String {
    let shown = names.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN_MAX) {
        0 => shown,
        more => format!("{shown}, and {more} more"),
    }
}

fn cure(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "make room there and run the same command again: it goes on behind the last part that is finished"
        }
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
            "make the directory writable for this user and run the same command again: it goes on behind the last part that is finished"
        }
        _ => "run the same command again when the cause is gone: it goes on behind the last part that is finished",
    }
}
