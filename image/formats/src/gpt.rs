//! The GUID partition table (UEFI 2.10, chapter 5): 512-byte sectors, 128 entries of 128 bytes, a copy at the end of the
//! disk. A table is decoded only when both checksums hold and its partitions lie apart, inside the usable sectors.
//!
//! Absent: hybrid boot records, 4096-byte logical sectors, other sizes of entries.

use crate::crc32::crc32;
use crate::field::{array_at, bytes_at, u16_at, u32_at, u64_at};
use std::fmt;
use thiserror::Error;

/// Bytes of a sector.
pub const SECTOR: usize = 512;
/// Entries of a table.
pub const ENTRIES: usize = 128;
const ENTRY: usize = 128;
const ENTRY_SECTORS: u64 = (ENTRIES * ENTRY / SECTOR) as u64;
/// Sectors at the start of a disk: protective boot record, header, entries.
pub const PRIMARY_SECTORS: u64 = 2 + ENTRY_SECTORS;
/// Sectors at the end of a disk: entries, header.
pub const BACKUP_SECTORS: u64 = 1 + ENTRY_SECTORS;

/// A GUID in its order on disk: the first three fields little-endian.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// From its four fields as they are written: `Guid::new(0xC12A7328, 0xF81F, 0x11D2, 0xBA4B00A0C93EC93B)`.
    pub const fn new(a: u32, b: u16, c: u16, d: u64) -> Self {
        let (a, b, c, d) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes(), d.to_be_bytes());
        Self([a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]])
    }

    /// Whether it stands for an unused entry.
    pub fn is_zero(&self) -> bool {
        self.0 == [0; 16]
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let b = &self.0;
        write!(f, "{:02x}{:02x}{:02x}{:02x}-{:02x}{:02x}-", b[3], b[2], b[1], b[0], b[5], b[4])?;
        write!(f, "{:02x}{:02x}-{:02x}{:02x}-", b[7], b[6], b[8], b[9])?;
        b[10..].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// What it is for.
    pub kind: Guid,
    /// Which one it is.
    pub id: Guid,
    /// Its first sector.
    pub first: u64,
    /// Its last sector.
    pub last: u64,
    /// Attributes; none of ours has any.
    pub attributes: u64,
    /// Its name, 36 UTF-16 units at most.
    pub name: String,
}

impl Partition {
    /// Where it starts, in bytes.
    pub fn offset(&self) -> u64 {
        self.first * SECTOR as u64
    }

    /// How long it is, in bytes.
    pub fn bytes(&self) -> u64 {
        (self.last - self.first + 1) * SECTOR as u64
    }
}

/// A partition table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The disk's GUID.
    pub disk: Guid,
    /// Sectors of the disk.
    pub sectors: u64,
    /// The partitions, in the order of their entries.
    pub partitions: Vec<Partition>,
}

/// Why a disk has no table that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum GptError {
    /// Less than the sectors of the table.
    #[error("the partition table is cut off")]
    Truncated,
    /// Something else stands at its place.
    #[error("there is no GUID partition table")]
    NoTable,
    /// Sizes that are not those of every disk.
    #[error("the partition table has entries of an unknown size or number")]
    Shape,
    /// The header does not match its checksum.
    #[error("the header of the partition table is damaged")]
    HeaderChecksum,
    /// The entries do not match theirs.
    #[error("the entries of the partition table are damaged")]
    EntriesChecksum,
    /// A partition outside of the usable sectors, or over another one.
    #[error("partition {index} lies outside of the disk or over another one")]
    Misplaced {
        /// Its entry, from 1.
        index: usize,
    },
    /// A name that is no UTF-16.
    #[error("partition {index} has an unreadable name")]
    Name {
        /// Its entry, from 1.
        index: usize,
    },
}

impl Table {
    /// The first and the last sector that partitions may take.
    pub fn usable(&self) -> (u64, u64) {
        (PRIMARY_SECTORS, self.sectors.saturating_sub(BACKUP_SECTORS + 1))
    }

