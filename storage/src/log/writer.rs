//! Decides what is written where, and when a record may be called durable. A state machine without threads, files or
//! clocks: it is fed records and completions, and asked for writes. Its driver is `log/driver.rs`; the simulated disk
//! drives it step by step.
//!
//! Invariants: groups are page-aligned and never overlap, so no acknowledged sector is written again; a record is
//! acknowledged only when it and everything before it is durable; after a fault nothing is acknowledged any more.

use std::collections::VecDeque;
use std::sync::Arc;

use super::buffer::PageBuffer;
use super::format::{self, GROUP_HEADER, GroupHeader, PAGE, RECORD_HEADER, page_up};
use super::io::Write;
use super::{LogFault, LogPosition};

/// Bounds of a [`Writer`].
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a new segment.
    pub segment_bytes: u64,
    /// Groups handed out and not completed.
    pub groups_in_flight_max: u32,
    /// Bytes of such groups that are enough to keep a disk busy: while there are as many, no further group is handed out.
    pub bytes_in_flight_max: u64,
    /// Bytes of a group; a larger record makes a group of its own.
    pub group_bytes_max: u32,
    /// Bytes accepted and not durable.
    pub queue_bytes_max: u64,
}

impl Limits {
    /// Largest payload that fits a segment, in bytes.
    pub fn payload_bytes_max(&self) -> u64 {
        self.segment_bytes.min(u64::from(u32::MAX)).saturating_sub((PAGE + GROUP_HEADER + RECORD_HEADER) as u64)
    }

    fn buffers(&self) -> u16 {
        let queued = self.queue_bytes_max.div_ceil(u64::from(self.group_bytes_max.max(1)));
        u16::try_from(queued.saturating_add(u64::from(self.groups_in_flight_max)).saturating_add(1))
            .unwrap_or(u16::MAX)
            .min(1024)
    }
}

/// Where a scan ended and a writer goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Segment of the next group.
    pub segment: u64,
    /// Bytes of that segment.
    pub segment_bytes: u64,
    /// Offset of the next group, a multiple of a page.
    pub offset: u32,
    /// Number of the last group, 0 if there is none.
    pub sequence: u64,
    /// Checksum of the last group, 0 if there is none.
    pub crc: u32,
    /// Number of this start; larger than any found on the disk.
    pub incarnation: u64,
}

/// Why a record was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Queue full or no segment ready: ask again after a completion or a new segment.
    Full,
    /// Never.
    Fault(LogFault),
}

struct Group<T> {
    segment: u64,
    offset: u32,
    used: usize,
    capacity: usize,
    records: u32,
    records_crc: u32,
    sequence: u64,
    durable: bool,
    buffer: Arc<PageBuffer>,
    waiting: Vec<(T, LogPosition)>,
}

/// A token whose record is durable, or never will be.
pub type Finished<T> = (T, Result<LogPosition, LogFault>);

/// See the module. `T` is what the caller wants back when its record is durable.
pub struct Writer<T> {
    limits: Limits,
    tag: u32,
    tail: Tail,
    spares: VecDeque<(u64, u64)>,
    open: Option<Group<T>>,
    full: VecDeque<Group<T>>,
    in_flight: VecDeque<Group<T>>,
    pool: Vec<Arc<PageBuffer>>,
    queued_bytes: u64,
    durable_sequence: u64,
    durable_segment: u64,
    /// Highest group that a written header says to be durable.
    proven_sequence: u64,
    /// No marker is to be written any more.
    marked: bool,
    fault: Option<LogFault>,
}

impl<T> Writer<T> {
    /// Goes on after `tail`.
    pub fn new(limits: Limits, tag: u32, tail: Tail) -> Self {
        let capacity = page_up(limits.group_bytes_max as usize);
        Self {
            limits,
            tag,
            tail,
            spares: VecDeque::new(),
            open: None,
            full: VecDeque::new(),
            in_flight: VecDeque::new(),
            pool: (0..limits.buffers()).map(|index| Arc::new(PageBuffer::indexed(capacity, index))).collect(),
            queued_bytes: 0,
            durable_sequence: tail.sequence,
            durable_segment: tail.segment,
            proven_sequence: 0,
            marked: false,
            fault: None,
        }
    }

    /// The buffers that all but oversized groups are written from.
    pub fn buffers(&self) -> &[Arc<PageBuffer>] {
        &self.pool
    }

    /// A segment is there to be rolled to. They come in ascending order without gaps.
    pub fn segment_ready(&mut self, segment: u64, bytes: u64) {
        self.spares.push_back((segment, bytes));
    }

