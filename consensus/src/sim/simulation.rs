//! The priority queue of events and the one loop that runs it.

use crate::effect::Status;
use crate::engine::Core;
use crate::input::Input;
use crate::sim::checks::{Agreement, Violation, bounded};
use crate::sim::network::{Message, Network};
use crate::sim::node::Node;
use crate::sim::rng::Rng;
use crate::sim::scenario::{Links, Scenario};
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, Digest, Hasher, Height};

/// Something that happens to a node.
#[derive(Debug)]
pub(crate) enum Event {
    Deliver { from: AuthorityIndex, message: Message },
    Timer,
    Synced { length: usize },
    Signed { header: Arc<BlockHeader> },
    GroupSync,
    Submit,
    Link { peer: AuthorityIndex, up: bool },
}

/// A committee in simulated time.
///
/// Crank it with [`Simulation::run_for`]; break and mend it in between. The first violation ends it.
#[derive(Debug)]
pub struct Simulation {
    pub(crate) scenario: Scenario,
    pub(crate) rng: Rng,
    pub(crate) now_us: u64,
    /// By time, then by order of scheduling; each with its node and that node's life, if it dies with it.
    queue: BTreeMap<(u64, u64), (AuthorityIndex, Option<u64>, Event)>,
    sequence: u64,
    pub(crate) network: Network,
    pub(crate) nodes: Vec<Node>,
    pub(crate) agreement: Agreement,
    load: bool,
    steps: u64,
    trace: Digest,
}

impl Simulation {
    /// All nodes up, at time 0.
    pub fn new(scenario: Scenario) -> Self {
        let committee = scenario.keys.committee().clone();
        let node = |me: AuthorityIndex| {
            Node::new(me, Core::new(scenario.keys.config(me), 0), scenario.equivocators.contains(&me.0))
        };
        let mut simulation = Self {
            rng: Rng::new(scenario.seed),
            now_us: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            network: Network::new(committee.size(), scenario.links),
            nodes: committee.indices().map(node).collect(),
            agreement: Agreement::default(),
            load: scenario.load_us > 0,
            steps: 0,
            trace: Digest::ZERO,
            scenario,
        };
        for me in committee.indices() {
            simulation.started(me);
        }
        simulation
    }