    /// The first partition of a kind.
    pub fn first_of(&self, kind: Guid) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.kind == kind)
    }

    /// Reads the table at the start of a disk of which `start` holds at least [`PRIMARY_SECTORS`].
    pub fn decode(start: &[u8]) -> Result<Self, GptError> {
        let header = bytes_at(start, SECTOR, SECTOR).ok_or(GptError::Truncated)?;
        Self::decode_header(header, 1, start.get(2 * SECTOR..).unwrap_or_default())
    }

    /// Reads the copy at the end of a disk, of which `end` holds the last [`BACKUP_SECTORS`] sectors.
    pub fn decode_backup(end: &[u8], sectors: u64) -> Result<Self, GptError> {
        let entries = ENTRIES * ENTRY;
        let header = bytes_at(end, entries, SECTOR).ok_or(GptError::Truncated)?;
        Self::decode_header(header, sectors.saturating_sub(1), &end[..entries])
    }

    fn decode_header(header: &[u8], own: u64, entries: &[u8]) -> Result<Self, GptError> {
        if !header.starts_with(b"EFI PART") {
            return Err(GptError::NoTable);
        }
        let (long, wide) = (|at| u64_at(header, at), |at| u32_at(header, at));
        let shape = (wide(8), wide(12), wide(80), wide(84));
        if shape != (Some(0x0001_0000), Some(92), Some(ENTRIES as u32), Some(ENTRY as u32)) {
            return Err(GptError::Shape);
        }
        let mut sealed: [u8; 92] = array_at(header, 0).ok_or(GptError::Truncated)?;
        sealed[16..20].fill(0);
        if wide(16) != Some(crc32(&sealed)) {
            return Err(GptError::HeaderChecksum);
        }
        let entries = bytes_at(entries, 0, ENTRIES * ENTRY).ok_or(GptError::Truncated)?;
        if wide(88) != Some(crc32(entries)) {
            return Err(GptError::EntriesChecksum);
        }
        let other = long(32).unwrap_or_default();
        let sectors = own.max(other).checked_add(1).ok_or(GptError::Shape)?;
        if long(24) != Some(own) || own.min(other) != 1 || sectors <= PRIMARY_SECTORS + BACKUP_SECTORS {
            return Err(GptError::Shape);
        }
        let mut table =
            Self { disk: Guid(array_at(header, 56).ok_or(GptError::Truncated)?), sectors, partitions: Vec::new() };
        for (index, entry) in entries.chunks_exact(ENTRY).enumerate() {
            let index = index + 1;
            let guid = |at| array_at(entry, at).map(Guid).ok_or(GptError::Truncated);
            if guid(0)?.is_zero() {
                continue;
            }
            let number = |at| u64_at(entry, at).ok_or(GptError::Truncated);
            let units: Vec<u16> =
                (0..36).filter_map(|n| u16_at(entry, 56 + 2 * n)).take_while(|unit| *unit != 0).collect();
            let name = String::from_utf16(&units).map_err(|_| GptError::Name { index })?;
            let (first, last) = (number(32)?, number(40)?);
            let new = Partition { kind: guid(0)?, id: guid(16)?, first, last, attributes: number(48)?, name };
            let (lowest, highest) = table.usable();
            let apart = table.partitions.iter().all(|old| old.last < first || last < old.first);
            if first > last || first < lowest || last > highest || !apart {
                return Err(GptError::Misplaced { index });
            }
            table.partitions.push(new);
        }
        Ok(table)
    }

    /// The sectors at the start of the disk.
    pub fn encode_primary(&self) -> Vec<u8> {
        let mut out = vec![0; SECTOR];
        out[446..462].copy_from_slice(&[0, 0, 2, 0, 0xEE, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0, 0, 0, 0, 0]);
        let span = u32::try_from(self.sectors - 1).unwrap_or(u32::MAX);
        out[458..462].copy_from_slice(&span.to_le_bytes());
        out[510..512].copy_from_slice(&[0x55, 0xAA]);
        let entries = self.entries();
        out.extend(self.header(&entries, 1, self.sectors - 1, 2));
        out.extend(entries);
        out
    }

    /// The sectors at the end of the disk.
    pub fn encode_backup(&self) -> Vec<u8> {
        let entries = self.entries();
        let header = self.header(&entries, self.sectors - 1, 1, self.sectors - BACKUP_SECTORS);
        [entries, header].concat()
    }

    fn header(&self, entries: &[u8], own: u64, other: u64, entries_at: u64) -> Vec<u8> {
        let (lowest, highest) = self.usable();
        let mut out = b"EFI PART".to_vec();
        for field in [0x0001_0000_u32, 92, 0, 0] {
            out.extend(field.to_le_bytes());
        }
        for field in [own, other, lowest, highest] {
            out.extend(field.to_le_bytes());
        }
        out.extend(self.disk.0);
        out.extend(entries_at.to_le_bytes());
        for field in [ENTRIES as u32, ENTRY as u32, crc32(entries)] {
            out.extend(field.to_le_bytes());
        }
        let checksum = crc32(&out);
        out[16..20].copy_from_slice(&checksum.to_le_bytes());
        out.resize(SECTOR, 0);
        out
    }

    fn entries(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(ENTRIES * ENTRY);
        for partition in self.partitions.iter().take(ENTRIES) {
            let start = out.len();
            out.extend(partition.kind.0);
            out.extend(partition.id.0);
            for field in [partition.first, partition.last, partition.attributes] {
                out.extend(field.to_le_bytes());
            }
            out.extend(partition.name.encode_utf16().take(36).flat_map(u16::to_le_bytes));
            out.resize(start + ENTRY, 0);
        }
        out.resize(ENTRIES * ENTRY, 0);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table() -> Table {
        let part = |n: u8, first, last| Partition {
            kind: Guid([9; 16]),
            id: Guid([n; 16]),
            first,
            last,
            attributes: 0,
            name: format!("part-{n}"),
        };
        Table { disk: Guid([3; 16]), sectors: 4096, partitions: vec![part(1, 34, 99), part(2, 100, 4062)] }
    }

    #[test]
    fn both_copies_are_read_back() {
        assert_eq!(Table::decode(&table().encode_primary()), Ok(table()));
        assert_eq!(Table::decode_backup(&table().encode_backup(), 4096), Ok(table()));
    }

    #[test]
    fn guids_read_as_they_are_written() {
        let esp = Guid::new(0xC12A_7328, 0xF81F, 0x11D2, 0xBA4B_00A0_C93E_C93B);
        assert_eq!(esp.to_string(), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
    }

    #[test]
    fn partitions_over_each_other_or_outside_are_refused() {
        for (first, last) in [(50, 60), (33, 33), (4000, 4063), (9, 5), (0, u64::MAX)] {
            let mut table = table();
            (table.partitions[1].first, table.partitions[1].last) = (first, last);
            assert_eq!(Table::decode(&table.encode_primary()), Err(GptError::Misplaced { index: 2 }), "{first} {last}");
        }
    }

    proptest! {
        #[test]
        fn any_flip_under_a_checksum_is_seen(at in SECTOR..SECTOR + 92, bit in 0_u8..8) {
            let mut bytes = table().encode_primary();
            bytes[at] ^= 1 << bit;
            prop_assert!(Table::decode(&bytes).is_err());
        }

        #[test]
        fn any_flip_in_the_entries_is_seen(at in 2 * SECTOR..34 * SECTOR, bit in 0_u8..8) {
            let mut bytes = table().encode_primary();
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(Table::decode(&bytes), Err(GptError::EntriesChecksum));
        }

        #[test]
        fn truncations_and_noise_are_errors(length in 0..34 * SECTOR, noise: Vec<u8>) {
            prop_assert!(Table::decode(&table().encode_primary()[..length]).is_err());
            prop_assert!(Table::decode(&noise).is_err());
            prop_assert!(Table::decode_backup(&noise, 4096).is_err());
        }
    }
}