    /// Takes a record and says where it will lie. `payload_crc` is the CRC-32C of the parts in order. The token comes
    /// back from [`Writer::completed`] or [`Writer::fail`]; on a refusal the caller keeps it.
    pub fn append(
        &mut self,
        kind: u8,
        parts: &[&[u8]],
        payload_crc: u32,
        token: &mut Option<T>,
    ) -> Result<LogPosition, Refusal> {
        if let Some(fault) = self.fault {
            return Err(Refusal::Fault(fault));
        }
        let bytes = parts.iter().map(|part| part.len() as u64).sum::<u64>();
        let limit = self.limits.payload_bytes_max();
        let length = u32::try_from(bytes).ok().filter(|length| u64::from(*length) <= limit);
        let Some(length) = length else { return Err(Refusal::Fault(LogFault::TooLarge { bytes, limit })) };
        let need = RECORD_HEADER + length as usize;
        if self.queued_bytes > 0 && self.queued_bytes + need as u64 > self.limits.queue_bytes_max {
            return Err(Refusal::Full);
        }
        if self.open.as_ref().is_none_or(|open| open.used + need > open.capacity) {
            self.close_open();
            self.open = Some(self.new_group(need).ok_or(Refusal::Full)?);
        }
        let group = self.open.as_mut().expect("it was there or was just made");
        let at = group.used;
        let offset = group.offset + u32::try_from(at).expect("a group ends inside a segment of at most 4 GiB");
        let position = LogPosition { segment: group.segment, offset };
        let header = format::record_header(kind, length, payload_crc, position);
        let buffer = Arc::get_mut(&mut group.buffer).expect("a buffer is shared only once its group is written");
        let mut rest = &mut buffer.bytes_mut()[at..at + need];
        for part in [&header[..]].iter().chain(parts) {
            let (place, after) = rest.split_at_mut(part.len());
            place.copy_from_slice(part);
            rest = after;
        }
        group.used += need;
        group.records += 1;
        group.records_crc = crc32c::crc32c_append(group.records_crc, &header);
        group.waiting.extend(token.take().map(|token| (token, position)));
        self.queued_bytes += need as u64;
        Ok(position)
    }

    /// The newest token of the open group: that of the record that was just taken, or of one before it.
    pub fn newest_token(&self) -> Option<&T> {
        self.open.as_ref()?.waiting.last().map(|(token, _)| token)
    }

    /// A further token for the record that was just taken, at `position`.
    pub fn add_token(&mut self, token: T, position: LogPosition) {
        if let Some(open) = &mut self.open {
            open.waiting.push((token, position));
        }
    }

    /// The first token of the group that [`Writer::next_write`] would hand out.
    pub fn next_token(&self) -> Option<&T> {
        self.full.front().or(self.open.as_ref())?.waiting.first().map(|(token, _)| token)
    }

    /// Whether a group waits to be handed out.
    pub fn has_next(&self) -> bool {
        !self.full.is_empty() || self.open.is_some()
    }

    /// The next group to write: whatever is waiting, if fewer than the limit are in flight.
    pub fn next_write(&mut self) -> Option<Write> {
        if !self.hands_out_more() {
            return None;
        }
        if self.full.is_empty() {
            self.close_open();
        }
        let mut group = self.full.pop_front()?;
        group.sequence = self.tail.sequence + 1;
        let length = page_up(group.used);
        let header = GroupHeader {
            tag: self.tag,
            segment: group.segment,
            offset: group.offset,
            length: u32::try_from(group.used - GROUP_HEADER).expect("a group ends inside a segment of at most 4 GiB"),
            sequence: group.sequence,
            incarnation: self.tail.incarnation,
            durable_up_to: self.durable_sequence,
            previous: self.tail.crc,
            records: group.records,
        };
        let buffer = Arc::get_mut(&mut group.buffer).expect("a buffer is shared only once its group is written");
        let bytes = buffer.bytes_mut();
        bytes[group.used..length].fill(0);
        let head = bytes.first_chunk_mut().expect("a buffer is at least a page");
        self.tail.crc = header.write(group.records_crc, head);
        self.tail.sequence = group.sequence;
        self.proven_sequence = self.durable_sequence;
        let write = Write {
            sequence: group.sequence,
            segment: group.segment,
            offset: group.offset,
            length,
            buffer: Arc::clone(&group.buffer),
        };
        self.in_flight.push_back(group);
        Some(write)
    }

