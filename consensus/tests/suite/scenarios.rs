//! Every scenario of `consensus/scenarios` does what it says that it does.

use consensus::sim::scenario::{builtin, file};
use consensus::sim::{MessageKind, Report, Simulation};
use std::io::Write;

/// Runs a built-in scenario, for at most so many simulated milliseconds, and tells how it went.
fn run(name: &str, seed: u64, ms_max: u64) -> Report {
    let text = builtin::text(name).expect("it is built in");
    let mut scenario = file::parse(text, seed).unwrap_or_else(|error| panic!("{name}: {error}"));
    scenario.duration_ms = scenario.duration_ms.min(ms_max);
    let report = Simulation::run(scenario);
    println!("{name} {seed}: {:?}, heights {:?}, {} events", report.latency, report.commits, report.steps);
    let reached: Vec<_> = report.marks.iter().filter(|(_, count)| *count > 0).collect();
    println!("{name} {seed}: {reached:?}");
    report
}

#[test]
fn every_scenario_does_what_it_expects() {
    let mut wrong = Vec::new();
    for (name, _) in builtin::ALL {
        let ms_max = if name.starts_with("mix") { 60_000 } else { u64::MAX };
        let start = std::time::Instant::now();
        let report = run(name, 1, ms_max);
        println!("{name} took {:?}", start.elapsed());
        wrong.extend(report.violations.into_iter().map(|violation| (name, violation)));
    }
    assert_eq!(wrong, []);
}

#[test]
fn validators_come_and_go_under_any_seed() {
    for name in ["removed-validator", "epoch-in-partition", "lost-history"] {
        for seed in crate::seeds(1) {
            assert_eq!(run(name, seed, u64::MAX).violations, [], "stele simulate --scenario {name} --seed {seed}");
        }
    }
}

#[test]
fn the_clients_of_a_validator_begin_when_it_joins() {
    let text = "about = \"one joins late\"
        duration_ms = 12_000
        [committee]
        size = 4
        joiners = 1
        [load]
        transactions_per_second = 20
        [[event]]
        at_ms = 10_000
        do = \"add-validator\"
        nodes = [4]";
    let report = Simulation::run(file::parse(text, 1).expect("a scenario"));
    assert_eq!(report.violations, []);
    assert!(report.commits[4] > 0, "it takes part");
    let longest_us = report.latencies_us.last().copied().unwrap_or_default();
    assert!((1..2_000_000).contains(&longest_us), "{longest_us}");
}

/// A validator that lost its disk asks for thousands of commits over links that deliver some messages twice. If every copy
/// of an answer asked for the next ones, their number would double about every ten round trips.
#[test]
fn copies_of_answers_ask_for_nothing() {
    let report = run("mix-7", 1_795_283_983, 108_000);
    assert_eq!(report.violations, []);
    let asked = report.traffic.of(MessageKind::CommitsRequest).messages;
    assert!((10..1_000).contains(&asked), "{asked}");
}

/// Two of four had let go of a payload that the third needed; the fourth had lost its disk and waited for all of them. The
/// third asked for commits once, of the fourth, and never again, because nothing came any more.
#[test]
fn who_is_behind_goes_on_asking_though_nothing_comes() {
    assert_eq!(run("mix-4-far-behind", 1_795_299_003, 120_000).violations, []);
}

/// Two of four were eight commits ahead and had let go of a block that the other two waited for; they were too near to be
/// asked for commits, and waited for the two.
#[test]
fn who_waits_for_what_the_others_let_go_of_asks_for_their_commits() {
    let report = run("mix-4-far-behind", 7_102_790, 245_000);
    assert_eq!(report.violations, []);
    assert!(report.marks.iter().any(|(name, count)| *name == "held-up" && *count > 0), "{:?}", report.marks);
}

/// Changes of the committee under every fault that there is.
#[test]
fn a_mix_with_changes_of_the_committee_goes_through_epochs() {
    let mut epochs = 0;
    for seed in 0..3 {
        let report = run("mix-4-epochs", seed, 120_000);
        assert_eq!(report.violations, [], "seed {seed}");
        epochs += report.marks.iter().find(|(name, _)| *name == "epochs-begun").map_or(0, |(_, count)| *count);
    }
    assert!(epochs >= 6, "{epochs}");
}

#[test]
fn a_mix_of_everything_gives_the_same_trace_again() {
    let once = run("mix-7", 5, 20_000);
    let again = run("mix-7", 5, 20_000);
    assert_eq!((once.trace_digest, once.marks), (again.trace_digest, again.marks));
    assert_ne!(run("mix-7", 6, 20_000).trace_digest, once.trace_digest);
}

/// Marks and violations of the mixes over new seeds, for as many seconds as `STELE_SIM_SECONDS` says (default 6; `cargo
/// xtask test` says 60). The seeds begin at `STELE_SIM_SEED`, or at a number that the clock gives and that is printed.
#[test]
fn fresh_seeds_of_the_mixes_violate_nothing() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seconds = number("STELE_SIM_SECONDS").unwrap_or(6);
    let clock = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map(|since| since.as_secs());
    let mut seed = number("STELE_SIM_SEED").unwrap_or_else(|| clock().expect("it is after 1970"));
    // Not captured, so that it is seen of a run that passes too.
    let _ = writeln!(std::io::stderr(), "fresh seeds from {seed} for {seconds} s");
    let start = std::time::Instant::now();
    let (mut runs, mut simulated_ms) = (0, 0);
    while start.elapsed().as_secs() < seconds {
        for name in ["mix-4", "mix-4-far-behind", "mix-7", "mix-4-epochs"] {
            let report = run(name, seed, 120_000);
            assert_eq!(report.violations, [], "stele simulate --scenario {name} --seed {seed}");
            (runs, simulated_ms) = (runs + 1, simulated_ms + report.simulated_ms);
        }
        seed += 1;
    }
    println!("{runs} runs, {simulated_ms} simulated ms");
}
