//! Every scenario of `consensus/scenarios` does what it says that it does.

use consensus::sim::scenario::{builtin, file};
use consensus::sim::{Report, Simulation};

/// Runs a built-in scenario.
fn run(name: &str, seed: u64) -> Report {
    let text = builtin::text(name).expect("it is built in");
    Simulation::run(file::parse(text, seed).unwrap_or_else(|error| panic!("{name}: {error}")))
}

#[test]
#[ignore]
fn measure() {
    for (name, text) in builtin::ALL {
        let start = std::time::Instant::now();
        let mut scenario = file::parse(text, 1).unwrap();
        scenario.duration_ms = scenario.duration_ms.min(60_000);
        let report = Simulation::run(scenario);
        println!(
            "{name}: {:?} commits {:?} {:?} steps {} sent {:?} in {:?}",
            report.latency, report.commits, report.violations, report.steps, report.sent, start.elapsed()
        );
    }
    let _ = run;
}
