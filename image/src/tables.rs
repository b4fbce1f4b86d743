//! The partition tables of a disk that is written anew: what it had goes before anything else is written, what it gets comes
//! after all else. At no time a table speaks of content that is not there.
//!
//! A table has a copy at the end of the disk, which firmware and systems take where they find none at the start.

use crate::update::Target;
use image_formats::gpt::{BACKUP_SECTORS, PRIMARY_SECTORS, SECTOR, Table};
use std::io;

/// Takes away what a disk of so many sectors has. The copy goes first: until the table goes, the disk is as it was.
pub fn clear(disk: &impl Target, sectors: u64) -> io::Result<()> {
    for (first, count) in [(sectors.saturating_sub(BACKUP_SECTORS), BACKUP_SECTORS), (0, PRIMARY_SECTORS)] {
        disk.write(first * SECTOR as u64, &vec![0; count as usize * SECTOR])?;
        disk.sync()?;
    }
    Ok(())
}

/// Writes a table, after all that it speaks of is on the disk.
pub fn put(disk: &impl Target, table: &Table) -> io::Result<()> {
    disk.sync()?;
    disk.write((table.sectors - BACKUP_SECTORS) * SECTOR as u64, &table.encode_backup())?;
    disk.sync()?;
    disk.write(0, &table.encode_primary())?;
    disk.sync()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::failure::Failure;
    use crate::update::tests::Recorded;
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    /// Both copies, where there are such.
    fn tables(disk: &File, sectors: u64) -> Vec<Table> {
        let read = |first: u64, count: u64| {
            let mut bytes = vec![0; count as usize * SECTOR];
            disk.read_exact_at(&mut bytes, first * SECTOR as u64).unwrap();
            bytes
        };
        let backup = Table::decode_backup(&read(sectors - BACKUP_SECTORS, BACKUP_SECTORS), sectors);
        [Table::decode(&read(0, PRIMARY_SECTORS)), backup].into_iter().flatten().collect()
    }

    /// Writes a disk twice, and the second time looks at what it would be had that been cut short after each write.
    pub(crate) fn speaks_of_nothing_that_is_not_there(bytes: u64, write: impl Fn(&Recorded) -> Result<(), Failure>) {
        let sectors = bytes / SECTOR as u64;
        let empty = || {
            let disk = tempfile::tempfile().unwrap();
            disk.set_len(bytes).unwrap();
            Recorded::new(disk)
        };
        let (used, recorded) = (empty(), empty());
        write(&used).unwrap();
        write(&recorded).unwrap();
        let (new, old) = (tables(&recorded.disk, sectors), tables(&used.disk, sectors));
        assert!(old.len() == 2 && new.len() == 2 && old != new);
        let (writes, synced) = (recorded.writes.into_inner(), recorded.synced.into_inner());
        let is_content =
            |(at, _): &(u64, Vec<u8>)| (PRIMARY_SECTORS..sectors - BACKUP_SECTORS).contains(&(at / SECTOR as u64));
        let first = writes.iter().position(is_content).unwrap();
        let last = writes.iter().rposition(is_content).unwrap();
        for (number, (at, written)) in writes.iter().enumerate() {
            used.disk.write_all_at(written, *at).unwrap();
            for found in tables(&used.disk, sectors) {
                let fits = if old.contains(&found) { number < first } else { number > last };
                assert!(fits, "after write {number} of {}, content is {first}..={last}", writes.len());
            }
        }
        // A disk is free to write in another order what lies between two of these.
        assert!(synced.contains(&first) && synced.contains(&(last + 1)), "{synced:?}");
        assert_eq!(synced.last(), Some(&writes.len()));
    }
}
