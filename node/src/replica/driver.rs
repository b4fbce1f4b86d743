//! The replica's loop: takes facts and answers, steps the core, carries out its effects.

use crate::execution::{CommitBlock, Job, Order};
use crate::ingress;
use crate::pool::Pool;
use crate::records;
use crate::replica::blocks::{Blocks, Entry, Matched};
use crate::replica::catch_up;
use crate::replica::certificates::Certificates;
use crate::replica::contents::Contents;
use crate::replica::event::{Answer, CertifiedCommit, Fact, Failure, ReceivedPayload};
use crate::replica::intake::Checker;
use crate::replica::outbox::Outbox;
use crate::replica::proposer::Proposer;
use crate::replica::segments::Segments;
use crate::replica::serve::Archive;
use crate::status::{State, Status};
use crate::tables::BlockPlace;
use crate::topology::EXECUTION_LAG_MAX;
use crate::wire::Request;
use accel::Verifier;
use consensus::{Checkpoint, Core, Effect, Input, Misbehaviour};
use crossbeam_channel::{Receiver, Sender, TryRecvError, select};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::log::Log;
use types::{
    AuthorityIndex, BlockHeader, BlockRef, CommitRecord, Digest, Evidence, HeaderVote, Height, Payload, Round,
};

/// Headers from clocks that run ahead are held back until they are due, at most this many.
const HELD_BACK_MAX: usize = 1024;
/// How far ahead of this clock a block's timestamp may be.
const CLOCK_SKEW_MS: u64 = 500;
/// Commits that this node may be behind before it fetches commits instead of blocks.
const CATCH_UP_LAG: u64 = 48;
/// Pause before peers are asked again when none had anything.
const CATCH_UP_PAUSE: Duration = Duration::from_millis(250);
/// Facts taken before effects are carried out, so that one pass serves many.
const FACTS_A_PASS: usize = 256;
/// Rounds below the last leader for which committed payloads stay in memory.
const PAYLOAD_ROUNDS: u64 = 64;
/// How often delays to peers are taken from the links.
const DELAYS_EVERY: Duration = Duration::from_millis(500);
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
    /// To itself, for those who fetch.
    pub facts: Sender<Fact>,
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
}

/// What only the loop needs.
#[derive(Default)]
struct Loop {
    held_back: BTreeMap<(u64, BlockRef), (Arc<BlockHeader>, AuthorityIndex)>,
    executed: Height,
    catching_up: bool,
    /// Not before: no peer had anything the last time.
    catch_up_after: Option<Instant>,
    halted: bool,
    /// When each height was handed to execution, to measure how long its certificate takes.
    ordered_at: BTreeMap<Height, Instant>,
    /// When the outstanding own block was asked for.
    proposed_at: Option<Instant>,
    /// How long it takes here until an own block is durable and signed, smoothed. A peer's disk and signer are taken to
    /// be like this node's.
    signing: Duration,
    delays_at: Option<Instant>,
}

impl Replica {
    /// Runs until it is told to stop or a stage fails.
    pub fn run(mut self, facts: &Receiver<Fact>, answers: &Receiver<Answer>) -> Result<(), Failure> {
        let mut state = Loop { executed: self.tip_executed(), ..Loop::default() };
        self.carry_out(&mut state)?;
        loop {
            let now = self.now_ms();
            let due = self.core.next_timer().map_or(SLEEP_MAX, |at| Duration::from_millis(at.saturating_sub(now)));
            select! {
                recv(answers) -> answer => match answer {
                    Ok(answer) => self.answer(answer, &mut state)?,
                    Err(_) => return Ok(()),
                },
                recv(facts) -> fact => match fact {
                    Ok(Fact::Stop) | Err(_) => return Ok(()),
                    Ok(fact) => self.fact(fact, &mut state),
                },
                default(due.min(SLEEP_MAX)) => {}
            }
            for _ in 0..FACTS_A_PASS {
                match answers.try_recv() {
                    Ok(answer) => self.answer(answer, &mut state)?,
                    Err(TryRecvError::Disconnected) => return Ok(()),
                    Err(TryRecvError::Empty) => match facts.try_recv() {
                        Ok(Fact::Stop) => return Ok(()),
                        Ok(fact) => self.fact(fact, &mut state),
                        Err(_) => break,
                    },
                }
            }
            self.release_held_back(&mut state);
            self.measure_delays(&mut state);
            self.step(Input::Tick);
            self.carry_out(&mut state)?;
            self.catch_up_if_behind(&mut state);
            self.status.protocol(&self.core.status(), self.pool.len(), self.blocks.len());
        }
    }

