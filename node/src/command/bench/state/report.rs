//! What was measured, as JSON and as a table.

use crate::command::bench::execute;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Transfers a second, with all CPU time.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Rate {
    pub engine: String,
    pub per_s: f64,
    pub per_cpu_s: f64,
    pub transfers: usize,
}

impl Rate {
    /// Of transfers that began at a moment, when the process had taken so much CPU time.
    pub(super) fn since(began: Instant, cpu: Duration, engine: String, transfers: usize) -> Self {
        let spent = execute::cpu_time().saturating_sub(cpu);
        let per = |time: Duration| transfers as f64 / time.as_secs_f64();
        Self { engine, per_s: per(began.elapsed()), per_cpu_s: per(spent), transfers }
    }
}

/// Times of commits, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Times {
    pub commits: usize,
    pub p50_us: u64,
    pub p99_us: u64,
    pub max_us: u64,
}

/// A state that is read.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Snapshot {
    pub rows: u64,
    pub bytes: u64,
    pub packed_bytes: u64,
    pub chunks: u32,
    /// With nothing beside it.
    pub seconds: f64,
    pub cpu_s: f64,
    pub cpu_s_per_million_rows: f64,
    pub packed_bytes_per_row: f64,
    /// RocksDB's own checkpoint of as many rows, which takes neither root nor order.
    pub rocksdb_checkpoint_seconds: f64,
}

/// Commits before and while a snapshot is read.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Meanwhile {
    pub normal: Times,
    pub during: Times,
    pub p99_of_normal: f64,
    pub snapshot_seconds: f64,
    /// Milliseconds that execution waited for the root.
    pub waited_ms: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub kind: &'static str,
    pub version: &'static str,
    pub cores: usize,
    pub accounts: u32,
    /// Accounts that transact in the rows of warm accounts.
    pub warm: u32,
    pub commit: u32,
    pub load_before: String,
    pub load_after: String,
    pub rates: Vec<Rate>,
    pub snapshot: Snapshot,
    pub meanwhile: Meanwhile,
}

pub(super) fn text(report: &Report) -> String {
    use std::fmt::Write;
    let Report { snapshot, meanwhile, .. } = report;
    let mut out = format!(
        "# State\n\n{} accounts, {} of them warm; {} cores; load average before: {}, after: {}.\n\n\
         | engine | transfers/s | transfers per CPU second |\n|---|---|---|\n",
        report.accounts, report.warm, report.cores, report.load_before, report.load_after
    );
    for rate in &report.rates {
        // Writing to a string does not fail.
        let _ = writeln!(out, "| {} | {:.0} | {:.0} |", rate.engine, rate.per_s, rate.per_cpu_s);
    }
    let _ = writeln!(
        out,
        "\nSnapshot of {} rows, {} bytes in {} chunks: {:.2} s, {:.2} CPU s ({:.2} a million rows), {} bytes packed \
         ({:.1} a row). RocksDB's checkpoint of as many rows, without root and order: {:.2} s.\n\n\
         | commits of 200 transfers | p50, µs | p99, µs | longest, µs |\n|---|---|---|---|",
        snapshot.rows,
        snapshot.bytes,
        snapshot.chunks,
        snapshot.seconds,
        snapshot.cpu_s,
        snapshot.cpu_s_per_million_rows,
        snapshot.packed_bytes,
        snapshot.packed_bytes_per_row,
        snapshot.rocksdb_checkpoint_seconds
    );
    for (name, times) in [("before", meanwhile.normal), ("while it is read", meanwhile.during)] {
        let _ =
            writeln!(out, "| {name} ({}) | {} | {} | {} |", times.commits, times.p50_us, times.p99_us, times.max_us);
    }
    let _ = writeln!(
        out,
        "\nRead in {:.2} s under commits; p99 {:.2} times the normal one; execution waited {} ms for the root.",
        meanwhile.snapshot_seconds, meanwhile.p99_of_normal, meanwhile.waited_ms
    );
    out
}
