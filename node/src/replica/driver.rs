//! The replica's loop: takes facts and answers, steps the core, carries out its effects.

use crate::execution::Order;
use crate::ingress;
use crate::pool::Pool;
use crate::records;
use crate::replica::blocks::{Blocks, Matched};
use crate::replica::certificates::Certificates;
use crate::replica::clocks::StepWatch;
use crate::replica::commit_sync::Standing;
use crate::replica::contents::Contents;
use crate::replica::epoch_end::EpochEnd;
use crate::replica::event::{Answer, Ended, Fact, Failure, ReceivedPayload};
use crate::replica::intake::Checker;
use crate::replica::lost_disk::LostDisk;
use crate::replica::outbox::Outbox;
use crate::replica::proposer::Proposer;
use crate::replica::segments::Segments;
use crate::replica::serve::Archive;
use crate::status::{State, Status};
use crate::wire::Request;
use accel::Verifier;
use consensus::{Core, Effect, Input};
use crossbeam_channel::{Receiver, Sender, TryRecvError, select};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::log::Log;
use tokio::sync::watch;
use types::{
    AuthorityIndex, BlockHeader, BlockRef, Digest, Evidence, HeaderVote, Height, InvalidTransaction, Payload, Round,
};

/// Headers from clocks that run ahead are held back until they are due, at most this many.
const HELD_BACK_MAX: usize = 1024;
/// How far ahead of this clock a block's timestamp may be.
const CLOCK_SKEW_MS: u64 = 500;
/// Facts taken before effects are carried out, so that one pass serves many.
const FACTS_A_PASS: usize = 256;
/// Longest sleep: gauges are refreshed at least this often.
const SLEEP_MAX: Duration = Duration::from_millis(200);

/// The replica. Everything in it is owned by its one thread.
pub struct Replica {
    /// Who this node is.
    pub me: AuthorityIndex,
    /// The protocol.
    pub core: Core,
    /// Effects that wait to be carried out.
    pub effects: Vec<Effect>,
    /// Headers and payloads.
    pub blocks: Blocks,
    /// Makes own blocks.
    pub proposer: Proposer,
    /// Certificates in the making.
    pub certificates: Certificates,
    /// Which segment of the log holds which rounds.
    pub segments: Segments,
    /// Digests of own headers that are not certified yet.
    pub executed: BTreeMap<Height, Digest>,
    /// Digests of headers that were certified before they were executed here.
    pub proven: BTreeMap<Height, Digest>,
    /// Last commit handed to execution, and its digest.
    pub tip: (Height, Digest),
    /// Commits found in the log above what was applied: their verdicts, by height.
    pub replayed: BTreeMap<Height, Vec<u8>>,
    /// The log.
    pub log: Arc<Log>,
    /// Old blocks.
    pub archive: Archive,
    /// Checks of what peers send.
    pub checker: Checker,
    /// To peers.
    pub outbox: Outbox,
    /// Peers whose link is up.
    pub linked: BTreeSet<AuthorityIndex>,
    /// To execution.
    pub execution: Sender<Order>,
    /// To the signer desk.
    pub signer: Sender<records::Proposal>,
    /// Set while own blocks of before are missing, and none are made.
    pub lost_disk: Option<LostDisk>,
    /// To itself, for those who fetch.
    pub facts: Sender<Fact>,
    /// Tells commit sync whether it is needed.
    pub standing: watch::Sender<Standing>,
    /// Verifies peers' transactions.
    pub verifier: Arc<Verifier>,
    /// Waiting transactions.
    pub pool: Arc<Pool>,
    /// Tells clients of transactions that expired in the pool.
    pub receipts: crate::execution::Receipts,
    /// What others read.
    pub status: Arc<Status>,
    /// Zero of the monotonic clock.
    pub started: Instant,
    /// How far the end of the epoch had come before a restart.
    pub epoch_end: EpochEnd,
}

