//! A core with the smallest driver there is: proposals are durable and signed at once or on demand, the log keeps what
//! was durable when the last proposal was, and the clock moves only to let a timeout pass. For model checking and Twins,
//! where a scheduler decides everything.

use consensus::sim::Keys;
use consensus::{Checkpoint, Config, Core, Effect, HighestBlocks, Input, Misbehaviour, Recovered};
use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, BlockRef, ChainId, CommitRecord, Evidence, Height, Round};

pub type Header = Arc<BlockHeader>;

/// Longer than any leader timeout of [`small_keys`].
const TIMEOUT_MS: u64 = 1_000;

/// Four validators without delays, whose leader table may change every second commit.
pub fn small_keys() -> Keys {
    let mut keys = Keys::generate(4);
    keys.pacing.round_delay_ms_min = 0;
    keys.pacing.idle_delay_ms = 0;
    keys.pacing.leader_timeout_ms_min = 100;
    keys.pacing.leader_timeout_ms_max = 100;
    keys.pacing.leader_timeout_ms_cap = 100;
    keys.parameters.schedule_interval_commits = 2;
    keys.parameters.schedule_window_commits = 4;
    keys
}

#[derive(Clone, Debug)]
enum Logged {
    Accepted(Header),
    Commit(CommitRecord, Box<Checkpoint>),
}

#[derive(Clone, Debug)]
struct Asked {
    round: Round,
    ancestors: Vec<BlockRef>,
    misbehaviour: Vec<Evidence>,
}

/// What a crash takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Everything after the last own proposal; recovery starts from the newest checkpoint.
    LosesTail,
    /// Nothing; recovery starts from genesis.
    LosesCheckpoint,
}

#[derive(Clone, Debug)]
pub struct Replica {
    pub core: Core,
    keys: Arc<Keys>,
    config: Config,
    now_ms: u64,
    /// Makes the blocks of two replicas of one identity differ.
    variant: u64,
    /// Who may be blamed for equivocation.
    faulty: Vec<u16>,
    /// Nothing is proposed above it.
    pub allowed: Round,
    pub sign_at_once: bool,
    asked: Option<Asked>,
    /// Durable and not signed.
    pub unsigned: Option<Header>,
    /// Own blocks, signed.
    pub made: Vec<Header>,
    log: Vec<Logged>,
    /// How much of the log was written when the last proposal became durable.
    durable: usize,
    pub commits: Vec<CommitRecord>,
    committed_headers: Vec<Vec<Header>>,
    /// A timeout passed in this round.
    late: Option<Round>,
    /// What must never happen.
    pub wrong: Option<String>,
}

impl Replica {
    pub fn new(keys: &Arc<Keys>, chain: ChainId, me: u16, variant: u64, faulty: &[u16]) -> Self {
        let mut config = keys.config(AuthorityIndex(me));
        config.chain = chain;
        Self {
            core: Core::new(config.clone(), 0),
            keys: keys.clone(),
            config,
            now_ms: 0,
            variant,
            faulty: faulty.to_vec(),
            allowed: Round(0),
            sign_at_once: true,
            asked: None,
            unsigned: None,
            made: Vec::new(),
            log: Vec::new(),
            durable: 0,
            commits: Vec::new(),
            committed_headers: Vec::new(),
            late: None,
            wrong: None,
        }
    }

    pub fn me(&self) -> AuthorityIndex {
        self.config.me
    }

    pub fn last_made(&self) -> Round {
        self.made.last().map_or(Round(0), |header| header.round())
    }

    /// Whether a block was taken in, accepted or not.
    pub fn holds(&self, block: &BlockRef) -> bool {
        block.round == Round(0) || self.core.header(block).is_some()
    }

    pub fn deliver(&mut self, header: &Header) {
        self.step(Input::Header { header: header.clone(), from: header.author() });
    }

    /// Lets the leader timeout of the present round pass.
    pub fn time_out(&mut self) {
        self.now_ms += TIMEOUT_MS;
        let round = self.core.status().round;
        self.step(Input::Tick);
        let status = self.core.status();
        self.late = (status.round == round && status.last_own_round < round).then_some(round);
    }

