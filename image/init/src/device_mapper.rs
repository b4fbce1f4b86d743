//! The two devices of the device mapper. The root under verity: a block that does not match its hash makes the kernel panic,
//! and the machine restart. The state under a cipher: requests that carry its key are wiped, here and by the kernel.

use crate::Fault;
use image_formats::boot_line::BootLine;
use image_formats::gpt::SECTOR;
use image_formats::sealed_state::KEY_BYTES;
use image_formats::verity::{BLOCK, SALT};
use std::fmt::Write;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Bytes of the header of each request (`struct dm_ioctl`).
const HEADER: usize = 312;
/// Bytes before a target's parameters (`struct dm_target_spec`).
const TARGET: usize = 40;
const READ_ONLY: u32 = 1;
/// The kernel wipes its copies of the request.
const SECURE_DATA: u32 = 1 << 15;
const CREATE: u32 = 3;
const ACTIVATE: u32 = 6;
const LOAD: u32 = 9;

/// A device to be.
#[derive(Clone, Copy, Debug)]
struct Device<'a> {
    name: &'a str,
    flags: u32,
    /// Which target.
    kind: &'a str,
    sectors: u64,
}

/// Sets up the root's device and returns its path.
pub fn verity(partition: &Path, line: &BootLine) -> Result<PathBuf, Fault> {
    let sectors = line.data_blocks * (BLOCK / SECTOR) as u64;
    let device = Device { name: "stele-root", flags: READ_ONLY, kind: "verity", sectors };
    set_up(device, &parameters(partition, line))
}

/// Sets up the state's device over the `bytes` behind `offset` of a partition, and returns its path.
pub fn crypt(partition: &Path, offset: u64, bytes: u64, key: &[u8; KEY_BYTES]) -> Result<PathBuf, Fault> {
    let sector = SECTOR as u64;
    let device = Device { name: "stele-state", flags: SECURE_DATA, kind: "crypt", sectors: bytes / sector };
    set_up(device, &cipher(partition, offset / sector, key))
}

fn set_up(device: Device<'_>, parameters: &str) -> Result<PathBuf, Fault> {
    let control = OpenOptions::new().read(true).write(true).open("/dev/mapper/control");
    let control = control.map_err(Fault::system("opening the device mapper"))?;
    let about = |step: &str| Fault::system(format!("{}: {step}", device.kind));
    let made = request(&control, device, CREATE, &[]).map_err(about("creating the device"))?;
    request(&control, device, LOAD, &target(device, parameters)).map_err(about("loading the table"))?;
    request(&control, device, ACTIVATE, &[]).map_err(about("activating the device"))?;
    // The number that the kernel gave: 12 bits of major, 20 of minor, as it encodes them for programs.
    let number = u64::from_ne_bytes(made[40..48].try_into().unwrap_or_default());
    Ok(PathBuf::from(format!("/dev/dm-{}", number & 0xFF | (number >> 12) & 0xFFF00)))
}

/// The target's parameters (the kernel's documentation of dm-crypt): sectors are counted from the start of the data.
fn cipher(partition: &Path, first: u64, key: &[u8; KEY_BYTES]) -> Zeroizing<String> {
    // Long enough that it never grows, and leaves the key behind.
    let mut text = Zeroizing::new(String::with_capacity(512 + partition.as_os_str().len()));
    text.push_str("aes-xts-plain64 ");
    for byte in key {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(digit.into(), 16).unwrap_or_default());
        }
    }
    let _ = write!(text, " 0 {} {first}", partition.display());
    text
}

/// The target's parameters (the kernel's documentation of dm-verity).
fn parameters(partition: &Path, line: &BootLine) -> String {
    let device = partition.display();
    let hex = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    };
    let (blocks, root, salt) = (line.data_blocks, hex(&line.root), hex(&SALT));
    format!("1 {device} {device} {BLOCK} {BLOCK} {blocks} {} sha256 {root} {salt} 1 panic_on_corruption", blocks + 1)
}

fn target(device: Device<'_>, parameters: &str) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity((TARGET + parameters.len() + 1).next_multiple_of(8)));
    out.extend([0; 8]);
    out.extend(device.sectors.to_ne_bytes());
    out.extend([0; 8]);
    out.extend(device.kind.as_bytes());
    out.resize(TARGET, 0);
    out.extend(parameters.as_bytes());
    out.push(0);
    let length = out.len().next_multiple_of(8);
    out.resize(length, 0);
    out
}

/// One request; the header as the kernel left it.
fn request(control: &File, device: Device<'_>, command: u32, target: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = framed(device, target);
    let number = 0xC138_FD00 | command;
    // SAFETY: the buffer is as long as its header says, and the kernel writes no further.
    let done = unsafe { libc::ioctl(control.as_raw_fd(), number.into(), bytes.as_mut_ptr()) };
    if done == 0 { Ok(bytes) } else { Err(io::Error::last_os_error()) }
}

fn framed(device: Device<'_>, target: &[u8]) -> Zeroizing<Vec<u8>> {
    let length = (HEADER + target.len()).max(4096) as u32;
    let mut out = Zeroizing::new(Vec::with_capacity(length as usize));
    let targets = u32::from(!target.is_empty());
    for field in [4, 0, 0, length, HEADER as u32, targets, 0, device.flags, 0, 0] {
        out.extend(u32::to_ne_bytes(field));
    }
    out.extend([0; 8]);
    out.extend(device.name.as_bytes());
    out.resize(HEADER, 0);
    out.extend(target);
    out.resize(length as usize, 0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use image_formats::boot_line::{Flavour, Seal};

    #[test]
    fn requests_are_laid_out_as_the_kernel_has_them() {
        let line = BootLine {
            flavour: Flavour::Dev,
            root: [0xAB; 32],
            data_blocks: 10,
            release: 1,
            seal: Seal::Never,
            hsm: None,
        };
        let text = parameters(Path::new("/dev/vda3"), &line);
        assert!(text.starts_with("1 /dev/vda3 /dev/vda3 4096 4096 10 11 sha256 abab"));
        assert!(text.ends_with(" 1 panic_on_corruption"));
        let device = Device { name: "stele-root", flags: READ_ONLY, kind: "verity", sectors: 80 };
        let header = framed(device, &target(device, &text));
        assert_eq!(header[48..58], *b"stele-root");
        assert_eq!(header[HEADER + 8..HEADER + 16], 80_u64.to_ne_bytes());
        assert_eq!(header[HEADER + 24..HEADER + 30], *b"verity");
        assert_eq!(header[HEADER + TARGET], b'1');
    }

    /// Cipher, key, offset of the vectors, device, offset of the data; nothing moves while the key is in it.
    #[test]
    fn a_ciphers_parameters_are_in_the_kernels_order_and_stay_in_place() {
        let text = cipher(Path::new("/dev/vda5"), 2048, &[0x5A; KEY_BYTES]);
        assert_eq!(*text, format!("aes-xts-plain64 {} 0 /dev/vda5 2048", "5a".repeat(64)));
        assert!(text.capacity() >= 512);
        let device = Device { name: "stele-state", flags: SECURE_DATA, kind: "crypt", sectors: 8 };
        let target = target(device, &text);
        assert_eq!(target.capacity(), target.len());
        assert_eq!(framed(device, &target)[28..32], SECURE_DATA.to_ne_bytes());
    }
}