/// What only the loop needs.
#[derive(Default)]
pub(super) struct Loop {
    pub(super) held_back: BTreeMap<(u64, BlockRef), (Arc<BlockHeader>, AuthorityIndex)>,
    pub(super) executed: Height,
    /// The last height that a start finds in the log. Until it is executed, what was acknowledged is not all to be read.
    pub(super) replay_to: Height,
    pub(super) lag: Lag,
    pub(super) epoch_end: EpochEnd,
    pub(super) halted: bool,
    /// When each height was handed to execution, to measure how long its certificate takes.
    pub(super) ordered_at: BTreeMap<Height, Instant>,
    /// When the outstanding own block was asked for.
    pub(super) proposed_at: Option<Instant>,
    /// How long it takes here until an own block is durable and signed, smoothed. A peer's disk and signer are taken to
    /// be like this node's.
    pub(super) signing: Duration,
    pub(super) delays_at: Option<Instant>,
    pub(super) step_watch: StepWatch,
    /// The own block that is not made while the machine is not well.
    pub(super) withheld: Option<Effect>,
    /// Half a round trip to each peer.
    pub(super) on_the_wire: BTreeMap<AuthorityIndex, Duration>,
    /// The newest round of which each peer has sent its own block.
    pub(super) newest: BTreeMap<AuthorityIndex, Round>,
}

/// Whether this node is behind the others.
#[derive(Default)]
pub(super) struct Lag {
    /// Whether commits are fetched.
    pub(super) behind: bool,
    /// When the core last said that others are out of its reach.
    pub(super) said: Option<Instant>,
    /// When fetched commits were last applied.
    pub(super) adopted: Option<Instant>,
    /// Votes of fetched blocks, for the certificates of the heights that were missed.
    pub(super) votes: Option<Certificates>,
}

impl Replica {
    /// Runs until it is told to stop, the epoch is over, or a stage fails. Where the node goes on inside, transactions of
    /// own blocks that no commit has ordered wait in the pool again.
    pub fn run(mut self, facts: &Receiver<Fact>, answers: &Receiver<Answer>) -> Result<Ended, Failure> {
        let ended = self.work(facts, answers);
        self.pool.put_back(self.blocks.take_uncommitted());
        ended
    }

    fn work(&mut self, facts: &Receiver<Fact>, answers: &Receiver<Answer>) -> Result<Ended, Failure> {
        let epoch_end = std::mem::take(&mut self.epoch_end);
        let replay_to = self.replayed.last_key_value().map_or(Height(0), |(last, _)| *last);
        let mut state = Loop { executed: self.tip_executed(), replay_to, epoch_end, ..Loop::default() };
        self.resume_end(&mut state);
        self.carry_out(&mut state)?;
        loop {
            if self.until_over(&state).is_some_and(|left| left.is_zero()) {
                return Ok(Ended::EpochOver);
            }
            self.settle(&mut state)?;
            let now = self.now_ms();
            let due = self.core.next_timer().map_or(SLEEP_MAX, |at| Duration::from_millis(at.saturating_sub(now)));
            let due = due.min(self.until_over(&state).unwrap_or(SLEEP_MAX));
            select! {
                recv(answers) -> answer => match answer {
                    Ok(answer) => self.answer(answer, &mut state)?,
                    Err(_) => return Ok(Ended::Stopped),
                },
                recv(facts) -> fact => match fact {
                    Ok(fact) => match fact.ends() {
                        Some(ended) => return Ok(ended),
                        None => self.fact(fact, &mut state),
                    },
                    Err(_) => return Ok(Ended::Stopped),
                },
                default(due.min(SLEEP_MAX)) => {}
            }
            for _ in 0..FACTS_A_PASS {
                match answers.try_recv() {
                    Ok(answer) => self.answer(answer, &mut state)?,
                    Err(TryRecvError::Disconnected) => return Ok(Ended::Stopped),
                    Err(TryRecvError::Empty) => match facts.try_recv() {
                        Ok(fact) => match fact.ends() {
                            Some(ended) => return Ok(ended),
                            None => self.fact(fact, &mut state),
                        },
                        Err(_) => break,
                    },
                }
            }
        }
    }

    /// Does what has become possible or due: also once before the first news, as a start can do much alone.
    fn settle(&mut self, state: &mut Loop) -> Result<(), Failure> {
        self.ask_for_the_end(state);
        self.release_held_back(state);
        self.measure_delays(state);
        self.watch_clock(state);
        self.propose_what_was_withheld(state)?;
        self.step(Input::Tick);
        self.carry_out(state)?;
        self.note_standing(state);
        self.reclaim_if_enough(state.lag.behind);
        self.carry_out(state)?;
        self.status.protocol(&self.core.status(), self.pool.len(), self.blocks.len());
        Ok(())
    }

