//! A small image, whole, and every way to break it.

use super::*;
use crate::assemble::{boot_loader_line, system_partition, uki_path};
use crate::pe::tests::stub;
use crate::tree::Tree;
use crate::{cpio, erofs, uki};
use image_formats::boot_line::{BootLine, Seal};
use proptest::prelude::*;
use std::sync::LazyLock;

const INDEX: &str = "m dm_mod dm-mod.ko.xz \nm dm_verity dm-verity.ko.xz dm_mod\nl dm_verity\n";

/// A small image of some release.
pub(crate) fn release(number: u64) -> Vec<u8> {
    release_of(number, Flavour::Dev)
}

/// The same of another flavour.
pub(crate) fn release_of(number: u64, flavour: Flavour) -> Vec<u8> {
    numbered((number, flavour), INDEX, |tree| tree.file("etc/release", number.to_string()), false)
}

/// The same with signed policies.
pub(crate) fn release_with_policies(number: u64) -> Vec<u8> {
    numbered((number, Flavour::Dev), INDEX, |tree| tree.file("etc/release", number.to_string()), true)
}

fn small(index: &str, files: impl FnOnce(&mut Tree)) -> Vec<u8> {
    numbered((7, Flavour::Dev), index, files, false)
}

fn numbered((release, flavour): (u64, Flavour), index: &str, files: impl FnOnce(&mut Tree), policies: bool) -> Vec<u8> {
    let mut tree = Tree::default();
    tree.file("etc/os-release", *b"ID=stele\n");
    tree.file("usr/lib/stele/modules/index", *b"m virtio_net virtio_net.ko.xz \n");
    files(&mut tree);
    assembled(&tree, (release, flavour), index, policies, |_| ())
}

/// `damage`: what happens to root and hashes after they were hashed.
fn assembled(
    tree: &Tree,
    (release, flavour): (u64, Flavour),
    index: &str,
    policies: bool,
    damage: impl FnOnce(&mut Vec<u8>),
) -> Vec<u8> {
    let root = erofs::write(tree, &[1; 16]);
    let hashes = verity::Tree::over(&root).unwrap();
    let mut slot = [root, hashes.bytes].concat();
    damage(&mut slot);
    let line = BootLine {
        flavour,
        root: hashes.root,
        data_blocks: hashes.data_blocks,
        release,
        seal: Seal::IfPossible,
        hsm: None,
    };
    let mut initial = Tree::default();
    initial.file("modules/index", index);
    if flavour == Flavour::Ceremony {
        initial.file(MEMORY_ROOT, slot.clone());
    }
    let initrd = cpio::encode(&initial);
    let text = line.to_string();
    let mut parts = uki::Parts {
        stub: &stub(),
        linux: b"kernel",
        initrd: &initrd,
        line: &text,
        os_release: &boot_loader_line(&stub()).unwrap(),
        policy_key: policies.then_some(uki::tests::KEY),
        policies: None,
    };
    let signed = uki::tests::signed(&uki::measured(&uki::assemble(&parts).unwrap()).unwrap(), &text);
    parts.policies = policies.then_some(&signed);
    let uki = uki::assemble(&parts).unwrap();
    let system = system_partition(&uki, &stub(), release, flavour).unwrap();
    match flavour {
        Flavour::Ceremony => disk::image_in_memory(&system, &hashes.root),
        Flavour::Validator | Flavour::Dev => disk::image(&system, &[], &slot, &hashes.root),
    }
}

#[test]
fn a_ceremonys_root_is_in_its_kernel_image_and_nowhere_else() {
    let mut tree = Tree::default();
    tree.file("etc/os-release", *b"ID=stele\n");
    let of = |flavour, damage: fn(&mut Vec<u8>)| assembled(&tree, (7, flavour), INDEX, false, damage);
    let sound = of(Flavour::Ceremony, |_| ());
    assert_eq!(Table::decode(&sound).unwrap().partitions.len(), 1);
    assert_eq!(verify(&sound, Wanted::default()).unwrap()[0].flavour, "ceremony");
    let damaged = verify(&of(Flavour::Ceremony, |slot| slot[1100] ^= 1), Wanted::default());
    assert!(matches!(damaged, Err(VerifyError::Verity { .. })), "{damaged:?}");
    let emptied = verify(&of(Flavour::Ceremony, Vec::clear), Wanted::default());
    assert!(matches!(emptied, Err(VerifyError::Verity { .. })), "{emptied:?}");
    let no_slot = disk::image_in_memory(&system_of(&of(Flavour::Dev, |_| ())), &[9; 32]);
    assert_eq!(verify(&no_slot, Wanted::default()), Err(VerifyError::Missing("configuration")));
}

/// The system partition of an image.
fn system_of(image: &[u8]) -> Vec<u8> {
    let system = Table::decode(image).unwrap().first_of(disk::SYSTEM).unwrap().clone();
    image[system.offset() as usize..][..system.bytes() as usize].to_vec()
}

static SOUND: LazyLock<Vec<u8>> = LazyLock::new(|| small(INDEX, |_| ()));

#[test]
fn a_sound_image_tells_what_it_is() {
    let entries = verify(&SOUND, Wanted::default()).unwrap();
    assert_eq!((entries.len(), entries[0].release, entries[0].flavour.as_str()), (1, 7, "dev"));
    assert_eq!(entries[0].file, uki_path(7, None));
    assert_eq!(entries[0].modules, ["virtio_net", "dm_verity", "dm_mod"]);
}

#[test]
fn the_state_is_told_with_the_key_that_opens_it() {
    let told = |image: &[u8]| verify(image, Wanted::default()).unwrap().remove(0);
    let (plain, sealed) = (told(&release(7)), told(&release_with_policies(7)));
    assert_eq!((plain.seal.as_str(), plain.policy_key.clone()), ("if-possible", None));
    assert_eq!(sealed.policy_key.map(|key| key.len()), Some(64));
    assert_ne!(plain.pcr11, sealed.pcr11);
}

