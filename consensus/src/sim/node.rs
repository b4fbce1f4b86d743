//! One simulated validator: a real [`Core`] with what a driver around it keeps.

use crate::config::Config;
use crate::effect::Status;
use crate::engine::Core;
use crate::marks::Marks;
use crate::sim::adversary::Adversary;
use crate::sim::checks::Decisions;
use crate::sim::clock::Clock;
use crate::sim::disk::Disk;
use crate::sim::held::Held;
use crate::sim::scenario::Devices;
use crate::sim::simulation::Event;
use crate::sim::traffic::SeenHeaders;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, BlockRef, Height, Round};

/// Where a node stands in the simulation. The first nodes are the members of the committee, in order; a second core with
/// the identity of one of them comes behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(pub usize);

/// One of the machines of a simulation, by the number that scenario files have for it. It is the member of that index in
/// the first epoch, if it is a member there; in later ones its index may be another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Machine(pub u16);

impl Machine {
    /// As an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Transactions of a node's clients. They come evenly, and none is an event unless the node would sleep without it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clients {
    /// Time between two transactions, in microseconds; 0 for none.
    pub period_us: u64,
    /// When the next one is submitted.
    pub next_us: u64,
    /// When each waiting one was submitted.
    pub waiting: Vec<u64>,
    /// Those of own blocks that no commit has taken.
    pub in_flight: BTreeMap<BlockRef, OwnBlock>,
    /// Of each committed one: when it was submitted, and how long it took, in microseconds.
    pub committed: Vec<(u64, u64)>,
    /// Of each committed own block with transactions: when it was made, and how long it took.
    pub blocks_committed: Vec<(u64, u64)>,
}

/// An own block with transactions.
#[derive(Clone, Debug)]
pub(crate) struct OwnBlock {
    /// When the core asked for it.
    pub made_us: u64,
    /// When each of its transactions was submitted.
    pub submitted_us: Vec<u64>,
}

/// One validator.
#[derive(Debug)]
pub(crate) struct Node {
    pub machine: Machine,
    /// Which member it is in its era.
    pub me: AuthorityIndex,
    /// The era that it is in, counted from 0.
    pub era: usize,
    pub config: Config,
    /// It has committed the last commit of its era.
    pub at_end: bool,
    /// Whose votes for the last header of its era it holds.
    pub end_votes: BTreeSet<AuthorityIndex>,
    /// It was a member and is one no longer.
    pub retired: bool,
    /// When it last asked each peer that is in a later era for commits; a peer that only says so holds no other up.
    pub asked_ahead_us: BTreeMap<Machine, u64>,
    /// None while it is down.
    pub core: Option<Core>,
    /// Counts starts, so that events of an earlier life are ignored.
    pub life: u64,
    /// What came while the process was stopped without being told, in order.
    pub hung: Option<Vec<(Option<u64>, Event)>>,
    pub clock: Clock,
    /// The highest round of a block that came from its author since clocks are compared.
    pub newest: BTreeMap<AuthorityIndex, Round>,
    pub devices: Devices,
    pub disk: Disk,
    /// Payloads that are here.
    pub payloads: Held<()>,
    /// Headers that were seen in this life.
    pub seen: SeenHeaders,
    pub clients: Clients,
    /// A proposal that waits for disk or signer.
    pub proposal: Option<Arc<BlockHeader>>,
    /// Height of the last commit in this life.
    pub height: Height,
    /// When the timer event that is on its way fires.
    pub timer_us: Option<u64>,
    /// Makes blocks differ.
    pub nonce: u64,
    /// How often the cores of earlier lives reached each rare rule.
    pub marks: Marks,
    /// None for an honest node.
    pub adversary: Option<Box<dyn Adversary>>,
    /// Set while it has lost its disk and does not hold again what the others rely on: until when, once that is known.
    pub amnesia_ends_us: Option<u64>,
    /// What its core has decided and not committed.
    pub decisions: Decisions,
    /// Where it stood when it went down with all of its log kept.
    pub before: Option<Status>,
}

impl Node {
    /// A member of the first epoch; or, with `joins`, a machine that is none yet.
    pub fn new(machine: Machine, config: Config, clock: Clock, devices: Devices, joins: bool) -> Self {
        Self {
            machine,
            me: config.me,
            era: 0,
            core: (!joins).then(|| Core::new(config.clone(), clock.local_ms(0))),
            config,
            at_end: false,
            end_votes: BTreeSet::new(),
            retired: joins,
            asked_ahead_us: BTreeMap::new(),
            life: 0,
            hung: None,
            clock,
            newest: BTreeMap::new(),
            disk: Disk::new(&devices),
            devices,
            payloads: Held::default(),
            seen: SeenHeaders::default(),
            clients: Clients::default(),
            proposal: None,
            height: Height(0),
            timer_us: None,
            nonce: 0,
            marks: Marks::default(),
            adversary: None,
            amnesia_ends_us: None,
            decisions: Decisions::default(),
            before: None,
        }
    }

    /// Ends its core's life; what that reached stays counted.
    pub fn take_core(&mut self) -> Option<Core> {
        let core = self.core.take();
        core.iter().for_each(|core| self.marks.add(core.marks()));
        core
    }

    /// Its number, for what is told of it.
    pub fn number(&self) -> AuthorityIndex {
        AuthorityIndex(self.machine.0)
    }

    /// Whether it keeps the rules, so that what it says counts.
    pub fn is_honest(&self) -> bool {
        self.adversary.is_none()
    }

    /// Whether it can be asked to make progress: honest, up, and with a clock that is not so wrong that it may alarm.
    pub fn is_sound(&self) -> bool {
        self.is_honest() && self.is_running() && self.clock.is_right()
    }

    /// Whether the commit of a height is in its log.
    pub fn holds(&self, height: Height) -> bool {
        self.disk.base() < height && height <= self.height
    }

    /// Whether it is up and not stopped.
    pub fn is_running(&self) -> bool {
        self.core.is_some() && self.hung.is_none()
    }
}

impl Clients {
    /// Takes in what was submitted up to now.
    pub fn arrive(&mut self, now_us: u64, open: bool) {
        if self.period_us == 0 {
            return;
        }
        if !open {
            self.next_us = self.next_us.max(now_us + 1);
            return;
        }
        while self.next_us <= now_us {
            self.waiting.push(self.next_us);
            self.next_us += self.period_us;
        }
    }

    /// A commit took one of the own blocks.
    pub fn settle(&mut self, block: &BlockRef, now_us: u64) {
        let Some(own) = self.in_flight.remove(block) else { return };
        self.blocks_committed.push((own.made_us, now_us - own.made_us));
        self.committed.extend(own.submitted_us.into_iter().map(|at| (at, now_us - at)));
    }

    /// An own block will never be committed: its transactions wait again.
    pub fn requeue(&mut self, block: &BlockRef) {
        self.waiting.extend(self.in_flight.remove(block).into_iter().flat_map(|own| own.submitted_us));
        self.waiting.sort_unstable();
    }

    /// Transactions that no commit has taken.
    pub fn unsettled(&self) -> usize {
        self.waiting.len() + self.in_flight.values().map(|own| own.submitted_us.len()).sum::<usize>()
    }

    /// When the oldest of them was submitted.
    pub fn oldest_us(&self) -> Option<u64> {
        let waiting = self.waiting.first().copied();
        waiting.into_iter().chain(self.in_flight.values().filter_map(|own| own.submitted_us.first().copied())).min()
    }
}
