//! The failure of liveness that Qiu, Xiao and Shao found in threshold clocks that jump over rounds (IEEE S&P 2026): an
//! explicit schedule, endless, under which no leader is ever committed although the network is always timely. It is run
//! against a naive member that jumps, the same one held to create-before-advance, and the real core.
//!
//! One of four is faulty: it makes no block when it leads, and a block at once in every other round. The leader of a
//! round is kept from the blocks of the round below until the other two honest members and the faulty one have made
//! theirs for the round itself; then it gets both rounds in one batch, before the others' timeouts. Who jumps finds a
//! quorum for its own round, enters the next, and has never made its leader block.

use crate::replica::{Header, Replica, small_keys};
use consensus::sim::Keys;
use consensus::{Config, Core, Input, LeaderSchedule, genesis_refs};
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{AuthorityIndex, BlockRef, Round};

const ROUNDS: u64 = 300;
const FAULTY: u16 = 3;

trait Member {
    /// Takes in a batch of blocks, history first.
    fn receive(&mut self, batch: &[Header]);
    /// Makes the blocks that the rules ask for, up to a round; `late` lets the leader timeout pass.
    fn act(&mut self, round: u64, late: bool);
    /// Own blocks.
    fn made(&self) -> &[Header];
}

impl Member for Replica {
    fn receive(&mut self, batch: &[Header]) {
        batch.iter().for_each(|header| self.deliver(header));
    }

    fn act(&mut self, round: u64, late: bool) {
        self.allow(Round(round));
        if late && self.last_made().0 < round {
            self.time_out();
        }
    }

    fn made(&self) -> &[Header] {
        &self.made
    }
}

/// The rules of the pacemaker and nothing else, with and without A2.
struct Naive {
    keys: Arc<Keys>,
    config: Config,
    schedule: LeaderSchedule,
    jumps: bool,
    known: BTreeMap<BlockRef, Header>,
    made: Vec<Header>,
}

impl Naive {
    fn new(keys: &Arc<Keys>, me: u16, jumps: bool) -> Self {
        let config = keys.config(AuthorityIndex(me));
        let schedule = LeaderSchedule::new(&config);
        Self { keys: keys.clone(), config, schedule, jumps, known: BTreeMap::new(), made: Vec::new() }
    }

    fn of_round(&self, round: u64) -> impl Iterator<Item = &BlockRef> {
        self.known.keys().filter(move |block| block.round.0 == round)
    }

    fn has_quorum(&self, round: u64) -> bool {
        round == 0 || self.of_round(round).count() >= 3
    }

    /// A member that jumps is above the highest round with a quorum, one that does not above its last block's.
    fn round(&self) -> u64 {
        let last = self.made.last().map_or(0, |header| header.round().0);
        let highest = self.known.keys().map(|block| block.round.0).max().unwrap_or(0);
        let reached = (0..=highest).rev().find(|round| self.has_quorum(*round)).unwrap_or(0);
        if self.jumps { reached.max(last) + 1 } else { last + 1 }
    }
}

impl Member for Naive {
    fn receive(&mut self, batch: &[Header]) {
        self.known.extend(batch.iter().map(|header| (header.block_ref(), header.clone())));
    }

    fn act(&mut self, limit: u64, late: bool) {
        loop {
            let round = self.round();
            if round > limit || !self.has_quorum(round - 1) {
                return;
            }
            let leader = self.schedule.leader(Round(round - 1));
            let leader_is_here = round == 1 || self.of_round(round - 1).any(|block| block.author == leader);
            // C1, C3 or C2.
            if !leader_is_here && !self.has_quorum(round) && !late {
                return;
            }
            let genesis = genesis_refs(&self.config);
            let own = self.made.last().map_or(genesis[self.config.me.index()], |header| header.block_ref());
            let below: Vec<BlockRef> = if round == 1 { genesis } else { self.of_round(round - 1).copied().collect() };
            let others = below.into_iter().filter(|block| block.author != self.config.me);
            let ancestors = std::iter::once(own).chain(others).collect();
            let header = self.keys.block(&self.config, Round(round), ancestors, Vec::new(), round, 0);
            self.known.insert(header.block_ref(), header.clone());
            self.made.push(header);
        }
    }

