//! What a simulation is made of, checked: by hand in tests, or from a file.

pub mod builtin;
pub mod file;

use crate::sim::Keys;
use crate::sim::adversary::AdversaryKind;
use crate::sim::links::Links;
use crate::sim::mix::Mix;
use crate::sim::report::{Expect, Window};
use crate::sim::timeline::Planned;

/// Disk and signer of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Devices {
    /// A sync of the log, in microseconds.
    pub sync_us: u64,
    /// A signature.
    pub sign_us: u64,
    /// Time between two group commits of accepted blocks and commits.
    pub group_us: u64,
    /// Chance in a thousand that a group commit also stores the state with its checkpoint.
    pub flush_permille: u64,
    /// Syncs answer and do nothing: a simulation that does not notice proves nothing about syncs.
    pub ignore_syncs: bool,
}

impl Default for Devices {
    fn default() -> Self {
        Self { sync_us: 500, sign_us: 300, group_us: 7_000, flush_permille: 100, ignore_syncs: false }
    }
}

/// One direction of a link that differs from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkPlan {
    /// The sender.
    pub from: u16,
    /// The receiver.
    pub to: u16,
    /// How it behaves; `None` for a link that does not exist.
    pub links: Option<Links>,
}

/// A node's clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockPlan {
    /// How far its wall clock is off at the start, in milliseconds.
    pub offset_ms: i64,
    /// Parts in a million that its seconds are too fast; negative for too slow.
    pub drift_ppm: i64,
}

/// What counts as a violation beside what must never happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Longest time in milliseconds that a transaction of an honest node may wait for its commit while at most f are
    /// faulty and no link is disturbed; also how long an honest node may need to catch up. `None`: not checked.
    pub liveness_ms: Option<u64>,
}

/// A whole simulation.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is for.
    pub about: String,
    /// Where all randomness comes from.
    pub seed: u64,
    /// Committee, parameters, pacing.
    pub keys: Keys,
    /// Machines that are no members at first; numbered after the members.
    pub joiners: u16,
    /// Links.
    pub links: Links,
    /// Links that differ.
    pub link_plans: Vec<LinkPlan>,
    /// Bytes that a node sends in a second; 0 for any number.
    pub uplink_bytes_s: u64,
    /// Disks and signers.
    pub devices: Devices,
    /// Nodes whose disks and signers differ.
    pub device_plans: Vec<(u16, Devices)>,
    /// Nodes whose clocks are not right.
    pub clocks: Vec<(u16, ClockPlan)>,
    /// Time between two transactions at each node, in microseconds; 0 for none.
    pub load_us: u64,
    /// Bytes of a transaction.
    pub transaction_bytes: u32,
    /// Members that do not keep the rules.
    pub adversaries: Vec<(u16, AdversaryKind)>,
    /// What is done to it, and when.
    pub timeline: Vec<Planned>,
    /// Faults drawn from the seed.
    pub mix: Option<Mix>,
    /// What is checked beside safety.
    pub bounds: Bounds,
    /// Parts of the run whose latencies are told apart.
    pub windows: Vec<Window>,
    /// What is expected of a whole run.
    pub expect: Expect,
    /// How long a whole run takes, in simulated milliseconds.
    pub duration_ms: u64,
    /// Latencies are taken of transactions submitted from here on.
    pub measure_from_ms: u64,
}

impl Scenario {
    /// `size` honest validators on good links with some load.
    pub fn new(seed: u64, size: u16) -> Self {
        Self {
            about: String::new(),
            seed,
            keys: Keys::generate(size),
            joiners: 0,
            links: Links::default(),
            link_plans: Vec::new(),
            uplink_bytes_s: 0,
            devices: Devices::default(),
            device_plans: Vec::new(),
            clocks: Vec::new(),
            load_us: 30_000,
            transaction_bytes: 256,
            adversaries: Vec::new(),
            timeline: Vec::new(),
            mix: None,
            bounds: Bounds::default(),
            windows: Vec::new(),
            expect: Expect::default(),
            duration_ms: 10_000,
            measure_from_ms: 0,
        }
    }

    /// Number of machines: members of the first epoch, and those that may join.
    pub fn size(&self) -> usize {
        self.keys.committee().size() + usize::from(self.joiners)
    }
}
