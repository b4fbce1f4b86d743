//! Why a command of the image ended without its result, in words for the person at the terminal.

use crate::nvidia::DriverError;
use std::path::PathBuf;
use thiserror::Error;

/// What went wrong, by whose matter it is.
#[derive(Debug, Error)]
pub enum Failure {
    /// A file or device of this machine.
    #[error("{about}: {source}")]
    Io {
        /// What was attempted.
        about: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// A package that no mirror has any more.
    #[error(
        "{name} {version} is gone from every configured mirror\n  help: `cargo xtask image lock` pins the versions of today"
    )]
    Gone {
        /// The package.
        name: String,
        /// As the lock file has it.
        version: String,
    },
    /// A package that is not the one that was pinned.
    #[error("{name}: what came is not what the lock file pins (SHA-256 {found})")]
    WrongPackage {
        /// The package.
        name: String,
        /// What came.
        found: String,
    },
    /// The lock file.
    #[error("{path}: {reason}")]
    Lock {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A package's or image's bytes.
    #[error("{what}: {reason}")]
    Content {
        /// Which file.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What the operator gave as the driver of his cards.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The machine or the flags do not fit the command.
    #[error("{reason}\n  help: {help}")]
    Unfit {
        /// What is missing.
        reason: String,
        /// What to do.
        help: String,
    },
}

impl Failure {
    /// Of a file or device.
    pub fn io(about: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let about = about.into();
        move |source| Self::Io { about, source }
    }

    /// Of some content.
    pub fn content(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Content { what: what.into(), reason: reason.to_string() }
    }

    /// Of a machine or flags.
    pub fn unfit(reason: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Unfit { reason: reason.into(), help: help.into() }
    }
}