    /// Runs for some simulated milliseconds.
    ///
    /// # Errors
    /// The first [`Violation`]; the simulation is of no use afterwards.
    pub fn run_for(&mut self, ms: u64) -> Result<(), Violation> {
        let end = self.now_us + ms * 1_000;
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > end {
                break;
            }
            let ((at, _), (node, life, event)) = entry.remove_entry();
            self.now_us = at;
            let alive = &self.nodes[node.index()];
            if alive.core.is_some() && life.is_none_or(|life| life == alive.life) {
                self.note(node, &event);
                self.happen(node, event)?;
                self.check(node)?;
            }
        }
        self.now_us = end;
        Ok(())
    }

    /// Takes a node down; what it had not synced is lost.
    pub fn crash(&mut self, node: u16) {
        let me = AuthorityIndex(node);
        let Self { nodes, rng, .. } = self;
        let node = &mut nodes[me.index()];
        node.core = None;
        node.disk.crash(rng);
        node.in_flight.retain(|block, _| node.disk.has_proposal(block));
        node.proposal = None;
        node.timer_us = None;
        node.payloads.clear();
        // Transactions that were in no durable block are the clients' to send again.
        node.waiting.clear();
        self.announce(me, false);
    }

    /// Brings a node back from its disk.
    ///
    /// # Errors
    /// [`Violation`] if its disk does not bring it back to where it was.
    pub fn restart(&mut self, node: u16) -> Result<(), Violation> {
        let me = AuthorityIndex(node);
        self.recover(me)?;
        self.started(me);
        self.announce(me, true);
        self.check(me)
    }

    /// Splits the committee; nodes that are not named are on a side of their own together.
    pub fn partition(&mut self, sides: &[&[u16]]) {
        let mut side = vec![0; self.nodes.len()];
        for (index, members) in (1u8..).zip(sides) {
            members.iter().for_each(|member| side[usize::from(*member)] = index);
        }
        self.relink(|network| network.set_sides(side));
    }

    /// Ends a partition.
    pub fn heal(&mut self) {
        let sides = vec![0; self.nodes.len()];
        self.relink(|network| network.set_sides(sides));
    }

    /// Takes the link between two nodes away, or gives it back.
    pub fn set_cut(&mut self, a: u16, b: u16, cut: bool) {
        self.relink(|network| network.set_cut(AuthorityIndex(a), AuthorityIndex(b), cut));
    }

    /// Changes delays and losses of all links.
    pub fn set_links(&mut self, links: Links) {
        self.network.set_links(links);
    }

    /// Stops or resumes new transactions.
    pub fn set_load(&mut self, load: bool) {
        self.load = load;
    }

    /// Simulated milliseconds so far.
    pub fn now_ms(&self) -> u64 {
        self.now_us / 1_000
    }

    /// Where a node stands; none while it is down.
    pub fn status(&self, node: u16) -> Option<Status> {
        self.nodes[usize::from(node)].core.as_ref().map(Core::status)
    }

    /// The last height that a node committed.
    pub fn height(&self, node: u16) -> Height {
        self.nodes[usize::from(node)].height
    }

    /// The highest height that any honest node committed.
    pub fn top(&self) -> Height {
        self.agreement.height()
    }

    /// Transactions that wait or are in own blocks that no commit took, over all running honest nodes.
    pub fn unsettled(&self) -> usize {
        let running = self.nodes.iter().filter(|node| node.core.is_some() && !node.equivocator);
        running.map(|node| node.waiting.len() + node.in_flight.values().map(Vec::len).sum::<usize>()).sum()
    }

    /// From submission to commit at the same node, in microseconds, of every committed transaction; sorted.
    pub fn latencies_us(&self) -> Vec<u64> {
        let mut all: Vec<u64> = self.nodes.iter().flat_map(|node| node.latencies_us.iter().copied()).collect();
        all.sort_unstable();
        all
    }

    /// The most bytes that a checkpoint took.
    pub fn checkpoint_bytes_max(&self) -> usize {
        self.agreement.checkpoint_bytes_max()
    }

    /// Digest over everything that happened, in order.
    pub fn trace(&self) -> Digest {
        self.trace
    }

    /// Number of events that happened.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    pub(crate) fn schedule(&mut self, at_us: u64, node: AuthorityIndex, event: Event) {
        // Messages outlive the crash of their receiver; what a node asked of its own devices does not.
        let life = match &event {
            Event::Deliver { .. } | Event::Link { .. } => None,
            _ => Some(self.nodes[node.index()].life),
        };
        self.queue.insert((at_us, self.sequence), (node, life, event));
        self.sequence += 1;
    }

    pub(crate) fn send(&mut self, from: AuthorityIndex, to: AuthorityIndex, message: Message) {
        let payload = matches!(message, Message::Payload(_) | Message::Commits(_));
        for at in self.network.arrivals(&mut self.rng, self.now_us, (from, to), payload) {
            self.schedule(at, to, Event::Deliver { from, message: message.clone() });
        }
    }

    /// Sets a node's periodic events and its view of the links.
    fn started(&mut self, me: AuthorityIndex) {
        let Self { now_us, scenario, .. } = self;
        let (now, group, load) = (*now_us, scenario.devices.group_us, scenario.load_us);
        self.schedule(now, me, Event::Timer);
        self.schedule(now + group, me, Event::GroupSync);
        if load > 0 {
            let first = self.rng.between(0, load);
            self.schedule(now + first, me, Event::Submit);
        }
        let peers: Vec<AuthorityIndex> = self.nodes.iter().map(|node| node.me).collect();
        for peer in peers {
            if self.network.is_up(me, peer) && self.nodes[peer.index()].core.is_some() {
                self.schedule(now, me, Event::Link { peer, up: true });
            }
        }
    }

    /// Tells the others that a node is reachable or not.
    fn announce(&mut self, me: AuthorityIndex, up: bool) {
        let at = self.now_us + self.network.typical_us();
        let peers: Vec<AuthorityIndex> = self.nodes.iter().map(|node| node.me).collect();
        for peer in peers {
            if self.network.is_up(me, peer) {
                self.schedule(at, peer, Event::Link { peer: me, up });
            }
        }
    }

    fn relink(&mut self, change: impl FnOnce(&mut Network)) {
        let pairs = |nodes: &[Node]| -> Vec<(AuthorityIndex, AuthorityIndex)> {
            nodes.iter().flat_map(|a| nodes.iter().map(move |b| (a.me, b.me))).collect()
        };
        let before: Vec<bool> = pairs(&self.nodes).iter().map(|(a, b)| self.network.is_up(*a, *b)).collect();
        change(&mut self.network);
        let at = self.now_us + self.network.typical_us();
        for ((a, b), before) in pairs(&self.nodes).into_iter().zip(before) {
            let up = self.network.is_up(a, b);
            if up != before && self.nodes[b.index()].core.is_some() {
                self.schedule(at, a, Event::Link { peer: b, up });
            }
        }
    }

    fn happen(&mut self, me: AuthorityIndex, event: Event) -> Result<(), Violation> {
        match event {
            Event::Deliver { from, message } => self.deliver(me, from, message),
            // An earlier one has taken the place of this one.
            Event::Timer if self.nodes[me.index()].timer_us.is_some_and(|set| set != self.now_us) => Ok(()),
            Event::Timer => {
                self.nodes[me.index()].timer_us = None;
                self.step(me, Input::Tick)?;
                let core = self.nodes[me.index()].core.as_ref();
                let due = core.and_then(Core::next_timer).is_some_and(|at| at * 1_000 <= self.now_us);
                if due { Err(Violation::StuckTimer { node: me }) } else { Ok(()) }
            }
            Event::Synced { length } => self.synced(me, length),
            Event::Signed { header } => self.signed(me, header),
            Event::GroupSync => {
                let devices = self.scenario.devices;
                let flush = self.rng.chance(devices.flush_permille);
                let disk = &mut self.nodes[me.index()].disk;
                disk.sync(disk.len(), devices.ignore_syncs);
                if flush {
                    disk.flush();
                }
                self.schedule(self.now_us + devices.group_us, me, Event::GroupSync);
                Ok(())
            }
            Event::Submit => {
                self.schedule(self.now_us + self.scenario.load_us, me, Event::Submit);
                if self.load {
                    self.nodes[me.index()].waiting.push(self.now_us);
                    self.step(me, Input::Pending { local: true })?;
                }
                Ok(())
            }
            Event::Link { peer, up: true } => {
                self.step(me, Input::PeerUp { peer })?;
                self.step(me, Input::Rtt { peer, one_way_us: self.network.typical_us() })
            }
            Event::Link { peer, up: false } => self.step(me, Input::PeerDown { peer }),
        }
    }

    /// After every event: bounds every now and then, and the next timer.
    fn check(&mut self, me: AuthorityIndex) -> Result<(), Violation> {
        self.steps += 1;
        let (size, now) = (self.nodes.len(), self.now_us);
        let node = &mut self.nodes[me.index()];
        let Some(core) = &node.core else { return Ok(()) };
        if self.steps.is_multiple_of(64) {
            bounded(me, &core.status(), size, self.scenario.keys.parameters.gc_depth_rounds)?;
        }
        if let Some(at_ms) = core.next_timer() {
            let at = (at_ms * 1_000).max(now);
            if node.timer_us.is_none_or(|set| at < set) {
                node.timer_us = Some(at);
                self.schedule(at, me, Event::Timer);
            }
        }
        Ok(())
    }

    fn note(&mut self, me: AuthorityIndex, event: &Event) {
        let (kind, detail): (u8, Digest) = match event {
            Event::Deliver { from, message } => (
                16 + from.0 as u8,
                match message {
                    Message::Headers(headers) => headers.last().map_or(Digest::ZERO, |header| header.digest()),
                    Message::Payload(block) => block.digest,
                    Message::RequestHeaders { refs, .. } | Message::RequestPayload(refs) => {
                        refs.last().map_or(Digest::ZERO, |block| block.digest)
                    }
                    Message::RequestCommits(_) => Digest::ZERO,
                    Message::Commits(commits) => commits.last().map_or(Digest::ZERO, |(record, _)| record.digest()),
                },
            ),
            Event::Timer => (1, Digest::ZERO),
            Event::Synced { .. } => (2, Digest::ZERO),
            Event::Signed { header } => (3, header.digest()),
            Event::GroupSync => (4, Digest::ZERO),
            Event::Submit => (5, Digest::ZERO),
            Event::Link { up, .. } => (6 + u8::from(*up), Digest::ZERO),
        };
        self.trace = Hasher::new("stele/trace/1")
            .with(self.trace.as_bytes())
            .with(&self.now_us.to_le_bytes())
            .with(&me.0.to_le_bytes())
            .with(&[kind])
            .with(detail.as_bytes())
            .finish();
    }
}
