//! Power cuts at every step of a run over the simulated disk, without threads.
//!
//! ```text
//! append ─▶ Writer ─▶ writes ─▶ SimDisk ─▶ completions ─▶ Writer ─▶ acknowledged
//!                                  ✂ after any step: recover, compare, go on
//! ```
//!
//! After each cut the log must hold a prefix of what was appended that includes all that was acknowledged.

use std::collections::VecDeque;

use storage::log::format::{self, PAGE, SegmentHeader};
use storage::log::io::{LogDisk, LogIo};
use storage::log::scan::scan;
use storage::log::writer::{Limits, Refusal, Tail, Writer};
use storage::log::{LogFault, LogPosition, Record};
use storage::sim::{SimDisk, SimFault, SimIo, SimRng};

pub const IDENTITY: [u8; 32] = [9; 32];
pub const SEGMENT_BYTES: u64 = 64 << 10;

pub const LIMITS: Limits = Limits {
    segment_bytes: SEGMENT_BYTES,
    groups_in_flight_max: 4,
    bytes_in_flight_max: 16 << 10,
    group_bytes_max: 8 << 10,
    queue_bytes_max: 32 << 10,
};

/// A node in small: a writer on a disk, and all it knows of what it appended.
pub struct Harness {
    pub disk: SimDisk,
    io: SimIo,
    pub writer: Writer<usize>,
    rng: SimRng,
    /// Everything appended that may be on the disk, in order.
    pub history: Vec<Record>,
    /// How much of it was acknowledged.
    pub acknowledged: usize,
    pub fault: Option<LogFault>,
    next_segment: u64,
    oldest: u64,
    released: VecDeque<u64>,
}

pub fn header(segment: u64) -> Vec<u8> {
    SegmentHeader { identity: IDENTITY, segment, bytes: SEGMENT_BYTES }.to_page()
}

impl Harness {
    pub fn new(seed: u64) -> Self {
        Self::open(SimDisk::new(seed), SimRng::new(seed ^ 0xabcd), Vec::new(), 0).unwrap()
    }

    /// Recovers and checks what is found against what must be there.
    pub fn open(disk: SimDisk, rng: SimRng, history: Vec<Record>, acknowledged: usize) -> Result<Self, String> {
        let mut found = Vec::new();
        let result = scan(&disk, &IDENTITY, None, &mut |record| {
            found.push(record);
            Ok(())
        });
        let first = result.map_err(|error| error.to_string())?;
        let again = scan(&disk, &IDENTITY, None, &mut |_| Ok(())).map_err(|error| error.to_string())?;
        if first != again {
            return Err("a second scan finds something else".into());
        }
        let (tail, oldest, next_segment) = match first {
            Some(scan) => (scan.tail, scan.oldest, scan.spares.map_or(scan.tail.segment, |spares| spares.1) + 1),
            None => {
                disk.create(0, &header(0), SEGMENT_BYTES).unwrap();
                let offset = u32::try_from(PAGE).unwrap();
                let tail =
                    Tail { segment: 0, segment_bytes: SEGMENT_BYTES, offset, sequence: 0, crc: 0, incarnation: 1 };
                (tail, 0, 1)
            }
        };
        let gone = history.iter().take_while(|record| record.position.segment < oldest).count();
        let (history, acknowledged) = (&history[gone..], acknowledged.saturating_sub(gone));
        if found.len() < acknowledged {
            return Err(format!("{} of {acknowledged} acknowledged records are left", found.len()));
        }
        if history.get(..found.len()) != Some(&found[..]) {
            return Err("what is found is not a prefix of what was appended".into());
        }
        let mut writer = Writer::new(LIMITS, format::identity_tag(&IDENTITY), tail);
        for segment in tail.segment + 1..next_segment {
            writer.segment_ready(segment, SEGMENT_BYTES);
        }
        let acknowledged = found.len();
        let io = SimIo::new(&disk);
        let released = VecDeque::new();
        Ok(Self { disk, io, writer, rng, history: found, acknowledged, fault: None, next_segment, oldest, released })
    }

    pub fn append(&mut self, kind: u8, payload: Vec<u8>) -> Result<LogPosition, Refusal> {
        let index = self.history.len();
        let (head, rest) = payload.split_at(payload.len() / 3);
        let position = self.writer.append(kind, &[head, rest], crc32c::crc32c(&payload), &mut Some(index))?;
        self.history.push(Record { position, kind, payload: payload.into() });
        Ok(position)
    }

    pub fn submit(&mut self) {
        if let Some(write) = self.writer.next_write() {
            self.io.submit(write);
        }
    }

    pub fn complete(&mut self) {
        let mut completions = Vec::new();
        self.io.wait(false, &mut completions);
        let mut finished = Vec::new();
        for completion in completions {
            self.writer.completed(completion.sequence, completion.result, &mut finished);
        }
        for (index, result) in finished {
            match result {
                Ok(position) => {
                    assert_eq!(self.fault, None, "acknowledged after a fault");
                    assert_eq!(index, self.acknowledged, "acknowledged out of order");
                    assert_eq!(position, self.history[index].position);
                    self.acknowledged += 1;
                }
                Err(fault) => self.fault = Some(fault),
            }
        }
    }

    pub fn make_segment(&mut self) {
        if self.writer.spares() < 2 {
            let segment = self.next_segment;
            match self.released.pop_front() {
                Some(from) => {
                    self.disk.recycle(from, segment, &header(segment), SEGMENT_BYTES).unwrap();
                    self.oldest = from + 1;
                }
                None => self.disk.create(segment, &header(segment), SEGMENT_BYTES).unwrap(),
            }
            self.next_segment += 1;
            self.writer.segment_ready(segment, SEGMENT_BYTES);
        }
    }

