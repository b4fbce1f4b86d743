//! What came out of a whole run, and whether it is what its scenario expects.

use crate::sim::Simulation;
use crate::sim::scenario::Scenario;
use crate::sim::traffic::Traffic;
use crate::sim::violation::Violation;
use types::Digest;

/// What a scenario expects of a run. Times in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// Median latency.
    pub latency_p50_ms_max: Option<u64>,
    /// Of a hundred, all but one are below.
    pub latency_p99_ms_max: Option<u64>,
    /// Mean latency.
    pub latency_mean_ms_max: Option<u64>,
    /// Median latency of every single second.
    pub second_p50_ms_max: Option<u64>,
    /// Commits at the highest honest node.
    pub commits_min: Option<u64>,
    /// How far the last running honest node may be behind at the end, in commits.
    pub lag_commits_max: Option<u64>,
    /// Epochs that have begun, the first among them.
    pub epochs_min: Option<u64>,
    /// Rules that must have been reached.
    pub marks: Vec<String>,
}

/// Some of a run whose latencies are taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// What it is called in reports.
    pub name: String,
    /// Transactions submitted from here on, in milliseconds.
    pub from_ms: u64,
    /// Up to here.
    pub until_ms: u64,
    /// What is expected of the median.
    pub latency_p50_ms_max: Option<u64>,
    /// What is expected of the mean.
    pub latency_mean_ms_max: Option<u64>,
}

/// Latencies in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Median.
    pub p50_us: u64,
    /// Of a hundred, all but one are below.
    pub p99_us: u64,
    /// Mean.
    pub mean_us: u64,
}

impl Latency {
    /// Of sorted values; zero of none.
    pub fn of(sorted_us: &[u64]) -> Self {
        let Some(last) = sorted_us.len().checked_sub(1) else { return Self::default() };
        let at = |permille: usize| sorted_us[last * permille / 1_000];
        Self { p50_us: at(500), p99_us: at(990), mean_us: sorted_us.iter().sum::<u64>() / sorted_us.len() as u64 }
    }
}

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// How far it came, in simulated milliseconds.
    pub simulated_ms: u64,
    /// Members of the committee.
    pub nodes: usize,
    /// The last height of each.
    pub commits: Vec<u64>,
    /// From submission to commit at the same honest node.
    pub latency: Latency,
    /// The same of each window, with its name.
    pub windows: Vec<(String, Latency)>,
    /// What must not happen and did; empty for a good run.
    pub violations: Vec<Violation>,
    /// Digest over everything that happened.
    pub trace_digest: Digest,
    /// How often each rare rule was reached, by name, over all nodes.
    pub marks: Vec<(&'static str, u64)>,
    /// The latency of each transaction that was committed at the node that it was submitted to; sorted.
    pub latencies_us: Vec<u64>,
    /// What all nodes have sent and checked.
    pub traffic: Traffic,
    /// Events that happened.
    pub steps: u64,
}

impl Simulation {
    /// Runs a scenario to its end, or to the first violation.
    pub fn run(scenario: Scenario) -> Report {
        let mut simulation = Self::new(scenario);
        let outcome = simulation.run_for(simulation.scenario.duration_ms);
        simulation.report(outcome)
    }

    /// What there is to say of a run that ended so.
    pub fn report(&self, outcome: Result<(), Violation>) -> Report {
        let size = self.scenario.size();
        let latencies = self.latencies_us(self.scenario.measure_from_ms);
        let mut report = Report {
            seed: self.scenario.seed,
            simulated_ms: self.now_ms(),
            nodes: size,
            commits: self.nodes[..size].iter().map(|node| node.height.0).collect(),
            latency: Latency::of(&latencies),
            windows: self
                .scenario
                .windows
                .iter()
                .map(|window| (window.name.clone(), self.latency_in(window)))
                .collect(),
            violations: Vec::new(),
            trace_digest: self.trace(),
            marks: self.marks(),
            latencies_us: latencies,
            traffic: *self.traffic(),
            steps: self.steps(),
        };
        match outcome {
            Err(violation) => report.violations.push(violation),
            Ok(()) => report.violations = self.disappointments(&report),
        }
        report
    }

    /// What the scenario expected and did not get.
    fn disappointments(&self, report: &Report) -> Vec<Violation> {
        let expect = &self.scenario.expect;
        let at_most = |what, bound: Option<u64>, found: u64| {
            let missed = bound.filter(|bound| found > *bound);
            missed.map(|bound| Violation::Missed { what, found, relation: "at most", bound })
        };
        let ms = |us: u64| us.div_ceil(1_000);
        let second = expect.second_p50_ms_max.map_or(0, |_| self.worst_second_us());
        let honest = self.nodes.iter().filter(|node| node.is_honest() && node.is_running());
        let lowest = honest.map(|node| node.height.0).min().unwrap_or(0);
        let top = self.top().0;
        let at_least = |what, bound: Option<u64>, found: u64| {
            let missed = bound.filter(|bound| found < *bound);
            missed.map(|bound| Violation::Missed { what, found, relation: "at least", bound })
        };
        let unreached = expect.marks.iter().filter(|name| {
            let mark = report.marks.iter().find(|(known, _)| known == name);
            mark.is_none_or(|(_, count)| *count == 0)
        });
        [
            at_most("the median latency in ms", expect.latency_p50_ms_max, ms(report.latency.p50_us)),
            at_most("the 99th percentile of latency in ms", expect.latency_p99_ms_max, ms(report.latency.p99_us)),
            at_most("the mean latency in ms", expect.latency_mean_ms_max, ms(report.latency.mean_us)),
            at_most("the median latency of the worst second in ms", expect.second_p50_ms_max, ms(second)),
            at_most("the distance of the last node in commits", expect.lag_commits_max, top - lowest.min(top)),
            at_least("the height", expect.commits_min, top),
            at_least("the number of epochs", expect.epochs_min, self.epochs() as u64),
        ]
        .into_iter()
        .flatten()
        .chain(self.scenario.windows.iter().zip(&report.windows).flat_map(|(window, (_, latency))| {
            [
                at_most("the median latency of a window in ms", window.latency_p50_ms_max, ms(latency.p50_us)),
                at_most("the mean latency of a window in ms", window.latency_mean_ms_max, ms(latency.mean_us)),
            ]
            .into_iter()
            .flatten()
        }))
        .chain(unreached.map(|name| Violation::Unreached(name.clone())))
        .collect()
    }

    /// Latency of what was submitted in a window.
    fn latency_in(&self, window: &Window) -> Latency {
        Latency::of(&self.latencies_between_us(window.from_ms, window.until_ms))
    }

    /// The highest of the medians of all seconds from the one on in which measuring starts.
    fn worst_second_us(&self) -> u64 {
        let first_us = self.scenario.measure_from_ms * 1_000;
        let mut seconds: Vec<Vec<u64>> = Vec::new();
        for (at_us, took_us) in self.nodes.iter().filter(|node| node.is_honest()).flat_map(|n| &n.clients.committed) {
            let Some(since_us) = at_us.checked_sub(first_us) else { continue };
            let second = (since_us / 1_000_000) as usize;
            if seconds.len() <= second {
                seconds.resize_with(second + 1, Vec::new);
            }
            seconds[second].push(*took_us);
        }
        let median = |second: &mut Vec<u64>| {
            second.sort_unstable();
            Latency::of(second).p50_us
        };
        seconds.iter_mut().map(median).max().unwrap_or(0)
    }
}
