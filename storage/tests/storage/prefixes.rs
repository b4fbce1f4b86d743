//! A power cut at every write, exhaustively: every write that was acknowledged is on the disk; of those that were not, any
//! subset, and each of them torn at every sector.
//!
//! ```text
//! submit 1 2 3 4 │ end of 2 │ submit 5 │ end of 1 │ …
//!                ✂          ✂          ✂          ✂   on the disk: what has ended, and any of what has not
//! ```

use std::collections::BTreeMap;

use storage::log::format::PAGE;
use storage::log::io::{LogDisk, Write};
use storage::log::scan::scan;
use storage::log::writer::Writer;
use storage::log::{LogPosition, Record};
use storage::sim::{SECTOR, SimDisk, SimRng};

use crate::crash::{IDENTITY, LIMITS, SEGMENT_BYTES, header};

const SEGMENTS: u64 = 4;

/// What the disk holds of each segment.
type Image = BTreeMap<u64, Vec<u8>>;

struct Run {
    writer: Writer<usize>,
    history: Vec<Record>,
    acknowledged: usize,
    /// What is on the disk for certain.
    image: Image,
    in_flight: Vec<Write>,
    rng: SimRng,
    cuts: usize,
}

impl Run {
    fn new(seed: u64) -> Self {
        let disk = SimDisk::new(seed);
        disk.create(0, &header(0), SEGMENT_BYTES).unwrap();
        let tail = storage::log::writer::Tail {
            segment: 0,
            segment_bytes: SEGMENT_BYTES,
            offset: u32::try_from(PAGE).unwrap(),
            sequence: 0,
            crc: 0,
            incarnation: 1,
        };
        let mut writer = Writer::new(LIMITS, storage::log::format::identity_tag(&IDENTITY), tail);
        let mut image = Image::new();
        for segment in 0..SEGMENTS {
            let mut bytes = header(segment);
            bytes.resize(usize::try_from(SEGMENT_BYTES).unwrap(), 0);
            image.insert(segment, bytes);
            if segment > 0 {
                writer.segment_ready(segment, SEGMENT_BYTES);
            }
        }
        let rng = SimRng::new(seed);
        Self { writer, history: Vec::new(), acknowledged: 0, image, in_flight: Vec::new(), rng, cuts: 0 }
    }

    fn append(&mut self) {
        let length = if self.rng.below(6) == 0 { 9_000 } else { self.rng.below(2_500) };
        let byte = self.rng.next_u64() as u8;
        let payload = vec![byte; usize::try_from(length).unwrap()];
        let index = self.history.len();
        if let Ok(position) = self.writer.append(byte, &[&payload], crc32c::crc32c(&payload), &mut Some(index)) {
            self.history.push(Record { position, kind: byte, payload: payload.into() });
        }
    }

    /// Ends one of the writes in flight, any of them.
    fn complete(&mut self) {
        if self.in_flight.is_empty() {
            return;
        }
        let at = usize::try_from(self.rng.below(self.in_flight.len() as u64)).unwrap();
        let write = self.in_flight.remove(at);
        apply(&mut self.image, &write, 0..write.length);
        let mut finished = Vec::new();
        let sequence = write.sequence;
        drop(write);
        self.writer.completed(sequence, Ok(()), &mut finished);
        self.acknowledged += finished.len();
    }

    /// The power is cut here, in every way that it can be.
    fn cut(&mut self) {
        for kept in 0..1u32 << self.in_flight.len() {
            let mut image = self.image.clone();
            for (place, write) in self.in_flight.iter().enumerate() {
                if kept >> place & 1 == 1 {
                    apply(&mut image, write, 0..write.length);
                }
            }
            self.recover(&image);
            // One that was not kept reaches the disk in part: its first sectors, or its last.
            let torn = usize::try_from(self.rng.below(4)).unwrap();
            let Some(write) = self.in_flight.get(torn).filter(|_| kept >> torn & 1 == 0).cloned() else { continue };
            for at in (SECTOR..write.length).step_by(SECTOR) {
                for part in [0..at, at..write.length] {
                    let mut image = image.clone();
                    apply(&mut image, &write, part);
                    self.recover(&image);
                }
            }
        }
    }

    fn recover(&mut self, image: &Image) {
        self.cuts += 1;
        let disk = SimDisk::new(0);
        for (segment, bytes) in image {
            disk.overwrite(*segment, bytes.clone());
        }
        let mut found: Vec<(LogPosition, u8, usize)> = Vec::new();
        let result = scan(&disk, &IDENTITY, None, &mut |record| {
            found.push((record.position, record.kind, record.payload.len()));
            Ok(())
        });
        assert!(result.is_ok(), "a power cut is no corruption: {result:?}");
        assert!(found.len() >= self.acknowledged, "{} of {} acknowledged", found.len(), self.acknowledged);
        let appended = self.history.iter().map(|record| (record.position, record.kind, record.payload.len()));
        assert!(appended.take(found.len()).eq(found.iter().copied()), "what is found is a prefix of what was appended");
    }
}

fn apply(image: &mut Image, write: &Write, part: std::ops::Range<usize>) {
    let segment = image.get_mut(&write.segment).unwrap();
    let start = write.offset as usize;
    segment[start + part.start..start + part.end].copy_from_slice(&write.buffer.bytes()[part]);
}

#[test]
fn every_subset_of_the_writes_that_had_not_ended_may_survive_whole_or_torn() {
    let mut cuts = 0;
    for seed in 0..6 {
        let mut run = Run::new(seed);
        for _ in 0..60 {
            for _ in 0..run.rng.below(4) {
                run.append();
            }
            match run.rng.below(3) {
                0 => run.complete(),
                _ => run.in_flight.extend(run.writer.next_write()),
            }
            run.cut();
        }
        assert!(run.acknowledged > 10, "seed {seed}: {}", run.acknowledged);
        cuts += run.cuts;
    }
    println!("{cuts} cuts");
    assert!(cuts > 10_000, "{cuts}");
}
