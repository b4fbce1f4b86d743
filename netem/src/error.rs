//! Why an emulated network cannot be made, in words for the person at the terminal.

use std::io;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum NetemError {
    /// The process may not make namespaces or interfaces.
    #[error(
        "an emulated network needs root (CAP_SYS_ADMIN and CAP_NET_ADMIN), or a user namespace: \
         `unshare --user --map-root-user --net`"
    )]
    NotPermitted,
    /// The kernel, or what this process runs in, lacks something.
    #[error("an emulated network needs {what}, which is not available here")]
    Unavailable {
        /// What is missing.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Something that should work once namespaces and TUN are there did not.
    #[error("the emulated network: {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Each of the networks 198.18.0.0/24 to 198.18.255.0/24 is in use on this machine.
    #[error("no network of 198.18.0.0/16 is free for emulation")]
    NoAddress,
    /// More hosts than a /24 network has room for.
    #[error("{hosts} hosts are too many: {most} at most")]
    TooManyHosts {
        /// How many were asked for.
        hosts: usize,
        /// How many there may be.
        most: usize,
    },
}

impl NetemError {
    /// Whether this machine or this user can have no emulated network at all, as opposed to a fault.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::NotPermitted | Self::Unavailable { .. })
    }

    /// A step without which there is no emulation: a refusal is told apart from an absence.
    pub(crate) fn missing(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::PermissionDenied => Self::NotPermitted,
            _ => Self::Unavailable { what, source },
        }
    }

    pub(crate) fn system(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::PermissionDenied => Self::NotPermitted,
            _ => Self::System { what, source },
        }
    }
}
