//! Many runs of one scenario, on all cores.

use crate::command::simulate::outcome::Outcome;
use consensus::sim::{Report, Scenario, Simulation};
use std::io::{IsTerminal, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// Runs every seed of a range, or as many as begin within some seconds. The first violation lets no further run begin.
pub fn run_all(scenario: &Scenario, seeds: Range<u64>, wall_seconds: Option<u64>, threads: usize) -> Outcome {
    let start = Instant::now();
    let deadline = wall_seconds.map(|seconds| start + Duration::from_secs(seconds));
    let next = AtomicU64::new(seeds.start);
    let (sender, reports) = channel::<Report>();
    let mut outcome = Outcome::new(seeds.start);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while deadline.is_none_or(|deadline| Instant::now() < deadline) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let report = Simulation::run(Scenario { seed, ..scenario.clone() });
                    if !report.violations.is_empty() {
                        next.store(seeds.end, Ordering::Relaxed);
                    }
                    // The receiver outlives all senders.
                    let _ = sender.send(report);
                }
            });
        }
        drop(sender);
        let progress = std::io::stderr().is_terminal();
        for report in reports {
            outcome.add(&report);
            if progress {
                let _ = write!(std::io::stderr(), "\r{}", outcome.progress(start.elapsed()));
            }
        }
        if progress {
            let _ = writeln!(std::io::stderr());
        }
    });
    outcome.finish(start.elapsed());
    outcome
}