    /// Whether another group may go to the disk beside those that are on their way.
    pub fn hands_out_more(&self) -> bool {
        let on_their_way = self.in_flight.iter().filter(|group| !group.durable);
        let bytes: u64 = on_their_way.map(|group| group.used as u64).sum();
        self.in_flight.len() < self.limits.groups_in_flight_max as usize && bytes < self.limits.bytes_in_flight_max
    }

    /// Whether one group is on its way, and none may follow until it has ended.
    pub fn waits_for_one(&self) -> bool {
        self.in_flight.len() == 1 && !self.hands_out_more()
    }

    /// A write has ended. Tokens of records that are durable now are added to `finished`, in the order of the log.
    pub fn completed(&mut self, sequence: u64, result: Result<(), LogFault>, finished: &mut Vec<Finished<T>>) {
        if let Err(fault) = result {
            self.fail(fault, finished);
            return;
        }
        if let Some(group) = self.in_flight.iter_mut().find(|group| group.sequence == sequence) {
            group.durable = true;
        }
        while self.in_flight.front().is_some_and(|group| group.durable) {
            let Some(group) = self.in_flight.pop_front() else { break };
            self.durable_sequence = group.sequence;
            self.durable_segment = group.segment;
            self.queued_bytes -= (group.used - GROUP_HEADER) as u64;
            finished.extend(group.waiting.into_iter().map(|(token, position)| (token, Ok(position))));
            if group.buffer.index().is_some() {
                self.pool.push(group.buffer);
            }
        }
    }

    /// Stops for good: nothing that is not acknowledged yet ever will be.
    pub fn fail(&mut self, fault: LogFault, finished: &mut Vec<Finished<T>>) {
        let fault = match self.fault {
            Some(first @ LogFault::Io { .. }) => first,
            _ => fault,
        };
        self.fault = Some(fault);
        self.marked = true;
        let groups = self.in_flight.drain(..).chain(self.full.drain(..)).chain(self.open.take());
        finished.extend(groups.flat_map(|group| group.waiting).map(|(token, _)| (token, Err(fault))));
        self.queued_bytes = 0;
    }

    /// Takes no more records, but still writes those it has.
    pub fn refuse(&mut self, fault: LogFault) {
        self.fault.get_or_insert(fault);
    }

    /// Makes a group without records that says how much is durable, unless the disk says so already or work is left.
    /// Written at a clean end, it lets the next start tell a torn tail from rot in the last groups.
    pub fn mark_durable(&mut self) -> bool {
        let idle = self.in_flight.is_empty() && self.full.is_empty() && self.open.is_none();
        let proven = self.marked || self.proven_sequence >= self.durable_sequence;
        if !idle || proven || self.tail.segment_bytes < u64::from(self.tail.offset) + PAGE as u64 {
            return false;
        }
        let Some(group) = self.new_group(0) else { return false };
        self.push_full(group);
        self.marked = true;
        true
    }

    /// A record that may not be on the disk yet.
    pub fn pending(&self, position: LogPosition) -> Option<(u8, Vec<u8>)> {
        let groups = self.in_flight.iter().chain(&self.full).chain(&self.open);
        let group = groups.into_iter().find(|group| {
            let end = u64::from(group.offset) + group.used as u64;
            group.segment == position.segment && group.offset <= position.offset && u64::from(position.offset) < end
        })?;
        let at = (position.offset - group.offset) as usize;
        let bytes = group.buffer.bytes().get(at..group.used)?;
        let (kind, payload) = format::check_record(bytes, position)?;
        Some((kind, payload.to_vec()))
    }

    /// Why it takes nothing more.
    pub fn fault(&self) -> Option<LogFault> {
        self.fault
    }

    /// Bytes accepted and not durable yet.
    pub fn queued_bytes(&self) -> u64 {
        self.queued_bytes
    }

    /// Groups handed out and not completed.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Segments ready to be rolled to.
    pub fn spares(&self) -> usize {
        self.spares.len()
    }

