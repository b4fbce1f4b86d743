//! How a disk is divided. An image as it is built holds the system partition as far as there is something in it, the configuration
//! and one slot; the room for a second kernel image, the other slot and the state are added where the disk's size is known, when
//! it is flashed or first booted under emulation.
//!
//! A slot's partition has the GUID that its root hash gives it: a kernel finds its own root, and a slot that is being
//! written belongs to no kernel.

use image_formats::boot_line::partition_of;
use image_formats::gpt::{BACKUP_SECTORS, Guid, Partition, SECTOR, Table};
use image_formats::verity::RootHash;
use thiserror::Error;

/// The EFI system partition.
pub const SYSTEM: Guid = Guid::new(0xC12A_7328, 0xF81F, 0x11D2, 0xBA4B_00A0_C93E_C93B);
/// A root under verity (x86-64), of the discoverable partitions.
pub const ROOT: Guid = Guid::new(0x4F68_BCE3, 0xE8CD, 0x4DB1, 0x96E7_FBCA_F984_B709);
/// The signed configuration.
pub const CONFIGURATION: Guid = Guid::new(0x5E1E_C0F6, 0x6B1D, 0x4E6A, 0x9C0F_5354_454C_4543);
/// The state: log, database, guard file.
pub const STATE: Guid = Guid::new(0x5E1E_57A7, 0x6B1D, 0x4E6A, 0x9C0F_5354_454C_4553);

/// Bytes of the system partition on a flashed disk, unless two kernel images and the boot loader need more.
pub const SYSTEM_BYTES: usize = 64 << 20;
/// Those of one that is never updated: the least that FAT32 allows.
pub const SYSTEM_BYTES_MIN: usize = 33 << 20;
/// Bytes of the configuration's partition.
pub const CONFIGURATION_BYTES: usize = image_formats::bundle::BYTES_MAX;
/// Bytes of each slot on a flashed disk: room for later releases.
pub const SLOT_BYTES: u64 = 256 << 20;
/// Bytes that the state needs at least.
pub const STATE_BYTES_MIN: u64 = 64 << 20;
/// Partitions begin at multiples of this.
const ALIGNMENT: u64 = 1 << 20;

/// The GUID of a slot that is being written: that of no root.
pub const fn vacant() -> Guid {
    Guid::new(0x5E1E_0000, 0x6B1D, 0x4E6A, 0x9C0F_5641_4341_4E54)
}

/// Why a disk cannot be divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DiskError {
    /// Too small.
    #[error("the disk has {bytes} bytes, {needed} are needed")]
    Small {
        /// What it has.
        bytes: u64,
        /// What is needed.
        needed: u64,
    },
    /// A slot's content is longer than a slot.
    #[error("the root file system has {bytes} bytes, a slot has {SLOT_BYTES}")]
    Root {
        /// How long it is.
        bytes: u64,
    },
    /// A disk that is none of ours.
    #[error("the disk has no {0} partition")]
    Missing(&'static str),
}

impl DiskError {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Small { .. } => "take a larger disk",
            Self::Root { .. } => "build the image with less in it: without --gpu, or with a smaller --pkcs11-bundle",
            Self::Missing(_) => "take an image that `cargo xtask image build` made",
        }
    }
}

/// The entry of a partition; `start` and `bytes` are multiples of a sector.
pub fn partition(kind: Guid, id: Guid, start: u64, bytes: u64, name: &str) -> Partition {
    let (first, sectors) = (start / SECTOR as u64, bytes / SECTOR as u64);
    Partition { kind, id, first, last: first + sectors - 1, attributes: 0, name: name.to_owned() }
}

/// A GUID that follows from a root hash and a purpose, so that two builds agree on it.
fn derived(root: &RootHash, purpose: &str) -> Guid {
    use sha2::{Digest, Sha256};
    let digest = Sha256::new().chain_update(root).chain_update(purpose).finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    // Version 4, the variant of RFC 9562.
    (id[7], id[8]) = (id[7] & 0x0F | 0x40, id[8] & 0x3F | 0x80);
    Guid(id)
}

