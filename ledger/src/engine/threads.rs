//! The threads, channels and flags that the engine is made of: the system's, or, for the test `interleavings` alone, those
//! of a scheduler that tries their interleavings. Nothing else of the engine knows which. With the feature the ledger runs
//! under that scheduler only.

#[cfg(not(feature = "interleavings"))]
mod chosen {
    pub(in crate::engine) use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
    pub(in crate::engine) use std::sync::atomic::AtomicU64;
    pub(in crate::engine) use std::thread;
}

#[cfg(feature = "interleavings")]
mod chosen {
    pub(in crate::engine) use shuttle::sync::atomic::AtomicU64;
    pub(in crate::engine) use shuttle::sync::mpsc::sync_channel as bounded;
    pub(in crate::engine) use shuttle::sync::mpsc::{Receiver, SyncSender as Sender, TrySendError};
    pub(in crate::engine) use shuttle::thread;
}

pub(super) use chosen::*;

/// Parcels that an inbox holds, for each worker there is.
pub(super) const INBOX_PARCELS_EACH: usize = if cfg!(feature = "interleavings") { 1 } else { 4 };
/// Values that are collected before they are sent without need: few enough that the peer does not run dry, and enough
/// that waking it is worth it.
pub(super) const PARCEL_VALUES: usize = if cfg!(feature = "interleavings") { 2 } else { 256 };
