//! Second copies of small frames over lossy paths, in QUIC datagrams beside the streams.
//!
//! A packet that is lost holds its stream up for a round trip and more, and with a block that waits, so do all that build on
//! it. Where a path loses packets, each header and each small payload is sent once more, two milliseconds later and within a
//! budget of bytes; whichever copy is whole first is delivered, in the order and as often as the stream would have. Where
//! nothing is lost, nothing is sent twice.
//!
//! A datagram: class `u8`, number of the frame in its class on this link `u64`, length of the frame `u32`, index and count
//! of the piece `u8` each, little-endian, then the piece. All pieces of a frame but the last are equally long.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep};

use crate::error::{LinkFault, Violation};
use crate::mesh::Class;
use crate::stats::{Counters, bump};

/// Longer frames have no copies: of so many packets a copy loses one as well.
pub(crate) const FRAME_BYTES_MAX: usize = 32 * 1024;
/// Bytes before the piece.
const HEADER_BYTES: usize = 15;
/// Pieces of a frame.
const PIECES_MAX: usize = 32;
/// Frames that may wait to be copied.
const TO_COPY_MAX: usize = 64;
/// Between a frame and its copy, so that no packet and no short burst of losses holds both.
const LATER: Duration = Duration::from_millis(2);
/// How often losses are looked at, and for how long copies are sent after some.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOSSY_FOR: Duration = Duration::from_secs(20);
/// Packets lost of a thousand sent, from which on a path is lossy.
const LOSSY_PER_MILLE: u64 = 1;
/// A window smaller than this is full of what must go: copies would take its place.
const WINDOW_BYTES_MIN: u64 = 64 * 1024;
/// Frames that may wait for an earlier one, or for more of their pieces.
const AHEAD_MAX: u64 = 64;

/// A frame to be copied.
#[derive(Debug)]
pub(crate) struct Original {
    class: Class,
    number: u64,
    frame: Bytes,
}

/// What the writers of a link and the sender of its copies have in common.
#[derive(Debug, Clone)]
pub(crate) struct Copies {
    lossy: Arc<AtomicBool>,
    originals: mpsc::Sender<Original>,
}

impl Copies {
    /// And the other end, for [`send`].
    pub(crate) fn new() -> (Self, mpsc::Receiver<Original>) {
        let (originals, waiting) = mpsc::channel(TO_COPY_MAX);
        (Self { lossy: Arc::default(), originals }, waiting)
    }

    /// Whether the path loses packets at present.
    pub(crate) fn are_wanted(&self) -> bool {
        self.lossy.load(Relaxed)
    }

    /// Has a frame copied, if there is room.
    pub(crate) fn give(&self, class: Class, number: u64, frame: Bytes) {
        // Without room it goes without.
        let _ = self.originals.try_send(Original { class, number, frame });
    }
}

/// Watches the path and sends copies of what comes, until the connection ends. Never waits for room: what does not fit into
/// the budget goes without a copy.
pub(crate) async fn send(
    connection: quinn::Connection,
    copies: Copies,
    mut originals: mpsc::Receiver<Original>,
    bytes_per_second: u32,
    counters: &Counters,
) -> Result<(), LinkFault> {
    let (mut path, mut budget) = (Losses::new(&connection), Budget::new(bytes_per_second));
    let mut look = interval(LOOK_EVERY);
    loop {
        let mut next = tokio::select! {
            _ = look.tick() => {
                copies.lossy.store(path.is_lossy(&connection), Relaxed);
                continue;
            }
            first = originals.recv() => first,
        };
        sleep(LATER).await;
        while let Some(original) = next {
            if let Some(room) = connection.max_datagram_size()
                && budget.take(original.frame.len())
                && copy(&connection, &original, room)
            {
                bump(&counters.copies_sent);
            }
            next = originals.try_recv().ok();
        }
    }
}

/// Whether all pieces were handed over.
fn copy(connection: &quinn::Connection, original: &Original, room: usize) -> bool {
    pieces(original, room).is_some_and(|pieces| pieces.into_iter().all(|piece| connection.send_datagram(piece).is_ok()))
}

fn pieces(Original { class, number, frame }: &Original, room: usize) -> Option<Vec<Bytes>> {
    let room = room.checked_sub(HEADER_BYTES).filter(|room| *room > 0)?;
    let count = frame.len().div_ceil(room).max(1);
    if count > PIECES_MAX {
        return None;
    }
    let length = u32::try_from(frame.len()).ok()?;
    let piece = frame.len().div_ceil(count).max(1);
    let all = (0..count).map(|index| {
        let part = &frame[(index * piece).min(frame.len())..((index + 1) * piece).min(frame.len())];
        let mut datagram = BytesMut::with_capacity(HEADER_BYTES + part.len());
        datagram.put_u8(*class as u8);
        datagram.put_u64_le(*number);
        datagram.put_u32_le(length);
        datagram.put_u8(index as u8);
        datagram.put_u8(count as u8);
        datagram.put_slice(part);
        datagram.freeze()
    });
    Some(all.collect())
}

