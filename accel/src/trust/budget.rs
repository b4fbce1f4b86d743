//! A rate budget: so many checks a second, and no more however many are asked for. The clock is handed in.

use std::time::Instant;

/// A bucket that holds one second's worth of tokens and fills steadily.
pub(crate) struct Budget {
    per_s: f64,
    held: f64,
    filled: Option<Instant>,
}

impl Budget {
    /// A full one.
    pub(crate) fn new(per_s: u32) -> Self {
        Self { per_s: per_s.into(), held: per_s.into(), filled: None }
    }

    /// Takes `count` tokens, all of them or none.
    pub(crate) fn take(&mut self, count: usize, now: Instant) -> bool {
        let since = self.filled.map_or(0.0, |filled| now.saturating_duration_since(filled).as_secs_f64());
        self.filled = Some(self.filled.map_or(now, |filled| filled.max(now)));
        self.held = (self.held + since * self.per_s).min(self.per_s);
        let enough = self.held >= count as f64;
        if enough {
            self.held -= count as f64;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_flood_gets_the_rate_and_no_more() {
        let (mut budget, start) = (Budget::new(100), Instant::now());
        let granted = (0..10_000_u64).filter(|ms| budget.take(1, start + Duration::from_millis(*ms))).count();
        assert!((1090..=1100).contains(&granted), "100 at once, then 100 a second for ten seconds: {granted}");
    }

    #[test]
    fn what_is_refused_costs_nothing_and_a_pause_fills_one_second_at_most() {
        let (mut budget, start) = (Budget::new(10), Instant::now());
        assert!(!budget.take(11, start));
        assert!(budget.take(10, start));
        let later = start + Duration::from_secs(60);
        assert!(!budget.take(11, later));
        assert!(budget.take(10, later));
        assert!(!Budget::new(0).take(1, later));
        assert!(Budget::new(0).take(0, later));
    }
}
