//! The queue of events and the one loop that runs it.

use crate::engine::Core;
use crate::input::Input;
use crate::sim::adversary::{AdversaryKind, Sending, Sides};
use crate::sim::checks::{Agreement, bounded};
use crate::sim::clock::Clock;
use crate::sim::eras::{Change, Era, era_of};
use crate::sim::faults::Faults;
use crate::sim::mix::Weather;
use crate::sim::network::{Message, Network, NetworkState};
use crate::sim::node::{Machine, Node, Place};
use crate::sim::queue::Queue;
use crate::sim::rng::Rng;
use crate::sim::scenario::{ClockPlan, Scenario};
use crate::sim::timeline::Action;
use crate::sim::trace::Trace;
use crate::sim::traffic::Traffic;
use crate::sim::violation::Violation;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, Height};

/// Time between two checks of liveness, in microseconds.
const LIVENESS_CHECK_US: u64 = 500_000;
/// Events between two looks at a node's tables.
const BOUNDS_EVERY: u64 = 64;

/// Something that happens to a node.
#[derive(Debug)]
pub(crate) enum Event {
    Deliver {
        from: Machine,
        /// The era that its sender is in, or pretends to be in.
        era: usize,
        message: Message,
    },
    Timer,
    Synced {
        length: usize,
    },
    Signed {
        header: Arc<BlockHeader>,
    },
    Submit,
    Link {
        peer: Machine,
        up: bool,
    },
    /// It holds a certificate over the last header of its era.
    NextEra,
    /// An adversary does something by itself.
    Act,
    /// An adversary sends something that it held back.
    Send(Box<Sending>),
    /// Something happens to the simulation and not to a node.
    Control(Control),
}

/// Something that happens to the simulation.
#[derive(Debug)]
pub(crate) enum Control {
    /// A planned action of the timeline.
    Planned(usize),
    /// The undoing of one, unless everything was mended since.
    Act(Box<Action>),
    Weather(Weather),
    Liveness,
    /// A machine becomes a member, in an era.
    Join(Machine, usize),
    /// Twins change sides.
    Sides(Machine, u64),
}

type Scheduled = (Place, Option<u64>, Event);

/// A committee in simulated time.
///
/// Crank it with [`Simulation::run_for`]; break and mend it in between. The first violation ends it.
#[derive(Debug)]
pub struct Simulation {
    pub(crate) scenario: Scenario,
    pub(crate) rng: Rng,
    pub(crate) now_us: u64,
    /// Each with its node and that node's life, if it dies with it.
    queue: Queue<Scheduled>,
    pub(crate) network: Network,
    /// How the links were at the start.
    pub(crate) calm_network: NetworkState,
    pub(crate) nodes: Vec<Node>,
    /// For each member that runs twice: which peers each core is with.
    sides: BTreeMap<Machine, Sides>,
    pub(crate) agreement: Agreement,
    /// Epochs, from the first one on.
    pub(crate) eras: Vec<Era>,
    /// Changes of the committee that wait to be decided.
    pub(crate) changes: VecDeque<Change>,
    pub(crate) trace: Trace,
    pub(crate) load: bool,
    /// Some clock is not right, or was not, so that nodes compare theirs.
    pub(crate) clocks_differ: bool,
    /// When a fault last came or went.
    pub(crate) disturbed_us: u64,
    /// Counts calms: what was to be undone before the last one is undone.
    calms: u64,
    /// The highest commit at each check of liveness.
    pub(crate) tops: VecDeque<(u64, Height)>,
    pub(crate) steps: u64,
    pub(crate) faults: Faults,
    pub(crate) traffic: Traffic,
}