    fn tip_executed(&self) -> Height {
        let waiting = self.replayed.keys().next().map(|first| first.0 - 1);
        Height(waiting.unwrap_or(self.tip.0.0))
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    pub(super) fn step(&mut self, input: Input) {
        let now = self.now_ms();
        self.core.step(now, input, &mut self.effects);
    }

    fn fact(&mut self, fact: Fact, state: &mut Loop) {
        match fact {
            Fact::Header { header, from } => self.header(header, from, state),
            Fact::Payload { received, from } => self.received(received, from),
            Fact::Misbehaviour { peer, what } => self.status.misbehaviour(peer, what),
            Fact::PeerUp(peer) => {
                self.status.peer(peer, true);
                self.linked.insert(peer);
                self.step(Input::PeerUp { peer });
            }
            Fact::PeerDown(peer) => {
                self.status.peer(peer, false);
                self.linked.remove(&peer);
                self.step(Input::PeerDown { peer });
            }
            Fact::Request { peer, request, reply } => {
                if let Request::Headers { refs, .. } = &request {
                    self.step(Input::Asked { peer, refs: refs.clone() });
                }
                self.outbox.answer(&self.core, &self.blocks, &self.archive, peer, request, reply);
            }
            Fact::InvalidTransaction { block, index } => self.accuse(block, index),
            Fact::Highest { peer, blocks } => self.highest(peer, blocks, state),
            Fact::OtherEpoch { peer, epoch } => self.other_epoch(peer, epoch, state),
            Fact::LastCertified(certificate) => self.last_certified(certificate, state),
            Fact::Pooled => self.step(Input::Pending { local: true }),
            Fact::Certified(commits) => self.adopt(commits, state),
            // These end the replica.
            Fact::Stop | Fact::StateReady | Fact::LaterEpochs | Fact::MovedOn(_) => {}
        }
    }

    fn answer(&mut self, answer: Answer, state: &mut Loop) -> Result<(), Failure> {
        match answer {
            // Asked for in the epoch before.
            Answer::Signed(header) if header.epoch() != self.checker.committee.epoch() => {}
            Answer::Signed(header) => {
                let signed = self.log.append_quiet(records::SIGNED, &[header.raw()])?;
                let block = header.block_ref();
                if let Some(entry) = self.blocks.entry_mut(&block) {
                    entry.header = Arc::clone(&header);
                    entry.signed = Some(signed);
                }
                if let Some(at) = state.proposed_at.take() {
                    state.signing = (state.signing * 7 + at.elapsed()) / 8;
                }
                self.count_votes(&header, state);
                self.step(Input::Proposed { header });
            }
            Answer::Executed { height, header, transactions, closing, next_epoch } => {
                state.executed = height;
                if let Some(proven) = self.proven.remove(&height)
                    && proven != header
                {
                    self.halt(height, header, proven, state);
                }
                self.executed.insert(height, header);
                self.proposer.vote(HeaderVote { height, header });
                if let Some(vote) = self.certificates.contradicts(height, header) {
                    self.halt(height, header, vote.header, state);
                }
                // Votes for what clients wait for make a block due; votes for empty heights ride along.
                let local = transactions > 0 || self.pool.len() > 0;
                self.step(Input::Pending { local });
                self.governed(height, closing, next_epoch.map(|next| *next), state);
            }
            Answer::Failed(failure) => return Err(failure),
        }
        Ok(())
    }

    fn header(&mut self, header: Arc<BlockHeader>, from: AuthorityIndex, state: &mut Loop) {
        self.compare_clocks(&header, from, state);
        self.take_header(header, from, state);
    }

    /// A header whose time of arrival says nothing of its author's clock.
    pub(super) fn take_header(&mut self, header: Arc<BlockHeader>, from: AuthorityIndex, state: &mut Loop) {
        let due = header.body().timestamp.0.saturating_sub(CLOCK_SKEW_MS);
        if due > ingress::now().0 {
            if state.held_back.len() < HELD_BACK_MAX {
                state.held_back.insert((due, header.block_ref()), (header, from));
            }
            return;
        }
        self.count_votes(&header, state);
        let block = header.block_ref();
        if state.lag.behind && self.is_out_of_reach(&block) {
            // The core notes how far the others are and keeps nothing; neither does this node.
            return self.step(Input::Header { header, from });
        }
        match self.blocks.put_header(Arc::clone(&header)) {
            Matched::Complete => {
                self.step(Input::Header { header, from });
                self.complete(block);
            }
            Matched::Waiting | Matched::Known => self.step(Input::Header { header, from }),
            Matched::WrongPayload => {
                self.status.misbehaviour(block.author, "payload_not_of_its_header");
                self.step(Input::Header { header, from });
            }
        }
    }

    fn release_held_back(&mut self, state: &mut Loop) {
        let now = ingress::now().0;
        while let Some(entry) = state.held_back.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let (header, from) = entry.remove();
            self.header(header, from, state);
        }
    }

