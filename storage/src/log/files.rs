//! Segments as files of one directory: lock, names, making them ahead, direct I/O where the file system has it.
//!
//! A segment is made under the name `<number>.new`, zero-filled and synced, and renamed when it is whole; a start
//! removes what was left half made. Deliberately absent: what the bytes mean, except for the header of a new segment.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, PipeReader};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::buffer::PageBuffer;
use super::format::{PAGE, page_up};
use super::io::threaded::{self, ThreadedIo};
use super::io::uring::UringIo;
use super::io::{LogDisk, LogIo, SegmentReader, Write};
use super::{Backend, LogError, LogFault};

const LOCK_FILE: &str = "LOCK";
const OPEN_FILES_MAX: usize = 64;
const ZERO_CHUNK: usize = 1 << 20;

/// Segment files of a directory, opened as they are needed.
pub struct Files {
    dir: PathBuf,
    direct: bool,
    writable: bool,
    /// Few are open at a time: a log may have thousands of segments. Shared by the writer, the maker and readers.
    open: Mutex<BTreeMap<u64, Arc<File>>>,
    _lock: Option<File>,
}

impl Files {
    /// Locks a directory of segments to read them, and changes nothing in it but for a lock file that is missing.
    ///
    /// # Errors
    /// [`LogError::InUse`] while a node runs on it; [`LogError::NoLog`] if there is none.
    pub fn inspect(dir: &Path) -> Result<Self, LogError> {
        let lock = match File::open(dir.join(LOCK_FILE)) {
            Ok(lock) => Some(lock),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if Self::beside(dir).segments().map_or(true, |segments| segments.is_empty()) {
                    return Err(LogError::NoLog { dir: dir.to_owned() });
                }
                // A copy may be without it, and then no process has it open. Where none can be made, nobody writes.
                File::create(dir.join(LOCK_FILE)).ok()
            }
            Err(error) => return Err(LogError::io("open the lock file of the log")(error)),
        };
        lock.iter().try_for_each(|lock| try_lock(lock, dir, Duration::ZERO))?;
        let mut files =
            Self { dir: dir.to_owned(), direct: true, writable: false, open: Mutex::default(), _lock: lock };
        // What lies in the page cache is not what lies on the disk. Where it can only be read through it, so be it.
        let first = files.segments().map_err(LogError::io("list the log"))?.first().copied();
        files.direct = first.is_some_and(|segment| files.segment(segment).is_ok());
        Ok(files)
    }

    /// A directory of segments to read from beside the process that writes to them. Takes no lock and changes nothing;
    /// what is read may be half written, and segments may go.
    pub fn beside(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), direct: false, writable: false, open: Mutex::default(), _lock: None }
    }

    /// Files in the directory that are none of the log's, sorted. With one of them no log opens there.
    ///
    /// # Errors
    /// [`LogError::Io`]: the directory cannot be read.
    pub fn strays(&self) -> Result<Vec<PathBuf>, LogError> {
        let mut strays = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(LogError::io("list the log"))? {
            let path = entry.map_err(LogError::io("list the log"))?.path();
            strays.extend(is_stray(&path).then_some(path));
        }
        strays.sort_unstable();
        Ok(strays)
    }

    /// The file of a segment, opened on first use.
    pub fn segment(&self, segment: u64) -> io::Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.get(&segment) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(self.open_file(&self.path(segment), false)?);
        if open.len() >= OPEN_FILES_MAX {
            open.pop_first();
        }
        open.insert(segment, Arc::clone(&file));
        Ok(file)
    }

    fn path(&self, segment: u64) -> PathBuf {
        segment_path(&self.dir, segment)
    }

    fn open_file(&self, path: &Path, create: bool) -> io::Result<File> {
        let flags = if self.direct { libc::O_DIRECT } else { 0 };
        OpenOptions::new().read(true).write(self.writable).create(create).custom_flags(flags).open(path)
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn forget(&self, segment: u64) -> Option<Arc<File>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&segment)
    }

    fn finish(&self, new: &Path, file: File, segment: u64) -> io::Result<()> {
        file.sync_all()?;
        fs::rename(new, self.path(segment))?;
        self.sync_dir()?;
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(segment, Arc::new(file));
        Ok(())
    }

    fn fill(&self, new: &Path, header: &[u8], bytes: u64) -> io::Result<File> {
        let file = self.open_file(new, true)?;
        let zeroes = PageBuffer::zeroed(ZERO_CHUNK);
        let mut offset = 0;
        while offset < bytes {
            let count = usize::try_from(bytes - offset).map_or(ZERO_CHUNK, |left| left.min(ZERO_CHUNK));
            file.write_all_at(&zeroes.bytes()[..count], offset)?;
            offset += count as u64;
        }
        self.write_header(&file, header)?;
        Ok(file)
    }

    fn write_header(&self, file: &File, header: &[u8]) -> io::Result<()> {
        let mut page = PageBuffer::zeroed(PAGE);
        page.bytes_mut()[..header.len()].copy_from_slice(header);
        file.write_all_at(page.bytes(), 0)
    }
}

