//! NVIDIA's cards, where the image has their driver: the device files that its libraries open, which elsewhere a program that
//! runs as root makes for everybody. Here the node alone has them.
//!
//! A machine without a card, or with one whose driver does not load, goes on: whether the node then starts is its own
//! configuration's matter (`verify.gpu`), and what happened is told.

use crate::configuration::NODE_USER;
use crate::{Fault, say};
use std::ffi::CString;
use std::io;
use std::path::Path;

/// Where the driver tells of itself (`kernel-open/nvidia/nv-procfs.c`).
const DRIVER: &str = "/proc/driver/nvidia";
/// Its major number, assigned (`Documentation/admin-guide/devices.txt`: 195 char), and the control device's minor.
const MAJOR: u32 = 195;
const CONTROL: u32 = 255;
/// PCI's number of the vendor.
const VENDOR: &str = "0x10de";
/// PCI classes of displays, which a card without an output has as well: 0x0300 and 0x0302.
const DISPLAY: &str = "0x03";

/// Makes the device files of the cards that the driver has taken, and tells what there is.
pub fn offer(modules: &Path) -> Result<(), Fault> {
    if !modules.join("nvidia.ko").exists() {
        return Ok(());
    }
    let cards = cards(Path::new("/sys/bus/pci/devices"));
    let Ok(version) = std::fs::read_to_string(format!("{DRIVER}/version")) else {
        let reason = if cards == 0 { "no card of NVIDIA's" } else { "the driver of NVIDIA's cards is not loaded" };
        say(format_args!("{reason}: the processor verifies, where verify.gpu of the node allows that"));
        return Ok(());
    };
    let minors = minors(Path::new(&format!("{DRIVER}/gpus")));
    make("nvidiactl", MAJOR, CONTROL)?;
    for minor in &minors {
        make(&format!("nvidia{minor}"), MAJOR, *minor)?;
    }
    let devices = std::fs::read_to_string("/proc/devices").map_err(Fault::system("reading /proc/devices"))?;
    if let Some(major) = major_of(&devices, "nvidia-uvm") {
        make("nvidia-uvm", major, 0)?;
    }
    let version = version_in(&version).unwrap_or("of an unknown version");
    say(format_args!("NVIDIA's driver {version} has {} of {cards} cards", minors.len()));
    Ok(())
}

/// How many cards are in the machine.
fn cards(devices: &Path) -> usize {
    let entries = std::fs::read_dir(devices).into_iter().flatten().flatten();
    let has = |device: &Path, file: &str, start: &str| {
        std::fs::read_to_string(device.join(file)).is_ok_and(|text| text.starts_with(start))
    };
    entries.filter(|entry| has(&entry.path(), "vendor", VENDOR) && has(&entry.path(), "class", DISPLAY)).count()
}

/// The minor numbers of the cards that the driver has taken: `Device Minor: 0` in each one's `information`.
fn minors(cards: &Path) -> Vec<u32> {
    let entries = std::fs::read_dir(cards).into_iter().flatten().flatten();
    let minor = |path: &Path| {
        let text = std::fs::read_to_string(path.join("information")).ok()?;
        text.lines().find_map(|line| line.strip_prefix("Device Minor:")?.trim().parse().ok())
    };
    let mut minors: Vec<u32> = entries.filter_map(|entry| minor(&entry.path())).collect();
    minors.sort_unstable();
    minors
}

/// The major number of a driver in `/proc/devices`: ` 508 nvidia-uvm`.
fn major_of(devices: &str, name: &str) -> Option<u32> {
    devices.lines().find_map(|line| line.trim().strip_suffix(name)?.strip_suffix(' ')?.parse().ok())
}

/// The first number of the form 550.163.01 in what the driver says of itself.
fn version_in(text: &str) -> Option<&str> {
    let number = |word: &&str| word.contains('.') && word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.split_ascii_whitespace().find(number)
}

/// A character device for the node's user and nobody else. One that the kernel has made itself is given over.
fn make(name: &str, major: u32, minor: u32) -> Result<(), Fault> {
    let path = format!("/dev/{name}");
    let text = CString::new(&path[..]).expect("names have no zero byte");
    let (mode, device) = (libc::S_IFCHR | 0o660, libc::makedev(major, minor));
    // SAFETY: the pointer is to a string that lives through the call.
    let done = unsafe { libc::mknod(text.as_ptr(), mode, device) };
    let error = io::Error::last_os_error();
    if done != 0 && error.kind() != io::ErrorKind::AlreadyExists {
        return Err(Fault::system(format!("making {path}"))(error));
    }
    let given = std::os::unix::fs::chown(&path, Some(0), Some(NODE_USER)).and_then(|()| {
        // Whatever the process's mask has taken away.
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o660))
    });
    given.map_err(Fault::system(format!("giving {path} away")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_told_by_vendor_and_class() {
        let folder = tempfile::tempdir().unwrap();
        for (name, vendor, class) in [
            ("card", "0x10de\n", "0x030200\n"),
            ("sound", "0x10de\n", "0x040300\n"),
            ("bridge", "0x10de\n", "0x068000\n"),
            ("other", "0x1234\n", "0x030000\n"),
        ] {
            let device = folder.path().join(name);
            std::fs::create_dir(&device).unwrap();
            std::fs::write(device.join("vendor"), vendor).unwrap();
            std::fs::write(device.join("class"), class).unwrap();
        }
        assert_eq!(cards(folder.path()), 1);
        assert_eq!(cards(&folder.path().join("absent")), 0);
    }

    #[test]
    fn numbers_of_devices_are_read_from_what_the_driver_tells() {
        let folder = tempfile::tempdir().unwrap();
        for (card, minor) in [("0000:02:00.0", "1"), ("0000:01:00.0", "0")] {
            let card = folder.path().join(card);
            std::fs::create_dir(&card).unwrap();
            let text = format!("Model: \t\t Some\nIRQ:   \t\t 1\nDevice Minor: \t {minor}\nGPU Excluded:\t No\n");
            std::fs::write(card.join("information"), text).unwrap();
        }
        assert_eq!(minors(folder.path()), [0, 1]);
        let devices = "Character devices:\n  1 mem\n195 nvidia\n508 nvidia-uvm\n\nBlock devices:\n  7 loop\n";
        assert_eq!(major_of(devices, "nvidia-uvm"), Some(508));
        assert_eq!(major_of(devices, "uvm"), None);
        let text =
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.163.01  Release Build  (stele@stele)\n";
        assert_eq!(version_in(text), Some("550.163.01"));
    }
}
