//! What every engine is: a name, the algorithms it takes, and exact verdicts for a batch, or a fault.

use crate::item::Batch;
use crate::verdicts::Verdicts;
use thiserror::Error;
use types::AlgId;

/// The device could not answer. Says nothing about any signature: the work is done again elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DeviceFault {
    /// The device is gone.
    #[error("the device is lost")]
    Lost,
    /// The device did not answer in time.
    #[error("the device gave no answer within {waited_ms} ms")]
    TimedOut {
        /// How long it was given, in milliseconds.
        waited_ms: u32,
    },
    /// The device has no memory for the batch.
    #[error("the device has no memory for {items} items")]
    OutOfMemory {
        /// Items in the batch.
        items: usize,
    },
    /// A known answer, a canary or a sample came back wrong, or the number of verdicts was not that of the items.
    #[error("the device answered wrongly")]
    WrongAnswer,
    /// The engine does not take this algorithm.
    #[error("the engine does not take {0}")]
    Unsupported(AlgId),
    /// The engine panicked: our own bug, contained.
    #[error("the engine panicked")]
    Panicked,
    /// The service was stopped before the work was done.
    #[error("the verifier was stopped")]
    Stopped,
}

/// The kinds of faults, as [`DeviceFault::kind`] names them.
pub const FAULT_KINDS: [&str; 6] = ["lost", "timed_out", "out_of_memory", "wrong_answer", "panicked", "unsupported"];

impl DeviceFault {
    /// Its kind: a word for a label.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Lost | Self::Stopped => "lost",
            Self::TimedOut { .. } => "timed_out",
            Self::OutOfMemory { .. } => "out_of_memory",
            Self::WrongAnswer => "wrong_answer",
            Self::Panicked => "panicked",
            Self::Unsupported(_) => "unsupported",
        }
    }
}

/// Something that verifies batches. Each verdict equals that of [`types::PublicKey::verify`].
pub trait Engine: Send {
    /// Its name in statistics and reports.
    fn name(&self) -> &'static str;

    /// Whether it takes items of this algorithm.
    fn supports(&self, alg: AlgId) -> bool;

    /// One verdict an item, in order.
    ///
    /// # Errors
    /// [`DeviceFault`] where the device failed; never because of what an item holds.
    fn verify(&mut self, batch: &Batch) -> Result<Verdicts, DeviceFault>;

    /// Hits and misses of its cache of decoded keys since the start, where it has one.
    fn key_cache_counts(&self) -> (u64, u64) {
        (0, 0)
    }
}
