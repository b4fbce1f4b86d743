//! What a tree says is what the inventory has.

use crate::tree::Tree;
use firmware_hal::catalogue::{CATALOGUE, entry, fits};
use firmware_hal::{Inventory, Reading, Root, Why};

pub fn take(tree: &Tree) -> Inventory {
    Inventory::take(&Root::at(tree.path()))
}

#[test]
fn a_server_is_told_fact_by_fact_each_with_its_source() {
    let machine = take(&Tree::server());
    assert_eq!(machine.identity.product.value().unwrap(), "R7525");
    assert_eq!(machine.identity.product.source, "/sys/class/dmi/id/product_name");
    assert_eq!((machine.boot.efi.value(), machine.boot.secure_boot.value()), (Some(&true), Some(&true)));
    assert_eq!(machine.boot.setup_mode.value(), Some(&false));
    assert_eq!(machine.boot.lockdown.value().unwrap(), "integrity");
    assert_eq!(machine.boot.stub.value().unwrap(), "systemd-stub 257");
    assert_eq!(machine.kernel.isolated_cpus.value(), Some(&vec![2, 3]));
    assert_eq!(machine.cpu.features.value().unwrap(), &["avx2", "fpu", "sha_ni", "sse2"]);
    assert_eq!((machine.cpu.smt.value(), machine.cpu.hypervisor.value()), (Some(&true), Some(&false)));
    let cores: Vec<_> =
        machine.cpu.cores.iter().map(|(core, cpus)| (core.as_str(), cpus.value().unwrap().clone())).collect();
    assert_eq!(cores, [("0", vec![0, 2]), ("1", vec![1, 3])]);
    assert_eq!(machine.memory.bytes.value(), Some(&(527_951_264 * 1024)));
    assert_eq!((machine.memory.ecc.value(), machine.memory.swap_bytes.value()), (Some(&true), Some(&0)));
    assert_eq!(machine.memory.hugepages["2048"].value(), Some(&512));
    assert_eq!(machine.memory.transparent_hugepages.value().unwrap(), "madvise");
    assert_eq!(machine.numa["1"].distances.value(), Some(&vec![32, 10]));
    assert_eq!(machine.numa["1"].bytes.value(), Some(&(263_975_632 * 1024)));
    let nvme = &machine.nvme["nvme0"];
    assert_eq!((nvme.model.value().unwrap().as_str(), nvme.numa_node.value()), ("EXAMPLE MZ1L2960", Some(&1)));
    let disk = &machine.disks["nvme0n1"];
    assert_eq!((disk.bytes.value(), disk.scheduler.value().unwrap().as_str()), (Some(&960_197_124_096), "none"));
    assert!(!machine.disks.contains_key("loop0"));
    let nic = &machine.nics["eth0"];
    assert_eq!((nic.speed_mbit.value(), nic.driver.value().unwrap().as_str()), (Some(&100_000), "mlx5_core"));
    assert_eq!((nic.receive_queues.value(), nic.transmit_queues.value()), (Some(&2), Some(&1)));
    assert_eq!(nic.receive_queues_max.value(), Some(&63));
    assert!(!machine.nics.contains_key("lo"), "no device stands behind it");
    assert_eq!(machine.gpus.keys().collect::<Vec<_>>(), ["0000:01:00.0"], "the other one is a network card");
    let gpu = &machine.gpus["0000:01:00.0"];
    assert_eq!((gpu.driver.value().unwrap().as_str(), gpu.ecc.value()), ("nvidia", Some(&true)));
    assert_eq!((gpu.link_width.value(), gpu.link_width_max.value()), (Some(&8), Some(&16)));
    assert_eq!((gpu.link_mtps_max.value(), gpu.memory_bytes.value()), (Some(&32_000), Some(&150_754_820_096)));
    assert_eq!((gpu.uuid.source.as_str(), gpu.name.value().unwrap().as_str()), ("nvmlDeviceGetUUID", "NVIDIA H200"));
    assert_eq!(machine.crypto.keys().collect::<Vec<_>>(), ["0000:17:00.0"]);
    let crypto = &machine.crypto["0000:17:00.0"];
    assert_eq!((crypto.vendor.value().unwrap().as_str(), crypto.numa_node.value()), ("0x177d", Some(&0)));
    assert_eq!(crypto.numa_node.source, "/sys/bus/pci/devices/0000:17:00.0/numa_node");
    assert_eq!((machine.tpm.version.value(), machine.tpm.event_log.value()), (Some(&2), Some(&true)));
    assert_eq!(machine.tpm.pcrs["11"].value().unwrap(), &"ab".repeat(32));
    assert_eq!(machine.watchdogs["watchdog0"].active.value(), Some(&false));
}

