//! The state's partition: made where it is blank, opened where it is ours, and refused where it is neither, so that nobody's
//! data is overwritten. Whether it is encrypted is the image's demand, which is measured, and not that of a configuration,
//! which lies in it.

use crate::disks::{Disk, STATE};
use crate::sealed::{self, Partition, Policies};
use crate::{Fault, mounts, say};
use image_formats::boot_line::Seal;
use image_formats::sealed_state::{BYTES, Header, HeaderError, Stage};
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where it is mounted.
pub const FOLDER: &str = "/var/lib/stele";
/// Bytes that services need to start: those of small files, not those of a ledger.
const ROOM_MIN: u64 = 1 << 20;
/// As much of its start as says what is there.
const LOOK: usize = BYTES;

/// What lies on a partition.
#[derive(Debug, PartialEq)]
enum Content {
    Blank,
    /// A file system that everybody can read.
    Plain,
    /// One under a key of the TPM's.
    Sealed(Header),
    /// A header that was never followed by anything.
    Begun,
    Foreign,
}

impl Content {
    fn of(start: &[u8]) -> Result<Self, HeaderError> {
        match Header::decode(start) {
            Ok(header) if header.stage == Stage::Made => return Ok(Self::Begun),
            Ok(header) => return Ok(Self::Sealed(header)),
            Err(HeaderError::Absent) => {}
            Err(error) => return Err(error),
        }
        Ok(if start.iter().all(|byte| *byte == 0) {
            Self::Blank
        } else if start.get(1080..1082) == Some(&[0x53, 0xEF]) {
            Self::Plain
        } else {
            Self::Foreign
        })
    }
}

/// Makes it where needed, and mounts it.
pub fn mount(disk: &Disk, seal: Seal, policies: Option<&Policies>) -> Result<(), Fault> {
    let (path, bytes) =
        disk.partition(STATE).zip(disk.table.first_of(STATE).map(|part| part.bytes())).ok_or_else(|| {
            Fault::Machine(format!(
                "{} has no partition for the state: it was not written with `image flash`",
                disk.name
            ))
        })?;
    let partition = Partition { path: &path, bytes };
    let mut start = vec![0; LOOK];
    let read = File::open(&path).and_then(|mut file| file.read_exact(&mut start));
    read.map_err(Fault::system(format!("reading {}", path.display())))?;
    let content = Content::of(&start).map_err(|error| Fault::State(format!("{}: {error}", path.display())))?;
    let device = match content {
        Content::Sealed(header) => sealed::open(&partition, &header, policies)?,
        Content::Plain if seal == Seal::Required => {
            let device = path.display();
            return Err(Fault::State(format!("{device} is not encrypted, and this image demands that it is")));
        }
        Content::Plain => {
            say("the state is not encrypted: it was made so");
            path
        }
        Content::Blank | Content::Begun => begin(&partition, seal, policies)?,
        Content::Foreign => {
            return Err(Fault::Machine(format!(
                "{} holds something else than the state: left as it is",
                path.display()
            )));
        }
    };
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC | libc::MS_NOATIME;
    mounts::mount(&device.display().to_string(), FOLDER, "ext4", flags, "errors=panic")
}

/// Services that find no room at all may do harm: SoftHSM2 empties a token's file before it writes it anew, and then cannot.
pub fn has_room() -> Result<(), Fault> {
    let path = CString::new(FOLDER).map_err(|error| Fault::State(error.to_string()))?;
    // SAFETY: a structure of integers, for which zeros are values.
    let mut told: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the pointers are to a string and a structure that live through the call.
    if unsafe { libc::statvfs(path.as_ptr(), &mut told) } != 0 {
        return Err(Fault::system("asking for the state's room")(io::Error::last_os_error()));
    }
    let bytes = told.f_bavail * told.f_frsize;
    if bytes < ROOM_MIN {
        return Err(Fault::State(format!("it is full: {bytes} bytes are left, {ROOM_MIN} are needed to start")));
    }
    Ok(())
}

/// A new state: sealed where that is wanted and can be.
fn begin(partition: &Partition<'_>, seal: Seal, policies: Option<&Policies>) -> Result<PathBuf, Fault> {
    let path = partition.path;
    say(format_args!("{} is blank: making the state's file system", path.display()));
    let tpm = if seal == Seal::Never { None } else { sealed::tpm()? };
    let obstacle = match (seal, policies, tpm) {
        (Seal::Never, _, _) => "the image wants it so",
        (_, None, _) => "the image has no signed policies",
        (_, _, None) => "there is no TPM 2.0",
        (_, Some(policies), Some(mut tpm)) => match sealed::make(partition, &mut tpm, policies, make)? {
            Some(device) => return Ok(device),
            None => "the machine is in no state that the policy key has signed for (PCR 11, 12)",
        },
    };
    if seal == Seal::Required {
        return Err(Fault::State(format!("it cannot be sealed, and this image demands that it is: {obstacle}")));
    }
    say(format_args!("the state is not encrypted: {obstacle}"));
    // A header that was begun must not be found behind the file system.
    let erased = OpenOptions::new().write(true).open(path).and_then(|mut file| {
        file.write_all(&[0; LOOK])?;
        file.sync_all()
    });
    erased.map_err(Fault::system(format!("writing {}", path.display())))?;
    make(path)?;
    Ok(path.to_owned())
}

fn make(device: &Path) -> Result<(), Fault> {
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
        assert_eq!(Content::of(&start), Ok(Content::Blank));
        start[LOOK - 1] = 1;
        assert_eq!(Content::of(&start), Ok(Content::Foreign));
        start[1080..1082].copy_from_slice(&[0x53, 0xEF]);
        assert_eq!(Content::of(&start), Ok(Content::Plain));
    }

    #[test]
    fn a_sealed_state_is_made_anew_only_as_long_as_it_was_never_ready() {
        let area = vec![1; 34];
        let (policy_key, parent, public, private) = (area.clone(), area.clone(), area.clone(), area);
        let made = Header { stage: Stage::Made, bound: 0, policy_key, parent, public, private };
        let ready = Header { stage: Stage::Ready, ..made.clone() };
        let copies = |one: &Header, other: &Header| [one.encode().unwrap(), other.encode().unwrap()].concat();
        assert_eq!(Content::of(&copies(&made, &made)), Ok(Content::Begun));
        assert_eq!(Content::of(&copies(&ready, &made)), Ok(Content::Sealed(ready.clone())));
        let mut damaged = copies(&ready, &ready);
        (damaged[20], damaged[4096 + 20]) = (9, 9);
        assert_eq!(Content::of(&damaged), Err(HeaderError::Damaged));
    }
}
