//! A question at the terminal of the process, whose answer is not shown.
//!
//! The terminal is read byte by byte, so that nothing of the answer stays in a buffer: bytes that are taken back, answers
//! that are given up, and those that are too long are wiped. Control-C and control-D give up, and are no signals meanwhile,
//! because a process that died of one would leave a terminal without an echo. The terminal is as it was on every way out.
#![allow(unsafe_code)]

use super::SECRET_MAX;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use zeroize::{Zeroize, Zeroizing};

/// Asks, and waits for a line.
///
/// # Errors
/// ENXIO where the process has no terminal; `Interrupted` where somebody gave up.
pub(super) fn ask(question: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    let silenced = Silenced::new(&terminal)?;
    // After the echo is off: whoever answers at once is not shown either.
    terminal.write_all(question.as_bytes())?;
    let answer = line(&mut terminal);
    drop(silenced);
    terminal.write_all(b"\n")?;
    answer
}

fn line(terminal: &mut impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    // What grew beyond its first allocation would leave copies behind.
    let mut answer = Zeroizing::new(Vec::with_capacity(SECRET_MAX as usize));
    loop {
        let mut byte = Zeroizing::new([0]);
        if terminal.read(&mut *byte)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        match byte[0] {
            b'\r' | b'\n' => return Ok(answer),
            // Control-C and control-D.
            3 | 4 => return Err(io::Error::new(ErrorKind::Interrupted, "given up")),
            // Backspace, and control-U for the whole line.
            8 | 127 => {
                if let Some(last) = answer.last_mut() {
                    last.zeroize();
                    answer.pop();
                }
            }
            21 => answer.zeroize(),
            other if answer.len() < SECRET_MAX as usize => answer.push(other),
            _ => return Err(io::Error::new(ErrorKind::InvalidInput, "too long")),
        }
    }
}

/// A terminal that shows nothing and gives each byte at once, until it is dropped.
struct Silenced {
    /// Another descriptor of it, which lives as long.
    terminal: File,
    before: libc::termios,
}

impl Silenced {
    fn new(terminal: &File) -> io::Result<Self> {
        let terminal = terminal.try_clone()?;
        let mut before = MaybeUninit::uninit();
        // SAFETY: `before` is a place for the settings of an open descriptor.
        if unsafe { libc::tcgetattr(terminal.as_raw_fd(), before.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: tcgetattr has succeeded and filled it.
        let before: libc::termios = unsafe { before.assume_init() };
        let mut silent = before;
        silent.c_lflag &= !(libc::ECHO | libc::ECHONL | libc::ICANON | libc::ISIG);
        (silent.c_cc[libc::VMIN], silent.c_cc[libc::VTIME]) = (1, 0);
        // SAFETY: initialised settings for an open descriptor.
        if unsafe { libc::tcsetattr(terminal.as_raw_fd(), libc::TCSAFLUSH, &raw const silent) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { terminal, before })
    }
}

impl Drop for Silenced {
    fn drop(&mut self) {
        // SAFETY: the settings that the terminal had, for an open descriptor. There is nobody to tell of a failure.
        unsafe { libc::tcsetattr(self.terminal.as_raw_fd(), libc::TCSAFLUSH, &raw const self.before) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[u8]) -> Result<Vec<u8>, ErrorKind> {
        line(&mut &*keys).map(|answer| answer.to_vec()).map_err(|error| error.kind())
    }

    #[test]
    fn what_is_mistyped_is_taken_back_and_what_is_given_up_is_no_answer() {
        assert_eq!(typed(b"1234\rmore"), Ok(b"1234".to_vec()));
        assert_eq!(typed(b"12\x7f\x0834\n"), Ok(b"34".to_vec()));
        assert_eq!(typed(b"\x7f\x7f1\n"), Ok(b"1".to_vec()));
        assert_eq!(typed(b"wrong\x15right\n"), Ok(b"right".to_vec()));
        assert_eq!(typed(b"\n"), Ok(Vec::new()));
        for give_up in [3, 4] {
            assert_eq!(typed(&[b'1', give_up, b'\n']), Err(ErrorKind::Interrupted));
        }
        assert_eq!(typed(b"12"), Err(ErrorKind::UnexpectedEof));
        let longest = [vec![b'a'; SECRET_MAX as usize], b"\n".to_vec()].concat();
        assert_eq!(typed(&longest).map(|answer| answer.len()), Ok(SECRET_MAX as usize));
        assert_eq!(typed(&[b"a", &longest[..]].concat()), Err(ErrorKind::InvalidInput));
    }
}
