//! One device of the device mapper: the root under verity. A block that does not match its hash makes the kernel panic, and
//! the machine restart.

use crate::Fault;
use image_formats::boot_line::BootLine;
use image_formats::verity::{BLOCK, SALT};
use std::fmt::Write;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Bytes of the header of each request (`struct dm_ioctl`).
const HEADER: usize = 312;
/// Bytes before a target's parameters (`struct dm_target_spec`).
const TARGET: usize = 40;
const READ_ONLY: u32 = 1;
const CREATE: u32 = 3;
const ACTIVATE: u32 = 6;
const LOAD: u32 = 9;

/// Sets up the root's device and returns its path.
pub fn verity(partition: &Path, line: &BootLine) -> Result<PathBuf, Fault> {
    let control = OpenOptions::new().read(true).write(true).open("/dev/mapper/control");
    let control = control.map_err(Fault::system("opening the device mapper"))?;
    let about = |step: &str| Fault::system(format!("verity: {step}"));
    let made = request(&control, CREATE, &[]).map_err(about("creating the device"))?;
    let sectors = line.data_blocks * (BLOCK as u64 / 512);
    request(&control, LOAD, &target(sectors, &parameters(partition, line))).map_err(about("loading the table"))?;
    request(&control, ACTIVATE, &[]).map_err(about("activating the device"))?;
    // The number that the kernel gave: 12 bits of major, 20 of minor, as it encodes them for programs.
    let number = u64::from_ne_bytes(made[40..48].try_into().unwrap_or_default());
    Ok(PathBuf::from(format!("/dev/dm-{}", number & 0xFF | (number >> 12) & 0xFFF00)))
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

fn target(sectors: u64, parameters: &str) -> Vec<u8> {
    let mut out = vec![0; 8];
    out.extend(sectors.to_ne_bytes());
    out.extend([0; 8]);
    out.extend(b"verity");
    out.resize(TARGET, 0);
    out.extend(parameters.as_bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(8), 0);
    out
}

/// One request; the header as the kernel left it.
fn request(control: &File, command: u32, target: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = header(target);
    let number = 0xC138_FD00 | command;
    // SAFETY: the buffer is as long as its header says, and the kernel writes no further.
    let done = unsafe { libc::ioctl(control.as_raw_fd(), number.into(), bytes.as_mut_ptr()) };
    if done == 0 { Ok(bytes) } else { Err(io::Error::last_os_error()) }
}

fn header(target: &[u8]) -> Vec<u8> {
    let length = (HEADER + target.len()).max(4096) as u32;
    let mut out = Vec::with_capacity(length as usize);
    let targets = u32::from(!target.is_empty());
    for field in [4, 0, 0, length, HEADER as u32, targets, 0, READ_ONLY, 0, 0] {
        out.extend(u32::to_ne_bytes(field));
    }
    out.extend([0; 8]);
    out.extend(b"stele-root");
    out.resize(HEADER, 0);
    out.extend(target);
    out.resize(length as usize, 0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use image_formats::boot_line::Flavour;

    #[test]
    fn requests_are_laid_out_as_the_kernel_has_them() {
        let line = BootLine { flavour: Flavour::Dev, root: [0xAB; 32], data_blocks: 10, release: 1 };
        let text = parameters(Path::new("/dev/vda3"), &line);
        assert!(text.starts_with("1 /dev/vda3 /dev/vda3 4096 4096 10 11 sha256 abab"));
        assert!(text.ends_with(" 1 panic_on_corruption"));
        let header = header(&target(80, &text));
        assert_eq!(header[48..58], *b"stele-root");
        assert_eq!(header[HEADER + 8..HEADER + 16], 80_u64.to_ne_bytes());
        assert_eq!(header[HEADER + 24..HEADER + 30], *b"verity");
        assert_eq!(header[HEADER + TARGET], b'1');
    }
}
