//! Runs something again and again for a while, and says how fast it was.

use std::time::{Duration, Instant};

/// Runs before the clock starts: caches fill, clocks rise. A share of the whole, one run at least.
const WARM_UP_SHARE: u32 = 5;

/// How fast it was.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// Runs a second.
    pub per_s: f64,
    /// Median of a run.
    pub p50_us: f64,
    /// 99th percentile of a run.
    pub p99_us: f64,
    /// How many runs there were.
    pub runs: u64,
    /// How many there were before the clock started.
    pub warm_up: u64,
}

impl Measured {
    /// All runs, warm-up included.
    pub fn all_runs(&self) -> u64 {
        self.warm_up + self.runs
    }
}

/// Runs `work` for about `budget`, three times at least; it is told which run it is.
///
/// # Errors
/// The first error of `work` ends it.
pub fn measure<E>(budget: Duration, mut work: impl FnMut(usize) -> Result<(), E>) -> Result<Measured, E> {
    let begun = Instant::now();
    let mut run = 0;
    while run == 0 || begun.elapsed() < budget / WARM_UP_SHARE {
        work(run)?;
        run += 1;
    }
    let warm_up = run as u64;
    let mut times = Vec::new();
    let started = Instant::now();
    loop {
        let before = Instant::now();
        work(run)?;
        run += 1;
        times.push(before.elapsed());
        if started.elapsed() >= budget && times.len() >= 3 {
            return Ok(Measured { warm_up, ..summarise(times, started.elapsed()) });
        }
    }
}

fn summarise(mut times: Vec<Duration>, took: Duration) -> Measured {
    times.sort_unstable();
    let at = |share: f64| {
        let rank = (share * times.len() as f64).ceil() as usize;
        times[rank.clamp(1, times.len()) - 1].as_secs_f64() * 1e6
    };
    Measured {
        per_s: times.len() as f64 / took.as_secs_f64().max(1e-9),
        p50_us: at(0.50),
        p99_us: at(0.99),
        runs: times.len() as u64,
        warm_up: 0,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let times: Vec<_> = (1..=100).rev().map(Duration::from_micros).collect();
        let measured = summarise(times, Duration::from_millis(50));
        assert!((measured.p50_us - 50.0).abs() < 1e-9 && (measured.p99_us - 99.0).abs() < 1e-9);
        assert!((measured.per_s - 2000.0).abs() < 1e-6);
        let one = summarise(vec![Duration::from_micros(7)], Duration::from_micros(7));
        assert!((one.p50_us - 7.0).abs() < 1e-9 && (one.p99_us - 7.0).abs() < 1e-9);
    }

    #[test]
    fn runs_are_numbered_and_an_error_ends_it() {
        let mut seen = Vec::new();
        let measured = measure(Duration::ZERO, |run| {
            seen.push(run);
            Ok::<_, ()>(())
        });
        assert_eq!((seen, measured.unwrap().runs), (vec![0, 1, 2, 3], 3));
        assert_eq!(measure(Duration::ZERO, |run| if run == 2 { Err(run) } else { Ok(()) }), Err(2));
    }
}
