//! The end of an epoch: marks in committed blocks end it for everybody at the same commit, whatever is cut or crashes.

use crate::{seeds, with_seed};
use consensus::sim::{Keys, Rng, Scenario, Simulation};
use consensus::{
    AdoptError, Checkpoint, Config, Core, Effect, Input, InvalidHeader, Misbehaviour, Recovered, genesis_refs,
};
use std::sync::Arc;
use types::{
    Anchor, AuthorityIndex, BlockHeader, BlockRef, CommitRecord, Committee, Digest, Epoch, Height, Round, TimestampMs,
};

/// Runs until the epoch is over at every node, and a little longer: nobody may commit more.
fn run_to_the_end(simulation: &mut Simulation, seed: u64, nodes: u16) -> Height {
    let over = |simulation: &Simulation, node| simulation.status(node).is_some_and(|status| status.over);
    let until = simulation.now_ms() + 30_000;
    while !(0..nodes).all(|node| over(simulation, node)) {
        assert!(simulation.now_ms() < until, "seed {seed}: the epoch does not end");
        with_seed(seed, simulation.run_for(50));
    }
    let last = simulation.top();
    let rounds = |simulation: &Simulation| (0..nodes).map(|node| simulation.status(node).unwrap().round).min().unwrap();
    let before = rounds(simulation);
    with_seed(seed, simulation.run_for(3_000));
    assert_eq!(simulation.top(), last, "seed {seed}: nothing is committed behind the last commit");
    assert!((0..nodes).all(|node| simulation.height(node) == last), "seed {seed}");
    assert!(rounds(simulation) > before, "seed {seed}: blocks go on, so that the last header's votes are heard");
    last
}

#[test]
fn an_epoch_ends_at_one_commit_for_all() {
    for seed in seeds(1) {
        let mut scenario = Scenario::new(seed, 4 + 3 * (seed % 2) as u16);
        scenario.links.loss_permille = 10;
        scenario.links.reorder = true;
        let nodes = scenario.keys.committee().size() as u16;
        let mut simulation = Simulation::new(scenario);
        simulation.close_at(Height(30));
        let last = run_to_the_end(&mut simulation, seed, nodes);
        assert!(last > Height(30) && last < Height(60), "seed {seed}: it ended at {last}");
    }
}

#[test]
fn an_idle_epoch_ends_as_fast_as_a_busy_one() {
    let mut scenario = Scenario::new(7, 4);
    scenario.load_us = 0;
    let mut simulation = Simulation::new(scenario);
    simulation.close_at(Height(4));
    while simulation.top() < Height(4) {
        simulation.run_for(10).unwrap();
    }
    let decided = simulation.now_ms();
    while !simulation.status(0).unwrap().over {
        simulation.run_for(10).unwrap();
    }
    let took = simulation.now_ms() - decided;
    assert!(took < 300, "the end took {took} ms");
}

#[test]
fn an_epoch_ends_though_nodes_crash_while_it_does() {
    for seed in seeds(2) {
        let mut simulation = Simulation::new(Scenario::new(seed, 4));
        let mut rng = Rng::new(seed ^ 0xe90c);
        simulation.close_at(Height(20));
        while simulation.top() < Height(20) {
            with_seed(seed, simulation.run_for(1));
        }
        // One after the other, at any moment of the closing, so that some marks are made only after a restart.
        for node in 0..4 {
            with_seed(seed, simulation.run_for(rng.between(0, 25)));
            simulation.crash(node);
            with_seed(seed, simulation.run_for(rng.between(0, 200)));
            with_seed(seed, simulation.restart(node));
        }
        run_to_the_end(&mut simulation, seed, 4);
    }
}

#[test]
fn an_epoch_ends_after_all_have_crashed_at_once() {
    for seed in seeds(1) {
        let mut simulation = Simulation::new(Scenario::new(seed, 4));
        simulation.close_at(Height(20));
        while simulation.top() < Height(20) {
            with_seed(seed, simulation.run_for(1));
        }
        with_seed(seed, simulation.run_for(seed * 5));
        (0..4).for_each(|node| simulation.crash(node));
        (0..4).for_each(|node| with_seed(seed, simulation.restart(node)));
        run_to_the_end(&mut simulation, seed, 4);
    }
}

#[test]
fn an_epoch_ends_when_a_partition_heals() {
    for seed in seeds(1) {
        let mut simulation = Simulation::new(Scenario::new(seed, 4));
        simulation.close_at(Height(20));
        while simulation.top() < Height(20) {
            with_seed(seed, simulation.run_for(1));
        }
        with_seed(seed, simulation.run_for(seed * 7));
        // No side has a quorum: marks of neither are enough.
        simulation.partition(&[&[0, 1]]);
        with_seed(seed, simulation.run_for(2_000));
        simulation.heal();
        run_to_the_end(&mut simulation, seed, 4);
    }
}

