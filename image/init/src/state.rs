//! The state's partition: made where it is blank, mounted where it is ours, and refused where it is neither, so that nobody's
//! data is overwritten.

use crate::disks::{Disk, STATE};
use crate::{Fault, mounts, say};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

/// Where it is mounted.
pub const FOLDER: &str = "/var/lib/stele";
/// As much of its start as says what is there.
const LOOK: usize = 8192;

/// What lies on a partition.
#[derive(Debug, PartialEq)]
enum Content {
    Blank,
    Ext4,
    Foreign,
}

impl Content {
    fn of(start: &[u8]) -> Self {
        if start.iter().all(|byte| *byte == 0) {
            Self::Blank
        } else if start.get(1080..1082) == Some(&[0x53, 0xEF]) {
            Self::Ext4
        } else {
            Self::Foreign
        }
    }
}

/// Makes it where needed, and mounts it.
pub fn mount(disk: &Disk) -> Result<(), Fault> {
    let device = disk.partition(STATE).ok_or_else(|| {
        Fault::Machine(format!("{} has no partition for the state: it was not written with `image flash`", disk.name))
    })?;
    let mut start = vec![0; LOOK];
    let read = File::open(&device).and_then(|mut file| file.read_exact(&mut start));
    read.map_err(Fault::system(format!("reading {}", device.display())))?;
    match Content::of(&start) {
        Content::Ext4 => {}
        Content::Blank => make(&device)?,
        Content::Foreign => {
            return Err(Fault::Machine(format!(
                "{} holds something else than the state: left as it is",
                device.display()
            )));
        }
    }
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC | libc::MS_NOATIME;
    mounts::mount(&device.display().to_string(), FOLDER, "ext4", flags, "errors=panic")
}

fn make(device: &Path) -> Result<(), Fault> {
    say(format_args!("{} is blank: making the state's file system", device.display()));
    let mut tool = Command::new("/usr/sbin/mke2fs");
    tool.args(["-q", "-t", "ext4", "-L", "stele-state", "-m", "1", "-E", "lazy_itable_init=1,nodiscard"]).arg(device);
    let status = tool.env_clear().stdin(Stdio::null()).status().map_err(Fault::system("starting mke2fs"))?;
    if status.success() { Ok(()) } else { Err(Fault::Machine(format!("mke2fs ended with {status}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_data_is_never_taken_for_blank() {
        let mut start = vec![0; LOOK];
        assert_eq!(Content::of(&start), Content::Blank);
        start[LOOK - 1] = 1;
        assert_eq!(Content::of(&start), Content::Foreign);
        start[1080..1082].copy_from_slice(&[0x53, 0xEF]);
        assert_eq!(Content::of(&start), Content::Ext4);
    }
}