    fn received(&mut self, received: ReceivedPayload, from: AuthorityIndex) {
        let block = received.block;
        match self.blocks.put_payload(received) {
            Matched::Complete => self.complete(block),
            Matched::WrongPayload => self.status.misbehaviour(from, "payload_not_of_its_header"),
            Matched::Known => self.step(Input::PayloadReady { block }),
            Matched::Waiting => {}
        }
    }

    /// A block's payload, read back from the log where a restart has left it there.
    pub(super) fn payload(&mut self, block: &BlockRef) -> Result<Option<Payload>, Failure> {
        let Some(entry) = self.blocks.entry_mut(block) else { return Ok(None) };
        if entry.payload.is_none()
            && let Some(position) = entry.position
        {
            entry.payload = Some(self.archive.payload_at(position).map_err(|error| Failure::State(error.to_string()))?);
        }
        Ok(entry.payload.clone())
    }

    /// A block's payload is here and is the one of its header: its signatures are verified beside ordering.
    fn complete(&mut self, block: BlockRef) {
        if let Some(contents) = self.blocks.entry(&block).and_then(|entry| entry.contents.clone()) {
            self.verify(contents, block);
        }
        self.step(Input::PayloadReady { block });
    }

    pub(super) fn verify(&self, contents: Arc<Contents>, block: BlockRef) {
        let (execution, facts, found) = (self.execution.clone(), self.facts.clone(), Arc::clone(&contents));
        let done = move || {
            drop(execution.try_send(Order::Look));
            let invalid = found.verdicts().and_then(|verdicts| verdicts.iter().position(|valid| !valid));
            if let Some(index) = invalid {
                // With a full queue there is no accusation: who did it once does it again.
                drop(facts.try_send(Fact::InvalidTransaction { block, index }));
            }
        };
        contents.verify(Arc::clone(&self.verifier), block.author, done);
    }

    /// What the author could have checked himself is evidence against him (CONSENSUS.md §0.6).
    fn accuse(&mut self, block: BlockRef, index: usize) {
        // Where it cannot be read back any more, it is too old to matter.
        let Ok(Some(payload)) = self.payload(&block) else { return };
        let Some(entry) = self.blocks.entry(&block) else { return };
        if let Some(proof) = InvalidTransaction::of(&entry.header, &payload, index) {
            self.step(Input::Evidence { evidence: Box::new(Evidence::InvalidTransaction(proof)) });
        }
    }

    pub(super) fn count_votes(&mut self, header: &Arc<BlockHeader>, state: &mut Loop) {
        for certificate in self.certificates.count(header) {
            let height = certificate.height();
            self.certificates.certified_up_to(height);
            if let Some(at) = state.ordered_at.remove(&height) {
                self.status.certified(height, at.elapsed());
            } else {
                self.status.certified(height, Duration::ZERO);
            }
            if let Some(own) = self.executed.remove(&height)
                && own != certificate.vote.header
            {
                self.halt(height, own, certificate.vote.header, state);
            }
            self.executed = self.executed.split_off(&height);
            let vote = certificate.vote;
            drop(self.execution.send(Order::Certified(Box::new(certificate))));
            self.certified(vote, state);
        }
    }

    pub(super) fn halt(&mut self, height: Height, own: Digest, others: Digest, state: &mut Loop) {
        state.halted = true;
        tracing::error!(height = height.0, %own, %others, "this node's state differs from what others voted for: output is halted, reads go on");
        self.status.set_state(State::Halted(format!("height {height}: own header {own}, others' {others}")));
    }
}
