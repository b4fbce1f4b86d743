//! An image onto a disk: the partitions of the image at their places, and the table of the whole disk with the second slot and
//! the state. Older tables go first and are gone before anything else is written, that at the end of the disk too, which
//! firmware and systems take where there is none at the start. The new one comes last, so that an interrupted installation
//! leaves a disk that does not boot rather than half a system.

use crate::failure::Failure;
use crate::update::Target;
use crate::{disk, tables};
use image_formats::gpt::{Guid, Table};

/// Writes an image to a disk of `bytes` bytes.
pub fn install(image: &[u8], disk: &impl Target, bytes: u64) -> Result<Table, Failure> {
    let from = Table::decode(image).map_err(|error| Failure::content("the image", error))?;
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| Failure::unfit(error.to_string(), "the system gives no randomness"))?;
    let table =
        disk::spread(&from, bytes, Guid(id)).map_err(|error| Failure::unfit(error.to_string(), error.help()))?;
    let about = || Failure::io("writing the disk");
    let put = |at: u64, content: &[u8]| disk.write(at, content).map_err(about());
    tables::clear(disk, table.sectors).map_err(about())?;
    for partition in &from.partitions {
        let start = usize::try_from(partition.offset()).unwrap_or(usize::MAX);
        let content = image.get(start..start.saturating_add(partition.bytes() as usize));
        put(partition.offset(), content.ok_or_else(|| Failure::content("the image", "it is cut off"))?)?;
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

    #[test]
    fn a_disk_holds_the_image_and_a_blank_state() {
        let image = disk::image(&[1; 1 << 20], &[2; 3], &[3; 8192], &[9; 32]);
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
        assert_eq!(read(table.first_of(disk::ROOT).unwrap().offset(), 8192), [3; 8192]);
        assert_eq!(read(table.first_of(disk::STATE).unwrap().offset(), 4096), [0; 4096]);
        assert!(matches!(install(&image, &file, 100 << 20), Err(Failure::Unfit { .. })));
    }

    #[test]
    fn an_installation_that_is_cut_short_leaves_no_table_of_what_was_there() {
        let image = disk::image(&[1; 1 << 20], &[2; 3], &[3; 8192], &[9; 32]);
        speaks_of_nothing_that_is_not_there(700 << 20, |disk| install(&image, disk, 700 << 20).map(drop));
    }
}
