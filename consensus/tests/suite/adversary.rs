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
