//! What the driver around each simulated core does: carries out effects, answers peers, comes back from its disk.

use crate::effect::{AdoptError, Effect};
use crate::engine::Core;
use crate::input::Input;
use crate::sim::checks::Violation;
use crate::sim::disk::Record;
use crate::sim::network::Message;
use crate::sim::simulation::{Event, Simulation};
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, BlockRef, Evidence, Height, Round};

/// Most headers in an answer.
const ANSWER_HEADERS_MAX: usize = 512;
/// Most commits in an answer.
const ANSWER_COMMITS_MAX: usize = 50;

impl Simulation {
    /// Tells a core something and carries out what it says.
    pub(crate) fn step(&mut self, me: AuthorityIndex, input: Input) -> Result<(), Violation> {
        let now_ms = self.now_us / 1_000;
        let mut effects = Vec::new();
        if let Some(core) = &mut self.nodes[me.index()].core {
            core.step(now_ms, input, &mut effects);
        }
        self.carry_out(me, effects)
    }

    pub(crate) fn deliver(
        &mut self,
        me: AuthorityIndex,
        from: AuthorityIndex,
        message: Message,
    ) -> Result<(), Violation> {
        match message {
            Message::Headers(headers) => {
                headers.into_iter().try_for_each(|header| self.step(me, Input::Header { header, from }))
            }
            Message::Payload(block) => {
                self.nodes[me.index()].payloads.insert(block);
                self.step(me, Input::PayloadReady { block })
            }
            Message::RequestHeaders { refs, frontier } => {
                let node = &self.nodes[me.index()];
                let Some(core) = &node.core else { return Ok(()) };
                let mut headers = core.headers_above(&refs, &frontier, ANSWER_HEADERS_MAX);
                if headers.is_empty() {
                    headers.extend(refs.iter().filter_map(|block| node.disk.header(block).cloned()));
                }
                if !headers.is_empty() {
                    self.send(me, from, Message::Headers(headers));
                }
                self.step(me, Input::Asked { peer: from, refs })
            }
            Message::RequestPayload(blocks) => {
                let held = &self.nodes[me.index()].payloads;
                let held: Vec<BlockRef> = blocks.into_iter().filter(|block| held.contains(block)).collect();
                held.into_iter().for_each(|block| self.send(me, from, Message::Payload(block)));
                Ok(())
            }
            Message::RequestCommits(height) => {
                let commits = self.nodes[me.index()].disk.commits_from(height, ANSWER_COMMITS_MAX);
                if !commits.is_empty() {
                    self.send(me, from, Message::Commits(commits));
                }
                Ok(())
            }
            Message::Commits(commits) => {
                let more = commits.len() == ANSWER_COMMITS_MAX;
                for (record, headers) in commits {
                    self.step(me, Input::Adopt { record, headers })?;
                }
                if more {
                    let next = self.nodes[me.index()].height.next();
                    self.send(me, from, Message::RequestCommits(next));
                }
                Ok(())
            }
        }
    }

    pub(crate) fn synced(&mut self, me: AuthorityIndex, length: usize) -> Result<(), Violation> {
        let devices = self.scenario.devices;
        let node = &mut self.nodes[me.index()];
        node.disk.sync(length, devices.ignore_syncs);
        let Some(header) = node.proposal.clone() else { return Ok(()) };
        let block = header.block_ref();
        if !node.disk.sign(&block) {
            return Err(Violation::GuardRefused { author: me, round: block.round });
        }
        self.schedule(self.now_us + devices.sign_us, me, Event::Signed { header });
        Ok(())
    }

    pub(crate) fn signed(&mut self, me: AuthorityIndex, header: Arc<BlockHeader>) -> Result<(), Violation> {
        let node = &mut self.nodes[me.index()];
        node.proposal = None;
        node.disk.append(Record::Signed(header.clone()));
        self.step(me, Input::Proposed { header })
    }

    /// Starts a new core from a node's disk.
    pub(crate) fn recover(&mut self, me: AuthorityIndex) -> Result<(), Violation> {
        let config = self.scenario.keys.config(me);
        let gc_depth = config.parameters.gc_depth_rounds;
        let node = &mut self.nodes[me.index()];
        let durable = node.disk.durable();
        let (recovered, unsigned) = node.disk.recover(gc_depth);
        node.life += 1;
        node.height = recovered.checkpoint.as_ref().map_or(Height(0), |checkpoint| checkpoint.height);
        node.payloads = recovered.headers.iter().map(|header| header.block_ref()).collect();
        node.payloads.extend(node.in_flight.keys().copied());
        let mut effects = Vec::new();
        let core = Core::recover(config, recovered, self.now_us / 1_000, &mut effects)
            .map_err(|reason| Violation::Unrecoverable { node: me, reason })?;
        let gc_round = core.status().gc_round;
        node.core = Some(core);
        self.carry_out(me, effects)?;
        let node = &mut self.nodes[me.index()];
        if node.height < durable {
            return Err(Violation::Lost { node: me, height: node.height, durable });
        }
        // Own blocks that were committed or became garbage while the node was not looking.
        let old: Vec<BlockRef> = node.in_flight.keys().filter(|block| block.round <= gc_round).copied().collect();
        for block in old {
            if self.agreement.is_output(&block) { drop(node.in_flight.remove(&block)) } else { node.requeue(&block) }
        }
        if let Some(header) = unsigned {
            node.proposal = Some(header);
            let length = node.disk.len();
            self.schedule(self.now_us + self.scenario.devices.sync_us, me, Event::Synced { length });
        }
        Ok(())
    }

