//! Waiting for the signal to end in a thread, without a handler. The one place of this crate that needs `unsafe`.
#![allow(unsafe_code)]

use super::{Lifetime, TERMINATE};
use std::io;
use std::mem::MaybeUninit;

/// The signals that end the process, blocked in this thread and those that it starts from here on.
pub(super) struct Ending {
    set: libc::sigset_t,
}

impl Ending {
    /// Blocks the signals. SIGINT is blocked either way, and waited for only by a [`Lifetime::Service`].
    pub(super) fn block(lifetime: Lifetime) -> io::Result<Self> {
        let waited: &[i32] = match lifetime {
            Lifetime::Service => &[libc::SIGTERM, libc::SIGINT, libc::SIGHUP],
            Lifetime::Parent => &[libc::SIGTERM],
        };
        let blocked = set_of(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP]);
        // SAFETY: `blocked` is an initialised set, and the null pointer asks for no copy of the old mask.
        match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const blocked, std::ptr::null_mut()) } {
            0 => Ok(Self { set: set_of(waited) }),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }

    /// Returns when one of them came.
    pub(super) fn wait(&self) {
        let mut signal = 0;
        // SAFETY: `self.set` is an initialised set of blocked signals, and `signal` is a place for one number.
        while unsafe { libc::sigwait(&raw const self.set, &raw mut signal) } != 0 {}
    }
}

/// Ends this process as SIGTERM does.
pub(super) fn end_self() {
    if let Err(error) = rustix::process::kill_process(rustix::process::getpid(), TERMINATE) {
        tracing::error!(%error, "cannot signal myself");
        std::process::abort();
    }
}

/// Ends this process without a word to the libraries in it, of which one does not return.
pub(super) fn leave(status: u8) -> ! {
    // SAFETY: takes a number and does not return. What was to be durable is.
    unsafe { libc::_exit(status.into()) }
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises all of the set that it is given.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: initialised on the line above.
    let mut set = unsafe { set.assume_init() };
    for signal in signals {
        // SAFETY: an initialised set and a valid signal number.
        unsafe { libc::sigaddset(&raw mut set, *signal) };
    }
    set
}
