//! The commit rule: decides each round's slot as *commit* or *skip* (CONSENSUS.md §2.6), in order.
//!
//! Incremental: an accepted block is counted once in each of the three slots that it bears on (as leader, vote and
//! certificate), and the direct rule compares running stakes; nothing walks the DAG again. Only the indirect rule, which
//! is rare, walks the history of an anchor, and never below the undecided rounds. What was counted holds under the
//! present leader table and is counted anew when a commit changes it. Deliberately absent: what a committed leader
//! brings with it (`linearizer`).

mod anchor;
mod slot;

use crate::committer::anchor::History;
use crate::committer::slot::Slot;
use crate::config::Thresholds;
use crate::dag::{Dag, Place};
use crate::marks::Marks;
use crate::schedule::LeaderSchedule;
use std::collections::VecDeque;
use std::sync::Arc;
use types::{AuthorityIndex, BlockRef, Committee, Round};

/// What became of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Undecided,
    Commit(BlockRef),
    Skip,
}

/// Two committed leaders of one slot: more than f validators are faulty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fork {
    pub first: BlockRef,
    pub second: BlockRef,
}

/// Decisions above the last one that was handed out.
#[derive(Clone, Debug)]
pub(crate) struct Committer {
    committee: Arc<Committee>,
    thresholds: Thresholds,
    last_decided: Round,
    /// The first is of round `last_decided` + 1, the last of the highest round with an accepted block.
    slots: VecDeque<Slot>,
    /// A slot was decided since the indirect rule was last tried.
    decided: bool,
    fork: Option<Fork>,
}

impl Committer {
    pub fn new(committee: Arc<Committee>, thresholds: Thresholds, last_decided: Round) -> Self {
        Self { committee, thresholds, last_decided, slots: VecDeque::new(), decided: false, fork: None }
    }

    /// Counts a block that was accepted.
    pub fn accept(&mut self, dag: &Dag, schedule: &LeaderSchedule, place: Place) {
        if place.round <= self.last_decided {
            return;
        }
        while self.highest() < place.round {
            self.slots.push_back(Slot::new(schedule.leader(self.highest().next())));
        }
        let entry = dag.entry(place);
        let index = (place.round.0 - self.last_decided.0 - 1) as usize;
        let leader = &mut self.slots[index];
        if leader.leader == place.author {
            leader.add_leader(entry.header.block_ref());
        }
        if let Some(voted) = index.checked_sub(1) {
            self.slots[voted].add_vote(place, entry, &self.committee);
            self.decide_directly(voted);
        }
        if let Some(certified) = index.checked_sub(2)
            && self.slots[certified].add_certificate(place, entry, &self.committee, &self.thresholds)
        {
            self.decide_directly(certified);
        }
    }

    /// Decides what can be decided and hands out the next decision in order, with its round.
    pub fn next(&mut self, dag: &Dag, marks: &mut Marks) -> Result<Option<(Round, Decision)>, Fork> {
        if let Some(fork) = self.fork {
            return Err(fork);
        }
        if std::mem::take(&mut self.decided) {
            self.decide_indirectly(dag)?;
        }
        match self.slots.front() {
            None | Some(Slot { decision: Decision::Undecided, .. }) => Ok(None),
            Some(Slot { decision, indirect, .. }) => {
                let (decision, indirect) = (*decision, *indirect);
                marks.decided(matches!(decision, Decision::Commit(_)), indirect);
                self.slots.pop_front();
                self.last_decided = self.last_decided.next();
                Ok(Some((self.last_decided, decision)))
            }
        }
    }

    /// A commit changed the leader table: what was counted above it is counted again under the new one.
    pub fn recount(&mut self, dag: &Dag, schedule: &LeaderSchedule) {
        self.slots.clear();
        self.decided = false;
        let undecided = (self.last_decided.0 + 1..=dag.highest_round().0).map(Round);
        for round in undecided.filter(|round| *round > dag.gc_round()) {
            for author in self.committee.clone().indices() {
                for twin in 0..dag.entries(round, author).len() {
                    self.accept(dag, schedule, Place { round, author, twin });
                }
            }
        }
    }

    /// A commit led by `round` was adopted.
    pub fn skip_to(&mut self, round: Round) {
        let decided = round.0.saturating_sub(self.last_decided.0) as usize;
        self.slots.drain(..decided.min(self.slots.len()));
        self.last_decided = self.last_decided.max(round);
    }

    /// The last round whose decision was handed out.
    pub fn last_decided(&self) -> Round {
        self.last_decided
    }

    /// The leader of an undecided round where it is known already.
    pub fn leader(&self, round: Round) -> Option<AuthorityIndex> {
        self.slot(round).map(|slot| slot.leader)
    }

    /// Whether blocks of the round above an undecided slot, one of each author, certify or skip it: the evidence of C1.
    pub fn is_settled_by(&self, round: Round, votes: &[Place]) -> bool {
        self.slot(round).is_some_and(|slot| slot.is_settled_by(votes, &self.committee, &self.thresholds))
    }

    /// What is decided and waits for a slot below it: the leader, or a skip.
    pub fn decided(&self) -> impl Iterator<Item = (Round, Option<BlockRef>)> {
        let first = self.last_decided.0 + 1;
        (first..).zip(&self.slots).filter_map(|(round, slot)| match slot.decision {
            Decision::Undecided => None,
            Decision::Commit(leader) => Some((Round(round), Some(leader))),
            Decision::Skip => Some((Round(round), None)),
        })
    }

    fn slot(&self, round: Round) -> Option<&Slot> {
        let index = round.0.checked_sub(self.last_decided.0 + 1)?;
        self.slots.get(index as usize)
    }

    fn highest(&self) -> Round {
        Round(self.last_decided.0 + self.slots.len() as u64)
    }

    fn decide_directly(&mut self, index: usize) {
        match self.slots[index].decide_directly(&self.thresholds) {
            Ok(decided) => self.decided |= decided,
            Err(fork) => self.fork = self.fork.or(Some(fork)),
        }
    }

    /// From high rounds to low, so that a slot decided here can be the anchor of those below.
    fn decide_indirectly(&mut self, dag: &Dag) -> Result<(), Fork> {
        let (mut anchor, mut walk) = (None, None::<(usize, History<'_>)>);
        for index in (0..self.slots.len()).rev() {
            let above = index + 3;
            anchor = match self.slots.get(above).map(|slot| slot.decision) {
                None | Some(Decision::Skip) => anchor,
                Some(Decision::Undecided) => None,
                Some(Decision::Commit(block)) => Some((above, block)),
            };
            let Some((at, block)) = anchor else { continue };
            if self.slots[index].decision != Decision::Undecided {
                continue;
            }
            if walk.as_ref().is_none_or(|(from, _)| *from != at) {
                walk = Some((at, History::new(dag, &block, Round(self.last_decided.0 + 3))));
            }
            let Some((_, history)) = &mut walk else { continue };
            let certifying = history.at(Round(self.last_decided.0 + 3 + index as u64));
            self.slots[index].decide_by_anchor(certifying)?;
        }
        Ok(())
    }
}