/// An image: the table, and its partitions' contents in place. `system` may end behind its last file.
pub fn image(system: &[u8], configuration: &[u8], slot: &[u8], root: &RootHash) -> Vec<u8> {
    let start = ALIGNMENT;
    let system_bytes = (system.len() as u64).next_multiple_of(ALIGNMENT);
    let configuration_at = start + system_bytes;
    let slot_at = configuration_at + CONFIGURATION_BYTES as u64;
    let slot_bytes = slot.len() as u64;
    let end = slot_at + slot_bytes + BACKUP_SECTORS * SECTOR as u64;
    let table = Table {
        disk: derived(root, "disk"),
        sectors: end / SECTOR as u64,
        partitions: vec![
            partition(SYSTEM, derived(root, "system"), start, system_bytes, "stele-system"),
            partition(
                CONFIGURATION,
                derived(root, "configuration"),
                configuration_at,
                CONFIGURATION_BYTES as u64,
                "stele-configuration",
            ),
            partition(ROOT, partition_of(root), slot_at, slot_bytes, "stele-root"),
        ],
    };
    let mut out = vec![0; end as usize];
    let mut put = |at: u64, bytes: &[u8]| out[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    put(0, &table.encode_primary());
    put(start, system);
    put(configuration_at, configuration);
    put(slot_at, slot);
    put(end - BACKUP_SECTORS * SECTOR as u64, &table.encode_backup());
    out
}

/// An image that needs nothing but its system partition: all of it goes into memory.
pub fn image_in_memory(system: &[u8], root: &RootHash) -> Vec<u8> {
    let bytes = (system.len() as u64).next_multiple_of(ALIGNMENT);
    let end = ALIGNMENT + bytes + BACKUP_SECTORS * SECTOR as u64;
    let partitions = vec![partition(SYSTEM, derived(root, "system"), ALIGNMENT, bytes, "stele-system")];
    let table = Table { disk: derived(root, "disk"), sectors: end / SECTOR as u64, partitions };
    let mut out = vec![0; end as usize];
    let mut put = |at: u64, bytes: &[u8]| out[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    put(0, &table.encode_primary());
    put(ALIGNMENT, system);
    put(end - BACKUP_SECTORS * SECTOR as u64, &table.encode_backup());
    out
}

/// The table of a whole disk of `bytes` bytes for an image: its partitions one after the other, the system partition with all
/// `system_bytes` of its volume, the slot at its full size, then a second slot and the state. `disk` makes this disk's GUIDs its
/// own. An image that goes into memory gets neither slot nor state.
pub fn spread(image: &Table, system_bytes: u64, bytes: u64, disk: Guid) -> Result<Table, DiskError> {
    let mut at = ALIGNMENT;
    let mut partitions = image.partitions.clone();
    for part in &mut partitions {
        let length = match part.kind {
            SYSTEM => system_bytes.max(part.bytes()),
            ROOT if part.bytes() > SLOT_BYTES => return Err(DiskError::Root { bytes: part.bytes() }),
            ROOT => SLOT_BYTES,
            _ => part.bytes(),
        };
        *part = partition(part.kind, part.id, at, length, &part.name);
        at += length.next_multiple_of(ALIGNMENT);
    }
    image.first_of(SYSTEM).ok_or(DiskError::Missing("system"))?;
    let sectors = bytes / SECTOR as u64;
    let end = sectors.saturating_sub(BACKUP_SECTORS) * SECTOR as u64;
    if image.first_of(ROOT).is_none() {
        let needed = at + BACKUP_SECTORS * SECTOR as u64;
        return if end < at {
            Err(DiskError::Small { bytes, needed })
        } else {
            Ok(Table { disk, sectors, partitions })
        };
    }
    let state = at + SLOT_BYTES;
    let end = end / ALIGNMENT * ALIGNMENT;
    if end < state + STATE_BYTES_MIN {
        return Err(DiskError::Small { bytes, needed: state + STATE_BYTES_MIN + ALIGNMENT });
    }
    let id = |purpose| derived(&[disk.0, disk.0].concat().try_into().unwrap_or_default(), purpose);
    partitions.push(partition(ROOT, id("second slot"), at, SLOT_BYTES, "stele-root"));
    partitions.push(partition(STATE, id("state"), state, end - state, "stele-state"));
    Ok(Table { disk, sectors, partitions })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_read_back_and_spread_over_a_disk() {
        let bytes = image(&[1; 1 << 20], &[2; 10], &[3; 8192], &[9; 32]);
        let table = Table::decode(&bytes).unwrap();
        let end = bytes.len() - BACKUP_SECTORS as usize * SECTOR;
        assert_eq!(Table::decode_backup(&bytes[end..], table.sectors), Ok(table.clone()));
        let slot = table.first_of(ROOT).unwrap();
        assert_eq!((slot.id, slot.bytes()), (Guid([9; 16]), 8192));
        assert_eq!(bytes[slot.offset() as usize], 3);

        let whole = spread(&table, 5 << 20, 1 << 30, Guid([4; 16])).unwrap();
        let places: Vec<u64> = whole.partitions.iter().map(|partition| partition.offset() >> 20).collect();
        assert_eq!(places, [1, 6, 7, 263, 519]);
        assert_eq!(Table::decode(&whole.encode_primary()), Ok(whole.clone()));
        assert_eq!(whole.partitions.len(), 5);
        assert!(whole.first_of(STATE).unwrap().bytes() > 400 << 20);
        let memory = image_in_memory(&[1; 2 << 20], &[9; 32]);
        let table_in_memory = Table::decode(&memory).unwrap();
        let stick = spread(&table_in_memory, 2 << 20, 8 << 20, Guid([4; 16])).unwrap();
        assert_eq!((stick.partitions, stick.sectors), (table_in_memory.partitions.clone(), 16_384));
        assert!(spread(&table_in_memory, 2 << 20, 3 << 20, Guid([4; 16])).is_err());
        assert!(matches!(spread(&table, 1 << 20, 512 << 20, Guid([4; 16])), Err(DiskError::Small { .. })));
    }
}