    fn carry_out(&mut self, me: AuthorityIndex, effects: Vec<Effect>) -> Result<(), Violation> {
        effects.into_iter().try_for_each(|effect| self.carry_out_one(me, effect))
    }

    fn carry_out_one(&mut self, me: AuthorityIndex, effect: Effect) -> Result<(), Violation> {
        match effect {
            Effect::Propose { round, ancestors, misbehaviour } => {
                self.propose(me, round, ancestors, misbehaviour);
                self.step(me, Input::Pending { local: false })?;
            }
            Effect::Broadcast { header } => return self.broadcast(me, header),
            Effect::Push { to, headers } => {
                let held = &self.nodes[me.index()].payloads;
                let loaded = headers.iter().filter(|header| !header.body().payload.is_empty());
                let payloads: Vec<BlockRef> =
                    loaded.map(|header| header.block_ref()).filter(|block| held.contains(block)).collect();
                self.send(me, to, Message::Headers(headers));
                payloads.into_iter().for_each(|block| self.send(me, to, Message::Payload(block)));
            }
            Effect::Accepted { header } => {
                let node = &mut self.nodes[me.index()];
                node.payloads.insert(header.block_ref());
                node.disk.append(Record::Accepted(header));
            }
            Effect::Commit { record, checkpoint, .. } => {
                let node = &mut self.nodes[me.index()];
                if record.height != node.height.next() {
                    return Err(Violation::Order { node: me, height: record.height, after: node.height });
                }
                node.height = record.height;
                if !node.equivocator {
                    self.agreement.committed(me, &record, &checkpoint)?;
                }
                node.settle(&record.blocks, self.now_us);
                node.disk.append(Record::Commit(record, Box::new(checkpoint)));
            }
            Effect::Dropped { block } => self.nodes[me.index()].requeue(&block),
            Effect::RequestHeaders { from, refs, frontier } => {
                self.send(me, from, Message::RequestHeaders { refs, frontier });
            }
            Effect::RequestPayload { from, blocks } => {
                let held = &self.nodes[me.index()].payloads;
                let (here, missing): (Vec<_>, Vec<_>) = blocks.into_iter().partition(|block| held.contains(block));
                here.into_iter().try_for_each(|block| self.step(me, Input::PayloadReady { block }))?;
                if !missing.is_empty() {
                    self.send(me, from, Message::RequestPayload(missing));
                }
            }
            Effect::Lagging { height, .. } => {
                let size = self.nodes.len() as u64;
                let peer = AuthorityIndex(((u64::from(me.0) + self.rng.between(1, size.max(2) - 1)) % size) as u16);
                self.send(me, peer, Message::RequestCommits(height.next()));
            }
            Effect::AdoptRefused { reason: AdoptError::Height { .. }, .. } => {}
            Effect::AdoptRefused { reason, .. } => return Err(Violation::Refused { node: me, reason }),
            Effect::Misbehaviour { peer, what } => {
                if !self.nodes[peer.index()].equivocator {
                    return Err(Violation::Blamed { peer, what });
                }
            }
            Effect::Halted { .. } => return Err(Violation::Halted { node: me }),
        }
        Ok(())
    }

    /// Makes the own block, and has it synced and signed.
    fn propose(&mut self, me: AuthorityIndex, round: Round, ancestors: Vec<BlockRef>, misbehaviour: Vec<Evidence>) {
        let config = self.scenario.keys.config(me);
        let (now_us, sync_us) = (self.now_us, self.scenario.devices.sync_us);
        let node = &mut self.nodes[me.index()];
        let transactions = std::mem::take(&mut node.waiting);
        node.nonce += 1;
        let nonce = if transactions.is_empty() { 0 } else { node.nonce };
        let header = self.scenario.keys.block(&config, round, ancestors, misbehaviour, now_us / 1_000, nonce);
        if !transactions.is_empty() {
            node.in_flight.insert(header.block_ref(), transactions);
            node.payloads.insert(header.block_ref());
        }
        let length = node.disk.append(Record::Proposed(header.clone()));
        node.proposal = Some(header);
        self.schedule(now_us + sync_us, me, Event::Synced { length });
    }

    /// Sends an own block, header first; an equivocator sends some a twin instead.
    fn broadcast(&mut self, me: AuthorityIndex, header: Arc<BlockHeader>) -> Result<(), Violation> {
        let node = &mut self.nodes[me.index()];
        let twin = node.equivocator.then(|| {
            let config = self.scenario.keys.config(me);
            let ancestors = header.ancestors().to_vec();
            let time = header.body().timestamp.0;
            self.scenario.keys.block(&config, header.round(), ancestors, Vec::new(), time, u64::MAX - header.round().0)
        });
        if let Some(twin) = &twin {
            node.payloads.insert(twin.block_ref());
            node.disk.append(Record::Accepted(twin.clone()));
        } else {
            self.agreement.sent(&header.block_ref())?;
        }
        let peers: Vec<AuthorityIndex> = self.nodes.iter().map(|node| node.me).filter(|peer| *peer != me).collect();
        for to in peers {
            let sent = match &twin {
                Some(twin) if self.rng.chance(500) => twin.clone(),
                _ => header.clone(),
            };
            let block = sent.block_ref();
            let loaded = !sent.body().payload.is_empty();
            self.send(me, to, Message::Headers(vec![sent]));
            if loaded {
                self.send(me, to, Message::Payload(block));
            }
        }
        Ok(())
    }
}
