//! What can go wrong with the state database, split by what the caller does next.

use std::io;
use std::path::PathBuf;

/// Why the state database refused.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another process holds the directory.
    #[error("{dir}: the state database is in use by another process")]
    InUse {
        /// Directory of the database.
        dir: PathBuf,
    },
    /// The directory belongs to another chain or another node.
    #[error("the state database belongs to another chain or node")]
    OtherIdentity {
        /// Identity that was asked for.
        expected: [u8; 32],
        /// Identity that was found; empty if there is data without one.
        found: Vec<u8>,
    },
    /// A key of a hashed family is too short to have a bucket; it could not be found again. Nothing was applied.
    #[error("key of {bytes} bytes in {family:?}, which takes keys of at least {least}")]
    ShortKey {
        /// Family it was meant for.
        family: super::Family,
        /// Its length.
        bytes: usize,
        /// Least length.
        least: usize,
    },
    /// No room left. The database takes no more until it is opened again with room.
    #[error("disk full")]
    DiskFull(#[source] rocksdb::Error),
    /// A checksum or a file is wrong: remove the directory and rebuild it from the log.
    #[error("the state database is corrupt")]
    Corrupt(#[source] rocksdb::Error),
    /// A block of a file is not what was written: remove the directory and rebuild it from the log.
    #[error("a file of the state database is damaged: {0}")]
    Damaged(String),
    /// Another refusal of the database.
    #[error("the state database failed")]
    Database(#[source] rocksdb::Error),
    /// The operating system refused an operation on the directory.
    #[error("cannot {operation}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// Its answer.
        #[source]
        source: io::Error,
    },
}

impl StateError {
    /// Whether it is room that was missing.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::DiskFull(_) => true,
            Self::Io { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            _ => false,
        }
    }
}

impl From<rocksdb::Error> for StateError {
    fn from(error: rocksdb::Error) -> Self {
        match error.kind() {
            rocksdb::ErrorKind::Corruption => Self::Corrupt(error),
            // The library has no kind of its own for a full disk; the text is that of strerror or of its own check.
            _ if error.as_ref().contains("No space left") => Self::DiskFull(error),
            _ => Self::Database(error),
        }
    }
}
