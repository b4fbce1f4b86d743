//! Where people are: at the screen, or at the serial line. Both show the offer; whoever types first has the machine until
//! the command ends.

use crate::Fault;
use crate::watchdog::Watchdog;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// How often the watchdog is fed while nobody types, in milliseconds.
const PATIENCE_MS: libc::c_int = 1000;
/// Bytes of a line at most: those that a console hands on.
const LINE_MAX: usize = 1024;

/// The consoles, and which of them was typed at last.
#[derive(Debug)]
pub(super) struct People {
    consoles: Vec<File>,
    busy: usize,
}

impl People {
    /// At all consoles of the kernel's.
    pub(super) fn at_consoles() -> Result<Self, Fault> {
        let active = std::fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
        // `tty0` is whichever is on the screen; that is the first.
        let names = active.split_whitespace().map(|name| if name == "tty0" { "tty1" } else { name });
        let open = |name: &str| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).custom_flags(libc::O_NOCTTY).open(format!("/dev/{name}")).ok()
        };
        let consoles: Vec<File> = names.filter_map(open).collect();
        if consoles.is_empty() {
            return Err(Fault::Machine("there is no console to hold a ceremony at".into()));
        }
        Ok(Self { consoles, busy: 0 })
    }

    /// Tells all of them.
    pub(super) fn tell(&mut self, text: &str) {
        for console in &mut self.consoles {
            let _ = console.write_all(text.as_bytes());
        }
    }

    /// Waits for a line. A machine that waits for people is not hung, so the watchdog is fed.
    pub(super) fn line(&mut self, dog: &mut Watchdog) -> Result<String, Fault> {
        loop {
            dog.feed();
            let mut polls: Vec<libc::pollfd> = self
                .consoles
                .iter()
                .map(|console| libc::pollfd { fd: console.as_raw_fd(), events: libc::POLLIN, revents: 0 })
                .collect();
            // SAFETY: the pointer is to as many live structures as are told.
            let ready = unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, PATIENCE_MS) };
            if ready < 0 && io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                return Err(Fault::system("waiting for people")(io::Error::last_os_error()));
            }
            let Some(which) = polls.iter().position(|poll| poll.revents & libc::POLLIN != 0) else {
                // A console that went away is always "ready".
                std::thread::sleep(super::TICK);
                continue;
            };
            self.busy = which;
            let mut line = [0; LINE_MAX];
            let length = self.consoles[which].read(&mut line).map_err(Fault::system("reading a console"))?;
            return Ok(String::from_utf8_lossy(&line[..length]).trim().to_owned());
        }
    }

    /// The console where somebody typed, as a program's input, output and errors.
    pub(super) fn at_work(&self) -> Result<(File, File, File), Fault> {
        let copy = || self.consoles[self.busy].try_clone().map_err(Fault::system("handing the console on"));
        Ok((copy()?, copy()?, copy()?))
    }
}

/// Makes its standard input the terminal of a command, which then is a session of its own: signals from the keyboard are the
/// command's, and hidden prompts find it as /dev/tty.
pub(super) fn give_terminal(command: &mut Command) {
    let give = || {
        // SAFETY: the calls take plain numbers, and standard input is open.
        let done = unsafe { libc::setsid() >= 0 && libc::ioctl(0, libc::TIOCSCTTY, 1) == 0 };
        if done { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec there are system calls alone.
    unsafe { command.pre_exec(give) };
}