    fn tip_executed(&self) -> Height {
        let waiting = self.replayed.keys().next().map(|first| first.0 - 1);
        Height(waiting.unwrap_or(self.tip.0.0))
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn step(&mut self, input: Input) {
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
            Fact::Pooled => self.step(Input::Pending { local: true }),
            Fact::Certified(commits) => self.adopt(commits, state),
            Fact::CatchUpEnded { progress } => {
                state.catching_up = false;
                state.catch_up_after = (!progress).then(|| Instant::now() + CATCH_UP_PAUSE);
            }
            // Handled where facts are received.
            Fact::Stop => {}
        }
    }

    fn answer(&mut self, answer: Answer, state: &mut Loop) -> Result<(), Failure> {
        match answer {
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
            Answer::Executed { height, header, transactions } => {
                state.executed = height;
                self.executed.insert(height, header);
                self.proposer.vote(HeaderVote { height, header });
                if let Some(vote) = self.certificates.contradicts(height, header) {
                    self.halt(height, header, vote.header, state);
                }
                // Votes for what clients wait for make a block due; votes for empty heights ride along.
                let local = transactions > 0 || self.pool.len() > 0;
                self.step(Input::Pending { local });
            }
            Answer::Failed(failure) => return Err(failure),
        }
        Ok(())
    }

    /// Half the round trip to each peer, and the time that an own block takes to become durable and signed.
    fn measure_delays(&mut self, state: &mut Loop) {
        if state.delays_at.is_some_and(|at| at.elapsed() < DELAYS_EVERY) {
            return;
        }
        state.delays_at = Some(Instant::now());
        for (peer, rtt) in self.outbox.round_trips() {
            let one_way_us = (rtt / 2 + state.signing).as_micros() as u64;
            self.step(Input::Rtt { peer, one_way_us });
        }
    }

    fn header(&mut self, header: Arc<BlockHeader>, from: AuthorityIndex, state: &mut Loop) {
        let due = header.body().timestamp.0.saturating_sub(CLOCK_SKEW_MS);
        if due > ingress::now().0 {
            if state.held_back.len() < HELD_BACK_MAX {
                state.held_back.insert((due, header.block_ref()), (header, from));
            }
            return;
        }
        self.count_votes(&header, state);
        let block = header.block_ref();
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
    fn payload(&mut self, block: &BlockRef) -> Result<Option<Payload>, Failure> {
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
            self.verify(contents, block.author);
        }
        self.step(Input::PayloadReady { block });
    }

    fn verify(&self, contents: Arc<Contents>, author: AuthorityIndex) {
        let execution = self.execution.clone();
        contents.verify(Arc::clone(&self.verifier), author, move || drop(execution.try_send(Order::Look)));
    }

