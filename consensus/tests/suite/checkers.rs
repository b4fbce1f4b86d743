//! Each checker of the simulator notices what it is there for: scenarios that are broken on purpose.

use consensus::sim::{LinkPlan, Links, Report, Scenario, Simulation, Violation};

fn broken(change: impl FnOnce(&mut Scenario)) -> Report {
    let mut scenario = Scenario::new(1, 4);
    scenario.bounds.liveness_ms = Some(2_000);
    change(&mut scenario);
    Simulation::run(scenario)
}

#[test]
fn a_committee_that_hears_nothing_stalls() {
    let report = broken(|scenario| scenario.links.loss_permille = 1_000);
    assert!(matches!(report.violations[..], [Violation::Stalled { bound_ms: 2_000, .. }]), "{:?}", report.violations);
}

#[test]
fn a_node_that_hears_nothing_is_behind() {
    let report = broken(|scenario| {
        let deaf = Links { loss_permille: 1_000, ..scenario.links };
        scenario.link_plans = [0, 1, 2].map(|from| LinkPlan { from, to: 3, links: Some(deaf) }).to_vec();
        scenario.load_us = 0;
    });
    assert!(matches!(report.violations[..], [Violation::Behind { .. }]), "{:?}", report.violations);
}

#[test]
fn faults_beyond_f_are_no_stall() {
    let mut scenario = Scenario::new(1, 4);
    scenario.bounds.liveness_ms = Some(2_000);
    let mut simulation = Simulation::new(scenario);
    simulation.crash(1);
    simulation.hang(2);
    simulation.run_for(20_000).expect("two of four are no quorum, and nobody can help it");
    simulation.resume(2);
    simulation.run_for(5_000).expect("three are");
    assert!(simulation.top().0 > 100);
}

#[test]
fn what_a_scenario_expects_and_does_not_get_is_named() {
    let report = broken(|scenario| {
        scenario.expect.commits_min = Some(1_000_000);
        scenario.expect.latency_p50_ms_max = Some(1);
        scenario.expect.latency_p99_ms_max = Some(1);
        scenario.expect.latency_mean_ms_max = Some(1);
        scenario.expect.second_p50_ms_max = Some(1);
        scenario.expect.marks = vec!["crashes".to_owned(), "direct-commit".to_owned()];
    });
    assert_eq!(report.violations.len(), 6, "{:?}", report.violations);
    assert_eq!(report.violations[5], Violation::Unreached("crashes".to_owned()));
}

/// Disks that do not keep what they say, and guards that are lost in every crash: somebody signs a round twice.
#[test]
fn a_round_signed_twice_is_noticed() {
    let equivocates = |seed: u64| {
        let mut scenario = Scenario::new(seed, 4);
        scenario.devices.ignore_syncs = true;
        scenario.devices.flush_permille = 0;
        let mut simulation = Simulation::new(scenario);
        for turn in 0..40 {
            let node = turn % 4;
            simulation.run_for(37)?;
            simulation.crash(node);
            simulation.lose_guard(node);
            simulation.restart(node)?;
        }
        Ok(())
    };
    let outcomes: Vec<Result<(), Violation>> = (0..20).map(equivocates).collect();
    assert!(outcomes.iter().all(Result::is_err), "{outcomes:?}");
    let twice = |outcome: &&Result<(), Violation>| matches!(outcome, Err(Violation::Equivocated { .. }));
    assert!(outcomes.iter().filter(twice).count() > 0, "{outcomes:?}");
}