    /// Proposals up to a round are answered.
    pub fn allow(&mut self, round: Round) {
        self.allowed = self.allowed.max(round);
        if self.core.status().last_own_round == Round(0) && self.asked.is_none() && self.unsigned.is_none() {
            self.step(Input::Tick);
        }
        self.answer();
    }

    /// Whether it waits for its leader, or for more blocks.
    pub fn waits(&self) -> bool {
        self.asked.is_none() && self.unsigned.is_none() && self.late.is_none()
    }

    /// The durable proposal is signed.
    pub fn sign(&mut self) {
        if let Some(header) = self.unsigned.take() {
            self.made.push(header.clone());
            self.step(Input::Proposed { header });
        }
    }

    /// Takes over the next commit of another.
    pub fn adopt_from(&mut self, other: &Self) {
        let next = self.commits.len();
        let (record, headers) = (other.commits[next].clone(), other.committed_headers[next].clone());
        self.step(Input::Adopt { record, headers });
    }

    // What is found on disk may become more than a crash can spoil here.
    #[allow(clippy::needless_update)]
    pub fn crash(&mut self, crash: Crash) {
        if crash == Crash::LosesTail {
            self.log.truncate(self.durable);
        }
        let (mut headers, mut commits, mut checkpoint) = (Vec::new(), Vec::new(), None);
        for logged in &self.log {
            match logged {
                Logged::Accepted(header) => headers.push(header.clone()),
                Logged::Commit(record, state) => {
                    commits.push(record.clone());
                    checkpoint = Some((**state).clone());
                }
            }
        }
        if crash == Crash::LosesCheckpoint {
            checkpoint = None;
        }
        let height = checkpoint.as_ref().map_or(Height(0), |checkpoint| checkpoint.height).0 as usize;
        self.commits.truncate(height);
        self.committed_headers.truncate(height);
        (self.asked, self.late) = (None, None);
        let (last_own, unsigned) = (self.made.last().cloned(), self.unsigned.as_ref().map(|header| header.round()));
        let recovered = Recovered {
            checkpoint,
            headers,
            commits,
            last_own,
            proposed_unsigned_round: unsigned,
            ..Default::default()
        };
        let mut effects = Vec::new();
        match Core::recover(self.config.clone(), recovered, self.now_ms, &mut effects) {
            Ok(core) => self.core = core,
            Err(error) => return self.wrong = Some(format!("{} does not recover: {error}", self.me())),
        }
        self.log.retain(|logged| match logged {
            Logged::Accepted(_) => true,
            Logged::Commit(record, _) => record.height.0 as usize <= height,
        });
        self.carry_out(effects);
    }

    /// A new disk: everything is gone, and own blocks were signed.
    pub fn lose_disk(&mut self) {
        let mut lost = Self::new(&self.keys, self.config.chain, self.me().0, self.variant, &self.faulty);
        (lost.now_ms, lost.allowed, lost.wrong) = (self.now_ms, self.allowed, self.wrong.take());
        let recovered = Recovered { own_blocks_lost: true, ..Recovered::default() };
        let mut effects = Vec::new();
        match Core::recover(self.config.clone(), recovered, self.now_ms, &mut effects) {
            Ok(core) => lost.core = core,
            Err(error) => lost.wrong = Some(format!("{} does not start anew: {error}", self.me())),
        }
        lost.carry_out(effects);
        *self = lost;
    }

    /// Whether it must hear first how far its own chain went.
    pub fn is_reclaiming(&self) -> bool {
        self.core.status().reclaiming.is_some()
    }

    /// What a peer says of that.
    pub fn hear(&mut self, peer: AuthorityIndex, blocks: HighestBlocks) {
        self.step(Input::Highest { peer, blocks });
    }

