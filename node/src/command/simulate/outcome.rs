//! What came out of one run or of many, as text and as JSON.

use consensus::sim::traffic::Amount;
use consensus::sim::{Latency, MessageKind, Report, Violation};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;
use types::{Digest, Hasher};

const HOUR_MS: f64 = 3_600_000.0;

/// Sums over runs.
#[derive(Debug)]
pub struct Outcome {
    first_seed: u64,
    runs: u64,
    simulated_ms: u64,
    nodes: usize,
    commits: Vec<u64>,
    /// How many transactions took so many tenths of a millisecond.
    latencies: BTreeMap<u64, u64>,
    latency_sum_us: u128,
    /// Of the first run that has any, by name.
    windows: Vec<(String, Latency)>,
    /// Bytes and messages by kind, over all runs.
    sent: BTreeMap<&'static str, Amount>,
    /// By seed.
    violations: Vec<(u64, Violation)>,
    traces: BTreeMap<u64, Digest>,
    marks: BTreeMap<&'static str, u64>,
    /// Of many runs.
    wall: Option<Duration>,
}

impl Outcome {
    /// Before the first run.
    pub fn new(first_seed: u64) -> Self {
        Self {
            first_seed,
            runs: 0,
            simulated_ms: 0,
            nodes: 0,
            commits: Vec::new(),
            latencies: BTreeMap::new(),
            latency_sum_us: 0,
            windows: Vec::new(),
            sent: BTreeMap::new(),
            violations: Vec::new(),
            traces: BTreeMap::new(),
            marks: BTreeMap::new(),
            wall: None,
        }
    }

    /// Of a single run.
    pub fn of(report: &Report) -> Self {
        let mut outcome = Self::new(report.seed);
        outcome.add(report);
        outcome
    }

    /// A run is over.
    pub fn add(&mut self, report: &Report) {
        self.runs += 1;
        self.simulated_ms += report.simulated_ms;
        self.nodes = report.nodes;
        self.commits.resize(report.nodes, 0);
        self.commits.iter_mut().zip(&report.commits).for_each(|(sum, commits)| *sum += commits);
        for latency_us in &report.latencies_us {
            *self.latencies.entry(latency_us.div_ceil(100)).or_default() += 1;
            self.latency_sum_us += u128::from(*latency_us);
        }
        if self.windows.is_empty() {
            self.windows.clone_from(&report.windows);
        }
        for (kind, name) in MessageKind::ALL {
            *self.sent.entry(name).or_default() += report.traffic.of(kind);
        }
        self.violations.extend(report.violations.iter().map(|violation| (report.seed, violation.clone())));
        self.traces.insert(report.seed, report.trace_digest);
        report.marks.iter().for_each(|(name, count)| *self.marks.entry(name).or_default() += count);
    }

    /// All runs are over.
    pub fn finish(&mut self, wall: Duration) {
        self.wall = Some(wall);
    }

    /// Whether nothing happened that must not.
    pub fn is_good(&self) -> bool {
        self.violations.is_empty()
    }

    /// What happened, with the seed.
    pub fn violations(&self) -> &[(u64, Violation)] {
        &self.violations
    }

    /// A line for a terminal.
    pub fn progress(&self, elapsed: Duration) -> String {
        let (runs, hours, violations) = (self.runs, self.committee_hours(), self.violations.len());
        format!("{runs} runs, {hours:.1} committee-hours in {} s, {violations} violations", elapsed.as_secs())
    }