/// A directory of segments, with the way to write to them.
pub struct FileDisk {
    files: Arc<Files>,
    backend: Backend,
    dsync_bytes_max: u32,
}

impl FileDisk {
    /// Makes the directory if there is none, locks it and cleans up what was half made.
    pub fn open(dir: &Path, backend: Backend, dsync_bytes_max: u32, lock_wait: Duration) -> Result<Self, LogError> {
        fs::create_dir_all(dir).map_err(LogError::io("make the directory of the log"))?;
        let lock = lock(dir, lock_wait)?;
        let direct = match probe(&dir.join("probe.new")) {
            Ok(()) => true,
            // Some file systems say it when the file is opened, some only when it is written.
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
                tracing::warn!(dir = %dir.display(), "no direct I/O on this file system: the log is buffered");
                false
            }
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return Err(LogError::DiskFull { bytes: 0 }),
            Err(error) => return Err(LogError::io("probe the directory of the log")(error)),
        };
        for entry in fs::read_dir(dir).map_err(LogError::io("list the log"))? {
            let path = entry.map_err(LogError::io("list the log"))?.path();
            if is_half_made(&path) {
                fs::remove_file(&path).map_err(LogError::io("remove a half-made segment"))?;
            } else if is_stray(&path) {
                return Err(LogError::ForeignFile { path });
            }
        }
        let files = Files { dir: dir.to_owned(), direct, writable: true, open: Mutex::default(), _lock: Some(lock) };
        Ok(Self { files: Arc::new(files), backend, dsync_bytes_max })
    }
}

/// The file of a segment.
pub(super) fn segment_path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("{segment:020}.seg"))
}

/// The segment of a file, by its name.
pub(super) fn number(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_suffix(".seg")?;
    (name.len() == 20).then(|| name.parse().ok()).flatten()
}

/// Whether a file was to become a segment, by its name.
fn is_half_made(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "new")
}

/// Whether a file is none of a log, by its name.
fn is_stray(path: &Path) -> bool {
    !is_half_made(path) && path.file_name().is_none_or(|name| name != LOCK_FILE) && number(path).is_none()
}

/// Writes a page past the page cache and reads it back.
fn probe(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).custom_flags(libc::O_DIRECT).open(path)?;
    let mut page = PageBuffer::zeroed(PAGE);
    match file.write_all_at(page.bytes(), 0) {
        Ok(()) => file.read_exact_at(page.bytes_mut(), 0),
        // The segments that are there may do for long.
        Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
        Err(error) => Err(error),
    }
}

fn lock(dir: &Path, wait: Duration) -> Result<File, LogError> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.join(LOCK_FILE))
        .map_err(LogError::io("open the lock file of the log"))?;
    try_lock(&file, dir, wait).map(|()| file)
}

fn try_lock(file: &File, dir: &Path, wait: Duration) -> Result<(), LogError> {
    let deadline = Instant::now() + wait;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            // A ring may hold the files of a killed process for a moment.
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => return Err(LogError::InUse { dir: dir.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(LogError::io("lock the log")(error)),
        }
    }
}

