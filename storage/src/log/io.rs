//! The seam between the writer, which decides what is written where and in which order, and the machinery that writes:
//! [`SegmentReader`] reads segments, [`LogDisk`] owns them, [`LogIo`] carries writes out. Three backends: io_uring, blocking calls, simulated disk.

mod sync_choice;
pub(super) mod threaded;
pub(super) mod uring;

use std::io;
use std::io::{PipeReader, PipeWriter, Write as _};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use bytes::Bytes;

use super::LogFault;
use super::buffer::PageBuffer;

/// One group on its way to the disk: `length` bytes (whole pages) from the start of `buffer` to `offset` in `segment`.
#[derive(Clone)]
pub struct Write {
    /// Number of the group; completions name it.
    pub sequence: u64,
    /// Segment to write to.
    pub segment: u64,
    /// Byte offset in the segment, a multiple of a page.
    pub offset: u32,
    /// Bytes to write, a multiple of a page.
    pub length: usize,
    /// Where they are.
    pub buffer: Arc<PageBuffer>,
}

/// The end of a [`Write`]: `Ok` only if all its bytes survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Number of the group.
    pub sequence: u64,
    /// What came of it.
    pub result: Result<(), LogFault>,
}

/// Carries writes out. Completions may come in any order.
pub trait LogIo {
    /// Starts a write, or queues it until the next `wait`.
    fn submit(&mut self, write: Write);

    /// Starts what was submitted, if `submit` did not, without waiting for any of it.
    fn kick(&mut self) {}

    /// Adds what has ended to `completions`; with `block`, waits until something ended or [`Waker::wake`] was called.
    fn wait(&mut self, block: bool, completions: &mut Vec<Completion>);

    /// Writes that were submitted and have not ended.
    fn in_flight(&self) -> usize;

    /// Flushes to stable storage so far.
    fn syncs(&self) -> u64;

    /// Name for logs and statistics.
    fn name(&self) -> &'static str;
}

/// Segments to read, as files or as a simulation.
pub trait SegmentReader: Send + Sync {
    /// Numbers of the segments there, ascending.
    fn segments(&self) -> io::Result<Vec<u64>>;

    /// Bytes of a segment.
    fn length(&self, segment: u64) -> io::Result<u64>;

    /// Fills `into` from `offset`; an error if the segment ends before.
    fn read(&self, segment: u64, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// `count` bytes from `offset`; an error if the segment ends before. Where reads pass by the page cache they are the
    /// memory that the disk wrote to, and are copied nowhere.
    fn read_shared(&self, segment: u64, offset: u64, count: usize) -> io::Result<Bytes> {
        let mut bytes = vec![0; count];
        self.read(segment, offset, &mut bytes)?;
        Ok(bytes.into())
    }
}

/// Segments to read and to write.
pub trait LogDisk: SegmentReader {
    /// Makes a segment of `bytes` bytes: `header`, then zeroes. It is durable, name included, when this returns.
    fn create(&self, segment: u64, header: &[u8], bytes: u64) -> io::Result<()>;

    /// Turns the released segment `from` into `segment`, with a new header and stale bytes after it, if it has `bytes`
    /// bytes and nobody reads it; otherwise removes it and creates one.
    fn recycle(&self, from: u64, segment: u64, header: &[u8], bytes: u64) -> io::Result<()>;

    /// Makes durable what a process that died may have left in caches, in segment `from` and later, so that what is
    /// read after it survives a power cut.
    fn settle(&self, from: u64) -> io::Result<()>;

    /// Removes a segment.
    fn remove(&self, segment: u64) -> io::Result<()>;

    /// The write path. Called on the writer's thread, once; `buffers` are those that most writes will come from.
    fn open_io(&self, buffers: &[Arc<PageBuffer>], depth: u32, wake: PipeReader) -> io::Result<Box<dyn LogIo>>;

    /// Writes a group on the thread that calls, and returns when all its bytes survive a power cut. Beside a [`LogIo`], and on
    /// several threads at once. The buffer is let go of before it returns.
    fn write(&self, write: Write) -> Result<(), LogFault>;

    /// Whether writes pass by the page cache.
    fn direct(&self) -> bool;
}

/// Ends a blocking [`LogIo::wait`] from another thread.
pub struct Waker(PipeWriter);

impl Waker {
    /// A waker and the end of the pipe that `wait` watches.
    pub fn new() -> io::Result<(Self, PipeReader)> {
        let (reader, writer) = io::pipe()?;
        set_nonblocking(&writer)?;
        Ok((Self(writer), reader))
    }

    /// Wakes, without waiting for anything.
    pub fn wake(&self) {
        // The reader is gone only when the writer's thread has ended; then there is nobody to wake. A pipe that is full
        // wakes as well as one byte more would.
        let _ = (&self.0).write_all(&[1]);
    }
}

/// Reads of an empty pipe and writes to a full one fail from now on.
#[allow(unsafe_code)]
fn set_nonblocking(pipe: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: `fcntl` with these commands takes and returns integers; the descriptor is open while it is borrowed.
    let flags = unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_GETFL) };
    // SAFETY: as above.
    if flags < 0 || unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

pub(crate) fn fault(operation: &'static str, error: &io::Error) -> LogFault {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => LogFault::DiskFull,
        _ => LogFault::Io { operation, os: error.raw_os_error() },
    }
}
