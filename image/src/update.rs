//! A new release onto a disk that has one: its root into the slot that is not in use, its kernel image beside the old one
//! with a number of attempts. The boot loader takes it as long as attempts are left; init blesses it when the node works.
//!
//! Order: kernel images that the slot has a root for go from the system partition, the slot loses its name, is written and
//! gets the new name, the new kernel image comes into the system partition. Each is on the disk before the next begins, and
//! the system partition is changed by one sector at a time that counts (`fat::change`): whatever interrupts this, the release
//! that is there starts as before, and the update can be done again.

use crate::assemble::uki_path;
use crate::disk;
use crate::failure::Failure;
use crate::fat;
use crate::uki::Uki;
use crate::verify::{self, Wanted};
use image_formats::boot_line::{Flavour, partition_of};
use image_formats::gpt::{BACKUP_SECTORS, Guid, PRIMARY_SECTORS, Partition, SECTOR, Table};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use tpm::authorised::PolicyKey;

/// What an update did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Updated {
    /// The release that was there, and stays.
    pub from: u64,
    /// The new one, on trial.
    pub to: u64,
    /// Whether a state that was sealed under the one does not open under the other: it lacks the policy key, or has another.
    pub strands_the_state: bool,
}

/// What to do with a disk on which there is no release to follow.
const NOT_OURS: &str = "see that it is the right disk; what `image flash` has not written is flashed, and not updated";

/// Where kernel images are.
const KERNELS: &str = "EFI/Linux";

/// What is written to: a disk, or its image in a file.
pub trait Target {
    /// Reads all of `bytes` from an offset on.
    fn read(&self, at: u64, bytes: &mut [u8]) -> io::Result<()>;
    /// Writes, without waiting for the disk.
    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Waits until all that was written is on the disk.
    fn sync(&self) -> io::Result<()>;
}

impl Target for File {
    fn read(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(bytes, at)
    }

    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_all()
    }
}

/// Writes the release of an image to a disk. `attempts`: how often it may fail to boot.
pub fn update(disk: &impl Target, image: &[u8], attempts: u8) -> Result<Updated, Failure> {
    let of_image = |error: &dyn std::fmt::Display| Failure::content("the image", error);
    let of_disk = |error: &dyn std::fmt::Display| Failure::unfit(format!("the disk: {error}"), NOT_OURS);
    let read = |at: u64, length: u64| -> Result<Vec<u8>, Failure> {
        let mut bytes = vec![0; length as usize];
        disk.read(at, &mut bytes).map_err(Failure::io("reading the disk"))?;
        Ok(bytes)
    };
    let write = |at: u64, bytes: &[u8]| -> Result<(), Failure> {
        let done = disk.write(at, bytes).and_then(|()| disk.sync());
        done.map_err(Failure::io("writing the disk"))
    };
    let mut table = Table::decode(&read(0, PRIMARY_SECTORS * SECTOR as u64)?).map_err(|error| of_disk(&error))?;
    let system = table.first_of(disk::SYSTEM).ok_or_else(|| of_disk(&"it has no system partition"))?.clone();
    let files = fat::read(&read(system.offset(), system.bytes())?).map_err(|error| of_disk(&error))?;
    let (old, flavour, used, policy_key) = newest(&files).ok_or_else(|| of_disk(&"it has no release"))?;
    let wanted = Wanted { flavour: Some(flavour), release_min: Some(old + 1) };
    let entry = verify::verify(image, wanted);
    let entry = entry.map_err(|error| Failure::unfit(format!("the image: {error}"), error.help()))?.remove(0);
    let from = Table::decode(image).map_err(|error| of_image(&error))?;
    let uki = file_of(image, &from, &entry.file).ok_or_else(|| of_image(&"it has no kernel image"))?;
    let new = Uki::parse(&uki).map_err(|error| of_image(&error))?;
    let (root, strands_the_state) = (new.line.root, policy_key.is_some() && policy_key != new.policy_key);
    let source = from.partitions.iter().find(|part| part.kind == disk::ROOT && part.id == partition_of(&root));
    let source = source.ok_or_else(|| of_image(&"it has no root"))?;
    let place = table.partitions.iter().position(|part| part.kind == disk::ROOT && part.id != used);
    let place = place.ok_or_else(|| of_disk(&"it has no second slot: it was not written with `image flash`"))?;
    if source.bytes() > table.partitions[place].bytes() {
        return Err(of_image(&"its root is longer than a slot"));
    }
    // Kernel images whose root is gone would only fail.
    let stale: Vec<&str> = files
        .iter()
        .filter(|(_, bytes)| !Uki::parse(bytes).is_ok_and(|uki| partition_of(&uki.line.root) == used))
        .filter_map(|(path, _)| path.strip_prefix(KERNELS)?.strip_prefix('/'))
        .collect();
    let change = |add: Option<(&str, &[u8])>| -> Result<(), Failure> {
        let volume = read(system.offset(), system.bytes())?;
        let goes = |name: &str| add.is_none() && stale.contains(&name);
        for step in fat::change(&volume, KERNELS, goes, add).map_err(|error| of_disk(&error))? {
            write_sectors(disk, system.offset(), &step).map_err(Failure::io("writing the disk"))?;
        }
        Ok(())
    };
    if !stale.is_empty() {
        change(None)?;
    }
    let slot = table.partitions[place].offset();
    write_table(&mut table, place, disk::vacant(), &write)?;
    let start = source.offset() as usize;
    write(slot, &image[start..start + source.bytes() as usize])?;
    write_table(&mut table, place, partition_of(&root), &write)?;
    let path = uki_path(entry.release, Some(attempts));
    change(Some((path.rsplit('/').next().unwrap_or(&path), &uki)))?;
    Ok(Updated { from: old, to: entry.release, strands_the_state })
}

