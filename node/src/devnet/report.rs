//! The report at the end of a run: one object for machines, a table for people.

use super::links::LinksReport;
use super::load::{Cpu, Measured};
use super::measure::{Counts, Latency};
use super::network::Network;
use super::recovery::Recovery;
use super::{DevnetArgs, Rate, WARM_UP, usage};
use crate::config::CongestionControl;
use client::rpc::{CertifiedMs, EngineStatus, LogStatus, NodeStatus, SignerStatus, Stages, VerifyStatus};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use types::{ChainId, Digest, Height};

/// Everything that a run has shown. Counts and latencies are of transactions that were due in the window; what nodes
/// say of themselves is since their start.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Number of validators.
    pub validators: usize,
    /// Length of the window.
    pub seconds: u32,
    /// Load before the window.
    pub warm_up_seconds: u64,
    /// Execution threads a node.
    pub shards: u16,
    /// Where keys are: `softhsm` or `soft`.
    pub signer: &'static str,
    /// Which key signs the rounds: `direct` or `certified`.
    pub signing: &'static str,
    /// What each signature of consensus and transport keys took longer, in milliseconds.
    pub signer_latency_ms: u32,
    /// What transactions are signed with.
    pub algorithm: &'static str,
    /// Bytes of an encoded, signed transaction.
    pub payload_bytes: u32,
    /// `max`, or transactions a second.
    pub rate: RateField,
    /// Due in the window, a second.
    pub offered_tps: f64,
    /// Due in the window and committed, a second.
    pub committed_tps: f64,
    /// Rounds of consensus in the window, a second.
    pub rounds_per_second: f64,
    /// From the intended send time to the durable receipt.
    pub latency_ms: Latency,
    /// Applied.
    pub committed: u64,
    /// Rejected by the ledger.
    pub rejected: u64,
    /// Refused before they were ordered.
    pub refused: u64,
    /// Without an answer because a connection was lost.
    pub unknown: u64,
    /// Without an answer after the last wait.
    pub unanswered: u64,
    /// Answers "busy", over the whole run; what they hit was sent again.
    pub busy: u64,
    /// Most transactions without an answer at once.
    pub client_backlog_max: u64,
    /// Signed before the run.
    pub signed_ahead: u64,
    /// Signed during the run, which takes time from the validators.
    pub signed_during_run: u64,
    /// Executed height of each node; null for one that does not answer.
    pub heights: Vec<Option<u64>>,
    /// The highest height that all nodes have.
    pub common_height: Option<u64>,
    /// Whether the header digests of all nodes at that height were read and are equal.
    pub headers_agree: bool,
    /// From a header's execution to its certificate; of the slowest node.
    pub certified_ms: CertifiedMs,
    /// Signature checks, all nodes together.
    pub verify: VerifyStatus,
    /// Signers, all together; times of the slowest.
    pub signer_stats: SignerStatus,
    /// Logs, all together; times of the slowest.
    pub log: LogStatus,
    /// CPU time of all processes in the window, load generator included.
    pub cpu_seconds: f64,
    /// The same by process.
    pub cpu: CpuField,
    /// CPU time of a node for one committed transaction, over the window.
    pub cpu_us_per_transaction_and_node: f64,
    /// CPU time by stage for one transaction and node, since start.
    pub stages_us_per_transaction: BTreeMap<String, f64>,
    /// CPU time by stage, all nodes together, in microseconds since start.
    pub stages: Stages,
    /// Most memory of the largest node.
    pub rss_bytes_max: u64,
    /// What nodes wrote to the disk.
    pub disk: Disk,
    /// How long a validator takes to be back: `--restart`, `--rejoin`.
    pub recovery: Recovery,
    /// What is between the validators; null for loopback.
    pub links: Option<LinksReport>,
    /// Congestion control that was asked for; null for the node's default.
    pub congestion: Option<CongestionControl>,
    /// The ledger.
    pub chain: ChainId,
    /// Cores of this machine.
    pub cores: usize,
    /// Version of this program.
    pub version: &'static str,
    /// What each node says of itself; null for one that does not answer.
    pub nodes: Vec<Option<NodeStatus>>,
    /// Whether every node answered at the end.
    #[serde(skip)]
    pub all_answered: bool,
}

/// CPU time in the window, in seconds.
#[derive(Debug, Serialize)]
pub struct CpuField {
    /// Of each node.
    pub nodes: Vec<f64>,
    /// Of all signers.
    pub signers: f64,
    /// Of the load generator.
    pub load: f64,
}

/// What a node writes, since its start; of the node that wrote most. What its database has not written yet, some tens of
/// megabytes at most, is not in it.
#[derive(Debug, Serialize)]
pub struct Disk {
    /// Bytes handed to the block layer for it (`write_bytes` of `proc(5)`).
    pub written_bytes: u64,
    /// The same by bytes of transactions committed.
    pub amplification: f64,
    /// Bytes that its log grew by for one transaction, blocks and commits and padding included.
    pub log_bytes_per_transaction: f64,
}

/// `"max"` or a number.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum RateField {
    /// A number.
    PerSecond(u32),
    /// A word.
    Max(&'static str),
}

