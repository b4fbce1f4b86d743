//! The core against the naive oracle, on random DAGs with equivocations, fed in any order.

use crate::oracle::{Oracle, random_dag};
use crate::seeds;
use consensus::sim::{Keys, Rng};
use consensus::{Core, Effect, Input};
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, CommitRecord};

/// A committee and consensus parameters that bring the rare rules about.
pub fn keys_for(rng: &mut Rng) -> Keys {
    let mut keys = Keys::generate(rng.between(4, 7) as u16);
    keys.parameters.gc_depth_rounds = [6, 10, 300][rng.between(0, 2) as usize];
    keys.parameters.schedule_interval_commits = [3, 5, 10_000][rng.between(0, 2) as usize];
    keys.parameters.schedule_window_commits = rng.between(2, 8);
    keys
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

#[test]
fn any_order_of_insertion_gives_the_oracles_commits() {
    let (mut most, mut commits, mut twins) = (0, 0, 0);
    for seed in seeds(40) {
        let mut rng = Rng::new(seed);
        let keys = keys_for(&mut rng);
        let mut dag = random_dag(&keys, &mut rng, 30);
        let config = keys.config(AuthorityIndex(0));
        let expected = Oracle::new(config.clone(), &dag).commits();
        most = most.max(expected.len());
        commits += expected.len();
        let ordered: usize = expected.iter().map(|record| record.blocks.len()).sum();
        twins += dag.len() - ordered.min(dag.len());
        for order in 0..3 {
            if order > 0 {
                rng.shuffle(&mut dag);
            }
            let mut core = Core::new(config.clone(), 0);
            let mut found = Vec::new();
            // Headers beyond the horizon are dropped, as in life; they come again.
            for _ in 0..30 {
                found.extend(records(&feed(&mut core, &dag)));
                assert!(found.len() <= expected.len() && found == expected[..found.len()], "seed {seed}, {order}");
            }
            assert_eq!(found.len(), expected.len(), "seed {seed}, order {order}");
        }
    }
    assert!(most > 15 && commits > 200 && twins > 50, "the DAGs are too poor: {most} {commits} {twins}");
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