/// One step of a change, to its end.
fn write_sectors(disk: &impl Target, partition: u64, step: &fat::Step) -> io::Result<()> {
    let mut sectors = step.iter().peekable();
    while let Some((first, content)) = sectors.next() {
        let (mut run, mut next) = (content.clone(), first + 1);
        while let Some((_, content)) = sectors.next_if(|(sector, _)| **sector == next) {
            run.extend(content);
            next += 1;
        }
        disk.write(partition + (first * SECTOR) as u64, &run)?;
    }
    disk.sync()
}

/// The newest release that is not on trial, its flavour, its slot, and its policy key.
fn newest(files: &[fat::File]) -> Option<(u64, Flavour, Guid, Option<PolicyKey>)> {
    let blessed = files.iter().filter(|(path, _)| path.starts_with("EFI/Linux/") && !path.contains('+'));
    let newest = blessed.filter_map(|(_, bytes)| Uki::parse(bytes).ok()).max_by_key(|uki| uki.line.release)?;
    Some((newest.line.release, newest.line.flavour, newest.line.partition(), newest.policy_key))
}

fn file_of(image: &[u8], table: &Table, path: &str) -> Option<Vec<u8>> {
    let system: &Partition = table.first_of(disk::SYSTEM)?;
    let start = system.offset() as usize;
    let files = fat::read(image.get(start..start + system.bytes() as usize)?).ok()?;
    files.into_iter().find(|file| file.0 == path).map(|file| file.1)
}

