//! The commit rule: decides each round's slot as *commit* or *skip* (CONSENSUS.md §2.6), in order.
//!
//! Works on undecided slots only: a direct rule is looked at again when a block of the two rounds above the slot came,
//! the indirect rule when some slot was decided. Decisions are cached under the present leader table and forgotten when
//! a commit changes it. Deliberately absent: what a committed leader brings with it (`linearizer`).

use crate::config::Thresholds;
use crate::dag::{Dag, Place};
use crate::schedule::LeaderSchedule;
use std::collections::{BTreeSet, VecDeque};
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

#[derive(Clone, Debug)]
struct Slot {
    leader: AuthorityIndex,
    decision: Decision,
    /// A block came that the direct rule has not seen.
    dirty: bool,
}

/// Decisions above the last one that was handed out.
#[derive(Clone, Debug)]
pub(crate) struct Committer {
    committee: Arc<Committee>,
    thresholds: Thresholds,
    last_decided: Round,
    /// The first is of round `last_decided` + 1.
    slots: VecDeque<Slot>,
}

impl Committer {
    pub fn new(committee: Arc<Committee>, thresholds: Thresholds, last_decided: Round) -> Self {
        Self { committee, thresholds, last_decided, slots: VecDeque::new() }
    }

    /// A block of `round` was accepted.
    pub fn touch(&mut self, round: Round) {
        for below in 1..=2 {
            let index = round.0.checked_sub(self.last_decided.0 + 1 + below);
            if let Some(slot) = index.and_then(|index| self.slots.get_mut(index as usize)) {
                slot.dirty = true;
            }
        }
    }

    /// Decides what can be decided and hands out the next decision in order, with its round.
    pub fn next(&mut self, dag: &Dag, schedule: &LeaderSchedule) -> Result<Option<(Round, Decision)>, Fork> {
        self.evaluate(dag, schedule)?;
        match self.slots.front() {
            None | Some(Slot { decision: Decision::Undecided, .. }) => Ok(None),
            Some(Slot { decision, .. }) => {
                let decision = *decision;
                self.slots.pop_front();
                self.last_decided = self.last_decided.next();
                Ok(Some((self.last_decided, decision)))
            }
        }
    }

    /// A commit changed the leader table: what was decided above it does not count.
    pub fn forget(&mut self) {
        self.slots.clear();
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
        let index = round.0.checked_sub(self.last_decided.0 + 1)?;
        self.slots.get(index as usize).map(|slot| slot.leader)
    }

    fn evaluate(&mut self, dag: &Dag, schedule: &LeaderSchedule) -> Result<(), Fork> {
        let mut round = Round(self.last_decided.0 + self.slots.len() as u64);
        while round < dag.highest_round().saturating_sub(1) {
            round = round.next();
            self.slots.push_back(Slot { leader: schedule.leader(round), decision: Decision::Undecided, dirty: true });
        }
        let mut decided = false;
        for index in (0..self.slots.len()).rev() {
            let slot = &mut self.slots[index];
            if !std::mem::take(&mut slot.dirty) || slot.decision != Decision::Undecided {
                continue;
            }
            let leader = slot.leader;
            let decision = self.decide_directly(dag, Round(self.last_decided.0 + 1 + index as u64), leader)?;
            self.slots[index].decision = decision;
            decided |= decision != Decision::Undecided;
        }
        if decided { self.decide_indirectly(dag) } else { Ok(()) }
    }

    fn decide_directly(&self, dag: &Dag, round: Round, leader: AuthorityIndex) -> Result<Decision, Fork> {
        let leaders = dag.entries(round, leader).len();
        let mut committed = None;
        for twin in 0..leaders {
            let place = Place { round, author: leader, twin };
            if self.certified_stake(dag, place) < self.thresholds.direct_commit.0 {
                continue;
            }
            let block = dag.entry(place).header.block_ref();
            match committed.replace(block) {
                Some(first) => return Err(Fork { first, second: block }),
                None => continue,
            }
        }
        if let Some(block) = committed {
            return Ok(Decision::Commit(block));
        }
        if dag.stake_at(round.next()).0 < self.thresholds.direct_skip.0 {
            return Ok(Decision::Undecided);
        }
        let blamed =
            |twin| self.blaming_stake(dag, Place { round, author: leader, twin }) >= self.thresholds.direct_skip.0;
        Ok(if (0..leaders).all(blamed) { Decision::Skip } else { Decision::Undecided })
    }

    fn decide_indirectly(&mut self, dag: &Dag) -> Result<(), Fork> {
        for index in (0..self.slots.len()).rev() {
            if self.slots[index].decision != Decision::Undecided {
                continue;
            }
            let anchor = self.slots.iter().skip(index + 3).find(|slot| slot.decision != Decision::Skip);
            let Some(Slot { decision: Decision::Commit(anchor), .. }) = anchor else { continue };
            let round = Round(self.last_decided.0 + 1 + index as u64);
            self.slots[index].decision = self.decide_by_anchor(dag, round, self.slots[index].leader, anchor)?;
        }
        Ok(())
    }