    /// One object.
    pub fn json(&self, scenario: &str) -> Value {
        let marks: Map<String, Value> = self.marks.iter().map(|(name, count)| ((*name).into(), json!(count))).collect();
        let many = self.wall.is_some();
        let violation = |(seed, violation): &(u64, Violation)| {
            if many { format!("seed {seed}: {violation}") } else { violation.to_string() }
        };
        let mut object = json!({
            "scenario": scenario,
            "seed": self.first_seed,
            "simulated_seconds": self.simulated_ms as f64 / 1_000.0,
            "nodes": self.nodes,
            "commits": self.commits,
            "latency_ms": {
                "p50": self.percentile_ms(500),
                "p99": self.percentile_ms(990),
                "mean": self.mean_ms(),
            },
            "violations": self.violations.iter().map(violation).collect::<Vec<String>>(),
            "trace_digest": self.trace_digest().to_string(),
            "marks": marks,
        });
        if !self.windows.is_empty() && !many {
            let ms = |us: u64| us as f64 / 1e3;
            let window = |(name, latency): &(String, Latency)| {
                let (p50, p99, mean) = (ms(latency.p50_us), ms(latency.p99_us), ms(latency.mean_us));
                json!({ "name": name, "p50": p50, "p99": p99, "mean": mean })
            };
            object["windows_ms"] = self.windows.iter().map(window).collect();
        }
        let sent = self.sent.iter().filter(|(_, amount)| amount.messages > 0);
        object["sent"] = sent
            .map(|(name, amount)| ((*name).into(), json!({ "messages": amount.messages, "bytes": amount.bytes })))
            .collect::<Map<String, Value>>()
            .into();
        if let Some(wall) = self.wall {
            object["runs"] = json!(self.runs);
            object["committee_hours"] = json!(self.committee_hours());
            object["wall_seconds"] = json!(wall.as_secs_f64());
        }
        object
    }

    /// The same for a reader.
    pub fn text(&self, scenario: &str) -> String {
        let mut text = String::new();
        let seconds = self.simulated_ms as f64 / 1_000.0;
        let _ = match self.wall {
            None => writeln!(text, "{scenario}, seed {}: {seconds} simulated seconds", self.first_seed),
            Some(wall) => writeln!(
                text,
                "{scenario}, {} runs from seed {}: {:.2} committee-hours in {:.1} s",
                self.runs,
                self.first_seed,
                self.committee_hours(),
                wall.as_secs_f64()
            ),
        };
        let heights = self.commits.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
        let _ = writeln!(text, "commits     {heights}");
        let (p50, p99, mean) = (self.percentile_ms(500), self.percentile_ms(990), self.mean_ms());
        let count: u64 = self.latencies.values().sum();
        let _ = writeln!(text, "latency     p50 {p50} ms, p99 {p99} ms, mean {mean} ms, of {count} transactions");
        if self.wall.is_none() {
            for (name, latency) in &self.windows {
                let [p50, p99, mean] =
                    [latency.p50_us, latency.p99_us, latency.mean_us].map(|us| us.div_ceil(100) as f64 / 10.0);
                let _ = writeln!(text, "{name:<11} p50 {p50} ms, p99 {p99} ms, mean {mean} ms");
            }
        }
        let reached: Vec<String> =
            self.marks.iter().filter(|(_, count)| **count > 0).map(|(name, count)| format!("{name} {count}")).collect();
        let _ = writeln!(text, "reached     {}", reached.join(", "));
        let never: Vec<&str> = self.marks.iter().filter(|(_, count)| **count == 0).map(|(name, _)| *name).collect();
        let _ = writeln!(text, "not reached {}", never.join(", "));
        let _ = writeln!(text, "trace       {}", self.trace_digest());
        let _ = writeln!(text, "violations  {}", self.violations.len());
        text
    }

    fn committee_hours(&self) -> f64 {
        self.simulated_ms as f64 / HOUR_MS
    }

    /// In milliseconds, to a tenth.
    fn percentile_ms(&self, permille: u64) -> f64 {
        let count: u64 = self.latencies.values().sum();
        let rank = count.saturating_sub(1) * permille / 1_000;
        let mut below = 0;
        let at = self.latencies.iter().find(|(_, count)| {
            below += **count;
            below > rank
        });
        at.map_or(0.0, |(tenths, _)| *tenths as f64 / 10.0)
    }

    fn mean_ms(&self) -> f64 {
        let count: u64 = self.latencies.values().sum();
        let mean_us = self.latency_sum_us.checked_div(count.into()).unwrap_or(0);
        mean_us.div_ceil(100) as f64 / 10.0
    }

    /// Of one run its own; of many the digest of all, by seed.
    fn trace_digest(&self) -> Digest {
        match self.traces.first_key_value() {
            Some((_, digest)) if self.wall.is_none() => *digest,
            _ => {
                let traces = self.traces.values();
                traces.fold(Hasher::new("stele/traces/1"), |hasher, digest| hasher.with(digest.as_bytes())).finish()
            }
        }
    }
}
