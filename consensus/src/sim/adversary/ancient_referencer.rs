//! Keeps a bare quorum of parents and references the oldest blocks there are of everybody else: blocks that are about to
//! become garbage, genesis, and some that are garbage already.

use crate::sim::adversary::{Adversary, Draft, View};
use types::{BlockRef, Round};

#[derive(Debug)]
pub(crate) struct AncientReferencer;

impl Adversary for AncientReferencer {
    fn propose(&mut self, view: &mut View<'_>, draft: &mut Draft) {
        let committee = &view.config.committee;
        let (gc_round, quorum) = (view.core.status().gc_round, committee.quorum().0);
        let mut stake = 0;
        draft.ancestors = std::mem::take(&mut draft.ancestors)
            .into_iter()
            .map(|ancestor| {
                let parent = ancestor.round.next() == draft.round;
                let needed = ancestor.author == view.me || (parent && stake < quorum);
                if parent && needed {
                    stake += committee.stake(ancestor.author).0;
                }
                if needed { ancestor } else { oldest(view, ancestor, gc_round) }
            })
            .collect();
    }
}

/// The oldest block of the same author that the core has, above a random round around the garbage.
fn oldest(view: &mut View<'_>, newest: BlockRef, gc_round: Round) -> BlockRef {
    if gc_round == Round(0) || view.rng.chance(200) {
        return view.core.validity.genesis()[newest.author.index()];
    }
    let first = gc_round.0 + view.rng.between(0, 3);
    let found = (first..newest.round.0).find_map(|round| {
        let entries = view.core.dag.entries(Round(round), newest.author);
        entries.first().map(|entry| entry.header.block_ref())
    });
    found.unwrap_or(newest)
}
