//! A disk in memory that behaves as badly as a real one may, and repeats it from a seed: a power cut drops, keeps or
//! tears at 512 bytes every write that was not synced; writes end in any order; writes, syncs and room can fail.
//!
//! [`SimDisk::ignore_syncs`] takes the syncs out: a test of durability has to fail then, or it tests nothing.
//! Deliberately absent: time, and failures while a segment is made (the real one is renamed into place when whole).

use std::collections::BTreeMap;
use std::io::{self, PipeReader, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::log::LogFault;
use crate::log::buffer::PageBuffer;
use crate::log::io::{Completion, LogDisk, LogIo, SegmentReader, Write};

/// Bytes that a power cut keeps or loses together.
pub const SECTOR: usize = 512;

/// A sequence of numbers from a seed (SplitMix64), for simulations.
#[derive(Clone, Debug)]
pub struct SimRng(u64);

impl SimRng {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is at least 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound.max(1)
    }
}

/// What an armed fault does to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimFault {
    /// The write fails with `EIO`; any of its sectors may be there.
    Write,
    /// The write fails with `ENOSPC`; any of its sectors may be there.
    Full,
    /// The sync after it fails with `EIO` once; the kernel drops what it could not write and calls it clean.
    Sync,
}

/// What happened to un-synced sectors so far: proof that the rare cases were met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimCoverage {
    /// Writes that a power cut lost as a whole.
    pub dropped: u64,
    /// Writes of which it kept some sectors.
    pub torn: u64,
    /// Writes that it kept although nobody had heard of them.
    pub kept: u64,
}

struct Segment {
    durable: Vec<u8>,
    /// Written, not synced.
    cached: BTreeMap<usize, [u8; SECTOR]>,
}

struct Inner {
    rng: SimRng,
    generation: u64,
    segments: BTreeMap<u64, Segment>,
    in_flight: Vec<Write>,
    /// Of callers: a [`SimIo`] does not end them.
    in_flight_of_callers: Vec<Write>,
    ignore_syncs: bool,
    capacity: u64,
    writes: u64,
    fault: Option<(u64, SimFault)>,
    coverage: SimCoverage,
}

/// See the module. Clones are handles of the same disk; those from before a crash get errors.
#[derive(Clone)]
pub struct SimDisk {
    // Shared by the writer's thread, the maker, readers and the test.
    inner: Arc<Mutex<Inner>>,
    generation: u64,
}

impl SimDisk {
    /// An empty disk.
    pub fn new(seed: u64) -> Self {
        let inner = Inner {
            rng: SimRng::new(seed),
            generation: 0,
            segments: BTreeMap::new(),
            in_flight: Vec::new(),
            in_flight_of_callers: Vec::new(),
            ignore_syncs: false,
            capacity: u64::MAX,
            writes: 0,
            fault: None,
            coverage: SimCoverage::default(),
        };
        Self { inner: Arc::new(Mutex::new(inner)), generation: 0 }
    }

    /// From now on a sync does nothing and says that it did.
    pub fn ignore_syncs(&self) {
        self.inner().ignore_syncs = true;
    }

    /// Bytes that all segments together may take.
    pub fn set_capacity(&self, bytes: u64) {
        self.inner().capacity = bytes;
    }

    /// The write after the next `after` fails.
    pub fn fail_write(&self, after: u64, fault: SimFault) {
        let mut inner = self.inner();
        inner.fault = Some((inner.writes + after, fault));
    }

    /// Turns one bit of what is stored.
    pub fn flip(&self, segment: u64, offset: usize, bit: u8) {
        if let Some(byte) = self.inner().segments.get_mut(&segment).and_then(|s| s.durable.get_mut(offset)) {
            *byte ^= 1 << (bit & 7);
        }
    }

    /// What is stored of a segment.
    pub fn contents(&self, segment: u64) -> Option<Vec<u8>> {
        self.inner().segments.get(&segment).map(|segment| segment.durable.clone())
    }

    /// Stores bytes, past all checks.
    pub fn overwrite(&self, segment: u64, bytes: Vec<u8>) {
        self.inner().segments.insert(segment, Segment { durable: bytes, cached: BTreeMap::new() });
    }

    /// What crashes have done so far.
    pub fn coverage(&self) -> SimCoverage {
        self.inner().coverage
    }