#[test]
fn what_is_not_told_is_unknown_and_not_false() {
    let machine = take(&Tree::empty());
    assert_eq!(machine.boot.efi.reading, Reading::Unknown(Why::Absent), "nothing is mounted there");
    assert_eq!(machine.tpm.event_log.reading, Reading::Unknown(Why::Absent));
    assert_eq!(machine.boot.secure_boot.reading, Reading::Unknown(Why::Absent));
    assert_eq!(machine.memory.ecc.reading, Reading::Unknown(Why::Absent));
    assert_eq!(machine.cpu.smt.reading, Reading::Unknown(Why::Absent));
    assert!(machine.nvme.is_empty() && machine.numa.is_empty());

    let tree = Tree::server();
    std::fs::remove_dir_all(tree.place("/sys/firmware")).unwrap();
    tree.remove("/sys/kernel/security/tpm0/binary_bios_measurements");
    std::fs::remove_dir(tree.place("/sys/kernel/security/tpm0")).unwrap();
    tree.put("/sys/firmware/acpi/pm_profile", "4\n");
    let machine = take(&tree);
    assert_eq!(machine.boot.efi.value(), Some(&false), "a machine without the directory was not started by UEFI");
    assert_eq!(machine.tpm.event_log.value(), Some(&false));
    // Hidden by an empty directory, as containers do, or not mounted.
    std::fs::remove_dir_all(tree.place("/sys/firmware/acpi")).unwrap();
    tree.remove("/sys/kernel/security/lockdown");
    let machine = take(&tree);
    assert_eq!(machine.boot.efi.reading, Reading::Unknown(Why::Absent));
    assert_eq!(machine.tpm.event_log.reading, Reading::Unknown(Why::Absent));

    let tree = Tree::server();
    tree.put("/sys/class/net/eth0/speed", "-1\n");
    tree.put("/sys/class/net/eth0/device/numa_node", "-1\n");
    let machine = take(&tree);
    assert_eq!(machine.nics["eth0"].speed_mbit.reading, Reading::Unknown(Why::Unsupported));
    assert_eq!(machine.nics["eth0"].numa_node.reading, Reading::Unknown(Why::Unsupported));
}

/// Without the library, or with another maker's card, it is not known whether there is ECC; that is not to have none.
#[test]
fn what_no_library_tells_of_a_card_is_unknown() {
    let of = |tree: &Tree| take(tree).gpus["0000:01:00.0"].ecc.reading.clone();
    let tree = Tree::server();
    tree.put("/nvml/0000:01:00.0", "nonsense");
    assert_eq!(of(&tree), Reading::Unknown(Why::Malformed));
    tree.remove("/nvml/0000:01:00.0");
    assert_eq!(of(&tree), Reading::Unknown(Why::Absent));
    tree.put("/sys/bus/pci/devices/0000:01:00.0/vendor", "0x1002\n");
    tree.put("/nvml/0000:01:00.0", crate::tree::CARD);
    assert_eq!(of(&tree), Reading::Unknown(Why::Unsupported));
    let tree = Tree::server();
    let asked = Root::at(tree.path()).with_nvml("/nonexistent/libnvidia-ml.so.1");
    assert_eq!(Inventory::take(&asked).gpus["0000:01:00.0"].ecc.reading, Reading::Unknown(Why::Absent));
}

