//! Giving peers what they lack, and asking them for what is missing here (CONSENSUS.md §2.9).

use crate::dag::Place;
use crate::effect::Effect;
use crate::engine::Core;
use crate::reclaim::Reclaim;
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, BlockRef, Round};

/// Rounds below an own block that are looked through for history to push.
const PUSH_ROUNDS: u64 = 10;
/// Headers of an author that are pushed at once to a peer that lacked one of his.
const LACKING_PUSHES: u8 = 64;
/// The same for a peer that asked for one, which happens to good links too, when messages cross.
const ASKED_PUSHES: u8 = 8;
/// Most headers pushed to one peer with one own block.
const PUSH_HEADERS_MAX: usize = 128;

impl Core {
    /// The header of an accepted or waiting block. Blocks below the garbage collection round are in the log only.
    pub fn header(&self, block: &BlockRef) -> Option<&Arc<BlockHeader>> {
        self.dag.header(block).or_else(|| self.suspended.header(block))
    }

    /// The answer to a request: the asked blocks and their history above the asker's `frontier` (a round for each
    /// author), lowest round first, at most `count_max` of them.
    pub fn headers_above(&self, refs: &[BlockRef], frontier: &[Round], count_max: usize) -> Vec<Arc<BlockHeader>> {
        let mut found: BTreeMap<BlockRef, Arc<BlockHeader>> = BTreeMap::new();
        let mut stack: Vec<BlockRef> = refs.to_vec();
        // The walk goes down, so what it finds last is what the asker needs first; it is bounded apart from the answer.
        let walk_max = count_max.saturating_mul(4);
        while let Some(block) = stack.pop() {
            if found.len() >= walk_max || found.contains_key(&block) {
                continue;
            }
            let Some(header) = self.header(&block) else { continue };
            let above = |ancestor: &&BlockRef| {
                frontier.get(ancestor.author.index()).is_none_or(|round| ancestor.round > *round)
            };
            stack.extend(header.ancestors().iter().filter(above));
            found.insert(block, header.clone());
        }
        found.into_values().take(count_max).collect()
    }

    /// What a peer asks for it lacks, and probably the author's next blocks too.
    pub(crate) fn on_asked(&mut self, peer: AuthorityIndex, refs: &[BlockRef]) {
        for block in refs {
            let peers = self.lacking.get_mut(block.author.index());
            if let Some(left) = peers.and_then(|peers| peers.get_mut(peer.index())) {
                *left = left.saturating_add(ASKED_PUSHES).min(LACKING_PUSHES);
            }
        }
    }

    pub(crate) fn on_peer_up(&mut self, peer: AuthorityIndex, effects: &mut Vec<Effect>) {
        self.synchronizer.set_up(peer, true);
        self.reclaim.iter_mut().for_each(Reclaim::ask_again);
        if let Some(header) = &self.last_own
            && peer != self.config.me
        {
            effects.push(Effect::Push { to: peer, headers: vec![header.clone()] });
        }
    }

    /// Pushes history of the own block of `round` to peers that lack blocks of its author: their own block, two rounds
    /// higher, does not include one, or they asked for one. Pushing everything that a peer is not known to have would
    /// send each header n times, since most are still on their way from their authors.
    pub(crate) fn push_history(&mut self, round: Round, effects: &mut Vec<Effect>) {
        let me = self.config.me;
        let first = round.saturating_sub(PUSH_ROUNDS).max(self.dag.gc_round().next());
        for to in self.config.committee.clone().indices() {
            if to == me || !self.synchronizer.is_up(to) {
                continue;
            }
            let mut headers = Vec::new();
            (first.0..round.0).for_each(|below| self.push_row(Round(below), to, &mut headers));
            if !headers.is_empty() {
                effects.push(Effect::Push { to, headers });
            }
        }
    }

    /// Adds to `headers` what the own history holds of a round and a peer is not known to have.
    fn push_row(&mut self, round: Round, to: AuthorityIndex, headers: &mut Vec<Arc<BlockHeader>>) {
        let me = self.config.me;
        let seen_without = self.dag.frontier()[to.index()].0 > round.0 + 1;
        let first = self.dag.known_apart(round, me, to).iter().map(|author| (author, 0));
        let mut unknown: Vec<(AuthorityIndex, usize)> = first.collect();
        if self.dag.row(round).is_some_and(|row| row.has_twins) {
            for author in self.config.committee.indices() {
                let second = (1..self.dag.entries(round, author).len()).map(|twin| Place { round, author, twin });
                let lacks = |place: &Place| self.dag.knows(me, *place) && !self.dag.knows(to, *place);
                unknown.extend(second.filter(lacks).map(|place| (author, place.twin)));
            }
            unknown.sort_unstable();
        }
        for (author, twin) in unknown {
            let left = &mut self.lacking[author.index()][to.index()];
            if headers.len() >= PUSH_HEADERS_MAX || author == me {
                continue;
            }
            if seen_without {
                *left = LACKING_PUSHES;
            }
            let Some(fewer) = left.checked_sub(1) else { continue };
            *left = fewer;
            let place = Place { round, author, twin };
            self.dag.note_known(to, place);
            headers.push(self.dag.entry(place).header.clone());
        }
    }

    pub(crate) fn ask_for_missing(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        if self.synchronizer.take_overflow() {
            let again: Vec<(BlockRef, AuthorityIndex)> =
                self.suspended.missing().map(|(block, child)| (*block, child.author)).collect();
            again.into_iter().for_each(|(block, peer)| self.synchronizer.want_header(block, peer, now_ms));
        }
        let suspended = &self.suspended;
        let (headers, payloads) =
            self.synchronizer.poll(now_ms, &self.pacemaker, |block| suspended.askers(block).take(8).collect());
        self.marks.header_requests += headers.len() as u64;
        self.marks.payload_requests += payloads.len() as u64;
        for (from, refs) in headers {
            effects.push(Effect::RequestHeaders { from, refs, frontier: self.dag.frontier().to_vec() });
        }
        for (from, blocks) in payloads {
            effects.push(Effect::RequestPayload { from, blocks });
        }
    }
}
