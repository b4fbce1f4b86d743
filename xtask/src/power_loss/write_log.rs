//! The record that the kernel's `dm-log-writes` keeps of a disk: every write in the order in which it was completed, flushes, and
//! marks that a program set between them (Linux, Documentation/admin-guide/device-mapper/log-writes.rst). Reading it, and making of
//! it any disk that a power cut could have left.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// "WriteLog" as the kernel writes it.
const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;
/// Of the device: what a power cut leaves whole.
pub const SECTOR: usize = 512;

const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// `data` was written from byte `at` on.
    Write {
        /// Offset on the disk, in bytes.
        at: usize,
        /// What was written.
        data: Vec<u8>,
        /// What was completed before was made durable first.
        flush: bool,
        /// It was durable when it was completed.
        fua: bool,
    },
    /// A program said something.
    Mark(String),
}

/// Reads a whole record.
pub fn read(path: &Path) -> std::io::Result<Vec<Entry>> {
    let invalid = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
    let mut file = BufReader::new(File::open(path)?);
    let (magic, version, count) = (number(&mut file)?, number(&mut file)?, number(&mut file)?);
    let mut sector = [0; 4];
    file.read_exact(&mut sector)?;
    let sector = u64::from(u32::from_le_bytes(sector));
    if (magic, version) != (MAGIC, VERSION) || !sector.is_power_of_two() || !(512..=4096).contains(&sector) {
        return Err(invalid("this is no record of dm-log-writes, version 1"));
    }
    let mut entries = Vec::new();
    let mut place = sector;
    for _ in 0..count {
        file.seek(SeekFrom::Start(place))?;
        let (at, sectors, flags, length) =
            (number(&mut file)?, number(&mut file)?, number(&mut file)?, number(&mut file)?);
        place += sector;
        if flags & MARK != 0 {
            let mut text = vec![0; length.min(sector - 32) as usize];
            file.read_exact(&mut text)?;
            entries.push(Entry::Mark(String::from_utf8_lossy(&text).trim_end_matches('\0').to_owned()));
            continue;
        }
        let bytes = usize::try_from(sectors * sector).map_err(|_| invalid("an entry is too long"))?;
        let mut data = vec![0; bytes];
        if flags & DISCARD == 0 {
            file.seek(SeekFrom::Start(place))?;
            file.read_exact(&mut data)?;
            place += sectors * sector;
        }
        let at = usize::try_from(at * sector).map_err(|_| invalid("an entry is too far"))?;
        entries.push(Entry::Write { at, data, flush: flags & FLUSH != 0, fua: flags & FUA != 0 });
    }
    Ok(entries)
}

fn number(file: &mut impl Read) -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    file.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// Drawn from a seed (SplitMix64).
#[derive(Debug)]
pub struct Lot(pub u64);

impl Lot {
    /// Below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % bound.max(1) as u64) as usize
    }
}

/// What became of the writes that no flush had made durable when the power went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// On the disk.
    pub kept: u64,
    /// Not on the disk.
    pub dropped: u64,
    /// Some of their sectors are on the disk.
    pub torn: u64,
}

impl std::ops::AddAssign for Fate {
    fn add_assign(&mut self, other: Self) {
        self.kept += other.kept;
        self.dropped += other.dropped;
        self.torn += other.torn;
    }
}

/// Goes through a record and makes disks of it.
#[derive(Debug)]
pub struct Disk<'a> {
    entries: &'a [Entry],
    /// With everything before `durable` on it.
    image: Vec<u8>,
    durable: usize,
}

impl<'a> Disk<'a> {
    /// An empty disk.
    pub fn new(entries: &'a [Entry], bytes: usize) -> Self {
        Self { entries, image: vec![0; bytes], durable: 0 }
    }

    /// The disk where the power goes right after entry `point`: all that a flush had made durable, and of the rest each write
    /// whole, torn or not at all, in any order. Points rise from call to call.
    pub fn cut_after(&mut self, point: usize, lot: &mut Lot) -> (Vec<u8>, Fate) {
        let flushes = |entry: &Entry| matches!(entry, Entry::Write { flush: true, .. });
        // A flush makes durable what was completed before it; what it carries itself is a write like others.
        let last = self.entries[..=point].iter().rposition(flushes).unwrap_or(0).max(self.durable);
        for entry in &self.entries[self.durable..last] {
            write(&mut self.image, entry, usize::MAX);
        }
        self.durable = last;
        let mut image = self.image.clone();
        let mut open: Vec<&Entry> = self.entries[last..=point].iter().collect();
        (1..open.len()).rev().for_each(|at| open.swap(at, lot.below(at + 1)));
        let mut fate = Fate::default();
        for entry in open {
            let Entry::Write { data, fua, .. } = entry else { continue };
            let sectors = data.len() / SECTOR;
            match lot.below(10) {
                _ if *fua || sectors == 0 => write(&mut image, entry, usize::MAX),
                0..4 => {
                    fate.kept += 1;
                    write(&mut image, entry, usize::MAX);
                }
                4..7 if sectors > 1 => {
                    fate.torn += 1;
                    write(&mut image, entry, (1 + lot.below(sectors - 1)) * SECTOR);
                }
                _ => fate.dropped += 1,
            }
        }
        (image, fate)
    }
}

/// Puts the first `bytes` of an entry on a disk.
fn write(image: &mut [u8], entry: &Entry, bytes: usize) {
    if let Entry::Write { at, data, .. } = entry {
        let data = &data[..bytes.min(data.len())];
        if let Some(place) = image.get_mut(*at..at.saturating_add(data.len())) {
            place.copy_from_slice(data);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrote(at: usize, byte: u8, sectors: usize, flush: bool, fua: bool) -> Entry {
        Entry::Write { at: at * SECTOR, data: vec![byte; sectors * SECTOR], flush, fua }
    }

    #[test]
    fn what_was_flushed_is_always_there_and_the_rest_has_every_fate() {
        let entries = [
            wrote(0, 1, 1, false, false),
            wrote(0, 0, 0, true, false),
            wrote(1, 2, 2, false, false),
            Entry::Mark("7".into()),
            wrote(3, 3, 1, false, true),
        ];
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let (image, _) = Disk::new(&entries, 4 * SECTOR).cut_after(4, &mut Lot(seed));
            let sectors: Vec<u8> = image.chunks(SECTOR).map(|sector| sector[0]).collect();
            assert_eq!((sectors[0], sectors[3]), (1, 3), "flushed, and forced to the medium");
            seen.insert((sectors[1], sectors[2]));
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [(0, 0), (2, 0), (2, 2)]);
    }

    #[test]
    fn the_disk_goes_on_from_point_to_point() {
        let entries: Vec<_> = (0..20).map(|at| wrote(at % 4, at as u8 + 1, 1, at % 3 == 2, false)).collect();
        let mut disk = Disk::new(&entries, 4 * SECTOR);
        for point in 0..20 {
            let (image, _) = disk.cut_after(point, &mut Lot(9));
            let (alone, _) = Disk::new(&entries, 4 * SECTOR).cut_after(point, &mut Lot(9));
            assert!(image == alone, "point {point}");
        }
    }

    #[test]
    fn bytes_that_are_no_record_are_refused() {
        let path = std::env::temp_dir().join(format!("stele-write-log-{}", std::process::id()));
        std::fs::write(&path, [0; 4096]).expect("the folder for temporary files can be written");
        assert!(read(&path).is_err());
        std::fs::remove_file(&path).expect("it is there");
    }
}
