//! Bytes as a sequence of inputs to one core of four: a committee that goes on, and among its blocks everything that peers
//! may send. Never a panic, never more memory than the bounds say, and the honest blocks are committed as without the rest.
//!
//! Validator 0 is the core; 1 and 2 keep the rules; 3 keeps them in his main chain and signs what else the bytes say. So
//! what an honest member would have had to sign is only ever sent spoilt.

use consensus::sim::Keys;
use consensus::{Config, Core, Effect, Input, Validity, genesis_refs};
use std::collections::VecDeque;
use std::sync::Arc;
use types::{
    AuthorityIndex, BlockHeader, BlockRef, ChainId, CommitRecord, Digest, Epoch, Evidence, Height, Round, TimestampMs,
};

type Header = Arc<BlockHeader>;

/// Rounds that a block lives; small, so that garbage collection has work.
const GC_DEPTH: u64 = 8;
/// Blocks of validator 3 beside his main chain that are remembered.
const ASIDE_MAX: usize = 256;
/// Longest sequence.
const OPERATIONS_MAX: usize = 4_000;

/// Runs a sequence; how many commits it came to.
///
/// # Panics
/// When the core breaks a promise.
pub fn run(data: &[u8]) -> usize {
    let mut world = World::new(data);
    let mut operations = 0;
    while !world.bytes.is_empty() && operations < OPERATIONS_MAX {
        world.operate();
        world.check_bounds();
        operations += 1;
    }
    world.finish();
    world.commits.len()
}

struct World<'a> {
    bytes: &'a [u8],
    keys: Keys,
    validity: Validity,
    core: Core,
    now_ms: u64,
    effects: Vec<Effect>,
    commits: Vec<CommitRecord>,
    /// Blocks of the main chains, by round from 1 on, by author.
    rows: Vec<Vec<Option<Header>>>,
    genesis: Vec<BlockRef>,
    /// Blocks of the core.
    own: Vec<Header>,
    /// Main blocks of the others on their way.
    travelling: VecDeque<Header>,
    /// Valid blocks of validator 3 beside his main chain.
    aside: Vec<Header>,
    wanted: Option<(Round, Vec<BlockRef>, Vec<Evidence>)>,
}

impl<'a> World<'a> {
    fn new(data: &'a [u8]) -> Self {
        let mut keys = Keys::generate(4);
        keys.parameters.gc_depth_rounds = GC_DEPTH;
        keys.parameters.schedule_interval_commits = 3;
        keys.parameters.schedule_window_commits = 6;
        let config = keys.config(AuthorityIndex(0));
        Self {
            bytes: data,
            validity: Validity::new(&config),
            genesis: genesis_refs(&config),
            core: Core::new(config, 0),
            keys,
            now_ms: 0,
            effects: Vec::new(),
            commits: Vec::new(),
            rows: Vec::new(),
            own: Vec::new(),
            travelling: VecDeque::new(),
            aside: Vec::new(),
            wanted: None,
        }
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        *first
    }

    fn number(&mut self) -> u64 {
        let shift = self.byte() % 64;
        (u64::from(self.byte()) << 8 | u64::from(self.byte())) << shift
    }

    fn peer(&mut self) -> AuthorityIndex {
        let byte = self.byte();
        // Seldom a stranger.
        AuthorityIndex(if byte == 255 { 4_000 } else { u16::from(byte % 4) })
    }

    fn config(&self, author: u16) -> Config {
        self.keys.config(AuthorityIndex(author))
    }

    fn operate(&mut self) {
        match self.byte() % 16 {
            0..=3 => self.make_row(),
            4..=6 => self.deliver(),
            7 => self.answer(),
            8..=10 => self.spoil(),
            11 => {
                let block = self.any_reference();
                self.step(Input::PayloadReady { block });
            }
            12 => {
                let (peer, count) = (self.peer(), self.byte() % 20);
                let refs = (0..count).map(|_| self.any_reference()).collect();
                self.step(Input::Asked { peer, refs });
            }
            13 => {
                let peer = self.peer();
                match self.byte() % 3 {
                    0 => self.step(Input::PeerUp { peer }),
                    1 => self.step(Input::PeerDown { peer }),
                    _ => {
                        let one_way_us = self.number();
                        self.step(Input::Rtt { peer, one_way_us });
                    }
                }
            }
            14 => {
                let record = self.any_record();
                let headers: Vec<Header> = (0..self.byte() % 4).filter_map(|_| self.any_header()).collect();
                self.step(Input::Adopt { record, headers });
            }
            _ => {
                self.now_ms += u64::from(self.byte());
                let local = self.byte().is_multiple_of(2);
                self.step(Input::Pending { local });
                self.step(Input::Tick);
            }
        }
    }

