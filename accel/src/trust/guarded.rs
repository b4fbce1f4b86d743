//! A device behind a guard: a panic in it is a fault, and what it says of itself is read once.

use crate::closing::SIGNATURES;
use crate::device::{Device, Ticket};
use crate::engine::DeviceFault;
use crate::item::Batch;
use crate::verdicts::Verdicts;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use types::AlgId;

/// See the module.
pub(crate) struct Guarded {
    device: Box<dyn Device>,
    name: String,
    supported: Vec<AlgId>,
    items_best: usize,
    slots: usize,
}

impl Guarded {
    /// # Errors
    /// [`DeviceFault::Panicked`].
    pub(crate) fn new(device: Box<dyn Device>) -> Result<Self, DeviceFault> {
        guard(move || {
            Ok(Self {
                name: device.name().to_owned(),
                supported: SIGNATURES.into_iter().filter(|alg| device.supports(*alg)).collect(),
                items_best: device.batch_items_best().max(1),
                slots: device.slots().max(1),
                device,
            })
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The algorithms that it says it takes.
    pub(crate) fn supported(&self) -> &[AlgId] {
        &self.supported
    }

    /// Gives it no other algorithms than these.
    pub(crate) fn restrict(&mut self, allowed: impl Fn(AlgId) -> bool) {
        self.supported.retain(|alg| allowed(*alg));
    }

    pub(crate) fn items_best(&self) -> usize {
        self.items_best
    }

    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    pub(crate) fn submit(&mut self, batch: &Batch) -> Result<Ticket, DeviceFault> {
        guard(|| self.device.submit(batch))
    }

    pub(crate) fn wait(&mut self, timeout: Duration) -> Result<Option<(Ticket, Verdicts)>, DeviceFault> {
        guard(|| match self.device.wait(timeout) {
            Some((ticket, verdicts)) => verdicts.map(|verdicts| Some((ticket, verdicts))),
            None => Ok(None),
        })
    }

    /// Begins anew, and reads again what the device says of itself.
    pub(crate) fn reset(&mut self) -> Result<(), DeviceFault> {
        guard(|| self.device.reset())?;
        self.supported = guard(|| Ok(SIGNATURES.into_iter().filter(|alg| self.device.supports(*alg)).collect()))?;
        Ok(())
    }
}

fn guard<T>(call: impl FnOnce() -> Result<T, DeviceFault>) -> Result<T, DeviceFault> {
    // A device that panicked is reset before it gets any more work.
    catch_unwind(AssertUnwindSafe(call)).unwrap_or(Err(DeviceFault::Panicked))
}