/// Whether a path loses packets.
#[derive(Debug)]
struct Losses {
    sent: u64,
    lost: u64,
    lossy_until: Option<Instant>,
}

impl Losses {
    fn new(connection: &quinn::Connection) -> Self {
        let path = connection.stats().path;
        Self { sent: path.sent_packets, lost: path.lost_packets, lossy_until: None }
    }

    /// And whether there is room for copies.
    fn is_lossy(&mut self, connection: &quinn::Connection) -> bool {
        let (now, path) = (Instant::now(), connection.stats().path);
        let (sent, lost) = (path.sent_packets - self.sent, path.lost_packets - self.lost);
        if lost > 0 && lost * 1000 >= sent * LOSSY_PER_MILLE {
            self.lossy_until = Some(now + LOSSY_FOR);
        }
        (self.sent, self.lost) = (path.sent_packets, path.lost_packets);
        path.cwnd >= WINDOW_BYTES_MIN && self.lossy_until.is_some_and(|until| now < until)
    }
}

/// Bytes a second, saved up for an eighth of a second.
#[derive(Debug)]
struct Budget {
    per_second: u32,
    bytes: u64,
    at: Instant,
}

impl Budget {
    fn new(per_second: u32) -> Self {
        Self { per_second, bytes: 0, at: Instant::now() }
    }

    fn take(&mut self, bytes: usize) -> bool {
        let now = Instant::now();
        let earned = (now - self.at).as_micros() as u64 * u64::from(self.per_second) / 1_000_000;
        if earned > 0 {
            self.bytes = (self.bytes + earned).min(u64::from(self.per_second / 8));
            self.at = now;
        }
        let enough = self.bytes >= bytes as u64;
        if enough {
            self.bytes -= bytes as u64;
        }
        enough
    }
}

/// The frames of one class from one peer, from both of their ways, in the order of their numbers.
#[derive(Debug)]
pub(crate) struct InOrder {
    frame_bytes_max: usize,
    /// The number of the next frame to deliver.
    next: u64,
    /// The number of the next frame of the stream.
    next_of_stream: u64,
    /// Whole copies whose turn has not come.
    early: BTreeMap<u64, Bytes>,
    parts: BTreeMap<u64, Assembly>,
}

#[derive(Debug)]
struct Assembly {
    frame: BytesMut,
    count: u8,
    have: u32,
}

impl InOrder {
    pub(crate) fn new(frame_bytes_max: u32) -> Self {
        let frame_bytes_max = FRAME_BYTES_MAX.min(frame_bytes_max as usize);
        Self { frame_bytes_max, next: 0, next_of_stream: 0, early: BTreeMap::new(), parts: BTreeMap::new() }
    }

    /// The next frame of the stream; returns it unless a copy of it was delivered.
    pub(crate) fn of_stream(&mut self, frame: Bytes) -> Option<Bytes> {
        let number = self.next_of_stream;
        self.next_of_stream += 1;
        if number < self.next {
            return None;
        }
        self.next = number + 1;
        self.forget();
        Some(frame)
    }

    /// A copy whose turn has come.
    pub(crate) fn of_copies(&mut self) -> Option<Bytes> {
        let frame = self.early.remove(&self.next)?;
        self.next += 1;
        self.forget();
        Some(frame)
    }

    fn forget(&mut self) {
        self.early = self.early.split_off(&self.next);
        self.parts = self.parts.split_off(&self.next);
    }

