//! When a core makes its blocks: A1, A2, C1 to C3, and what restarts may not do. The clock is cranked by hand.

use consensus::sim::Keys;
use consensus::{Config, Core, Effect, Input, LeaderSchedule, Recovered, genesis_refs};
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, BlockRef, Round};

/// A core of four with its peers' blocks made by hand.
struct Bench {
    keys: Keys,
    core: Core,
    effects: Vec<Effect>,
    /// The blocks of each round, by author, from genesis on.
    rows: Vec<Vec<Option<BlockRef>>>,
}

impl Bench {
    fn new(me: u16) -> Self {
        let keys = Keys::generate(4);
        let config = keys.config(AuthorityIndex(me));
        let rows = vec![genesis_refs(&config).into_iter().map(Some).collect()];
        let mut bench = Self { keys, core: Core::new(config, 0), effects: Vec::new(), rows };
        bench.step(0, Input::Pending { local: true });
        bench
    }

    fn step(&mut self, now: u64, input: Input) {
        self.core.step(now, input, &mut self.effects);
    }

    /// The block of an author on all blocks of the round below.
    fn make(&mut self, author: u16, round: u64) -> Arc<BlockHeader> {
        let config = self.keys.config(AuthorityIndex(author));
        let mut ancestors: Vec<BlockRef> = self.rows[round as usize - 1].iter().flatten().copied().collect();
        let own = ancestors.iter().position(|block| block.author.0 == author).expect("everybody goes on from his own");
        ancestors.swap(0, own);
        let header = self.keys.block(&config, Round(round), ancestors, Vec::new(), 0, 0);
        if self.rows.len() == round as usize {
            self.rows.push(vec![None; 4]);
        }
        self.rows[round as usize][usize::from(author)] = Some(header.block_ref());
        header
    }

    fn receive(&mut self, now: u64, author: u16, round: u64) {
        let header = self.make(author, round);
        self.step(now, Input::Header { header, from: AuthorityIndex(author) });
    }

    /// The round that was asked for since the last call, if any.
    fn proposed(&mut self) -> Option<(u64, Vec<BlockRef>)> {
        let mut asked = None;
        for effect in std::mem::take(&mut self.effects) {
            if let Effect::Propose { round, ancestors, .. } = effect {
                assert!(asked.replace((round.0, ancestors)).is_none(), "one proposal at a time");
            }
        }
        asked
    }

    /// Answers the proposal that was asked for.
    fn answer(&mut self, now: u64) -> u64 {
        let (round, ancestors) = self.proposed().expect("a proposal was asked for");
        let me = self.core.status();
        assert_eq!(me.round.0, round);
        let config = self.config();
        let header = self.keys.block(&config, Round(round), ancestors, Vec::new(), 0, 0);
        if self.rows.len() == round as usize {
            self.rows.push(vec![None; 4]);
        }
        self.rows[round as usize][config.me.index()] = Some(header.block_ref());
        self.step(now, Input::Proposed { header });
        round
    }

    fn config(&self) -> Config {
        self.keys.config(AuthorityIndex(0))
    }

    fn leader(&self, round: u64) -> u16 {
        LeaderSchedule::new(&self.config()).leader(Round(round)).0
    }
}

#[test]
fn no_round_is_entered_without_an_own_block_in_the_one_before() {
    let mut bench = Bench::new(0);
    assert_eq!(bench.proposed().map(|(round, _)| round), Some(1), "round 1 stands on genesis");
    // The others go on without us, but nothing is decided yet.
    for round in 1..=2 {
        (1..4).for_each(|author| bench.receive(1, author, round));
    }
    assert_eq!(bench.proposed(), None);
    assert_eq!(bench.core.status().round, Round(1));
}

#[test]
fn others_ahead_are_followed_at_once_and_without_gaps() {
    let mut bench = Bench::new(0);
    bench.answer(0);
    let rounds_ahead = 2;
    // Blocks of the others that do not know ours.
    let own = bench.rows[1][0].take();
    for round in 1..=rounds_ahead {
        (1..4).for_each(|author| bench.receive(1, author, round));
    }
    bench.rows[1][0] = own;
    // C3: within the same millisecond, whatever the delay.
    assert_eq!(bench.answer(1), 2);
    assert_eq!(bench.proposed(), None, "round 3 waits for its delay");
    bench.step(7, Input::Tick);
    assert_eq!(bench.proposed().map(|(round, _)| round), Some(3));
}

