//! What the verifier counts.

use crate::device::DeviceState;
use crate::engine::{DeviceFault, FAULT_KINDS};
use types::AlgId;

/// Classes of the histogram of batch sizes: class c counts batches of 2^c to 2^(c+1) − 1 items, the last one all larger.
pub const BATCH_SIZE_CLASSES: usize = 20;

/// Counts since the start. Each number is monotonic, except `queued`, `audit_waiting` and the figures of costs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyStats {
    /// The engine that verified the last batch.
    pub engine: String,
    /// Items verified.
    pub items: u64,
    /// Batches verified.
    pub batches: u64,
    /// Items with the verdict invalid.
    pub invalid: u64,
    /// Jobs refused for want of room.
    pub busy: u64,
    /// Items verified one by one, because their origin's signatures failed lately.
    pub suspect_items: u64,
    /// Faults of a device; its batches were verified on the CPU.
    pub device_faults: u64,
    /// Items that wait now.
    pub queued: usize,
    /// Batches by size, see [`BATCH_SIZE_CLASSES`].
    pub batch_sizes: [u64; BATCH_SIZE_CLASSES],
    /// Decoded keys that were at hand.
    pub key_cache_hits: u64,
    /// Keys that had to be decoded.
    pub key_cache_misses: u64,
    /// Nanoseconds for which engines ran, wall clock.
    pub run_ns: u64,
    /// What the CPU did of it.
    pub cpu: EngineStats,
    /// What the device did of it, and how it is.
    pub device: DeviceStats,
    /// What a batch is thought to cost, by algorithm; empty without a device.
    pub costs: Vec<CostFigures>,
}

/// What one engine did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Its name; empty where there is none.
    pub name: String,
    /// Items verified.
    pub items: u64,
    /// Batches verified.
    pub batches: u64,
    /// Items with the verdict invalid.
    pub invalid: u64,
    /// Nanoseconds from the start of each batch to its answer, summed; batches of a device overlap.
    pub run_ns: u64,
}

/// What became of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceStats {
    /// What it did.
    pub engine: EngineStats,
    /// How it is.
    pub state: DeviceState,
    /// Faults by kind, in the order of [`FAULT_KINDS`].
    pub faults: [u64; FAULT_KINDS.len()],
    /// Items whose verdicts were lost or not believed, and that the CPU verified instead.
    pub given_back_items: u64,
    /// Items that the CPU took although the device was to have them, because it would have been late.
    pub stolen_items: u64,
    /// What was checked of its answers.
    pub trust: TrustCounts,
    /// Accepts audited.
    pub audited: u64,
    /// Accepts that an audit found wrong. Their verdicts had left.
    pub audit_wrong: u64,
    /// Accepts for whose audit there was no room.
    pub audit_skipped: u64,
    /// Accepts that wait for their audit now.
    pub audit_waiting: usize,
}

/// What was checked of a device's answers, and what was wrong in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrustCounts {
    /// Known-answer tests begun.
    pub self_tests: u64,
    /// Canaries that came back.
    pub canaries: u64,
    /// Of them, wrong.
    pub canaries_wrong: u64,
    /// Accepts verified again.
    pub samples: u64,
    /// Of them, wrong.
    pub samples_wrong: u64,
    /// Authors' rejects verified again.
    pub confirmations: u64,
    /// Of them, wrong.
    pub confirmations_wrong: u64,
    /// Authors' jobs that went to the CPU because the budget of confirmations was spent.
    pub deferred_jobs: u64,
    /// Clients' rejects verified again.
    pub client_checks: u64,
    /// Of them, wrong.
    pub client_checks_wrong: u64,
}

/// The cost model of one algorithm: a batch of n items takes `fixed_ns + n · item_ps / 1000` nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostFigures {
    /// The algorithm.
    pub alg: AlgId,
    /// A batch on the CPU, in nanoseconds.
    pub cpu_fixed_ns: u64,
    /// An item on the CPU, on all threads, in picoseconds.
    pub cpu_item_ps: u64,
    /// A batch on the device, in nanoseconds.
    pub device_fixed_ns: u64,
    /// An item on the device, in picoseconds.
    pub device_item_ps: u64,
    /// Items from which on the device is faster while both idle; `None` where it never is.
    pub break_even_items: Option<u64>,
}

impl VerifyStats {
    pub(crate) fn count_batch(&mut self, device: bool, items: usize, invalid: usize, run_ns: u64) {
        let engine = if device { &mut self.device.engine } else { &mut self.cpu };
        self.engine.clone_from(&engine.name);
        engine.items += items as u64;
        engine.batches += 1;
        engine.invalid += invalid as u64;
        engine.run_ns += run_ns;
        self.items += items as u64;
        self.batches += 1;
        self.invalid += invalid as u64;
        self.run_ns += run_ns;
        let class = items.max(1).ilog2() as usize;
        self.batch_sizes[class.min(BATCH_SIZE_CLASSES - 1)] += 1;
    }

    pub(crate) fn count_fault(&mut self, fault: DeviceFault) {
        self.device_faults += 1;
        let kind = FAULT_KINDS.iter().position(|kind| *kind == fault.kind());
        self.device.faults[kind.unwrap_or(FAULT_KINDS.len() - 1)] += 1;
    }
}