    /// A datagram without its first byte, the class. Afterwards [`InOrder::of_copies`] may have something.
    pub(crate) fn datagram(&mut self, mut datagram: Bytes) -> Result<(), Violation> {
        if datagram.len() < HEADER_BYTES - 1 {
            return Err(Violation::MalformedCopy);
        }
        let (number, length) = (datagram.get_u64_le(), datagram.get_u32_le() as usize);
        let (index, count) = (usize::from(datagram.get_u8()), usize::from(datagram.get_u8()));
        if length > self.frame_bytes_max || count > PIECES_MAX || index >= count {
            return Err(Violation::MalformedCopy);
        }
        let piece = length.div_ceil(count).max(1);
        let (from, to) = ((index * piece).min(length), ((index + 1) * piece).min(length));
        if datagram.len() != to - from {
            return Err(Violation::MalformedCopy);
        }
        // Late, or so early that an honest peer's stream must be far behind it.
        if number < self.next || number - self.next >= AHEAD_MAX || self.early.contains_key(&number) {
            return Ok(());
        }
        let part = self.parts.entry(number).or_insert_with(|| Assembly {
            frame: BytesMut::zeroed(length),
            count: count as u8,
            have: 0,
        });
        if part.frame.len() != length || usize::from(part.count) != count {
            return Err(Violation::MalformedCopy);
        }
        part.frame[from..to].copy_from_slice(&datagram);
        part.have |= 1 << index;
        if part.have.count_ones() as usize == count
            && let Some(whole) = self.parts.remove(&number)
        {
            self.early.insert(number, whole.frame.freeze());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn original(number: u64, length: usize) -> Original {
        let frame = (0..length).map(|at| (at as u64 * 31 + number) as u8).collect();
        Original { class: Class::Header, number, frame }
    }

    fn give(to: &mut InOrder, datagram: &Bytes) -> Result<(), Violation> {
        to.datagram(datagram.slice(1..))
    }

    #[test]
    fn a_frame_comes_once_by_whichever_way_is_first() {
        let mut order = InOrder::new(1 << 20);
        let frames: Vec<_> = (0..4).map(|number| original(number, 3_000)).collect();
        assert_eq!(order.of_stream(frames[0].frame.clone()), Some(frames[0].frame.clone()));
        // The stream stalls at 1; copies of 1 and 2 arrive, the later one first, its pieces out of order.
        for number in [2, 1] {
            for piece in pieces(&frames[number], 1_200).expect("three pieces").iter().rev() {
                give(&mut order, piece).expect("well-formed");
            }
        }
        assert_eq!(order.of_copies(), Some(frames[1].frame.clone()));
        assert_eq!(order.of_copies(), Some(frames[2].frame.clone()));
        assert_eq!(order.of_copies(), None);
        assert_eq!(order.of_stream(frames[1].frame.clone()), None);
        assert_eq!(order.of_stream(frames[2].frame.clone()), None);
        assert_eq!(order.of_stream(frames[3].frame.clone()), Some(frames[3].frame.clone()));
        // A copy that comes after all is nothing.
        for piece in pieces(&frames[3], 1_200).expect("three pieces") {
            give(&mut order, &piece).expect("well-formed");
        }
        assert_eq!(order.of_copies(), None);
    }

    #[test]
    fn every_length_survives_its_pieces() {
        for length in [0, 1, 1_184, 1_185, 1_186, 2_370, FRAME_BYTES_MAX] {
            let mut order = InOrder::new(1 << 20);
            let original = original(0, length);
            let pieces = pieces(&original, 1_200).expect("few enough");
            assert!(pieces.iter().all(|piece| piece.len() <= 1_200));
            for piece in &pieces {
                assert_eq!(order.of_copies(), None);
                give(&mut order, piece).expect("well-formed");
            }
            assert_eq!(order.of_copies(), Some(original.frame));
        }
        assert!(pieces(&original(0, FRAME_BYTES_MAX), 900).is_none(), "too many pieces");
    }

    #[test]
    fn nonsense_is_a_violation_and_what_waits_is_bounded() {
        let mut order = InOrder::new(10_000);
        let good = pieces(&original(0, 3_000), 1_200).expect("three pieces");
        let bad = |at: usize, byte: u8| {
            let mut datagram = good[0].to_vec();
            datagram[at] = byte;
            Bytes::from(datagram)
        };
        // A length that does not fit its piece, one beyond the limit, a piece beyond the count, none at all, too many.
        for datagram in [bad(9, 1), bad(11, 1), bad(13, 3), bad(14, 0), bad(14, 200), good[0].slice(..14)] {
            assert_eq!(give(&mut order, &datagram), Err(Violation::MalformedCopy), "{datagram:?}");
        }
        give(&mut order, &good[0]).expect("well-formed");
        let other = pieces(&original(0, 2_999), 1_200).expect("three pieces");
        assert_eq!(give(&mut order, &other[1]), Err(Violation::MalformedCopy), "another length for the same frame");
        for number in 0..10_000 {
            for piece in pieces(&original(number, 3_000), 1_600).expect("two pieces").iter().skip(number as usize % 2) {
                give(&mut order, piece).ok();
            }
        }
        assert!(order.early.len() + order.parts.len() <= AHEAD_MAX as usize);
    }
}
