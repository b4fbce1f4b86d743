//! What a power cut leaves on a disk whose write cache is lost with it: all that was written before the last flush, and
//! nothing of what was written after. QEMU records the writes (`blklogwrites`) as Linux' dm-log-writes does
//! (Documentation/admin-guide/device-mapper/log-writes.rst).

use crate::failure::Failure;
use image_formats::field::{bytes_at, u32_at, u64_at};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
/// Copied at a time; pieces of zeros are left out.
const PIECE: usize = 1 << 20;

/// A write, or a flush without data.
struct Entry<'a> {
    at: u64,
    data: &'a [u8],
    flags: u64,
}

/// Writes to `disk`, which is as it was before, what of the log survives.
pub(super) fn cut(disk: &File, log: &Path) -> Result<(), Failure> {
    let log = std::fs::read(log).map_err(Failure::io("reading the log of writes"))?;
    let entries = entries(&log).ok_or_else(|| Failure::content("the log of writes", "it is damaged"))?;
    let flushed = entries.iter().rposition(|entry| entry.flags & FLUSH != 0).unwrap_or(0);
    for (place, entry) in entries.iter().enumerate() {
        if place < flushed || entry.flags & FUA != 0 {
            disk.write_all_at(entry.data, entry.at).map_err(Failure::io("writing a disk"))?;
        }
    }
    Ok(())
}

/// As many as the log's first sector counts, which QEMU brings up to date with each flush.
fn entries(log: &[u8]) -> Option<Vec<Entry<'_>>> {
    let (count, sector) = (u64_at(log, 16)?, u32_at(log, 24)? as usize);
    if u64_at(log, 0)? != MAGIC || !(512..=4096).contains(&sector) {
        return None;
    }
    let mut entries = Vec::new();
    let mut place = sector;
    for _ in 0..count {
        let (at, sectors, flags) = (u64_at(log, place)?, u64_at(log, place + 8)?, u64_at(log, place + 16)?);
        place += sector;
        let length = if flags & DISCARD == 0 { usize::try_from(sectors).ok()?.checked_mul(sector)? } else { 0 };
        entries.push(Entry { at: at.checked_mul(sector as u64)?, data: bytes_at(log, place, length)?, flags });
        place += length;
    }
    Some(entries)
}

/// A copy of a disk that takes no more room than what is on it.
pub(super) fn copy(from: &Path, to: &Path) -> Result<File, Failure> {
    let source = File::open(from).map_err(Failure::io("opening a disk"))?;
    let target = File::create(to).map_err(Failure::io("making a disk"))?;
    let bytes = source.metadata().map_err(Failure::io("measuring a disk"))?.len();
    target.set_len(bytes).map_err(Failure::io("making a disk"))?;
    let mut piece = vec![0; PIECE];
    for at in (0..bytes).step_by(PIECE) {
        let length = PIECE.min((bytes - at) as usize);
        let done = source.read_exact_at(&mut piece[..length], at).and_then(|()| {
            if piece[..length].iter().all(|byte| *byte == 0) {
                return Ok(());
            }
            target.write_all_at(&piece[..length], at)
        });
        done.map_err(Failure::io("copying a disk"))?;
    }
    Ok(target)
}
