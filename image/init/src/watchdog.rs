//! The hardware's watchdog. Once it is open it is armed for good: it is never told to stop, so whatever ends this process or
//! stops feeding it ends in a reset.

use crate::say;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Seconds without food after which the machine is reset.
const TIMEOUT_S: libc::c_int = 30;
/// `WDIOC_SETTIMEOUT`.
const SET_TIMEOUT: libc::c_ulong = 0xC004_5706;

/// A watchdog, if the machine has one.
#[derive(Debug)]
pub struct Watchdog {
    device: Option<File>,
}

impl Watchdog {
    /// Opens and arms it. A machine without one is told so; whether that is allowed is the hardware policy's matter.
    pub fn arm() -> Self {
        let (dog, told) = Self::open(Path::new("/dev/watchdog0"));
        say(told);
        dog
    }

    /// The one of a path, and what there is to say of it.
    fn open(path: &Path) -> (Self, String) {
        let device = match OpenOptions::new().write(true).open(path) {
            Ok(device) => device,
            Err(error) => {
                return (Self { device: None }, format!("no watchdog: {error}; nothing resets a machine that hangs"));
            }
        };
        let mut seconds = TIMEOUT_S;
        // SAFETY: the request takes a pointer to an integer, which lives through the call.
        let done = unsafe { libc::ioctl(device.as_raw_fd(), SET_TIMEOUT, &mut seconds) };
        let told = match done {
            0 => format!("watchdog armed, {seconds} s"),
            _ => "watchdog armed with its own timeout".to_owned(),
        };
        (Self { device: Some(device) }, told)
    }

    /// Whether the machine is reset when it is not fed.
    pub fn is_armed(&self) -> bool {
        self.device.is_some()
    }

    /// Feeds it.
    pub fn feed(&mut self) {
        if let Some(device) = &mut self.device {
            let _ = device.write_all(b"\0");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_missing_or_cannot_be_opened_is_told_and_feeding_it_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for (path, why) in [(folder.path().join("none"), "No such file"), (folder.path().to_owned(), "Is a directory")]
        {
            let (mut dog, told) = Watchdog::open(&path);
            assert!(told.starts_with("no watchdog: ") && told.contains(why), "{told}");
            assert!(told.ends_with("nothing resets a machine that hangs"), "{told}");
            assert!(!dog.is_armed());
            dog.feed();
        }
    }

    /// Not every driver takes another time than its own.
    #[test]
    fn one_that_takes_no_timeout_is_armed_and_fed() {
        let device = tempfile::NamedTempFile::new().unwrap();
        let (mut dog, told) = Watchdog::open(device.path());
        assert_eq!((told.as_str(), dog.is_armed()), ("watchdog armed with its own timeout", true));
        dog.feed();
        dog.feed();
        assert_eq!(std::fs::read(device.path()).unwrap(), [0, 0]);
    }
}