    fn count_votes(&mut self, header: &Arc<BlockHeader>, state: &mut Loop) {
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
            drop(self.execution.send(Order::Certified(Box::new(certificate))));
        }
    }

    fn halt(&mut self, height: Height, own: Digest, others: Digest, state: &mut Loop) {
        state.halted = true;
        tracing::error!(height = height.0, %own, %others, "this node's state differs from what others voted for: output is halted, reads go on");
        self.status.set_state(State::Halted(format!("height {height}: own header {own}, others' {others}")));
    }

    /// Carries out effects until there are none.
    fn carry_out(&mut self, state: &mut Loop) -> Result<(), Failure> {
        while !self.effects.is_empty() {
            for effect in std::mem::take(&mut self.effects) {
                self.effect(effect, state)?;
            }
        }
        Ok(())
    }

    fn effect(&mut self, effect: Effect, state: &mut Loop) -> Result<(), Failure> {
        match effect {
            Effect::Propose { round, ancestors, misbehaviour } => {
                self.propose(round, ancestors, misbehaviour, state)?
            }
            Effect::Broadcast { header } => {
                let payload = self.payload(&header.block_ref())?;
                self.outbox.broadcast(&header, payload.as_ref());
            }
            Effect::Push { to, headers } => self.outbox.push(to, &headers),
            Effect::Accepted { header } => self.accepted(&header)?,
            Effect::Commit { record, headers, checkpoint } => self.commit(record, &headers, checkpoint, state)?,
            Effect::Dropped { block } => {
                if let Some(entry) = self.blocks.entry_mut(&block) {
                    self.pool.put_back(std::mem::take(&mut entry.origins));
                    self.step(Input::Pending { local: true });
                }
            }
            Effect::RequestHeaders { from, refs, frontier } => {
                self.outbox.fetch_headers(from, refs, frontier, self.checker.clone(), self.facts.clone());
            }
            Effect::RequestPayload { from, blocks } => {
                let (held, missing): (Vec<_>, Vec<_>) =
                    blocks.into_iter().partition(|block| self.blocks.entry(block).is_some_and(Entry::is_whole));
                held.into_iter().for_each(|block| self.step(Input::PayloadReady { block }));
                if !missing.is_empty() {
                    self.outbox.fetch_payloads(from, missing, self.checker.clone(), self.facts.clone());
                }
            }
            Effect::Lagging { .. } => self.catch_up(state),
            Effect::AdoptRefused { height, reason } => {
                tracing::warn!(height = height.0, %reason, "a fetched commit did not fit");
            }
            Effect::Misbehaviour { peer, what } => {
                tracing::warn!(peer = peer.0, %what, "a peer broke the protocol");
                self.status.misbehaviour(peer, label(&what));
            }
            Effect::Halted { first, second } => {
                state.halted = true;
                tracing::error!(%first, %second, "two leaders of one slot are committed: more than f validators are faulty, output is halted");
                self.status.set_state(State::Halted(format!("leaders {first} and {second} are both committed")));
            }
        }
        Ok(())
    }

    fn propose(
        &mut self,
        round: Round,
        ancestors: Vec<BlockRef>,
        misbehaviour: Vec<Evidence>,
        state: &mut Loop,
    ) -> Result<(), Failure> {
        if state.halted {
            // Without an answer the core asks for no other block: a node whose state is wrong says nothing more.
            return Ok(());
        }
        state.proposed_at = Some(Instant::now());
        let lag = self.tip.0.0 - state.executed.0;
        let transactions = lag <= EXECUTION_LAG_MAX;
        let draft = self.proposer.draft(round, ancestors, misbehaviour, ingress::now(), transactions);
        if !draft.expired.is_empty() {
            self.receipts.refuse(draft.expired, types::Reject::Expired);
        }
        let block = draft.proposal.statement.block_ref();
        let (signer, proposal, status) = (self.signer.clone(), draft.proposal.clone(), Arc::clone(&self.status));
        // Durable before it is signed: the log's thread hands it on.
        let durable = move |result: Result<_, _>| match result {
            Ok(_) => drop(signer.try_send(proposal)),
            Err(fault) => status.log_failed(fault),
        };
        let parts: [&[u8]; 2] = [&draft.proposal.to_part(), draft.payload.raw()];
        let position = self.log.append(records::PROPOSAL, &parts, Box::new(durable))?;
        self.segments.note(position.segment, round);
        // The signature comes later; until then the entry stands under a header that nobody sees.
        let unsigned = records::unsigned_header(&draft.proposal);
        let transactions = draft.pending.iter().map(|pending| Arc::clone(&pending.transaction)).collect();
        let mut entry = Entry::bare(Arc::new(unsigned));
        entry.payload = Some(draft.payload);
        entry.contents = Some(Arc::new(Contents::verified(transactions)));
        entry.position = Some(position);
        entry.origins = draft.pending;
        self.blocks.put(block, entry);
        if self.pool.len() == 0 {
            self.step(Input::Pending { local: false });
        }
        Ok(())
    }

    /// A block entered the DAG: it goes to the log. An own one, and one that was read from the log, is there already.
    fn accepted(&mut self, header: &Arc<BlockHeader>) -> Result<(), Failure> {
        if header.author() == self.me {
            return Ok(());
        }
        let block = header.block_ref();
        if self.blocks.entry(&block).is_some_and(|entry| entry.position.is_some()) {
            return Ok(());
        }
        let payload = self.payload(&block)?.unwrap_or_else(Payload::empty);
        let position = self.log_block(header, &payload)?;
        if let Some(entry) = self.blocks.entry_mut(&block) {
            entry.position = Some(position);
        }
        Ok(())
    }

    fn log_block(&mut self, header: &BlockHeader, payload: &Payload) -> Result<storage::log::LogPosition, Failure> {
        let position = self.log.append_quiet(records::BLOCK, &[&records::block_part(header), payload.raw()])?;
        self.segments.note(position.segment, header.round());
        Ok(position)
    }

    fn commit(
        &mut self,
        record: CommitRecord,
        headers: &[Arc<BlockHeader>],
        checkpoint: Checkpoint,
        state: &mut Loop,
    ) -> Result<(), Failure> {
        if state.halted {
            return Ok(());
        }
        let (height, leader) = (record.height, record.leader.round);
        self.tip = (height, record.digest());
        let verdicts = self.replayed.remove(&height);
        let mut blocks = Vec::with_capacity(headers.len());
        let mut first = 0;
        for header in headers {
            let block = self.commit_block(header)?;
            if let Some(verdicts) = &verdicts {
                let count = block.contents.transactions().len();
                block.contents.settle((first..first + count).map(|index| records::verdict(verdicts, index)).collect());
                first += count;
            } else if block.contents.verdicts().is_none() {
                self.verify(Arc::clone(&block.contents), header.author());
            }
            blocks.push(block);
        }
        state.ordered_at.insert(height, Instant::now());
        if state.ordered_at.len() > 4096 {
            state.ordered_at.pop_first();
        }
        // What this very commit leaves behind, not what the core has reached since.
        let gc_round = leader.saturating_sub(self.checker.parameters.gc_depth_rounds);
        let replay_from = self.segments.collect(gc_round);
        let job = Job { record, blocks, checkpoint, replay_from, logged: verdicts.is_some() };
        drop(self.execution.send(Order::Commit(Box::new(job))));
        // Own blocks below garbage collection stay a little longer, until the core has said that they are dropped.
        self.blocks.collect(gc_round.saturating_sub(PAYLOAD_ROUNDS), leader.saturating_sub(PAYLOAD_ROUNDS));
        Ok(())
    }

    /// A block on its way to execution. One that was recovered is read back from the log.
    fn commit_block(&mut self, header: &Arc<BlockHeader>) -> Result<CommitBlock, Failure> {
        let block = header.block_ref();
        let missing = |what: &str| Failure::State(format!("block {block} is committed, but {what}"));
        if self.blocks.entry(&block).is_none_or(|entry| entry.position.is_none()) {
            return Err(missing("it is not in the log"));
        }
        let chain = self.checker.chain;
        let entry = self.blocks.entry_mut(&block).ok_or_else(|| missing("it is gone"))?;
        let position = entry.position.ok_or_else(|| missing("it is not in the log"))?;
        entry.committed = true;
        let contents = match entry.contents.take() {
            Some(contents) => contents,
            None => {
                let payload = self.archive.payload_at(position).map_err(|error| Failure::State(error.to_string()))?;
                Arc::new(Contents::parse(&chain, &payload))
            }
        };
        let origins = std::mem::take(&mut entry.origins);
        Ok(CommitBlock { block, contents, origins, place: BlockPlace { block: position, signed: entry.signed } })
    }

    /// Commits that a peer sent and a certificate proves: logged and applied as if they had been decided here.
    fn adopt(&mut self, commits: Vec<CertifiedCommit>, state: &mut Loop) {
        for commit in commits {
            let mut headers = Vec::with_capacity(commit.blocks.len());
            for (header, received) in commit.blocks {
                let (block, payload) = (header.block_ref(), received.payload.clone());
                self.blocks.put_header(Arc::clone(&header));
                self.blocks.put_payload(received);
                let logged = self.blocks.entry(&block).is_some_and(|entry| entry.position.is_some());
                if !logged {
                    match self.log_block(&header, &payload) {
                        Ok(position) => {
                            if let Some(entry) = self.blocks.entry_mut(&block) {
                                entry.position = Some(position);
                            }
                        }
                        Err(failure) => return tracing::error!(%failure, "a fetched block could not be logged"),
                    }
                }
                headers.push(header);
            }
            self.step(Input::Adopt { record: commit.record, headers });
            if let Err(failure) = self.carry_out(state) {
                tracing::error!(%failure, "a fetched commit could not be applied");
                return;
            }
        }
    }

    fn catch_up_if_behind(&mut self, state: &mut Loop) {
        let credible = self.certificates.credible_height();
        if credible.0 > self.tip.0.0 + CATCH_UP_LAG {
            self.catch_up(state);
        } else if !state.halted {
            let linked = self.checker.committee.is_quorum(self.linked.iter().copied().chain([self.me]));
            self.status.set_state(if linked { State::Ready } else { State::NoQuorum });
        }
    }

    fn catch_up(&mut self, state: &mut Loop) {
        let early = state.catch_up_after.is_some_and(|after| Instant::now() < after);
        if state.catching_up || state.halted || early {
            return;
        }
        // Execution takes in what was fetched before more is.
        if self.tip.0.0 - state.executed.0 > EXECUTION_LAG_MAX {
            return;
        }
        state.catching_up = true;
        self.status.set_state(State::CatchingUp);
        let peers = self.outbox.peers_in_turn();
        let task = catch_up::run(self.outbox.mesh(), self.checker.clone(), peers, self.tip, self.facts.clone());
        self.outbox.spawn(task);
    }
}

/// Labels of the core's findings, for counters.
fn label(what: &Misbehaviour) -> &'static str {
    match what {
        Misbehaviour::InvalidHeader { .. } => "invalid_header",
        Misbehaviour::Equivocation(_) => "equivocation",
        Misbehaviour::Flood { .. } => "flood",
    }
}
