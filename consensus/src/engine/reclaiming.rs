//! Coming back without a disk: asking peers which own blocks there are, and answering such a question.

use crate::effect::{Effect, Misbehaviour};
use crate::engine::Core;
use crate::input::HighestBlocks;
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, Round};

impl Core {
    /// What a peer that has lost its disk is told. A driver whose log holds a higher block of the peer puts that one in.
    pub fn highest_blocks(&self, asker: AuthorityIndex) -> HighestBlocks {
        let accepted = self.dag.frontier().get(asker.index()).copied().unwrap_or_default();
        let accepted = self.dag.entries(accepted, asker).first().map(|entry| entry.header.clone());
        let highest = self.suspended.highest_of(asker).cloned().into_iter().chain(accepted).max_by_key(|h| h.round());
        HighestBlocks { asker: highest, peer: self.last_own.clone() }
    }

    pub(crate) fn on_highest(
        &mut self,
        peer: AuthorityIndex,
        blocks: HighestBlocks,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) {
        let HighestBlocks { asker: own, peer: last } = blocks;
        let wrong =
            |header: &Option<Arc<BlockHeader>>, author| header.as_ref().filter(|h| h.author() != author).cloned();
        if let Some(header) = wrong(&own, self.config.me).or(wrong(&last, peer)) {
            let what = Misbehaviour::ForeignBlock { block: header.block_ref() };
            effects.push(Effect::Misbehaviour { peer, what });
            return;
        }
        let last_block = last.as_ref().map(|header| header.block_ref());
        let valid = |header: &Arc<BlockHeader>| self.validity.check(header).is_ok();
        let counts = own.iter().chain(&last).all(valid);
        // What is not valid is reported there.
        for header in own.into_iter().chain(last) {
            self.on_header(header, peer, now_ms, effects);
        }
        if let Some(reclaim) = &mut self.reclaim
            && counts
        {
            reclaim.answered(peer, last_block);
        }
    }

    pub(crate) fn accept_lost_disk(&mut self, effects: &mut Vec<Effect>) {
        if self.reclaim.take().is_some() {
            effects.push(Effect::Reclaimed { above: self.own_mark() });
        }
    }

    /// Asks until enough answers count; then own blocks may be made again.
    pub(crate) fn reclaim(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        let Some(reclaim) = &mut self.reclaim else { return };
        if let Some(reached) = reclaim.reached(&self.dag, &self.config.committee) {
            self.own_floor = self.own_floor.max(reached);
            self.reclaim = None;
            effects.push(Effect::Reclaimed { above: self.own_mark() });
            return;
        }
        let up = reclaim.poll(now_ms).into_iter().filter(|peer| self.synchronizer.is_up(*peer));
        effects.extend(up.map(|from| Effect::RequestHighest { from }));
    }

    /// Rounds up to this one have an own block, or may have one that is lost. A header of the own that somebody else
    /// brings counts, so that a key that signed elsewhere does not sign for the same round here.
    pub(crate) fn own_mark(&self) -> Round {
        self.own_floor.max(self.seen[self.config.me.index()]).max(self.own.last().round)
    }
}