    fn made(&self) -> &[Header] {
        &self.made
    }
}

/// Runs the schedule; how many leaders a core commits that gets every block of the run.
fn commits(keys: &Arc<Keys>, mut honest: Vec<Box<dyn Member>>) -> u64 {
    let config = keys.config(AuthorityIndex(FAULTY));
    let schedule = LeaderSchedule::new(&config);
    let leader = |round: u64| schedule.leader(Round(round)).0;
    let mut all: Vec<Header> = Vec::new();
    let collect = |all: &mut Vec<Header>, member: &dyn Member| {
        let fresh: Vec<Header> = member.made().iter().filter(|header| !all.contains(header)).cloned().collect();
        all.extend(fresh);
    };
    for round in 1..=ROUNDS {
        let (present, next) = (leader(round), leader(round + 1));
        let missed = round > 1
            && !all.iter().any(|header| header.round().0 == round - 1 && header.author().0 == leader(round - 1));
        for member in (0..3).filter(|member| *member != present) {
            honest[usize::from(member)].act(round, missed);
            collect(&mut all, &*honest[usize::from(member)]);
        }
        if present != FAULTY {
            all.extend(block_of_the_faulty(keys, &config, &all, round));
            if next != present {
                // Both rounds at once, and a quorum of its own round among them.
                all.sort_by_key(|header| header.round());
                honest[usize::from(present)].receive(&all);
                honest[usize::from(present)].act(round, false);
                collect(&mut all, &*honest[usize::from(present)]);
            }
        }
        all.sort_by_key(|header| header.round());
        for member in (0..3u16).filter(|member| *member != next && (*member != present || next != present)) {
            honest[usize::from(member)].receive(&all);
        }
    }
    let (mut observer, mut effects) = (Core::new(config, 0), Vec::new());
    for header in &all {
        observer.step(0, Input::Header { header: header.clone(), from: header.author() }, &mut effects);
    }
    let status = observer.status();
    assert!(status.last_decided_round.0 + 10 > ROUNDS, "every round was reached and its slot decided: {status:?}");
    status.last_commit_height.0
}

fn block_of_the_faulty(keys: &Keys, config: &Config, all: &[Header], round: u64) -> Option<Header> {
    let genesis = genesis_refs(config);
    let own = all.iter().rev().find(|header| header.author().0 == FAULTY);
    let own = own.map_or(genesis[usize::from(FAULTY)], |header| header.block_ref());
    let below: Vec<BlockRef> = if round == 1 {
        genesis
    } else {
        all.iter().filter(|header| header.round().0 + 1 == round).map(|header| header.block_ref()).collect()
    };
    let others = below.into_iter().filter(|block| block.author.0 != FAULTY);
    let ancestors: Vec<BlockRef> = std::iter::once(own).chain(others).collect();
    let parents = ancestors.iter().filter(|block| block.round.0 + 1 == round).count();
    (parents >= 3).then(|| keys.block(config, Round(round), ancestors, Vec::new(), round, 0))
}

#[test]
fn jumping_over_rounds_never_commits_and_creating_before_advancing_does() {
    let mut keys = small_keys();
    // One table for the whole run, so that all three meet the same leaders.
    keys.parameters.schedule_interval_commits = 10_000;
    let keys = Arc::new(keys);
    let naive = |jumps| -> Vec<Box<dyn Member>> {
        (0..3).map(|me| -> Box<dyn Member> { Box::new(Naive::new(&keys, me, jumps)) }).collect()
    };
    assert_eq!(commits(&keys, naive(true)), 0, "with jumps, {ROUNDS} rounds without a commit");
    let create_before_advance = commits(&keys, naive(false));
    assert!(create_before_advance > ROUNDS / 4, "{create_before_advance} commits");
    let chain = keys.config(AuthorityIndex(0)).chain;
    let core = |me| -> Box<dyn Member> { Box::new(Replica::new(&keys, chain, me, 0, &[FAULTY])) };
    let real = commits(&keys, (0..3).map(core).collect());
    assert!(real > ROUNDS / 4, "{real} commits");
}
