//! The guard's file: locked, written in advance, appended to with one write and one fdatasync, exchanged when full.
//!
//! Reading it back tells three ends apart. Zeros: nothing more was written. A torn record: the last write was cut by a
//! crash before its sync returned, so nothing was signed on it; it is wiped. Anything else is damage to something that
//! may have been signed on, and the file does not open.

use super::Identity;
use super::record::{END, HEADER_LEN, Link, MAGIC, RECORD_MAX, Record, header, parse_header};
use crate::atomic_file;
use crate::error::{ConfigError, Fault, StartError};
use rustix::fs::FlockOperation;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What a disk writes at once: within a sector there is all of a write or nothing of it.
const SECTOR: usize = 512;
/// Longest file that is read.
const FILE_MAX: u64 = 64 << 20;

pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// Held, never renamed and never removed, so that the exchange of the file beside it opens no gap.
    _lock: File,
    identity: Identity,
    link: Link,
    offset: usize,
    capacity: usize,
    buffer: Vec<u8>,
    /// After a failed write or sync it is unknown what is on the disk; only reading it anew tells.
    failed: bool,
}

/// Makes a new file without records.
pub(super) fn create(path: &Path, identity: &Identity, capacity: usize) -> Result<(), StartError> {
    let (mut content, _) = header(identity);
    content.resize(capacity.max(HEADER_LEN), 0);
    atomic_file::create(path, &content).map_err(|error| atomic_file::start_error(&error, path))
}

impl Journal {
    /// Locks, reads and repairs the file; returns its records in order.
    pub(super) fn open(path: &Path, identity: &Identity, capacity: usize) -> Result<(Self, Vec<Record>), StartError> {
        let io = |error: io::Error| Fault::Io.about(format_args!("{} ({error})", path.display()));
        let lock = lock(path)?;
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ConfigError::GuardMissing.about(path.display()),
            _ => io(error),
        })?;
        let mut content = Vec::new();
        (&file).take(FILE_MAX + 1).read_to_end(&mut content).map_err(io)?;
        let damaged = || ConfigError::GuardDamaged.about(path.display());
        if content.len() as u64 > FILE_MAX {
            return Err(damaged());
        }
        let (found, crc) = parse_header(&content).ok_or_else(damaged)?;
        if found != *identity {
            return Err(ConfigError::GuardForeign.about(path.display()));
        }
        let (records, link, offset) = read(&content, crc).ok_or_else(damaged)?;
        let mut journal = Self {
            path: path.to_owned(),
            file,
            _lock: lock,
            identity: identity.clone(),
            link,
            offset,
            capacity: content.len().max(capacity),
            buffer: Vec::with_capacity(RECORD_MAX),
            failed: false,
        };
        journal.wipe_tail(&content).map_err(io)?;
        Ok((journal, records))
    }

    /// Whether a record of any size fits.
    pub(super) fn has_room(&self) -> bool {
        self.offset + RECORD_MAX <= self.capacity
    }

    /// Writes a record and returns when it is durable.
    pub(super) fn append(&mut self, record: &Record) -> Result<(), Fault> {
        if self.failed {
            return Err(Fault::GuardWrite);
        }
        // Until the record is known to be durable, so that even a panic in between leaves nothing approved.
        self.failed = true;
        self.buffer.clear();
        let crc = record.write(self.link, &mut self.buffer);
        let written = self.file.write_all_at(&self.buffer, self.offset as u64).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            tracing::error!(path = %self.path.display(), %error, "guard file not written; nothing is signed until a restart");
            return Err(Fault::GuardWrite);
        }
        self.failed = false;
        self.offset += self.buffer.len();
        self.link = Link { sequence: self.link.sequence + 1, crc };
        Ok(())
    }

    /// Exchanges the file for one with these records. On failure the old one stays in use.
    pub(super) fn replace(&mut self, records: &[Record], capacity: usize) -> Result<(), Fault> {
        if self.failed {
            return Err(Fault::GuardWrite);
        }
        let (mut content, crc) = header(&self.identity);
        let mut link = Link { sequence: 0, crc };
        for record in records {
            let crc = record.write(link, &mut content);
            link = Link { sequence: link.sequence + 1, crc };
        }
        let offset = content.len();
        content.resize(capacity.max(offset + RECORD_MAX), 0);
        let capacity = content.len();
        match atomic_file::replace(&self.path, &content) {
            Ok(file) => {
                (self.file, self.link, self.offset, self.capacity) = (file, link, offset, capacity);
                Ok(())
            }
            Err(error) => {
                // Whether the new file has taken the name is unknown where the directory's sync failed, and then a
                // record appended to the old one would be lost.
                self.failed = !self.still_in_place();
                tracing::error!(path = %self.path.display(), %error, "guard file not compacted");
                Err(Fault::GuardCompaction)
            }
        }
    }

    fn still_in_place(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        match (self.file.metadata(), std::fs::metadata(&self.path)) {
            (Ok(ours), Ok(there)) => ours.ino() == there.ino() && ours.dev() == there.dev(),
            _ => false,
        }
    }

    /// Zeros everything behind the last record and writes the file to its full length.
    fn wipe_tail(&mut self, content: &[u8]) -> io::Result<()> {
        let clean = content.len() == self.capacity && content[self.offset..].iter().all(|byte| *byte == 0);
        if !clean {
            self.file.write_all_at(&vec![0; self.capacity - self.offset], self.offset as u64)?;
            self.file.sync_all()?;
        }
        Ok(())
    }
}

