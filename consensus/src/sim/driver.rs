//! What the driver around each simulated core does: carries out effects, answers peers, comes back from its disk.

use crate::effect::{AdoptError, Effect};
use crate::engine::Core;
use crate::input::Input;
use crate::sim::disk::Record;
use crate::sim::network::Message;
use crate::sim::node::{Machine, Place};
use crate::sim::simulation::{Event, Simulation};
use crate::sim::violation::Violation;
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, BlockRef, CommitRecord, Epoch};

/// Most headers in an answer.
const ANSWER_HEADERS_MAX: usize = 512;
/// Most commits in an answer: what a node has under way at a time, eight ranges of 64 from several peers.
pub(crate) const ANSWER_COMMITS_MAX: usize = 512;
/// A commit with its headers.
type Given = (CommitRecord, Vec<Arc<BlockHeader>>);
/// How long a node that has lost its disk counts as faulty after it has made a block again, in microseconds: until it
/// holds again what the others rely on.
const AMNESIA_REST_US: u64 = 3_000_000;

impl Simulation {
    /// Tells a core something and carries out what it says.
    pub(crate) fn step(&mut self, at: Place, input: Input) -> Result<(), Violation> {
        let node = &mut self.nodes[at.0];
        let now_ms = node.clock.local_ms(self.now_us);
        let mut effects = Vec::new();
        let stepped = node.clock.stepped();
        if let Some(core) = &mut node.core {
            if let Some(by_ms) = stepped {
                core.step(now_ms, Input::ClockStepped { by_ms }, &mut effects);
            }
            core.step(now_ms, input, &mut effects);
        }
        self.carry_out(at, effects)
    }

    pub(crate) fn deliver(&mut self, at: Place, from: Machine, era: usize, message: Message) -> Result<(), Violation> {
        let node = &self.nodes[at.0];
        if era != node.era || node.retired {
            return self.other_era_says(at, from, era, message);
        }
        match self.eras[era].member(from) {
            Some(peer) => self.deliver_from(at, peer, from, message),
            None => self.deliver_from_stranger(at, message),
        }
    }

    /// Links know the members of the epoch. Here headers that come from elsewhere get as far as those that a member passes
    /// on, so that their signatures are what keeps them out.
    fn deliver_from_stranger(&mut self, at: Place, message: Message) -> Result<(), Violation> {
        self.faults.strangers_ignored += 1;
        let headers = match message {
            Message::Block { header, .. } => vec![header],
            Message::Headers(headers) => headers.to_vec(),
            _ => return Ok(()),
        };
        for header in headers {
            if self.admit(at, &header) {
                let from = header.author();
                self.step(at, Input::Header { header, from })?;
            }
        }
        Ok(())
    }

    fn deliver_from(
        &mut self,
        at: Place,
        from: AuthorityIndex,
        machine: Machine,
        message: Message,
    ) -> Result<(), Violation> {
        match message {
            Message::Block { header, payload } => {
                if !self.admit(at, &header) {
                    return Ok(());
                }
                if payload {
                    let block = header.block_ref();
                    self.nodes[at.0].payloads.insert(block, ());
                    self.step(at, Input::PayloadReady { block })?;
                }
                self.see(at, std::slice::from_ref(&header));
                self.step(at, Input::Header { header: header.clone(), from })?;
                if self.clocks_differ { self.compare_clocks(at, from, &header) } else { Ok(()) }
            }
            Message::Headers(headers) => {
                self.see(at, &headers);
                for header in headers.iter() {
                    if self.admit(at, header) {
                        self.step(at, Input::Header { header: header.clone(), from })?;
                    }
                }
                Ok(())
            }
            Message::Payload(block, _) => {
                self.nodes[at.0].payloads.insert(block, ());
                self.step(at, Input::PayloadReady { block })
            }
            Message::RequestHeaders(request) => {
                let (refs, frontier) = &*request;
                let node = &self.nodes[at.0];
                let Some(core) = &node.core else { return Ok(()) };
                let mut headers = core.headers_above(refs, frontier, ANSWER_HEADERS_MAX);
                if headers.is_empty() {
                    headers.extend(refs.iter().filter_map(|block| node.disk.header(block).cloned()));
                }
                if !headers.is_empty() {
                    self.send(at, from, Message::Headers(Arc::new(headers)), true);
                }
                self.step(at, Input::Asked { peer: from, refs: refs.clone() })
            }
            Message::RequestPayload(blocks) => {
                let node = &self.nodes[at.0];
                let held = blocks.iter().filter(|block| node.payloads.contains(block));
                let held: Vec<Message> = held.map(|block| payload_of(node.disk.header(block), *block)).collect();
                held.into_iter().for_each(|message| self.send(at, from, message, true));
                Ok(())
            }
            Message::RequestHighest => {
                let node = &self.nodes[at.0];
                let Some(core) = &node.core else { return Ok(()) };
                let mut blocks = core.highest_blocks(from);
                let logged = node.disk.highest_of(from, node.config.committee.epoch());
                if let Some(logged) = logged
                    && blocks.asker.as_ref().is_none_or(|header| header.round() < logged.round())
                {
                    blocks.asker = Some(logged.clone());
                }
                if !node.is_honest() {
                    // A lie that nobody can prove.
                    blocks.asker = None;
                }
                self.send(at, from, Message::Highest(Box::new(blocks)), true);
                Ok(())
            }
            Message::Highest(blocks) => {
                blocks.asker.iter().chain(&blocks.peer).for_each(|header| self.see(at, std::slice::from_ref(header)));
                self.step(at, Input::Highest { peer: from, blocks: *blocks })
            }
            Message::RequestCommits(height) => {
                let era = self.nodes[at.0].era;
                if let Some(answer) = self.commits_for(at, era, height) {
                    self.send(at, from, answer, true);
                }
                Ok(())
            }
            Message::Commits(commits) => self.adopt(at, machine, &commits),
            Message::NextEra(_) | Message::State(_) => Ok(()),
        }
    }

