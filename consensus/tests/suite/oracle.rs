//! A naive transcription of CONSENSUS.md §2.6 and §2.8 that evaluates everything from scratch, over the transcription of
//! §2.7 beside it. Absent: every rule taken from the crate under test.

use crate::naive_schedule::Table;
use consensus::Config;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, BlockRef, CommitRecord, Digest, Hasher, Height, Round, TimestampMs};

type Header = Arc<BlockHeader>;

pub struct Oracle {
    config: Config,
    blocks: BTreeMap<BlockRef, Header>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Status {
    Undecided,
    Commit(BlockRef),
    Skip,
}

impl Oracle {
    pub fn new(config: Config, headers: &[Header]) -> Self {
        Self { config, blocks: headers.iter().map(|header| (header.block_ref(), header.clone())).collect() }
    }

    /// Every commit that the DAG gives.
    pub fn commits(&self) -> Vec<CommitRecord> {
        let (mut commits, mut decided) = (Vec::<CommitRecord>::new(), Round(0));
        let (mut prefix, mut taken) = (Vec::new(), BTreeSet::new());
        loop {
            let statuses = self.statuses(&Table::behind(&self.config, &prefix), decided);
            let Some((round, status)) = statuses.first() else { return commits };
            match status {
                Status::Undecided => return commits,
                Status::Skip => {}
                Status::Commit(leader) => {
                    let record = self.linearize(commits.last(), *leader, &mut taken);
                    let headers: Vec<Header> = record.blocks.iter().map(|block| self.blocks[block].clone()).collect();
                    prefix.push((record.leader, headers));
                    commits.push(record);
                }
            }
            decided = *round;
        }
    }

    fn statuses(&self, table: &Table, above: Round) -> Vec<(Round, Status)> {
        let highest = self.blocks.keys().map(|block| block.round).max().unwrap_or(Round(0));
        let mut statuses: BTreeMap<Round, Status> = BTreeMap::new();
        for round in (above.0 + 1..highest.0).rev().map(Round) {
            let leaders = self.by(round, table.leader(round));
            let mut status = self.direct(round, &leaders);
            if status == Status::Undecided {
                let anchor = statuses.range(Round(round.0 + 3)..).find(|(_, status)| **status != Status::Skip);
                if let Some((_, Status::Commit(anchor))) = anchor {
                    let history = self.history(anchor, Round(round.0 + 2));
                    let certified = |leader: &&BlockRef| {
                        history.iter().any(|block| block.round.0 == round.0 + 2 && self.certifies(block, leader))
                    };
                    status = leaders.iter().find(certified).map_or(Status::Skip, |leader| Status::Commit(*leader));
                }
            }
            statuses.insert(round, status);
        }
        statuses.into_iter().collect()
    }

    fn direct(&self, round: Round, leaders: &[BlockRef]) -> Status {
        let quorum = |blocks: Vec<&BlockRef>| {
            let authors: BTreeSet<AuthorityIndex> = blocks.into_iter().map(|block| block.author).collect();
            self.config.committee.is_quorum(authors)
        };
        for leader in leaders {
            if quorum(self.at(Round(round.0 + 2)).filter(|block| self.certifies(block, leader)).collect()) {
                return Status::Commit(*leader);
            }
        }
        let votes = || self.at(round.next());
        let blamed = |leader: &BlockRef| quorum(votes().filter(|block| !self.votes_for(block, leader)).collect());
        if quorum(votes().collect()) && leaders.iter().all(blamed) { Status::Skip } else { Status::Undecided }
    }

    fn certifies(&self, block: &BlockRef, leader: &BlockRef) -> bool {
        let ancestors = self.blocks[block].ancestors().iter();
        let votes = ancestors.filter(|vote| vote.round == leader.round.next() && self.votes_for(vote, leader));
        self.config.committee.is_quorum(votes.map(|vote| vote.author))
    }

    fn votes_for(&self, block: &BlockRef, leader: &BlockRef) -> bool {
        self.blocks[block].ancestors().contains(leader)
    }

    fn at(&self, round: Round) -> impl Iterator<Item = &BlockRef> {
        self.blocks.keys().filter(move |block| block.round == round)
    }

    fn by(&self, round: Round, author: AuthorityIndex) -> Vec<BlockRef> {
        self.at(round).filter(|block| block.author == author).copied().collect()
    }

    /// Everything reachable in rounds from `lowest` on, with the block itself.
    fn history(&self, block: &BlockRef, lowest: Round) -> BTreeSet<BlockRef> {
        let (mut found, mut stack) = (BTreeSet::new(), vec![*block]);
        while let Some(block) = stack.pop() {
            if block.round >= lowest && block.round > Round(0) && found.insert(block) {
                stack.extend(self.blocks[&block].ancestors());
            }
        }
        found
    }

    fn linearize(
        &self,
        last: Option<&CommitRecord>,
        leader: BlockRef,
        taken: &mut BTreeSet<(Round, AuthorityIndex)>,
    ) -> CommitRecord {
        let gc = last.map_or(0, |last| last.leader.round.0.saturating_sub(self.config.parameters.gc_depth_rounds));
        let mut order: Vec<(Round, Digest, BlockRef)> = self
            .history(&leader, Round(gc + 1))
            .into_iter()
            .map(|block| {
                let key =
                    Hasher::new("stele/order/1").with_encoded(&leader.digest).with_encoded(&block.digest).finish();
                (block.round, key, block)
            })
            .collect();
        order.sort_unstable();
        let blocks = order
            .into_iter()
            .map(|(_, _, block)| block)
            .filter(|block| taken.insert((block.round, block.author)))
            .collect();
        CommitRecord {
            height: last.map_or(Height(0), |last| last.height).next(),
            previous: last.map_or(Digest::ZERO, CommitRecord::digest),
            leader,
            blocks,
            timestamp: self.median(&leader).max(last.map_or(self.config.anchor.timestamp, |last| last.timestamp)),
        }
    }

    /// Each parent counts as often as its stake says.
    fn median(&self, leader: &BlockRef) -> TimestampMs {
        let mut times = Vec::new();
        for parent in self.blocks[leader].ancestors() {
            if parent.round.next() == leader.round && parent.round > Round(0) {
                let time = self.blocks[parent].body().timestamp;
                times.extend(std::iter::repeat_n(time, self.config.committee.stake(parent.author).0 as usize));
            }
        }
        times.sort_unstable();
        times.get(times.len().saturating_sub(1) / 2).copied().unwrap_or(TimestampMs(0))
    }
}
