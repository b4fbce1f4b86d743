//! A validator that comes back without its disk: it signs nothing until it knows which rounds it may have signed before.

use consensus::sim::Keys;
use consensus::{Core, Effect, HighestBlocks, Input, Misbehaviour, Recovered, genesis_refs};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, BlockRef, Digest, Round};

const LOST: AuthorityIndex = AuthorityIndex(0);

/// Four cores on a bus without delay; each millisecond, everything that was said is heard.
struct Bus {
    keys: Keys,
    now: u64,
    cores: Vec<Core>,
    queue: VecDeque<(AuthorityIndex, Input)>,
    /// Every own block that was ever signed, by author and round.
    signed: BTreeMap<(AuthorityIndex, Round), BlockRef>,
    /// Nothing that the first validator says arrives.
    mute: bool,
    /// Who does not answer questions for highest blocks.
    silent: Vec<AuthorityIndex>,
    misbehaviour: Vec<(AuthorityIndex, Misbehaviour)>,
    commits: u64,
    reclaimed: Option<Round>,
}

impl Bus {
    fn new() -> Self {
        let mut keys = Keys::generate(4);
        keys.parameters.gc_depth_rounds = 40;
        let indices: Vec<AuthorityIndex> = keys.committee().indices().collect();
        let mut bus = Self {
            now: 0,
            cores: indices.iter().map(|me| Core::new(keys.config(*me), 0)).collect(),
            keys,
            queue: VecDeque::new(),
            signed: BTreeMap::new(),
            mute: false,
            silent: Vec::new(),
            misbehaviour: Vec::new(),
            commits: 0,
            reclaimed: None,
        };
        for me in indices {
            bus.started(me);
        }
        bus
    }

    fn started(&mut self, me: AuthorityIndex) {
        for peer in self.keys.committee().indices().filter(|peer| *peer != me) {
            self.queue.push_back((me, Input::PeerUp { peer }));
        }
        self.queue.push_back((me, Input::Pending { local: true }));
    }

    fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now += 1;
            for me in self.keys.committee().clone().indices() {
                self.queue.push_back((me, Input::Tick));
            }
            while let Some((me, input)) = self.queue.pop_front() {
                let mut effects = Vec::new();
                self.cores[me.index()].step(self.now, input, &mut effects);
                effects.into_iter().for_each(|effect| self.carry_out(me, effect));
            }
        }
    }

    fn say(&mut self, from: AuthorityIndex, to: AuthorityIndex, input: Input) {
        if !(self.mute && from == LOST) {
            self.queue.push_back((to, input));
        }
    }

    fn carry_out(&mut self, me: AuthorityIndex, effect: Effect) {
        let peers: Vec<AuthorityIndex> = self.keys.committee().indices().filter(|peer| *peer != me).collect();
        match effect {
            Effect::Propose { round, ancestors, misbehaviour, .. } => {
                let config = self.keys.config(me);
                let header = self.keys.block(&config, round, ancestors, misbehaviour, self.now, 0);
                let block = *self.signed.entry((me, round)).or_insert(header.block_ref());
                assert_eq!(block, header.block_ref(), "a round was signed twice");
                self.queue.push_back((me, Input::Proposed { header }));
            }
            Effect::Broadcast { header } => {
                for peer in peers {
                    self.say(me, peer, Input::Header { header: header.clone(), from: me });
                }
            }
            Effect::Push { to, headers } => {
                headers.into_iter().for_each(|header| self.say(me, to, Input::Header { header, from: me }));
            }
            Effect::RequestHeaders { from, refs, frontier } => {
                for header in self.cores[from.index()].headers_above(&refs, &frontier, 1_000) {
                    self.say(from, me, Input::Header { header, from });
                }
            }
            Effect::RequestHighest { from } if !self.silent.contains(&from) => {
                let blocks = self.cores[from.index()].highest_blocks(me);
                self.say(from, me, Input::Highest { peer: from, blocks });
            }
            Effect::Reclaimed { above } => self.reclaimed = Some(above),
            Effect::Misbehaviour { peer, what } => self.misbehaviour.push((peer, what)),
            Effect::Commit { .. } if me == LOST => self.commits += 1,
            _ => {}
        }
    }

    /// The first validator starts again with nothing on its disk.
    fn lose_disk(&mut self) {
        let recovered = Recovered { own_blocks_lost: true, ..Recovered::default() };
        let mut effects = Vec::new();
        self.queue.retain(|(to, _)| *to != LOST);
        self.cores[0] = Core::recover(self.keys.config(LOST), recovered, self.now, &mut effects).unwrap();
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Propose { .. })));
        self.commits = 0;
        self.started(LOST);
    }

    fn last_signed(&self) -> Round {
        self.signed.keys().filter(|(author, _)| *author == LOST).map(|(_, round)| *round).max().unwrap()
    }

    fn ask_for_proof(&mut self, blocks: HighestBlocks, peer: AuthorityIndex) {
        self.queue.push_back((LOST, Input::Highest { peer, blocks }));
    }
}

