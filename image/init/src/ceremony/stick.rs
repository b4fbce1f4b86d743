//! The stick with the ceremony's folder, and tokens on USB. Volumes are looked at read-only, and only the one that has the
//! folder is mounted to be written, for as long as this value lives.

use crate::{Fault, mounts};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where it is mounted.
const PLACE: &str = "/run/stick";
/// The folder, and the file that it must have.
const FOLDER: &str = "ceremony";
const SCRIPT: &str = "script.toml";
/// How long a stick may take to appear.
const PATIENCE: Duration = Duration::from_secs(10);
/// Classes of USB devices that tokens are: smart cards, and a vendor's own.
const TOKENS: [&str; 2] = ["0b", "ff"];
const HARD: libc::c_ulong = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;

/// A mounted stick.
#[derive(Debug)]
pub(super) struct Stick;

impl Stick {
    /// Waits for the one volume that has the folder.
    pub(super) fn find() -> Result<Self, Fault> {
        mounts::folder(PLACE)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut found = volumes(Path::new("/sys/class/block")).into_iter().filter(|device| has_folder(device));
            match (found.next(), found.next()) {
                (Some(device), None) => {
                    // For the ceremony's user alone, and on the stick when a program has written it.
                    let user = crate::configuration::SIGNER_USER;
                    let options = format!("uid={user},gid={user},umask=0077,quiet");
                    mounts::mount_fat(&device, PLACE, HARD | libc::MS_SYNCHRONOUS | libc::MS_NOATIME, &options)?;
                    return Ok(Self);
                }
                (Some(one), Some(other)) => {
                    let text = format!("{one} and {other} both have a folder `{FOLDER}`: take one out");
                    return Err(Fault::Machine(text));
                }
                _ if Instant::now() > deadline => {
                    let text = format!("no stick (USB, FAT) has a file {FOLDER}/{SCRIPT}");
                    return Err(Fault::Machine(text));
                }
                _ => std::thread::sleep(Duration::from_millis(200)),
            }
        }
    }

    /// The ceremony's folder.
    pub(super) fn folder(&self) -> PathBuf {
        Path::new(PLACE).join(FOLDER)
    }
}

impl Drop for Stick {
    fn drop(&mut self) {
        mounts::unmount(PLACE);
        // SAFETY: the call takes and touches nothing.
        unsafe { libc::sync() };
    }
}

/// The devices of disks and partitions that hang on USB.
fn volumes(blocks: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(blocks).into_iter().flatten().flatten();
    let on_usb = |path: &Path| path.canonicalize().is_ok_and(|path| path.to_string_lossy().contains("/usb"));
    let mut found: Vec<String> = entries
        .filter(|entry| on_usb(&entry.path()))
        .map(|entry| format!("/dev/{}", entry.file_name().to_string_lossy()))
        .collect();
    found.sort();
    found
}

fn has_folder(device: &str) -> bool {
    if mounts::mount_fat(device, PLACE, HARD | libc::MS_RDONLY, "umask=0077").is_err() {
        return false;
    }
    let found = Path::new(PLACE).join(FOLDER).join(SCRIPT).is_file();
    mounts::unmount(PLACE);
    found
}

/// Gives the devices of tokens on USB to a user. Keyboards, sticks and hubs stay the kernel's.
pub(super) fn lend_tokens(user: u32) {
    for path in tokens(Path::new("/sys/bus/usb/devices")) {
        let _ = std::os::unix::fs::chown(path, Some(user), None);
    }
}

fn tokens(devices: &Path) -> Vec<PathBuf> {
    let entries = || std::fs::read_dir(devices).into_iter().flatten().flatten();
    let fact = |path: PathBuf| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
    let mut found = Vec::new();
    // An interface is named after its device: `1-2:1.0` is one of `1-2`.
    for interface in entries().filter(|entry| TOKENS.contains(&&*fact(entry.path().join("bInterfaceClass")))) {
        let name = interface.file_name().to_string_lossy().into_owned();
        let device = devices.join(name.split(':').next().unwrap_or_default());
        let [bus, number] = ["busnum", "devnum"].map(|what| fact(device.join(what)).parse().unwrap_or(0_u32));
        found.push(PathBuf::from(format!("/dev/bus/usb/{bus:03}/{number:03}")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_hangs_on_usb_is_a_stick() {
        let folder = tempfile::tempdir().unwrap();
        let blocks = folder.path().join("block");
        std::fs::create_dir(&blocks).unwrap();
        for (name, place) in [("sda1", "pci0/usb1/1-1/sda/sda1"), ("nvme0n1", "pci0/nvme0n1")] {
            let place = folder.path().join(place);
            std::fs::create_dir_all(&place).unwrap();
            std::os::unix::fs::symlink(place, blocks.join(name)).unwrap();
        }
        assert_eq!(volumes(&blocks), ["/dev/sda1"]);
    }

    #[test]
    fn a_keyboard_is_not_lent_and_a_smart_card_reader_is() {
        let folder = tempfile::tempdir().unwrap();
        for (name, class) in [("1-1", "0b"), ("1-2", "03"), ("2-1", "ff")] {
            let (device, interface) = (folder.path().join(name), folder.path().join(format!("{name}:1.0")));
            std::fs::create_dir(&device).unwrap();
            std::fs::create_dir(&interface).unwrap();
            std::fs::write(interface.join("bInterfaceClass"), format!("{class}\n")).unwrap();
            std::fs::write(device.join("busnum"), &name[..1]).unwrap();
            std::fs::write(device.join("devnum"), "7\n").unwrap();
        }
        let mut lent = tokens(folder.path());
        lent.sort();
        assert_eq!(lent, [PathBuf::from("/dev/bus/usb/001/007"), PathBuf::from("/dev/bus/usb/002/007")]);
    }
}
