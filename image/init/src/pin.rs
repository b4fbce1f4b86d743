//! The signer's PIN, typed at the console without an echo, and handed to the signer as a descriptor that it reads
//! (`pin_file = "fd:30"`). It is in memory alone: in a sealed memory file that the signer and nobody else inherits. It is
//! kept there for as long as the machine runs, so that a signer that ends can start again.

use crate::watchdog::Watchdog;
use crate::{Fault, say};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use zeroize::Zeroizing;

/// The descriptor's number. A high one: the low ones are taken by whatever is opened first.
const PLACE: libc::c_int = 30;
/// Bytes of a line at most: those that a console hands on.
const LINE_MAX: usize = 1024;
/// How often the watchdog is fed while nobody types, in milliseconds.
const PATIENCE_MS: libc::c_int = 1000;

/// A PIN.
#[derive(Debug)]
pub struct Pin {
    memory: OwnedFd,
}

impl Pin {
    /// Asks until something is typed. A machine that waits for its operator is not hung, so the watchdog is fed.
    pub fn ask(dog: &mut Watchdog) -> Result<Self, Fault> {
        let silence = Silence::begin().map_err(Fault::system("turning the console's echo off"))?;
        loop {
            // After the echo is off: whoever answers at once is not shown either.
            say("type the signer's PIN, then Enter; nothing is shown");
            while !has_input().map_err(Fault::system("waiting for the PIN"))? {
                dog.feed();
            }
            let mut line = Zeroizing::new([0; LINE_MAX]);
            let length = read(&mut *line).map_err(Fault::system("reading the PIN"))?;
            let typed = typed(&line[..length]);
            if !typed.is_empty() {
                let memory = remember(typed).map_err(Fault::system("keeping the PIN"))?;
                drop(silence);
                say("the PIN is the signer's");
                return Ok(Self { memory });
            }
        }
    }

    /// Has a command's process inherit it.
    pub fn hand_to(&self, command: &mut Command) {
        let from = self.memory.as_raw_fd();
        // SAFETY: between fork and exec there are system calls alone, which take plain numbers.
        unsafe { command.pre_exec(move || inherit(from)) };
    }
}

/// From its beginning, whoever has read it before. `from` is `PLACE`, unless that was taken.
fn inherit(from: libc::c_int) -> io::Result<()> {
    // SAFETY: the call takes plain numbers; `from` is open in this process.
    let rewound = unsafe { libc::lseek(from, 0, libc::SEEK_SET) };
    // SAFETY: as above. A duplicate does not close on exec, and where there is nothing to duplicate the flag goes.
    let handed = unsafe { if from == PLACE { libc::fcntl(from, libc::F_SETFD, 0) } else { libc::dup2(from, PLACE) } };
    if rewound < 0 || handed < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Without the line's end.
fn typed(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|byte| !b"\r\n".contains(byte)).map_or(0, |last| last + 1);
    &line[..end]
}

/// A memory file that cannot be changed any more, at the place where the signer looks for it.
fn remember(pin: &[u8]) -> io::Result<OwnedFd> {
    // SAFETY: the name is a string that lives through the call.
    let made = unsafe { libc::memfd_create(c"pin".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
    if made < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new, and nobody else's.
    let mut file = unsafe { File::from_raw_fd(made) };
    file.write_all(pin)?;
    let seals = libc::F_SEAL_WRITE | libc::F_SEAL_GROW | libc::F_SEAL_SHRINK | libc::F_SEAL_SEAL;
    // SAFETY: the calls take plain numbers, and the descriptor is open.
    let placed = unsafe {
        if libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) < 0 {
            return Err(io::Error::last_os_error());
        }
        libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, PLACE)
    };
    // SAFETY: the duplicate is new, and nobody else's.
    if placed < 0 { Err(io::Error::last_os_error()) } else { Ok(unsafe { OwnedFd::from_raw_fd(placed) }) }
}

fn has_input() -> io::Result<bool> {
    let mut poll = libc::pollfd { fd: 0, events: libc::POLLIN, revents: 0 };
    // SAFETY: the pointer is to one live structure.
    match unsafe { libc::poll(&mut poll, 1, PATIENCE_MS) } {
        -1 => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            error => Err(error),
        },
        ready => Ok(ready > 0),
    }
}

/// A line as the console hands it on, past the buffer of standard input, which would keep it.
fn read(line: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the descriptor is the console's for good, and the file is not closed.
    let mut console = std::mem::ManuallyDrop::new(unsafe { File::from_raw_fd(0) });
    console.read(line)
}

/// The console without an echo, until it is dropped.
struct Silence(libc::termios);

impl Silence {
    fn begin() -> io::Result<Self> {
        // SAFETY: a structure of integers and arrays of them.
        let mut before: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is to a live structure.
        if unsafe { libc::tcgetattr(0, &mut before) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut silent = before;
        silent.c_lflag &= !(libc::ECHO | libc::ECHONL | libc::ISIG);
        silent.c_lflag |= libc::ICANON;
        // What was typed before the question is thrown away.
        // SAFETY: the pointer is to a live structure.
        let done = unsafe { libc::tcsetattr(0, libc::TCSAFLUSH, &silent) };
        if done == 0 { Ok(Self(before)) } else { Err(io::Error::last_os_error()) }
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // SAFETY: the pointer is to a live structure.
        unsafe { libc::tcsetattr(0, libc::TCSAFLUSH, &self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_pin_without_its_end() {
        assert_eq!(typed(b"12 34\r\n"), b"12 34");
        assert_eq!(typed(b"\n"), b"");
        assert_eq!(typed(b""), b"");
    }

    /// Each process that inherits it reads all of it; one that does not finds nothing there.
    #[test]
    fn each_start_of_the_signer_reads_the_pin_and_nobody_else_does() {
        let pin = Pin { memory: remember(b"1234").unwrap() };
        let read = |pin: Option<&Pin>| {
            let mut command = Command::new("cat");
            command.arg(format!("/proc/self/fd/{PLACE}"));
            if let Some(pin) = pin {
                pin.hand_to(&mut command);
            }
            command.output().unwrap().stdout
        };
        for _ in 0..2 {
            assert_eq!(read(Some(&pin)), b"1234");
        }
        assert_eq!(read(None), b"");
        let mut written = File::from(pin.memory.try_clone().unwrap());
        assert!(written.write_all(b"5").is_err());
    }
}