#[test]
fn the_digest_stands_for_every_fact() {
    let tree = Tree::server();
    let before = take(&tree).digest();
    assert_eq!(take(&tree).digest(), before);
    tree.put("/sys/class/nvme/nvme0/firmware_rev", "GDC8\n");
    assert_ne!(take(&tree).digest(), before);
    tree.remove("/sys/class/nvme/nvme0/firmware_rev");
    assert_ne!(take(&tree).digest(), before);
}

#[test]
fn what_was_recorded_tells_the_same() {
    let tree = Tree::server();
    let root = Root::at(tree.path()).remembering();
    let machine = Inventory::take(&root);
    let dir = tree.path().join("recorded");
    assert!(root.record(&dir).unwrap() > 60);
    assert_eq!(Inventory::take(&Root::at(&dir)), machine);
    assert!(root.record(&dir).is_err(), "what is there is not written over");
}

#[test]
fn what_could_not_be_listed_is_unknown_in_the_record_too() {
    let tree = Tree::server();
    tree.hide("/sys/class/nvme");
    let root = Root::at(tree.path()).remembering();
    let machine = Inventory::take(&root);
    assert_eq!(machine.nvme.gap().unwrap().source, "/sys/class/nvme");
    let dir = tree.path().join("recorded");
    root.record(&dir).unwrap();
    assert_eq!(Inventory::take(&Root::at(&dir)), machine);
}

#[test]
fn kinds_of_devices_that_a_kernel_does_not_know_are_none() {
    let tree = Tree::server();
    let root = Root::at(tree.path()).remembering();
    std::fs::remove_dir_all(tree.place("/sys/class/watchdog")).unwrap();
    std::fs::remove_dir_all(tree.place("/sys/bus")).unwrap();
    let machine = Inventory::take(&root);
    assert!(machine.watchdogs.is_empty() && machine.watchdogs.gap().is_none());
    assert!(machine.gpus.is_empty() && machine.gpus.gap().is_none());
    let dir = tree.path().join("recorded");
    root.record(&dir).unwrap();
    assert_eq!(Inventory::take(&Root::at(&dir)), machine);
}

#[test]
fn this_machine_can_be_recorded_too() {
    let dir = Tree::empty();
    let root = Root::system().remembering();
    let machine = Inventory::take(&root);
    assert!(machine.cpu.online.value().is_some_and(|cpus| !cpus.is_empty()));
    assert!(machine.memory.bytes.value().is_some_and(|bytes| *bytes > 0));
    let dir = dir.path().join("recorded");
    root.record(&dir).unwrap();
    let again = Inventory::take(&Root::at(&dir));
    assert_eq!((again.cpu, again.memory, again.numa), (machine.cpu, machine.memory, machine.numa));
}

#[test]
fn every_fact_is_in_the_catalogue_once_and_every_entry_is_a_fact() {
    let machine = take(&Tree::server());
    let names: Vec<String> = machine.named().into_iter().map(|fact| fact.name).collect();
    for name in &names {
        let entries: Vec<_> = CATALOGUE.iter().filter(|entry| fits(entry.name, name)).map(|entry| entry.name).collect();
        assert_eq!(entries.len(), 1, "{name}: {entries:?}");
    }
    for entry in CATALOGUE {
        assert!(names.iter().any(|name| fits(entry.name, name)), "{} is no fact of a server", entry.name);
    }
    for fact in machine.named() {
        let kind = entry(&fact.name).unwrap().kind;
        assert!(fact.value().is_none_or(|value| kind.has(value)), "{} is {kind}: {fact}", fact.name);
    }
    assert_eq!(entry("gpus.0000:01:00.0.driver").unwrap().name, "gpus.*.driver");
    assert_eq!(entry("cpu.colour"), None);
}

#[test]
fn an_inventory_survives_json() {
    let machine = take(&Tree::server());
    let text = serde_json::to_string(&machine).unwrap();
    assert_eq!(serde_json::from_str::<Inventory>(&text).unwrap(), machine);
    assert!(text.contains(r#""secure_boot":{"source":"/sys/firmware/efi/efivars/SecureBoot-"#), "{text}");
    let bare = serde_json::to_string(&take(&Tree::empty())).unwrap();
    assert!(bare.contains(r#""unknown":"absent""#), "{bare}");
}
