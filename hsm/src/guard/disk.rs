//! What the guard's journal needs of a disk: write at a place, sync, exchange everything. The real one is a locked file;
//! tests put one in its place that loses what was not synced.

use crate::atomic_file;
use crate::error::{ConfigError, Fault, StartError};
use rustix::fs::FlockOperation;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Longest file that is read.
const FILE_MAX: u64 = 64 << 20;

/// A failed exchange.
#[derive(Debug)]
pub(super) enum ExchangeError {
    /// The old content stays in use.
    Undone(io::Error),
    /// Which content a crash would leave is unknown.
    Unknown(io::Error),
}

/// A file, as the journal sees it.
pub(super) trait Disk: Send {
    /// Writes all bytes at an offset; not durable yet.
    fn write(&mut self, bytes: &[u8], offset: usize) -> io::Result<()>;

    /// Makes durable what was written.
    fn sync(&mut self) -> io::Result<()>;

    /// Puts other content in place of all there is, at once and durably.
    fn exchange(&mut self, content: &[u8]) -> Result<(), ExchangeError>;
}

/// A file that nobody else has open as a guard.
pub(super) struct LockedFile {
    path: PathBuf,
    file: File,
    /// Held, never renamed and never removed, so that an exchange of the file beside it opens no gap.
    _lock: File,
}

impl LockedFile {
    /// Locks and reads a file.
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<u8>), StartError> {
        let io = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => ConfigError::GuardMissing.about(path.display()),
            _ => Fault::Io.about(format_args!("{} ({error})", path.display())),
        };
        // Where there is no guard, no lock is left behind either.
        std::fs::metadata(path).map_err(io)?;
        let lock = lock(path)?;
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(io)?;
        let mut content = Vec::new();
        (&file).take(FILE_MAX + 1).read_to_end(&mut content).map_err(io)?;
        if content.len() as u64 > FILE_MAX {
            return Err(ConfigError::GuardDamaged.about(path.display()));
        }
        // The process before may have died between the exchange and the sync of the name.
        atomic_file::sync_directory_of(path).map_err(io)?;
        Ok((Self { path: path.to_owned(), file, _lock: lock }, content))
    }
}

impl Disk for LockedFile {
    fn write(&mut self, bytes: &[u8], offset: usize) -> io::Result<()> {
        self.file.write_all_at(bytes, offset as u64)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn exchange(&mut self, content: &[u8]) -> Result<(), ExchangeError> {
        match atomic_file::replace(&self.path, content) {
            Ok(file) => {
                self.file = file;
                Ok(())
            }
            // Where the new file has taken the name and only its sync failed, a record in the old one could be lost.
            Err(error) => match (self.file.metadata(), std::fs::metadata(&self.path)) {
                (Ok(ours), Ok(there)) if (ours.ino(), ours.dev()) == (there.ino(), there.dev()) => {
                    Err(ExchangeError::Undone(error))
                }
                _ => Err(ExchangeError::Unknown(error)),
            },
        }
    }
}

fn lock(path: &Path) -> Result<File, StartError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let io = |error: io::Error| Fault::Io.about(format_args!("{} ({error})", Path::new(&name).display()));
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&name).map_err(io)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(ConfigError::GuardLocked.about(path.display())),
        Err(error) => Err(io(error.into())),
    }
}
