//! The core against the naive oracle, on random DAGs with equivocations, fed in any order.

use crate::oracle::Oracle;
use crate::random_dag::{random_dag, random_keys};
use crate::seeds;
use consensus::sim::{Keys, Rng};
use consensus::{Core, Effect, Input, genesis_refs};
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, BlockRef, CommitRecord, Round};

/// A small committee and consensus parameters that bring the rare rules about.
pub fn keys_for(rng: &mut Rng) -> Keys {
    let size = rng.between(4, 7);
    random_keys(rng, size, true)
}

/// Feeds headers; returns every effect.
pub fn feed(core: &mut Core, headers: &[Arc<BlockHeader>]) -> Vec<Effect> {
    let mut effects = Vec::new();
    for header in headers {
        core.step(0, Input::Header { header: header.clone(), from: header.author() }, &mut effects);
    }
    effects
}

pub fn records(effects: &[Effect]) -> Vec<CommitRecord> {
    let record = |effect: &Effect| match effect {
        Effect::Commit { record, .. } => Some(record.clone()),
        Effect::Halted { .. } => panic!("halted with at most f faulty"),
        _ => None,
    };
    effects.iter().filter_map(record).collect()
}

/// What the DAGs of a test came to.
#[derive(Debug, Default)]
struct Reached {
    commits: usize,
    not_output: usize,
    tables: usize,
    longest_undecided: u64,
}

/// Feeds a DAG in several orders and compares each commit with the oracle's.
fn compare(seed: u64, rng: &mut Rng, keys: &Keys, rounds: u64, orders: u64, reached: &mut Reached) {
    let mut dag = random_dag(keys, rng, rounds);
    let config = keys.config(AuthorityIndex(0));
    let expected = Oracle::new(config.clone(), &dag).commits();
    let ordered: usize = expected.iter().map(|record| record.blocks.len()).sum();
    reached.commits += expected.len();
    reached.not_output += dag.len() - ordered.min(dag.len());
    for order in 0..orders {
        match order {
            0 => {}
            1 => dag.reverse(),
            _ => rng.shuffle(&mut dag),
        }
        let (mut core, mut found, mut excluded) = (Core::new(config.clone(), 0), Vec::new(), Vec::new());
        // Headers beyond the horizon, and of more than two twins at a time, are dropped, as in life; they come again.
        for _ in 0..rounds + 10 {
            for header in &dag {
                found.extend(records(&feed(&mut core, std::slice::from_ref(header))));
                let status = core.status();
                let undecided = status.highest_round.0 - status.last_decided_round.0;
                reached.longest_undecided = reached.longest_undecided.max(undecided);
                if status.excluded != excluded {
                    (excluded, reached.tables) = (status.excluded, reached.tables + 1);
                }
            }
            assert!(found.len() <= expected.len(), "seed {seed}, order {order}: too many commits");
            assert_eq!(found, expected[..found.len()], "seed {seed}, order {order}");
            if found.len() == expected.len() {
                break;
            }
        }
        assert_eq!(found.len(), expected.len(), "seed {seed}, order {order}");
    }
}

#[test]
fn any_order_of_insertion_gives_the_oracles_commits() {
    let mut reached = Reached::default();
    for seed in seeds(40) {
        let mut rng = Rng::new(seed);
        let keys = keys_for(&mut rng);
        compare(seed, &mut rng, &keys, 30, 4, &mut reached);
    }
    let Reached { commits, not_output, tables, longest_undecided } = reached;
    let rich = commits > 200 && not_output > 50 && tables > 100 && longest_undecided >= 12;
    assert!(rich, "the DAGs are too poor: {reached:?}");
}

#[test]
fn stakes_of_several_weights_give_the_oracles_commits() {
    let mut reached = Reached::default();
    for seed in seeds(20) {
        let mut rng = Rng::new(1_000_000 + seed);
        let size = rng.between(4, 10);
        let keys = random_keys(&mut rng, size, false);
        compare(seed, &mut rng, &keys, 30, 3, &mut reached);
    }
    assert!(reached.commits > 200 && reached.tables > 50, "the DAGs are too poor: {reached:?}");
}

