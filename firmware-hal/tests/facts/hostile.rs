//! Files as they must not be: empty, binary, huge, pipes, directories in their place. Nothing panics or waits, and nothing
//! of it is taken for a fact.

use crate::inventory::take;
use crate::tree::Tree;
use firmware_hal::{Inventory, Reading, Root, Why};
use proptest::prelude::*;
use std::fs;

#[test]
fn empty_binary_and_huge_files_are_unknown() {
    let tree = Tree::server();
    tree.put("/sys/class/dmi/id/product_name", "");
    tree.put("/sys/class/dmi/id/sys_vendor", [0xff, 0xfe, 0x00]);
    tree.put("/sys/class/dmi/id/bios_version", "a\0b");
    tree.put("/sys/class/dmi/id/bios_date", vec![b'x'; 2 << 20]);
    tree.put("/sys/devices/system/cpu/smt/active", "2\n");
    tree.put("/sys/devices/system/cpu/online", "0-4294967295\n");
    tree.put("/sys/class/tpm/tpm0/pcr-sha256/11", "not a digest\n");
    tree.put("/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", [6, 0, 0]);
    let machine = take(&tree);
    assert_eq!(machine.identity.product.reading, Reading::Unknown(Why::Malformed));
    assert_eq!(machine.identity.vendor.reading, Reading::Unknown(Why::Malformed));
    assert_eq!(machine.identity.firmware_version.reading, Reading::Unknown(Why::Malformed));
    assert_eq!(machine.identity.firmware_date.reading, Reading::Unknown(Why::TooLarge));
    assert_eq!(machine.cpu.smt.reading, Reading::Unknown(Why::Malformed));
    assert_eq!(machine.cpu.online.reading, Reading::Unknown(Why::Malformed));
    assert_eq!(machine.tpm.pcrs["11"].reading, Reading::Unknown(Why::Malformed));
    assert_eq!(machine.boot.secure_boot.reading, Reading::Unknown(Why::Malformed));
}

#[test]
fn a_pipe_or_a_directory_in_the_place_of_a_file_holds_nobody_up() {
    let tree = Tree::server();
    let pipe = tree.place("/sys/class/dmi/id/product_name");
    fs::remove_file(&pipe).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    tree.remove("/sys/class/dmi/id/sys_vendor");
    fs::create_dir(tree.place("/sys/class/dmi/id/sys_vendor")).unwrap();
    let machine = take(&tree);
    assert_eq!(machine.identity.product.reading, Reading::Unknown(Why::Malformed), "nothing was in it");
    assert_eq!(machine.identity.vendor.reading, Reading::Unknown(Why::Unsupported));
}

#[test]
fn a_directory_with_more_names_than_are_read_is_unknown() {
    let tree = Tree::empty();
    for number in 0..4_200 {
        tree.put(&format!("/sys/class/nvme/nvme{number}/model"), "x\n");
    }
    assert_eq!(Root::at(tree.path()).names("/sys/class/nvme").reading, Reading::Unknown(Why::TooLarge));
    let root = Root::at(tree.path()).remembering();
    let nvme = Inventory::take(&root).nvme;
    assert!(nvme.is_empty() && nvme.gap().is_some_and(|gap| gap.unknown == Why::TooLarge));
    root.record(&tree.place("/recorded")).unwrap();
    let nvme = Inventory::take(&Root::at(tree.place("/recorded"))).nvme;
    assert!(nvme.is_empty() && nvme.gap().is_some(), "what was unknown is not none in the record");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_files_hold_an_inventory_is_taken(content in proptest::collection::vec(any::<u8>(), 0..200), seed in 0usize..1000) {
        let tree = Tree::server();
        let mut files = Vec::new();
        let mut dirs = vec![tree.path().to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() { dirs.push(entry.path()) } else { files.push(entry.path()) }
            }
        }
        files.sort();
        for file in files.iter().skip(seed % 7).step_by(1 + seed % 5) {
            if !file.is_symlink() {
                fs::write(file, &content).unwrap();
            }
        }
        let machine = take(&tree);
        prop_assert_eq!(take(&tree).digest(), machine.digest());
    }
}
