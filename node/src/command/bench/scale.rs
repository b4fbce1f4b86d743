//! `stele bench consensus`: what a committee of a size sends, checks and waits for, simulated, beside what the rules say
//! on paper.
//!
//! The real core runs over equal links with disks and signers of the simulator's usual speed; bytes are those of the
//! node's frames. Nothing is measured of this machine: the same options give the same numbers everywhere. Deliberately
//! absent: bandwidth and the cost of computing, which the simulator takes as free.

mod drawing;
mod paper;
mod text;

use super::pages::{PageArgs, Pages};
use super::{BenchError, note};
use clap::Args;
use consensus::sim::{Latency, Links, MessageKind, Scenario, Simulation};
use paper::Paper;
use serde::Serialize;
use std::collections::BTreeMap;

/// Simulated time before anything is counted.
const WARM_UP_MS: u64 = 2_000;
/// Stem of the files that `--out` makes.
const STEM: &str = "consensus-scale";

/// Measure what a committee sends, checks and waits for by its size, in the simulator.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  stele bench consensus
  stele bench consensus --nodes 4,7 --seconds 2 --json -
  stele bench consensus --transactions-per-second 20000 --out results/

Bytes are those of the frames that a node hands to QUIC. --out writes consensus-scale.json, .md and .svg.")]
pub struct ScaleArgs {
    /// Sizes of committees, by comma; 1 to 255.
    #[arg(long, value_delimiter = ',', default_values_t = [4, 10, 31, 100],
        value_parser = clap::value_parser!(u16).range(1..=255), value_name = "N")]
    nodes: Vec<u16>,
    /// Transactions that all clients together send in a second.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000), value_name = "N")]
    transactions_per_second: u64,
    /// Bytes of a transaction, its signature among them.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=65_536), value_name = "N")]
    transaction_bytes: u32,
    /// One-way delay of every link, in milliseconds.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000), value_name = "MS")]
    link_ms: u64,
    /// Simulated seconds that are measured, after two that are not.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600), value_name = "N")]
    seconds: u64,
    /// Where the randomness comes from.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    #[command(flatten)]
    pages: PageArgs,
}

/// What was asked for.
#[derive(Clone, Debug, Serialize)]
struct Options {
    transactions_per_second: u64,
    transaction_bytes: u32,
    link_ms: u64,
    seconds: u64,
    seed: u64,
}

/// A whole run.
#[derive(Clone, Debug, Serialize)]
struct Scale {
    kind: &'static str,
    options: Options,
    /// By size.
    results: Vec<Row>,
}

/// One size of committee.
#[derive(Clone, Debug, Serialize)]
struct Row {
    nodes: u16,
    rounds_per_second: f64,
    commits_per_second: f64,
    /// Committed in a second.
    transactions_per_second: f64,
    /// Mean bytes of a header.
    header_bytes: f64,
    /// What a node sends in a second, by kind of message; kinds that were never sent are left out.
    sent_per_node: BTreeMap<&'static str, Rate>,
    /// What a node sends in a second, of all kinds.
    bytes_per_second: f64,
    /// Part of these bytes that is neither payload nor an answer with payloads.
    header_share: f64,
    /// Sent by all nodes together for a committed transaction.
    bytes_per_transaction: f64,
    checks: ChecksPerNode,
    /// From submission to commit at the same node.
    latency: Delays,
    /// From the making of a block to its commit at its author.
    block_latency: Delays,
    paper: Paper,
    /// Measured over paper.
    over_paper: BTreeMap<&'static str, f64>,
}

impl Row {
    /// Bytes that a node sends in a second of this kind of message.
    fn sent(&self, kind: &str) -> f64 {
        self.sent_per_node.get(kind).map_or(0.0, |rate| rate.bytes_per_second)
    }
}

/// Of one kind of message.
#[derive(Clone, Copy, Debug, Serialize)]
struct Rate {
    messages_per_second: f64,
    bytes_per_second: f64,
}

/// Signatures that a node checks.
#[derive(Clone, Copy, Debug, Serialize)]
struct ChecksPerNode {
    headers_per_second: f64,
    /// Headers that came once more, and need no check where it is remembered that they had one.
    headers_again_per_second: f64,
    transactions_per_second: f64,
    /// For a committed transaction: its own, and its part of the headers'.
    per_transaction: f64,
}

/// How long something took.
#[derive(Clone, Copy, Debug, Serialize)]
struct Delays {
    p50_ms: f64,
    p99_ms: f64,
    mean_ms: f64,
    /// The median in one-way delays.
    p50_delays: f64,
}

