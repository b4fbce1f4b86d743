//! A root that is a file in memory: a ceremony's. A loop device makes it something that verity can be over.

use crate::Fault;
use image_formats::boot_line::MEMORY_ROOT;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

/// `LOOP_CTL_GET_FREE`.
const FREE: libc::c_ulong = 0x4C82;
/// `LOOP_SET_FD`.
const SET: libc::c_ulong = 0x4C00;

/// Attaches it. The device is read-only, as the file was opened.
pub fn attach() -> Result<PathBuf, Fault> {
    let file = File::open(format!("/{MEMORY_ROOT}")).map_err(Fault::system("opening the root in memory"))?;
    let control = File::open("/dev/loop-control").map_err(Fault::system("opening the loop devices"))?;
    // SAFETY: the request takes nothing.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), FREE) };
    if number < 0 {
        return Err(Fault::system("looking for a loop device")(io::Error::last_os_error()));
    }
    let path = PathBuf::from(format!("/dev/loop{number}"));
    let device = File::open(&path).map_err(Fault::system(format!("opening {}", path.display())))?;
    // SAFETY: the request takes a descriptor, which is open.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), SET, file.as_raw_fd()) };
    if done == 0 { Ok(path) } else { Err(Fault::system("attaching the root")(io::Error::last_os_error())) }
}