    /// Takes in commits that a peer gave, and asks it for more where there should be more. What brings nothing new is
    /// asked nothing: a copy of a request or of an answer would otherwise ask beside the first for ever.
    pub(crate) fn adopt(&mut self, at: Place, from: Machine, commits: &[Given]) -> Result<(), Violation> {
        let before = self.nodes[at.0].height;
        for (record, headers) in commits {
            self.see(at, headers);
            self.step(at, Input::Adopt { record: record.clone(), headers: headers.clone() })?;
        }
        let node = &self.nodes[at.0];
        if node.height > before && (commits.len() == ANSWER_COMMITS_MAX || node.at_end) {
            let next = node.height.next();
            self.transmit(at, from, Message::RequestCommits(next), false);
        }
        Ok(())
    }

    /// The driver of a real node checks the signatures of what it is given.
    fn see(&mut self, at: Place, headers: &[Arc<BlockHeader>]) {
        let node = &mut self.nodes[at.0];
        headers.iter().for_each(|header| node.seen.see(node.me, header, &mut self.traffic.checks));
    }

    /// A new block that came from its author tells how far his clock is off; one that is sent again tells nothing.
    fn compare_clocks(&mut self, at: Place, peer: AuthorityIndex, header: &BlockHeader) -> Result<(), Violation> {
        let node = &mut self.nodes[at.0];
        let newest = node.newest.entry(peer).or_default();
        if header.author() != peer || header.round() <= *newest {
            return Ok(());
        }
        *newest = header.round();
        let Some(machine) = self.eras[node.era].machine(peer) else { return Ok(()) };
        let way_ms = self.network.links(machine, node.machine).typical_us() / 1_000;
        let made_ms = header.body().timestamp.0;
        let offset_ms = made_ms.saturating_add(way_ms) as i64 - node.clock.wall_ms(self.now_us) as i64;
        self.step(at, Input::Clock { peer, offset_ms })
    }

    pub(crate) fn synced(&mut self, at: Place, length: usize) -> Result<(), Violation> {
        let sign_us = self.nodes[at.0].devices.sign_us;
        let node = &mut self.nodes[at.0];
        node.disk.sync(length);
        let Some(header) = node.proposal.clone() else { return Ok(()) };
        let block = header.block_ref();
        if !node.disk.sign(&header) && node.is_honest() {
            return Err(Violation::GuardRefused { author: node.number(), round: block.round });
        }
        self.schedule(self.now_us + sign_us, at, Event::Signed { header });
        Ok(())
    }

