//! What the load generator counts: transactions by the moment at which they were due, latency from that moment on.
//!
//! Only what is due in the window counts towards the figures; the rest keeps the network in its steady state. Times are
//! microseconds since the first transaction was due.

use hdrhistogram::Histogram;
use std::ops::Range;
use types::Outcome;

/// Longest latency told apart, two minutes; what takes longer counts as that.
const LATENCY_US_MAX: u64 = 120_000_000;

/// How transactions of the window ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Due in the window, and given to a validator.
    pub offered: u64,
    /// Committed and applied.
    pub committed: u64,
    /// Committed, and rejected by the ledger.
    pub rejected: u64,
    /// Refused before they were ordered.
    pub refused: u64,
    /// Without an answer because a connection was lost.
    pub unknown: u64,
}

impl Counts {
    /// Without an answer of any kind.
    pub fn unanswered(&self) -> u64 {
        self.offered - self.committed - self.rejected - self.refused - self.unknown
    }
}

/// How one transaction ended.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// With a durable receipt.
    Receipt(Outcome),
    /// Refused.
    Refused,
    /// Nobody can tell.
    Unknown,
}

/// The last second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Second {
    /// Transactions with a receipt.
    pub receipts: u64,
    /// Their median latency.
    pub p50_ms: f64,
    /// Their 99th percentile.
    pub p99_ms: f64,
}

/// Counts and latencies of a run.
#[derive(Debug)]
pub struct Measure {
    window: Range<u64>,
    counts: Counts,
    latency_us: Histogram<u64>,
    second_us: Histogram<u64>,
}

impl Measure {
    /// For a window in microseconds.
    pub fn new(window: Range<u64>) -> Self {
        let histogram = || Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("constant bounds in order");
        Self { window, counts: Counts::default(), latency_us: histogram(), second_us: histogram() }
    }

    /// A transaction is given to a validator for the first time.
    pub fn offered(&mut self, due_us: u64) {
        self.counts.offered += u64::from(self.window.contains(&due_us));
    }

    /// A transaction ended.
    pub fn ended(&mut self, due_us: u64, now_us: u64, end: End) {
        let latency = now_us.saturating_sub(due_us);
        let counts = self.window.contains(&due_us);
        if let End::Receipt(_) = end {
            self.second_us.saturating_record(latency);
        }
        if !counts {
            return;
        }
        match end {
            End::Receipt(Outcome::Applied | Outcome::Emitted(_)) => self.counts.committed += 1,
            End::Receipt(Outcome::Rejected(_)) => self.counts.rejected += 1,
            End::Refused => self.counts.refused += 1,
            End::Unknown => self.counts.unknown += 1,
        }
        if let End::Receipt(_) = end {
            self.latency_us.saturating_record(latency);
        }
    }

    /// Figures since this was asked last.
    pub fn second(&mut self) -> Second {
        let second = Second {
            receipts: self.second_us.len(),
            p50_ms: ms(self.second_us.value_at_quantile(0.5)),
            p99_ms: ms(self.second_us.value_at_quantile(0.99)),
        };
        self.second_us.reset();
        second
    }

    /// The window's counts.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The window's latencies, of everything that has a receipt.
    pub fn latency(&self) -> Latency {
        let quantile = |quantile| ms(self.latency_us.value_at_quantile(quantile));
        Latency {
            mean: (self.latency_us.mean() / 10.0).round() / 100.0,
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            max: ms(self.latency_us.max()),
        }
    }
}

/// From the intended send time to the durable receipt, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Latency {
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

fn ms(us: u64) -> f64 {
    (us as f64 / 10.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::Reject;

    #[test]
    fn only_what_is_due_in_the_window_counts() {
        let mut measure = Measure::new(1_000..2_000);
        for due in [0, 999, 1_000, 1_500, 1_999, 2_000] {
            measure.offered(due);
            measure.ended(due, due + 50_000, End::Receipt(Outcome::Applied));
        }
        assert_eq!(measure.counts(), Counts { offered: 3, committed: 3, ..Counts::default() });
        assert_eq!(measure.second().receipts, 6);
        assert_eq!(measure.second(), Second::default());
    }

    #[test]
    fn latency_is_from_the_intended_time_and_of_receipts_alone() {
        let mut measure = Measure::new(0..100);
        let ends = [
            End::Receipt(Outcome::Applied),
            End::Receipt(Outcome::Rejected(Reject::Overdraft)),
            End::Refused,
            End::Unknown,
        ];
        for (due, end) in (0..).zip(ends) {
            measure.offered(due);
            measure.ended(due, 10_000 * (due + 1) + due, end);
        }
        measure.offered(99);
        let counts = measure.counts();
        assert_eq!((counts.committed, counts.rejected, counts.refused, counts.unknown), (1, 1, 1, 1));
        assert_eq!(counts.unanswered(), 1);
        let latency = measure.latency();
        assert!((latency.max - 20.0).abs() < 0.1 && (latency.p50 - 10.0).abs() < 0.1, "{latency:?}");
    }
}
