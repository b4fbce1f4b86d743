//! The tables and rows of a scenario file, and what each fills.

mod events;

pub(super) use events::{AdversaryRow, EventRow, MixTable};

use crate::config::Pacing;
use crate::sim::Keys;
use crate::sim::links::{Distribution, Links};
use crate::sim::scenario::file::ScenarioError;
use crate::sim::scenario::{ClockPlan, Devices, LinkPlan};
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use toml::Spanned;
use types::Parameters;
use types::committee::COMMITTEE_MAX;

/// A whole number in a range.
#[derive(Clone, Copy, Debug)]
pub(super) struct Within<const MIN: u64, const MAX: u64>(pub u64);

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Within<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = u64::deserialize(deserializer)?;
        if (MIN..=MAX).contains(&value) {
            return Ok(Self(value));
        }
        Err(D::Error::custom(format_args!("{value} is outside {MIN} to {MAX}")))
    }
}

/// Checks the numbers of nodes.
pub(super) fn nodes_of(nodes: &[Spanned<u16>], size: usize) -> Result<Vec<u16>, ScenarioError> {
    let known = |node: &Spanned<u16>| {
        let (node, span) = (*node.get_ref(), node.span());
        if usize::from(node) < size { Ok(node) } else { Err(ScenarioError::NoSuchNode { node, size, span }) }
    };
    nodes.iter().map(known).collect()
}

/// `[committee]`: `size` equal stakes, or `stakes`. Default: four.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CommitteeTable {
    /// Members. Range 1 to 255.
    size: Option<Within<1, 255>>,
    /// Stake of each member; instead of `size`.
    #[serde(default)]
    stakes: Vec<u64>,
    /// Machines that are no members until `add-validator` makes them some; numbered after the members. Default 0.
    #[serde(default)]
    pub joiners: Option<Within<0, 100>>,
}

impl CommitteeTable {
    pub fn keys(&self) -> Option<Keys> {
        let stakes = match self.size {
            Some(size) if self.stakes.is_empty() => vec![1; size.0 as usize],
            None if self.stakes.len() <= COMMITTEE_MAX => self.stakes.clone(),
            _ => return None,
        };
        Keys::try_with_stakes(&stakes)
    }
}

/// `[parameters]`: consensus parameters, as in genesis.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ParametersTable {
    /// Default 300, range 20 to 100,000.
    gc_depth_rounds: Option<Within<20, 100_000>>,
    /// Default 20, range 1 to 10,000.
    schedule_interval_commits: Option<Within<1, 10_000>>,
    /// Default 60, range 1 to 10,000.
    schedule_window_commits: Option<Within<1, 10_000>>,
    /// Default 4,096, range 1 to 65,536.
    block_transactions_max: Option<Within<1, 65_536>>,
    /// Default 1 MiB, range 1 KiB to 16 MiB.
    block_payload_bytes_max: Option<Within<1_024, 16_777_216>>,
}

impl ParametersTable {
    pub fn apply(&self, parameters: &mut Parameters) {
        set(self.gc_depth_rounds, &mut parameters.gc_depth_rounds);
        set(self.schedule_interval_commits, &mut parameters.schedule_interval_commits);
        set(self.schedule_window_commits, &mut parameters.schedule_window_commits);
        set32(self.block_transactions_max, &mut parameters.block_transactions_max);
        set32(self.block_payload_bytes_max, &mut parameters.block_payload_bytes_max);
    }
}

/// `[pacing]`: timing of own blocks, as in node.toml, in milliseconds.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PacingTable {
    /// Default 5, range 0 to 1,000.
    round_delay_ms_min: Option<Within<0, 1_000>>,
    /// Default 250, range 10 to 500.
    idle_delay_ms: Option<Within<10, 500>>,
    /// Default 100, range 10 to 10,000.
    leader_timeout_ms_min: Option<Within<10, 10_000>>,
    /// Default 30, range 0 to 10,000.
    payload_patience_ms: Option<Within<0, 10_000>>,
    /// Default 20, range 1 to 10,000.
    retry_ms_min: Option<Within<1, 10_000>>,
}

impl PacingTable {
    pub fn apply(&self, pacing: &mut Pacing) {
        set32(self.round_delay_ms_min, &mut pacing.round_delay_ms_min);
        set32(self.idle_delay_ms, &mut pacing.idle_delay_ms);
        set32(self.leader_timeout_ms_min, &mut pacing.leader_timeout_ms_min);
        set32(self.payload_patience_ms, &mut pacing.payload_patience_ms);
        set32(self.retry_ms_min, &mut pacing.retry_ms_min);
    }
}

