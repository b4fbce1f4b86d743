//! The history of an anchor, walked downwards a round at a time and once for all the slots that it decides.

use crate::dag::{Dag, Place};
use std::collections::{BTreeMap, BTreeSet};
use types::{AuthorityIndex, BlockRef, Round};

/// Which blocks of a round lie in the history of one block.
#[derive(Debug)]
pub(super) struct History<'a> {
    dag: &'a Dag,
    /// Rounds below this one are never asked for.
    lowest: Round,
    /// Author and twin of the blocks that were found, in the rounds that were not walked through yet.
    found: BTreeMap<Round, BTreeSet<(AuthorityIndex, usize)>>,
}

impl<'a> History<'a> {
    pub fn new(dag: &'a Dag, block: &BlockRef, lowest: Round) -> Self {
        let mut history = Self { dag, lowest, found: BTreeMap::new() };
        history.dag.find(block).into_iter().for_each(|place| history.add(place));
        history
    }

    /// The blocks of a round. Rounds are asked for from high to low.
    pub fn at(&mut self, round: Round) -> Option<&BTreeSet<(AuthorityIndex, usize)>> {
        while let Some(above) = self.found.last_entry()
            && *above.key() > round
        {
            let (above, blocks) = above.remove_entry();
            let below = above.saturating_sub(1);
            for (author, twin) in blocks {
                let entry = self.dag.entry(Place { round: above, author, twin });
                entry.parents.iter().for_each(|author| self.add(Place { round: below, author, twin: 0 }));
                entry.others.iter().for_each(|other| self.add(*other));
            }
        }
        self.found.get(&round)
    }

    fn add(&mut self, place: Place) {
        if place.round >= self.lowest {
            self.found.entry(place.round).or_default().insert((place.author, place.twin));
        }
    }
}
