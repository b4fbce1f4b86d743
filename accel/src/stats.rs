//! What the verifier counts.

/// Classes of the histogram of batch sizes: class c counts batches of 2^c to 2^(c+1) − 1 items, the last one all larger.
pub const BATCH_SIZE_CLASSES: usize = 14;

/// Counts since the start. Each number is monotonic, except `queued`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyStats {
    /// The engine that verified the last batch.
    pub engine: &'static str,
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
}

impl VerifyStats {
    pub(crate) fn count_batch(&mut self, engine: &'static str, items: usize, invalid: usize, run_ns: u64) {
        self.engine = engine;
        self.items += items as u64;
        self.batches += 1;
        self.invalid += invalid as u64;
        self.run_ns += run_ns;
        let class = items.max(1).ilog2() as usize;
        self.batch_sizes[class.min(BATCH_SIZE_CLASSES - 1)] += 1;
    }
}
