//! One round's slot: whose blocks lead it, and the running stakes that decide it.
//!
//! Every count is of authors: one with two blocks in a round counts once for each thing that one of them says, so he can
//! be a voter and a non-voter at once. Blocks come in causal order: a leader's second block that comes late is in no
//! block that was counted before.

use crate::authorities::{AuthoritySet, Tally};
use crate::committer::{Decision, Fork};
use crate::config::Thresholds;
use crate::dag::{Entry, Place};
use std::collections::{BTreeMap, BTreeSet};
use types::{AuthorityIndex, BlockRef, Committee};

/// A slot above the last decided one.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub leader: AuthorityIndex,
    pub decision: Decision,
    /// An anchor decided it.
    pub indirect: bool,
    /// The leader's blocks, in the order of the DAG.
    twins: Vec<Twin>,
    /// Authors with a block in the round above.
    voters: Tally,
    /// What the second blocks of an author in the round above vote for.
    second_votes: BTreeMap<(AuthorityIndex, usize), Option<usize>>,
}

#[derive(Clone, Debug)]
struct Twin {
    block: BlockRef,
    /// Authors whose first block in the round above votes for it.
    votes: AuthoritySet,
    /// Authors with a block in the round above that does not vote for it.
    blames: Tally,
    /// Authors with a certificate for it two rounds above.
    certifiers: Tally,
    /// The certificates.
    certificates: Vec<(AuthorityIndex, usize)>,
}

impl Slot {
    pub fn new(leader: AuthorityIndex) -> Self {
        Self {
            leader,
            decision: Decision::Undecided,
            indirect: false,
            twins: Vec::new(),
            voters: Tally::default(),
            second_votes: BTreeMap::new(),
        }
    }

    /// A block of the leader. Nobody who voted before can have voted for it.
    pub fn add_leader(&mut self, block: BlockRef) {
        self.twins.push(Twin {
            block,
            votes: AuthoritySet::default(),
            blames: self.voters,
            certifiers: Tally::default(),
            certificates: Vec::new(),
        });
    }

    /// A block of the round above.
    pub fn add_vote(&mut self, place: Place, entry: &Entry, committee: &Committee) {
        let vote = entry.parent(self.leader);
        self.voters.add(place.author, committee);
        if place.twin > 0 {
            self.second_votes.insert((place.author, place.twin), vote);
        }
        for (index, twin) in self.twins.iter_mut().enumerate() {
            if vote != Some(index) {
                twin.blames.add(place.author, committee);
            } else if place.twin == 0 {
                twin.votes.insert(place.author);
            }
        }
    }

    /// A block two rounds above; whether it is a certificate.
    pub fn add_certificate(
        &mut self,
        place: Place,
        entry: &Entry,
        committee: &Committee,
        thresholds: &Thresholds,
    ) -> bool {
        let mut certifies = false;
        for (index, twin) in self.twins.iter_mut().enumerate() {
            let mut stake = entry.parents.and(&twin.votes).stake(committee);
            if !self.second_votes.is_empty() {
                let voting =
                    |parent: &Place| self.second_votes.get(&(parent.author, parent.twin)) == Some(&Some(index));
                stake +=
                    entry.second_parents().filter(voting).map(|parent| committee.stake(parent.author).0).sum::<u64>();
            }
            if stake >= thresholds.certificate.0 {
                twin.certifiers.add(place.author, committee);
                twin.certificates.push((place.author, place.twin));
                certifies = true;
            }
        }
        certifies
    }

    /// The direct rule; whether it has decided the slot now.
    pub fn decide_directly(&mut self, thresholds: &Thresholds) -> Result<bool, Fork> {
        let certified = |twin: &&Twin| twin.certifiers.stake() >= thresholds.direct_commit.0;
        let mut certified = self.twins.iter().filter(certified).map(|twin| twin.block);
        if let Some(block) = certified.next() {
            let first = if let Decision::Commit(before) = self.decision { before } else { block };
            if let Some(second) = [block].into_iter().chain(certified).find(|other| *other != first) {
                return Err(Fork { first, second });
            }
            let decided = self.decision == Decision::Undecided;
            if decided {
                self.decision = Decision::Commit(block);
            }
            return Ok(decided);
        }
        let skipped = self.decision == Decision::Undecided
            && self.voters.stake() >= thresholds.direct_skip.0
            && self.twins.iter().all(|twin| twin.blames.stake() >= thresholds.direct_skip.0);
        if skipped {
            self.decision = Decision::Skip;
        }
        Ok(skipped)
    }

    /// The indirect rule: `certifying` are the blocks two rounds above that are in the anchor's history.
    pub fn decide_by_anchor(&mut self, certifying: Option<&BTreeSet<(AuthorityIndex, usize)>>) -> Result<(), Fork> {
        let seen =
            |twin: &&Twin| certifying.is_some_and(|blocks| twin.certificates.iter().any(|by| blocks.contains(by)));
        let mut seen = self.twins.iter().filter(seen).map(|twin| twin.block);
        match (seen.next(), seen.next()) {
            (Some(first), Some(second)) => Err(Fork { first, second }),
            (first, _) => {
                self.decision = first.map_or(Decision::Skip, Decision::Commit);
                self.indirect = true;
                Ok(())
            }
        }
    }

    /// Whether these blocks of the round above, one of each author, are a quorum of votes for one leader or blame all.
    pub fn is_settled_by(&self, votes: &[Place], committee: &Committee, thresholds: &Thresholds) -> bool {
        let stake_of = |wanted: &dyn Fn(&Place) -> bool| -> u64 {
            votes.iter().filter(|vote| wanted(vote)).map(|vote| committee.stake(vote.author).0).sum()
        };
        let votes_for = |vote: &Place, index: usize| match vote.twin {
            0 => self.twins[index].votes.contains(vote.author),
            twin => self.second_votes.get(&(vote.author, twin)) == Some(&Some(index)),
        };
        let blamed = |index: usize| stake_of(&|vote| !votes_for(vote, index)) >= thresholds.direct_skip.0;
        (0..self.twins.len()).any(|index| stake_of(&|vote| votes_for(vote, index)) >= thresholds.certificate.0)
            || (stake_of(&|_| true) >= thresholds.direct_skip.0 && (0..self.twins.len()).all(blamed))
    }
}
