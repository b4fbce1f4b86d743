//! The incremental commit rule against the naive oracle after every few blocks, not only at the end: what has been
//! counted so far must decide exactly what an evaluation from scratch decides.

use crate::oracle::Oracle;
use crate::oracle_tests::{feed, records};
use crate::random_dag::{random_dag, random_keys};
use crate::seeds;
use consensus::sim::{Keys, Rng};
use consensus::{Core, LeaderSchedule, genesis_refs};
use std::collections::BTreeSet;
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, BlockRef, Round};

type Header = Arc<BlockHeader>;

/// The same blocks in another causal order. Each time one of the blocks is drawn whose ancestors are out; `late` authors
/// are drawn only when nothing else is left, so that votes and certificates come before a leader's second block does.
fn causal_order(dag: &[Header], late: &[AuthorityIndex], rng: &mut Rng) -> Vec<Header> {
    let (mut left, mut out) = (dag.to_vec(), Vec::<Header>::new());
    let mut there: BTreeSet<BlockRef> = BTreeSet::new();
    while !left.is_empty() {
        let free = |header: &&Header| {
            header.ancestors().iter().all(|ancestor| ancestor.round == Round(0) || there.contains(ancestor))
        };
        let free: Vec<Header> = left.iter().filter(free).cloned().collect();
        let early: Vec<Header> = free.iter().filter(|header| !late.contains(&header.author())).cloned().collect();
        let pool = if early.is_empty() || rng.chance(50) { free } else { early };
        let drawn = pool[rng.between(0, pool.len() as u64 - 1) as usize].clone();
        left.retain(|header| header.block_ref() != drawn.block_ref());
        there.insert(drawn.block_ref());
        out.push(drawn);
    }
    out
}

#[test]
fn after_every_few_blocks_the_core_has_committed_what_the_oracle_has() {
    let (mut compared, mut commits) = (0, 0);
    for seed in seeds(16) {
        let mut rng = Rng::new(seed ^ 0xC0);
        // Small ones after every block, large ones now and then.
        let (size, step) = if seed % 2 == 0 { (rng.between(4, 5), 1) } else { (rng.between(6, 10), 9) };
        let equal = rng.chance(500);
        let keys = random_keys(&mut rng, size, equal);
        let dag = random_dag(&keys, &mut rng, 16);
        let late: Vec<AuthorityIndex> = (0..size as u16).filter(|_| rng.chance(250)).map(AuthorityIndex).collect();
        let order = causal_order(&dag, &late, &mut rng);
        let config = keys.config(AuthorityIndex(0));
        let (mut core, mut found) = (Core::new(config.clone(), 0), Vec::new());
        for (index, header) in order.iter().enumerate() {
            found.extend(records(&feed(&mut core, std::slice::from_ref(header))));
            // Blocks below a core's garbage collection round are nothing to it, whatever the oracle does with them.
            if index % step == 0 && core.status().gc_round == Round(0) {
                let expected = Oracle::new(config.clone(), &order[..=index]).commits();
                assert_eq!(found, expected, "seed {seed}, {index} blocks");
                compared += 1;
            }
        }
        commits += found.len();
    }
    assert!(compared > 1_000 && commits > 100, "too little was compared: {compared} {commits}");
}

/// Slot 1 is skipped by three blocks of round 2 that do not have its leader's block, wherever that block comes in between.
#[test]
fn a_leader_that_comes_between_the_blames_is_blamed_by_those_before_it_too() {
    let keys = Keys::generate(4);
    let configs: Vec<_> = keys.committee().indices().map(|author| keys.config(author)).collect();
    let leader = LeaderSchedule::new(&configs[0]).leader(Round(1)).index();
    let genesis = genesis_refs(&configs[0]);
    let make = |author: usize, round: u64, below: &[BlockRef]| {
        let own = below.iter().filter(|block| block.author.index() == author);
        let others = below.iter().filter(|block| block.author.index() != author);
        let ancestors = own.chain(others).copied().collect();
        keys.block(&configs[author], Round(round), ancestors, Vec::new(), round, 0)
    };
    let first: Vec<Header> = (0..4).map(|author| make(author, 1, &genesis)).collect();
    let others: Vec<usize> = (0..4).filter(|author| *author != leader).collect();
    let below: Vec<BlockRef> = others.iter().map(|author| first[*author].block_ref()).collect();
    for before in 0..=3 {
        let mut order: Vec<Header> = others.iter().map(|author| first[*author].clone()).collect();
        order.extend(others.iter().map(|author| make(*author, 2, &below)));
        order.insert(3 + before, first[leader].clone());
        let mut core = Core::new(configs[0].clone(), 0);
        feed(&mut core, &order[..order.len() - 1]);
        assert_eq!(
            core.status().last_decided_round,
            Round(u64::from(before == 3)),
            "{before} blames before the leader"
        );
        feed(&mut core, &order[order.len() - 1..]);
        assert_eq!(core.status().last_decided_round, Round(1), "{before} blames before the leader");
    }
}
