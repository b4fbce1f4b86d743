//! From a header that arrived to a block in the DAG (CONSENSUS.md §2.3).

use crate::effect::{Effect, Misbehaviour};
use crate::engine::Core;
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, BlockRef, Evidence, Round};

/// Blocks of one author and round that are kept without being asked for by another block.
const TWINS_MAX: usize = 2;
/// Proofs that wait for an own block.
const EVIDENCE_QUEUE_MAX: usize = 64;
/// Pause before a waiting block that a flood pushed out is asked for again.
const PUSHED_OUT_MS: u64 = 500;

impl Core {
    pub(crate) fn on_header(
        &mut self,
        header: Arc<BlockHeader>,
        from: AuthorityIndex,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) {
        let block = header.block_ref();
        if let Err(reason) = self.validity.check(&header) {
            self.marks.headers_refused += 1;
            effects.push(Effect::Misbehaviour { peer: from, what: Misbehaviour::InvalidHeader { block, reason } });
            return;
        }
        let from_member = self.config.committee.authority(from).is_some();
        let seen = &mut self.seen[block.author.index()];
        *seen = (*seen).max(block.round);
        if block.round <= self.dag.gc_round() {
            return;
        }
        if let Some(place) = self.dag.find(&block) {
            if from_member {
                self.dag.note_known(from, place);
            }
            return;
        }
        if self.suspended.header(&block).is_some() {
            return;
        }
        if block.round > self.horizon() {
            self.marks.beyond_horizon += 1;
            self.note_lag(now_ms, effects);
            return;
        }
        let twins = self.report_equivocation(&header, effects);
        self.marks.twins_seen += u64::from(twins > 0);
        if twins >= TWINS_MAX && !self.suspended.is_wanted(&block) {
            self.marks.floods_refused += 1;
            effects.push(Effect::Misbehaviour { peer: block.author, what: Misbehaviour::Flood { block } });
            return;
        }
        self.synchronizer.have_header(&block);
        self.receive(header, from, now_ms, effects);
        if from_member
            && from != block.author
            && let Some(place) = self.dag.find(&block)
        {
            self.dag.note_known(from, place);
        }
    }

    pub(crate) fn on_payload(&mut self, block: &BlockRef, effects: &mut Vec<Effect>) {
        let expected = !self.dag.is_settled(block) && block.round <= self.horizon();
        self.synchronizer.have_payload(block);
        if let Some(header) = self.suspended.payload_ready(block, expected) {
            self.accept(header, effects);
        }
    }

    /// Puts a complete block and all that waited for it into the DAG.
    pub(crate) fn accept(&mut self, header: Arc<BlockHeader>, effects: &mut Vec<Effect>) {
        self.accept_all(vec![header], effects);
    }

    /// As [`Core::accept`], for several.
    pub(crate) fn accept_all(&mut self, mut ready: Vec<Arc<BlockHeader>>, effects: &mut Vec<Effect>) {
        while let Some(header) = ready.pop() {
            let block = header.block_ref();
            if self.dag.is_settled(&block) {
                continue;
            }
            self.enter_dag(header.clone());
            effects.push(Effect::Accepted { header });
            self.suspended.release(&block, &mut ready);
        }
    }

    /// The one place where a block enters the DAG.
    pub(crate) fn enter_dag(&mut self, header: Arc<BlockHeader>) {
        let block = header.block_ref();
        let place = self.dag.insert(header);
        if block.author != self.config.me {
            self.dag.note_history_known(block.author, place, |_| {});
            if let Some(own) = self.dag.entries(block.round.saturating_sub(1), self.config.me).first()
                && self.dag.entry(place).parents.contains(self.config.me)
            {
                let time = self.dag.entry(place).header.body().timestamp;
                self.wall_clock.answered(block.author, time, own.header.body().timestamp);
            }
        } else if block.round > self.own.last().round || block == self.own.last() {
            self.last_own = Some(self.dag.entry(place).header.clone());
            self.own.extend(&mut self.dag, block);
        }
        self.committer.accept(&self.dag, &self.schedule, place);
        self.synchronizer.have_header(&block);
        self.synchronizer.have_payload(&block);
        let seen = &mut self.seen[block.author.index()];
        *seen = (*seen).max(block.round);
    }

