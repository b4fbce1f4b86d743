//! The guard's file: locked, written in advance, appended to with one write and one fdatasync, exchanged when full.
//!
//! Reading it back tells three ends apart. Zeros: nothing more was written. A torn record: the last write was cut by a
//! crash before its sync returned, so nothing was signed on it; it is wiped. Anything else is damage to something that
//! may have been signed on, and the file does not open.

use super::Identity;
use super::disk::{Disk, ExchangeError};
use super::record::{END, HEADER_LEN, Link, MAGIC, RECORD_MAX, Record, header, parse_header};
use crate::error::{ConfigError, Fault, StoreError};
use types::Digest;

/// What a disk writes at once: within a sector there is all of a write or nothing of it.
const SECTOR: usize = 512;

pub(super) struct Journal {
    disk: Box<dyn Disk>,
    identity: Identity,
    link: Link,
    offset: usize,
    capacity: usize,
    buffer: Vec<u8>,
    /// After a failed write or sync it is unknown what is on the disk; only reading it anew tells.
    failed: bool,
}

/// The content of a new file with these records, the link for the next one, and its place.
pub(super) fn file(identity: &Identity, records: &[Record], capacity: usize) -> (Vec<u8>, Link, usize) {
    let (mut content, crc) = header(identity);
    let mut link = Link { sequence: 0, crc };
    for record in records {
        let crc = record.write(link, &mut content);
        link = Link { sequence: link.sequence + 1, crc };
    }
    let offset = content.len();
    content.resize(capacity.max(offset + RECORD_MAX), 0);
    (content, link, offset)
}

impl Journal {
    /// Reads and repairs the content of the disk; returns its records in order.
    pub(super) fn open(
        disk: Box<dyn Disk>,
        content: &[u8],
        identity: &Identity,
        capacity: usize,
    ) -> Result<(Self, Vec<Record>), StoreError> {
        let (found, crc) = parse_header(content).ok_or(ConfigError::GuardDamaged)?;
        if found != *identity {
            return Err(ConfigError::GuardForeign.into());
        }
        // A file has its full length from the moment that it has its name: a shorter one has lost its end, and with it,
        // maybe, whole records.
        if content.len() < capacity {
            return Err(ConfigError::GuardDamaged.into());
        }
        let (records, link, offset) = read(content, crc).ok_or(ConfigError::GuardDamaged)?;
        let mut journal = Self {
            disk,
            identity: identity.clone(),
            link,
            offset,
            capacity: content.len(),
            buffer: Vec::with_capacity(RECORD_MAX),
            failed: false,
        };
        journal.settle(content).map_err(|error| {
            tracing::error!(%error, "guard file not repaired");
            Fault::GuardWrite
        })?;
        Ok((journal, records))
    }

    /// Whether a record of any size fits.
    pub(super) fn has_room(&self) -> bool {
        self.offset + RECORD_MAX <= self.capacity
    }

    /// Whether it is unknown what is on the disk.
    pub(super) fn has_failed(&self) -> bool {
        self.failed
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
        let written = self.disk.write(&self.buffer, self.offset).and_then(|()| self.disk.sync());
        if let Err(error) = written {
            tracing::error!(%error, "guard file not written; nothing is signed until a restart");
            return Err(Fault::GuardWrite);
        }
        self.failed = false;
        self.offset += self.buffer.len();
        self.link = Link { sequence: self.link.sequence + 1, crc };
        Ok(())
    }

    /// Exchanges the file for one with these records, which may name the new file's identity. On failure the old one
    /// stays in use.
    pub(super) fn replace(
        &mut self,
        records: &mut dyn FnMut(&Digest) -> Vec<Record>,
        capacity: usize,
    ) -> Result<(), Fault> {
        if self.failed {
            return Err(Fault::GuardWrite);
        }
        let mut state = (self.link, self.offset, self.capacity);
        let identity = &self.identity;
        let exchanged = self.disk.exchange(&mut |of_file| {
            let (content, link, offset) = file(identity, &records(of_file), capacity);
            state = (link, offset, content.len());
            content
        });
        match exchanged {
            Ok(()) => {
                (self.link, self.offset, self.capacity) = state;
                Ok(())
            }
            Err(error) => {
                let (ExchangeError::Undone(cause) | ExchangeError::Unknown(cause)) = &error;
                tracing::error!(%cause, "guard file not compacted");
                self.failed = matches!(error, ExchangeError::Unknown(_));
                Err(Fault::GuardCompaction)
            }
        }
    }

    /// What tells the file from a copy.
    pub(super) fn file_identity(&self) -> Result<Digest, Fault> {
        self.disk.identity().map_err(|error| {
            tracing::error!(%error, "the guard file tells nothing of itself");
            Fault::Io
        })
    }

    /// Zeros everything behind the last record, writes the file to its full length, and syncs: what a process that died
    /// had written but not synced is read here, and may be signed on from here on.
    fn settle(&mut self, content: &[u8]) -> std::io::Result<()> {
        let clean = content.len() == self.capacity && content[self.offset..].iter().all(|byte| *byte == 0);
        if !clean {
            self.disk.write(&vec![0; self.capacity - self.offset], self.offset)?;
        }
        self.disk.sync()
    }
}

/// Whose file it is, and its records; nothing is repaired.
pub(super) fn inspect(content: &[u8]) -> Result<(Identity, Vec<Record>), ConfigError> {
    let (identity, crc) = parse_header(content).ok_or(ConfigError::GuardDamaged)?;
    let (records, _, _) = read(content, crc).ok_or(ConfigError::GuardDamaged)?;
    Ok((identity, records))
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
