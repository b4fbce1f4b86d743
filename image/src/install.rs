//! An image onto a disk: the partitions of the image at their places, and the table of the whole disk with the second slot and
//! the state. The table comes last, so that an interrupted installation leaves a disk that does not boot rather than half a
//! system.

use crate::disk;
use crate::failure::Failure;
use image_formats::gpt::{BACKUP_SECTORS, Guid, SECTOR, Table};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

/// Writes an image to a disk of `bytes` bytes.
pub fn install(image: &[u8], disk: &mut File, bytes: u64) -> Result<Table, Failure> {
    let from = Table::decode(image).map_err(|error| Failure::content("the image", error))?;
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| Failure::unfit(error.to_string(), "the system gives no randomness"))?;
    let table = disk::spread(&from, bytes, Guid(id))
        .map_err(|error| Failure::unfit(error.to_string(), "take a larger disk"))?;
    let mut put = |at: u64, content: &[u8]| {
        disk.seek(SeekFrom::Start(at)).and_then(|_| disk.write_all(content)).map_err(Failure::io("writing the disk"))
    };
    // An older table must not speak of what is being written over.
    put(SECTOR as u64, &[0; SECTOR])?;
    for partition in &from.partitions {
        let start = usize::try_from(partition.offset()).unwrap_or(usize::MAX);
        let content = image.get(start..start.saturating_add(partition.bytes() as usize));
        put(partition.offset(), content.ok_or_else(|| Failure::content("the image", "it is cut off"))?)?;
    }
    // The state begins blank, whatever lay there before.
    if let Some(state) = table.first_of(disk::STATE) {
        put(state.offset(), &[0; 1 << 20])?;
    }
    put((table.sectors - BACKUP_SECTORS) * SECTOR as u64, &table.encode_backup())?;
    put(0, &table.encode_primary())?;
    disk.sync_all().map_err(Failure::io("writing the disk"))?;
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_holds_the_image_and_a_blank_state() {
        let image = disk::image(&[1; 1 << 20], &[2; 3], &[3; 8192], &[9; 32]);
        let mut file = tempfile::tempfile().unwrap();
        let bytes = 700 << 20;
        file.set_len(bytes).unwrap();
        let table = install(&image, &mut file, bytes).unwrap();
        let read = |at: u64, length: usize| {
            use std::os::unix::fs::FileExt;
            let mut buffer = vec![0; length];
            file.read_exact_at(&mut buffer, at).unwrap();
            buffer
        };
        assert_eq!(Table::decode(&read(0, 34 * SECTOR)), Ok(table.clone()));
        assert_eq!(read(table.first_of(disk::ROOT).unwrap().offset(), 8192), [3; 8192]);
        assert_eq!(read(table.first_of(disk::STATE).unwrap().offset(), 4096), [0; 4096]);
        assert!(matches!(install(&image, &mut file, 100 << 20), Err(Failure::Unfit { .. })));
    }
}
