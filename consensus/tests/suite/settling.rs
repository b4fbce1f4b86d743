//! C1 of CONSENSUS.md §2.4: the own block waits not only for the leader below it, but for blocks that settle the slot
//! below that one, or for the timeout. And after a crash it waits for what the last own block stands on.

use crate::replica::{chain_led_by, small_keys};
use consensus::sim::Keys;
use consensus::{Config, Core, Effect, Input, Recovered, genesis_refs};
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, BlockRef, Round};

#[test]
fn a_block_waits_for_the_votes_that_settle_the_slot_two_rounds_below() {
    let keys = small_keys();
    let chain = chain_led_by(&keys, &[1, 2, 0]);
    let config = |author: u16| {
        let mut config: Config = keys.config(AuthorityIndex(author));
        config.chain = chain;
        config
    };
    let mut blocks: BTreeMap<(u64, u16), BlockRef> = BTreeMap::new();
    blocks.extend(genesis_refs(&config(0)).iter().map(|block| ((0, block.author.0), *block)));
    let mut make = |round: u64, author: u16, parents: &[u16]| -> Arc<BlockHeader> {
        let ancestors = parents.iter().map(|parent| blocks[&(round - 1, *parent)]).collect();
        let header = keys.block(&config(author), Round(round), ancestors, Vec::new(), 0, 0);
        blocks.insert((round, author), header.block_ref());
        header
    };
    for late in [false, true] {
        let (mut core, mut effects) = (Core::new(config(0), 0), Vec::new());
        let header = |header: &Arc<BlockHeader>| Input::Header { header: header.clone(), from: header.author() };
        core.step(0, Input::Tick, &mut effects);
        core.step(0, Input::Proposed { header: make(1, 0, &[0, 1, 2, 3]) }, &mut effects);
        for block in [make(1, 1, &[1, 0, 2, 3]), make(1, 2, &[2, 0, 1, 3])] {
            core.step(0, header(&block), &mut effects);
        }
        core.step(0, Input::Proposed { header: make(2, 0, &[0, 1, 2]) }, &mut effects);
        for block in [make(1, 3, &[3, 0, 1, 2]), make(2, 2, &[2, 1, 0]), make(2, 3, &[3, 0, 2])] {
            core.step(0, header(&block), &mut effects);
        }
        // A quorum of round 2 is here, and its leader 2. Of leader 1, blocks 0 and 2 are votes and 3 is none.
        assert_eq!(core.status().round, Round(3));
        let asked =
            |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Propose { round: Round(3), .. }));
        assert!(!asked(&effects), "two votes and one blame settle nothing");
        if late {
            core.step(1_000, Input::Tick, &mut effects);
        } else {
            core.step(0, header(&make(2, 1, &[1, 0, 2])), &mut effects);
        }
        assert!(asked(&effects));
    }
}

/// Of seven, the own block of round 2 stood on that of member 6 in round 1, which the crash took and the others did
/// without.
#[test]
fn after_a_crash_nothing_is_proposed_before_the_last_own_block_has_its_history() {
    let keys = Keys::generate(7);
    let config = |author: u16| keys.config(AuthorityIndex(author));
    let genesis = genesis_refs(&config(0));
    let block = |round: u64, author: u16, below: &[BlockRef], without: u16| {
        let own = below[usize::from(author)];
        let others = below.iter().filter(|block| block.author.0 != author && block.author.0 != without);
        let ancestors = std::iter::once(own).chain(others.copied()).collect();
        keys.block(&config(author), Round(round), ancestors, Vec::new(), 0, 0)
    };
    let first: Vec<Arc<BlockHeader>> = (0..7).map(|author| block(1, author, &genesis, u16::MAX)).collect();
    let below: Vec<BlockRef> = first.iter().map(|header| header.block_ref()).collect();
    let (headers, lost) = (first[..6].to_vec(), first[6].clone());
    let recovered = Recovered { headers, last_own: Some(block(2, 0, &below, 5)), ..Recovered::default() };
    let mut effects = Vec::new();
    let mut core = Core::recover(config(0), recovered, 0, &mut effects).unwrap();
    for author in 1..6 {
        let header = block(2, author, &below, 6);
        core.step(0, Input::Header { header, from: AuthorityIndex(author) }, &mut effects);
    }
    core.step(100_000, Input::Tick, &mut effects);
    let asked = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Propose { .. }));
    assert_eq!((core.status().round, asked(&effects)), (Round(3), false));
    core.step(100_000, Input::Header { header: lost, from: AuthorityIndex(6) }, &mut effects);
    assert!(asked(&effects));
}
