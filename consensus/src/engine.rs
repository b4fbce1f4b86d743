//! [`Core`]: one validator's consensus, told facts with [`Core::step`] and giving orders as [`Effect`]s.
//!
//! Owns every piece of protocol state and the order in which rules run: accept what came, decide and commit, move the
//! round, propose, ask for what is missing. Deliberately absent: clock, randomness, threads, files, sockets, hash maps
//! and floats; signatures, payload bytes and execution.

mod acceptance;
mod committing;
mod lag;
mod proposing;
mod reclaiming;
mod serving;

use crate::ancestors::OwnHistory;
use crate::committer::Committer;
use crate::config::{Config, Thresholds};
use crate::dag::Dag;
use crate::effect::{Effect, Status};
use crate::epoch_end::EpochEnd;
use crate::input::Input;
use crate::linearizer::Tip;
use crate::marks::Marks;
use crate::pacemaker::Pacemaker;
use crate::reclaim::Reclaim;
use crate::schedule::LeaderSchedule;
use crate::suspended::Suspended;
use crate::synchronizer::Synchronizer;
use crate::validity::Validity;
use crate::wall_clock::WallClock;
use lag::Lag;
use std::collections::VecDeque;
use std::sync::Arc;
use types::{BlockHeader, Evidence, Round};

/// One validator's consensus.
///
/// The driver's loop: call [`Core::step`] with each fact and carry out the effects in order; sleep until
/// [`Core::next_timer`] or the next fact; on the timer step with [`Input::Tick`]. `now_ms` comes from a monotonic clock.
#[derive(Clone, Debug)]
pub struct Core {
    pub(crate) config: Config,
    pub(crate) thresholds: Thresholds,
    pub(crate) validity: Validity,
    pub(crate) dag: Dag,
    pub(crate) suspended: Suspended,
    pub(crate) synchronizer: Synchronizer,
    pub(crate) pacemaker: Pacemaker,
    pub(crate) schedule: LeaderSchedule,
    pub(crate) committer: Committer,
    pub(crate) tip: Tip,
    pub(crate) epoch_end: EpochEnd,
    /// A change was decided: own blocks carry the mark.
    pub(crate) closing: bool,
    pub(crate) own: OwnHistory,
    /// The last own block, to be sent again.
    pub(crate) last_own: Option<Arc<BlockHeader>>,
    /// A proposal that was asked for and has not come.
    pub(crate) outstanding: Option<Round>,
    pub(crate) wall_clock: WallClock,
    /// Set while it is not known which own blocks were made before.
    pub(crate) reclaim: Option<Reclaim>,
    /// Rounds up to this one may have own blocks that are lost.
    pub(crate) own_floor: Round,
    /// Proofs to carry in the next own block.
    pub(crate) evidence: VecDeque<Evidence>,
    /// In which round each author's misbehaviour was last reported.
    pub(crate) reported: Vec<Option<Round>>,
    /// For each author and peer, how many more of the author's headers are pushed to the peer at once, because it was
    /// seen to lack one.
    pub(crate) lacking: Vec<Vec<u8>>,
    /// Highest round that each author signed for, accepted or not.
    pub(crate) seen: Vec<Round>,
    /// Whether commits of others are needed.
    pub(crate) lag: Lag,
    /// When the own block may be made or a leader is given up, as far as time decides it.
    pub(crate) wake_ms: Option<u64>,
    pub(crate) halted: bool,
    pub(crate) marks: Marks,
}

impl Core {
    /// A validator at the start of an epoch.
    pub fn new(config: Config, now_ms: u64) -> Self {
        let thresholds = Thresholds::of(&config.committee);
        let validity = Validity::new(&config);
        let (size, committee) = (config.committee.size(), config.committee.clone());
        Self {
            thresholds,
            dag: Dag::new(committee.clone(), Round(0)),
            suspended: Suspended::new(size, config.parameters.gc_depth_rounds),
            synchronizer: Synchronizer::new(config.me, size, &config.pacing),
            pacemaker: Pacemaker::new(&config, now_ms),
            schedule: LeaderSchedule::new(&config),
            committer: Committer::new(committee.clone(), thresholds, Round(0)),
            tip: Tip::anchor(validity.genesis()[0], &config.anchor),
            epoch_end: EpochEnd::new(committee, &config.parameters),
            closing: false,
            own: OwnHistory::new(config.me, validity.genesis()),
            last_own: None,
            outstanding: None,
            wall_clock: WallClock::new(config.committee.clone()),
            reclaim: None,
            own_floor: Round(0),
            evidence: VecDeque::new(),
            reported: vec![None; size],
            lacking: vec![vec![0; size]; size],
            seen: vec![Round(0); size],
            lag: Lag::default(),
            wake_ms: Some(now_ms),
            halted: false,
            marks: Marks::default(),
            validity,
            config,
        }
    }

