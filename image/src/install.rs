//! An image onto a disk: the partitions of the image at their places, and the table of the whole disk with the second slot and
//! the state. Older tables go first and are gone before anything else is written, that at the end of the disk too, which
//! firmware and systems take where there is none at the start. The new one comes last, so that an interrupted installation
//! leaves a disk that does not boot rather than half a system.

use crate::disk::DiskError;
use crate::failure::Failure;
use crate::update::Target;
use crate::{disk, fat, tables};
use image_formats::field::bytes_at;
use image_formats::gpt::{Guid, Partition, Table};

/// Writes an image to a disk of `bytes` bytes.
pub fn install(image: &[u8], disk: &impl Target, bytes: u64) -> Result<Table, Failure> {
    let from = Table::decode(image).map_err(|error| Failure::content("the image", error))?;
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| Failure::unfit(error.to_string(), "the system gives no randomness"))?;
    let content = |partition: &Partition| {
        let place = usize::try_from(partition.offset()).ok().zip(usize::try_from(partition.bytes()).ok());
        let content = place.and_then(|(at, length)| bytes_at(image, at, length));
        content.ok_or_else(|| Failure::content("the image", "it is cut off"))
    };
    let unfit = |error: DiskError| Failure::unfit(error.to_string(), error.help());
    let system = content(from.first_of(disk::SYSTEM).ok_or(DiskError::Missing("system")).map_err(unfit)?)?;
    let system_bytes = fat::bytes(system).map_err(|error| Failure::content("the image's system partition", error))?;
    let table = disk::spread(&from, system_bytes, bytes, Guid(id)).map_err(unfit)?;
    let about = || Failure::io("writing the disk");
    let put = |at: u64, content: &[u8]| disk.write(at, content).map_err(about());
    tables::clear(disk, table.sectors).map_err(about())?;
    for (from, to) in from.partitions.iter().zip(&table.partitions) {
        put(to.offset(), content(from)?)?;
    }
    // The state begins blank, whatever lay there before.
    if let Some(state) = table.first_of(disk::STATE) {
        put(state.offset(), &[0; 1 << 20])?;
    }
    tables::put(disk, &table).map_err(about())?;
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::tests::speaks_of_nothing_that_is_not_there;
    use image_formats::gpt::SECTOR;

    /// Its system partition ends behind its only file.
    fn image() -> Vec<u8> {
        let file = ("EFI/BOOT/BOOTX64.EFI".to_owned(), vec![1; 2 << 20]);
        let volume = fat::write(&[file], disk::SYSTEM_BYTES).unwrap();
        disk::image(&volume[..fat::used(&volume).unwrap()], &[2; 3], &[3; 8192], &[9; 32])
    }

    #[test]
    fn a_disk_holds_the_image_and_a_blank_state() {
        let image = image();
        assert!(image.len() < 8 << 20, "{}", image.len());
        let file = tempfile::tempfile().unwrap();
        let bytes = 700 << 20;
        file.set_len(bytes).unwrap();
        let table = install(&image, &file, bytes).unwrap();
        let read = |at: u64, length: usize| {
            use std::os::unix::fs::FileExt;
            let mut buffer = vec![0; length];
            file.read_exact_at(&mut buffer, at).unwrap();
            buffer
        };
        assert_eq!(Table::decode(&read(0, 34 * SECTOR)), Ok(table.clone()));
        let system = table.first_of(disk::SYSTEM).unwrap();
        assert_eq!(system.bytes(), disk::SYSTEM_BYTES as u64);
        let files = fat::read(&read(system.offset(), disk::SYSTEM_BYTES)).unwrap();
        assert!(files.len() == 1 && files[0].1 == vec![1; 2 << 20]);
        assert_eq!(read(table.first_of(disk::ROOT).unwrap().offset(), 8192), [3; 8192]);
        assert_eq!(read(table.first_of(disk::STATE).unwrap().offset(), 4096), [0; 4096]);
        assert!(matches!(install(&image, &file, 100 << 20), Err(Failure::Unfit { .. })));
    }

    #[test]
    fn an_installation_that_is_cut_short_leaves_no_table_of_what_was_there() {
        let image = image();
        speaks_of_nothing_that_is_not_there(700 << 20, |disk| install(&image, disk, 700 << 20).map(drop));
    }
}