    /// A power cut. Returns the disk as the next start finds it; all older handles fail from now on.
    pub fn crash(&self) -> Self {
        let mut inner = self.inner();
        let inner = &mut *inner;
        inner.generation += 1;
        inner.fault = None;
        // Some cuts lose everything, some nothing, most some sectors.
        let keep_of_4 = inner.rng.below(5);
        let in_flight = std::mem::take(&mut inner.in_flight).into_iter();
        for write in in_flight.chain(std::mem::take(&mut inner.in_flight_of_callers)) {
            let kept = inner.apply(&write, |rng| rng.below(4) < keep_of_4);
            let all = write.length / SECTOR;
            inner.coverage.dropped += u64::from(kept == 0);
            inner.coverage.kept += u64::from(kept == all);
            inner.coverage.torn += u64::from(kept > 0 && kept < all);
        }
        for segment in inner.segments.values_mut() {
            for (at, sector) in std::mem::take(&mut segment.cached) {
                if inner.rng.below(4) < keep_of_4 {
                    segment.durable[at..at + SECTOR].copy_from_slice(&sector);
                }
            }
        }
        Self { inner: Arc::clone(&self.inner), generation: inner.generation }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let inner = self.inner();
        if inner.generation == self.generation { Ok(inner) } else { Err(io::Error::from_raw_os_error(libc::EIO)) }
    }
}

impl Inner {
    /// Stores those sectors of a write that `keep` says; how many.
    fn apply(&mut self, write: &Write, mut keep: impl FnMut(&mut SimRng) -> bool) -> usize {
        let Some(segment) = self.segments.get_mut(&write.segment) else { return 0 };
        let mut kept = 0;
        for at in (0..write.length).step_by(SECTOR) {
            if keep(&mut self.rng) {
                let place = write.offset as usize + at;
                segment.durable[place..place + SECTOR].copy_from_slice(&write.buffer.bytes()[at..at + SECTOR]);
                segment.cached.remove(&place);
                kept += 1;
            }
        }
        kept
    }

    /// Ends one of the writes in flight, any of them.
    fn finish_one(&mut self) -> Option<Completion> {
        if self.in_flight.is_empty() {
            return None;
        }
        let index = usize::try_from(self.rng.below(self.in_flight.len() as u64)).unwrap_or(0);
        let write = self.in_flight.swap_remove(index);
        Some(Completion { sequence: write.sequence, result: self.finish(&write) })
    }

    fn finish(&mut self, write: &Write) -> Result<(), LogFault> {
        let number = self.writes;
        self.writes += 1;
        let eio = Some(libc::EIO);
        match self.fault {
            Some((at, fault)) if at == number => {
                self.apply(write, |rng| rng.below(2) == 0);
                Err(match fault {
                    SimFault::Write => LogFault::Io { operation: "write", os: eio },
                    SimFault::Full => LogFault::DiskFull,
                    SimFault::Sync => LogFault::Io { operation: "sync", os: eio },
                })
            }
            _ if self.ignore_syncs => {
                if let Some(segment) = self.segments.get_mut(&write.segment) {
                    for (at, sector) in write.buffer.bytes()[..write.length].as_chunks::<SECTOR>().0.iter().enumerate()
                    {
                        segment.cached.insert(write.offset as usize + at * SECTOR, *sector);
                    }
                }
                Ok(())
            }
            _ => {
                self.apply(write, |_| true);
                Ok(())
            }
        }
    }

    fn used(&self) -> u64 {
        self.segments.values().map(|segment| segment.durable.len() as u64).sum()
    }
}

impl SegmentReader for SimDisk {
    fn segments(&self) -> io::Result<Vec<u64>> {
        Ok(self.live()?.segments.keys().copied().collect())
    }

    fn length(&self, segment: u64) -> io::Result<u64> {
        self.live()?.segments.get(&segment).map(|s| s.durable.len() as u64).ok_or(io::ErrorKind::NotFound.into())
    }

