//! Reads of segments in their order, one chunk ahead of what is asked for: while the bytes of one are looked at, a thread
//! reads those that follow. It is for passes over a whole log; reads here and there are right too, and no faster.
//!
//! Reads reach the disk one at a time, and the same reads in the same order each time. One that fails ahead of time is
//! nobody's failure yet: its bytes are read again if they are asked for, and then it is told.

use super::buffer::PageBuffer;
use super::io::SegmentReader;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

/// Bytes that are read ahead at once.
const CHUNK: usize = 1 << 20;

/// Shows `disk` to `pass`, which is read ahead for as long as that runs. Memory: two chunks.
pub(super) fn reading_ahead<T>(disk: &dyn SegmentReader, pass: impl FnOnce(&dyn SegmentReader) -> T) -> T {
    let (orders, ordered) = channel();
    let (answers, answered) = channel();
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("log-read-ahead".into());
        if thread.spawn_scoped(scope, move || serve(disk, &ordered, &answers)).is_err() {
            // Slower, and as right.
            return pass(disk);
        }
        let spare = vec![PageBuffer::zeroed(CHUNK), PageBuffer::zeroed(CHUNK)];
        let ahead = Ahead { orders, answered, ready: None, under_way: None, spare };
        pass(&ReadAhead { disk, ahead: Mutex::new(ahead) })
    })
}

/// Reads what is ordered until nobody is there to order more.
fn serve(disk: &dyn SegmentReader, ordered: &Receiver<Chunk>, answers: &Sender<(Chunk, bool)>) {
    for mut chunk in ordered {
        let read = disk.read(chunk.segment, chunk.start, &mut chunk.pages.bytes_mut()[..chunk.length]).is_ok();
        if answers.send((chunk, read)).is_err() {
            return;
        }
    }
}

/// `length` bytes of a segment from `start`, in the front of `pages`.
struct Chunk {
    segment: u64,
    start: u64,
    length: usize,
    pages: PageBuffer,
}

impl Chunk {
    /// What it has of a segment from `offset` on.
    fn from(&self, segment: u64, offset: u64) -> Option<&[u8]> {
        let skip = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        (segment == self.segment && skip < self.length).then(|| &self.pages.bytes()[skip..self.length])
    }
}

/// A disk, and what is read ahead of it.
struct ReadAhead<'a> {
    disk: &'a dyn SegmentReader,
    ahead: Mutex<Ahead>,
}

struct Ahead {
    orders: Sender<Chunk>,
    answered: Receiver<(Chunk, bool)>,
    /// The last that was read.
    ready: Option<Chunk>,
    /// Where the one begins that is being read.
    under_way: Option<(u64, u64)>,
    /// Memory of the chunks that are neither.
    spare: Vec<PageBuffer>,
}

impl Ahead {
    /// Waits for the chunk under way; it is the ready one then, if it could be read.
    fn arrive(&mut self) {
        let arrived = self.under_way.take().and_then(|_| self.answered.recv().ok());
        let Some((chunk, read)) = arrived else { return };
        let past = if read { self.ready.replace(chunk) } else { Some(chunk) };
        self.spare.extend(past.map(|chunk| chunk.pages));
    }

    /// Orders what follows `start` in its segment or, at its end, the beginning of the next.
    fn order(&mut self, disk: &dyn SegmentReader, segment: u64, start: u64) {
        let left = |segment, start| disk.length(segment).map_or(0, |length: u64| length.saturating_sub(start));
        let (segment, start, left) = match left(segment, start) {
            0 => (segment + 1, 0, left(segment + 1, 0)),
            left => (segment, start, left),
        };
        let length = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
        if length == 0 || self.under_way.is_some() {
            return;
        }
        let Some(pages) = self.spare.pop() else { return };
        if self.orders.send(Chunk { segment, start, length, pages }).is_ok() {
            self.under_way = Some((segment, start));
        }
    }
}

