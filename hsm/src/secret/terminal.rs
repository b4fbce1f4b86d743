//! A question at the terminal of the process, whose answer is not shown.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use zeroize::Zeroizing;

/// Longest line that a terminal gives at once.
const LINE_MAX: usize = 4096;

/// Asks, and waits for a line.
///
/// # Errors
/// ENXIO where the process has no terminal.
pub(super) fn ask(question: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    (&terminal).write_all(question.as_bytes())?;
    let silenced = Silenced::new(&terminal)?;
    let mut line = Zeroizing::new(vec![0; LINE_MAX]);
    let length = (&terminal).read(&mut line)?;
    line.truncate(length);
    drop(silenced);
    (&terminal).write_all(b"\n")?;
    Ok(line)
}

/// A terminal without an echo, until it is dropped.
struct Silenced<'a> {
    terminal: &'a File,
    before: libc::termios,
}

impl<'a> Silenced<'a> {
    fn new(terminal: &'a File) -> io::Result<Self> {
        let mut before = MaybeUninit::uninit();
        // SAFETY: `before` is a place for the settings of an open descriptor.
        if unsafe { libc::tcgetattr(terminal.as_raw_fd(), before.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: tcgetattr has succeeded and filled it.
        let before: libc::termios = unsafe { before.assume_init() };
        let mut silent = before;
        silent.c_lflag &= !libc::ECHO;
        // SAFETY: initialised settings for an open descriptor.
        if unsafe { libc::tcsetattr(terminal.as_raw_fd(), libc::TCSAFLUSH, &raw const silent) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { terminal, before })
    }
}

impl Drop for Silenced<'_> {
    fn drop(&mut self) {
        // SAFETY: the settings that the terminal had, for an open descriptor. There is nobody to tell of a failure.
        unsafe { libc::tcsetattr(self.terminal.as_raw_fd(), libc::TCSAFLUSH, &raw const self.before) };
    }
}