    /// Accepts a new valid block, or holds it back and has what it lacks asked for.
    pub(crate) fn receive(
        &mut self,
        header: Arc<BlockHeader>,
        from: AuthorityIndex,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) {
        let block = header.block_ref();
        let missing: Vec<BlockRef> =
            header.ancestors().iter().filter(|ancestor| !self.dag.is_settled(ancestor)).copied().collect();
        let has_payload = header.body().payload.is_empty() || self.suspended.take_early(&block);
        if missing.is_empty() && has_payload {
            self.accept(header, effects);
            return;
        }
        self.marks.blocks_suspended += 1;
        if let Some(dropped) = self.suspended.insert(header, &missing, has_payload) {
            self.marks.suspended_overflows += 1;
            let block = dropped.block_ref();
            self.synchronizer.have_payload(&block);
            if self.suspended.is_wanted(&block) {
                self.synchronizer.want_header(block, from, now_ms + PUSHED_OUT_MS);
            }
            effects.push(Effect::Misbehaviour { peer: block.author, what: Misbehaviour::Flood { block } });
        }
        for ancestor in missing {
            if self.suspended.header(&ancestor).is_none() {
                self.synchronizer.want_header(ancestor, from, now_ms);
            }
        }
        if !has_payload {
            // The author pushes payloads behind headers; a header that came from another is a sign that he does not.
            let patience = match self.config.pacing.payload_patience_ms {
                _ if !self.synchronizer.is_up(block.author) => 0,
                patience if from == block.author => u64::from(patience),
                patience => u64::from(patience) / 4,
            };
            self.synchronizer.want_payload(block, from, now_ms + patience);
        }
        self.note_lag(now_ms, effects);
    }

    /// The highest round of which blocks are taken in.
    fn horizon(&self) -> Round {
        let reached = self.dag.highest_round().max(self.pacemaker.round());
        Round(reached.0.saturating_add(self.config.parameters.gc_depth_rounds))
    }

    /// Looks for another block of the same author and round; returns how many there are.
    fn report_equivocation(&mut self, header: &Arc<BlockHeader>, effects: &mut Vec<Effect>) -> usize {
        let (round, author) = (header.round(), header.author());
        let accepted = self.dag.entries(round, author).iter().map(|entry| &entry.header);
        let mut others = accepted.chain(self.suspended.twins(round, author));
        let Some(other) = others.next() else { return 0 };
        let (other, count) = (other.clone(), 1 + others.count());
        let signed = |header: &BlockHeader| (*header.statement(), header.signature().clone());
        let (first, second) = if other.digest() < header.digest() {
            (signed(&other), signed(header))
        } else {
            (signed(header), signed(&other))
        };
        self.report(Evidence::Equivocation { first, second }, effects);
        count
    }

    /// Says what a validator did, and has the next own block carry the proof. One proof per author is reported for each
    /// window of the schedule, which is how long it counts.
    pub(crate) fn report(&mut self, evidence: Evidence, effects: &mut Vec<Effect>) {
        let culprit = evidence.culprit();
        let Some(round) = evidence.signed().first().map(|(statement, _)| statement.round) else { return };
        let Some(reported) = self.reported.get_mut(culprit.index()) else { return };
        let window = self.config.parameters.schedule_window_commits;
        if reported.is_some_and(|reported| round.0 <= reported.0.saturating_add(window)) {
            return;
        }
        *reported = Some(round);
        if self.evidence.len() < EVIDENCE_QUEUE_MAX {
            self.evidence.push_back(evidence.clone());
            self.marks.proofs_queued += 1;
        }
        let what = match evidence {
            Evidence::Equivocation { .. } => Misbehaviour::Equivocation(Box::new(evidence)),
            Evidence::InvalidTransaction(_) => Misbehaviour::InvalidTransaction(Box::new(evidence)),
        };
        effects.push(Effect::Misbehaviour { peer: culprit, what });
    }
}