#[test]
fn large_committees_give_the_oracles_commits() {
    for (size, share) in [(10, 4), (16, 2), (31, 1)] {
        let mut reached = Reached::default();
        for seed in seeds(share) {
            let mut rng = Rng::new(size * 1_000_000 + seed);
            let keys = random_keys(&mut rng, size, seed % 2 == 0);
            compare(seed, &mut rng, &keys, 24, 3, &mut reached);
        }
        assert!(reached.commits > 10 && reached.not_output > 10, "the DAGs of {size} are too poor: {reached:?}");
    }
}

/// Three validators of four in most rounds, so that there are few enough orders to walk through all of them.
#[test]
fn every_topological_order_of_a_small_dag_gives_the_same_commits() {
    let keys = Keys::generate(4);
    let (mut commits, mut orders) = (0, 0);
    for seed in seeds(1) {
        let mut rng = Rng::new(seed);
        let mut last = genesis_refs(&keys.config(AuthorityIndex(0)));
        let mut dag: Vec<Arc<BlockHeader>> = Vec::new();
        for round in 1..=5 {
            let below: Vec<BlockRef> = last.iter().filter(|block| block.round.0 + 1 == round).copied().collect();
            let missing = if round == 3 { 4 } else { rng.between(0, 3) as u16 };
            let block = |author: u16| {
                let own = last[usize::from(author)];
                let others = below.iter().filter(|block| block.author.0 != author);
                let ancestors =
                    std::iter::once(own).chain(others.take(if below.contains(&own) { 2 } else { 3 }).copied());
                keys.block(
                    &keys.config(AuthorityIndex(author)),
                    Round(round),
                    ancestors.collect(),
                    Vec::new(),
                    round,
                    0,
                )
            };
            let row: Vec<Arc<BlockHeader>> = (0..4).filter(|author| *author != missing).map(block).collect();
            row.iter().for_each(|header| last[header.author().index()] = header.block_ref());
            dag.extend(row);
        }
        let config = keys.config(AuthorityIndex(0));
        let expected = Oracle::new(config.clone(), &dag).commits();
        commits += expected.len();
        permute(&Core::new(config, 0), &dag, &mut vec![false; dag.len()], &mut Vec::new(), &expected, &mut orders);
    }
    assert!(commits > 8 && orders > 50_000, "{commits} commits, {orders} orders");
}

/// Walks through every order in which each block comes after its ancestors, one clone of the core for each step.
fn permute(
    core: &Core,
    dag: &[Arc<BlockHeader>],
    fed: &mut Vec<bool>,
    found: &mut Vec<CommitRecord>,
    expected: &[CommitRecord],
    orders: &mut u64,
) {
    if fed.iter().all(|fed| *fed) {
        *orders += 1;
        assert_eq!(found, expected);
        return;
    }
    for next in 0..dag.len() {
        let is_fed = |block: &BlockRef| dag.iter().zip(&*fed).any(|(header, fed)| *fed && header.block_ref() == *block);
        let ready = !fed[next] && dag[next].ancestors().iter().all(|block| block.round == Round(0) || is_fed(block));
        if !ready {
            continue;
        }
        let (mut core, before) = (core.clone(), found.len());
        found.extend(records(&feed(&mut core, &dag[next..=next])));
        fed[next] = true;
        permute(&core, dag, fed, found, expected, orders);
        fed[next] = false;
        found.truncate(before);
    }
}

#[test]
fn what_is_decided_stays_decided_as_the_dag_grows() {
    for seed in seeds(10) {
        let mut rng = Rng::new(seed);
        let keys = keys_for(&mut rng);
        let dag = random_dag(&keys, &mut rng, 25);
        let config = keys.config(AuthorityIndex(1));
        let whole = Oracle::new(config.clone(), &dag).commits();
        for length in (0..dag.len()).step_by(3) {
            let part = Oracle::new(config.clone(), &dag[..length]).commits();
            assert_eq!(part, whole[..part.len()], "seed {seed}, first {length} blocks");
        }
    }
}
