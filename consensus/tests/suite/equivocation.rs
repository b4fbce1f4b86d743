//! What a core does with an author's several blocks of one round.

use crate::oracle_tests::{feed, records};
use crate::replica::{chain_led_by, small_keys};
use consensus::sim::Keys;
use consensus::{Config, Core, Effect, Input, Misbehaviour, genesis_refs};
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, BlockRef, Digest, Round};

/// A block of the first round; `time` tells twins apart.
fn first_block(keys: &Keys, author: u16, time: u64) -> Arc<BlockHeader> {
    let config = keys.config(AuthorityIndex(author));
    let mut ancestors = genesis_refs(&config);
    ancestors.swap(0, usize::from(author));
    keys.block(&config, Round(1), ancestors, Vec::new(), time, 0)
}

#[test]
fn twins_are_referenced_by_the_one_first_seen_and_by_no_other() {
    let keys = small_keys();
    for order in [[1, 2], [2, 1]] {
        let mut core = Core::new(keys.config(AuthorityIndex(0)), 0);
        let mut effects = Vec::new();
        core.step(0, Input::Tick, &mut effects);
        core.step(0, Input::Proposed { header: first_block(&keys, 0, 0) }, &mut effects);
        let twins = order.map(|time| first_block(&keys, 3, time));
        effects.extend(feed(&mut core, &twins));
        effects.extend(feed(&mut core, &[first_block(&keys, 1, 0), first_block(&keys, 2, 0)]));
        core.step(10_000, Input::Tick, &mut effects);
        let ancestors = effects.iter().find_map(|effect| match effect {
            Effect::Propose { round: Round(2), ancestors, .. } => Some(ancestors.clone()),
            _ => None,
        });
        let ancestors = ancestors.expect("all of round 1 is here, and time passed");
        assert!(ancestors.contains(&twins[0].block_ref()), "{ancestors:?}");
        assert!(!ancestors.contains(&twins[1].block_ref()), "{ancestors:?}");
    }
}

#[test]
fn a_third_block_of_a_round_is_kept_only_if_another_asks_for_it() {
    let keys = small_keys();
    let mut core = Core::new(keys.config(AuthorityIndex(0)), 0);
    let blocks: Vec<Arc<BlockHeader>> = (0..50).map(|time| first_block(&keys, 3, time)).collect();
    let effects = feed(&mut core, &blocks);
    assert_eq!(core.status().dag_blocks, 2);
    let flood = |effect: &&Effect| matches!(effect, Effect::Misbehaviour { what: Misbehaviour::Flood { .. }, .. });
    assert_eq!(effects.iter().filter(flood).count(), 48);
    let config = keys.config(AuthorityIndex(1));
    let below = [first_block(&keys, 1, 0), first_block(&keys, 2, 0), blocks[20].clone()];
    let ancestors = below.iter().map(|header| header.block_ref()).collect();
    let asking = keys.block(&config, Round(2), ancestors, Vec::new(), 0, 0);
    feed(&mut core, &[below[0].clone(), below[1].clone(), asking.clone(), blocks[20].clone()]);
    assert!(core.header(&asking.block_ref()).is_some());
    assert_eq!((core.status().dag_blocks, core.status().suspended), (6, 0));
}

#[test]
fn blocks_of_a_round_that_the_author_has_his_own_ask_for_are_bounded_too() {
    let mut keys = small_keys();
    keys.parameters.gc_depth_rounds = 30;
    let mut core = Core::new(keys.config(AuthorityIndex(0)), 0);
    let (config, genesis) = (keys.config(AuthorityIndex(3)), genesis_refs(&keys.config(AuthorityIndex(3))));
    // Blocks of author 3 on ancestors that nobody has.
    let block = |round: u64, own: BlockRef, salt: u8| {
        let invented = |author: u16| BlockRef {
            round: Round(round - 1),
            author: AuthorityIndex(author),
            digest: Digest::sha256(&[salt, author as u8, round as u8]),
        };
        let ancestors = [own, invented(0), invented(1), invented(2)].to_vec();
        keys.block(&config, Round(round), ancestors, Vec::new(), u64::from(salt), 0)
    };
    let twins: Vec<Arc<BlockHeader>> = (0..56).map(|salt| block(2, genesis[3], salt)).collect();
    let asking = (0..56u8).map(|salt| block(3 + u64::from(salt / 2), twins[usize::from(salt)].block_ref(), salt));
    feed(&mut core, &asking.collect::<Vec<_>>());
    assert_eq!(core.status().suspended, 56);
    feed(&mut core, &twins);
    assert_eq!(core.status().suspended, 60, "two for each round of the garbage collection depth");
}