impl SegmentReader for Files {
    fn segments(&self) -> io::Result<Vec<u64>> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            segments.extend(number(&entry?.path()));
        }
        segments.sort_unstable();
        Ok(segments)
    }

    fn length(&self, segment: u64) -> io::Result<u64> {
        Ok(self.segment(segment)?.metadata()?.len())
    }

    fn read(&self, segment: u64, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let is_whole = |bytes: usize| bytes.is_multiple_of(PAGE);
        let pages = is_whole(into.as_ptr().addr()) && is_whole(into.len()) && offset.is_multiple_of(PAGE as u64);
        if pages || !self.direct {
            return self.segment(segment)?.read_exact_at(into, offset);
        }
        into.copy_from_slice(&self.read_shared(segment, offset, into.len())?);
        Ok(())
    }

    fn read_shared(&self, segment: u64, offset: u64, count: usize) -> io::Result<Bytes> {
        let file = self.segment(segment)?;
        if !self.direct {
            let mut bytes = vec![0; count];
            file.read_exact_at(&mut bytes, offset)?;
            return Ok(bytes.into());
        }
        let start = offset - offset % PAGE as u64;
        let skip = usize::try_from(offset - start).map_err(io::Error::other)?;
        let mut pages = PageBuffer::zeroed(page_up(skip + count));
        let end = file.metadata()?.len();
        let whole =
            usize::try_from(end.saturating_sub(start)).map_or(pages.bytes().len(), |n| n.min(pages.bytes().len()));
        if skip + count > whole {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.read_exact_at(&mut pages.bytes_mut()[..whole], start)?;
        Ok(Bytes::from_owner(pages).slice(skip..skip + count))
    }
}

impl SegmentReader for FileDisk {
    fn segments(&self) -> io::Result<Vec<u64>> {
        self.files.segments()
    }

    fn length(&self, segment: u64) -> io::Result<u64> {
        self.files.length(segment)
    }

    fn read(&self, segment: u64, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.files.read(segment, offset, into)
    }

    fn read_shared(&self, segment: u64, offset: u64, count: usize) -> io::Result<Bytes> {
        self.files.read_shared(segment, offset, count)
    }
}

impl LogDisk for FileDisk {
    fn create(&self, segment: u64, header: &[u8], bytes: u64) -> io::Result<()> {
        let new = self.files.dir.join(format!("{segment:020}.new"));
        match self.files.fill(&new, header, bytes) {
            Ok(file) => self.files.finish(&new, file, segment),
            Err(error) => {
                // Gives the room back; if even that fails the next start does it.
                let _ = fs::remove_file(&new);
                Err(error)
            }
        }
    }

    fn recycle(&self, from: u64, segment: u64, header: &[u8], bytes: u64) -> io::Result<()> {
        let file = match self.files.forget(from) {
            Some(file) => file,
            None => Arc::new(self.files.open_file(&self.files.path(from), false)?),
        };
        let Some(file) = Arc::into_inner(file) else {
            self.remove(from)?;
            return self.create(segment, header, bytes);
        };
        if file.metadata()?.len() != bytes {
            self.remove(from)?;
            return self.create(segment, header, bytes);
        }
        let new = self.files.dir.join(format!("{segment:020}.new"));
        fs::rename(self.files.path(from), &new)?;
        // The bytes may reach the disk before the name does; under its old name the file would be damage that nobody did.
        self.files.sync_dir()?;
        self.files.write_header(&file, header)?;
        self.files.finish(&new, file, segment)
    }

    fn settle(&self, from: u64) -> io::Result<()> {
        for segment in self.segments()?.into_iter().filter(|segment| *segment >= from) {
            self.files.segment(segment)?.sync_all()?;
        }
        self.files.sync_dir()
    }

    fn remove(&self, segment: u64) -> io::Result<()> {
        self.files.forget(segment);
        fs::remove_file(self.files.path(segment))?;
        self.files.sync_dir()
    }

    fn open_io(&self, buffers: &[Arc<PageBuffer>], depth: u32, wake: PipeReader) -> io::Result<Box<dyn LogIo>> {
        let files = Arc::clone(&self.files);
        if self.backend == Backend::Threaded {
            return Ok(Box::new(ThreadedIo::new(files, wake)));
        }
        match UringIo::new(Arc::clone(&files), buffers, depth, self.dsync_bytes_max, wake.try_clone()?) {
            Ok(io) => Ok(Box::new(io)),
            Err(error) if self.backend == Backend::Auto => {
                tracing::warn!(%error, "io_uring is not available: the log writes with blocking calls");
                Ok(Box::new(ThreadedIo::new(files, wake)))
            }
            Err(error) => Err(error),
        }
    }

    fn write(&self, write: Write) -> Result<(), LogFault> {
        threaded::write_and_sync(&self.files, &write, self.dsync_bytes_max as usize)
    }

    fn direct(&self) -> bool {
        self.files.direct
    }
}