/// `[load]`: what the clients of each node send.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LoadTable {
    /// Transactions a second at each node. Default 33, range 0 to 100,000.
    pub transactions_per_second: Within<0, 100_000>,
    /// Bytes of each. Default 256, range 1 to 65,536.
    pub transaction_bytes: Within<1, 65_536>,
}

impl Default for LoadTable {
    fn default() -> Self {
        Self { transactions_per_second: Within(33), transaction_bytes: Within(256) }
    }
}

/// `[links]`, and the changed part of a `[[link]]` or of an event.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LinksTable {
    /// One-way delay in microseconds. Default 6,000, range 0 to 60 s.
    delay_us: Option<Within<0, 60_000_000>>,
    /// How far a delay may lie from it, in microseconds. Default 2,000, or 0 where `delay_us` is given.
    jitter_us: Option<Within<0, 60_000_000>>,
    /// `uniform` or `normal`. Default `uniform`.
    distribution: Option<Shape>,
    /// Messages lost of a thousand. Default 0.
    loss_permille: Option<Within<0, 1_000>>,
    /// Whether a lost message comes three delays later, as over QUIC, instead of never. Default false.
    retransmit: Option<bool>,
    /// Messages that come twice, of a thousand. Default 0.
    duplicate_permille: Option<Within<0, 1_000>>,
    /// Whether messages overtake each other. Default false.
    reorder: Option<bool>,
    /// How much later than its header a payload comes, at most, in microseconds. Default 3,000, or 0 where `delay_us`
    /// is given.
    payload_us_max: Option<Within<0, 60_000_000>>,
    /// KiB that each node can send in a second, headers before payloads; 0 for any number. Default 0. Of `[links]` only.
    pub uplink_kib_s: Within<0, 1_000_000_000>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Shape {
    Uniform,
    Normal,
}

impl Default for LinksTable {
    fn default() -> Self {
        Self {
            delay_us: None,
            jitter_us: None,
            distribution: None,
            loss_permille: None,
            retransmit: None,
            duplicate_permille: None,
            reorder: None,
            payload_us_max: None,
            uplink_kib_s: Within(0),
        }
    }
}

impl LinksTable {
    pub fn apply(&self, mut links: Links) -> Links {
        if let Some(Within(delay_us)) = self.delay_us {
            (links.delay_us_min, links.delay_us_max, links.payload_us_max) = (delay_us, delay_us, 0);
        }
        if let Some(Within(jitter_us)) = self.jitter_us {
            let middle_us = links.typical_us();
            (links.delay_us_min, links.delay_us_max) = (middle_us.saturating_sub(jitter_us), middle_us + jitter_us);
        }
        if let Some(shape) = self.distribution {
            links.distribution = match shape {
                Shape::Uniform => Distribution::Uniform,
                Shape::Normal => Distribution::Normal,
            };
        }
        set(self.loss_permille, &mut links.loss_permille);
        set(self.duplicate_permille, &mut links.duplicate_permille);
        set(self.payload_us_max, &mut links.payload_us_max);
        links.retransmit = self.retransmit.unwrap_or(links.retransmit);
        links.reorder = self.reorder.unwrap_or(links.reorder);
        links
    }
}

/// `[regions]`: delays by place on earth, half a round trip each way.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RegionsTable {
    /// Round trip between each two regions, in milliseconds; square.
    rtt_ms: Vec<Vec<u64>>,
    /// Region of each node, as a row of the matrix. Default: one after another.
    #[serde(default)]
    of: Vec<usize>,
    /// How far a delay may lie from the middle, in hundredths of it. Default 3, range 0 to 100.
    #[serde(default = "three")]
    jitter_percent: Within<0, 100>,
}

fn three() -> Within<0, 100> {
    Within(3)
}

impl RegionsTable {
    pub fn plans(&self, size: usize, links: Links) -> Option<Vec<LinkPlan>> {
        let count = self.rtt_ms.len();
        let square = count > 0 && self.rtt_ms.iter().all(|row| row.len() == count);
        let known = self.of.is_empty() || (self.of.len() == size && self.of.iter().all(|region| *region < count));
        if !square || !known {
            return None;
        }
        let region = |node: usize| self.of.get(node).copied().unwrap_or(node % count);
        let plan = |from: usize, to: usize| {
            let middle_us = self.rtt_ms[region(from)][region(to)] * 500;
            let jitter_us = middle_us * self.jitter_percent.0 / 100;
            let (delay_us_min, delay_us_max) = (middle_us - jitter_us, middle_us + jitter_us);
            let links = Links { delay_us_min, delay_us_max, payload_us_max: 0, ..links };
            LinkPlan { from: from as u16, to: to as u16, links: Some(links) }
        };
        let pairs = (0..size).flat_map(|from| (0..size).map(move |to| (from, to)));
        Some(pairs.filter(|(from, to)| from != to).map(|(from, to)| plan(from, to)).collect())
    }
}

