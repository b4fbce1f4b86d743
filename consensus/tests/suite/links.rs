//! Bad links: loss, reorder, duplicates, links that do not exist, nodes left far behind.

use crate::faults::settle;
use crate::{seeds, with_seed};
use consensus::sim::{Scenario, Simulation};

#[test]
fn lossy_reordering_duplicating_links_only_slow_down() {
    for seed in seeds(1) {
        let mut scenario = Scenario::new(seed, 4);
        scenario.links.loss_permille = 50;
        scenario.links.duplicate_permille = 50;
        scenario.links.reorder = true;
        scenario.links.delay_us_min = 1_000;
        scenario.links.delay_us_max = 30_000;
        let mut simulation = Simulation::new(scenario);
        with_seed(seed, simulation.run_for(6_000));
        assert!(simulation.top().0 > 60, "seed {seed}: {} commits", simulation.top());
        settle(&mut simulation, seed, 4_000);
    }
}

#[test]
fn a_node_left_beyond_garbage_collection_catches_up_by_adopting() {
    for seed in seeds(1) {
        let mut scenario = Scenario::new(seed, 4);
        scenario.keys.parameters.gc_depth_rounds = 40;
        let mut simulation = Simulation::new(scenario);
        with_seed(seed, simulation.run_for(500));
        simulation.partition(&[&[2]]);
        with_seed(seed, simulation.run_for(6_000));
        let (behind, top) = (simulation.height(2), simulation.top());
        assert!(top.0 > behind.0 + 200, "seed {seed}: the rest went on");
        simulation.heal();
        with_seed(seed, simulation.run_for(4_000));
        let (height, top) = (simulation.height(2), simulation.top());
        assert!(height.0 + 10 > top.0, "seed {seed}: node 2 is at {height} of {top}");
        settle(&mut simulation, seed, 3_000);
        let status = simulation.status(2).unwrap();
        assert!(status.last_own_round.0 + 5 > simulation.status(0).unwrap().round.0, "seed {seed}: it votes again");
    }
}

#[test]
fn a_crashed_node_left_beyond_garbage_collection_catches_up() {
    let mut scenario = Scenario::new(11, 4);
    scenario.keys.parameters.gc_depth_rounds = 40;
    let mut simulation = Simulation::new(scenario);
    simulation.run_for(1_000).unwrap();
    simulation.crash(1);
    simulation.run_for(6_000).unwrap();
    simulation.restart(1).unwrap();
    simulation.run_for(4_000).unwrap();
    assert!(simulation.height(1).0 + 10 > simulation.top().0);
    settle(&mut simulation, 11, 3_000);
}

#[test]
fn a_node_with_partial_links_keeps_up() {
    let mut whole = Simulation::new(Scenario::new(12, 10));
    whole.run_for(5_000).unwrap();
    let mut partial = Simulation::new(Scenario::new(12, 10));
    (4..10).for_each(|peer| partial.set_cut(0, peer, true));
    partial.run_for(5_000).unwrap();
    let median = |simulation: &Simulation| {
        let latencies = simulation.latencies_us(0);
        latencies[latencies.len() / 2]
    };
    let (p50, whole_p50) = (median(&partial), median(&whole));
    let (commits, of, rounds) = (partial.top().0, whole.top().0, partial.status(1).unwrap().round.0);
    println!("{commits} commits in {rounds} rounds, {of} with all links, p50 {p50} of {whole_p50} us");
    assert!(commits * 10 >= rounds * 9, "{commits} commits in {rounds} rounds");
    // It leads one round in ten, which then takes three link delays instead of one: it hears of most blocks over one
    // other node, and most hear of its own so.
    assert!(commits * 5 >= of * 4, "{commits} commits of {of}");
    // Two of the longest link delays more.
    assert!(p50 <= whole_p50 + 16_000, "p50 {p50} us, of {whole_p50} with all links");
    assert!(partial.height(0).0 + 10 > partial.top().0, "node 0 keeps up");
    settle(&mut partial, 12, 3_000);
}