    pub(crate) fn signed(&mut self, at: Place, header: Arc<BlockHeader>) -> Result<(), Violation> {
        let node = &mut self.nodes[at.0];
        node.proposal = None;
        node.disk.append(self.now_us, Record::Signed(header.clone()));
        // Knowing where the own chain goes on is not enough: until the others get there without it, it makes no block.
        if node.amnesia_ends_us == Some(u64::MAX) {
            node.amnesia_ends_us = Some(self.now_us + AMNESIA_REST_US);
        }
        self.step(at, Input::Proposed { header })
    }

    /// Starts a new core from a node's disk.
    pub(crate) fn recover(&mut self, at: Place) -> Result<(), Violation> {
        let now_us = self.now_us;
        let sync_us = self.nodes[at.0].devices.sync_us;
        let machine = self.nodes[at.0].machine;
        let first = self.first_era_of(machine).unwrap_or(0);
        let node = &mut self.nodes[at.0];
        let era = match node.disk.era() {
            Some(era) => era,
            None if first == 0 => 0,
            None => {
                node.disk.install(now_us, self.eras[first].anchor().height, first);
                first
            }
        };
        let Some(me) = self.eras[era].member(machine) else { return Ok(()) };
        let config = self.eras[era].config_of(me);
        (node.era, node.me, node.config, node.at_end) = (era, me, config.clone(), false);
        node.end_votes.clear();
        let promised = node.disk.promised();
        let (epoch, start) = (config.committee.epoch(), config.anchor.height);
        let (recovered, unsigned) = node.disk.recover(config.parameters.gc_depth_rounds, epoch, start);
        node.life += 1;
        node.height = recovered.checkpoint.as_ref().map_or(start, |checkpoint| checkpoint.height);
        let logged = recovered.headers.clone();
        recovered.headers.iter().for_each(|header| node.payloads.insert(header.block_ref(), ()));
        node.clients.in_flight.keys().for_each(|block| node.payloads.insert(*block, ()));
        let before = node.before.take().filter(|_| unsigned.is_none());
        let mut effects = Vec::new();
        let core = Core::recover(config, recovered, node.clock.local_ms(now_us), &mut effects)
            .map_err(|reason| Violation::Unrecoverable { node: node.number(), reason })?;
        let status = core.status();
        let gc_round = status.gc_round;
        node.core = Some(core);
        node.at_end = status.over;
        self.carry_out(at, effects)?;
        for header in &logged {
            self.count_end_vote(at, header);
        }
        let node = &mut self.nodes[at.0];
        if node.height < promised && node.is_honest() {
            return Err(Violation::Lost { node: node.number(), height: node.height, durable: promised });
        }
        if let Some(before) = before
            && let Some(what) = crate::sim::checks::difference(&before, &status)
        {
            return Err(Violation::NotRestored { node: node.number(), what });
        }
        let height = node.height;
        self.tell_closing(at, height)?;
        let node = &mut self.nodes[at.0];
        // Own blocks that were committed or became garbage while the node was not looking.
        let old = node.clients.in_flight.keys().filter(|block| block.round <= gc_round);
        for block in old.copied().collect::<Vec<BlockRef>>() {
            if self.agreement.is_output(era, &block) {
                node.clients.in_flight.remove(&block);
            } else {
                node.clients.requeue(&block);
            }
        }
        if let Some(header) = unsigned {
            node.proposal = Some(header);
            let length = node.disk.len();
            self.schedule(now_us + sync_us, at, Event::Synced { length });
        }
        Ok(())
    }

    pub(crate) fn carry_out(&mut self, at: Place, effects: Vec<Effect>) -> Result<(), Violation> {
        effects.into_iter().try_for_each(|effect| self.carry_out_one(at, effect))
    }

