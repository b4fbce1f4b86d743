//! Where backups lie: a directory, or a bucket of an S3-compatible store. Names of objects are ours and few; an object is
//! there as a whole or not at all, and is durable when it was put.
//!
//! Invariant: credentials come out of a file, and are in no flag, variable, message or log. Deliberately absent: lists of
//! objects; the manifest is the list.

mod bucket;
#[cfg(test)]
pub mod stand_in;
#[cfg(test)]
mod tests;

use crate::durable;
use bucket::Bucket;
pub use bucket::S3File;
use miette::Diagnostic;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

const LOCK: &str = "LOCK";

/// Why something cannot be put or got.
#[derive(Debug, Error, Diagnostic)]
pub enum DepotError {
    /// There is no such object.
    #[error("{name} is not there")]
    #[diagnostic(help("a file that the manifest names is gone; another copy of the backup may have it"))]
    Missing {
        /// The object.
        name: String,
    },
    /// The store has no such bucket, as far as we are told.
    #[error("the store has no bucket `{bucket}`")]
    #[diagnostic(help("see that the name is right, and make the bucket: it is not made here"))]
    Bucket {
        /// Its name.
        bucket: String,
    },
    /// It is longer than it may be.
    #[error("{name} has {bytes} bytes, where {expected} are expected")]
    Length {
        /// The object.
        name: String,
        /// How long it is.
        bytes: u64,
        /// How long it may be.
        expected: u64,
    },
    /// Another process writes there.
    #[error("{}: another backup is being written there", .0.display())]
    InUse(PathBuf),
    /// A name that none of ours is.
    #[error("`{0}` is no name of a file in a backup")]
    Name(String),
    /// A file or directory.
    #[error("{}: {source}", path.display())]
    #[diagnostic(help(
        "see that this user may read and write there, and that the disk has room; then run the same command again"
    ))]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// The place cannot be understood.
    #[error("`{location}` is no place for a backup: {reason}")]
    #[diagnostic(help("give a directory, or s3://BUCKET/PREFIX with --s3 FILE"))]
    Location {
        /// What was given.
        location: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The file with endpoint and credentials.
    #[error("{}: {reason}", path.display())]
    #[diagnostic(help(
        "a file of mode 0600 with region, access_key_id and secret_access_key, and endpoint where it is not AWS"
    ))]
    Credentials {
        /// Which.
        path: PathBuf,
        /// What is wrong. Never what stands in it.
        reason: String,
    },
    /// The store refused, or does not answer.
    #[error("the store refused to {operation} {name}: {source}")]
    Store {
        /// What was tried.
        operation: &'static str,
        /// The object.
        name: String,
        /// Its answer.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A place for backups.
pub enum Depot {
    /// A directory; locked while somebody writes.
    Directory {
        /// Which.
        path: PathBuf,
        /// Held for as long as this exists.
        lock: Option<File>,
    },
    /// A bucket.
    Bucket(Bucket),
}

impl Depot {
    /// The place that an operator names, to read from. `s3` is the file with endpoint and credentials.
    pub fn open(location: &str, s3: Option<&Path>) -> Result<Self, DepotError> {
        match location.strip_prefix("s3://") {
            Some(rest) => Ok(Self::Bucket(Bucket::open(location, rest, &S3File::find(s3)?)?)),
            None if location.contains("://") => {
                let reason = "only s3:// is known besides directories";
                Err(DepotError::Location { location: location.to_owned(), reason })
            }
            None => Ok(Self::Directory { path: location.into(), lock: None }),
        }
    }

    /// As [`Depot::open`], to write to. A directory is made if need be.
    pub fn open_to_write(location: &str, s3: Option<&Path>) -> Result<Self, DepotError> {
        let mut depot = Self::open(location, s3)?;
        if let Self::Directory { path, lock } = &mut depot {
            fs::create_dir_all(&*path).map_err(file(path))?;
            let held = File::create(path.join(LOCK)).map_err(file(path))?;
            match held.try_lock() {
                Ok(()) => *lock = Some(held),
                Err(TryLockError::WouldBlock) => return Err(DepotError::InUse(path.clone())),
                Err(TryLockError::Error(error)) => return Err(file(path)(error)),
            }
        }
        Ok(depot)
    }

    /// As an operator names it.
    pub fn place(&self) -> String {
        match self {
            Self::Directory { path, .. } => path.display().to_string(),
            Self::Bucket(bucket) => bucket.place(),
        }
    }

    /// Puts an object, over one of the same name.
    pub fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), DepotError> {
        check_name(name)?;
        match self {
            Self::Bucket(bucket) => bucket.put(name, bytes),
            Self::Directory { path, .. } => put_file(&path.join(name), &bytes),
        }
    }

    /// The bytes of an object, at most so many.
    pub fn get(&self, name: &str, bytes_max: u64) -> Result<Vec<u8>, DepotError> {
        check_name(name)?;
        let too_long = |bytes| DepotError::Length { name: name.to_owned(), bytes, expected: bytes_max };
        match self {
            Self::Bucket(bucket) => bucket.get(name, bytes_max),
            Self::Directory { path, .. } => {
                let path = path.join(name);
                let length = match fs::metadata(&path) {
                    Ok(found) => found.len(),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return Err(DepotError::Missing { name: name.to_owned() });
                    }
                    Err(error) => return Err(file(&path)(error)),
                };
                if length > bytes_max {
                    return Err(too_long(length));
                }
                fs::read(&path).map_err(file(&path))
            }
        }
    }

    /// Removes an object, if it is there.
    pub fn remove(&self, name: &str) -> Result<(), DepotError> {
        check_name(name)?;
        match self {
            Self::Bucket(bucket) => bucket.remove(name),
            Self::Directory { path, .. } => match fs::remove_file(path.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file(&path.join(name))(error)),
                _ => Ok(()),
            },
        }
    }
}

impl std::fmt::Debug for Depot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory { path, .. } => f.debug_tuple("Directory").field(path).finish(),
            Self::Bucket(_) => f.debug_tuple("Bucket").finish_non_exhaustive(),
        }
    }
}

/// Names may come out of a manifest that somebody else wrote.
fn check_name(name: &str) -> Result<(), DepotError> {
    let plain = |part: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(known)
    };
    if name.len() <= 200 && name.split('/').all(plain) { Ok(()) } else { Err(DepotError::Name(name.to_owned())) }
}

/// Durable when it is there, in a folder that is made for it.
fn put_file(path: &Path, bytes: &[u8]) -> Result<(), DepotError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(file(folder))?;
    durable::put(path, bytes).map_err(file(path))
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> DepotError {
    let path = path.to_owned();
    move |source| DepotError::File { path, source }
}