    fn step(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.core.step(self.now_ms, input, &mut effects);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Propose { round, ancestors, misbehaviour, .. } => {
                    let busy = self.asked.is_some() || self.unsigned.is_some();
                    if busy || round <= self.last_made() {
                        self.wrong = Some(format!("{} proposes for {round} again", self.me()));
                    }
                    self.asked = Some(Asked { round, ancestors, misbehaviour });
                }
                Effect::Accepted { header } => self.log.push(Logged::Accepted(header)),
                Effect::Commit { record, headers, checkpoint, .. } => {
                    self.commits.push(record.clone());
                    self.committed_headers.push(headers);
                    self.log.push(Logged::Commit(record, Box::new(checkpoint)));
                }
                Effect::AdoptRefused { height, reason } => {
                    self.wrong = Some(format!("{} refuses commit {height}: {reason}", self.me()));
                }
                Effect::Halted { first, second } => {
                    self.wrong = Some(format!("{} committed both {first} and {second}", self.me()));
                }
                Effect::Misbehaviour { peer, what: Misbehaviour::Equivocation(_) } if self.faulty.contains(&peer.0) => {
                }
                Effect::Misbehaviour { peer, what } => {
                    self.wrong = Some(format!("{} blames {peer}: {what}", self.me()));
                }
                _ => {}
            }
        }
        self.answer();
    }

    fn answer(&mut self) {
        let allowed = self.allowed;
        let Some(Asked { round, ancestors, misbehaviour }) = self.asked.take_if(|asked| asked.round <= allowed) else {
            return;
        };
        let time = round.0 * 10 + self.variant;
        self.unsigned = Some(self.keys.block(&self.config, round, ancestors, misbehaviour, time, 0));
        self.durable = self.log.len();
        if self.sign_at_once {
            self.sign();
        }
    }

    /// Accepted blocks in order of round and author; of twins, the one first accepted comes first.
    fn accepted(log: &[Logged]) -> Vec<BlockRef> {
        let accepted = log.iter().filter_map(|logged| match logged {
            Logged::Accepted(header) => Some(header.block_ref()),
            Logged::Commit(..) => None,
        });
        let mut accepted: Vec<BlockRef> = accepted.collect();
        accepted.sort_by_key(|block| (block.round, block.author));
        accepted
    }
}

/// All that can make a difference later, whatever the order in which it came about; the clock and what is only asked of
/// peers or pushed to them make none, since the scheduler delivers what it likes.
impl Hash for Replica {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let status = self.core.status();
        let own = (self.last_made(), self.asked.as_ref().map(|asked| asked.round), self.late, status.round);
        (own, status.last_decided_round, status.suspended, &status.excluded, self.allowed).hash(state);
        self.unsigned.as_ref().map(|header| header.digest()).hash(state);
        self.made.last().map(|header| header.digest()).hash(state);
        self.commits.last().map(CommitRecord::digest).hash(state);
        Self::accepted(&self.log).hash(state);
        let durable: BTreeSet<BlockRef> =
            Self::accepted(&self.log[..self.durable.min(self.log.len())]).into_iter().collect();
        durable.hash(state);
        status.reclaiming.map(|reclaiming| (reclaiming.answered, reclaiming.waiting_for)).hash(state);
        self.wrong.hash(state);
    }
}

/// The first height at which two sequences of commits differ.
pub fn disagreement(one: &[CommitRecord], other: &[CommitRecord]) -> Option<Height> {
    one.iter().zip(other).find(|(a, b)| a != b).map(|(a, _)| a.height)
}

/// A chain whose first leaders, under the first table, are these.
pub fn chain_led_by(keys: &Keys, leaders: &[u16]) -> ChainId {
    let led = |chain: ChainId| {
        let mut config = keys.config(AuthorityIndex(0));
        config.chain = chain;
        let schedule = consensus::LeaderSchedule::new(&config);
        (1..).zip(leaders).all(|(round, leader)| schedule.leader(Round(round)).0 == *leader)
    };
    let chains = (0u64..).map(|number| ChainId(types::Digest::sha256(&number.to_le_bytes())));
    chains.into_iter().find(|chain| led(*chain)).expect("some chain has these leaders")
}
