//! Reads a whole log and names everything in it that is not what was written, where a start would refuse at the first.
//! Changes nothing. Memory: one group.
//!
//! A group is missed where the chain breaks and the header of a group behind says that more was durable. Where none
//! does, the log ends there: what was torn by a power cut was never acknowledged and is no damage.
//!
//! Deliberately absent: what records mean, repairs, and the bytes between groups. Where a power cut tore the last sector
//! off a group, in a segment that was used before, those are of another time, and nothing is lost.

use super::format::{self, GROUP_HEADER, GroupHeader, HeaderFault, PAGE, Records, page_up};
use super::io::SegmentReader;
use super::read_ahead::reading_ahead;
use super::window::{SEGMENT_BYTES_MAX, Window};
use super::{LogError, LogPosition, VisitError};
use std::collections::BTreeMap;

/// What is wrong at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// The segment is not there, though there are older and newer ones. Those that follow it and are missing as well are
    /// not named.
    MissingSegment,
    /// The first page of the segment is not what was written.
    SegmentHeader,
    /// The segment was written by another version of the format, which this one does not read.
    Version(u32),
    /// The segment belongs to another chain or another node.
    OtherIdentity,
    /// The segment was another one, this number, when it was written.
    SwappedSegment(u64),
    /// The file is longer or shorter than the segment was made.
    SegmentLength,
    /// The operating system cannot read this place.
    Unreadable,
    /// No header of a group where one was written.
    GroupHeader,
    /// A whole group, but one that was written to another place or by another node.
    MovedGroup,
    /// A whole group of this place, but not the one that was written after the group before it.
    Chain,
    /// A record is not what was written.
    Record,
}

impl DamageKind {
    /// As reports say it; stable.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MissingSegment => "missing_segment",
            Self::SegmentHeader => "segment_header",
            Self::Version(_) => "version",
            Self::OtherIdentity => "other_identity",
            Self::SwappedSegment(_) => "swapped_segment",
            Self::SegmentLength => "segment_length",
            Self::Unreadable => "unreadable",
            Self::GroupHeader => "group_header",
            Self::MovedGroup => "moved_group",
            Self::Chain => "chain",
            Self::Record => "record",
        }
    }
}

/// Something that is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Segment.
    pub segment: u64,
    /// Byte offset in it.
    pub offset: u64,
    /// What it is.
    pub kind: DamageKind,
}

/// What a check meets, in the order of the log.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'a> {
    /// It begins with this segment.
    Segment {
        /// Its number.
        segment: u64,
        /// How many are behind it.
        left: u64,
    },
    /// A record whose checksums hold.
    Record {
        /// Where it lies.
        position: LogPosition,
        /// The caller's tag.
        kind: u8,
        /// The caller's bytes.
        payload: &'a [u8],
    },
    /// Something else.
    Damage(Damage),
}

/// What a check came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Segments that are there.
    pub segments: u64,
    /// The oldest of them.
    pub oldest: u64,
    /// Groups whose checksums hold.
    pub groups: u64,
    /// Records whose checksums hold.
    pub records: u64,
    /// Bytes of the groups, padding included.
    pub bytes: u64,
    /// How much was damaged.
    pub damaged: u64,
    /// Where the log ends.
    pub end: LogPosition,
}

/// The identity that most segment headers say, of those that can be read, whose checksums hold; none if there is no such
/// header. One segment that strayed into the log of another does not make that the stray's.
pub fn identity(disk: &dyn SegmentReader) -> Result<Option<[u8; 32]>, LogError> {
    let mut said: BTreeMap<[u8; 32], u64> = BTreeMap::new();
    for segment in disk.segments().map_err(LogError::io("list the log"))? {
        if let Ok(Ok(header)) = Window::unchecked(disk, segment).and_then(|mut window| window.header()) {
            *said.entry(header.identity).or_default() += 1;
        }
    }
    Ok(said.into_iter().max_by_key(|(_, times)| *times).map(|(identity, _)| identity))
}

/// Checks the log of `identity` and shows all of it to `see`, which can end the check with an error.
pub fn check(
    disk: &dyn SegmentReader,
    identity: &[u8; 32],
    see: &mut dyn FnMut(Seen<'_>) -> Result<(), VisitError>,
) -> Result<Checked, LogError> {
    reading_ahead(disk, |disk| pass(disk, identity, see))
}

fn pass(
    disk: &dyn SegmentReader,
    identity: &[u8; 32],
    see: &mut dyn FnMut(Seen<'_>) -> Result<(), VisitError>,
) -> Result<Checked, LogError> {
    let segments = disk.segments().map_err(LogError::io("list the log"))?;
    let tag = format::identity_tag(identity);
    let checked = Checked {
        segments: segments.len() as u64,
        oldest: segments.first().copied().unwrap_or(0),
        ..Checked::default()
    };
    let mut checker =
        Checker { disk, identity, tag, segments: &segments, see, last: None, lost: false, ended: false, checked };
    for place in 0..segments.len() {
        checker.segment(place)?;
    }
    Ok(checker.checked)
}

struct Checker<'a> {
    disk: &'a dyn SegmentReader,
    identity: &'a [u8; 32],
    tag: u32,
    segments: &'a [u64],
    see: &'a mut dyn FnMut(Seen<'_>) -> Result<(), VisitError>,
    last: Option<(GroupHeader, u32)>,
    /// Damage was named and the chain has not been found again since.
    lost: bool,
    /// The log has ended; only segments made ahead may follow.
    ended: bool,
    checked: Checked,
}