/// Two of four are faulty and tell the others apart: twins 3a and 3b both lead round 2 and both are committed. Slot 1
/// stays undecided, since 2a and 2b leave its leader 0 out, so nothing was handed out before both are seen.
///
/// ```text
/// round 1   0   1   2   3
/// round 2   0  2a  3a          1  2b  3b
/// round 3   0  2a  3a          1  2b  3b      each on the three of its side
/// round 4   0  2a  3a          1  2b  3b      likewise: certificates for 3a, certificates for 3b
/// ```
#[test]
fn halting_is_the_answer_to_two_committed_leaders_of_a_slot() {
    let keys = small_keys();
    let chain = chain_led_by(&keys, &[0, 3, 1]);
    let config = |author: u16| {
        let mut config: Config = keys.config(AuthorityIndex(author));
        config.chain = chain;
        config
    };
    let mut blocks: BTreeMap<(u64, u16, u64), BlockRef> = BTreeMap::new();
    let genesis = genesis_refs(&config(0));
    blocks.extend(genesis.iter().map(|block| ((0, block.author.0, 0), *block)));
    let mut make = |round: u64, author: u16, side: u64, parents: &[(u16, u64)]| {
        let ancestors = parents.iter().map(|(parent, side)| blocks[&(round - 1, *parent, *side)]).collect();
        let header = keys.block(&config(author), Round(round), ancestors, Vec::new(), side, 0);
        blocks.insert((round, author, side), header.block_ref());
        header
    };
    let own_first = |author: u16| {
        let others = (0..4).filter(move |other| *other != author);
        std::iter::once(author).chain(others).map(|author| (author, 0)).collect::<Vec<_>>()
    };
    let mut dag: Vec<Arc<BlockHeader>> = (0..4).map(|author| make(1, author, 0, &own_first(author))).collect();
    let (mut left, mut right) = (Vec::new(), Vec::new());
    left.push(make(2, 0, 0, &own_first(0)));
    left.push(make(2, 2, 0, &[(2, 0), (1, 0), (3, 0)]));
    left.push(make(2, 3, 0, &[(3, 0), (0, 0), (1, 0)]));
    right.push(make(2, 1, 1, &[(1, 0), (0, 0), (2, 0)]));
    right.push(make(2, 2, 1, &[(2, 0), (1, 0), (3, 0)]));
    right.push(make(2, 3, 1, &[(3, 0), (0, 0), (2, 0)]));
    for round in 3..=4 {
        for (side, members, blocks) in [(0, [0, 2, 3], &mut left), (1, [1, 2, 3], &mut right)] {
            for own in 0..3 {
                let mut parents = members.map(|member| (member, side));
                parents.swap(0, own);
                blocks.push(make(round, members[own], side, &parents));
            }
        }
    }
    dag.extend(left);
    let (mut core, mut effects) = (Core::new(config(1), 0), Vec::new());
    effects.extend(feed(&mut core, &dag));
    assert!(!core.status().halted && records(&effects).is_empty(), "one side alone is an honest DAG");
    let effects = feed(&mut core, &right);
    let halted = effects.iter().find_map(|effect| match effect {
        Effect::Halted { first, second } => {
            Some((first.author, second.author, first.round, first.digest != second.digest))
        }
        _ => None,
    });
    assert_eq!(halted, Some((AuthorityIndex(3), AuthorityIndex(3), Round(2), true)));
    assert!(core.status().halted);
    assert!(core.header(&right[0].block_ref()).is_some(), "reads go on");
    let more = feed(&mut core, &right);
    assert!(
        !more.iter().any(|effect| matches!(effect, Effect::Commit { .. } | Effect::Propose { .. })),
        "nothing else does"
    );
}