    fn step(&mut self, input: Input) {
        self.core.step(self.now_ms, input, &mut self.effects);
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Propose { round, ancestors, misbehaviour, .. } => {
                    assert!(self.wanted.is_none(), "a proposal while one is outstanding");
                    self.wanted = Some((round, ancestors, misbehaviour));
                }
                Effect::Commit { record, .. } => self.commits.push(record),
                Effect::Misbehaviour { peer, what } => {
                    let honest = [AuthorityIndex(1), AuthorityIndex(2)].contains(&peer);
                    assert!(!honest || matches!(what, consensus::Misbehaviour::InvalidHeader { .. }), "{peer}: {what}");
                }
                Effect::Halted { first, second } => panic!("halted over {first} and {second} with one faulty of four"),
                _ => {}
            }
        }
    }

    /// The others make the blocks of the next round, on all main blocks below it.
    fn make_row(&mut self) {
        let round = self.rows.len() as u64 + 1;
        if round > 200 {
            return;
        }
        let mut row: Vec<Option<Header>> = vec![None; 4];
        row[0] = self.own.last().filter(|header| header.round().0 == round).cloned();
        for author in 1..4u16 {
            let own = self.last_of(author);
            let mut ancestors = vec![own];
            match self.rows.last() {
                None => ancestors.extend(self.genesis.iter().filter(|block| block.author.0 != author)),
                Some(below) => {
                    let others = below.iter().flatten().map(|header| header.block_ref());
                    ancestors.extend(others.filter(|block| block.author.0 != author));
                }
            }
            let header = self.keys.block(&self.config(author), Round(round), ancestors, Vec::new(), round, 0);
            self.travelling.push_back(header.clone());
            row[usize::from(author)] = Some(header);
        }
        self.rows.push(row);
    }

    fn last_of(&self, author: u16) -> BlockRef {
        let mut made = self.rows.iter().rev().filter_map(|row| row[usize::from(author)].as_ref());
        made.next().map_or(self.genesis[usize::from(author)], |header| header.block_ref())
    }

    /// One of the blocks on their way arrives, not always the first, from anybody; sometimes it stays on its way.
    fn deliver(&mut self) {
        let (place, from) = (usize::from(self.byte()) % 8, self.peer());
        let place = place.min(self.travelling.len().saturating_sub(1));
        let again = self.byte().is_multiple_of(8);
        let Some(header) = self.travelling.get(place).cloned() else { return };
        if !again {
            self.travelling.remove(place);
        }
        self.step(Input::Header { header, from });
    }

    /// The own block that was asked for is signed.
    fn answer(&mut self) {
        let Some((round, ancestors, misbehaviour)) = self.wanted.take() else { return };
        let header = self.keys.block(&self.config(0), round, ancestors, misbehaviour, round.0, 0);
        if let Some(row) = self.rows.get_mut(round.0 as usize - 1) {
            row[0] = Some(header.clone());
        }
        self.own.push(header.clone());
        self.step(Input::Proposed { header });
    }

    /// A block with some fields changed. Where it is still valid, validator 3 signed it.
    fn spoil(&mut self) {
        let Some(model) = self.any_header() else { return };
        let (mut statement, mut body) = (*model.statement(), model.body().clone());
        let author = self.byte() % 8;
        if author < 4 {
            statement.author = AuthorityIndex(3);
        } else if author == 7 {
            statement.author = AuthorityIndex(u16::from(self.byte()) << 2);
        }
        for _ in 0..self.byte() % 4 {
            match self.byte() % 14 {
                0 => statement.chain = ChainId(Digest::sha256(&[self.byte()])),
                1 => statement.epoch = Epoch(self.number()),
                2 => statement.round = Round(self.number()),
                3 => statement.round = Round(statement.round.0.wrapping_add(u64::from(self.byte() % 12))),
                4 => body.timestamp = TimestampMs(self.number()),
                5 => {
                    let keep = usize::from(self.byte() % 6);
                    body.ancestors.truncate(keep);
                }
                6 => {
                    let extra = self.any_reference();
                    (0..=self.byte() % 8).for_each(|_| body.ancestors.push(extra));
                }
                7 => {
                    let (place, other) = (usize::from(self.byte()), self.any_reference());
                    let count = body.ancestors.len().max(1);
                    if let Some(ancestor) = body.ancestors.get_mut(place % count) {
                        *ancestor = other;
                    }
                }
                8 => {
                    // Ancestors that nobody has seen.
                    let salt = self.byte();
                    for ancestor in &mut body.ancestors {
                        ancestor.round = statement.round.saturating_sub(1);
                        ancestor.digest = Digest::sha256(&[salt, ancestor.author.0 as u8]);
                    }
                }
                9 => {
                    let places = (usize::from(self.byte()), usize::from(self.byte()));
                    let count = body.ancestors.len().max(1);
                    if !body.ancestors.is_empty() {
                        body.ancestors.swap(places.0 % count, places.1 % count);
                    }
                }
                10 => body.payload.bytes = self.number() as u32,
                11 => body.payload.count = self.number() as u32,
                12 if self.byte().is_multiple_of(2) => body.lane_roots.push(Digest::ZERO),
                // One of four cannot end an epoch.
                12 => body.end_of_epoch = true,
                _ => {
                    let (Some(one), Some(other)) = (self.any_header(), self.any_header()) else { continue };
                    let [first, second] = [one, other].map(|header| (*header.statement(), header.signature().clone()));
                    body.misbehaviour.push(Evidence::Equivocation { first, second });
                }
            }
        }
        // His own chain comes first, so that some of what he signs is valid.
        if let Some(own) = body.ancestors.iter().position(|block| block.author == statement.author) {
            body.ancestors.swap(0, own);
        }
        let (chain, epoch, round, author) = (statement.chain, statement.epoch, statement.round, statement.author);
        let signed = BlockHeader::statement_for(chain, epoch, round, author, &body, &[]);
        let header = Arc::new(BlockHeader::new(signed, body, Vec::new(), model.signature().clone()));
        let valid = self.validity.check(&header).is_ok();
        if valid && author != AuthorityIndex(3) {
            return;
        }
        if valid && self.aside.len() < ASIDE_MAX {
            self.aside.push(header.clone());
        }
        let from = self.peer();
        self.step(Input::Header { header, from });
    }

    fn any_header(&mut self) -> Option<Header> {
        let (back, author) = (usize::from(self.byte()), usize::from(self.byte()));
        if author >= 128 && !self.aside.is_empty() {
            return self.aside.get(back % self.aside.len()).cloned();
        }
        let row = self.rows.iter().rev().nth(back % self.rows.len().max(1))?;
        row[author % 4].clone()
    }

    fn any_reference(&mut self) -> BlockRef {
        let made_up = self.byte().is_multiple_of(4);
        match self.any_header() {
            Some(header) if !made_up => header.block_ref(),
            _ => BlockRef { round: Round(self.number()), author: self.peer(), digest: Digest::sha256(&[self.byte()]) },
        }
    }

    /// A commit that continues nothing: the driver checks what it hands over, so none that fits is made up here.
    fn any_record(&mut self) -> CommitRecord {
        let leader = self.any_reference();
        CommitRecord {
            height: Height(self.core.status().last_commit_height.0 + u64::from(self.byte() % 3)),
            previous: Digest::sha256(&[self.byte()]),
            leader,
            blocks: vec![leader],
            timestamp: TimestampMs(self.number()),
        }
    }

    fn check_bounds(&self) {
        let status = self.core.status();
        let authors = 4;
        assert!(status.suspended as u64 <= 2 * GC_DEPTH * authors, "{status:?}");
        assert!(status.missing_headers as u64 <= 2 * GC_DEPTH * authors * authors, "{status:?}");
        assert!(status.missing_payloads <= 8_192 && status.early_payloads <= 256 * authors as usize, "{status:?}");
        assert!(status.dag_blocks <= 4 * self.rows.len() + self.aside.len() + 1, "{status:?}");
        assert!(status.highest_round.0 <= self.rows.len() as u64 + 1 + self.aside.len() as u64, "{status:?}");
    }

    /// Everything honest arrives; then the commits are those of a core that saw nothing else.
    fn finish(&mut self) {
        let main: Vec<Header> = self.rows.iter().flatten().flatten().cloned().collect();
        // What the bounds had to drop is asked for again and comes again, for as long as that brings anything.
        let mut before = None;
        while before != Some(self.commits.len()) {
            before = Some(self.commits.len());
            for header in main.iter().chain(&main) {
                if header.author() != AuthorityIndex(0) {
                    self.step(Input::Header { header: header.clone(), from: header.author() });
                }
            }
            self.check_bounds();
        }
        let gc_round = self.core.status().gc_round;
        let lost = |header: &&Header| header.round() > gc_round && self.core.header(&header.block_ref()).is_none();
        let (refused, kept): (Vec<Header>, Vec<Header>) = main.iter().cloned().partition(|header| lost(&header));
        assert!(refused.iter().all(|header| self.may_be_refused(header)), "{refused:?}");
        let (mut clean, mut effects) = (Core::new(self.config(2), 0), Vec::new());
        for header in &kept {
            clean.step(0, Input::Header { header: header.clone(), from: header.author() }, &mut effects);
        }
        let record = |effect: Effect| match effect {
            Effect::Commit { record, .. } => Some(record),
            _ => None,
        };
        let expected: Vec<CommitRecord> = effects.into_iter().filter_map(record).collect();
        let differs = self.commits.iter().zip(&expected).find(|(found, expected)| found != expected);
        assert!(differs.is_none(), "{differs:?}");
        assert!(self.commits.len() >= expected.len(), "{} of {} commits", self.commits.len(), expected.len());
    }

    /// Of the blocks that one signs for a round, two are held back for their history, and more only if another block asks
    /// for them. None asks for the highest main block of validator 3.
    fn may_be_refused(&self, header: &Header) -> bool {
        let twins = self.aside.iter().filter(|aside| aside.round() == header.round()).count();
        header.author() == AuthorityIndex(3)
            && header.round().0 == self.rows.len() as u64
            && (twins >= 2 || self.aside.len() >= ASIDE_MAX)
    }
}