impl Simulation {
    /// All nodes up, at time 0.
    pub fn new(mut scenario: Scenario) -> Self {
        let committee = scenario.keys.committee().clone();
        let mut rng = Rng::new(scenario.seed);
        if let Some(mix) = &scenario.mix {
            scenario.adversaries.extend(mix.adversaries(committee.size() as u16, &mut rng));
        }
        let size = scenario.size();
        let mut network = Network::new(size, scenario.links, scenario.uplink_bytes_s);
        for plan in &scenario.link_plans {
            let (from, to) = (Machine(plan.from), Machine(plan.to));
            match plan.links {
                Some(links) => network.set_links(from, to, links),
                None => network.set_cut(from, to, true),
            }
        }
        let mut simulation = Self {
            rng,
            now_us: 0,
            queue: Queue::default(),
            calm_network: network.state(),
            network,
            nodes: (0..size as u16).map(|machine| build(&scenario, Machine(machine))).collect(),
            sides: BTreeMap::new(),
            agreement: Agreement::new(),
            eras: vec![Era::first(&scenario)],
            changes: VecDeque::new(),
            trace: Trace::default(),
            load: true,
            clocks_differ: !scenario.clocks.is_empty(),
            disturbed_us: 0,
            calms: 0,
            tops: VecDeque::new(),
            steps: 0,
            faults: Faults::default(),
            traffic: Traffic::default(),
            scenario,
        };
        for (member, kind) in simulation.scenario.adversaries.clone() {
            simulation.turn(member, kind);
        }
        simulation.plan();
        if simulation.scenario.mix.is_some() {
            simulation.control(0, Control::Weather(Weather::Storm));
        }
        if simulation.scenario.bounds.liveness_ms.is_some() {
            simulation.control(LIVENESS_CHECK_US, Control::Liveness);
        }
        for at in 0..simulation.nodes.len() {
            let load_us = simulation.scenario.load_us;
            let first_us = if load_us > 0 { simulation.rng.between(0, load_us) } else { 0 };
            let clients = &mut simulation.nodes[at].clients;
            (clients.period_us, clients.next_us) = (load_us, first_us);
            if simulation.nodes[at].core.is_some() {
                simulation.started(Place(at));
            }
        }
        simulation
    }

    /// Runs for some simulated milliseconds.
    ///
    /// # Errors
    /// The first [`Violation`]; the simulation is of no use afterwards.
    pub fn run_for(&mut self, ms: u64) -> Result<(), Violation> {
        let end = self.now_us + ms * 1_000;
        while let Some((at_us, (at, life, event))) = self.queue.pop_until(end) {
            self.now_us = at_us;
            if let Event::Control(control) = event {
                if life.is_none_or(|calms| calms == self.calms) {
                    self.steer(control)?;
                }
                continue;
            }
            let node = &mut self.nodes[at.0];
            if node.core.is_none() || life.is_some_and(|life| life != node.life) {
                continue;
            }
            if let Some(missed) = &mut node.hung {
                missed.push((life, event));
                continue;
            }
            self.trace.event(self.now_us, at, &event);
            self.happen(at, event)?;
            self.check(at)?;
        }
        self.now_us = end;
        Ok(())
    }

    /// Has the execution of a height decide to end the epoch. Every node hears of it when it commits that height, or when
    /// it comes back behind it.
    pub fn close_at(&mut self, height: Height) {
        let last = self.eras.last_mut().expect("there is a first epoch");
        last.closes_at = Some(height);
    }

    pub(crate) fn schedule(&mut self, at_us: u64, at: Place, event: Event) {
        // Messages outlive the crash of their receiver; what a node asked of its own devices does not, nor does news of its
        // links, since it sees how they stand when it starts.
        let life = match &event {
            Event::Deliver { .. } => None,
            _ => Some(self.nodes[at.0].life),
        };
        self.schedule_for(at_us, at, life, event);
    }

    pub(crate) fn schedule_for(&mut self, at_us: u64, at: Place, life: Option<u64>, event: Event) {
        self.queue.push(at_us, (at, life, event));
    }

    pub(crate) fn control(&mut self, at_us: u64, control: Control) {
        let life = matches!(control, Control::Act(_)).then_some(self.calms);
        self.queue.push(at_us, (Place(0), life, Event::Control(control)));
    }

    /// What waits to be undone is not, because everything is mended at once.
    pub(crate) fn forget_undos(&mut self) {
        self.calms += 1;
    }

