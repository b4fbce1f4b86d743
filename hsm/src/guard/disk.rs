//! What the guard's journal needs of a disk: write at a place, sync, exchange everything. The real one is a locked file;
//! tests put one in its place that loses what was not synced.

use crate::atomic_file;
use crate::error::{ConfigError, Fault, StartError};
use rustix::fs::{AtFlags, FlockOperation, StatxFlags};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use types::Digest;

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

    /// Puts other content in place of all there is, at once and durably. The content may name the new file's identity.
    fn exchange(&mut self, content: &mut dyn FnMut(&Digest) -> Vec<u8>) -> Result<(), ExchangeError>;

    /// What tells this file from any copy of it.
    fn identity(&self) -> io::Result<Digest>;
}

/// Reads a file without locking it.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, StartError> {
    let io = |error: io::Error| missing_or_fault(path, &error);
    let mut content = Vec::new();
    File::open(path).map_err(io)?.take(FILE_MAX).read_to_end(&mut content).map_err(io)?;
    Ok(content)
}

fn missing_or_fault(path: &Path, error: &io::Error) -> StartError {
    match error.kind() {
        io::ErrorKind::NotFound => ConfigError::GuardMissing.about(path.display()),
        _ => Fault::Io.about(format_args!("{} ({error})", path.display())),
    }
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
        let io = |error: io::Error| missing_or_fault(path, &error);
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

    fn exchange(&mut self, content: &mut dyn FnMut(&Digest) -> Vec<u8>) -> Result<(), ExchangeError> {
        match atomic_file::replace_from(&self.path, &mut |file| Ok(content(&identity(file)?))) {
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

    fn identity(&self) -> io::Result<Digest> {
        identity(&self.file)
    }
}

/// Inode and time of birth: neither is carried over by a copy or a restore of the file. Where the file system knows no
/// birth it is the device in its place; where it does, the device is left out, since its number may change at a boot.
pub(super) fn identity(file: &File) -> io::Result<Digest> {
    let wanted = StatxFlags::INO | StatxFlags::BTIME;
    let found = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, wanted)?;
    let born = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
    let second = if born {
        [found.stx_btime.tv_sec as u64, found.stx_btime.tv_nsec.into()]
    } else {
        [found.stx_dev_major.into(), found.stx_dev_minor.into()]
    };
    let parts = [u64::from(born), found.stx_ino, second[0], second[1]];
    let bytes: Vec<u8> = parts.into_iter().flat_map(u64::to_le_bytes).collect();
    Ok(Digest::sha256(&[b"stele-guard-file\0", &bytes[..]].concat()))
}

/// A digest of the machine's id, see machine-id(5), which is not to be told to others as it is. Where a machine has none
/// the file's identity has to do.
pub(super) fn machine() -> Digest {
    let id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    if id.trim().is_empty() {
        tracing::warn!("no /etc/machine-id: the guard file is bound to itself alone");
    }
    Digest::sha256(&[b"stele-guard-machine\0", id.trim().as_bytes()].concat())
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