#[test]
fn a_node_that_was_away_reaches_the_same_end() {
    for seed in seeds(1) {
        let mut simulation = Simulation::new(Scenario::new(seed, 4));
        simulation.run_for(200).unwrap();
        simulation.partition(&[&[3]]);
        simulation.close_at(Height(40));
        while !(0..3).all(|node| simulation.status(node).unwrap().over) {
            with_seed(seed, simulation.run_for(50));
        }
        simulation.heal();
        run_to_the_end(&mut simulation, seed, 4);
    }
}

/// Rounds 1 to `rounds` of everybody on everybody; `marks` says whose blocks carry the mark from round 10 on.
fn dag(keys: &Keys, config: &Config, rounds: u64, marks: &[u16]) -> Vec<Arc<BlockHeader>> {
    dag_with(keys, config, rounds, &|author, round| round >= 10 && marks.contains(&author))
}

/// The same; `marks` says which blocks, by author and round, carry the mark.
fn dag_with(keys: &Keys, config: &Config, rounds: u64, marks: &dyn Fn(u16, u64) -> bool) -> Vec<Arc<BlockHeader>> {
    let configs: Vec<Config> = config.committee.indices().map(|me| Config { me, ..config.clone() }).collect();
    let mut below: Vec<BlockRef> = genesis_refs(config);
    let mut all = Vec::new();
    for round in 1..=rounds {
        let row: Vec<_> = configs
            .iter()
            .map(|config| {
                let mut ancestors = below.clone();
                ancestors.swap(0, config.me.index());
                if marks(config.me.0, round) {
                    keys.last_block(config, Round(round), ancestors, Vec::new(), round)
                } else {
                    keys.block(config, Round(round), ancestors, Vec::new(), round, 0)
                }
            })
            .collect();
        below = row.iter().map(|header| header.block_ref()).collect();
        all.extend(row);
    }
    all
}

fn feed(core: &mut Core, dag: &[Arc<BlockHeader>]) -> Vec<Effect> {
    let mut effects = Vec::new();
    for header in dag.iter().filter(|header| header.author() != AuthorityIndex(0)) {
        core.step(0, Input::Header { header: header.clone(), from: header.author() }, &mut effects);
    }
    effects
}

fn commits(effects: &[Effect]) -> Vec<(CommitRecord, Checkpoint, bool)> {
    let commit = |effect: &Effect| match effect {
        Effect::Commit { record, checkpoint, last_of_epoch, .. } => {
            Some((record.clone(), checkpoint.clone(), *last_of_epoch))
        }
        _ => None,
    };
    effects.iter().filter_map(commit).collect()
}

/// As an observer that proposes nothing: the own blocks of the DAG come from a peer.
fn observe(config: &Config, dag: &[Arc<BlockHeader>]) -> (Core, Vec<Effect>) {
    let mut core = Core::new(config.clone(), 0);
    let mut effects = Vec::new();
    for header in dag {
        core.step(0, Input::Header { header: header.clone(), from: AuthorityIndex(1) }, &mut effects);
    }
    (core, effects)
}

#[test]
fn marks_below_a_quorum_end_nothing() {
    let keys = Keys::generate(4);
    let config = keys.config(AuthorityIndex(0));
    let (core, effects) = observe(&config, &dag(&keys, &config, 40, &[2, 3]));
    let commits = commits(&effects);
    assert!(commits.len() > 30 && commits.iter().all(|(_, _, last)| !last));
    let marked = commits.last().unwrap().1.marked.authors();
    assert_eq!(marked.collect::<Vec<_>>(), [AuthorityIndex(2), AuthorityIndex(3)]);
    assert!(!core.status().over);
}

/// A liar marks once, others when his mark is older than the window: whoever knows the last commits alone must not come to
/// another end than who knows all.
#[test]
fn marks_count_for_a_window_of_commits_however_a_checkpoint_came_about() {
    let mut keys = Keys::generate(4);
    (keys.parameters.schedule_interval_commits, keys.parameters.schedule_window_commits) = (3, 6);
    let config = keys.config(AuthorityIndex(0));
    let marks = |author, round| match author {
        1 => round == 10,
        2 => round >= 25,
        3 => round >= 27,
        _ => round >= 45,
    };
    let (core, effects) = observe(&config, &dag_with(&keys, &config, 60, &marks));
    let commit = |effect: &Effect| match effect {
        Effect::Commit { record, headers, checkpoint, .. } => {
            Some((record.clone(), headers.clone(), checkpoint.clone()))
        }
        _ => None,
    };
    let commits: Vec<_> = effects.iter().filter_map(commit).collect();
    let ends_at = commits.last().unwrap().0.leader.round;
    assert!(core.status().over && (Round(45)..=Round(47)).contains(&ends_at), "it ends at {ends_at}");
    let of_the_liar = |checkpoint: &Checkpoint| checkpoint.marked.authors().any(|author| author == AuthorityIndex(1));
    assert_eq!(commits.iter().filter(|(.., behind)| of_the_liar(behind)).count(), 6);
    for (index, (_, _, expected)) in commits.iter().enumerate() {
        let from = Checkpoint::rebuilt_from(&config.parameters, Height(1), expected.height);
        let needed = commits[from.0 as usize - 1..=index].iter();
        let needed: Vec<_> = needed.map(|(record, headers, _)| (record.clone(), headers.clone())).collect();
        assert_eq!(Checkpoint::rebuild(&config, Height(1), &needed).as_ref(), Some(expected), "height {}", index + 1);
    }
}

