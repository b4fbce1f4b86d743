//! The console as standard input, output and error.

use crate::Fault;
use std::fs::OpenOptions;
use std::os::fd::AsRawFd;

/// Opens it and puts it in place.
pub fn take() -> Result<(), Fault> {
    let console = OpenOptions::new().read(true).write(true).open("/dev/console");
    let console = console.map_err(Fault::system("opening the console"))?;
    for place in 0..3 {
        // SAFETY: both descriptors are plain numbers; the first is open.
        unsafe { libc::dup2(console.as_raw_fd(), place) };
    }
    // Where it became one of the three itself it must stay open.
    if console.as_raw_fd() < 3 {
        std::mem::forget(console);
    }
    Ok(())
}