fn lock(path: &Path) -> Result<File, StartError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let io = |error: io::Error| Fault::Io.about(format_args!("{} ({error})", Path::new(&name).display()));
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).to_owned();
    let file = options.open(&name).map_err(io)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(ConfigError::GuardLocked.about(path.display())),
        Err(error) => Err(io(error.into())),
    }
}

/// The records of a file, the link for the next one and its place; `None` for a damaged file.
fn read(content: &[u8], header_crc: u32) -> Option<(Vec<Record>, Link, usize)> {
    let mut link = Link { sequence: 0, crc: header_crc };
    let mut offset = HEADER_LEN;
    let mut records = Vec::new();
    while let Some(parsed) = Record::parse(&content[offset..]) {
        if parsed.link != link {
            return None;
        }
        link = Link { sequence: link.sequence + 1, crc: parsed.crc };
        offset += parsed.length;
        records.push(parsed.record);
    }
    is_torn_or_empty(content, offset).then_some((records, link, offset))
}

/// Whether what stands behind the last intact record can be a single write that a crash cut.
fn is_torn_or_empty(content: &[u8], offset: usize) -> bool {
    let tail = &content[offset..];
    let Some(last) = tail.iter().rposition(|byte| *byte != 0) else {
        return true;
    };
    let written = &tail[..=last];
    if written.len() > RECORD_MAX {
        return false;
    }
    let another_follows = (1..written.len())
        .any(|start| written[start..].starts_with(MAGIC) && Record::parse(&written[start..]).is_some());
    if another_follows {
        return false;
    }
    // A cut write lacks its end, or a sector in its middle.
    let sector_missing = || {
        let mut start = offset;
        std::iter::from_fn(|| {
            let end = (start / SECTOR + 1) * SECTOR;
            let sector = content.get(start..end.min(offset + written.len()))?;
            start = end;
            (!sector.is_empty()).then_some(sector)
        })
        .any(|sector| sector.iter().all(|byte| *byte == 0))
    };
    // Behind its first eight bytes a record's length is known, and one cut short is shorter.
    let length = written.get(4..8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes) as usize;
    let reaches_its_end = written.starts_with(MAGIC) && written.len() > 8 && written.len() >= length;
    let whole = written.ends_with(END) || reaches_its_end;
    !whole || sector_missing()
}