#[test]
fn a_missing_leader_is_waited_for_until_the_timeout() {
    let mut bench = Bench::new(0);
    let leader = bench.leader(1);
    assert_ne!(leader, 0, "the pinned schedule has another leader in round 1");
    bench.answer(0);
    (1..4).filter(|author| *author != leader).for_each(|author| bench.receive(2, author, 1));
    assert_eq!(bench.core.status().round, Round(2), "three of four blocks are a quorum");
    bench.step(5, Input::Tick);
    assert_eq!(bench.proposed(), None, "the delay is over, but the leader's block is not here");
    assert_eq!(bench.core.next_timer(), Some(350), "the others idle for 250 ms, then 100 ms of timeout");
    bench.step(349, Input::Tick);
    assert_eq!(bench.proposed(), None);
    bench.step(350, Input::Tick);
    assert_eq!(bench.proposed().map(|(round, _)| round), Some(2));
}

#[test]
fn a_leader_that_comes_late_ends_the_wait() {
    let mut bench = Bench::new(0);
    let leader = bench.leader(1);
    bench.answer(0);
    (1..4).filter(|author| *author != leader).for_each(|author| bench.receive(2, author, 1));
    bench.receive(40, leader, 1);
    let (round, ancestors) = bench.proposed().expect("C1 holds");
    assert_eq!((round, ancestors.len()), (2, 4));
    assert_eq!(ancestors[0].author, AuthorityIndex(0), "the own block comes first");
}

#[test]
fn nothing_pending_means_the_idle_delay() {
    let mut bench = Bench::new(0);
    bench.answer(0);
    bench.step(1, Input::Pending { local: false });
    (1..4).for_each(|author| bench.receive(2, author, 1));
    assert_eq!(bench.core.next_timer(), Some(250));
    bench.step(100, Input::Pending { local: true });
    assert_eq!(bench.proposed().map(|(round, _)| round), Some(2), "a transaction ends the idling");
}

#[test]
fn an_unsigned_proposal_blocks_every_other_until_it_is_signed() {
    let mut bench = Bench::new(0);
    let (round, ancestors) = bench.proposed().unwrap();
    let config = bench.config();
    let header = bench.keys.block(&config, Round(round), ancestors, Vec::new(), 0, 0);
    let recovered = Recovered { proposed_unsigned_round: Some(Round(1)), ..Recovered::default() };
    bench.core = Core::recover(config, recovered, 0, &mut bench.effects).unwrap();
    for round in 1..=2 {
        bench.rows.truncate(round as usize + 1);
        (1..4).for_each(|author| bench.receive(10_000, author, round));
    }
    bench.step(100_000, Input::Tick);
    assert_eq!(bench.proposed(), None);
    bench.step(100_000, Input::Proposed { header: header.clone() });
    let sent = |effect: &Effect| matches!(effect, Effect::Broadcast { header: sent } if *sent == header);
    assert!(bench.effects.iter().any(sent));
    assert_eq!(bench.proposed().map(|(round, _)| round), Some(2));
}

#[test]
fn a_core_whose_signer_may_have_signed_more_proposes_nothing_below_that() {
    const FENCE: u64 = 6;
    let mut bench = Bench::new(0);
    let header = {
        bench.answer(0);
        let own = bench.rows[1][0].unwrap();
        bench.core.header(&own).unwrap().clone()
    };
    let recovered = Recovered {
        headers: vec![header.clone()],
        last_own: Some(header),
        signed_up_to: Some(Round(FENCE)),
        ..Recovered::default()
    };
    bench.effects.clear();
    bench.core = Core::recover(bench.config(), recovered, 0, &mut bench.effects).unwrap();
    let mut proposed = Vec::new();
    for round in 1..=12 {
        (1..4).for_each(|author| bench.receive(60_000 * round, author, round));
        bench.step(60_000 * round + 30_000, Input::Tick);
        proposed.extend(bench.proposed().map(|(round, _)| round));
    }
    assert!(proposed.iter().all(|round| *round > FENCE) && !proposed.is_empty(), "{proposed:?}");
}

#[test]
fn a_restarted_core_sends_its_last_block_and_never_repeats_its_round() {
    let mut bench = Bench::new(0);
    bench.answer(0);
    let (_, own) = (bench.proposed(), bench.rows[1][0].unwrap());
    let header = bench.core.header(&own).unwrap().clone();
    let recovered = Recovered { headers: vec![header.clone()], last_own: Some(header), ..Recovered::default() };
    bench.core = Core::recover(bench.config(), recovered, 0, &mut bench.effects).unwrap();
    let sent = |effect: &Effect| matches!(effect, Effect::Broadcast { header } if header.block_ref() == own);
    assert!(bench.effects.iter().any(sent));
    bench.step(50_000, Input::Tick);
    assert_eq!(bench.proposed(), None, "round 1 has its block, and round 2 has no quorum below it");
    (1..4).for_each(|author| bench.receive(60_000, author, 1));
    let (round, ancestors) = bench.proposed().unwrap();
    assert_eq!((round, ancestors[0]), (2, own));
}