    /// A fault came or went.
    pub(crate) fn disturbed(&mut self) {
        self.disturbed_us = self.now_us;
    }

    /// Puts a message on the wire, `asked` for by its receiver or not.
    pub(crate) fn transmit(&mut self, at: Place, to: Machine, message: Message, asked: bool) {
        let node = &self.nodes[at.0];
        let (from, era) = (node.machine, message.epoch().map_or(node.era, era_of));
        let mut bytes = 0;
        for (kind, weighs) in message.frames(asked).into_iter().flatten() {
            self.traffic.send(kind, weighs);
            bytes += weighs;
        }
        let bulk = message.is_bulk();
        let [first, second] = self.network.arrival(&mut self.rng, self.now_us, (from, to), bytes, bulk);
        let Some(first) = first else { return };
        for place in self.places_of(to) {
            if !self.hears(place, at) {
                continue;
            }
            if let Some(second) = second {
                self.schedule(second, place, Event::Deliver { from, era, message: message.clone() });
            }
            self.schedule(first, place, Event::Deliver { from, era, message: message.clone() });
        }
    }

    /// Where a member runs: once, or twice.
    pub(crate) fn places_of(&self, machine: Machine) -> impl Iterator<Item = Place> + use<> {
        let second = self.sides.contains_key(&machine).then(|| {
            let second = self.nodes.iter().skip(self.scenario.size()).position(|node| node.machine == machine);
            Place(self.scenario.size() + second.expect("a member with sides runs twice"))
        });
        std::iter::once(Place(machine.index())).chain(second)
    }

    /// Sets a node's periodic events and its view of the links.
    pub(crate) fn started(&mut self, at: Place) {
        let now_us = self.now_us;
        self.schedule(now_us, at, Event::Timer);
        self.wake_clients(at);
        if let Some(period_us) = self.nodes[at.0].adversary.as_ref().and_then(|adversary| adversary.period_us()) {
            self.schedule(now_us + period_us, at, Event::Act);
        }
        let machine = self.nodes[at.0].machine;
        for peer in self.machines() {
            if self.network.is_up(machine, peer) && self.nodes[peer.index()].core.is_some() {
                self.schedule(now_us, at, Event::Link { peer, up: true });
            }
        }
    }

    /// After every event: bounds every now and then, and the next timer.
    pub(crate) fn check(&mut self, at: Place) -> Result<(), Violation> {
        self.steps += 1;
        let now_us = self.now_us;
        let node = &mut self.nodes[at.0];
        let Some(core) = &node.core else { return Ok(()) };
        if node.is_honest() {
            node.decisions.compare(node.number(), core)?;
        }
        if self.steps.is_multiple_of(BOUNDS_EVERY) && node.is_honest() {
            bounded(
                node.number(),
                &core.status(),
                node.config.committee.size(),
                node.config.parameters.gc_depth_rounds,
            )?;
        }
        if let Some(local_ms) = core.next_timer() {
            let at_us = node.clock.when_us(local_ms).max(now_us);
            if node.timer_us.is_none_or(|set| at_us < set) {
                node.timer_us = Some(at_us);
                self.schedule(at_us, at, Event::Timer);
            }
        }
        Ok(())
    }

    fn happen(&mut self, at: Place, event: Event) -> Result<(), Violation> {
        match event {
            Event::Deliver { from, era, message } => self.deliver(at, from, era, message),
            Event::NextEra => self.enter_next_era(at),
            Event::Timer => self.timer(at),
            Event::Synced { length } => self.synced(at, length),
            Event::Signed { header } => self.signed(at, header),
            Event::Submit => {
                let (now_us, load) = (self.now_us, self.load);
                let clients = &mut self.nodes[at.0].clients;
                clients.arrive(now_us, load);
                if clients.waiting.is_empty() { Ok(()) } else { self.step(at, Input::Pending { local: true }) }
            }
            Event::Link { peer, up } => {
                let node = &self.nodes[at.0];
                let one_way_us = self.network.links(peer, node.machine).typical_us();
                let Some(peer) = self.eras[node.era].member(peer) else { return Ok(()) };
                if !up {
                    return self.step(at, Input::PeerDown { peer });
                }
                self.step(at, Input::PeerUp { peer })?;
                self.step(at, Input::Rtt { peer, one_way_us })
            }
            Event::Act => {
                self.act(at);
                Ok(())
            }
            Event::Send(sending) => {
                self.send_now(at, *sending);
                Ok(())
            }
            Event::Control(_) => Ok(()),
        }
    }