    /// Takes in one fact. Effects are appended in the order in which they are to be carried out.
    pub fn step(&mut self, now_ms: u64, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Header { header, from } => self.on_header(header, from, now_ms, effects),
            Input::PayloadReady { block } => self.on_payload(&block, effects),
            Input::Proposed { header } => self.on_proposed(header, now_ms, effects),
            Input::Pending { local } => self.pacemaker.set_pending(local),
            Input::Closing => self.closing = true,
            Input::Adopt { record, headers } => self.on_adopt(record, headers, effects),
            Input::Asked { peer, refs } => self.on_asked(peer, &refs),
            Input::PeerUp { peer } => self.on_peer_up(peer, effects),
            Input::PeerDown { peer } => {
                self.synchronizer.set_up(peer, false);
                let changed = self.wall_clock.forget(peer);
                self.say_clock(changed, effects);
            }
            Input::Clock { peer, offset_ms } => {
                let changed = peer != self.config.me && self.wall_clock.compared(peer, offset_ms, now_ms);
                self.say_clock(changed, effects);
            }
            Input::ClockStepped { by_ms } => {
                let changed = self.wall_clock.stepped(by_ms, now_ms);
                self.say_clock(changed, effects);
            }
            Input::Rtt { peer, one_way_us } => {
                self.pacemaker.measured(peer, one_way_us);
            }
            Input::Evidence { evidence } => self.report(*evidence, effects),
            Input::Highest { peer, blocks } => self.on_highest(peer, blocks, now_ms, effects),
            Input::AcceptLostDisk => self.accept_lost_disk(effects),
            Input::Tick => {}
        }
        self.drive(now_ms, effects);
    }

    /// When to step with [`Input::Tick`] if nothing else comes before.
    pub fn next_timer(&self) -> Option<u64> {
        let resend = self.last_own.as_ref().map(|_| self.pacemaker.resend_at());
        let reclaim = self.reclaim.as_ref().map(Reclaim::due_ms);
        let (clock, lag) = (self.wall_clock.due_ms(), self.lag.due_ms());
        let times = [self.wake_ms, self.synchronizer.next_due(), resend, reclaim, clock, lag];
        times.into_iter().flatten().min()
    }

    /// Where it stands.
    pub fn status(&self) -> Status {
        let (missing_headers, missing_payloads) = self.synchronizer.len();
        Status {
            round: self.pacemaker.round(),
            last_own_round: self.own.last().round,
            last_commit_height: self.tip.height,
            last_leader_round: self.tip.leader.round,
            last_decided_round: self.committer.last_decided(),
            gc_round: self.dag.gc_round(),
            highest_round: self.dag.highest_round(),
            suspended: self.suspended.len(),
            dag_blocks: self.dag.len(),
            missing_headers,
            missing_payloads,
            early_payloads: self.suspended.early_len(),
            excluded: self.schedule.excluded().to_vec(),
            leader_timeout_ms: self.pacemaker.leader_timeout_ms(),
            clock_alarm_ms: self.wall_clock.alarm_ms(),
            reclaiming: self.reclaim.as_ref().map(|reclaim| reclaim.status(&self.dag, &self.config.committee)),
            halted: self.halted,
            closing: self.closing,
            over: self.epoch_end.is_over(),
        }
    }

    /// How often it has reached each rare rule.
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    fn say_clock(&self, changed: bool, effects: &mut Vec<Effect>) {
        effects.extend(changed.then(|| Effect::ClockAlarm { offset_ms: self.wall_clock.alarm_ms() }));
    }

    /// Runs the rules until nothing moves.
    pub(crate) fn drive(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        self.commit_decided(effects);
        let clock_expired = self.wall_clock.expire(now_ms);
        self.say_clock(clock_expired, effects);
        if self.lag.due_ms().is_some_and(|due_ms| due_ms <= now_ms) {
            self.note_lag(now_ms, effects);
        }
        self.reclaim(now_ms, effects);
        if self.epoch_end.is_over() {
            self.collect_garbage(effects);
        }
        self.move_round(now_ms);
        self.propose(now_ms, effects);
        self.ask_for_missing(now_ms, effects);
        self.resend(now_ms, effects);
    }
}