    fn decide_by_anchor(
        &self,
        dag: &Dag,
        round: Round,
        leader: AuthorityIndex,
        anchor: &BlockRef,
    ) -> Result<Decision, Fork> {
        let twins = dag.entries(round, leader).len();
        if twins == 0 {
            return Ok(Decision::Skip);
        }
        let certifying = history_at(dag, anchor, Round(round.0 + 2));
        let mut committed = None;
        for twin in 0..twins {
            let place = Place { round, author: leader, twin };
            if !certifying.iter().any(|certifier| self.certifies(dag, *certifier, place)) {
                continue;
            }
            let block = dag.entry(place).header.block_ref();
            if let Some(first) = committed.replace(block) {
                return Err(Fork { first, second: block });
            }
        }
        Ok(committed.map_or(Decision::Skip, Decision::Commit))
    }

    /// Stake of the authors with a block in the round above that does not vote for `leader`.
    fn blaming_stake(&self, dag: &Dag, leader: Place) -> u64 {
        let Some(row) = dag.row(leader.round.next()) else { return 0 };
        let blames = |author: &AuthorityIndex| {
            row.cells[author.index()].entries.iter().any(|entry| !entry.parents.contains(&(leader.author, leader.twin)))
        };
        self.committee.indices().filter(blames).map(|author| self.committee.stake(author).0).sum()
    }

    /// Stake of the authors with a certificate for `leader` two rounds above.
    fn certified_stake(&self, dag: &Dag, leader: Place) -> u64 {
        let round = Round(leader.round.0 + 2);
        if dag.stake_at(round).0 < self.thresholds.direct_commit.0 {
            return 0;
        }
        let certifies = |author: &AuthorityIndex| {
            let twins = dag.entries(round, *author).len();
            (0..twins).any(|twin| self.certifies(dag, Place { round, author: *author, twin }, leader))
        };
        self.committee.indices().filter(certifies).map(|author| self.committee.stake(author).0).sum()
    }

    /// Whether a block two rounds above `leader` has enough votes for it among its ancestors.
    fn certifies(&self, dag: &Dag, block: Place, leader: Place) -> bool {
        let Some(votes) = dag.row(leader.round.next()) else { return false };
        let stake: u64 = dag
            .entry(block)
            .parents
            .iter()
            .filter(|(author, twin)| {
                votes.cells[author.index()].entries[*twin].parents.contains(&(leader.author, leader.twin))
            })
            .map(|(author, _)| self.committee.stake(*author).0)
            .sum();
        stake >= self.thresholds.certificate.0
    }
}

/// The blocks of `round` in the history of `block`.
fn history_at(dag: &Dag, block: &BlockRef, round: Round) -> Vec<Place> {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    let mut stack: Vec<Place> = dag.find(block).into_iter().collect();
    while let Some(place) = stack.pop() {
        for ancestor in dag.entry(place).header.ancestors() {
            if ancestor.round < round {
                continue;
            }
            let Some(below) = dag.find(ancestor) else { continue };
            if seen.insert(below) {
                if below.round == round { found.push(below) } else { stack.push(below) }
            }
        }
    }
    found
}

/// Whether the chosen parents, all of one round, certify or skip the slot below them: the evidence of C1.
pub(crate) fn settles_slot(
    dag: &Dag,
    committee: &Committee,
    thresholds: &Thresholds,
    leader: AuthorityIndex,
    parents: &[Place],
) -> bool {
    let Some(first) = parents.first() else { return false };
    let leaders = dag.entries(first.round.saturating_sub(1), leader).len();
    let voted = |twin| {
        let votes = |place: &Place| dag.entry(*place).parents.contains(&(leader, twin));
        stake_of(committee, parents, votes) >= thresholds.certificate.0
    };
    let blamed = |twin| {
        let blames = |place: &Place| !dag.entry(*place).parents.contains(&(leader, twin));
        stake_of(committee, parents, blames) >= thresholds.direct_skip.0
    };
    let present = stake_of(committee, parents, |_| true) >= thresholds.direct_skip.0;
    (0..leaders).any(voted) || (present && (0..leaders).all(blamed))
}

/// Stake of the authors of those blocks that are wanted; a list of ancestors has one block of each author.
fn stake_of(committee: &Committee, blocks: &[Place], wanted: impl Fn(&Place) -> bool) -> u64 {
    blocks.iter().filter(|place| wanted(place)).map(|place| committee.stake(place.author).0).sum()
}
