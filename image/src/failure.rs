//! Why a command of the image ended without its result, in words for the person at the terminal.

use crate::nvidia::DriverError;
use std::io::ErrorKind;
use std::path::PathBuf;
use thiserror::Error;

/// What went wrong, by whose matter it is.
#[derive(Debug, Error)]
pub enum Failure {
    /// A file or device of this machine.
    #[error("{about}: {source}{}", cure(about, source))]
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
    #[error(
        "{name}: what came is not what the lock file pins (SHA-256 {found})\n  help: something between here and the mirror \
         changes it: try another network or mirror; nothing of it was used"
    )]
    WrongPackage {
        /// The package.
        name: String,
        /// What came.
        found: String,
    },
    /// The lock file.
    #[error(
        "{path}: {reason}\n  help: take the file as it was committed, or have `cargo xtask image lock` write it anew"
    )]
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

/// What to do about what the system says; nothing where that depends on more than its words.
fn cure(about: &str, source: &std::io::Error) -> String {
    let help = match source.kind() {
        ErrorKind::NotFound if about.starts_with("starting ") => "install it, or name the folder that it is in",
        ErrorKind::NotFound => "look at the name again; `lsblk` lists the disks that are plugged in",
        ErrorKind::PermissionDenied => "run it as who may do that: disks are root's (`sudo`)",
        ErrorKind::ResourceBusy => {
            "`lsblk` shows what of it is mounted: unmount that (`umount`), or end the program that has it"
        }
        ErrorKind::ReadOnlyFilesystem => "it is protected from writing: by a switch on it, or by how it is mounted",
        ErrorKind::StorageFull => "make room there, or name another folder",
        ErrorKind::AlreadyExists => "name a new one, or take away what is there",
        _ if source.raw_os_error() == Some(libc::EIO) => {
            "the device is at fault: try another port, then another device"
        }
        _ => return String::new(),
    };
    format!("\n  help: {help}")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_refuses_comes_with_a_cure() {
        let told = |about: &str, code| Failure::io(about)(std::io::Error::from_raw_os_error(code)).to_string();
        for (code, cure) in [
            (libc::EACCES, "sudo"),
            (libc::EBUSY, "umount"),
            (libc::EROFS, "switch"),
            (libc::ENOSPC, "make room"),
            (libc::EIO, "another port"),
            (libc::ENOENT, "lsblk"),
        ] {
            let told = told("writing the disk", code);
            assert!(
                told.starts_with("writing the disk: ") && told.contains("\n  help: ") && told.contains(cure),
                "{told}"
            );
        }
        assert!(told("starting swtpm", libc::ENOENT).contains("install it"));
        assert!(!told("writing the disk", libc::EINVAL).contains("help"));
    }
}
