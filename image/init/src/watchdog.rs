//! The hardware's watchdog. Once it is open it is armed for good: it is never told to stop, so whatever ends this process or
//! stops feeding it ends in a reset.

use crate::say;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;

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
        let device = match OpenOptions::new().write(true).open("/dev/watchdog0") {
            Ok(device) => device,
            Err(error) => {
                say(format_args!("no watchdog: {error}"));
                return Self { device: None };
            }
        };
        let mut seconds = TIMEOUT_S;
        // SAFETY: the request takes a pointer to an integer, which lives through the call.
        let done = unsafe { libc::ioctl(device.as_raw_fd(), SET_TIMEOUT, &mut seconds) };
        if done == 0 {
            say(format_args!("watchdog armed, {seconds} s"));
        } else {
            say("watchdog armed with its own timeout");
        }
        Self { device: Some(device) }
    }

    /// Feeds it.
    pub fn feed(&mut self) {
        if let Some(device) = &mut self.device {
            let _ = device.write_all(b"\0");
        }
    }
}
