//! A window on one segment, and the groups in it. It reads ahead, so that a scan is one pass of large reads, each byte once
//! and straight into the window's pages. Memory: one group, and never more than a segment, whatever lengths the bytes claim.

use super::LogError;
use super::buffer::PageBuffer;
use super::format::{self, GROUP_HEADER, GroupHeader, HeaderFault, PAGE, SegmentHeader, page_up};
use super::io::SegmentReader;

/// Bytes that are read at once.
const WINDOW: usize = 1 << 20;
/// Offsets have 32 bits.
pub(super) const SEGMENT_BYTES_MAX: u64 = 1 << 32;

/// A valid group: its header, checksum and bytes.
pub(super) type Found<'a> = (GroupHeader, u32, &'a [u8]);

/// A window on one segment; reads ahead, so that a scan is one pass of large reads.
pub(super) struct Window<'a> {
    disk: &'a dyn SegmentReader,
    pub(super) segment: u64,
    pub(super) length: u64,
    /// Offset of the first byte in `pages`, a multiple of a page.
    start: u64,
    /// How many bytes of `pages` are those of the segment.
    filled: usize,
    pages: PageBuffer,
}

impl<'a> Window<'a> {
    /// Opens a segment of this log; refuses every other.
    pub(super) fn open(disk: &'a dyn SegmentReader, identity: &[u8; 32], segment: u64) -> Result<Self, LogError> {
        let mut window = Self::unchecked(disk, segment)?;
        let length = window.length;
        let header = own(window.header()?, identity, segment)?;
        let corrupt = LogError::Corrupt { segment, offset: 0 };
        let length_ok = header.bytes == length && length <= SEGMENT_BYTES_MAX && length.is_multiple_of(PAGE as u64);
        if header.segment == segment && length_ok { Ok(window) } else { Err(corrupt) }
    }

    /// Opens a segment, whatever it holds.
    pub(super) fn unchecked(disk: &'a dyn SegmentReader, segment: u64) -> Result<Self, LogError> {
        let length = disk.length(segment).map_err(LogError::io("measure a segment"))?;
        Ok(Self { disk, segment, length, start: 0, filled: 0, pages: PageBuffer::zeroed(WINDOW) })
    }

    /// What its first page says.
    pub(super) fn header(&mut self) -> Result<Result<SegmentHeader, HeaderFault>, LogError> {
        Ok(self.at(0, PAGE)?.map_or(Err(HeaderFault::Corrupt), SegmentHeader::parse))
    }

    /// `count` bytes from `offset`, or nothing if the segment ends before.
    pub(super) fn at(&mut self, offset: u64, count: usize) -> Result<Option<&[u8]>, LogError> {
        let end = offset.saturating_add(count as u64);
        if end > self.length {
            return Ok(None);
        }
        if offset < self.start || end > self.start + self.filled as u64 {
            self.move_to(offset, count)?;
        }
        let from = usize::try_from(offset - self.start).expect("a window is in memory");
        Ok(self.pages.bytes()[..self.filled].get(from..from + count))
    }

    /// Moves so that `count` bytes from `offset` are in, and as many behind them as there is room for.
    fn move_to(&mut self, offset: u64, count: usize) -> Result<(), LogError> {
        let start = offset - offset % PAGE as u64;
        let least = page_up(usize::try_from(offset - start).expect("less than a page") + count);
        let kept = self.keep_from(start, least);
        (self.start, self.filled) = (start, kept);
        let left = usize::try_from(self.length - start).unwrap_or(usize::MAX);
        // The last page of what is no whole segment may be a part of one.
        let (least, ahead) = (least.min(left), self.pages.bytes().len().min(left));
        let mut read = self.fill(ahead);
        if read.is_err() && least < ahead {
            // What cannot be read may lie behind what is asked for.
            read = self.fill(least);
        }
        read.map_err(|error| {
            self.filled = 0;
            LogError::io("read a segment")(error)
        })
    }

    /// Makes room for `least` bytes, and moves what is here from `start` on to the front; how many bytes that is.
    fn keep_from(&mut self, start: u64, least: usize) -> usize {
        let skip = start.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        // Whole pages, so that what follows is read to whole pages.
        let skip = skip.filter(|skip| *skip < self.filled && self.filled.is_multiple_of(PAGE));
        let here = skip.map_or(0..0, |skip| skip..self.filled);
        let kept = here.len();
        if least > self.pages.bytes().len() {
            let mut larger = PageBuffer::zeroed(least);
            larger.bytes_mut()[..kept].copy_from_slice(&self.pages.bytes()[here]);
            self.pages = larger;
        } else {
            self.pages.bytes_mut().copy_within(here, 0);
        }
        kept
    }

    /// Reads on until `count` bytes are in.
    fn fill(&mut self, count: usize) -> std::io::Result<()> {
        if self.filled < count {
            let into = &mut self.pages.bytes_mut()[self.filled..count];
            self.disk.read(self.segment, self.start + self.filled as u64, into)?;
            self.filled = count;
        }
        Ok(())
    }

    /// The valid group at `offset`, with its bytes and checksum.
    pub(super) fn group(&mut self, tag: u32, offset: u64) -> Result<Option<Found<'_>>, LogError> {
        let segment = self.segment;
        let Ok(place) = u32::try_from(offset) else { return Ok(None) };
        let Some(head) = self.at(offset, GROUP_HEADER)? else { return Ok(None) };
        let Some((claim, _)) = GroupHeader::parse(head) else { return Ok(None) };
        if claim.tag != tag || claim.segment != segment || claim.offset != place {
            return Ok(None);
        }
        // Not longer than the segment, so a wild length costs at most one segment of memory.
        let Some(bytes) = self.at(offset, GROUP_HEADER + claim.length as usize)? else { return Ok(None) };
        Ok(format::check_group(bytes, tag, segment, place).map(|(header, crc)| (header, crc, bytes)))
    }
}

/// The header of a segment, where it can be read and is one of this log.
pub(super) fn own(
    header: Result<SegmentHeader, HeaderFault>,
    identity: &[u8; 32],
    segment: u64,
) -> Result<SegmentHeader, LogError> {
    match header {
        Ok(header) if header.identity == *identity => Ok(header),
        Ok(header) => Err(LogError::OtherIdentity { segment, expected: *identity, found: header.identity }),
        Err(HeaderFault::Version(version)) => Err(LogError::Version { segment, version }),
        Err(HeaderFault::Foreign | HeaderFault::Corrupt) => Err(LogError::Corrupt { segment, offset: 0 }),
    }
}