/// `[[link]]`: links that differ from `[links]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkRow {
    /// Senders.
    from: Vec<Spanned<u16>>,
    /// Receivers.
    to: Vec<Spanned<u16>>,
    /// Whether the other direction is meant too. Default true.
    #[serde(default = "yes")]
    both: bool,
    /// There is no such link, either way. Default false.
    #[serde(default)]
    cut: bool,
    /// What differs.
    #[serde(default)]
    links: LinksTable,
}

fn yes() -> bool {
    true
}

impl LinkRow {
    pub fn apply(&self, size: usize, links: Links, plans: &mut Vec<LinkPlan>) -> Result<(), ScenarioError> {
        let (senders, receivers) = (nodes_of(&self.from, size)?, nodes_of(&self.to, size)?);
        let there = senders.iter().flat_map(|from| receivers.iter().map(move |to| (*from, *to)));
        let back = there.clone().filter(|_| self.both).map(|(from, to)| (to, from));
        let pairs: Vec<(u16, u16)> = there.chain(back).filter(|(from, to)| from != to).collect();
        for (from, to) in pairs {
            let before = plans.iter().rfind(|plan| (plan.from, plan.to) == (from, to)).and_then(|plan| plan.links);
            let links = (!self.cut).then(|| self.links.apply(before.unwrap_or(links)));
            plans.push(LinkPlan { from, to, links });
        }
        Ok(())
    }
}

/// `[devices]`, and the changed part of a `[[device]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DevicesTable {
    /// A sync of the log, in microseconds. Default 500, range 0 to 10 s.
    sync_us: Option<Within<0, 10_000_000>>,
    /// A signature, in microseconds. Default 300, range 0 to 10 s.
    sign_us: Option<Within<0, 10_000_000>>,
    /// Time between two group commits, in microseconds. Default 7,000, range 1 to 10 s.
    group_us: Option<Within<1, 10_000_000>>,
    /// Chance in a thousand that a group commit also stores the state. Default 100.
    flush_permille: Option<Within<0, 1_000>>,
    /// Syncs answer and do nothing. Default false; a run with power cuts must then fail.
    ignore_syncs: Option<bool>,
}

impl DevicesTable {
    pub fn apply(&self, mut devices: Devices) -> Devices {
        set(self.sync_us, &mut devices.sync_us);
        set(self.sign_us, &mut devices.sign_us);
        set(self.group_us, &mut devices.group_us);
        set(self.flush_permille, &mut devices.flush_permille);
        devices.ignore_syncs = self.ignore_syncs.unwrap_or(devices.ignore_syncs);
        devices
    }
}

/// `[[device]]`: nodes whose disks and signers differ.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeviceRow {
    /// Which.
    nodes: Vec<Spanned<u16>>,
    /// What differs.
    devices: DevicesTable,
}

impl DeviceRow {
    pub fn plans(&self, size: usize, devices: Devices) -> Result<Vec<(u16, Devices)>, ScenarioError> {
        let devices = self.devices.apply(devices);
        Ok(nodes_of(&self.nodes, size)?.into_iter().map(|node| (node, devices)).collect())
    }
}

/// `[[clock]]`: nodes whose clocks are not right.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClockRow {
    /// Which.
    nodes: Vec<Spanned<u16>>,
    /// How far the wall clock is off at the start, in milliseconds. Default 0.
    #[serde(default)]
    offset_ms: i32,
    /// Parts in a million that seconds are too fast, or too slow if negative. Default 0.
    #[serde(default)]
    drift_ppm: i32,
}

impl ClockRow {
    pub fn plans(&self, size: usize) -> Result<Vec<(u16, ClockPlan)>, ScenarioError> {
        let plan = ClockPlan { offset_ms: self.offset_ms.into(), drift_ppm: self.drift_ppm.into() };
        Ok(nodes_of(&self.nodes, size)?.into_iter().map(|node| (node, plan)).collect())
    }
}

fn set<const MIN: u64, const MAX: u64>(from: Option<Within<MIN, MAX>>, to: &mut u64) {
    if let Some(Within(value)) = from {
        *to = value;
    }
}

fn set32<const MIN: u64, const MAX: u64>(from: Option<Within<MIN, MAX>>, to: &mut u32) {
    if let Some(Within(value)) = from {
        *to = u32::try_from(value).expect("the range of every such key lies below 2^32");
    }
}