    /// Whether nothing is left to hand out or to complete.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.full.is_empty() && self.open.is_none()
    }

    /// Segment of the last durable group: the newest that a start needs.
    pub fn durable_segment(&self) -> u64 {
        self.durable_segment
    }

    /// Where the next group will start if it fits the segment.
    pub fn next_position(&self) -> LogPosition {
        let open = self.open.as_ref().map_or(0, |open| page_up(open.used) as u64);
        let offset = u64::from(self.tail.offset) + open;
        LogPosition { segment: self.tail.segment, offset: u32::try_from(offset).unwrap_or(u32::MAX) }
    }

    fn close_open(&mut self) {
        if let Some(group) = self.open.take() {
            self.push_full(group);
        }
    }

    fn push_full(&mut self, group: Group<T>) {
        let end = group.offset as usize + page_up(group.used);
        // A segment of exactly 4 GiB ends just above what an offset can say; the next group rolls then.
        self.tail.offset = u32::try_from(end).unwrap_or(u32::MAX);
        self.full.push_back(group);
    }

    /// A group with room for `need` bytes of records, in the next segment if this one has no room.
    fn new_group(&mut self, need: usize) -> Option<Group<T>> {
        let least = GROUP_HEADER + need;
        let oversized = least > page_up(self.limits.group_bytes_max as usize);
        if !oversized && self.pool.is_empty() {
            return None;
        }
        if self.tail.segment_bytes < u64::from(self.tail.offset) + page_up(least) as u64 {
            let (segment, bytes) = self.spares.pop_front()?;
            self.tail.segment = segment;
            self.tail.segment_bytes = bytes;
            self.tail.offset = PAGE as u32;
        }
        let buffer = if oversized { Arc::new(PageBuffer::zeroed(least)) } else { self.pool.pop()? };
        let room = usize::try_from(self.tail.segment_bytes - u64::from(self.tail.offset)).unwrap_or(usize::MAX);
        let capacity = buffer.bytes().len().min(room - room % PAGE);
        Some(Group {
            segment: self.tail.segment,
            offset: self.tail.offset,
            used: GROUP_HEADER,
            capacity,
            records: 0,
            records_crc: 0,
            sequence: 0,
            durable: false,
            buffer,
            waiting: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer<T>() -> Writer<T> {
        let limits = Limits {
            segment_bytes: 1 << 20,
            groups_in_flight_max: 3,
            bytes_in_flight_max: 100_000,
            group_bytes_max: 64 << 10,
            queue_bytes_max: 1 << 20,
        };
        let tail =
            Tail { segment: 0, segment_bytes: 1 << 20, offset: PAGE as u32, sequence: 0, crc: 0, incarnation: 1 };
        Writer::new(limits, 0, tail)
    }

    #[test]
    fn a_token_is_shared_within_its_group_alone() {
        let mut writer = writer();
        let append = |writer: &mut Writer<u8>, bytes: usize| {
            let payload = vec![1; bytes];
            writer.append(1, &[&payload], crc32c::crc32c(&payload), &mut None).expect("there is room")
        };
        assert_eq!(writer.newest_token(), None);
        let position = append(&mut writer, 100);
        assert_eq!(writer.newest_token(), None);
        writer.add_token(7, position);
        append(&mut writer, 100);
        assert_eq!(writer.newest_token(), Some(&7));
        // Another group, because this one is full,
        let position = append(&mut writer, 65_400);
        assert_eq!(writer.newest_token(), None);
        writer.add_token(8, position);
        // or because it has been handed out.
        let writes: Vec<_> = std::iter::from_fn(|| writer.next_write()).collect();
        assert_eq!((writes.len(), writer.newest_token()), (2, None));
        append(&mut writer, 100);
        assert_eq!(writer.newest_token(), None);
        let mut finished = Vec::new();
        writer.completed(writes[0].sequence, Ok(()), &mut finished);
        assert_eq!(finished.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [7]);
    }

    #[test]
    fn many_small_groups_are_on_their_way_at_once_and_few_large_ones() {
        let mut writer = writer();
        // As many groups as go out, each of one record.
        let mut hand_out = |bytes: usize| {
            let mut sequences = Vec::new();
            loop {
                let payload = vec![1; bytes];
                writer.append(1, &[&payload], crc32c::crc32c(&payload), &mut Some(())).expect("there is room");
                match writer.next_write() {
                    Some(write) => sequences.push(write.sequence),
                    None => break,
                }
            }
            let mut finished = Vec::new();
            for sequence in &sequences {
                writer.completed(*sequence, Ok(()), &mut finished);
            }
            // What was appended last goes out alone.
            let last = writer.next_write().expect("nothing is on its way");
            writer.completed(last.sequence, Ok(()), &mut finished);
            assert_eq!(finished.len(), sequences.len() + 1);
            sequences.len()
        };
        assert_eq!(hand_out(100), 3);
        assert_eq!(hand_out(60_000), 2);
        assert_eq!(hand_out(150_000), 1);
    }
}
