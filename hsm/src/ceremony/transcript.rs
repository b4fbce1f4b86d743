//! The transcript's file: one line an entry, appended and synced before anything that follows from it happens.
//!
//! A file belongs to one process at a time. What an interruption left is a torn last line, which is cut off when the
//! ceremony is resumed; anything else that does not apply is refused. After a failed write the file is cut back to its
//! last good line, and where even that fails nothing more is written.

use super::entry::{self, Entry, Event};
use super::refusal::Refusal;
use super::state::Ceremony;
use super::verify::{self, Invalid};
use crate::atomic_file;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use thiserror::Error;

/// How long another process may have the file.
const PATIENCE: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(5);

/// Why a transcript is not written.
#[derive(Debug, Error)]
pub enum TranscriptError {
    /// The disk.
    #[error("{path}: {source}")]
    Disk {
        /// The file.
        path: PathBuf,
        /// What it says.
        #[source]
        source: io::Error,
    },
    /// Another process writes it.
    #[error("{0}: another process runs this ceremony")]
    Busy(PathBuf),
    /// There is a transcript already.
    #[error("{0}: there is a transcript already; it is never overwritten")]
    Exists(PathBuf),
    /// What is there is damaged, and not by an interruption.
    #[error("{path}: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        reason: Invalid,
    },
    /// The entry may not stand there.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A ceremony and its file.
#[derive(Debug)]
pub struct Transcript {
    file: File,
    path: PathBuf,
    /// Bytes that are good.
    length: u64,
    ceremony: Ceremony,
    /// A write failed and could not be undone.
    broken: bool,
}

impl Transcript {
    /// Begins a new file with its first entry.
    ///
    /// # Errors
    /// [`TranscriptError`]; a file that is there is never overwritten.
    pub fn create(path: &Path, start: &Entry) -> Result<Self, TranscriptError> {
        let ceremony = Ceremony::start(start)?;
        let disk = |source| TranscriptError::Disk { path: path.to_owned(), source };
        let line = entry::line(ceremony.head(), &start.text());
        // Complete or not there: a transcript without its first entry would be nobody's.
        atomic_file::create(path, line.as_bytes()).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => TranscriptError::Exists(path.to_owned()),
            _ => disk(error),
        })?;
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(disk)?;
        lock(&file, path)?;
        let length = line.len() as u64;
        Ok(Self { file, path: path.to_owned(), length, ceremony, broken: false })
    }

    /// Opens the file of an interrupted ceremony; cuts a torn last line.
    ///
    /// # Errors
    /// [`TranscriptError`].
    pub fn resume(path: &Path) -> Result<Self, TranscriptError> {
        let disk = |source| TranscriptError::Disk { path: path.to_owned(), source };
        let mut file =
            OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path).map_err(disk)?;
        lock(&file, path)?;
        let mut bytes = Vec::new();
        (&mut file).take(entry::TRANSCRIPT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(disk)?;
        let (ceremony, length) =
            verify::replay(&bytes).map_err(|reason| TranscriptError::Damaged { path: path.to_owned(), reason })?;
        let length = length as u64;
        if length < bytes.len() as u64 {
            file.set_len(length).and_then(|()| file.sync_all()).map_err(disk)?;
        }
        file.seek(SeekFrom::Start(length)).map_err(disk)?;
        Ok(Self { file, path: path.to_owned(), length, ceremony, broken: false })
    }

    /// The ceremony so far.
    pub fn ceremony(&self) -> &Ceremony {
        &self.ceremony
    }

    /// Appends an event, durably. After an error the ceremony is as it was.
    ///
    /// # Errors
    /// [`TranscriptError`].
    pub fn append(&mut self, time_ms: u64, event: Event) -> Result<(), TranscriptError> {
        let entry = Entry { n: self.ceremony.entries(), time_ms, event };
        let mut next = self.ceremony.clone();
        next.apply(&entry)?;
        let line = entry::line(next.head(), &entry.text());
        let total = self.length + line.len() as u64;
        if line.len() > entry::LINE_BYTES_MAX || total > entry::TRANSCRIPT_BYTES_MAX as u64 {
            return Err(Refusal::Line(entry::LineError::TooLong).into());
        }
        self.write(line.as_bytes()).map_err(|source| TranscriptError::Disk { path: self.path.clone(), source })?;
        self.length = total;
        self.ceremony = next;
        Ok(())
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("a write failed before and could not be undone; run the ceremony again"));
        }
        let written = self
            .file
            .seek(SeekFrom::Start(self.length))
            .and_then(|_| self.file.write_all(line))
            .and_then(|()| self.file.sync_all());
        if written.is_err() {
            let undone = self.file.set_len(self.length).and_then(|()| self.file.sync_all());
            self.broken = undone.is_err();
        }
        written
    }
}

/// Waits a moment: a process that is just being started has the files of the one that starts it, locks included.
fn lock(file: &File, path: &Path) -> Result<(), TranscriptError> {
    let begun = Instant::now();
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) if begun.elapsed() < PATIENCE => std::thread::sleep(LOOK),
            Err(Errno::WOULDBLOCK) => return Err(TranscriptError::Busy(path.to_owned())),
            Err(error) => return Err(TranscriptError::Disk { path: path.to_owned(), source: error.into() }),
        }
    }
}
