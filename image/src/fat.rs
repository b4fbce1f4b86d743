//! The EFI system partition: FAT32 with sectors and clusters of 512 bytes and long names, written whole from a list of files;
//! each file then lies in one piece, times are a constant. A folder of a volume that is in use is changed in steps, between
//! which power may fail.
//!
//! Absent: other cluster sizes when writing anew (all else takes any), FAT12 and FAT16.

mod change;
mod read;
mod write;

pub use change::{Step, change};
pub use read::{bytes, read, used};
pub use write::write;

use thiserror::Error;

/// Bytes of a sector.
const SECTOR: usize = 512;
/// Clusters below which a volume would be FAT16 (Microsoft's specification, 3.5).
const CLUSTERS_MIN: usize = 65_525;
/// Bytes of a folder's entry.
const ENTRY: usize = 32;
/// Attributes.
const LONG_NAME: u8 = 0x0F;
const FOLDER: u8 = 0x10;
const VOLUME: u8 = 0x08;
/// First value of a table's entry that ends a chain.
const END: u32 = 0x0FFF_FFF8;

/// A file: path with `/` between folders, and content.
pub type File = (String, Vec<u8>);

/// Why a volume cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FatError {
    /// Another file system, or none.
    #[error("this is no FAT32 volume")]
    NoVolume,
    /// Less than the boot sector says.
    #[error("the volume is cut off")]
    Truncated,
    /// A chain that leaves the volume, is too short for its file, or goes in a circle.
    #[error("the chain of {0:?} is damaged")]
    Chain(String),
    /// A folder's entry that cannot be understood.
    #[error("an entry of folder {0:?} is damaged")]
    Entry(String),
    /// Folders deeper, or more entries, than any system partition has.
    #[error("the volume has too many folders or files")]
    TooMany,
    /// No room for the files.
    #[error("the files need {needed} bytes, the volume has {bytes}")]
    Full {
        /// What they take.
        needed: usize,
        /// What there is.
        bytes: usize,
    },
}

/// The checksum of a short name that its long name's entries carry.
fn short_name_sum(name: &[u8; 11]) -> u8 {
    name.iter().fold(0, |sum: u8, byte| sum.rotate_right(1).wrapping_add(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BYTES: usize = 34 << 20;

    fn files() -> Vec<File> {
        vec![
            ("EFI/BOOT/BOOTX64.EFI".into(), vec![1; 5000]),
            ("EFI/Linux/stele-12+3-0.efi".into(), (0..70_000_u32).map(|n| n as u8).collect()),
            ("loader/empty".into(), Vec::new()),
            ("loader/loader.conf".into(), b"timeout 0\n".to_vec()),
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(read(&write(&files(), BYTES).unwrap()), Ok(files()));
    }

    #[test]
    fn a_volume_is_read_without_what_is_free_and_changed_only_with_it() {
        let whole = write(&files(), BYTES).unwrap();
        let end = used(&whole).unwrap();
        assert!(end < 2 << 20 && whole[end..].iter().all(|byte| *byte == 0), "{end}");
        assert_eq!((bytes(&whole[..end]), read(&whole[..end])), (Ok(BYTES as u64), Ok(files())));
        let gone = |name: &str| name == "empty";
        assert!(change(&whole, "loader", gone, None).is_ok());
        assert!(matches!(change(&whole[..end], "loader", gone, None), Err(FatError::Truncated)));
        // The file behind all others is named by what is missing of it.
        assert!(read(&whole[..end - SECTOR]).is_err());
        assert_eq!(bytes(&whole[..20 * SECTOR]), Err(FatError::Truncated));
    }

    #[test]
    fn a_folder_of_many_long_names_spans_clusters() {
        let many: Vec<File> = (0..100).map(|n| (format!("loader/a rather long name {n:03}.conf"), vec![n])).collect();
        assert_eq!(read(&write(&many, BYTES).unwrap()), Ok(many));
    }

    #[test]
    fn too_much_is_refused() {
        let big = vec![("big".to_owned(), vec![0; BYTES])];
        assert!(matches!(write(&big, BYTES), Err(FatError::Full { .. })));
    }

    #[test]
    fn a_chain_in_a_circle_ends() {
        let mut bytes = write(&files(), BYTES).unwrap();
        // All entries of the first table from cluster 2 on lead to cluster 3.
        let table = 32 * SECTOR;
        (2..2000).for_each(|n| bytes[table + 4 * n..table + 4 * n + 4].copy_from_slice(&3_u32.to_le_bytes()));
        assert!(read(&bytes).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn damage_is_an_error_or_other_files(at in 0_usize..4096, fat in 0_usize..2048, value: u8, data in 0_usize..20_000) {
            let mut bytes = write(&files(), BYTES).unwrap();
            for at in [at, 32 * SECTOR + fat, bytes.len() - (BYTES - (32 + 2 * 540) * SECTOR) + data] {
                bytes[at] = value;
            }
            let _ = read(&bytes);
            let _ = read(&bytes[..at]);
        }
    }
}
