//! `stele bench state`: execution with its state in RocksDB, and what a snapshot of that state costs and disturbs.
//!
//! The ledger, the tables and the reader of snapshots are those of a node; signatures, consensus and the log are not there.
//! Beside it stands RocksDB alone: batches of as many puts of the same size, and its own checkpoint of the same rows.
//! Commits come at a steady pace while the snapshot is read, and as many before it, so that both see the same machine.

mod node;
mod peer;
mod report;

use super::destination::Destination;
use super::execute::load::{Kind, Load, Shape};
use super::{BenchError, failed_at, note};
use clap::Args;
use node::Node;
use report::{Report, text};
use std::path::{Path, PathBuf};
use std::time::Duration;

const IDENTITY: [u8; 32] = [7; 32];

/// Measure execution over RocksDB, and snapshots of the state.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  stele bench state
  stele bench state --json state.json --accounts 1000000 --dir /var/lib/bench

Figures depend on what else the machine does: the report names its load before and after.")]
pub struct StateArgs {
    /// Accounts of the state.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=20_000_000))]
    accounts: u32,
    /// Accounts that transact in the rows of warm accounts: each was touched before.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(100..=200_000))]
    warm: u32,
    /// Transfers of a commit while rates are measured.
    #[arg(long, default_value_t = 4_096, value_parser = clap::value_parser!(u32).range(64..=16_384))]
    commit: u32,
    /// Commits a second while a snapshot is read, of 200 transfers each.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pace: u32,
    /// Directory for the databases; a folder in it is made and removed [default: that for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// File for the JSON; `-` is standard output, in place of the table.
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
}

/// Measures and tells.
pub(super) fn run(args: &StateArgs) -> Result<(), BenchError> {
    let destination = Destination::look(args.json.as_deref(), None, &[])?;
    let root = args.dir.clone().unwrap_or_else(std::env::temp_dir).join(format!("stele-bench-{}", std::process::id()));
    std::fs::create_dir_all(&root).map_err(failed_at(&root))?;
    let report = measure(args, &root);
    drop(std::fs::remove_dir_all(&root));
    let report = report?;
    let json = serde_json::to_string_pretty(&report).expect("numbers, strings and lists have a JSON form") + "\n";
    destination.write(&text(&report), &json, &[])
}

fn load_average() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned()
}

fn measure(args: &StateArgs, root: &Path) -> Result<Report, BenchError> {
    let load_before = load_average();
    note(&format!("a state of {} accounts", args.accounts));
    let (pace, small) = (args.pace as usize, 200);
    // Twelve seconds before the snapshot and as long for it.
    let interval = (12 * pace).max(16) as u64;
    let counted = 24;
    let big = Shape {
        kind: Kind::Transfer,
        accounts: args.accounts,
        active: None,
        commit: args.commit as usize,
        commits: counted,
        shards: 1,
        cross: None,
        snapshots: 0,
    };
    let mut rates = Vec::new();
    for (active, cold_or_warm) in [(None, "any account"), (Some(args.warm), "warm accounts")] {
        let load = Load::draw(Shape { active, ..big });
        for (rows, all) in [("rows of the state", false), ("all rows of a commit", true)] {
            let engine = format!("stele, {rows}, {cold_or_warm}");
            note(&engine);
            let mut node = Node::start(&root.join(rates.len().to_string()), &load, 0)?;
            rates.push(node.rate(engine, &load, all));
        }
    }
    note("RocksDB alone");
    rates.push(peer::rate(&root.join("rocksdb"), args.commit as usize, counted)?);
    let rocksdb_checkpoint_seconds = peer::checkpoint(root, args.accounts)?;

    note("a snapshot, with nothing beside it");
    let paced = Shape { commit: small, commits: 2 * interval as usize, snapshots: interval, ..big };
    let load = Load::draw(paced);
    let mut node = Node::start(&root.join("paced"), &load, interval)?;
    let snapshot = node.read(root, rocksdb_checkpoint_seconds)?;
    note("a snapshot under commits");
    let meanwhile = node.meanwhile(&load, interval, Duration::from_secs_f64(1.0 / pace as f64));
    Ok(Report {
        kind: "state",
        version: env!("CARGO_PKG_VERSION"),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        accounts: args.accounts,
        warm: args.warm,
        commit: args.commit,
        load_before,
        load_after: load_average(),
        rates,
        snapshot,
        meanwhile,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_state_is_measured_to_the_end() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let args = StateArgs { accounts: 1_000, warm: 100, commit: 64, pace: 1_000, dir: None, json: None };
        let load = Shape {
            kind: Kind::Transfer,
            accounts: args.accounts,
            active: None,
            commit: 10,
            commits: 40,
            shards: 1,
            cross: None,
            snapshots: 16,
        };
        let load = Load::draw(load);
        let mut node = Node::start(dir.path(), &load, 16).expect("a node");
        let snapshot = node.read(dir.path(), 0.0).expect("a state");
        assert_eq!(snapshot.rows, 1_000);
        let meanwhile = node.meanwhile(&load, 16, Duration::from_micros(100));
        assert!(meanwhile.during.commits > 0 && meanwhile.snapshot_seconds > 0.0);
    }
}
