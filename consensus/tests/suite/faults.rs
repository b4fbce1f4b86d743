//! Crashes, partitions and their mending.

use crate::{seeds, with_seed};
use consensus::sim::{Rng, Scenario, Simulation, Violation};
use types::AuthorityIndex;

/// Runs without new transactions until everything submitted is committed, and all running nodes are level.
pub fn settle(simulation: &mut Simulation, seed: u64, within_ms: u64) {
    simulation.set_load(false);
    let from = simulation.now_ms();
    while simulation.now_ms() < from + within_ms {
        with_seed(seed, simulation.run_for(100));
        if simulation.unsettled() == 0 {
            return;
        }
    }
    panic!("seed {seed}: {} transactions were not committed within {within_ms} ms", simulation.unsettled());
}

#[test]
fn four_honest_nodes_commit_every_transaction() {
    let mut simulation = Simulation::new(Scenario::new(1, 4));
    simulation.run_for(10_000).unwrap();
    settle(&mut simulation, 1, 2_000);
    // A round takes about 8 ms of links and 1 ms of devices, or 5 ms of delay.
    assert!(simulation.top().0 > 600, "only {} commits", simulation.top());
    let latencies = simulation.latencies_us(0);
    assert!(latencies.len() > 1_300);
    let p50 = latencies[latencies.len() / 2];
    assert!(p50 < 60_000, "p50 is {p50} us");
}

#[test]
fn a_quiet_committee_keeps_a_slow_pace_and_answers_at_once() {
    let mut scenario = Scenario::new(2, 4);
    scenario.load_us = 0;
    let mut simulation = Simulation::new(scenario.clone());
    simulation.run_for(10_000).unwrap();
    let idle = simulation.top().0;
    assert!((30..=45).contains(&idle), "{idle} commits in 10 idle seconds");

    scenario.load_us = 700_000;
    let mut simulation = Simulation::new(scenario);
    simulation.run_for(20_000).unwrap();
    let latencies = simulation.latencies_us(0);
    let p90 = latencies[latencies.len() * 9 / 10];
    assert!(p90 < 80_000, "p90 is {p90} us though nothing else is to do");
}

#[test]
fn same_seed_gives_the_same_trace() {
    let run = |seed| {
        let mut scenario = Scenario::new(seed, 4);
        scenario.links.loss_permille = 20;
        scenario.links.reorder = true;
        let mut simulation = Simulation::new(scenario);
        simulation.run_for(2_000).unwrap();
        simulation.crash(1);
        simulation.run_for(500).unwrap();
        simulation.restart(1).unwrap();
        simulation.run_for(1_000).unwrap();
        (simulation.trace(), simulation.steps(), simulation.top())
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3).0, run(4).0);
}

#[test]
fn one_crashed_of_four_leaves_the_schedule_and_the_rest_goes_on() {
    let mut simulation = Simulation::new(Scenario::new(5, 4));
    simulation.run_for(2_000).unwrap();
    simulation.crash(3);
    simulation.run_for(5_000).unwrap();
    assert_eq!(simulation.status(0).unwrap().excluded, [AuthorityIndex(3)]);
    let before = simulation.top().0;
    simulation.run_for(5_000).unwrap();
    let commits = simulation.top().0 - before;
    assert!(commits > 300, "{commits} commits in 5 s without the crashed leader");
    settle(&mut simulation, 5, 2_000);

    // Back again, it votes, scores and leads.
    simulation.set_load(true);
    simulation.restart(3).unwrap();
    simulation.run_for(5_000).unwrap();
    assert_eq!(simulation.status(0).unwrap().excluded, []);
}

#[test]
fn two_of_four_down_stop_and_one_returning_resumes() {
    let mut simulation = Simulation::new(Scenario::new(6, 4));
    simulation.run_for(2_000).unwrap();
    simulation.crash(0);
    simulation.crash(2);
    simulation.run_for(200).unwrap();
    let before = simulation.top();
    simulation.run_for(30_000).unwrap();
    assert_eq!(simulation.top(), before, "two of four have no quorum");
    simulation.restart(2).unwrap();
    simulation.run_for(5_000).unwrap();
    assert!(simulation.top().0 > before.0 + 100, "the one that is down leads no more");
    settle(&mut simulation, 6, 3_000);
}

#[test]
fn three_crashed_of_ten_drop_out_of_the_schedule() {
    let mut simulation = Simulation::new(Scenario::new(7, 10));
    simulation.run_for(1_000).unwrap();
    [1, 4, 8].into_iter().for_each(|node| simulation.crash(node));
    simulation.run_for(8_000).unwrap();
    assert_eq!(simulation.status(0).unwrap().excluded, [1, 4, 8].map(AuthorityIndex));
    settle(&mut simulation, 7, 2_000);
}

#[test]
fn partitions_heal() {
    for seed in seeds(1) {
        let mut rng = Rng::new(seed);
        let mut simulation = Simulation::new(Scenario::new(seed, 4));
        with_seed(seed, simulation.run_for(1_000));
        for _ in 0..3 {
            let mut order = [0, 1, 2, 3];
            rng.shuffle(&mut order);
            let split = rng.between(1, 3) as usize;
            simulation.partition(&[&order[..split], &order[split..]]);
            with_seed(seed, simulation.run_for(rng.between(100, 3_000)));
            simulation.heal();
            let before = simulation.top();
            with_seed(seed, simulation.run_for(2_000));
            assert!(simulation.top().0 > before.0 + 20, "seed {seed}: no progress after healing");
        }
        settle(&mut simulation, seed, 3_000);
    }
}