impl Checker<'_> {
    fn segment(&mut self, place: usize) -> Result<(), LogError> {
        let segment = self.segments[place];
        let left = (self.segments.len() - place - 1) as u64;
        self.show(Seen::Segment { segment, left }, LogPosition { segment, offset: 0 })?;
        if let Some(before) = place.checked_sub(1).map(|before| self.segments[before])
            && before + 1 < segment
        {
            self.lose(before + 1, 0, DamageKind::MissingSegment)?;
        }
        let Ok(mut window) = Window::unchecked(self.disk, segment) else {
            return self.lose(segment, 0, DamageKind::Unreadable);
        };
        if !self.header(&mut window)? || self.ended {
            return Ok(());
        }
        let mut offset = PAGE as u64;
        loop {
            if let Some(bytes) = self.take(&mut window, offset)? {
                offset += bytes;
            } else if self.lost {
                offset += PAGE as u64;
                if offset >= window.length {
                    return Ok(());
                }
            } else if self.goes_on_in_the_next(place) {
                return Ok(());
            } else if self.more_was_durable(place, offset) {
                if let Some((segment, offset, kind)) = self.blame(&mut window, offset, place) {
                    self.name(segment, offset, kind)?;
                }
                self.lost = true;
                offset += PAGE as u64;
            } else {
                self.ended = true;
                let offset = u32::try_from(offset).unwrap_or(u32::MAX);
                self.checked.end = LogPosition { segment, offset };
                return Ok(());
            }
        }
    }

    /// Checks what the first page says; whether groups of this log may follow.
    fn header(&mut self, window: &mut Window<'_>) -> Result<bool, LogError> {
        let segment = window.segment;
        let (kind, readable) = match window.header() {
            Err(_) => (DamageKind::Unreadable, true),
            Ok(Err(HeaderFault::Version(version))) => (DamageKind::Version(version), false),
            Ok(Err(HeaderFault::Foreign | HeaderFault::Corrupt)) => (DamageKind::SegmentHeader, true),
            Ok(Ok(header)) if header.identity != *self.identity => (DamageKind::OtherIdentity, false),
            Ok(Ok(header)) if header.segment != segment => (DamageKind::SwappedSegment(header.segment), false),
            Ok(Ok(header)) if header.bytes != window.length || window.length > SEGMENT_BYTES_MAX => {
                self.name(segment, window.length.min(header.bytes), DamageKind::SegmentLength)?;
                return Ok(true);
            }
            Ok(Ok(_)) => return Ok(true),
        };
        if readable {
            // The groups say themselves where they belong.
            self.name(segment, 0, kind)?;
        } else {
            self.lose(segment, 0, kind)?;
        }
        Ok(readable)
    }

    /// Takes the group at `offset` if it continues the chain, or takes it up again; its bytes on the disk.
    fn take(&mut self, window: &mut Window<'_>, offset: u64) -> Result<Option<u64>, LogError> {
        let Some((header, crc, bytes)) = valid(window, self.tag, offset) else { return Ok(None) };
        let fits = if self.lost { newer(&self.last, &header) } else { self.continues(&header) };
        if !fits {
            return Ok(None);
        }
        for (position, record) in Records::of_checked(&header, &bytes[GROUP_HEADER..]).flatten() {
            let (kind, payload) = (record[4], &record[format::RECORD_HEADER..]);
            let seen = Seen::Record { position, kind, payload };
            (self.see)(seen).map_err(|source| LogError::Visitor { position, source })?;
            self.checked.records += 1;
        }
        let length = page_up(bytes.len()) as u64;
        self.checked.groups += 1;
        self.checked.bytes += length;
        self.last = Some((header, crc));
        self.lost = false;
        Ok(Some(length))
    }

    fn continues(&self, header: &GroupHeader) -> bool {
        match &self.last {
            Some((last, crc)) => {
                last.sequence.checked_add(1) == Some(header.sequence)
                    && header.previous == *crc
                    && header.incarnation >= last.incarnation
            }
            // What preceded a later segment may have been released.
            None => self.checked.oldest > 0 || (header.sequence == 1 && header.previous == 0),
        }
    }

    /// Whether the chain goes on at the start of the next segment: the writer rolls when a record does not fit.
    fn goes_on_in_the_next(&self, place: usize) -> bool {
        let (Some(next), Some(_)) = (self.next(place), &self.last) else { return false };
        // What cannot be opened is named when it is reached.
        let Ok(mut window) = Window::unchecked(self.disk, next) else { return false };
        let found = valid(&mut window, self.tag, PAGE as u64);
        found.is_some_and(|(header, ..)| self.continues(&header))
    }

    fn next(&self, place: usize) -> Option<u64> {
        self.segments.get(place + 1).copied()
    }

    /// Whether a group behind `offset` says that the chain was longer than it is.
    fn more_was_durable(&self, place: usize, offset: u64) -> bool {
        if self.last.is_none() && self.checked.oldest > 0 {
            // The oldest segment that is kept always has a group.
            return true;
        }
        let sequence = self.last.map_or(0, |(last, _)| last.sequence);
        let mut offset = offset + PAGE as u64;
        for (ahead, segment) in self.segments[place..].iter().enumerate() {
            if ahead > 0 {
                offset = PAGE as u64;
            }
            let Ok(mut window) = Window::unchecked(self.disk, *segment) else { continue };
            while offset < window.length {
                let Some((header, _, bytes)) = valid(&mut window, self.tag, offset) else {
                    offset += PAGE as u64;
                    continue;
                };
                if header.durable_up_to > sequence {
                    return true;
                }
                offset += page_up(bytes.len()) as u64;
            }
        }
        false
    }

    /// What is wrong where a group ought to be, and where exactly; nothing where the segment as a whole is to blame, this
    /// one or the next, which is named as such.
    fn blame(&self, window: &mut Window<'_>, offset: u64, place: usize) -> Option<(u64, u64, DamageKind)> {
        let segment = window.segment;
        if valid(window, self.tag, offset).is_some() {
            return Some((segment, offset, DamageKind::Chain));
        }
        let untouched = match window.at(offset, PAGE) {
            Err(_) => return Some((segment, offset, DamageKind::Unreadable)),
            Ok(page) => page.is_none_or(|page| page.iter().all(|byte| *byte == 0)),
        };
        if !untouched || self.last.is_none() {
            return Some(classify(window, self.tag, offset));
        }
        let shortened = window.header().is_ok_and(|header| header.is_ok_and(|header| header.bytes > window.length));
        // Where nothing was ever written nothing can be damaged: then it is the first group of the next segment.
        match self.next(place) {
            _ if shortened => None,
            Some(next) if next == segment + 1 => {
                let Ok(mut window) = Window::unchecked(self.disk, next) else { return None };
                let empty = window.length <= PAGE as u64;
                let other = window.header().is_ok_and(|header| match header {
                    Ok(header) => header.identity != *self.identity || header.segment != next,
                    Err(fault) => empty || matches!(fault, HeaderFault::Version(_)),
                });
                (!other).then(|| classify(&mut window, self.tag, PAGE as u64))
            }
            Some(_) => None,
            None => Some(classify(window, self.tag, offset)),
        }
    }

    /// Names damage after which the chain has to be found again.
    fn lose(&mut self, segment: u64, offset: u64, kind: DamageKind) -> Result<(), LogError> {
        self.lost = true;
        self.name(segment, offset, kind)
    }

    fn name(&mut self, segment: u64, offset: u64, kind: DamageKind) -> Result<(), LogError> {
        self.checked.damaged += 1;
        let position = LogPosition { segment, offset: u32::try_from(offset).unwrap_or(u32::MAX) };
        self.show(Seen::Damage(Damage { segment, offset, kind }), position)
    }

    fn show(&mut self, seen: Seen<'_>, position: LogPosition) -> Result<(), LogError> {
        (self.see)(seen).map_err(|source| LogError::Visitor { position, source })
    }
}

