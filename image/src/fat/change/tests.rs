//! Every moment at which power may fail, on a small volume: what is read then is what was there before, or what comes after.

use super::*;
use crate::fat::{File, read, write};
use proptest::prelude::*;

const BYTES: usize = 34 << 20;

fn files() -> Vec<File> {
    vec![
        ("EFI/BOOT/BOOTX64.EFI".into(), vec![1; 5000]),
        ("EFI/Linux/stele-6.efi".into(), vec![6; 9000]),
        ("EFI/Linux/stele-7.efi".into(), (0..7000_u32).map(|n| n as u8).collect()),
        ("loader/loader.conf".into(), b"timeout 0\n".to_vec()),
    ]
}

fn expected(new: &[u8]) -> Vec<File> {
    let mut files = files();
    files.remove(1);
    files.push(("EFI/Linux/stele-8+3.efi".into(), new.to_vec()));
    files.sort();
    files
}

fn steps(volume: &[u8], new: &[u8]) -> Vec<Step> {
    change(volume, "EFI/Linux", |name| name == "stele-6.efi", Some(("stele-8+3.efi", new))).unwrap()
}

fn put(volume: &mut [u8], sector: usize, content: &[u8]) {
    volume[sector * SECTOR..(sector + 1) * SECTOR].copy_from_slice(content);
}

#[test]
fn after_each_sector_the_volume_has_the_old_files_or_the_new() {
    let new = vec![8; 20_000];
    let mut volume = write(&files(), BYTES).unwrap();
    let steps = steps(&volume, &new);
    assert_eq!(steps[2].len(), 1, "the switch is one sector");
    let (mut switched, mut sectors) = (false, 0);
    for (number, step) in steps.iter().enumerate() {
        for (sector, content) in step {
            put(&mut volume, *sector, content);
            sectors += 1;
            switched |= number == 2;
            let wanted = if switched { expected(&new) } else { files() };
            assert_eq!(read(&volume), Ok(wanted), "step {number}, sector {sector}");
        }
    }
    assert!(sectors > 40 && switched);
}

#[test]
fn what_an_interrupted_change_has_taken_is_free_to_the_next() {
    // As long as the volume has room for one such file at a time beside what is there.
    let new = vec![8; 20 << 20];
    let mut volume = write(&files(), BYTES).unwrap();
    for _ in 0..3 {
        for step in &steps(&volume, &new)[..2] {
            step.iter().for_each(|(sector, content)| put(&mut volume, *sector, content));
        }
        assert_eq!(read(&volume), Ok(files()));
    }
    for step in steps(&volume, &new) {
        step.iter().for_each(|(sector, content)| put(&mut volume, *sector, content));
    }
    assert_eq!(read(&volume), Ok(expected(&new)));
    // Both tables are alike, and nothing is taken that is nobody's.
    let open = Volume::open(&volume).unwrap();
    let mut taken = BTreeSet::new();
    walk(&open, 2, "", 0, &mut taken).unwrap();
    assert!((2..open.clusters as u32 + 2).all(|cluster| (open.link(cluster) == Some(0)) != taken.contains(&cluster)));
    assert_eq!(u32_at(&volume, SECTOR + 488), Some((open.clusters - taken.len()) as u32));
    let more = vec![9; 20 << 20];
    let full = change(&volume, "EFI/Linux", |_| false, Some(("stele-9+3.efi", &more)));
    assert!(matches!(full, Err(FatError::Full { .. })));
}

#[test]
fn a_file_of_the_same_name_is_replaced_and_folders_stay() {
    let mut files = files();
    files.push(("EFI/Linux/drivers/a long name of a driver.efi".into(), vec![3; 700]));
    files.sort();
    let mut volume = write(&files, BYTES).unwrap();
    let steps = change(&volume, "EFI/Linux", |_| false, Some(("STELE-7.efi", b"new"))).unwrap();
    for (sector, content) in steps.iter().flatten() {
        put(&mut volume, *sector, content);
    }
    let names: Vec<String> = read(&volume).unwrap().into_iter().map(|file| file.0).collect();
    assert_eq!(names.len(), files.len());
    assert!(
        names.contains(&"EFI/Linux/STELE-7.efi".to_owned()) && names.iter().any(|name| name.contains("long name")),
        "{names:?}"
    );
    assert!(matches!(change(&volume, "EFI/Windows", |_| true, None), Err(FatError::Entry(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// The disk has a cache, and writes the sectors of a step in any order.
    #[test]
    fn within_a_step_any_sectors_may_be_missing(step in 0_usize..4, seed: u64) {
        let new = vec![8; 20_000];
        let mut volume = write(&files(), BYTES).unwrap();
        let steps = steps(&volume, &new);
        steps[..step].iter().flatten().for_each(|(sector, content)| put(&mut volume, *sector, content));
        let mut state = seed | 1;
        for (sector, content) in &steps[step] {
            // xorshift64 (Marsaglia 2003)
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            if state & 1 == 0 {
                put(&mut volume, *sector, content);
            }
        }
        let found = read(&volume).unwrap();
        prop_assert!(found == files() && step < 3 || found == expected(&new) && step >= 2);
    }

    #[test]
    fn damage_is_an_error_or_some_change(at in 0_usize..4096, fat in 0_usize..2048, value: u8, data in 0_usize..20_000) {
        let mut bytes = write(&files(), BYTES).unwrap();
        for at in [at, 32 * SECTOR + fat, bytes.len() - (BYTES - (32 + 2 * 540) * SECTOR) + data] {
            bytes[at] = value;
        }
        let _ = change(&bytes, "EFI/Linux", |_| true, Some(("stele-8+3.efi", &[8; 2000])));
    }
}
