//! What a device is: something beside the CPU that takes whole batches, several at a time, and answers later.
//!
//! A device makes no promise that is believed unseen: what it says is checked by the layer above. Deliberately absent: which
//! batch goes to it, and what happens to a batch that it loses; both are the service's.

use crate::engine::DeviceFault;
use crate::item::Batch;
use crate::verdicts::Verdicts;
use std::error::Error;
use std::fmt;
use std::time::Duration;
use types::AlgId;

/// Why there is no device.
#[derive(Debug)]
pub struct DeviceError(Box<dyn Error + Send + Sync>);

impl DeviceError {
    /// With the device's own reason.
    pub fn new(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for DeviceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// How a verifier's device is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceState {
    /// There is none, or it could not be opened.
    #[default]
    Absent,
    /// It is being opened or reset. The CPU serves.
    Opening,
    /// It is asked what is known already, and measured. The CPU serves.
    SelfTesting,
    /// It serves.
    Serving,
    /// It failed; it is tried again after a pause. The CPU serves.
    Quarantined,
}

impl DeviceState {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Absent, Self::Opening, Self::SelfTesting, Self::Serving, Self::Quarantined];

    /// A word for a label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Opening => "opening",
            Self::SelfTesting => "self_testing",
            Self::Serving => "serving",
            Self::Quarantined => "quarantined",
        }
    }
}

/// Names a batch in flight. Never used twice by one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Works on batches beside the caller. Each verdict equals that of [`types::PublicKey::verify`].
pub trait Device: Send {
    /// Its name in statistics and reports, that of the adapter for a GPU.
    fn name(&self) -> &str;

    /// Whether it takes items of this algorithm.
    fn supports(&self, alg: AlgId) -> bool;

    /// Items from which on a larger batch is no faster an item. A batch may be larger: it is cut within.
    fn batch_items_best(&self) -> usize;

    /// Batches of that size that may be in flight before [`Device::submit`] waits for one to end.
    fn slots(&self) -> usize;

    /// Starts work on a batch of any size and any mix of supported algorithms; takes the time of copying it.
    ///
    /// # Errors
    /// [`DeviceFault`] where the device failed, never because of what an item holds. All batches in flight may then be lost:
    /// their tickets are answered with a fault, or never.
    fn submit(&mut self, batch: &Batch) -> Result<Ticket, DeviceFault>;

    /// The next batch that is done, in any order, waiting at most `timeout`. `None`: none was done in time, or none is in
    /// flight.
    fn wait(&mut self, timeout: Duration) -> Option<(Ticket, Result<Verdicts, DeviceFault>)>;

    /// Batches submitted and not answered.
    fn in_flight(&self) -> usize;

    /// Gives up all that is in flight and begins anew: a fresh connection to the device, and what has to be built on it.
    ///
    /// # Errors
    /// [`DeviceFault`] where the device is still not there.
    fn reset(&mut self) -> Result<(), DeviceFault>;
}
