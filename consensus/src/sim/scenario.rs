//! What a simulation is made of.

use crate::sim::Keys;

/// Links, all alike.
#[derive(Clone, Copy, Debug)]
pub struct Links {
    /// Shortest one-way delay in microseconds.
    pub delay_us_min: u64,
    /// Longest one.
    pub delay_us_max: u64,
    /// Messages lost of a thousand; nobody is told.
    pub loss_permille: u64,
    /// Messages that come twice, of a thousand.
    pub duplicate_permille: u64,
    /// Whether messages overtake each other.
    pub reorder: bool,
    /// How much later than its header a payload comes, at most, in microseconds.
    pub payload_us_max: u64,
}

impl Default for Links {
    fn default() -> Self {
        Self {
            delay_us_min: 4_000,
            delay_us_max: 8_000,
            loss_permille: 0,
            duplicate_permille: 0,
            reorder: false,
            payload_us_max: 3_000,
        }
    }
}

/// Disk and signer, alike on all nodes.
#[derive(Clone, Copy, Debug)]
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

/// A whole simulation.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Where all randomness comes from.
    pub seed: u64,
    /// Committee, parameters, pacing.
    pub keys: Keys,
    /// Links.
    pub links: Links,
    /// Disks and signers.
    pub devices: Devices,
    /// Time between two transactions at each node, in microseconds; 0 for none.
    pub load_us: u64,
    /// Members that sign two blocks for every round and send each to some of the others.
    pub equivocators: Vec<u16>,
}

impl Scenario {
    /// `size` honest validators on good links with some load.
    pub fn new(seed: u64, size: u16) -> Self {
        Self {
            seed,
            keys: Keys::generate(size),
            links: Links::default(),
            devices: Devices::default(),
            load_us: 30_000,
            equivocators: Vec::new(),
        }
    }
}
