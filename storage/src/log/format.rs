//! The bytes on disk: segment header, group header, record. Owns no file and no buffer: it reads and writes slices.
//!
//! ```text
//! segment   4 KiB page {magic, version, identity, segment, bytes, crc}, then groups, zeroes or stale bytes
//! group     4 KiB-aligned {magic, tag, segment, offset, length, sequence, incarnation, durable_up_to, previous,
//!           records, crc} records, zeroes up to the next 4 KiB
//! record    {length, kind, crc} payload
//! ```
//!
//! A record's checksum covers payload, length, kind and its own position; a group's covers its header and the record
//! headers, so one pass over the payload checks both. `previous` is the checksum of the group before: a stale group
//! that survived a cut or a recycled file cannot join the chain, because `incarnation` grows with every start.

use crate::log::LogPosition;

/// Unit of alignment of groups, buffers and direct I/O, in bytes.
pub const PAGE: usize = 4096;
/// Bytes of a group header.
pub const GROUP_HEADER: usize = 64;
/// Bytes of a record header.
pub const RECORD_HEADER: usize = 12;

const SEGMENT_MAGIC: [u8; 8] = *b"STELELOG";
const GROUP_MAGIC: u32 = u32::from_le_bytes(*b"STGR");
const VERSION: u32 = 1;
const SEGMENT_HEADER: usize = 64;
const GROUP_COVERED: usize = 56;

/// The next multiple of [`PAGE`].
pub const fn page_up(bytes: usize) -> usize {
    bytes.next_multiple_of(PAGE)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// First page of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Chain and node.
    pub identity: [u8; 32],
    /// Number of the segment.
    pub segment: u64,
    /// Size of the segment file.
    pub bytes: u64,
}

/// Why a page is not a segment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// No magic.
    Foreign,
    /// Another format version.
    Version(u32),
    /// Bad checksum.
    Corrupt,
}

impl SegmentHeader {
    /// The page that starts the segment.
    pub fn to_page(&self) -> Vec<u8> {
        let mut page = Vec::with_capacity(PAGE);
        page.extend_from_slice(&SEGMENT_MAGIC);
        page.extend_from_slice(&VERSION.to_le_bytes());
        page.extend_from_slice(&self.identity);
        page.extend_from_slice(&self.segment.to_le_bytes());
        page.extend_from_slice(&self.bytes.to_le_bytes());
        let crc = crc32c::crc32c(&page);
        page.extend_from_slice(&crc.to_le_bytes());
        debug_assert_eq!(page.len(), SEGMENT_HEADER);
        page.resize(PAGE, 0);
        page
    }

    /// Reads a header back.
    pub fn parse(page: &[u8]) -> Result<Self, HeaderFault> {
        let head: &[u8; SEGMENT_HEADER] = page.first_chunk().ok_or(HeaderFault::Corrupt)?;
        if head[..8] != SEGMENT_MAGIC {
            return Err(HeaderFault::Foreign);
        }
        let field = |at| u64_at(head, at).ok_or(HeaderFault::Corrupt);
        if u32_at(head, 60) != Some(crc32c::crc32c(&head[..60])) {
            return Err(HeaderFault::Corrupt);
        }
        let version = u32_at(head, 8).ok_or(HeaderFault::Corrupt)?;
        if version != VERSION {
            return Err(HeaderFault::Version(version));
        }
        let identity = *head[12..].first_chunk().ok_or(HeaderFault::Corrupt)?;
        Ok(Self { identity, segment: field(44)?, bytes: field(52)? })
    }
}

/// Header of a group of records that became durable together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupHeader {
    /// [`identity_tag`] of the log.
    pub tag: u32,
    /// Segment it was written to.
    pub segment: u64,
    /// Byte offset of this header in the segment.
    pub offset: u32,
    /// Bytes of the records after this header.
    pub length: u32,
    /// Number of the group, from 1.
    pub sequence: u64,
    /// Number of the start of the log that wrote it.
    pub incarnation: u64,
    /// Every group up to this one was durable when this one was written.
    pub durable_up_to: u64,
    /// Checksum of the group before, 0 for the first.
    pub previous: u32,
    /// Number of records.
    pub records: u32,
}

impl GroupHeader {
    /// Writes the header and returns the group's checksum. `records_crc` is the running checksum of the record headers.
    pub fn write(&self, records_crc: u32, out: &mut [u8; GROUP_HEADER]) -> u32 {
        out[0..4].copy_from_slice(&GROUP_MAGIC.to_le_bytes());
        out[4..8].copy_from_slice(&self.tag.to_le_bytes());
        out[8..16].copy_from_slice(&self.segment.to_le_bytes());
        out[16..20].copy_from_slice(&self.offset.to_le_bytes());
        out[20..24].copy_from_slice(&self.length.to_le_bytes());
        out[24..32].copy_from_slice(&self.sequence.to_le_bytes());
        out[32..40].copy_from_slice(&self.incarnation.to_le_bytes());
        out[40..48].copy_from_slice(&self.durable_up_to.to_le_bytes());
        out[48..52].copy_from_slice(&self.previous.to_le_bytes());
        out[52..56].copy_from_slice(&self.records.to_le_bytes());
        let crc = crc32c::crc32c_append(records_crc, &out[..GROUP_COVERED]);
        out[56..60].copy_from_slice(&crc.to_le_bytes());
        out[60..64].fill(0);
        crc
    }