/// The valid group at `offset`. What cannot be read is not valid.
fn valid<'a>(window: &'a mut Window<'_>, tag: u32, offset: u64) -> Option<(GroupHeader, u32, &'a [u8])> {
    window.group(tag, offset).ok().flatten()
}

/// Whether a group was written after `last`, as far as headers say.
fn newer(last: &Option<(GroupHeader, u32)>, header: &GroupHeader) -> bool {
    last.is_none_or(|(last, _)| header.sequence > last.sequence && header.incarnation >= last.incarnation)
}

/// What is wrong with the group that ought to be at `offset`: segment, offset and kind.
fn classify(window: &mut Window<'_>, tag: u32, offset: u64) -> (u64, u64, DamageKind) {
    let segment = window.segment;
    let here = |kind| (segment, offset, kind);
    let Ok(Some(head)) = window.at(offset, GROUP_HEADER) else { return here(DamageKind::Unreadable) };
    let Some((claim, _)) = GroupHeader::parse(head) else { return here(DamageKind::GroupHeader) };
    let Ok(Some(bytes)) = window.at(offset, GROUP_HEADER + claim.length as usize) else {
        return here(DamageKind::GroupHeader);
    };
    if format::check_group(bytes, claim.tag, claim.segment, claim.offset).is_some() {
        return here(DamageKind::MovedGroup);
    }
    if claim.tag != tag || claim.segment != segment || u64::from(claim.offset) != offset {
        return here(DamageKind::GroupHeader);
    }
    let mut next = offset + GROUP_HEADER as u64;
    for record in Records::new(&claim, &bytes[GROUP_HEADER..]) {
        match record {
            Some((_, record)) => next += record.len() as u64,
            None => return (segment, next, DamageKind::Record),
        }
    }
    // Every record holds, so it is the header that does not.
    here(DamageKind::GroupHeader)
}
