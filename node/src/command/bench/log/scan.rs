//! A log read back as a start does it: from its first byte to its last, every checksum, every record given to a visitor. And
//! beside it its files in large reads, with nothing done to the bytes: what the disk gives.

use super::engines::{EngineFault, IDENTITY};
use super::round::noise;
use serde::Serialize;
use std::path::Path;
use std::time::Instant;
use storage::log::io::SegmentReader;
use storage::log::{Files, Log, LogOptions, scan};

/// Bytes of a bare read.
const READ_BYTES: usize = 1 << 20;
/// Memory past the page cache begins at a multiple of it.
const PAGE: usize = 4096;

/// What it took.
#[derive(Clone, Debug, Serialize)]
pub struct Scan {
    pub record_bytes: u32,
    /// Records that were visited.
    pub records: u64,
    /// Bytes of all segments, those made ahead included: a scan reads them too.
    pub bytes: u64,
    /// What the log takes beside the payload of its records, up to its last group, in percent of that payload.
    pub overhead_percent: f64,
    /// Wall time of the scan.
    pub seconds: f64,
    pub scan_gb_per_s: f64,
    /// The same files without a look at what they hold.
    pub bare_gb_per_s: f64,
}

/// Writes a log of `log_bytes` bytes of records in `dir`, and reads it back.
pub fn scan(dir: &Path, record_bytes: u32, log_bytes: u64) -> Result<Scan, EngineFault> {
    let overhead_percent = write(dir, record_bytes, log_bytes)?;
    let files = Files::inspect(dir)?;
    let begun = Instant::now();
    let found = scan::scan(&files, &IDENTITY, None, &mut |_| Ok(()))?;
    let seconds = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let bytes = read(&files)?;
    let bare = begun.elapsed().as_secs_f64();
    let rate = |seconds: f64| bytes as f64 / 1e9 / seconds.max(f64::MIN_POSITIVE);
    Ok(Scan {
        record_bytes,
        records: found.map_or(0, |found| found.records),
        bytes,
        overhead_percent,
        seconds,
        scan_gb_per_s: rate(seconds),
        bare_gb_per_s: rate(bare),
    })
}

/// The last record is waited for, and with it all before it. What the log took beside their payload, in percent.
fn write(dir: &Path, record_bytes: u32, log_bytes: u64) -> Result<f64, EngineFault> {
    let options = LogOptions::new(dir, IDENTITY);
    let segment_bytes = options.segment_bytes;
    let log = Log::open(options, None, &mut |_| Ok(()))?;
    let record = noise(5, record_bytes as usize);
    for _ in 1..(log_bytes / u64::from(record_bytes)).max(1) {
        log.append_quiet(1, &[&record])?;
    }
    log.append_durable(1, &[&record])?;
    let end = log.next_position();
    let taken = (end.segment - log.first_position().segment) * segment_bytes + u64::from(end.offset);
    let payload = log.stats().payload_bytes;
    Ok(taken.saturating_sub(payload) as f64 * 100.0 / payload as f64)
}

/// Reads all segments as they are; how many bytes they have.
fn read(files: &Files) -> Result<u64, EngineFault> {
    let (mut bytes, mut memory) = (0, vec![0; READ_BYTES + PAGE]);
    let skip = memory.as_ptr().align_offset(PAGE);
    let into = &mut memory[skip..skip + READ_BYTES];
    for segment in files.segments()? {
        let length = files.length(segment)?;
        let mut offset = 0;
        while offset < length {
            let count = usize::try_from(length - offset).map_or(READ_BYTES, |left| left.min(READ_BYTES));
            files.read(segment, offset, &mut into[..count])?;
            offset += count as u64;
        }
        bytes += length;
    }
    Ok(bytes)
}