    fn timer(&mut self, at: Place) -> Result<(), Violation> {
        let now_us = self.now_us;
        let due = |node: &Node| {
            let at_ms = node.core.as_ref().and_then(Core::next_timer);
            at_ms.is_some_and(|at_ms| node.clock.when_us(at_ms) <= now_us)
        };
        let node = &mut self.nodes[at.0];
        // An earlier one has taken the place of this one.
        if node.timer_us.is_some_and(|set| set > now_us) {
            return Ok(());
        }
        node.timer_us = None;
        let started = now_us == 0 || node.height == Height(0);
        if !started && !due(node) {
            return Ok(());
        }
        self.step(at, Input::Tick)?;
        let node = &self.nodes[at.0];
        if due(node) && node.is_honest() { Err(Violation::StuckTimer { node: node.number() }) } else { Ok(()) }
    }

    fn steer(&mut self, control: Control) -> Result<(), Violation> {
        match control {
            Control::Planned(index) => self.planned(index),
            Control::Act(action) => self.act_out(*action).map(|_| ()),
            Control::Weather(weather) => self.weather(weather),
            Control::Liveness => {
                self.control(self.now_us + LIVENESS_CHECK_US, Control::Liveness);
                self.check_liveness()
            }
            Control::Join(machine, era) => self.join(machine, era),
            Control::Sides(member, switch_us) => {
                let sides = Sides::draw(self.scenario.size(), &mut self.rng);
                self.sides.insert(member, sides);
                self.control(self.now_us + switch_us, Control::Sides(member, switch_us));
                Ok(())
            }
        }
    }

    /// Makes a member an adversary.
    fn turn(&mut self, member: u16, kind: AdversaryKind) {
        let size = self.scenario.size();
        self.nodes[usize::from(member)].adversary = Some(kind.build(size));
        if let AdversaryKind::Twins { switch_ms } = kind {
            let machine = Machine(member);
            let mut second = build(&self.scenario, machine);
            second.adversary = Some(kind.build(size));
            second.nonce = u64::MAX / 2;
            self.nodes.push(second);
            self.sides.insert(machine, Sides::draw(size, &mut self.rng));
            let switch_us = switch_ms.max(1) * 1_000;
            self.control(switch_us, Control::Sides(machine, switch_us));
        }
    }

    /// Whether what is sent at one place is heard at another.
    fn hears(&self, at: Place, sender: Place) -> bool {
        let size = self.scenario.size();
        let joins = |twin: Place, peer: Place| {
            let (twin_is, peer_is) = (self.nodes[twin.0].machine, self.nodes[peer.0].machine);
            self.sides.get(&twin_is).is_none_or(|sides| sides.joins(peer_is.index(), twin.0 >= size))
        };
        self.sides.is_empty() || (joins(at, sender) && joins(sender, at))
    }
}

fn build(scenario: &Scenario, machine: Machine) -> Node {
    let of = |plans: &[(u16, ClockPlan)]| plans.iter().rfind(|(node, _)| *node == machine.0).map(|(_, plan)| *plan);
    let ClockPlan { offset_ms, drift_ppm } = of(&scenario.clocks).unwrap_or_default();
    let devices = scenario.device_plans.iter().rfind(|(node, _)| *node == machine.0);
    let devices = devices.map_or(scenario.devices, |(_, devices)| *devices);
    let joins = machine.index() >= scenario.keys.committee().size();
    let me = AuthorityIndex(if joins { 0 } else { machine.0 });
    Node::new(machine, scenario.keys.config(me), Clock::new(offset_ms, drift_ppm), devices, joins)
}