impl Delays {
    fn of(sorted_us: &[u64], link_ms: u64) -> Self {
        let latency = Latency::of(sorted_us);
        let ms = |us: u64| us as f64 / 1e3;
        let p50_ms = ms(latency.p50_us);
        let (p99_ms, mean_ms) = (ms(latency.p99_us), ms(latency.mean_us));
        Self { p50_ms, p99_ms, mean_ms, p50_delays: p50_ms / link_ms as f64 }
    }
}

/// Measures and tells.
pub(super) fn run(args: &ScaleArgs) -> Result<(), BenchError> {
    let destination = args.pages.look(STEM)?;
    let &ScaleArgs { transactions_per_second, transaction_bytes, link_ms, seconds, seed, .. } = args;
    let options = Options { transactions_per_second, transaction_bytes, link_ms, seconds, seed };
    let mut sizes = args.nodes.clone();
    sizes.sort_unstable();
    sizes.dedup();
    let results = sizes.iter().map(|nodes| measure(&options, *nodes)).collect::<Result<_, _>>()?;
    let scale = Scale { kind: "consensus", options, results };
    let (table, markdown, svg) = (text::table(&scale), text::markdown(&scale), drawing::svg(&scale));
    Pages { result: &scale, table, markdown, svg }.publish(destination)
}

/// The scenario of a size.
fn scenario(options: &Options, nodes: u16) -> Scenario {
    let delay_us = options.link_ms * 1_000;
    let mut scenario = Scenario::new(options.seed, nodes);
    scenario.links = Links { delay_us_min: delay_us, delay_us_max: delay_us, payload_us_max: 0, ..Links::default() };
    scenario.load_us = (u64::from(nodes) * 1_000_000 / options.transactions_per_second).max(1);
    scenario.transaction_bytes = options.transaction_bytes;
    scenario
}

fn measure(options: &Options, nodes: u16) -> Result<Row, BenchError> {
    note(&format!("{nodes} validators"));
    let scenario = scenario(options, nodes);
    let paper = Paper::of(&scenario, options, nodes);
    let mut simulation = Simulation::new(scenario);
    let failed = |violation| BenchError::Simulation { nodes, violation: Box::new(violation) };
    simulation.run_for(WARM_UP_MS).map_err(failed)?;
    let before =
        (*simulation.traffic(), simulation.committed_transactions(), rounds(&simulation, nodes), simulation.top());
    simulation.run_for(options.seconds * 1_000).map_err(failed)?;
    let traffic = simulation.traffic().since(&before.0);
    let (seconds, size) = (options.seconds as f64, f64::from(nodes));
    let transactions = (simulation.committed_transactions() - before.1) as f64;
    let per_node = |count: u64| count as f64 / seconds / size;
    let rate = |(kind, name): (MessageKind, &'static str)| {
        let amount = traffic.of(kind);
        let rate = Rate { messages_per_second: per_node(amount.messages), bytes_per_second: per_node(amount.bytes) };
        (amount.messages > 0).then_some((name, rate))
    };
    let own = traffic.of(MessageKind::OwnHeader);
    let payload_bytes = traffic.of(MessageKind::Payload).bytes + traffic.of(MessageKind::PayloadsAnswer).bytes;
    let bytes = traffic.total().bytes;
    let checks = &traffic.checks;
    let mut row = Row {
        nodes,
        rounds_per_second: (rounds(&simulation, nodes) - before.2) as f64 / seconds / size,
        commits_per_second: (simulation.top().0 - before.3.0) as f64 / seconds,
        transactions_per_second: transactions / seconds,
        // Its frame has one byte more, and a committee of one sends none.
        header_bytes: if own.messages == 0 { paper.header_bytes } else { own.bytes as f64 / own.messages as f64 - 1.0 },
        sent_per_node: MessageKind::ALL.into_iter().filter_map(rate).collect(),
        bytes_per_second: per_node(bytes),
        header_share: if bytes == 0 { 0.0 } else { (bytes - payload_bytes) as f64 / bytes as f64 },
        bytes_per_transaction: bytes as f64 / transactions.max(1.0),
        checks: ChecksPerNode {
            headers_per_second: per_node(checks.headers),
            headers_again_per_second: per_node(checks.headers_again),
            transactions_per_second: per_node(checks.transactions),
            per_transaction: (checks.headers + checks.transactions) as f64 / size / transactions.max(1.0),
        },
        latency: Delays::of(&simulation.latencies_us(WARM_UP_MS), options.link_ms),
        block_latency: Delays::of(&simulation.block_latencies_us(WARM_UP_MS), options.link_ms),
        over_paper: BTreeMap::new(),
        paper,
    };
    row.over_paper = row.paper.compare(&row);
    Ok(row)
}

/// Own blocks of all nodes so far.
fn rounds(simulation: &Simulation, nodes: u16) -> u64 {
    (0..nodes).filter_map(|node| simulation.status(node)).map(|status| status.last_own_round.0).sum()
}

#[cfg(test)]
mod tests;
