//! What can go wrong with the log, split by what the caller does next: a [`LogError`] refuses to open or to read, a
//! [`LogFault`] means that nothing more becomes durable and the node stops.

use std::io;
use std::path::PathBuf;

use super::LogPosition;

/// Why the log cannot be opened or a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Another process holds the directory.
    #[error("{dir}: the log is in use by another process")]
    InUse {
        /// Directory of the log.
        dir: PathBuf,
    },
    /// There is no log in the directory.
    #[error("{dir}: there is no log")]
    NoLog {
        /// Directory of the log.
        dir: PathBuf,
    },
    /// The directory belongs to another chain or another node.
    #[error("segment {segment}: the log belongs to another chain or node")]
    OtherIdentity {
        /// Segment that says so.
        segment: u64,
        /// Identity that was asked for.
        expected: [u8; 32],
        /// Identity that was found.
        found: [u8; 32],
    },
    /// A segment written by a version that this one does not read.
    #[error("segment {segment}: format version {version} is not readable")]
    Version {
        /// Segment that says so.
        segment: u64,
        /// Version that was found.
        version: u32,
    },
    /// A file in the directory that is none of ours.
    #[error("{path}: not a file of the log")]
    ForeignFile {
        /// The file.
        path: PathBuf,
    },
    /// A segment between the oldest and the newest is gone.
    #[error("segment {segment} is missing")]
    MissingSegment {
        /// First one that is missing.
        segment: u64,
    },
    /// Bytes that were durable are not what was written. Repair from peers; nothing was cut.
    #[error("corrupt at segment {segment}, offset {offset}")]
    Corrupt {
        /// Segment.
        segment: u64,
        /// Byte offset in it.
        offset: u32,
    },
    /// The position is not that of a record in the log.
    #[error("no record at {0}")]
    NoRecord(LogPosition),
    /// The position lies in a segment that was released.
    #[error("segment of {0} was released")]
    Released(LogPosition),
    /// No room to make a segment.
    #[error("disk full: no room for a segment of {bytes} bytes")]
    DiskFull {
        /// Size of a segment.
        bytes: u64,
    },
    /// An option outside its range.
    #[error("option {option} is out of range")]
    Option {
        /// Name of the field of `LogOptions`.
        option: &'static str,
    },
    /// The caller's visitor refused a record.
    #[error("record at {position} was refused")]
    Visitor {
        /// Record it was given.
        position: LogPosition,
        /// Its reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The operating system refused an operation.
    #[error("cannot {operation}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// Its answer.
        #[source]
        source: io::Error,
    },
}

impl LogError {
    pub(crate) fn io(operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { operation, source }
    }
}

/// Why a record will not become durable. All but [`LogFault::TooLarge`] are final: the log takes nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogFault {
    /// No room for another segment. What was accepted before is still made durable.
    #[error("disk full")]
    DiskFull,
    /// A write or a sync failed. It is never tried again: after a failed sync the kernel may call lost pages clean.
    #[error("{operation} failed (os error {os:?})")]
    Io {
        /// `write` or `sync` or `make a segment`.
        operation: &'static str,
        /// Number of the operating system's error.
        os: Option<i32>,
    },
    /// The record does not fit a segment. Only this record is refused.
    #[error("record of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its payload.
        bytes: u64,
        /// Most that fits.
        limit: u64,
    },
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}