impl Report {
    /// Asks every node, compares headers, and puts all together.
    pub async fn gather(args: &DevnetArgs, network: &Network, measured: Measured) -> Self {
        let nodes = network.statuses().await;
        let (common_height, headers_agree) = compare_headers(network, &nodes).await;
        let all: Vec<&NodeStatus> = nodes.iter().flatten().collect();
        let counts @ Counts { committed, rejected, refused, unknown, .. } = measured.measure.counts();
        let Cpu { nodes: cpu_nodes, signers, load } = measured.cpu;
        let node_cpu: Duration = cpu_nodes.iter().sum();
        let per_second = |count: u64| round(count as f64 / f64::from(args.seconds));
        let sum = |field: fn(&NodeStatus) -> u64| all.iter().map(|status| field(status)).sum::<u64>();
        let max = |field: fn(&NodeStatus) -> u64| all.iter().map(|status| field(status)).max().unwrap_or(0);
        let slowest = |field: fn(&NodeStatus) -> f64| all.iter().map(|status| field(status)).fold(0.0, f64::max);
        let text =
            |field: fn(&NodeStatus) -> &String| all.first().map(|status| field(status).clone()).unwrap_or_default();
        let mut stages = Stages::new();
        for (stage, us) in all.iter().flat_map(|status| &status.stages) {
            *stages.entry(stage.clone()).or_default() += us;
        }
        let executed = sum(|status| status.committed_transactions).max(1) as f64;
        Self {
            validators: network.validators().len(),
            seconds: args.seconds,
            warm_up_seconds: WARM_UP.as_secs(),
            shards: args.shards,
            signer: args.signer.label(),
            signing: args.signing.label(),
            signer_latency_ms: args.signer_latency_ms,
            algorithm: args.algorithm.name(),
            payload_bytes: args.payload,
            rate: match args.rate {
                Rate::PerSecond(rate) => RateField::PerSecond(rate),
                Rate::Max => RateField::Max("max"),
            },
            offered_tps: per_second(counts.offered),
            committed_tps: per_second(committed),
            rounds_per_second: per_second(measured.rounds),
            latency_ms: measured.measure.latency(),
            committed,
            rejected,
            refused,
            unknown,
            unanswered: counts.unanswered(),
            busy: measured.busy,
            client_backlog_max: measured.backlog_max,
            signed_ahead: measured.signed_ahead,
            signed_during_run: measured.signed_late,
            heights: nodes.iter().map(|status| status.as_ref().map(|status| status.height.0)).collect(),
            common_height,
            headers_agree,
            certified_ms: CertifiedMs {
                p50: slowest(|status| status.certified_ms.p50),
                p99: slowest(|status| status.certified_ms.p99),
            },
            verify: VerifyStatus {
                engine: text(|status| &status.verify.engine),
                items: sum(|status| status.verify.items),
                batches: sum(|status| status.verify.batches),
                invalid: sum(|status| status.verify.invalid),
                engines: engines(&all),
                device: text(|status| &status.verify.device),
                device_faults: sum(|status| status.verify.device_faults),
            },
            signer_stats: SignerStatus {
                module: text(|status| &status.signer.module),
                signatures: sum(|status| status.signer.signatures),
                p50_us: max(|status| status.signer.p50_us),
                p99_us: max(|status| status.signer.p99_us),
                refused: sum(|status| status.signer.refused),
                certified_until: all.iter().filter_map(|status| status.signer.certified_until).next(),
            },
            log: LogStatus {
                backend: text(|status| &status.log.backend),
                bytes: sum(|status| status.log.bytes),
                syncs: sum(|status| status.log.syncs),
                sync_p50_us: max(|status| status.log.sync_p50_us),
                sync_p99_us: max(|status| status.log.sync_p99_us),
            },
            cpu_seconds: round((node_cpu + signers + load).as_secs_f64()),
            cpu: CpuField {
                nodes: cpu_nodes.iter().map(|cpu| round(cpu.as_secs_f64())).collect(),
                signers: round(signers.as_secs_f64()),
                load: round(load.as_secs_f64()),
            },
            cpu_us_per_transaction_and_node: round(
                node_cpu.as_secs_f64() * 1e6 / (committed.max(1) as f64 * cpu_nodes.len().max(1) as f64),
            ),
            stages_us_per_transaction: stages
                .iter()
                .map(|(stage, us)| (stage.clone(), round(*us as f64 / executed)))
                .collect(),
            stages,
            rss_bytes_max: network.pids().0.into_iter().map(usage::rss_max).max().unwrap_or(0),
            disk: {
                let written_bytes = network.pids().0.into_iter().map(usage::written).max().unwrap_or(0);
                let transactions = max(|status| status.committed_transactions).max(1) as f64;
                Disk {
                    written_bytes,
                    amplification: round(written_bytes as f64 / (transactions * f64::from(args.payload))),
                    log_bytes_per_transaction: round(max(|status| status.log.bytes) as f64 / transactions),
                }
            },
            recovery: Recovery::default(),
            links: network.links().map(|links| args.links.report(links.counts())),
            congestion: args.congestion,
            chain: network.chain(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            version: env!("CARGO_PKG_VERSION"),
            all_answered: nodes.iter().all(Option::is_some),
            nodes,
        }
    }

    /// The table.
    pub fn print(&self) {
        let Latency { mean, p50, p90, p99, max } = self.latency_ms;
        let heights: Vec<_> =
            self.heights.iter().map(|height| height.map_or("-".to_owned(), |height| height.to_string())).collect();
        let agree = match (self.headers_agree, self.all_answered) {
            (true, _) => "equal on all nodes",
            (false, true) => "DIFFERENT",
            (false, false) => "not read from every node",
        };
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        println!();
        println!(
            "  window          {} s after {} s of warm-up, {} bytes a transaction, signed with {}",
            self.seconds, self.warm_up_seconds, self.payload_bytes, self.algorithm
        );
        if let Some(LinksReport { delay_ms, jitter_ms, loss_percent, mbps, dropped, late, latest_ms, .. }) = self.links
        {
            let rate = mbps.map_or(String::new(), |mbps| format!(", {mbps} Mbit/s"));
            println!("  links           {delay_ms} ms each way, {jitter_ms} ms of jitter, {loss_percent} % loss{rate}");
            println!("                  {dropped} packets dropped; {late} delivered late, by {latest_ms} ms at most");
        }
        println!("  offered         {:>10.0} transactions a second", self.offered_tps);
        println!("  committed       {:>10.0} transactions a second", self.committed_tps);
        println!("  latency         mean {mean} ms, p50 {p50}, p90 {p90}, p99 {p99}, max {max}");
        println!(
            "  transactions    {} committed, {} rejected, {} refused, {} unknown, {} unanswered",
            self.committed, self.rejected, self.refused, self.unknown, self.unanswered
        );
        println!("  client          {} times busy, at most {} without an answer", self.busy, self.client_backlog_max);
        println!("  heights         {}", heights.join(" "));
        println!(
            "  headers         {agree}{}",
            self.common_height.map_or(String::new(), |height| format!(" at height {height}"))
        );
        println!(
            "  certificates    p50 {} ms, p99 {} ms after execution",
            self.certified_ms.p50, self.certified_ms.p99
        );
        println!(
            "  verification    {}: {} signatures in {} batches",
            self.verify.engine, self.verify.items, self.verify.batches
        );
        for engine in self.verify.engines.iter().filter(|_| self.verify.engines.len() > 1) {
            println!("    {:<14}{} signatures in {} batches", engine.engine, engine.items, engine.batches);
        }
        println!(
            "  signing         {}: {} signatures, p50 {} µs, p99 {} µs",
            self.signer_stats.module, self.signer_stats.signatures, self.signer_stats.p50_us, self.signer_stats.p99_us
        );
        println!(
            "  log             {}: {:.0} MiB, {} syncs, p99 {} µs",
            self.log.backend,
            mib(self.log.bytes),
            self.log.syncs,
            self.log.sync_p99_us
        );
        println!(
            "  disk            {:.0} MiB written by a node, {} times the transactions; {:.0} bytes of log a transaction",
            mib(self.disk.written_bytes),
            self.disk.amplification,
            self.disk.log_bytes_per_transaction
        );
        println!(
            "  CPU             {} s on {} cores; {} µs a transaction and node",
            self.cpu_seconds, self.cores, self.cpu_us_per_transaction_and_node
        );
        for (stage, us) in &self.stages_us_per_transaction {
            println!("    {stage:<13} {us:>8} µs");
        }
        println!("  memory          {:.0} MiB, the largest node", mib(self.rss_bytes_max));
        if self.signed_during_run > 0 {
            println!(
                "  note            {} transactions were signed during the run, which took time from the validators",
                self.signed_during_run
            );
        }
    }
}

/// The highest height that every answering node has, and whether all nodes have the same header there.
async fn compare_headers(network: &Network, nodes: &[Option<NodeStatus>]) -> (Option<u64>, bool) {
    let Some(common) = nodes.iter().flatten().map(|status| status.height.0).min() else { return (None, false) };
    let mut digests: Vec<Option<Digest>> = Vec::new();
    for validator in network.validators() {
        let header = validator.rpc().header(Some(Height(common))).await.ok().flatten();
        digests.push(header.map(|header| header.digest));
    }
    let agree = digests.first().is_some_and(|first| first.is_some() && digests.iter().all(|digest| digest == first));
    (Some(common), agree)
}

/// What each engine did on all nodes.
fn engines(all: &[&NodeStatus]) -> Vec<EngineStatus> {
    let mut sums: Vec<EngineStatus> = Vec::new();
    for found in all.iter().flat_map(|status| &status.verify.engines) {
        match sums.iter_mut().find(|sum| sum.engine == found.engine) {
            Some(sum) => {
                sum.items += found.items;
                sum.batches += found.batches;
                sum.invalid += found.invalid;
                sum.run_ms += found.run_ms;
            }
            None => sums.push(found.clone()),
        }
    }
    sums
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