#[test]
fn the_commit_that_brings_the_marks_to_a_quorum_is_the_last() {
    let keys = Keys::generate(4);
    let config = keys.config(AuthorityIndex(0));
    let dag = dag(&keys, &config, 40, &[1, 2, 3]);
    let (mut core, effects) = observe(&config, &dag);
    let all = commits(&effects);
    let (record, checkpoint, last) = all.last().unwrap();
    assert!(*last && all.iter().filter(|(_, _, last)| *last).count() == 1);
    assert_eq!(checkpoint.marked.authors().count(), 3);
    assert!(core.status().over);
    // Its leader's history is the first that holds blocks of round 10 by three authors.
    assert!(record.leader.round <= Round(11), "{record:?}");

    let next = CommitRecord { height: record.height.next(), previous: record.digest(), ..record.clone() };
    let mut said = Vec::new();
    core.step(0, Input::Adopt { record: next, headers: Vec::new() }, &mut said);
    let refused = |effect: &Effect| matches!(effect, Effect::AdoptRefused { reason: AdoptError::EpochOver, .. });
    assert!(said.iter().any(refused));

    // From any checkpoint, the same end; from the last one, nothing more.
    let records: Vec<_> = all.iter().map(|(record, _, _)| record.clone()).collect();
    for (index, (_, checkpoint, _)) in all.iter().enumerate() {
        let recovered = Recovered {
            checkpoint: Some(checkpoint.clone()),
            headers: dag.clone(),
            commits: records[..=index].to_vec(),
            ..Recovered::default()
        };
        let mut said = Vec::new();
        let core = Core::recover(config.clone(), recovered, 0, &mut said).unwrap();
        assert_eq!(commits(&said), all[index + 1..], "from checkpoint {index}");
        assert!(core.status().over);
    }
}

#[test]
fn what_is_kept_behind_the_end_is_bounded() {
    let mut keys = Keys::generate(4);
    keys.parameters.gc_depth_rounds = 20;
    let config = keys.config(AuthorityIndex(0));
    let (core, _) = observe(&config, &dag(&keys, &config, 300, &[1, 2, 3]));
    assert!(core.status().over);
    assert!(core.status().dag_blocks <= 4 * 21, "{} blocks", core.status().dag_blocks);
}

#[test]
fn the_next_epoch_goes_on_from_the_last_commit() {
    let keys = Keys::generate(4);
    let old = keys.config(AuthorityIndex(0));
    let committee = Committee::new(Epoch(2), keys.committee().authorities().to_vec()).unwrap();
    let anchor = Anchor {
        height: Height(7),
        header: Digest::sha256(b"the last header"),
        commit: Digest::sha256(b"the last commit"),
        timestamp: TimestampMs(1_000),
    };
    let config = Config { committee: Arc::new(committee), anchor, ..old.clone() };
    let dag = dag(&keys, &config, 12, &[]);
    let (core, effects) = observe(&config, &dag);
    let all = commits(&effects);
    let first = &all[0].0;
    assert_eq!((first.height, first.previous), (Height(8), anchor.commit));
    assert!(first.timestamp >= anchor.timestamp, "time goes on");
    assert_eq!(core.status().last_commit_height, Height(7 + all.len() as u64));

    // Recovery with nothing behind the anchor, and with the first commits.
    for count in 0..3 {
        let recovered = Recovered {
            headers: dag.clone(),
            commits: all[..count].iter().map(|(record, _, _)| record.clone()).collect(),
            ..Recovered::default()
        };
        let mut said = Vec::new();
        Core::recover(config.clone(), recovered, 0, &mut said).unwrap();
        assert_eq!(commits(&said), all);
    }

    // Blocks of the old epoch, and of the same epoch on another history, are no part of it.
    let stranger = keys.block(&Config { me: AuthorityIndex(1), ..old.clone() }, Round(1), swapped(&old), vec![], 0, 0);
    let other = Config { anchor: Anchor { header: Digest::sha256(b"another"), ..anchor }, ..config.clone() };
    let forked =
        keys.block(&Config { me: AuthorityIndex(1), ..other.clone() }, Round(1), swapped(&other), vec![], 0, 0);
    let mut fresh = Core::new(config.clone(), 0);
    let said = feed(&mut fresh, &[stranger, forked]);
    let reasons: Vec<_> = said
        .iter()
        .filter_map(|effect| match effect {
            Effect::Misbehaviour { what: Misbehaviour::InvalidHeader { reason, .. }, .. } => Some(*reason),
            _ => None,
        })
        .collect();
    assert_eq!(reasons[0], InvalidHeader::Epoch(Epoch(1)));
    assert!(matches!(reasons[1], InvalidHeader::NotGenesis(_)));
}

/// Genesis blocks with that of validator 1 first.
fn swapped(config: &Config) -> Vec<BlockRef> {
    let mut genesis = genesis_refs(config);
    genesis.swap(0, 1);
    genesis
}