fn write_table(
    table: &mut Table,
    place: usize,
    id: Guid,
    write: &impl Fn(u64, &[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    table.partitions[place].id = id;
    write((table.sectors - BACKUP_SECTORS) * SECTOR as u64, &table.encode_backup())?;
    write(0, &table.encode_primary())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::install;
    use crate::verify::tests::{release, release_of, release_with_policies};
    use image_formats::verity;
    use std::cell::RefCell;

    fn disk_with(release_number: u64) -> File {
        disk_of(&release(release_number))
    }

    fn disk_of(image: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(700 << 20).unwrap();
        install::install(image, &file, 700 << 20).unwrap();
        file
    }

    fn entries(disk: &File) -> Vec<(String, u64)> {
        let read = |at: u64, length: u64| {
            let mut bytes = vec![0; length as usize];
            disk.read_exact_at(&mut bytes, at).unwrap();
            bytes
        };
        let table = Table::decode(&read(0, 34 * 512)).unwrap();
        let system = table.first_of(disk::SYSTEM).unwrap();
        let files = fat::read(&read(system.offset(), system.bytes())).unwrap();
        let kernels = files.iter().filter(|file| file.0.starts_with("EFI/Linux/"));
        let entry = |(path, bytes): &fat::File| {
            let line = Uki::parse(bytes).unwrap().line;
            let slot = table.partitions.iter().find(|part| part.id == line.partition()).unwrap();
            let root = read(slot.offset(), line.data_blocks * 4096 + 16_384);
            verity::check(&root, line.data_blocks, &line.root).unwrap();
            (path.clone(), line.release)
        };
        kernels.map(entry).collect()
    }

    #[test]
    fn both_releases_are_whole_and_the_new_one_is_on_trial() {
        let disk = disk_with(7);
        assert_eq!(update(&disk, &release(8), 3).unwrap(), Updated { from: 7, to: 8, strands_the_state: false });
        let trial = ("EFI/Linux/stele-8+3.efi".to_owned(), 8);
        assert_eq!(entries(&disk), [("EFI/Linux/stele-7.efi".to_owned(), 7), trial]);
        // Another one takes the place of the one that was never blessed.
        update(&disk, &release(9), 2).unwrap();
        assert_eq!(entries(&disk)[1].1, 9);
    }

    /// The key may come, and stay; that it goes is told.
    #[test]
    fn a_release_to_which_a_sealed_state_stays_shut_is_told() {
        for (from, to, told) in [
            (release(7), release_with_policies(8), false),
            (release_with_policies(7), release_with_policies(8), false),
            (release_with_policies(7), release(8), true),
        ] {
            assert_eq!(update(&disk_of(&from), &to, 3).unwrap().strands_the_state, told);
        }
    }

    /// A disk that remembers in which order it was written.
    pub(crate) struct Recorded {
        pub(crate) disk: File,
        pub(crate) writes: RefCell<Vec<(u64, Vec<u8>)>>,
        /// After how many writes it waited for the disk.
        pub(crate) synced: RefCell<Vec<usize>>,
    }

    impl Recorded {
        pub(crate) fn new(disk: File) -> Self {
            Self { disk, writes: RefCell::default(), synced: RefCell::default() }
        }
    }

    impl Target for Recorded {
        fn read(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
            Target::read(&self.disk, at, bytes)
        }

        fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
            self.writes.borrow_mut().push((at, bytes.to_vec()));
            Target::write(&self.disk, at, bytes)
        }

        fn sync(&self) -> io::Result<()> {
            self.synced.borrow_mut().push(self.writes.borrow().len());
            Ok(())
        }
    }

    /// Over a release on trial that never got well. `entries` checks that each kernel image has its root, whole.
    #[test]
    fn power_may_fail_after_each_write_and_the_update_be_done_again() {
        let before = disk_with(7);
        update(&before, &release(8), 3).unwrap();
        let recorded = Recorded::new(disk_with(7));
        update(&recorded.disk, &release(8), 3).unwrap();
        update(&recorded, &release(9), 3).unwrap();
        let writes = recorded.writes.into_inner();
        assert!(writes.len() > 10);
        let mut seen = Vec::new();
        for (number, (at, bytes)) in writes.iter().enumerate() {
            before.write_all_at(bytes, *at).unwrap();
            // Of the two copies of the table one may be written and the other not: the first counts.
            let found = entries(&before);
            assert_eq!(found[0].1, 7, "write {number}");
            let releases: Vec<u64> = found.into_iter().map(|entry| entry.1).collect();
            if seen.last() != Some(&releases) {
                seen.push(releases);
            }
        }
        assert_eq!(seen, [vec![7, 8], vec![7], vec![7, 9]]);
        // Half-way through, once more.
        let half = disk_with(7);
        writes[..writes.len() / 2].iter().for_each(|(at, bytes)| half.write_all_at(bytes, *at).unwrap());
        update(&half, &release(9), 3).unwrap();
        assert_eq!(entries(&half)[1].1, 9);
    }

    #[test]
    fn cut_images_and_those_of_another_flavour_are_refused_and_change_nothing() {
        let disk = disk_with(7);
        let before = entries(&disk);
        let whole = release(8);
        for length in [0, 100, 512, 17_408, whole.len() / 2, whole.len() - 1] {
            assert!(update(&disk, &whole[..length], 3).is_err(), "{length} bytes");
        }
        let refused = update(&disk, &release_of(8, Flavour::Validator), 3).unwrap_err().to_string();
        assert!(refused.contains("release 8 of validator, dev from release 8 on was asked for"), "{refused}");
        assert_eq!(entries(&disk), before);
    }

    #[test]
    fn older_and_equal_releases_are_refused_and_change_nothing() {
        let disk = disk_with(7);
        let before = entries(&disk);
        for number in [6, 7] {
            assert!(update(&disk, &release(number), 3).unwrap_err().to_string().contains("from release 8 on"));
        }
        assert_eq!(entries(&disk), before);
    }
}