    fn release(&mut self) {
        let first = self.released.back().map_or(self.oldest, |last| last + 1);
        if first + 1 < self.writer.durable_segment() {
            self.released.push_back(first);
        }
    }

    pub fn step(&mut self) {
        match self.rng.below(12) {
            0..4 => {
                let length = match self.rng.below(10) {
                    0 => 9000 + self.rng.below(9000),
                    1..4 => self.rng.below(4000),
                    _ => self.rng.below(300),
                };
                let seed = self.rng.next_u64();
                let payload = (0..length).map(|index| (seed >> (index % 57)) as u8).collect();
                match self.append(seed as u8, payload) {
                    Ok(_) | Err(Refusal::Full) => {}
                    Err(Refusal::Fault(fault)) => assert_eq!(Some(fault), self.writer.fault()),
                }
            }
            4..7 => self.submit(),
            7..10 => self.complete(),
            10 => self.make_segment(),
            _ => self.release(),
        }
        assert!(self.writer.queued_bytes() <= LIMITS.queue_bytes_max.max(18_100), "the queue is bounded");
        assert!(self.writer.in_flight() <= 4);
    }

    pub fn drain(&mut self) {
        while !self.writer.is_idle() {
            self.submit();
            self.complete();
        }
    }

    pub fn crash(self) -> Result<Self, String> {
        let disk = self.disk.crash();
        Self::open(disk, self.rng, self.history, self.acknowledged)
    }
}

/// Runs `steps`, cuts the power, recovers, and again; the coverage of the disk at the end.
pub fn run(seed: u64, steps: &[u64], ignore_syncs: bool) -> Result<Harness, String> {
    let mut node = Harness::new(seed);
    if ignore_syncs {
        node.disk.ignore_syncs();
    }
    for count in steps {
        for _ in 0..*count {
            node.step();
        }
        node = node.crash()?;
    }
    Ok(node)
}

#[test]
fn nothing_acknowledged_is_lost_by_a_power_cut_after_any_step() {
    let (mut dropped, mut torn, mut kept, mut rolled, mut recycled) = (0, 0, 0, 0, 0);
    for seed in 0..12 {
        for cut in 0..160 {
            let node = run(seed, &[cut, 40, cut / 2, 90], false)
                .unwrap_or_else(|error| panic!("seed {seed}, cut after {cut}: {error}"));
            let coverage = node.disk.coverage();
            dropped += coverage.dropped;
            torn += coverage.torn;
            kept += coverage.kept;
            rolled += u64::from(node.writer.durable_segment() > 1);
            recycled += u64::from(node.oldest > 0);
        }
    }
    println!("dropped {dropped}, torn {torn}, kept {kept}, rolled {rolled}, recycled {recycled}");
    assert!(dropped > 100 && torn > 100 && kept > 100 && rolled > 100 && recycled > 50, "the rare cases were met");
}

#[test]
fn long_runs_with_many_power_cuts_keep_the_prefix() {
    for seed in 100..120 {
        let steps: Vec<u64> = (0..40).map(|index| 20 + (seed * 7 + index * 13) % 150).collect();
        run(seed, &steps, false).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

#[test]
fn the_same_test_fails_without_syncs() {
    let failed = (0..20).filter(|seed| run(*seed, &[120, 40, 60, 90], true).is_err()).count();
    assert!(failed >= 10, "only {failed} of 20 runs noticed that syncs do nothing");
}

#[test]
fn a_failed_write_or_sync_stops_the_log_and_loses_nothing_acknowledged() {
    for (seed, fault) in (0..60).zip([SimFault::Write, SimFault::Full, SimFault::Sync].into_iter().cycle()) {
        let mut node = Harness::new(seed);
        node.disk.fail_write(seed % 17, fault);
        for _ in 0..400 {
            node.step();
        }
        let found = node.writer.fault().expect("400 steps write more than 17 groups");
        assert_eq!(found == LogFault::DiskFull, fault == SimFault::Full);
        assert_eq!(node.append(1, vec![1]), Err(Refusal::Fault(found)), "nothing is taken after a fault");
        assert!(node.writer.next_write().is_none(), "nothing is written after a fault");
        node.crash().unwrap_or_else(|error| panic!("seed {seed}, {fault:?}: {error}"));
    }
}

#[test]
fn a_cut_off_group_never_comes_back() {
    // Group 2 is lost while group 3 behind it is whole. The next start writes again where group 2 was; group 3 must
    // stay dead even if the new group 2 is as long as the old one and holds the same bytes.
    let mut node = Harness::new(5);
    for payload in [1, 2, 3] {
        node.append(0, vec![payload; 100]).unwrap();
        node.submit();
    }
    node.drain();
    let second = node.history[1].position;
    let stale = node.disk.contents(0).unwrap();
    let mut torn = stale.clone();
    let start = second.offset as usize - format::GROUP_HEADER;
    torn[start..start + PAGE].fill(0);
    // Both were in flight, so no header proves them durable.
    node.disk.overwrite(0, torn);
    let disk = node.disk.crash();
    let mut node = Harness::open(disk, SimRng::new(1), node.history, 1).unwrap();
    assert_eq!(node.history.len(), 1);
    assert_eq!(node.append(0, vec![2; 100]).unwrap(), second);
    node.submit();
    node.drain();
    let node = node.crash().unwrap();
    assert_eq!(node.history.len(), 2, "the stale third group does not join");
}
