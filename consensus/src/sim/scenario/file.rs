//! Scenario files: TOML, every key with its unit, default and range. [`parse`] makes a [`Scenario`] of one or says
//! where it is wrong.
//!
//! Owns the format; what a key does stands at the type that it fills. Unknown keys are refused.

mod rows;

use crate::sim::scenario::{Bounds, Scenario};
use crate::sim::{Expect, Keys, Window};
use rows::{
    AdversaryRow, ClockRow, CommitteeTable, DeviceRow, DevicesTable, EventRow, LinkRow, LinksTable, LoadTable,
    MixTable, PacingTable, ParametersTable, RegionsTable, Within,
};
use serde::Deserialize;
use std::ops::Range;
use thiserror::Error;

/// Why a text is no scenario.
#[derive(Clone, Debug, Error)]
pub enum ScenarioError {
    /// Not TOML, an unknown key, a wrong type, or a number outside its range.
    #[error("{}", .0.message())]
    Toml(Box<toml::de::Error>),
    /// A node that the committee does not have.
    #[error("there is no node {node}: the committee has {size}, counted from 0")]
    NoSuchNode {
        /// The node.
        node: u16,
        /// Members of the committee.
        size: usize,
        /// Where it stands.
        span: Range<usize>,
    },
    /// A key that this kind of row needs is not there.
    #[error("`{what}` needs the key `{key}`")]
    Needs {
        /// The kind of row.
        what: &'static str,
        /// The missing key.
        key: &'static str,
        /// Where the row stands.
        span: Range<usize>,
    },
    /// A matrix of round trips that is not square, or regions that it does not have.
    #[error("`regions` needs a square matrix of round trips, and for every node a region of it")]
    Regions {
        /// Where it stands.
        span: Range<usize>,
    },
    /// More stake is faulty than the protocol stands.
    #[error("adversaries hold stake {stake}, more than f = {most}; `[check] beyond_f = true` allows it")]
    TooManyAdversaries {
        /// Their stake.
        stake: u64,
        /// f.
        most: u64,
    },
    /// The committee cannot be.
    #[error("these stakes make no committee")]
    Stakes {
        /// Where they stand.
        span: Range<usize>,
    },
}

impl ScenarioError {
    /// The bytes of the text that are wrong.
    pub fn span(&self) -> Option<Range<usize>> {
        match self {
            Self::Toml(error) => error.span(),
            Self::NoSuchNode { span, .. }
            | Self::Needs { span, .. }
            | Self::Regions { span }
            | Self::Stakes { span } => Some(span.clone()),
            Self::TooManyAdversaries { .. } => None,
        }
    }
}

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// What the scenario is for, in a sentence. No default: a scenario without a purpose proves nothing.
    about: String,
    /// Simulated time in milliseconds. No default, range 1 to 86,400,000 (a day).
    duration_ms: Within<1, 86_400_000>,
    /// Latencies are taken of transactions submitted from here on, in milliseconds. Default 0.
    #[serde(default)]
    measure_from_ms: u64,
    #[serde(default)]
    committee: Option<toml::Spanned<CommitteeTable>>,
    #[serde(default)]
    parameters: ParametersTable,
    #[serde(default)]
    pacing: PacingTable,
    #[serde(default)]
    load: LoadTable,
    #[serde(default)]
    links: LinksTable,
    #[serde(default)]
    regions: Option<toml::Spanned<RegionsTable>>,
    #[serde(default)]
    link: Vec<LinkRow>,
    #[serde(default)]
    devices: DevicesTable,
    #[serde(default)]
    device: Vec<DeviceRow>,
    #[serde(default)]
    clock: Vec<ClockRow>,
    #[serde(default)]
    event: Vec<toml::Spanned<EventRow>>,
    #[serde(default)]
    adversary: Vec<toml::Spanned<AdversaryRow>>,
    #[serde(default)]
    window: Vec<WindowRow>,
    #[serde(default)]
    mix: Option<MixTable>,
    #[serde(default)]
    check: CheckTable,
    #[serde(default)]
    expect: ExpectTable,
}

/// `[check]`: what counts as a violation beside what must never happen.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CheckTable {
    /// Longest wait of an honest node's transaction, and for an honest node to be level, in milliseconds, while links
    /// are as at the start and at most f are faulty; counted from the last fault. Default: not checked.
    liveness_ms: Option<Within<1, 86_400_000>>,
    /// Allows adversaries with more stake than f. Default false.
    beyond_f: bool,
}

/// `[[window]]`: latencies of what was submitted in a part of the run, told apart.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowRow {
    /// What it is called.
    name: String,
    /// From here on, in milliseconds. Default 0.
    #[serde(default)]
    from_ms: u64,
    /// Up to here. No default.
    until_ms: u64,
    /// Median latency at most, in milliseconds. Default: any.
    latency_p50_ms_max: Option<u64>,
    /// Mean latency at most, in milliseconds. Default: any.
    latency_mean_ms_max: Option<u64>,
}

