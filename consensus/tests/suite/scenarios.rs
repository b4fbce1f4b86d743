//! Every scenario of `consensus/scenarios` does what it says that it does.

use consensus::sim::scenario::{builtin, file};
use consensus::sim::{Report, Simulation};

/// Runs a built-in scenario, for at most so many simulated milliseconds, and tells how it went.
fn run(name: &str, seed: u64, ms_max: u64) -> Report {
    let text = builtin::text(name).expect("it is built in");
    let mut scenario = file::parse(text, seed).unwrap_or_else(|error| panic!("{name}: {error}"));
    scenario.duration_ms = scenario.duration_ms.min(ms_max);
    let report = Simulation::run(scenario);
    println!("{name}: {:?}, heights {:?}, {} events", report.latency, report.commits, report.steps);
    report
}

#[test]
fn every_scenario_does_what_it_expects() {
    for (name, _) in builtin::ALL {
        let report = run(name, 1, 60_000);
        assert_eq!(report.violations, [], "{name}");
    }
}
