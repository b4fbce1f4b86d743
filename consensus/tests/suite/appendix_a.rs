//! The DAG of appendix A of the Mysticeti paper (arXiv 2310.14821), and what the paper decides for each of its blocks.
//! The Quint specification of Informal Systems has the same DAG and decisions as a test.
//!
//! The paper has four leaders a round and Stele one, so every choice of leaders for rounds 1 to 4 is tried: the direct
//! rule does not know how many leaders there are, and the anchor of a slot of round 1 is the leader of round 4 unless
//! that is skipped.

use crate::oracle_tests::{feed, records};
use consensus::sim::Keys;
use consensus::{Core, LeaderSchedule, genesis_refs};
use std::collections::BTreeMap;
use types::{AuthorityIndex, BlockRef, ChainId, Digest, Round};

/// Round, author, and the authors of its parents in the round below. One author, 2, has no block in round 3; his next
/// one stands on that of round 2 besides.
const DAG: [(u64, u16, &[u16]); 18] = [
    (2, 0, &[0, 1, 2]),
    (2, 1, &[0, 1, 3]),
    (2, 2, &[0, 2, 3]),
    (2, 3, &[0, 2, 3]),
    (3, 0, &[0, 1, 2]),
    (3, 1, &[0, 1, 3]),
    (3, 3, &[0, 1, 2, 3]),
    (4, 0, &[0, 1, 3]),
    (4, 1, &[0, 1, 3]),
    (4, 2, &[0, 1, 3]),
    (4, 3, &[0, 1, 3]),
    (5, 0, &[0, 2, 3]),
    (5, 1, &[0, 1, 2, 3]),
    (5, 2, &[0, 2, 3]),
    (5, 3, &[0, 2, 3]),
    (6, 0, &[0, 1, 2, 3]),
    (6, 1, &[1, 2, 3]),
    (6, 2, &[1, 2, 3]),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Paper {
    Commit,
    Skip,
    Undecided,
}

/// What the paper says of a block, by round and author. In its letters: L1a is (1, 0), L2a (2, 1), L3c (3, 0),
/// L4a (4, 1). Round 3 has no block of author 2, which nobody can vote for.
fn paper(round: u64, author: u16, anchor: Paper) -> Paper {
    use Paper::{Commit, Skip, Undecided};
    // Slots of round 1 but the first need the indirect rule; a skipped leader of round 4 leaves none but undecided ones
    // of round 5 as the anchor.
    let by_anchor = |decided| if anchor == Commit { decided } else { Undecided };
    match (round, author) {
        (1, 0) | (2, 0 | 1) | (3, 0 | 1 | 3) | (4, 0 | 2 | 3) => Commit,
        (3, 2) | (4, 1) => Skip,
        (1, 1) => by_anchor(Skip),
        (1, 2 | 3) => by_anchor(Commit),
        _ => Undecided,
    }
}

#[test]
fn the_example_of_the_mysticeti_paper_is_decided_as_printed() {
    let keys = Keys::generate(4);
    let (mut tried, mut compared) = (BTreeMap::new(), 0);
    for number in 0u32..20_000 {
        let mut configs: Vec<_> = (0..4).map(|author| keys.config(AuthorityIndex(author))).collect();
        configs.iter_mut().for_each(|config| config.chain = ChainId(Digest::sha256(&number.to_le_bytes())));
        let schedule = LeaderSchedule::new(&configs[0]);
        let leaders: Vec<u16> = (1..=4).map(|round| schedule.leader(Round(round)).0).collect();
        if tried.insert(leaders.clone(), number).is_some() {
            continue;
        }
        let genesis = genesis_refs(&configs[0]);
        let mut blocks: BTreeMap<(u64, u16), BlockRef> =
            genesis.iter().map(|block| ((0, block.author.0), *block)).collect();
        let mut dag = Vec::new();
        let first = (0..4).map(|author| (1, author, [0, 1, 2, 3].as_slice()));
        for (round, author, parents) in first.chain(DAG) {
            let own = (0..round).rev().find_map(|below| blocks.get(&(below, author))).unwrap();
            let others = parents.iter().filter(|parent| **parent != author).map(|parent| blocks[&(round - 1, *parent)]);
            let ancestors = std::iter::once(*own).chain(others).collect();
            let header = keys.block(&configs[usize::from(author)], Round(round), ancestors, Vec::new(), round, 0);
            blocks.insert((round, author), header.block_ref());
            dag.push(header);
        }
        let anchor = paper(4, leaders[3], Paper::Undecided);
        let (mut expected, mut decided) = (Vec::new(), 0);
        for (round, leader) in (1..).zip(&leaders) {
            match paper(round, *leader, anchor) {
                Paper::Undecided => break,
                Paper::Skip => {}
                Paper::Commit => expected.push(blocks[&(round, *leader)]),
            }
            decided = round;
        }
        let mut core = Core::new(configs[0].clone(), 0);
        let found: Vec<BlockRef> = records(&feed(&mut core, &dag)).iter().map(|record| record.leader).collect();
        assert_eq!(found, expected, "leaders {leaders:?}");
        assert_eq!(core.status().last_decided_round, Round(decided), "leaders {leaders:?}");
        compared += 1;
    }
    assert_eq!(compared, 256, "every choice of leaders for four rounds");
}