    fn carry_out_one(&mut self, at: Place, effect: Effect) -> Result<(), Violation> {
        let node = &mut self.nodes[at.0];
        let (me, number) = (node.me, node.number());
        match effect {
            Effect::Propose { round, ancestors, misbehaviour, end_of_epoch } => {
                let left = self.propose(at, round, ancestors, misbehaviour, end_of_epoch);
                self.step(at, Input::Pending { local: left })?;
            }
            Effect::Broadcast { header } => return self.broadcast(at, header),
            Effect::Push { to, headers } => {
                let loaded = headers.iter().filter(|header| !header.body().payload.is_empty());
                let held = loaded.filter(|header| node.payloads.contains(&header.block_ref()));
                let payloads: Vec<Message> = held.map(|header| payload_of(Some(header), header.block_ref())).collect();
                self.send(at, to, Message::Headers(Arc::new(headers)), false);
                payloads.into_iter().for_each(|message| self.send(at, to, message, false));
            }
            Effect::Accepted { header } => {
                self.traffic.checks.transactions += u64::from(header.body().payload.count);
                node.payloads.insert(header.block_ref(), ());
                node.disk.append(self.now_us, Record::Accepted(header.clone()));
                self.count_end_vote(at, &header);
            }
            Effect::Commit { record, checkpoint, last_of_epoch, .. } => {
                if record.height != node.height.next() {
                    return Err(Violation::Order { node: number, height: record.height, after: node.height });
                }
                let end = self.eras.get(node.era + 1).map(|next| next.anchor().height);
                let beyond = end.is_some_and(|end| record.height > end || last_of_epoch != (record.height == end));
                if beyond && node.is_honest() {
                    return Err(Violation::AnotherEnd { node: number, height: record.height });
                }
                node.height = record.height;
                let table = node.core.as_ref().map_or(0, |core| core.marks().schedule_changes);
                if node.is_honest() {
                    node.decisions.committed(number, &record.leader, table)?;
                }
                let own = record.blocks.iter().filter(|block| block.author == me);
                own.for_each(|block| node.clients.settle(block, self.now_us));
                if node.is_honest() {
                    self.agreement.committed(number, node.era, &record, &checkpoint)?;
                }
                self.trace.commit(self.now_us, at, &record);
                let (height, last) = (record.height, last_of_epoch.then(|| record.clone()));
                node.seen.forget_through(record.leader.round.saturating_sub(node.config.parameters.gc_depth_rounds));
                node.disk.append(self.now_us, Record::Commit(record, Box::new(checkpoint)));
                self.tell_closing(at, height)?;
                if let Some(last) = last {
                    self.reached_end(at, &last)?;
                }
            }
            Effect::Dropped { block } => {
                node.clients.requeue(&block);
                if !node.clients.waiting.is_empty() {
                    self.step(at, Input::Pending { local: true })?;
                }
            }
            Effect::RequestHeaders { from, refs, frontier } => {
                self.send(at, from, Message::RequestHeaders(Arc::new((refs, frontier))), false);
            }
            Effect::RequestPayload { from, blocks } => {
                let (here, missing): (Vec<_>, Vec<_>) =
                    blocks.into_iter().partition(|block| node.payloads.contains(block));
                here.into_iter().try_for_each(|block| self.step(at, Input::PayloadReady { block }))?;
                if !missing.is_empty() {
                    self.send(at, from, Message::RequestPayload(Arc::new(missing)), false);
                }
            }
            Effect::RequestHighest { from } => self.send(at, from, Message::RequestHighest, false),
            Effect::Reclaimed { .. } => {
                // A member behind the end says so in its answer; the node itself may then have gone one epoch further.
                let ended = u64::from(node.era + 1 < self.eras.len());
                node.disk.reclaimed(Epoch(node.config.committee.epoch().0 + ended));
                self.faults.disks_reclaimed += 1;
            }
            Effect::ClockAlarm { offset_ms } => self.faults.clock_alarms += u64::from(offset_ms.is_some()),
            Effect::Lagging { height, .. } => {
                let size = node.config.committee.size() as u64;
                let peer = AuthorityIndex(((u64::from(me.0) + self.rng.between(1, size.max(2) - 1)) % size) as u16);
                self.send(at, peer, Message::RequestCommits(height.next()), false);
            }
            Effect::AdoptRefused { reason: AdoptError::Height { .. } | AdoptError::EpochOver, .. } => {}
            Effect::AdoptRefused { reason, .. } => return Err(Violation::Refused { node: number, reason }),
            Effect::Misbehaviour { peer, what } => {
                let (culprit, honest_here) = (self.eras[node.era].machine(peer), node.is_honest());
                let honest = |machine: &Machine| self.nodes[machine.index()].is_honest();
                if let Some(machine) = culprit.filter(|machine| honest_here && honest(machine)) {
                    return Err(Violation::Blamed { peer: AuthorityIndex(machine.0), what });
                }
            }
            Effect::Halted { .. } if node.is_honest() => return Err(Violation::Halted { node: number }),
            Effect::Halted { .. } => {}
        }
        Ok(())
    }
}

pub(crate) fn payload_of(header: Option<&Arc<BlockHeader>>, block: BlockRef) -> Message {
    Message::Payload(block, header.map_or(0, |header| header.body().payload.bytes))
}
