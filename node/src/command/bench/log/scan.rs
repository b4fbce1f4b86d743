//! A log read back as a start does it: from its first byte to its last, every checksum, every record given to a visitor. And
//! beside it its files in large reads, with nothing done to the bytes: what the disk gives.

use super::engines::{EngineFault, IDENTITY};
use serde::Serialize;
use std::path::Path;
use std::time::Instant;
use storage::log::io::SegmentReader;
use storage::log::{Files, scan};

/// Bytes of a bare read.
const READ_BYTES: usize = 1 << 20;

/// What it took.
#[derive(Clone, Debug, Serialize)]
pub struct Scan {
    pub record_bytes: u32,
    pub writers: u32,
    /// Records that were visited.
    pub records: u64,
    /// Bytes of the segments that hold them.
    pub bytes: u64,
    /// Wall time of the scan.
    pub seconds: f64,
    pub scan_gb_per_s: f64,
    /// The same files without a look at what they hold.
    pub bare_gb_per_s: f64,
}

/// Reads the log in `dir` back.
pub fn scan(dir: &Path, record_bytes: u32, writers: u32) -> Result<Scan, EngineFault> {
    let files = Files::inspect(dir)?;
    let segments = files.segments()?;
    let begun = Instant::now();
    let found = scan::scan(&files, &IDENTITY, None, &mut |_| Ok(()))?;
    let seconds = begun.elapsed().as_secs_f64();
    let last = found.map_or(0, |found| found.tail.segment);
    let (mut bytes, begun, mut into) = (0, Instant::now(), vec![0; READ_BYTES]);
    for segment in segments.into_iter().filter(|segment| *segment <= last) {
        let length = files.length(segment)?;
        let mut offset = 0;
        while offset < length {
            let count = usize::try_from(length - offset).map_or(READ_BYTES, |left| left.min(READ_BYTES));
            files.read(segment, offset, &mut into[..count])?;
            offset += count as u64;
        }
        bytes += length;
    }
    let bare = begun.elapsed().as_secs_f64();
    let rate = |seconds: f64| bytes as f64 / 1e9 / seconds.max(f64::MIN_POSITIVE);
    Ok(Scan {
        record_bytes,
        writers,
        records: found.map_or(0, |found| found.records),
        bytes,
        seconds,
        scan_gb_per_s: rate(seconds),
        bare_gb_per_s: rate(bare),
    })
}
