//! Committees of every size and stakes of every weight: nothing overflows, everything commits.

use consensus::sim::Keys;
use consensus::{Core, Effect, Input, genesis_refs};
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, BlockRef, Round};

/// A full DAG; `late` comes out only after the others, all his rounds at once.
fn full_dag(keys: &Keys, rounds: u64, late: Option<u16>) -> Vec<Arc<BlockHeader>> {
    let configs: Vec<_> = keys.committee().indices().map(|author| keys.config(author)).collect();
    let mut last = genesis_refs(&configs[0]);
    let (mut dag, mut held) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let is_late = |author: AuthorityIndex| late == Some(author.0) && round > 1 && round < rounds;
        let row: Vec<Arc<BlockHeader>> = configs
            .iter()
            .map(|config| {
                let own = last[config.me.index()];
                let seen =
                    |block: &&BlockRef| block.author != config.me && !(is_late(block.author) && block.round.0 > 1);
                let ancestors = std::iter::once(&own).chain(last.iter().filter(seen)).copied().collect();
                keys.block(config, Round(round), ancestors, Vec::new(), u64::MAX - round, 0)
            })
            .collect();
        last = row.iter().map(|header| header.block_ref()).collect();
        let (now, later): (Vec<_>, Vec<_>) = row.into_iter().partition(|header| !is_late(header.author()));
        dag.extend(now);
        held.extend(later);
        if round + 1 == rounds {
            dag.append(&mut held);
        }
    }
    dag
}

fn commits(keys: &Keys, dag: &[Arc<BlockHeader>]) -> u64 {
    let (mut core, mut effects) = (Core::new(keys.config(AuthorityIndex(0)), 0), Vec::new());
    for header in dag {
        core.step(0, Input::Header { header: header.clone(), from: header.author() }, &mut effects);
    }
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Misbehaviour { .. } | Effect::Halted { .. })));
    core.status().last_commit_height.0
}

#[test]
fn committees_of_every_size_commit_every_round() {
    for size in [1, 2, 3, 4, 5, 7, 255] {
        let keys = Keys::generate(size);
        let rounds = if size > 100 { 5 } else { 30 };
        assert_eq!(commits(&keys, &full_dag(&keys, rounds, None)), rounds - 2, "{size} validators");
    }
}

#[test]
fn stakes_up_to_the_limit_do_not_overflow() {
    let most = 1u64 << 62;
    for stakes in [
        vec![most],
        vec![most / 4; 4],
        vec![most - 3, 1, 1, 1],
        vec![1, 1, 1, most - 3],
        vec![most / 2, most / 2],
        vec![1, 1_000, 1_000_000, 1_000_000_000],
    ] {
        let mut keys = Keys::with_stakes(&stakes);
        keys.parameters.schedule_interval_commits = 4;
        assert_eq!(commits(&keys, &full_dag(&keys, 30, None)), 28, "stakes {stakes:?}");
    }
}

/// All the votes of a validator who was not heard come in one commit, each for a leader with nearly all the stake.
#[test]
fn many_rounds_of_one_author_in_one_commit_do_not_overflow() {
    let keys = Keys::with_stakes(&[(1 << 62) - 3, 1, 1, 1]);
    assert!(commits(&keys, &full_dag(&keys, 16, Some(3))) > 8);
}
