//! The life of a device, on a thread of its own: opened, tested, measured, serving; after a fault quarantined, reset, tested
//! again. Everything that it had when it failed goes to the CPU. What it does while it serves is [`super::serving`].

use super::calibration::calibrate;
use super::config::DeviceConfig;
use super::quarantine::Quarantine;
use super::serving::Serving;
use super::state::Shared;
use crate::device::{Device, DeviceError, DeviceState};
use crate::engine::DeviceFault;
use crate::trust::{Guarded, Trust, canaries_max};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What brings a device.
pub(super) type Open = Box<dyn FnOnce() -> Result<Box<dyn Device>, DeviceError> + Send>;

/// A batch that found no memory halves the next ones, down to this.
const ITEMS_MAX_MIN: usize = 256;

pub(super) struct DeviceWorker {
    pub(super) shared: Arc<Shared>,
    pub(super) config: DeviceConfig,
    pub(super) cpu_threads: usize,
}

impl DeviceWorker {
    pub(super) fn run(self, open: Open) {
        // Also where this thread panics: nobody then waits for it.
        let _end = End(Arc::clone(&self.shared));
        let Some((mut device, mut trust)) = self.open(open) else { return };
        let mut quarantine = Quarantine::new(&self.config);
        let mut measured = false;
        while let Err(mut fault) = self.work(&mut device, &mut trust, &mut quarantine, &mut measured) {
            loop {
                self.fail(&device, &trust, fault);
                if self.pause(quarantine.pause(fault)) {
                    return;
                }
                self.enter(DeviceState::Opening);
                match device.reset() {
                    Ok(()) => break,
                    Err(again) => fault = again,
                }
            }
        }
    }

    fn open(&self, open: Open) -> Option<(Guarded, Trust)> {
        let opened =
            catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|_| Err(DeviceError::new(DeviceFault::Panicked)));
        let guarded = opened.and_then(|device| Guarded::new(device).map_err(DeviceError::new));
        let trusted = guarded.and_then(|device| Ok((device, Trust::new(self.config.trust).map_err(DeviceError::new)?)));
        match trusted {
            Ok((device, trust)) => {
                self.shared.lock().stats.device.engine.name = device.name().to_owned();
                Some((device, trust))
            }
            Err(reason) => {
                tracing::info!(%reason, "no device for signatures, the CPU verifies them all");
                None
            }
        }
    }

    /// Tests, measures and serves. `Ok` when the service stops.
    fn work(
        &self,
        device: &mut Guarded,
        trust: &mut Trust,
        quarantine: &mut Quarantine,
        measured: &mut bool,
    ) -> Result<(), DeviceFault> {
        self.enter(DeviceState::SelfTesting);
        device.restrict(|alg| trust.knows(alg));
        let patience = Duration::from_millis(self.config.self_test_timeout_ms.into());
        trust.self_test(device, patience)?;
        if self.config.placement == super::Placement::Measured {
            let threads = (!*measured).then_some(self.cpu_threads);
            calibrate(&self.shared, device, trust, threads, patience)?;
            *measured = true;
        }
        let mut state = self.shared.lock();
        if state.stopping {
            return Ok(());
        }
        state.device.supported = device.supported().to_vec();
        // With its canaries a batch still fits the device's best size; a larger one would be no faster an item.
        let best = device.items_best();
        let items_max = best.saturating_sub(canaries_max(best, device.supported().len())).max(best.div_ceil(2));
        state.device.items_max = state.device.items_max.min(items_max);
        state.device.condemned = None;
        state.stats.device.trust = trust.counts();
        drop(state);
        tracing::info!(device = device.name(), algorithms = ?device.supported(), "the device passed its self-test and serves");
        self.enter(DeviceState::Serving);
        Serving::new(&self.shared, &self.config, device, trust, quarantine).run()
    }

    fn enter(&self, device: DeviceState) {
        let mut state = self.shared.lock();
        state.device.state = device;
        state.stats.device.state = device;
        drop(state);
        self.shared.changed.notify_all();
        self.shared.cpu.notify_one();
    }

    fn fail(&self, device: &Guarded, trust: &Trust, fault: DeviceFault) {
        tracing::error!(device = device.name(), %fault, "the device is quarantined, the CPU takes over");
        let mut state = self.shared.lock();
        state.stats.count_fault(fault);
        state.stats.device.trust = trust.counts();
        if let DeviceFault::OutOfMemory { items } = fault {
            state.device.items_max = state.device.items_max.min((items / 2).max(ITEMS_MAX_MIN));
        }
        state.condemn(Instant::now(), fault);
        drop(state);
        self.enter(DeviceState::Quarantined);
    }

    /// Waits a pause out. Whether the service stops.
    fn pause(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let mut state = self.shared.lock();
        while !state.stopping && Instant::now() < until {
            state = self.shared.sleep(&self.shared.device, state, Some(until));
        }
        state.stopping
    }
}

/// Says that there is no device any more, and gives to the CPU what it had.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.give_up_flights(Instant::now());
        state.device.state = DeviceState::Absent;
        state.stats.device.state = DeviceState::Absent;
        state.device.ended = true;
        let stopping = state.stopping;
        drop(state);
        self.0.changed.notify_all();
        self.0.cpu.notify_one();
        if stopping {
            self.0.stop();
        }
    }
}
