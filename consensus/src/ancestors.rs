//! Which blocks the next own block stands on (CONSENSUS.md §2.5), and what the own history holds already.

use crate::dag::{Dag, Place};
use types::{AuthorityIndex, BlockRef, Round};

/// The own chain and what it includes.
#[derive(Clone, Debug)]
pub(crate) struct OwnHistory {
    me: AuthorityIndex,
    /// The last own block; the genesis block before the first.
    last: BlockRef,
    genesis: Vec<BlockRef>,
    /// Highest round of each author in the history of the last own block.
    included: Vec<Round>,
}

impl OwnHistory {
    pub fn new(me: AuthorityIndex, genesis: &[BlockRef]) -> Self {
        let included = vec![Round(0); genesis.len()];
        Self { me, last: genesis[me.index()], genesis: genesis.to_vec(), included }
    }

    /// An own block was made, or was found.
    pub fn extend(&mut self, dag: &mut Dag, block: BlockRef) {
        if block.round > self.last.round {
            self.last = block;
        }
        if let Some(place) = dag.find(&block) {
            let included = &mut self.included;
            dag.note_history_known(self.me, place, |learnt| {
                let round = &mut included[learnt.author.index()];
                *round = (*round).max(learnt.round);
            });
        }
    }

    /// The last own block.
    pub fn last(&self) -> BlockRef {
        self.last
    }

    /// The ancestors of an own block of `round`: the last own block, then of each other author the highest block below
    /// `round` that is not included yet, of twins the one first seen.
    pub fn choose(&self, dag: &Dag, round: Round) -> Vec<BlockRef> {
        let mut chosen = Vec::with_capacity(self.genesis.len());
        chosen.push(self.last);
        let others = self.genesis.iter().filter(|genesis| genesis.author != self.me);
        if round == Round(1) {
            chosen.extend(others);
            return chosen;
        }
        for genesis in others {
            let author = genesis.author;
            let highest = dag.frontier()[author.index()].min(round.saturating_sub(1));
            let floor = self.included[author.index()].max(dag.gc_round());
            let mut candidate = highest;
            while candidate > floor {
                if let Some(entry) = dag.entries(candidate, author).first() {
                    chosen.push(entry.header.block_ref());
                    break;
                }
                candidate = candidate.saturating_sub(1);
            }
        }
        chosen
    }
}

/// The chosen blocks of the round below, by place.
pub(crate) fn parents_of(dag: &Dag, chosen: &[BlockRef], round: Round) -> Vec<Place> {
    chosen.iter().filter(|block| block.round.next() == round).filter_map(|block| dag.find(block)).collect()
}
