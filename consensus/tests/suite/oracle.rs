//! A naive transcription of CONSENSUS.md §2.6 and §2.8 that evaluates everything from scratch, and random DAGs for it.

use consensus::sim::{Keys, Rng};
use consensus::{Config, LeaderSchedule, genesis_refs};
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
        let mut schedule = LeaderSchedule::new(&self.config);
        let (mut commits, mut decided) = (Vec::<CommitRecord>::new(), Round(0));
        let mut taken = BTreeSet::new();
        loop {
            let statuses = self.statuses(&schedule, decided);
            let Some((round, status)) = statuses.first() else { return commits };
            match status {
                Status::Undecided => return commits,
                Status::Skip => {}
                Status::Commit(leader) => {
                    let record = self.linearize(commits.last(), *leader, &mut taken);
                    let headers: Vec<Header> = record.blocks.iter().map(|block| self.blocks[block].clone()).collect();
                    schedule.apply(&record, &headers);
                    commits.push(record);
                }
            }
            decided = *round;
        }
    }

    fn statuses(&self, schedule: &LeaderSchedule, above: Round) -> Vec<(Round, Status)> {
        let highest = self.blocks.keys().map(|block| block.round).max().unwrap_or(Round(0));
        let mut statuses: BTreeMap<Round, Status> = BTreeMap::new();
        for round in (above.0 + 1..highest.0).rev().map(Round) {
            let leaders = self.by(round, schedule.leader(round));
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
            timestamp: self.median(&leader).max(last.map_or(self.config.genesis_timestamp, |last| last.timestamp)),
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

/// A random DAG of valid blocks in causal order. At most f of the authors, the last ones, make twins; the others make
/// at most one block a round. How well a round's blocks know each other changes from round to round.
pub fn random_dag(keys: &Keys, rng: &mut Rng, rounds: u64) -> Vec<Header> {
    let committee = keys.committee().clone();
    let configs: Vec<Config> = committee.indices().map(|author| keys.config(author)).collect();
    let genesis = genesis_refs(&configs[0].chain, &committee);
    let twinning = committee.size() - committee.faulty_max().0 as usize;
    let mut by_author: Vec<Vec<BlockRef>> = genesis.iter().map(|block| vec![*block]).collect();
    let (mut below, mut dag): (Vec<Vec<BlockRef>>, Vec<Header>) = (genesis.iter().map(|b| vec![*b]).collect(), vec![]);
    for round in 1..=rounds {
        let sparse = rng.between(0, 600);
        let mut row: Vec<Vec<BlockRef>> = vec![Vec::new(); committee.size()];
        let mut authors: Vec<usize> = (0..committee.size()).collect();
        rng.shuffle(&mut authors);
        for author in authors {
            let made = row.iter().filter(|twins| !twins.is_empty()).count() as u64;
            // A quorum in every round, so that the DAG goes on.
            if made >= committee.quorum().0 && rng.chance(300) {
                continue;
            }
            let twins = if author >= twinning && rng.chance(400) { 2 } else { 1 };
            for nonce in 0..twins {
                let last = *by_author[author].last().unwrap();
                let own = if below[author].is_empty() { last } else { *rng_pick(rng, &below[author]) };
                let mut ancestors = vec![own];
                let mut parents = u64::from(own.round.0 + 1 == round);
                let mut others: Vec<usize> = (0..committee.size()).filter(|other| *other != author).collect();
                rng.shuffle(&mut others);
                for other in others {
                    let twins = &below[other];
                    if !twins.is_empty() && (parents < committee.quorum().0 || !rng.chance(sparse)) {
                        ancestors.push(*rng_pick(rng, twins));
                        parents += 1;
                    } else if rng.chance(200) && round > 1 {
                        let old = rng_pick(rng, &by_author[other]);
                        if old.round.0 > 0 {
                            ancestors.push(*old);
                            parents += u64::from(old.round.0 + 1 == round);
                        }
                    }
                }
                let time = round * 10 + rng.between(0, 30);
                let header = keys.block(&configs[author], Round(round), ancestors, Vec::new(), time, 0);
                if nonce == 1 && row[author].contains(&header.block_ref()) {
                    continue;
                }
                row[author].push(header.block_ref());
                dag.push(header);
            }
        }
        for (author, twins) in row.iter().enumerate() {
            by_author[author].extend(twins);
        }
        below = row;
    }
    dag
}

fn rng_pick<'a, T>(rng: &mut Rng, items: &'a [T]) -> &'a T {
    &items[rng.between(0, items.len() as u64 - 1) as usize]
}
