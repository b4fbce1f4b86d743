//! The engines of the service: the device first, the CPU where the device does not take the items, faults, or is in
//! quarantine after a fault. A fault never becomes a verdict.

use crate::engine::{DeviceFault, Engine};
use crate::item::Batch;
use crate::verdicts::Verdicts;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Quarantine after the first fault; it doubles with each that follows.
const QUARANTINE_MIN: Duration = Duration::from_secs(1);
const QUARANTINE_MAX: Duration = Duration::from_secs(64);

pub(super) struct Engines {
    cpu: Box<dyn Engine>,
    device: Option<Device>,
}

struct Device {
    engine: Box<dyn Engine>,
    /// Until when it gets no work.
    quarantined_until: Option<Instant>,
    /// The length of the next quarantine.
    quarantine: Duration,
}

/// One batch done.
pub(super) struct Ran {
    pub(super) verdicts: Result<Verdicts, DeviceFault>,
    /// The engine that gave the answer.
    pub(super) engine: &'static str,
    /// Whether a device failed on the way.
    pub(super) device_faulted: bool,
}

impl Engines {
    pub(super) fn new(cpu: Box<dyn Engine>, device: Option<Box<dyn Engine>>) -> Self {
        let device = device.map(|engine| Device { engine, quarantined_until: None, quarantine: QUARANTINE_MIN });
        Self { cpu, device }
    }

    pub(super) fn verify(&mut self, batch: &Batch, now: Instant) -> Ran {
        let mut device_faulted = false;
        if let Some(device) = self.device.as_mut().filter(|device| device.takes(batch, now)) {
            match run(device.engine.as_mut(), batch) {
                Ok(verdicts) => {
                    (device.quarantined_until, device.quarantine) = (None, QUARANTINE_MIN);
                    return Ran { verdicts: Ok(verdicts), engine: device.engine.name(), device_faulted };
                }
                Err(fault) => {
                    tracing::error!(engine = device.engine.name(), %fault, "device quarantined, the CPU takes over");
                    device.quarantined_until = Some(now + device.quarantine);
                    device.quarantine = (device.quarantine * 2).min(QUARANTINE_MAX);
                    device_faulted = true;
                }
            }
        }
        Ran { verdicts: run(self.cpu.as_mut(), batch), engine: self.cpu.name(), device_faulted }
    }

    pub(super) fn key_cache_counts(&self) -> (u64, u64) {
        self.cpu.key_cache_counts()
    }
}

impl Device {
    fn takes(&self, batch: &Batch, now: Instant) -> bool {
        self.quarantined_until.is_none_or(|until| until <= now)
            && batch.items().iter().all(|item| self.engine.supports(item.key.alg()))
    }
}

fn run(engine: &mut dyn Engine, batch: &Batch) -> Result<Verdicts, DeviceFault> {
    // Engines keep only caches between batches; one that panicked is asked again, or quarantined.
    let verdicts = catch_unwind(AssertUnwindSafe(|| engine.verify(batch))).unwrap_or(Err(DeviceFault::Panicked))?;
    if verdicts.len() == batch.len() { Ok(verdicts) } else { Err(DeviceFault::WrongAnswer) }
}
