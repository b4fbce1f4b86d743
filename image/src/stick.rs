//! A stick with a release: one partition with the image, signed. A machine that runs takes it when the stick is plugged in.

use crate::failure::Failure;
use crate::update::Target;
use crate::{disk, tables};
use ed25519_dalek::SigningKey;
use image_formats::gpt::{BACKUP_SECTORS, Guid, SECTOR, Table};
use image_formats::release::{HEAD, Head, RELEASE};

/// Where the partition begins.
const START: u64 = 1 << 20;

/// Bytes that a stick needs for an image.
pub fn bytes_for(image: &[u8]) -> u64 {
    let content = (HEAD + image.len()).next_multiple_of(SECTOR) as u64;
    START + content + BACKUP_SECTORS * SECTOR as u64
}

/// Writes a stick of `bytes` bytes. The table comes last: an interrupted stick holds nothing.
pub fn write(image: &[u8], seed: &[u8; 32], stick: &impl Target, bytes: u64) -> Result<(), Failure> {
    let needed = bytes_for(image);
    if bytes < needed {
        let reason = format!("the stick has {bytes} bytes, {needed} are needed");
        return Err(Failure::unfit(reason, "take a larger one"));
    }
    let head =
        Head::sign(image, &SigningKey::from_bytes(seed)).map_err(|error| Failure::content("the image", error))?;
    let mut ids = [[0; 16]; 2];
    for id in &mut ids {
        getrandom::fill(id).map_err(|error| Failure::unfit(error.to_string(), "the system gives no randomness"))?;
    }
    let [disk, id] = ids.map(Guid);
    let length = needed - START - BACKUP_SECTORS * SECTOR as u64;
    let partition = disk::partition(RELEASE, id, START, length, "stele-release");
    let table = Table { disk, sectors: bytes / SECTOR as u64, partitions: vec![partition] };
    let about = || Failure::io("writing the stick");
    let put = |at: u64, content: &[u8]| stick.write(at, content).map_err(about());
    tables::clear(stick, table.sectors).map_err(about())?;
    put(START, &head.encode())?;
    put(START + HEAD as u64, image)?;
    tables::put(stick, &table).map_err(about())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration;
    use crate::tables::tests::speaks_of_nothing_that_is_not_there;
    use image_formats::gpt::PRIMARY_SECTORS;
    use std::os::unix::fs::FileExt;

    #[test]
    fn a_stick_holds_the_release_as_it_was_signed() {
        let image: Vec<u8> = (0..100_000_u32).map(|at| at as u8).collect();
        let stick = tempfile::tempfile().unwrap();
        stick.set_len(8 << 20).unwrap();
        write(&image, &configuration::DEV_SEED, &stick, 8 << 20).unwrap();
        let read = |at: u64, length: usize| {
            let mut bytes = vec![0; length];
            stick.read_exact_at(&mut bytes, at).unwrap();
            bytes
        };
        let table = Table::decode(&read(0, PRIMARY_SECTORS as usize * SECTOR)).unwrap();
        let at = table.first_of(RELEASE).unwrap().offset();
        let head = Head::decode(&read(at, HEAD)).unwrap();
        let image_there = read(at + HEAD as u64, head.length as usize);
        assert_eq!(head.check(&image_there, &configuration::dev_public()), Ok(()));
        assert!(image_there == image);
    }

    #[test]
    fn a_stick_that_is_cut_short_has_no_table_of_what_was_there() {
        let bytes = 8 << 20;
        speaks_of_nothing_that_is_not_there(bytes, |stick| write(&[1; 5000], &configuration::DEV_SEED, stick, bytes));
    }

    #[test]
    fn a_stick_that_is_just_large_enough_is_taken_and_no_smaller_one() {
        let image = vec![1; 5000];
        let stick = tempfile::tempfile().unwrap();
        let bytes = bytes_for(&image);
        write(&image, &configuration::DEV_SEED, &stick, bytes).unwrap();
        assert_eq!(stick.metadata().unwrap().len(), bytes);
        let refused = write(&image, &configuration::DEV_SEED, &stick, bytes - SECTOR as u64);
        assert!(matches!(refused, Err(Failure::Unfit { .. })));
    }
}
