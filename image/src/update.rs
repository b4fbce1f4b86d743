//! A new release onto a disk that has one: its root into the slot that is not in use, its kernel image beside the old one
//! with a number of attempts. The boot loader takes it as long as attempts are left; init blesses it when the node works.
//!
//! Order: the slot loses its name, is written and synced, gets the new name; the system partition comes last. Whatever
//! interrupts this before leaves the old release as it was; the system partition is written in one go, and must not be
//! interrupted.

use crate::assemble::uki_path;
use crate::disk;
use crate::failure::Failure;
use crate::fat;
use crate::uki::Uki;
use crate::verify::{self, Wanted};
use image_formats::boot_line::{Flavour, partition_of};
use image_formats::gpt::{BACKUP_SECTORS, Guid, PRIMARY_SECTORS, Partition, SECTOR, Table};
use std::fs::File;
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

/// Writes the release of an image to a disk. `attempts`: how often it may fail to boot.
pub fn update(disk: &File, image: &[u8], attempts: u8) -> Result<Updated, Failure> {
    let of_image = |error: &dyn std::fmt::Display| Failure::content("the image", error);
    let of_disk = |error: &dyn std::fmt::Display| Failure::content("the disk", error);
    let read = |at: u64, length: u64| -> Result<Vec<u8>, Failure> {
        let mut bytes = vec![0; length as usize];
        disk.read_exact_at(&mut bytes, at).map_err(Failure::io("reading the disk"))?;
        Ok(bytes)
    };
    let write = |at: u64, bytes: &[u8]| -> Result<(), Failure> {
        let done = disk.write_all_at(bytes, at).and_then(|()| disk.sync_all());
        done.map_err(Failure::io("writing the disk"))
    };
    let mut table = Table::decode(&read(0, PRIMARY_SECTORS * SECTOR as u64)?).map_err(|error| of_disk(&error))?;
    let system = table.first_of(disk::SYSTEM).ok_or_else(|| of_disk(&"it has no system partition"))?.clone();
    let mut files = fat::read(&read(system.offset(), system.bytes())?).map_err(|error| of_disk(&error))?;
    let (old, flavour, used, policy_key) = newest(&files).ok_or_else(|| of_disk(&"it has no release"))?;
    let wanted = Wanted { flavour: Some(flavour), release_min: Some(old + 1) };
    let entry = verify::verify(image, wanted).map_err(|error| of_image(&error))?.remove(0);
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
    let slot = table.partitions[place].offset();
    write_table(&mut table, place, disk::vacant(), &write)?;
    let start = source.offset() as usize;
    write(slot, &image[start..start + source.bytes() as usize])?;
    write_table(&mut table, place, partition_of(&root), &write)?;
    // Kernel images whose root is gone would only fail.
    files.retain(|(path, bytes)| {
        !path.starts_with("EFI/Linux/") || Uki::parse(bytes).is_ok_and(|uki| partition_of(&uki.line.root) == used)
    });
    files.push((uki_path(entry.release, Some(attempts)), uki));
    let volume = fat::write(&files, system.bytes() as usize).map_err(|error| of_disk(&error))?;
    write(system.offset(), &volume)?;
    Ok(Updated { from: old, to: entry.release, strands_the_state })
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
mod tests {
    use super::*;
    use crate::install;
    use crate::verify::tests::{release, release_with_policies};
    use image_formats::verity;

    fn disk_with(release_number: u64) -> File {
        disk_of(&release(release_number))
    }

    fn disk_of(image: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.set_len(700 << 20).unwrap();
        install::install(image, &mut file, 700 << 20).unwrap();
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