    fn read(&self, segment: u64, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let inner = self.live()?;
        let segment = inner.segments.get(&segment).ok_or(io::ErrorKind::NotFound)?;
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start.saturating_add(into.len());
        into.copy_from_slice(segment.durable.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        for (at, sector) in segment.cached.range((start + 1).saturating_sub(SECTOR)..end) {
            for (byte, place) in sector.iter().zip(*at..) {
                if (start..end).contains(&place) {
                    into[place - start] = *byte;
                }
            }
        }
        Ok(())
    }
}

impl LogDisk for SimDisk {
    fn create(&self, segment: u64, header: &[u8], bytes: u64) -> io::Result<()> {
        let mut inner = self.live()?;
        if inner.used().saturating_add(bytes) > inner.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut durable = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
        durable[..header.len()].copy_from_slice(header);
        inner.segments.insert(segment, Segment { durable, cached: BTreeMap::new() });
        Ok(())
    }

    fn recycle(&self, from: u64, segment: u64, header: &[u8], bytes: u64) -> io::Result<()> {
        let old = self.live()?.segments.remove(&from).ok_or(io::ErrorKind::NotFound)?;
        if old.durable.len() as u64 != bytes {
            return self.create(segment, header, bytes);
        }
        let mut durable = old.durable;
        durable[..header.len()].copy_from_slice(header);
        self.live()?.segments.insert(segment, Segment { durable, cached: BTreeMap::new() });
        Ok(())
    }

    fn settle(&self, _from: u64) -> io::Result<()> {
        let mut inner = self.live()?;
        if !inner.ignore_syncs {
            for segment in inner.segments.values_mut() {
                for (at, sector) in std::mem::take(&mut segment.cached) {
                    segment.durable[at..at + SECTOR].copy_from_slice(&sector);
                }
            }
        }
        Ok(())
    }

    fn remove(&self, segment: u64) -> io::Result<()> {
        self.live()?.segments.remove(&segment).map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn open_io(&self, _buffers: &[Arc<PageBuffer>], _depth: u32, wake: PipeReader) -> io::Result<Box<dyn LogIo>> {
        Ok(Box::new(SimIo { disk: self.clone(), wake: Some(wake), outstanding: Vec::new(), syncs: 0 }))
    }

    fn write(&self, write: Write) -> Result<(), LogFault> {
        let gone = |error: io::Error| LogFault::Io { operation: "write", os: error.raw_os_error() };
        let sequence = write.sequence;
        self.live().map_err(gone)?.in_flight_of_callers.push(write);
        // Here the power may be cut, or another write end.
        std::thread::yield_now();
        let mut inner = self.live().map_err(gone)?;
        let at = inner.in_flight_of_callers.iter().position(|write| write.sequence == sequence);
        let write = inner.in_flight_of_callers.swap_remove(at.expect("only its caller and a crash take it out"));
        inner.finish(&write)
    }

    fn direct(&self) -> bool {
        true
    }
}

/// The write path of a [`SimDisk`]. Each `wait` ends one write in flight, any of them.
pub struct SimIo {
    disk: SimDisk,
    wake: Option<PipeReader>,
    /// Writes whose end was not told yet.
    outstanding: Vec<u64>,
    syncs: u64,
}

impl SimIo {
    /// For a test that drives a writer step by step: `wait` never blocks.
    pub fn new(disk: &SimDisk) -> Self {
        Self { disk: disk.clone(), wake: None, outstanding: Vec::new(), syncs: 0 }
    }
}

impl LogIo for SimIo {
    fn submit(&mut self, write: Write) {
        self.outstanding.push(write.sequence);
        // After a crash the old process is gone; what it still says reaches no disk.
        if let Ok(mut inner) = self.disk.live() {
            inner.in_flight.push(write);
        }
    }

    fn wait(&mut self, block: bool, completions: &mut Vec<Completion>) {
        let ended = match self.disk.live() {
            Ok(mut inner) => inner.finish_one().into_iter().collect(),
            Err(error) => {
                let result = Err(LogFault::Io { operation: "write", os: error.raw_os_error() });
                self.outstanding.drain(..).map(|sequence| Completion { sequence, result }).collect::<Vec<_>>()
            }
        };
        self.syncs += ended.len() as u64;
        self.outstanding.retain(|sequence| ended.iter().all(|ended| ended.sequence != *sequence));
        match &mut self.wake {
            Some(wake) if block && ended.is_empty() => {
                // An error means that nobody is left to wake us.
                let _ = wake.read(&mut [0; 64]);
            }
            _ => completions.extend(ended),
        }
    }

    fn in_flight(&self) -> usize {
        self.outstanding.len()
    }

    fn syncs(&self) -> u64 {
        self.syncs
    }

    fn name(&self) -> &'static str {
        "simulated"
    }
}