/// `[expect]`: what makes the file a test. Everything is optional.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ExpectTable {
    /// Median latency at most, in milliseconds.
    latency_p50_ms_max: Option<u64>,
    /// 99th percentile of latency at most, in milliseconds.
    latency_p99_ms_max: Option<u64>,
    /// Mean latency at most, in milliseconds.
    latency_mean_ms_max: Option<u64>,
    /// Median latency of every second of submission at most, in milliseconds.
    second_p50_ms_max: Option<u64>,
    /// Commits of the highest honest node at least.
    commits_min: Option<u64>,
    /// Commits between the highest and the lowest running honest node at the end, at most.
    lag_commits_max: Option<u64>,
    /// Epochs that have begun, the first among them, at least.
    epochs_min: Option<u64>,
    /// Rules that must have been reached, by the names under `marks` of the report.
    marks: Vec<String>,
}

/// Reads a scenario; `seed` is where its randomness comes from.
///
/// ```
/// use consensus::sim::{Simulation, scenario::file};
///
/// let text = r#"
///     about = "one of four loses power every second or so"
///     duration_ms = 5_000
///     [check]
///     liveness_ms = 2_000
///     [[event]]
///     every_ms = [500, 1_500]
///     do = "crash"
///     random = 1
///     for_ms = [0, 300]
/// "#;
/// let scenario = file::parse(text, 7).expect("it is in order");
/// assert!(Simulation::run(scenario).violations.is_empty());
/// ```
///
/// # Errors
/// [`ScenarioError`], with the place.
pub fn parse(text: &str, seed: u64) -> Result<Scenario, ScenarioError> {
    let file: File = toml::from_str(text).map_err(|error| ScenarioError::Toml(Box::new(error)))?;
    let mut keys = match &file.committee {
        None => Keys::generate(4),
        Some(table) => table.get_ref().keys().ok_or(ScenarioError::Stakes { span: table.span() })?,
    };
    let joiners =
        file.committee.as_ref().and_then(|table| table.get_ref().joiners).map_or(0, |joiners| joiners.0 as u16);
    let size = keys.committee().size() + usize::from(joiners);
    file.parameters.apply(&mut keys.parameters);
    file.pacing.apply(&mut keys.pacing);
    let links = file.links.apply(Default::default());
    let devices = file.devices.apply(Default::default());
    let mut link_plans = match &file.regions {
        None => Vec::new(),
        Some(table) => {
            let plans = table.get_ref().plans(size, links);
            plans.ok_or(ScenarioError::Regions { span: table.span() })?
        }
    };
    for row in &file.link {
        row.apply(size, links, &mut link_plans)?;
    }
    let mut adversaries = Vec::new();
    for row in &file.adversary {
        row.get_ref().apply(size, &mut adversaries)?;
    }
    let stake: u64 = adversaries.iter().map(|(node, _)| keys.committee().stake(types::AuthorityIndex(*node)).0).sum();
    let most = keys.committee().faulty_max().0;
    if stake > most && !file.check.beyond_f {
        return Err(ScenarioError::TooManyAdversaries { stake, most });
    }
    let timeline = file.event.iter().map(|row| row.get_ref().plan(size, links, row.span(), file.duration_ms.0));
    let timeline = timeline.collect::<Result<_, _>>()?;
    let per_node =
        |rows: &[DeviceRow]| rows.iter().map(|row| row.plans(size, devices)).collect::<Result<Vec<_>, ScenarioError>>();
    let clocks = file.clock.iter().map(|row| row.plans(size)).collect::<Result<Vec<_>, ScenarioError>>()?;
    Ok(Scenario {
        seed,
        links,
        link_plans,
        uplink_bytes_s: file.links.uplink_kib_s.0 * 1_024,
        devices,
        device_plans: per_node(&file.device)?.concat(),
        clocks: clocks.concat(),
        load_us: 1_000_000u64.checked_div(file.load.transactions_per_second.0).unwrap_or(0),
        transaction_bytes: file.load.transaction_bytes.0 as u32,
        adversaries,
        timeline,
        mix: file.mix.as_ref().map(|table| table.mix(most)),
        bounds: Bounds { liveness_ms: file.check.liveness_ms.map(|bound| bound.0) },
        joiners,
        windows: file.window.into_iter().map(WindowRow::window).collect(),
        expect: file.expect.expect(),
        duration_ms: file.duration_ms.0,
        measure_from_ms: file.measure_from_ms,
        about: file.about,
        keys,
    })
}

impl WindowRow {
    fn window(self) -> Window {
        let Self { name, from_ms, until_ms, latency_p50_ms_max, latency_mean_ms_max } = self;
        Window { name, from_ms, until_ms, latency_p50_ms_max, latency_mean_ms_max }
    }
}

impl ExpectTable {
    fn expect(self) -> Expect {
        Expect {
            latency_p50_ms_max: self.latency_p50_ms_max,
            latency_p99_ms_max: self.latency_p99_ms_max,
            latency_mean_ms_max: self.latency_mean_ms_max,
            second_p50_ms_max: self.second_p50_ms_max,
            commits_min: self.commits_min,
            lag_commits_max: self.lag_commits_max,
            epochs_min: self.epochs_min,
            marks: self.marks,
        }
    }
}