impl SegmentReader for ReadAhead<'_> {
    fn segments(&self) -> io::Result<Vec<u64>> {
        self.disk.segments()
    }

    fn length(&self, segment: u64) -> io::Result<u64> {
        self.disk.length(segment)
    }

    fn read(&self, segment: u64, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = 0;
        while done < into.len() {
            let at = offset + done as u64;
            if let Some(bytes) = ahead.ready.as_ref().and_then(|chunk| chunk.from(segment, at)) {
                let count = bytes.len().min(into.len() - done);
                into[done..done + count].copy_from_slice(&bytes[..count]);
                done += count;
                continue;
            }
            let awaited = ahead.under_way == Some((segment, at));
            ahead.arrive();
            let next = match &ahead.ready {
                Some(chunk) if awaited && chunk.from(segment, at).is_some() => chunk.start + chunk.length as u64,
                _ => {
                    self.disk.read(segment, at, &mut into[done..])?;
                    done = into.len();
                    offset + done as u64
                }
            };
            ahead.order(self.disk, segment, next);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Three segments of bytes that tell their place; the middle one has a page that cannot be read.
    struct Disk {
        reading: AtomicUsize,
        bad: Option<(u64, u64)>,
    }

    const LENGTH: u64 = 3 * CHUNK as u64 + 8192;

    fn byte(segment: u64, offset: u64) -> u8 {
        (segment * 7 + offset / 256 + offset) as u8
    }

    impl SegmentReader for Disk {
        fn segments(&self) -> io::Result<Vec<u64>> {
            Ok(vec![0, 1, 2])
        }

        fn length(&self, segment: u64) -> io::Result<u64> {
            (segment < 3).then_some(LENGTH).ok_or(io::ErrorKind::NotFound.into())
        }

        fn read(&self, segment: u64, offset: u64, into: &mut [u8]) -> io::Result<()> {
            assert_eq!(self.reading.fetch_add(1, Ordering::SeqCst), 0, "two reads at a time");
            let end = offset + into.len() as u64;
            let bad = self.bad.is_some_and(|(of, at)| of == segment && at >= offset && at < end);
            for (byte_read, at) in into.iter_mut().zip(offset..) {
                *byte_read = byte(segment, at);
            }
            self.reading.fetch_sub(1, Ordering::SeqCst);
            if bad || end > LENGTH || segment > 2 { Err(io::ErrorKind::InvalidData.into()) } else { Ok(()) }
        }
    }

    /// A read: whether it goes on where the last one ended, else where it begins, and its length.
    fn reads() -> impl Strategy<Value = Vec<(bool, u64, u64, usize)>> {
        let one = (prop::bool::weighted(0.8), 0..3_u64, 0..LENGTH, 1..2 * CHUNK);
        prop::collection::vec(one, 1..24)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_read_ahead_is_what_the_disk_gives(reads in reads(), bad in prop::option::of((0..3_u64, 0..LENGTH))) {
            let disk = Disk { reading: AtomicUsize::new(0), bad };
            let (mut direct, mut ahead) = (vec![0; 2 * CHUNK], vec![0; 2 * CHUNK]);
            // What is expected is read beforehand: the disk bears one read at a time.
            let mut place = (0, 0);
            let mut expected = Vec::new();
            for (goes_on, segment, offset, length) in reads {
                let (segment, offset) = if goes_on { place } else { (segment, offset) };
                let into = &mut direct[..length];
                expected.push((segment, offset, length, disk.read(segment, offset, into).ok().map(|()| into.to_vec())));
                place = if offset + length as u64 >= LENGTH { (segment + 1, 0) } else { (segment, offset + length as u64) };
            }
            reading_ahead(&disk, |disk| {
                for (segment, offset, length, expected) in expected {
                    let into = &mut ahead[..length];
                    let read = disk.read(segment, offset, into).ok().map(|()| &*into);
                    assert_eq!(read, expected.as_deref(), "{length} bytes of {segment} from {offset}");
                }
            });
        }
    }
}