    /// Reads the fields; the checksum is that of the whole group and is checked by [`check_group`].
    pub fn parse(bytes: &[u8]) -> Option<(Self, u32)> {
        if u32_at(bytes, 0)? != GROUP_MAGIC || u32_at(bytes, 60)? != 0 {
            return None;
        }
        let header = Self {
            tag: u32_at(bytes, 4)?,
            segment: u64_at(bytes, 8)?,
            offset: u32_at(bytes, 16)?,
            length: u32_at(bytes, 20)?,
            sequence: u64_at(bytes, 24)?,
            incarnation: u64_at(bytes, 32)?,
            durable_up_to: u64_at(bytes, 40)?,
            previous: u32_at(bytes, 48)?,
            records: u32_at(bytes, 52)?,
        };
        Some((header, u32_at(bytes, 56)?))
    }
}

/// Short form of the identity that each group carries.
pub fn identity_tag(identity: &[u8; 32]) -> u32 {
    crc32c::crc32c(identity)
}

/// Header of a record whose payload has the checksum `payload_crc`.
pub fn record_header(kind: u8, length: u32, payload_crc: u32, position: LogPosition) -> [u8; RECORD_HEADER] {
    let mut header = [0; RECORD_HEADER];
    header[0..4].copy_from_slice(&length.to_le_bytes());
    header[4] = kind;
    let crc = crc32c::crc32c_append(payload_crc, &header[..8]);
    let mut place = [0; 12];
    place[..8].copy_from_slice(&position.segment.to_le_bytes());
    place[8..].copy_from_slice(&position.offset.to_le_bytes());
    header[8..12].copy_from_slice(&crc32c::crc32c_append(crc, &place).to_le_bytes());
    header
}

/// Length of the payload and kind that a record header claims. Nothing is checked but its form.
pub fn record_claim(header: &[u8]) -> Option<(u8, u32)> {
    let header: &[u8; RECORD_HEADER] = header.first_chunk()?;
    if header[5..8] != [0; 3] {
        return None;
    }
    Some((header[4], u32_at(header, 0)?))
}

/// Kind and payload of the record that starts `bytes`, if its checksum holds at `position`.
pub fn check_record(bytes: &[u8], position: LogPosition) -> Option<(u8, &[u8])> {
    let (kind, length) = record_claim(bytes)?;
    let payload = bytes.get(RECORD_HEADER..)?.get(..length as usize)?;
    let header = record_header(kind, length, crc32c::crc32c(payload), position);
    (bytes.get(..RECORD_HEADER)? == header).then_some((kind, payload))
}

/// Header and checksum of the group that starts `bytes`, if it is whole, unharmed, of this log and written to this
/// place. `bytes` may be longer than the group.
pub fn check_group(bytes: &[u8], tag: u32, segment: u64, offset: u32) -> Option<(GroupHeader, u32)> {
    let (header, crc) = GroupHeader::parse(bytes)?;
    if header.tag != tag || header.segment != segment || header.offset != offset {
        return None;
    }
    let body = bytes.get(GROUP_HEADER..)?.get(..header.length as usize)?;
    let mut records_crc = 0;
    let mut records = 0u32;
    for record in Records::new(&header, body) {
        let (_, bytes) = record?;
        records_crc = crc32c::crc32c_append(records_crc, bytes.get(..RECORD_HEADER)?);
        records = records.checked_add(1)?;
    }
    let covered = crc32c::crc32c_append(records_crc, bytes.get(..GROUP_COVERED)?);
    (records == header.records && covered == crc).then_some((header, crc))
}

/// Walks the records of a group body; yields `None` once where one is bad. An item is the position and the record's bytes.
pub struct Records<'a> {
    segment: u64,
    offset: u32,
    rest: &'a [u8],
    checked: bool,
}

impl<'a> Records<'a> {
    /// Starts at the first record of `body`.
    pub fn new(header: &GroupHeader, body: &'a [u8]) -> Self {
        Self {
            segment: header.segment,
            offset: header.offset.saturating_add(GROUP_HEADER as u32),
            rest: body,
            checked: false,
        }
    }

    /// As [`Records::new`], for a group that [`check_group`] has accepted: checksums are not computed again.
    pub fn of_checked(header: &GroupHeader, body: &'a [u8]) -> Self {
        Self { checked: true, ..Self::new(header, body) }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Option<(LogPosition, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let position = LogPosition { segment: self.segment, offset: self.offset };
        let length = if self.checked {
            record_claim(self.rest).map(|(_, length)| length as usize)
        } else {
            check_record(self.rest, position).map(|(_, payload)| payload.len())
        };
        let split = length.and_then(|length| self.rest.split_at_checked(RECORD_HEADER.saturating_add(length)));
        let Some((record, rest)) = split else {
            self.rest = &[];
            return Some(None);
        };
        self.rest = rest;
        self.offset = self.offset.saturating_add(u32::try_from(record.len()).unwrap_or(u32::MAX));
        Some(Some((position, record)))
    }
}
