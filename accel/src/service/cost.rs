//! What a batch costs on either engine, and which of them is to take the next one. Pure: no clock, observations are handed in.
//!
//! For each engine and algorithm, n items take `fixed + n · item`. Both figures start from a calibration with known items
//! and follow what real batches take, each corrected by the share that it has in the prediction: small batches correct
//! the fixed cost, large ones that of an item. What else a machine does is in these figures, because they are times by
//! the clock on the wall: where the CPU is busy with execution its batches take longer, and the device is worth it sooner.
//!
//! The choice is sticky: the other engine must promise to be done in 4/5 of the time (±25 %). An engine that has not been
//! seen for [`STALE_OBSERVATIONS`] batches of the other gets one, if it is not thought to be hopeless, so that no figure
//! stands for ever.

use crate::closing::{Load, SIGNATURES};
use crate::stats::CostFigures;
use std::time::Duration;
use types::AlgId;

/// How much one observation counts.
const WEIGHT: f64 = 0.2;
/// One observation never says more than this about the figures: it may have been preempted.
const RATIO_MAX: f64 = 4.0;
/// The other engine must be better by this.
const HYSTERESIS: f64 = 1.25;
/// After so many batches of one engine the other is looked at again.
const STALE_OBSERVATIONS: u32 = 256;
/// Unless it would take this many times as long.
const HOPELESS: f64 = 4.0;

/// Who verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Cpu,
    Device,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    fixed_ns: f64,
    item_ns: f64,
}

/// Before anything is measured: about what a core does of Ed25519, and of the others.
const CPU_UNMEASURED: [Line; SIGNATURES.len()] = {
    let slow = Line { fixed_ns: 10_000.0, item_ns: 100_000.0 };
    [Line { fixed_ns: 10_000.0, item_ns: 12_000.0 }, slow, slow, slow, slow]
};

/// See the module.
pub(super) struct CostModel {
    cpu: [Line; SIGNATURES.len()],
    device: [Option<Line>; SIGNATURES.len()],
    /// Batches of the other side since this one was last seen.
    unseen: [u32; 2],
    on_device: bool,
}

impl CostModel {
    pub(super) fn new() -> Self {
        Self { cpu: CPU_UNMEASURED, device: [None; SIGNATURES.len()], unseen: [0; 2], on_device: false }
    }

    /// Sets both figures of an algorithm from a small and a large batch.
    pub(super) fn calibrate(&mut self, side: Side, alg: AlgId, small: (usize, Duration), large: (usize, Duration)) {
        let ns = |took: Duration| took.as_nanos() as f64;
        let items = large.0.saturating_sub(small.0).max(1) as f64;
        // The large batch must cost something an item, however fast it was: no figure may be zero, or it could not grow.
        let item_ns = ((ns(large.1) - ns(small.1)) / items).max(ns(large.1) / large.0.max(1) as f64 / 100.0).max(0.01);
        let fixed_ns = (ns(small.1) - item_ns * small.0 as f64).max(ns(small.1) / 100.0).max(1.0);
        let Some(place) = SIGNATURES.iter().position(|known| *known == alg) else { return };
        let line = Line { fixed_ns, item_ns };
        match side {
            Side::Cpu => self.cpu[place] = line,
            Side::Device => self.device[place] = Some(line),
        }
        self.unseen = [0; 2];
    }

    /// Learns from a batch.
    pub(super) fn observe(&mut self, side: Side, load: &Load, took: Duration) {
        let (me, other) = match side {
            Side::Cpu => (0, 1),
            Side::Device => (1, 0),
        };
        self.unseen[me] = 0;
        self.unseen[other] = self.unseen[other].saturating_add(1);
        let Some(predicted) = self.predict_ns(side, load).filter(|ns| *ns > 0.0) else { return };
        let ratio = (took.as_nanos() as f64 / predicted).clamp(1.0 / RATIO_MAX, RATIO_MAX);
        for (place, _, count) in load.parts() {
            let line = match side {
                Side::Cpu => Some(&mut self.cpu[place]),
                Side::Device => self.device[place].as_mut(),
            };
            let Some(line) = line else { continue };
            let share = |part: f64| 1.0 + WEIGHT * (part / predicted) * (ratio - 1.0);
            let items_ns = line.item_ns * count as f64;
            (line.fixed_ns, line.item_ns) = (line.fixed_ns * share(line.fixed_ns), line.item_ns * share(items_ns));
        }
    }

    /// How long a load will take; `None` on a device that was not calibrated for all of it.
    pub(super) fn predict(&self, side: Side, load: &Load) -> Option<Duration> {
        self.predict_ns(side, load).map(|ns| Duration::from_nanos(ns as u64))
    }

    /// Whether the device is to have this load, if the CPU is busy for another `cpu_busy` with what it has.
    pub(super) fn prefers_device(&mut self, load: &Load, cpu_busy: Duration) -> bool {
        let Some(device) = self.predict_ns(Side::Device, load) else { return false };
        let cpu = self.predict_ns(Side::Cpu, load).unwrap_or(f64::MAX) + cpu_busy.as_nanos() as f64;
        self.on_device = if self.on_device { device <= cpu * HYSTERESIS } else { device * HYSTERESIS < cpu };
        let (loser, slower, faster) = if self.on_device { (0, cpu, device) } else { (1, device, cpu) };
        let look_again = self.unseen[loser] >= STALE_OBSERVATIONS && slower <= HOPELESS * faster;
        self.on_device != look_again
    }

    /// The figures of what the device was calibrated for.
    pub(super) fn figures(&self) -> Vec<CostFigures> {
        let both = SIGNATURES.into_iter().zip(self.cpu).zip(self.device);
        let figures = both.filter_map(|((alg, cpu), device)| {
            let device = device?;
            let gain = cpu.item_ns - device.item_ns;
            let break_even = (device.fixed_ns - cpu.fixed_ns) / gain;
            Some(CostFigures {
                alg,
                cpu_fixed_ns: cpu.fixed_ns as u64,
                cpu_item_ps: (cpu.item_ns * 1e3) as u64,
                device_fixed_ns: device.fixed_ns as u64,
                device_item_ps: (device.item_ns * 1e3) as u64,
                break_even_items: (gain > 0.0).then(|| break_even.max(0.0).ceil() as u64),
            })
        });
        figures.collect()
    }

    fn predict_ns(&self, side: Side, load: &Load) -> Option<f64> {
        load.parts()
            .map(|(place, _, count)| {
                let line = match side {
                    Side::Cpu => self.cpu[place],
                    Side::Device => self.device[place]?,
                };
                Some(line.fixed_ns + line.item_ns * count as f64)
            })
            .sum()
    }
}

#[cfg(test)]
mod tests;
