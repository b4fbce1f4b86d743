//! A new release from a stick: checked against the key that the image trusts, and written to the slot that is not in use. The
//! machine then starts it on trial.
//!
//! A stick that stays in must not give a machine that has fallen back the same release again: what was taken is remembered.

use crate::disks::{self, Disk};
use crate::state::FOLDER;
use crate::{Fault, say};
use image_formats::release::{HEAD, Head, RELEASE};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use stele_image::update;

/// How often a new release may fail to start.
const ATTEMPTS: u8 = 3;
/// `BLKFLSBUF`: what the kernel remembers of a disk is read anew.
const FORGET: libc::c_ulong = 0x1261;

/// Takes the first that can be taken; it is on trial from the next start on. What is wrong with a stick is told, and no reason
/// to stop.
pub fn take_one(disk: &Disk, trusted: &[u8; 32]) -> Option<u64> {
    disks::everywhere(disk, RELEASE).into_iter().find_map(|stick| match take(disk, &stick, trusted) {
        Ok(release) => release,
        Err(fault) => {
            say(format_args!("{}: {fault}", stick.display()));
            None
        }
    })
}

fn take(disk: &Disk, stick: &Path, trusted: &[u8; 32]) -> Result<Option<u64>, Fault> {
    let about = || Fault::system(format!("reading {}", stick.display()));
    let refused = |reason: &dyn std::fmt::Display| Fault::Machine(reason.to_string());
    let mut file = File::open(stick).map_err(about())?;
    let mut page = [0; HEAD];
    file.read_exact(&mut page).map_err(about())?;
    let head = Head::decode(&page).map_err(|error| refused(&error))?;
    if remembered(Path::new(FOLDER)).is_ok_and(|before| before == page) {
        say(format_args!("{}: its release was taken before: left alone", stick.display()));
        return Ok(None);
    }
    say(format_args!("{}: checking a release of {} bytes", stick.display(), head.length));
    let mut image = Vec::new();
    file.take(head.length).read_to_end(&mut image).map_err(about())?;
    head.check(&image, trusted).map_err(|error| refused(&error))?;
    let target = open(&Path::new("/dev").join(&disk.name)).map_err(Fault::system("opening the machine's disk"))?;
    let done = update::update(&target, &image, ATTEMPTS).map_err(|failure| refused(&failure))?;
    remember(Path::new(FOLDER), &page).map_err(Fault::system("remembering the release"))?;
    say(format_args!(
        "STELE UPDATE release {} is on trial, {ATTEMPTS} times at most; release {} stays",
        done.to, done.from
    ));
    if done.strands_the_state {
        say("the new release has another policy key, or none: a state that is sealed does not open to it");
    }
    Ok(Some(done.to))
}

/// The whole disk, beside its partitions that are mounted: what was written to those is on the disk first, and what was read of
/// it before is forgotten.
fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    // SAFETY: the calls take numbers alone; the descriptor is open.
    let done = unsafe {
        libc::sync();
        libc::ioctl(file.as_raw_fd(), FORGET, 0)
    };
    if done == 0 { Ok(file) } else { Err(io::Error::last_os_error()) }
}

fn place(folder: &Path) -> PathBuf {
    folder.join("release")
}

/// The page before the image that was taken last.
fn remembered(folder: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(place(folder))
}

fn remember(folder: &Path, page: &[u8]) -> io::Result<()> {
    let mut file = File::create(place(folder))?;
    file.write_all(page)?;
    file.sync_all()?;
    File::open(folder)?.sync_all()
}
