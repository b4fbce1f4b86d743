//! Where the records of each kind lie in a segment. Rebuilt by reading the segment, and stored nowhere: it cannot say
//! anything that the log does not. A few segments' worth is kept in memory, however long the log is.
//!
//! Deliberately absent: what kinds mean, and records that have not reached the disk yet.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::format::{self, GROUP_HEADER, PAGE, Records, page_up};
use super::io::SegmentReader;
use super::window::Window;
use super::{Log, LogError, LogPosition, Record};

/// Segments whose index is kept.
const KEPT: usize = 4;

/// Offsets of the records of one segment, by kind, rising.
#[derive(Debug, Default)]
struct SegmentKinds {
    offsets: BTreeMap<u8, Vec<u32>>,
}

impl SegmentKinds {
    /// Reads a segment. With `sealed`, the next segment has to go on where this one ends.
    fn read(disk: &dyn SegmentReader, identity: &[u8; 32], segment: u64, sealed: bool) -> Result<Self, LogError> {
        let tag = format::identity_tag(identity);
        let mut window = Window::open(disk, identity, segment)?;
        let mut kinds = Self::default();
        let mut offset = PAGE as u64;
        let mut last = None;
        while let Some((header, crc, bytes)) = window.group(tag, offset)? {
            if !follows(last, header.sequence, header.previous) {
                break;
            }
            for (position, record) in Records::of_checked(&header, &bytes[GROUP_HEADER..]).flatten() {
                kinds.offsets.entry(record[4]).or_default().push(position.offset);
            }
            last = Some((header.sequence, crc));
            offset += page_up(bytes.len()) as u64;
        }
        if sealed {
            let mut next = Window::open(disk, identity, segment + 1)?;
            let Some((header, ..)) = next.group(tag, PAGE as u64)? else {
                return Err(LogError::Corrupt { segment: segment + 1, offset: PAGE as u32 });
            };
            if last.is_none() || !follows(last, header.sequence, header.previous) {
                let offset = u32::try_from(offset).unwrap_or(u32::MAX);
                return Err(LogError::Corrupt { segment, offset });
            }
        }
        Ok(kinds)
    }
}

/// Whether a group comes right after `last`, its sequence number and checksum; what came before the first of a segment is
/// not known here.
fn follows(last: Option<(u64, u32)>, sequence: u64, previous: u32) -> bool {
    last.is_none_or(|(number, crc)| number.checked_add(1) == Some(sequence) && crc == previous)
}

/// What was read last.
#[derive(Debug, Default)]
pub(super) struct Kept(VecDeque<(u64, Arc<SegmentKinds>)>);

impl Log {
    /// The records of a kind from `from` on, in order, as far as they have reached the disk. Reads every segment that it
    /// passes once; an error ends it.
    pub fn records_of(&self, kind: u8, from: LogPosition) -> RecordsOf<'_> {
        let start = LogPosition { segment: self.oldest_segment(), offset: 0 };
        RecordsOf { log: self, kind, next: Some(from.max(start)), kinds: None }
    }

    fn kinds_in(&self, segment: u64) -> Result<Arc<SegmentKinds>, LogError> {
        let shared = &self.shared;
        // A durable group in a later segment seals this one.
        let sealed = segment < shared.lock().writer.durable_segment();
        let mut kept = self.kinds.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((_, kinds)) = kept.0.iter().find(|(number, _)| sealed && *number == segment) {
            return Ok(Arc::clone(kinds));
        }
        let kinds = Arc::new(SegmentKinds::read(shared.disk.as_ref(), &shared.identity, segment, sealed)?);
        if sealed {
            kept.0.truncate(KEPT - 1);
            kept.0.push_front((segment, Arc::clone(&kinds)));
        }
        Ok(kinds)
    }
}

/// See [`Log::records_of`].
#[derive(Debug)]
pub struct RecordsOf<'a> {
    log: &'a Log,
    kind: u8,
    /// Where to go on; nothing after an error or at the end.
    next: Option<LogPosition>,
    kinds: Option<Arc<SegmentKinds>>,
}

impl RecordsOf<'_> {
    fn find(&mut self) -> Result<Option<Record>, LogError> {
        while let Some(next) = self.next {
            let kinds = match self.kinds.take() {
                Some(kinds) => kinds,
                None => self.log.kinds_in(next.segment)?,
            };
            let offsets = kinds.offsets.get(&self.kind).map_or(&[][..], Vec::as_slice);
            if let Some(&offset) = offsets.get(offsets.partition_point(|offset| *offset < next.offset)) {
                self.next = Some(LogPosition { offset: offset.saturating_add(1), ..next });
                self.kinds = Some(kinds);
                return self.log.read(LogPosition { offset, ..next }).map(Some);
            }
            let last = self.log.shared.lock().writer.durable_segment();
            self.next = (next.segment < last).then_some(LogPosition { segment: next.segment + 1, offset: 0 });
        }
        Ok(None)
    }
}

impl Iterator for RecordsOf<'_> {
    type Item = Result<Record, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.find();
        if found.is_err() {
            self.next = None;
        }
        found.transpose()
    }
}
