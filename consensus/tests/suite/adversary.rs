//! Members that do not keep the rules.

use crate::faults::settle;
use crate::{seeds, with_seed};
use consensus::sim::{AdversaryKind, Rng, Scenario, Simulation};
use types::AuthorityIndex;

const EQUIVOCATOR: AdversaryKind = AdversaryKind::Equivocator { coalition: false };

#[test]
fn an_equivocator_of_four_neither_forks_nor_stops_the_rest() {
    for seed in seeds(2) {
        let mut scenario = Scenario::new(seed, 4);
        scenario.adversaries = vec![(1, EQUIVOCATOR)];
        let mut simulation = Simulation::new(scenario);
        with_seed(seed, simulation.run_for(4_000));
        assert!(simulation.top().0 > 100, "seed {seed}: {} commits", simulation.top());
        let excluded = simulation.status(0).unwrap().excluded;
        assert_eq!(excluded, [AuthorityIndex(1)], "seed {seed}: his proof is committed, and he leads no more");
        settle(&mut simulation, seed, 3_000);
    }
}

#[test]
fn two_equivocators_of_seven_with_restarts_and_loss() {
    for seed in seeds(1) {
        let mut rng = Rng::new(seed);
        let mut scenario = Scenario::new(seed, 7);
        scenario.adversaries = vec![(0, EQUIVOCATOR), (5, EQUIVOCATOR)];
        scenario.links.loss_permille = 10;
        scenario.links.reorder = true;
        scenario.keys.parameters.gc_depth_rounds = 60;
        let mut simulation = Simulation::new(scenario);
        for _ in 0..4 {
            with_seed(seed, simulation.run_for(rng.between(100, 800)));
            let node = rng.between(1, 4) as u16;
            simulation.crash(node);
            with_seed(seed, simulation.run_for(rng.between(0, 300)));
            with_seed(seed, simulation.restart(node));
        }
        let before = simulation.top();
        with_seed(seed, simulation.run_for(3_000));
        assert!(simulation.top().0 > before.0 + 20, "seed {seed}: no progress");
    }
}

/// What shows that an adversary of each kind was at work.
fn trace_of(kind: &AdversaryKind) -> &'static [&'static str] {
    match kind {
        AdversaryKind::Equivocator { .. } | AdversaryKind::Twins { .. } => &["twin-seen", "proof-committed"],
        AdversaryKind::Withholder { .. } | AdversaryKind::Dropper { .. } => &["timeout-proposal"],
        AdversaryKind::SelectiveSender { .. } => &["header-request"],
        AdversaryKind::FutureRounder { .. } => &["block-suspended", "header-request"],
        AdversaryKind::Flooder { .. } => &["block-suspended", "header-request", "twin-seen"],
        AdversaryKind::RemovedTalker => &["forgeries-refused"],
        AdversaryKind::AncientReferencer | AdversaryKind::VoteLiar => &["direct-commit"],
    }
}

#[test]
fn one_adversary_of_each_kind_of_four_hinders_nobody_for_long() {
    for kind in AdversaryKind::all() {
        for seed in 0..2 {
            let mut scenario = Scenario::new(seed, 4);
            scenario.adversaries = vec![((seed % 4) as u16, kind)];
            scenario.bounds.liveness_ms = Some(5_000);
            scenario.duration_ms = 12_000;
            scenario.expect.commits_min = Some(100);
            scenario.expect.lag_commits_max = Some(50);
            scenario.expect.marks = trace_of(&kind).iter().map(|name| (*name).to_owned()).collect();
            let report = Simulation::run(scenario);
            assert_eq!(report.violations, [], "{} seed {seed}, {:?}", kind.name(), report.marks);
        }
    }
}

#[test]
fn coalitions_of_any_two_kinds_of_seven_hinder_nobody_for_long() {
    let kinds = AdversaryKind::all();
    for seed in seeds(1) {
        let mut rng = Rng::new(seed);
        let mut draw = || kinds[rng.between(0, kinds.len() as u64 - 1) as usize];
        let (first, second) = (draw(), draw());
        let mut scenario = Scenario::new(seed, 7);
        scenario.adversaries = vec![(1, first), (4, second)];
        scenario.bounds.liveness_ms = Some(5_000);
        scenario.duration_ms = 7_000;
        scenario.expect.commits_min = Some(100);
        let report = Simulation::run(scenario);
        assert_eq!(report.violations, [], "{} and {} seed {seed}", first.name(), second.name());
    }
}

#[test]
fn equivocators_in_coalition_change_nothing_as_long_as_they_are_f() {
    for seed in seeds(1) {
        let mut scenario = Scenario::new(seed, 7);
        let coalition = AdversaryKind::Equivocator { coalition: true };
        scenario.adversaries = vec![(0, coalition), (5, coalition)];
        scenario.bounds.liveness_ms = Some(5_000);
        let report = Simulation::run(scenario);
        assert_eq!(report.violations, [], "seed {seed}");
    }
}