#[test]
fn a_lost_disk_goes_on_above_what_was_signed() {
    let mut bus = Bus::new();
    bus.run(100);
    let before = bus.last_signed();
    assert!(before.0 > 5);
    bus.lose_disk();
    bus.run(2_000);
    let above = bus.reclaimed.expect("all three have answered");
    assert!(above > before, "{above} after {before}");
    assert!(bus.last_signed() > above, "it makes blocks again");
    assert_eq!(bus.signed.range((LOST, before.next())..=(LOST, above)).count(), 0, "and none that it may have made");
    assert!(bus.commits > 10, "it commits");
    let status = bus.cores[0].status();
    assert_eq!((status.reclaiming, status.excluded), (None, Vec::new()));
    assert_eq!(bus.misbehaviour, []);
}

#[test]
fn rounds_are_not_signed_again_though_nobody_received_their_blocks() {
    let mut bus = Bus::new();
    bus.run(50);
    // It hears the others and signs on top of them, and nothing of that gets out.
    bus.mute = true;
    bus.run(60);
    let before = bus.last_signed();
    let known = bus.cores[1].highest_blocks(LOST).asker.expect("the first blocks got out").round();
    assert!(before > known.next().next(), "{before}, of which others know {known}");
    bus.mute = false;
    bus.lose_disk();
    bus.run(2_000);
    assert!(bus.reclaimed.expect("all three have answered") >= before);
    assert!(bus.last_signed() > before);
}

#[test]
fn it_waits_for_a_peer_and_says_for_whom_until_the_operator_decides() {
    let mut bus = Bus::new();
    bus.run(60);
    let before = bus.last_signed();
    bus.silent = vec![AuthorityIndex(2)];
    bus.lose_disk();
    bus.run(2_000);
    let waiting = bus.cores[0].status().reclaiming.expect("two of three have answered");
    assert_eq!((waiting.answered.0, waiting.needed.0), (2, 3));
    assert_eq!(waiting.waiting_for, [AuthorityIndex(2)]);
    assert_eq!(bus.last_signed(), before);
    assert!(bus.commits > 10, "it follows meanwhile");

    bus.queue.push_back((LOST, Input::AcceptLostDisk));
    bus.run(200);
    assert!(bus.reclaimed.is_some() && bus.last_signed() > before);
}

#[test]
fn nobody_can_name_a_round_that_the_committee_has_not_reached() {
    let mut bus = Bus::new();
    bus.run(60);
    let liar = AuthorityIndex(2);
    bus.silent = vec![liar];
    bus.lose_disk();
    let invented =
        |author: u16| BlockRef { round: Round(99_999), author: AuthorityIndex(author), digest: Digest::ZERO };
    let ancestors = [2, 0, 1, 3].map(invented).to_vec();
    let far = bus.keys.block(&bus.keys.config(liar), Round(100_000), ancestors, Vec::new(), 0, 0);
    bus.ask_for_proof(HighestBlocks { asker: None, peer: Some(far) }, liar);
    bus.run(1_000);
    assert_eq!(bus.cores[0].status().reclaiming.expect("it does not count").waiting_for, [liar]);
    assert_eq!(bus.reclaimed, None);
}

#[test]
fn answers_with_the_blocks_of_others_are_misbehaviour() {
    let mut bus = Bus::new();
    bus.run(60);
    let others: Arc<BlockHeader> = bus.cores[1].highest_blocks(LOST).peer.unwrap();
    bus.silent = vec![AuthorityIndex(3)];
    bus.lose_disk();
    let block = others.block_ref();
    for blocks in [
        HighestBlocks { asker: Some(others.clone()), peer: None },
        HighestBlocks { asker: None, peer: Some(others.clone()) },
    ] {
        bus.ask_for_proof(blocks, AuthorityIndex(3));
        bus.run(1);
        let expected = (AuthorityIndex(3), Misbehaviour::ForeignBlock { block });
        assert_eq!(std::mem::take(&mut bus.misbehaviour), [expected]);
    }
    bus.run(1_000);
    assert_eq!(bus.cores[0].status().reclaiming.expect("neither counts").waiting_for, [AuthorityIndex(3)]);
}

#[test]
fn an_own_block_that_somebody_else_brings_is_not_signed_again() {
    let keys = Keys::generate(4);
    let config = keys.config(LOST);
    let header = keys.block(&config, Round(1), genesis_refs(&config), Vec::new(), 9, 0);
    let (mut core, mut effects) = (Core::new(config, 0), Vec::new());
    core.step(0, Input::Header { header: header.clone(), from: AuthorityIndex(1) }, &mut effects);
    core.step(10_000, Input::Tick, &mut effects);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Propose { .. })));
    assert_eq!(core.status().last_own_round, Round(1), "the own chain goes on from it");
    assert_eq!(core.highest_blocks(AuthorityIndex(1)).peer, Some(header));
}