#[test]
fn one_node_restarts_at_random_moments() {
    for seed in seeds(2) {
        let mut rng = Rng::new(seed);
        let mut simulation = Simulation::new(Scenario::new(seed, 4));
        for _ in 0..6 {
            with_seed(seed, simulation.run_for(rng.between(1, 700)));
            let node = rng.between(0, 3) as u16;
            simulation.crash(node);
            with_seed(seed, simulation.run_for(rng.between(0, 400)));
            with_seed(seed, simulation.restart(node));
        }
        let before = simulation.top();
        with_seed(seed, simulation.run_for(2_000));
        assert!(simulation.top().0 > before.0 + 20, "seed {seed}: no progress after the restarts");
        settle(&mut simulation, seed, 3_000);
        let height = simulation.top().0;
        (0..4).for_each(|node| assert!(simulation.height(node).0 + 5 > height, "seed {seed}: {node} is behind"));
    }
}

#[test]
fn all_nodes_restart_at_random_moments() {
    for seed in seeds(2) {
        let mut simulation = Simulation::new(Scenario::new(seed, 4));
        with_seed(seed, all_restart(&mut simulation, seed));
        let before = simulation.top();
        with_seed(seed, simulation.run_for(3_000));
        assert!(simulation.top().0 > before.0 + 20, "seed {seed}: the chain stands still");
        settle(&mut simulation, seed, 3_000);
    }
}

/// Six times, all four lose power, sometimes at once and sometimes one after another, and come back.
fn all_restart(simulation: &mut Simulation, seed: u64) -> Result<(), Violation> {
    let mut rng = Rng::new(seed);
    for turn in 0..6 {
        simulation.run_for(rng.between(1, 600))?;
        let mut order = [0, 1, 2, 3];
        rng.shuffle(&mut order);
        for node in order {
            simulation.crash(node);
            simulation.run_for(if turn % 2 == 0 { 0 } else { rng.between(0, 5) })?;
        }
        for node in order {
            simulation.run_for(rng.between(0, 50))?;
            simulation.restart(node)?;
        }
    }
    Ok(())
}

/// The same scenario with the syncs taken out must fail: durable commits are gone, or a round is signed twice.
#[test]
fn syncs_that_do_nothing_are_noticed() {
    for seed in 0..6 {
        let mut scenario = Scenario::new(seed, 4);
        scenario.devices.ignore_syncs = true;
        let outcome = all_restart(&mut Simulation::new(scenario), seed);
        assert!(outcome.is_err(), "seed {seed}: six power cuts without syncs, and nobody noticed");
    }
}

/// Two of four stop because their clocks are wrong, so no more blocks are made that would show that the clocks are right
/// again; the last ones, which are sent again and again, do not.
#[test]
fn clocks_that_were_set_right_are_trusted_again_though_nothing_moves() {
    for seed in seeds(2) {
        let mut scenario = Scenario::new(seed, 4);
        (scenario.links.delay_us_min, scenario.links.delay_us_max) = (45_000, 50_000);
        let mut simulation = Simulation::new(scenario);
        with_seed(seed, simulation.run_for(1_000));
        simulation.jump_clock(0, -3_000);
        simulation.jump_clock(1, 3_000);
        with_seed(seed, simulation.run_for(3_000));
        let alarms = [0, 1].map(|node| simulation.status(node).unwrap().clock_alarm_ms.is_some());
        assert_eq!(alarms, [true; 2], "seed {seed}");
        [0, 1].into_iter().for_each(|node| simulation.reset_clock(node));
        let stopped = simulation.top();
        with_seed(seed, simulation.run_for(7_000));
        assert!(simulation.top().0 > stopped.0 + 20, "seed {seed}: {stopped} commits, then {}", simulation.top());
    }
}

/// One of four hangs, so the others wait for it in rounds, and measurements of clocks are few: a node whose clock was set
/// wrong and right again knows it from its own clocks. (`stele simulate --scenario mix-4 --seed 100690`)
#[test]
fn a_clock_that_was_set_right_is_right_at_once() {
    for seed in seeds(4) {
        let mut simulation = Simulation::new(Scenario::new(seed, 4));
        simulation.jump_clock(0, 0);
        with_seed(seed, simulation.run_for(1_000));
        simulation.hang(3);
        with_seed(seed, simulation.run_for(300));
        for by_ms in [-5_800, 5_800] {
            simulation.jump_clock(0, by_ms);
            with_seed(seed, simulation.run_for(700));
            let alarm_ms =
                simulation.status(0).unwrap().clock_alarm_ms.expect("the clock is wrong, and its node knows it");
            assert!((alarm_ms + by_ms).abs() < 200, "seed {seed}: {alarm_ms} ms after a jump of {by_ms} ms");
            let silent_since = simulation.status(0).unwrap().last_own_round;
            simulation.reset_clock(0);
            with_seed(seed, simulation.run_for(1_200));
            let status = simulation.status(0).unwrap();
            assert_eq!(status.clock_alarm_ms, None, "seed {seed}, set right after {by_ms} ms");
            assert!(status.last_own_round > silent_since, "seed {seed}: silent after {by_ms} ms were taken back");
        }
    }
}
