//! Counters of a log and the latency of its groups. Deliberately absent: how they are published.

use hdrhistogram::Histogram;

/// A snapshot of what a log did since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Bytes written, padding included.
    pub bytes: u64,
    /// Payload bytes of the records.
    pub payload_bytes: u64,
    /// Records accepted.
    pub records: u64,
    /// Groups that became durable.
    pub groups: u64,
    /// Flushes to stable storage.
    pub syncs: u64,
    /// Median time from handing a group to the disk until it was durable, microseconds.
    pub sync_p50_us: u64,
    /// 99th percentile of it.
    pub sync_p99_us: u64,
    /// Longest.
    pub sync_max_us: u64,
    /// Bytes accepted and not durable yet.
    pub queued_bytes: u64,
    /// Segments ready to be rolled to.
    pub spare_segments: u32,
    /// Backend that writes: `io_uring`, `threaded` or `simulated`.
    pub backend: &'static str,
    /// Whether writes pass by the page cache.
    pub direct: bool,
}

pub(super) struct Counters {
    pub(super) stats: LogStats,
    pub(super) syncs_of_io: u64,
    /// Of groups that a thread wrote itself.
    pub(super) syncs_of_calls: u64,
    sync_us: Histogram<u64>,
}

impl Counters {
    pub(super) fn new() -> Self {
        let sync_us = Histogram::new_with_bounds(1, 60_000_000, 2).expect("bounds and precision are valid constants");
        Self { stats: LogStats::default(), syncs_of_io: 0, syncs_of_calls: 0, sync_us }
    }

    pub(super) fn group(&mut self, bytes: u64, micros: u64) {
        self.stats.bytes += bytes;
        self.stats.groups += 1;
        self.sync_us.saturating_record(micros.max(1));
    }

    pub(super) fn snapshot(&self) -> LogStats {
        LogStats {
            syncs: self.syncs_of_io + self.syncs_of_calls,
            sync_p50_us: self.sync_us.value_at_quantile(0.5),
            sync_p99_us: self.sync_us.value_at_quantile(0.99),
            sync_max_us: self.sync_us.max(),
            ..self.stats
        }
    }
}
