//! Why a node does not start, or stops by itself; for the operator, with what to do next.

use crate::replica::event::Failure;
use crate::replica::recovery::RecoveryError;
use miette::Diagnostic;
use std::net::SocketAddr;
use std::path::PathBuf;
use thiserror::Error;
use transport::TransportError;
use types::Epoch;

/// See the module.
#[derive(Debug, Error, Diagnostic)]
pub enum NodeError {
    /// The signer process does not answer.
    #[error("the signer process does not answer")]
    #[diagnostic(help(
        "start it first: `stele signer run --config signer.toml`; its socket is named in node.toml under [signer]"
    ))]
    Signer(#[source] hsm::SignError),
    /// Verification could not be started.
    #[error(transparent)]
    Verifier(#[from] accel::StartError),
    /// A GPU is required, and none can be used.
    #[error("`gpu = \"require\"` in node.toml, but no GPU can be used: {reason}")]
    #[diagnostic(help(
        "`stele hw` lists the adapters and what they lack; install the vendor's Vulkan driver and the Vulkan loader \
         (libvulkan1), or start with `gpu = \"prefer\"`: the CPU then verifies where there is no GPU"
    ))]
    NoGpu {
        /// Why.
        reason: accel::gpu::OpenError,
    },
    /// A GPU is required, and the one there is failed its test.
    #[error("`gpu = \"require\"` in node.toml, but {adapter} failed its self-test: {faults}")]
    #[diagnostic(help(
        "its driver computes wrongly, or it is lost: update the driver, look at `stele hw`, or start with \
         `gpu = \"prefer\"`: the CPU then verifies until the GPU passes"
    ))]
    GpuFailed {
        /// Which.
        adapter: String,
        /// What was found, by kind.
        faults: String,
    },
    /// Log or state could not be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Recovery(#[from] RecoveryError),
    /// The root of an earlier state is due, and cannot be computed any more.
    #[error(transparent)]
    #[diagnostic(help(
        "the state database is not whole: move the `state` directory away, and the node takes a state from its peers"
    ))]
    StateRoot(#[from] crate::state_sync::snapshots::RootError),
    /// A port could not be opened.
    #[error("cannot open {what} at {address}")]
    #[diagnostic(help("is another node running? Addresses come from the validator's entry in genesis.toml"))]
    Transport {
        /// Which port.
        what: &'static str,
        /// Its address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: TransportError,
    },
    /// The RPC's port could not be opened.
    #[error("cannot open the RPC's port at {address}")]
    #[diagnostic(help("is another node running? Addresses come from the validator's entry in genesis.toml"))]
    Rpc {
        /// Its address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The directory of snapshots cannot be used.
    #[error("{}: snapshots cannot be kept there", dir.display())]
    #[diagnostic(help(
        "it has to be a directory in which the node may write. Move away what lies in its place and start the node again: it makes the directory, and the next snapshot comes at its height"
    ))]
    Snapshots {
        /// The directory.
        dir: PathBuf,
        /// What is wrong.
        source: std::io::Error,
    },
    /// A thread could not be started.
    #[error("the operating system refused: {0}")]
    System(#[from] std::io::Error),
    /// No room.
    #[error("the disk under {0} is full; the node has stopped, and nothing that was acknowledged is lost")]
    #[diagnostic(help("make room and start the node again: it continues where it stopped"))]
    DiskFull(PathBuf),
    /// A stage failed.
    #[error("the node has stopped: {0}")]
    #[diagnostic(help(
        "nothing that was acknowledged is lost; find the cause in the log above, then start the node again"
    ))]
    Stopped(#[source] Failure),
}

/// Exit status of a node that the governance has taken out of the committee, or given other keys there.
pub const OUTSIDE_STATUS: u8 = 3;

impl NodeError {
    /// The status with which the process ends. A part in the committee that genesis does not give is a mistake in the
    /// configuration; one that a later epoch does not give is the governance's will.
    pub fn exit_status(&self, first: Epoch) -> u8 {
        match self {
            Self::Recovery(RecoveryError::Outside(no_part)) if no_part.start.epoch() > first => OUTSIDE_STATUS,
            _ => 1,
        }
    }
}
