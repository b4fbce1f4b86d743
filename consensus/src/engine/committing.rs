//! Applying commits, decided here or adopted, and what follows from them: schedule, garbage, released blocks.

use crate::checkpoint::Checkpoint;
use crate::committer::{Decision, Fork};
use crate::effect::{AdoptError, Effect};
use crate::engine::Core;
use crate::linearizer::{Tip, linearize};
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{BlockHeader, BlockRef, CommitRecord, Height};

impl Core {
    /// Decides and commits as far as the DAG allows.
    pub(crate) fn commit_decided(&mut self, effects: &mut Vec<Effect>) {
        while !self.halted && !self.epoch_end.is_over() {
            match self.committer.next(&self.dag, &mut self.marks) {
                Err(Fork { first, second }) => {
                    self.halted = true;
                    effects.push(Effect::Halted { first, second });
                }
                Ok(None) | Ok(Some((_, Decision::Undecided))) => return,
                Ok(Some((_, Decision::Skip))) => {}
                Ok(Some((_, Decision::Commit(leader)))) => {
                    let (dag, marks) = (&mut self.dag, &mut self.marks);
                    let (record, headers) = linearize(dag, &self.config.committee, &self.tip, leader, marks);
                    self.apply(record, headers, effects);
                }
            }
        }
    }

    pub(crate) fn on_adopt(&mut self, record: CommitRecord, headers: Vec<Arc<BlockHeader>>, effects: &mut Vec<Effect>) {
        if record.height <= self.tip.height {
            return;
        }
        let height = record.height;
        match self.adopt(record, headers, effects) {
            Ok(()) => self.marks.adoptions += 1,
            Err(reason) => effects.push(Effect::AdoptRefused { height, reason }),
        }
    }

    /// Applies a certified commit, or changes nothing.
    pub(crate) fn adopt(
        &mut self,
        record: CommitRecord,
        headers: Vec<Arc<BlockHeader>>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), AdoptError> {
        if self.halted {
            return Err(AdoptError::Halted);
        }
        if self.epoch_end.is_over() {
            return Err(AdoptError::EpochOver);
        }
        let expected: Height = self.tip.height.next();
        if record.height != expected {
            return Err(AdoptError::Height { expected });
        }
        if record.previous != self.tip.commit {
            return Err(AdoptError::Previous);
        }
        if record.leader.round <= self.tip.leader.round || !record.blocks.contains(&record.leader) {
            return Err(AdoptError::Leader);
        }
        let given: BTreeMap<BlockRef, Arc<BlockHeader>> =
            headers.into_iter().map(|header| (header.block_ref(), header)).collect();
        let mut ordered = Vec::with_capacity(record.blocks.len());
        for block in &record.blocks {
            let known = self.config.committee.authority(block.author).is_some();
            if !known || block.round <= self.dag.gc_round() || block.round > record.leader.round {
                return Err(AdoptError::Block(*block));
            }
            let header = self.header(block).or_else(|| given.get(block));
            ordered.push(header.cloned().ok_or(AdoptError::MissingHeader(*block))?);
        }
        for header in &ordered {
            let block = header.block_ref();
            if self.dag.find(&block).is_none() {
                self.suspended.remove(&block);
                self.enter_dag(header.clone());
                effects.push(Effect::Accepted { header: header.clone() });
            }
            let place = self.dag.find(&block).expect("it was inserted if it was not there");
            self.dag.commit(place, true);
        }
        let mut ready = Vec::new();
        record.blocks.iter().for_each(|block| self.suspended.release(block, &mut ready));
        self.committer.skip_to(record.leader.round);
        self.apply(record, ordered, effects);
        self.accept_all(ready, effects);
        Ok(())
    }

    /// What every commit does, once its blocks are marked.
    fn apply(&mut self, record: CommitRecord, headers: Vec<Arc<BlockHeader>>, effects: &mut Vec<Effect>) {
        self.tip = Tip::of(&record);
        if self.schedule.apply(&headers) {
            self.committer.recount(&self.dag, &self.schedule);
            self.marks.schedule_changes += 1;
        }
        self.marks.proofs_committed +=
            headers.iter().map(|header| header.body().misbehaviour.len() as u64).sum::<u64>();
        self.pacemaker.progressed();
        let last_of_epoch = self.epoch_end.note(&headers);
        let checkpoint = Checkpoint {
            height: self.tip.height,
            commit: self.tip.commit,
            leader: self.tip.leader,
            timestamp: self.tip.timestamp,
            schedule: self.schedule.state().clone(),
            marked: self.epoch_end.marked().clone(),
        };
        effects.push(Effect::Commit { record, headers, checkpoint, last_of_epoch });
        self.collect_garbage(effects);
    }

    /// Moves the garbage collection round behind the last commit's leader. When nothing will be committed any more,
    /// blocks are kept only to go on making blocks, and the round follows the highest one.
    pub(crate) fn collect_garbage(&mut self, effects: &mut Vec<Effect>) {
        let newest = if self.epoch_end.is_over() { self.dag.highest_round() } else { self.tip.leader.round };
        let gc_round = newest.saturating_sub(self.config.parameters.gc_depth_rounds);
        if gc_round <= self.dag.gc_round() {
            return;
        }
        let (mut lost, mut ready) = (Vec::new(), Vec::new());
        self.dag.collect_garbage(gc_round, |header| lost.push(header.clone()));
        self.synchronizer.collect_garbage(gc_round);
        self.suspended.collect_garbage(gc_round, &mut ready, |header| lost.push(header));
        effects.extend(lost.iter().filter_map(|header| self.dropped(header)));
        self.accept_all(ready, effects);
    }

    /// What the driver is told of a block that will never be committed.
    pub(crate) fn dropped(&mut self, header: &BlockHeader) -> Option<Effect> {
        let own = header.author() == self.config.me && !header.body().payload.is_empty();
        self.marks.own_dropped += u64::from(own);
        own.then(|| Effect::Dropped { block: header.block_ref() })
    }
}
