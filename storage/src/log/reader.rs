//! Reads records at known positions from the files of a log, beside the process that writes them or without one.
//!
//! Takes no lock and changes nothing. Deliberately absent: finding records. Whoever reads has their positions from
//! elsewhere, which were durable when they were noted there.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::files::{number, segment_path};
use super::format::{self, PAGE, RECORD_HEADER, SegmentHeader};
use super::{Log, LogError, LogPosition, Record, window};

/// Bytes that a read asks for before it knows the length of the record.
const READ_AHEAD: u64 = 16 << 10;

/// Where records are read from.
pub trait ReadRecords: Send + Sync {
    /// The record at a position.
    ///
    /// # Errors
    /// [`LogError::Released`] where its segment was given up, [`LogError::NoRecord`], [`LogError::Corrupt`].
    fn read(&self, position: LogPosition) -> Result<Record, LogError>;

    /// The oldest segment that is kept.
    fn oldest_segment(&self) -> u64;
}

impl ReadRecords for Log {
    fn read(&self, position: LogPosition) -> Result<Record, LogError> {
        Self::read(self, position)
    }

    fn oldest_segment(&self) -> u64 {
        Self::oldest_segment(self)
    }
}

/// The record at a position of a segment of so many bytes. Its checksum is bound to its position, so bytes of another
/// record are never taken for it.
pub(super) fn record_in(
    position: LogPosition,
    segment_bytes: u64,
    read_at: impl Fn(u64, usize) -> io::Result<Bytes>,
) -> Result<Record, LogError> {
    let corrupt = || LogError::Corrupt { segment: position.segment, offset: position.offset };
    let offset = u64::from(position.offset);
    let left = segment_bytes.saturating_sub(offset);
    let read = |count: u64| {
        let count = usize::try_from(count).map_err(|_| corrupt())?;
        read_at(offset, count).map_err(LogError::io("read a segment"))
    };
    let mut bytes = read(left.min(READ_AHEAD))?;
    let (_, length) = format::record_claim(&bytes).ok_or_else(corrupt)?;
    let whole = RECORD_HEADER as u64 + u64::from(length);
    if whole > left {
        return Err(corrupt());
    }
    if whole > bytes.len() as u64 {
        bytes = read(whole)?;
    }
    let (kind, payload) = format::check_record(&bytes, position).ok_or_else(corrupt)?;
    let payload = bytes.slice_ref(payload);
    Ok(Record { position, kind, payload })
}

/// The files of a log, to read from.
pub struct LogReader {
    dir: PathBuf,
    identity: [u8; 32],
    /// The segment that was read last: who reads in order stays in it.
    open: Mutex<Option<(u64, Arc<File>)>>,
}

impl LogReader {
    /// The log of `identity` in `dir`.
    ///
    /// # Errors
    /// [`LogError::MissingSegment`] where there is none, [`LogError::OtherIdentity`], [`LogError::Version`],
    /// [`LogError::Corrupt`] and [`LogError::Io`] for its oldest segment.
    pub fn open(dir: &Path, identity: [u8; 32]) -> Result<Self, LogError> {
        let reader = Self { dir: dir.to_owned(), identity, open: Mutex::new(None) };
        let oldest = reader.oldest()?.ok_or(LogError::MissingSegment { segment: 0 })?;
        reader.segment(oldest)?;
        Ok(reader)
    }

    fn oldest(&self) -> Result<Option<u64>, LogError> {
        let mut oldest = None;
        for entry in fs::read_dir(&self.dir).map_err(LogError::io("list the log"))? {
            let path = entry.map_err(LogError::io("list the log"))?.path();
            oldest = oldest.into_iter().chain(number(&path)).min();
        }
        Ok(oldest)
    }

    fn segment(&self, segment: u64) -> Result<Arc<File>, LogError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((number, file)) = &*open
            && *number == segment
        {
            return Ok(Arc::clone(file));
        }
        let file = match File::open(segment_path(&self.dir, segment)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(LogError::MissingSegment { segment }),
            opened => opened.map_err(LogError::io("open a segment"))?,
        };
        let mut page = [0; PAGE];
        file.read_exact_at(&mut page, 0).map_err(LogError::io("read a segment"))?;
        window::own(SegmentHeader::parse(&page), &self.identity, segment)?;
        let file = Arc::new(file);
        *open = Some((segment, Arc::clone(&file)));
        Ok(file)
    }

    fn try_read(&self, position: LogPosition) -> Result<Record, LogError> {
        let file = self.segment(position.segment)?;
        let bytes = file.metadata().map_err(LogError::io("measure a segment"))?.len();
        record_in(position, bytes, |offset, count| {
            let mut bytes = vec![0; count];
            file.read_exact_at(&mut bytes, offset).map(|()| bytes.into())
        })
    }
}

impl ReadRecords for LogReader {
    fn read(&self, position: LogPosition) -> Result<Record, LogError> {
        let error = match self.try_read(position) {
            Ok(record) => return Ok(record),
            Err(error) => error,
        };
        // Whoever owns the log may have given the segment up in the meantime, and reused its file.
        match self.oldest()? {
            Some(oldest) if position.segment < oldest => Err(LogError::Released(position)),
            _ => Err(error),
        }
    }

    fn oldest_segment(&self) -> u64 {
        self.oldest().ok().flatten().unwrap_or_default()
    }
}

impl std::fmt::Debug for LogReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogReader").field("dir", &self.dir).finish_non_exhaustive()
    }
}
