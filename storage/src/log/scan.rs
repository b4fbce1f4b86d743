//! Reads a log back: finds the chain of groups, cuts a torn tail, refuses rot in what was durable. Changes nothing.
//!
//! The chain ends at the first place where no valid group continues it. If a valid group behind that place says that
//! more than the chain was durable, acknowledged bytes are gone and the log is corrupt; otherwise the tail was never
//! acknowledged and is cut by writing over it under a new incarnation number.

use bytes::Bytes;

use super::format::{self, GROUP_HEADER, GroupHeader, PAGE, Records, page_up};
use super::io::SegmentReader;
use super::read_ahead::reading_ahead;
use super::window::Window;
use super::writer::Tail;
use super::{LogError, LogPosition, Record, VisitError};

/// What a scan found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Where to go on.
    pub tail: Tail,
    /// Segments after the tail's, made ahead and empty: first and last number.
    pub spares: Option<(u64, u64)>,
    /// Oldest segment kept.
    pub oldest: u64,
    /// Records visited.
    pub records: u64,
    /// Whether valid but unacknowledged groups were cut away.
    pub cut: bool,
}

/// Scans from segment `from` (or from the oldest) and shows every record to `visit`, in order. Memory: one group, and what
/// is read ahead of it.
pub fn scan(
    disk: &dyn SegmentReader,
    identity: &[u8; 32],
    from: Option<u64>,
    visit: &mut dyn FnMut(Record) -> Result<(), VisitError>,
) -> Result<Option<Scan>, LogError> {
    reading_ahead(disk, |disk| pass(disk, identity, from, visit))
}

fn pass(
    disk: &dyn SegmentReader,
    identity: &[u8; 32],
    from: Option<u64>,
    visit: &mut dyn FnMut(Record) -> Result<(), VisitError>,
) -> Result<Option<Scan>, LogError> {
    let segments = disk.segments().map_err(LogError::io("list the log"))?;
    let (Some(&oldest), Some(&newest)) = (segments.first(), segments.last()) else { return Ok(None) };
    if let Some(missing) = (oldest..).zip(&segments).find(|(number, segment)| number != *segment) {
        return Err(LogError::MissingSegment { segment: missing.0 });
    }
    let tag = format::identity_tag(identity);
    let from = from.unwrap_or(oldest).clamp(oldest, newest);
    let mut window = Window::open(disk, identity, from)?;
    // A segment that was only made ahead has no group to start from; the one before has.
    while window.group(tag, PAGE as u64)?.is_none() && window.segment > oldest {
        window = Window::open(disk, identity, window.segment - 1)?;
    }
    let mut chain = Chain { tag, oldest, last: None, records: 0, offset: PAGE as u64 };
    let mut incarnation = 0;
    let mut blamed = None;
    loop {
        if let Some(header) = chain.step(&mut window, from, visit)? {
            incarnation = incarnation.max(header.incarnation);
            continue;
        }
        if chain.last.is_none() || window.segment == newest {
            break;
        }
        // The writer rolls when a record does not fit: the next group is at the start of the next segment or nowhere.
        let mut next = Window::open(disk, identity, window.segment + 1)?;
        let offset = std::mem::replace(&mut chain.offset, PAGE as u64);
        match chain.step(&mut next, from, visit)? {
            Some(header) => {
                incarnation = incarnation.max(header.incarnation);
                window = next;
            }
            None => {
                chain.offset = offset;
                // Where nothing was ever written, nothing can have rotted: then the group that ought to follow is the
                // first of the next segment. Only the place in a report of corruption depends on this.
                let untouched = match window.at(offset, PAGE)? {
                    Some(page) => page.iter().all(|byte| *byte == 0),
                    None => true,
                };
                if untouched {
                    blamed = Some(LogPosition { segment: next.segment, offset: PAGE as u32 });
                }
                break;
            }
        }
    }
    let end = LogPosition { segment: window.segment, offset: u32::try_from(chain.offset).unwrap_or(u32::MAX) };
    let (sequence, crc) = chain.last.map_or((0, 0), |last| (last.0.sequence, last.1));
    let behind = behind(disk, identity, tag, window, chain.offset, newest)?;
    if behind.durable_up_to > sequence || (chain.last.is_none() && (oldest > 0 || behind.durable_up_to > 0)) {
        let LogPosition { segment, offset } = blamed.unwrap_or(end);
        return Err(LogError::Corrupt { segment, offset });
    }
    let segment_bytes = disk.length(end.segment).map_err(LogError::io("measure a segment"))?;
    let tail = Tail {
        segment: end.segment,
        segment_bytes,
        offset: end.offset,
        sequence,
        crc,
        incarnation: incarnation.max(behind.incarnation).saturating_add(1),
    };
    let spares = (end.segment < newest).then(|| (end.segment + 1, newest));
    Ok(Some(Scan { tail, spares, oldest, records: chain.records, cut: behind.found }))
}

struct Chain {
    tag: u32,
    oldest: u64,
    last: Option<(GroupHeader, u32)>,
    records: u64,
    offset: u64,
}

impl Chain {
    /// Takes the group at the current offset of `window` if it continues the chain.
    fn step(
        &mut self,
        window: &mut Window<'_>,
        from: u64,
        visit: &mut dyn FnMut(Record) -> Result<(), VisitError>,
    ) -> Result<Option<GroupHeader>, LogError> {
        let Some((header, crc, bytes)) = window.group(self.tag, self.offset)? else { return Ok(None) };
        let continues = match &self.last {
            Some((last, last_crc)) => {
                last.sequence.checked_add(1) == Some(header.sequence)
                    && header.previous == *last_crc
                    && header.incarnation >= last.incarnation
            }
            // Nothing precedes the very first group; what preceded a later segment may have been released.
            None => self.oldest > 0 || header.segment > 0 || (header.sequence == 1 && header.previous == 0),
        };
        if !continues {
            return Ok(None);
        }
        if header.segment >= from {
            for (position, record) in Records::of_checked(&header, &bytes[GROUP_HEADER..]).flatten() {
                let (kind, payload) = (record[4], &record[format::RECORD_HEADER..]);
                let record = Record { position, kind, payload: Bytes::copy_from_slice(payload) };
                visit(record).map_err(|source| LogError::Visitor { position, source })?;
                self.records += 1;
            }
        }
        self.offset += page_up(bytes.len()) as u64;
        self.last = Some((header, crc));
        Ok(Some(header))
    }
}

/// What the groups behind the end of the chain say.
#[derive(Default)]
struct Behind {
    found: bool,
    durable_up_to: u64,
    incarnation: u64,
}

fn behind<'a>(
    disk: &'a dyn SegmentReader,
    identity: &[u8; 32],
    tag: u32,
    mut window: Window<'a>,
    mut offset: u64,
    newest: u64,
) -> Result<Behind, LogError> {
    let mut behind = Behind::default();
    loop {
        while offset < window.length {
            if let Some((header, _, bytes)) = window.group(tag, offset)? {
                behind.found = true;
                behind.durable_up_to = behind.durable_up_to.max(header.durable_up_to);
                behind.incarnation = behind.incarnation.max(header.incarnation);
                offset += page_up(bytes.len()) as u64;
            } else {
                offset += PAGE as u64;
            }
        }
        if window.segment >= newest {
            return Ok(behind);
        }
        window = Window::open(disk, identity, window.segment + 1)?;
        offset = PAGE as u64;
    }
}