#[test]
fn another_flavour_and_an_older_release_are_refused() {
    let wanted = Wanted { flavour: Some(Flavour::Validator), release_min: None };
    assert!(matches!(verify(&SOUND, wanted), Err(VerifyError::Unwanted { release: 7, .. })));
    let newer = Wanted { flavour: None, release_min: Some(8) };
    assert!(matches!(verify(&SOUND, newer), Err(VerifyError::Unwanted { release: 7, .. })));
    assert!(verify(&SOUND, Wanted { flavour: Some(Flavour::Dev), release_min: Some(7) }).is_ok());
}

#[test]
fn a_shell_and_a_foreign_module_are_refused() {
    let shell = small(INDEX, |tree| tree.file("usr/bin/sh", *b"x"));
    assert!(matches!(verify(&shell, Wanted::default()), Err(VerifyError::Content(ContentError::Interpreter(_)))));
    let listed = small("m usbnet usbnet.ko.xz \n", |_| ());
    assert!(matches!(verify(&listed, Wanted::default()), Err(VerifyError::Modules(_))));
    let unlisted = small(INDEX, |tree| tree.file("usr/lib/stele/modules/usbnet.ko.xz", *b"x"));
    assert!(matches!(verify(&unlisted, Wanted::default()), Err(VerifyError::Modules(_))));
}

#[test]
fn a_flipped_byte_of_the_root_is_named_by_its_block() {
    let mut bytes = SOUND.clone();
    let table = Table::decode(&bytes).unwrap();
    let slot = table.first_of(disk::ROOT).unwrap().offset() as usize;
    bytes[slot + 4096 + 17] ^= 1;
    let error = verify(&bytes, Wanted::default()).unwrap_err();
    assert!(
        matches!(error, VerifyError::Verity { source: VerityError::Mismatch { level: 0, block: 1 }, .. }),
        "{error}"
    );
}

#[test]
fn truncated_images_are_refused() {
    for length in [0, 100, 512, 1024, 17_408, 1 << 20, SOUND.len() / 2, SOUND.len() - 1] {
        assert!(verify(&SOUND[..length], Wanted::default()).is_err(), "{length}");
    }
}

/// The bytes of a file of the system partition, in the image.
fn place_of(image: &[u8], name: &str) -> std::ops::Range<usize> {
    let system = Table::decode(image).unwrap().first_of(disk::SYSTEM).unwrap().clone();
    let start = system.offset() as usize;
    let files = fat::read(&image[start..start + system.bytes() as usize]).unwrap();
    let bytes = &files.iter().find(|file| file.0 == name).unwrap().1;
    let head = &bytes[..bytes.len().min(64)];
    let found =
        (start..image.len()).step_by(512).find(|at| image[*at..].starts_with(head) && image[*at..].starts_with(bytes));
    let at = found.unwrap();
    at..at + bytes.len()
}

#[test]
fn another_boot_loader_and_other_settings_of_it_are_refused() {
    let digest = entries_of(&SOUND)[0].boot_loader.clone();
    assert_eq!(digest, hex::encode(sign::digest(&stub()).unwrap()));
    // Its checksum, and where a table of certificates would begin that has no bytes, are no part of what is measured.
    let loader = place_of(&SOUND, BOOT_LOADER);
    let (checksum, directory) = crate::pe::Pe::parse(&stub()).unwrap().unhashed();
    let unmeasured = |at: &usize| [checksum, directory].iter().any(|field| (*field..field + 4).contains(at));
    for at in loader.clone().step_by(13).filter(|at| !unmeasured(&(at - loader.start))) {
        let mut bytes = SOUND.clone();
        bytes[at] ^= 1;
        assert!(verify(&bytes, Wanted::default()).is_err(), "byte {}", at - loader.start);
    }
    for at in place_of(&SOUND, LOADER_SETTINGS.0) {
        let mut bytes = SOUND.clone();
        bytes[at] ^= 1;
        assert_eq!(verify(&bytes, Wanted::default()), Err(VerifyError::Settings));
    }
}

fn entries_of(image: &[u8]) -> Vec<Entry> {
    verify(image, Wanted::default()).unwrap()
}

/// Where a flipped bit must be noticed: everywhere but in the free space, the unused copies and fields of the file system of
/// the system partition, and the configuration (which has its own signature).
fn covered() -> Vec<std::ops::Range<usize>> {
    let table = Table::decode(&SOUND).unwrap();
    let slot = table.first_of(disk::ROOT).unwrap();
    let (start, end) = (slot.offset() as usize, (slot.offset() + slot.bytes()) as usize);
    let end_of_disk = SOUND.len();
    vec![512..604, 1024..17_408, start..end, end_of_disk - 33 * 512..end_of_disk - 512 + 92]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_flip_where_it_matters_is_noticed(at: prop::sample::Index, bit in 0_u8..8) {
        let places: Vec<usize> = covered().into_iter().flatten().collect();
        let mut bytes = SOUND.clone();
        bytes[places[at.index(places.len())]] ^= 1 << bit;
        prop_assert!(verify(&bytes, Wanted::default()).is_err());
    }

    #[test]
    fn a_flip_in_a_kernel_image_changes_what_is_told(at: prop::sample::Index, bit in 0_u8..8) {
        let mut bytes = SOUND.clone();
        let uki = place_of(&SOUND, &uki_path(7, None));
        let place = uki.start + at.index(uki.len());
        bytes[place] ^= 1 << bit;
        prop_assert_ne!(verify(&bytes, Wanted::default()), verify(&SOUND, Wanted::default()));
    }
}
