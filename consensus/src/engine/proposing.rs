//! Moving the round and making own blocks: conditions A1, A2, C1 to C3 of CONSENSUS.md §2.4, and the catch-up of §2.10.

use crate::ancestors::parents_of;
use crate::effect::Effect;
use crate::engine::Core;
use std::sync::Arc;
use types::block::EVIDENCE_MAX;
use types::{AuthorityIndex, BlockHeader, BlockRef, Evidence, Round};

impl Core {
    /// Enters the next round while a quorum of this one is accepted (A1) and it has an own block (A2). A node that was
    /// left behind enters the round above the last decided one: its votes up to there decide nothing any more.
    pub(crate) fn move_round(&mut self, now_ms: u64) {
        if self.outstanding.is_none() && self.committer.last_decided() >= self.pacemaker.round() {
            self.marks.rounds_left_out += self.committer.last_decided().0.saturating_sub(self.own.last().round.0);
            self.pacemaker.enter(self.committer.last_decided().next(), now_ms);
        }
        while self.own.last().round == self.pacemaker.round()
            && self.dag.stake_at(self.pacemaker.round()) >= self.thresholds.quorum
        {
            self.pacemaker.enter(self.pacemaker.round().next(), now_ms);
        }
    }

    /// Asks for the own block of this round once one of C1 to C3 holds.
    pub(crate) fn propose(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        self.wake_ms = None;
        let (round, last) = (self.pacemaker.round(), self.own.last());
        let below = round.saturating_sub(1);
        if self.halted
            || self.outstanding.is_some()
            || self.reclaim.is_some()
            || self.wall_clock.alarm_ms().is_some()
            || self.own_mark() >= round
            || !self.dag.is_settled(&last)
            || self.dag.stake_at(below) < self.thresholds.quorum
        {
            return;
        }
        // What waits in the DAG waits for nothing once the epoch is over; the last votes hurry as pending ones.
        let over = self.epoch_end.is_over();
        let load = !over && (self.closing || self.dag.has_load());
        let (ready_at, timeout_at) = (self.pacemaker.ready_at(load), self.pacemaker.timeout_at(load));
        let others_ahead = self.dag.stake_at(round) >= self.thresholds.quorum;
        if !others_ahead && now_ms < ready_at.min(timeout_at) {
            self.wake_ms = Some(ready_at.min(timeout_at));
            return;
        }
        let ancestors = self.own.choose(&self.dag, round);
        let by_timeout = !others_ahead && !self.leader_is_settled(&ancestors, round);
        if by_timeout && now_ms < timeout_at {
            self.wake_ms = Some(timeout_at);
            return;
        }
        self.marks.timeout_proposals += u64::from(by_timeout);
        self.marks.catch_up_proposals += u64::from(others_ahead && now_ms < ready_at.min(timeout_at));
        self.pacemaker.proposed(now_ms, by_timeout);
        self.outstanding = Some(round);
        let misbehaviour = self.take_evidence();
        effects.push(Effect::Propose { round, ancestors, misbehaviour, end_of_epoch: self.closing });
    }

    /// Proofs for an own block: of those with a transaction, which are large, one at a time.
    fn take_evidence(&mut self) -> Vec<Evidence> {
        let mut taken = Vec::new();
        while let Some(next) = self.evidence.front() {
            let large = |evidence: &Evidence| matches!(evidence, Evidence::InvalidTransaction(_));
            if taken.len() == EVIDENCE_MAX || (large(next) && taken.iter().any(large)) {
                break;
            }
            taken.extend(self.evidence.pop_front());
        }
        taken
    }

    pub(crate) fn on_proposed(&mut self, header: Arc<BlockHeader>, now_ms: u64, effects: &mut Vec<Effect>) {
        let block = header.block_ref();
        let asked = self.outstanding == Some(block.round) && block.author == self.config.me;
        assert!(asked, "the driver answers with the own block that was asked for, not with {block}");
        self.outstanding = None;
        if block.round <= self.dag.gc_round() {
            // Commits were adopted while the block was at the disk or the signer.
            effects.extend(self.dropped(&header));
        }
        if let Some(header) = self.take_own(header, now_ms, effects) {
            self.accept(header, effects);
        }
        self.own.extend(&mut self.dag, block);
        self.push_history(block.round, effects);
        self.pacemaker.sent(now_ms, false);
        effects.extend(self.last_own.clone().map(|header| Effect::Broadcast { header }));
    }

    /// Records an own block as the last one. Gives it back if it can enter the DAG now; otherwise its history was lost
    /// in a crash and is asked for, or it is garbage already.
    pub(crate) fn take_own(
        &mut self,
        header: Arc<BlockHeader>,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) -> Option<Arc<BlockHeader>> {
        self.last_own = Some(header.clone());
        if self.dag.is_settled(&header.block_ref()) {
            return None;
        }
        if header.ancestors().iter().all(|ancestor| self.dag.is_settled(ancestor)) {
            return Some(header);
        }
        let block = header.block_ref();
        self.suspended.payload_ready(&block, true);
        self.receive(header, self.config.me, now_ms, effects);
        None
    }

    /// Sends the last own block again when nothing has moved for long.
    pub(crate) fn resend(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        if now_ms < self.pacemaker.resend_at() {
            return;
        }
        if let Some(header) = &self.last_own {
            self.pacemaker.sent(now_ms, true);
            self.marks.resends += 1;
            effects.push(Effect::Broadcast { header: header.clone() });
        }
    }

    /// C1: the leader of the round below is accepted, and the chosen blocks of that round settle the slot below it.
    /// Slots that are decided need nothing from us.
    fn leader_is_settled(&self, ancestors: &[BlockRef], round: Round) -> bool {
        let decided = self.committer.last_decided();
        let below = round.saturating_sub(1);
        if below > decided && self.dag.entries(below, self.leader(below)).is_empty() {
            return false;
        }
        let slot = below.saturating_sub(1);
        slot <= decided || self.committer.is_settled_by(slot, &parents_of(&self.dag, ancestors, round))
    }

    fn leader(&self, round: Round) -> AuthorityIndex {
        self.committer.leader(round).unwrap_or_else(|| self.schedule.leader(round))
    }
}
