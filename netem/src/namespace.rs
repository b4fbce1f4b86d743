//! Network namespaces: a thread makes one, and other threads enter it for as long as they live. The thread that asks is
//! never moved itself.
#![allow(unsafe_code)]

use crate::{NetemError, tun};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};

/// A namespace that lives as long as this does, or a process in it.
#[derive(Debug)]
pub(crate) struct Namespace(OwnedFd);

impl Namespace {
    /// Makes one with an interface that has this address.
    pub(crate) fn create(address: Ipv4Addr) -> Result<(Self, File), NetemError> {
        on_a_thread(|| {
            // SAFETY: the flag concerns the network alone, not this thread's file descriptors.
            let unshared = unsafe { unshare_unsafe(UnshareFlags::NEWNET) };
            unshared.map_err(io::Error::from).map_err(NetemError::missing("network namespaces"))?;
            tun::loopback_up()?;
            let interface = tun::open("stele%d", address)?;
            let namespace = File::open("/proc/thread-self/ns/net").map_err(NetemError::missing("/proc/thread-self"))?;
            Ok((Self(namespace.into()), interface))
        })
    }

    /// Runs something in it: sockets that it opens and processes that it starts belong there.
    pub(crate) fn inside<T: Send>(&self, run: impl FnOnce() -> T + Send) -> Result<T, NetemError> {
        on_a_thread(|| {
            move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(io::Error::from)
                .map_err(NetemError::system("entering a namespace"))?;
            Ok(run())
        })
    }
}

/// Namespaces belong to threads: what changes its own must not be one that others use.
fn on_a_thread<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(run).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
