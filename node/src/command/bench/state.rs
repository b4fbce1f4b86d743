//! `stele bench state`: execution with its state in RocksDB, and what a snapshot of that state costs and disturbs.
//!
//! The ledger, the tables and the reader of snapshots are those of a node; signatures, consensus and the log are not there.
//! Beside it stands RocksDB alone: batches of as many puts of the same size, and its own checkpoint of the same rows.
//! Commits come at a steady pace while the snapshot is read, and as many before it, so that both see the same machine.

use super::execute::load::{Kind, Load, Shape};
use super::{BenchError, failed_at, note};
use crate::execution::StateRoots;
use crate::replica::recovery::write_genesis;
use crate::replica::serve::Archive;
use crate::state_sync::pack;
use crate::state_sync::snapshots::{Service, Snapshots};
use crate::tables::{Applied, Place, Tables};
use clap::Args;
use ledger::{Approvals, CommitInput, Executed, Ledger, LedgerOptions, StateReader, claims_id};
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{DB, WriteBatch, WriteOptions};
use serde::Serialize;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use storage::log::{Backend, Log, LogOptions};
use storage::state::{StateDb, StateOptions};
use types::{Digest, Height, SnapshotPlan};

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

/// Transfers a second, with all CPU time.
#[derive(Clone, Copy, Debug, Serialize)]
struct Rate {
    engine: &'static str,
    per_s: f64,
    per_cpu_s: f64,
    transfers: usize,
}

/// Times of commits, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Times {
    commits: usize,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
}

/// A state that is read.
#[derive(Clone, Copy, Debug, Serialize)]
struct Snapshot {
    rows: u64,
    bytes: u64,
    packed_bytes: u64,
    chunks: u32,
    /// With nothing beside it.
    seconds: f64,
    cpu_s: f64,
    cpu_s_per_million_rows: f64,
    packed_bytes_per_row: f64,
    /// RocksDB's own checkpoint of as many rows, which takes neither root nor order.
    rocksdb_checkpoint_seconds: f64,
}

/// Commits before and while a snapshot is read.
#[derive(Clone, Copy, Debug, Serialize)]
struct Meanwhile {
    normal: Times,
    during: Times,
    p99_of_normal: f64,
    snapshot_seconds: f64,
    /// Milliseconds that execution waited for the root.
    waited_ms: u64,
}

#[derive(Clone, Debug, Serialize)]
struct Report {
    kind: &'static str,
    version: &'static str,
    cores: usize,
    accounts: u32,
    commit: u32,
    load_before: String,
    load_after: String,
    rates: Vec<Rate>,
    snapshot: Snapshot,
    meanwhile: Meanwhile,
}

/// Measures and tells.
pub(super) fn run(args: &StateArgs) -> Result<(), BenchError> {
    let root = args.dir.clone().unwrap_or_else(std::env::temp_dir).join(format!("stele-bench-{}", std::process::id()));
    std::fs::create_dir_all(&root).map_err(failed_at(&root))?;
    let report = measure(args, &root);
    drop(std::fs::remove_dir_all(&root));
    let report = report?;
    let json = serde_json::to_string_pretty(&report).expect("numbers, strings and lists have a JSON form") + "\n";
    match &args.json {
        Some(file) if file.as_os_str() == "-" => print!("{json}"),
        Some(file) => {
            std::fs::write(file, json).map_err(failed_at(file))?;
            print!("{}", text(&report));
        }
        None => print!("{}", text(&report)),
    }
    Ok(())
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
        commit: args.commit as usize,
        commits: counted,
        shards: 1,
        cross: None,
        snapshots: 0,
    };
    let load = Load::draw(big);
    let mut rates = Vec::new();
    for (engine, all) in [("stele, rows of the state", false), ("stele, all rows of a commit", true)] {
        note(engine);
        let mut node = Node::start(&root.join(if all { "all" } else { "some" }), &load, 0)?;
        rates.push(node.rate(engine, &load, all));
    }
    note("RocksDB alone");
    rates.push(rocksdb_rate(&root.join("rocksdb"), args.commit as usize, counted)?);
    let rocksdb_checkpoint_seconds = rocksdb_checkpoint(root, args.accounts)?;
    drop(load);

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
        commit: args.commit,
        load_before,
        load_after: load_average(),
        rates,
        snapshot,
        meanwhile,
    })
}

/// As much of a node as executes.
struct Node {
    ledger: Ledger,
    tables: Tables,
    roots: StateRoots,
    snapshots: Snapshots,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Node {
    fn start(dir: &Path, load: &Load, interval: u64) -> Result<Self, BenchError> {
        let failed = |what: String| BenchError::State { what };
        let database = StateDb::open(dir.join("state"), IDENTITY, StateOptions::default());
        let tables = Tables::new(Arc::new(database.map_err(|error| failed(error.to_string()))?));
        let reader: Arc<dyn StateReader> = Arc::new(tables.clone());
        let options = LedgerOptions { parallel_min: usize::MAX, ..LedgerOptions::default() };
        let (ledger, start) =
            Ledger::genesis(&load.genesis, NonZeroU16::MIN, reader, options).expect("a sound genesis");
        write_genesis(&tables, &start).map_err(|error| failed(error.to_string()))?;
        let mut log = LogOptions::new(dir.join("log"), IDENTITY);
        (log.backend, log.segment_bytes) = (Backend::Threaded, 1 << 20);
        let log = Log::open(log, None, &mut |_| Ok(())).map_err(|error| failed(error.to_string()))?;
        let archive = Archive::new(load.genesis.chain_id(), Arc::new(log), tables.clone());
        let mut parameters = load.genesis.parameters.clone();
        parameters.snapshot_interval_heights = interval;
        let service = Service { bytes_per_second: 1 << 30, parameters, anchor: Height(0), dir: dir.join("snapshots") };
        let (snapshots, thread) = Snapshots::start(service, tables.clone(), archive).map_err(failed_at(dir))?;
        let roots = StateRoots::recovered(snapshots.clone(), tables.clone(), &ledger);
        let roots = roots.map_err(|error| failed(error.to_string()))?;
        Ok(Self { ledger, tables, roots, snapshots, thread: Some(thread) })
    }

    /// Executes a commit and writes its rows: those of the state, or all.
    fn commit(&mut self, input: &CommitInput, all: bool) -> Executed {
        let plan = SnapshotPlan::of(self.ledger.epoch());
        let state_root = self.roots.due(plan, input.height).expect("the state can be read");
        let executed = self.ledger.execute(CommitInput { state_root, ..input.clone() }).expect("the state can be read");
        let mut batch = self.tables.batch();
        executed.changes.iter().for_each(|(key, value)| batch.value(key, value.as_ref()));
        executed.live.added.iter().for_each(|bucket| batch.live_bucket(bucket));
        executed.live.dropped.iter().for_each(|height| batch.drop_live_bucket(*height));
        self.roots.write(&mut batch, &executed, plan).expect("the state can be read");
        batch.header(&executed.header);
        if all {
            batch.height(&executed.header, None, &executed.receipts);
            let places = (0..).map(|index| Place { height: input.height, index });
            for (receipt, place) in executed.receipts.iter().zip(places).filter(|(one, _)| claims_id(one.outcome)) {
                batch.place(&receipt.transaction, place);
            }
        }
        let ledger = executed.checkpoint.clone();
        batch.applied(&Applied { ledger, consensus: None, replay_from: 0, committed: 0, rejected: 0 });
        self.tables.commit(batch).expect("there is room on the disk");
        self.ledger.persisted(input.height);
        self.roots.written(&executed);
        executed
    }

    fn rate(&mut self, engine: &'static str, load: &Load, all: bool) -> Rate {
        // The first quarter warms caches.
        let warm_up = load.measured.len() / 4;
        let (mut began, mut cpu, mut transfers) = (Instant::now(), super::execute::cpu_time(), 0);
        for (index, input) in load.measured.iter().enumerate() {
            if index == warm_up {
                (began, cpu) = (Instant::now(), super::execute::cpu_time());
            }
            let executed = self.commit(input, all);
            assert!(executed.receipts.iter().all(|receipt| receipt.outcome.is_applied()), "transfers are sound");
            transfers += if index >= warm_up { input.transactions.len() } else { 0 };
        }
        let spent = super::execute::cpu_time().saturating_sub(cpu);
        let per = |time: Duration| transfers as f64 / time.as_secs_f64();
        Rate { engine, per_s: per(began.elapsed()), per_cpu_s: per(spent), transfers }
    }

    /// Reads the state as it is, with nothing beside it.
    fn read(&self, root: &Path, rocksdb_checkpoint_seconds: f64) -> Result<Snapshot, BenchError> {
        // That of genesis is read at the start.
        while self.snapshots.root_if_known(Height(0)).is_none() {
            std::thread::sleep(Duration::from_millis(50));
        }
        let (dir, database, go_on) = (root.join("pack"), self.tables.database(), AtomicBool::new(false));
        let header = self.ledger.tip().1.clone();
        let (began, cpu) = (Instant::now(), super::execute::cpu_time());
        let read = pack::pack(&database.snapshot(), &header, &Approvals::default(), Height(1), Some(&dir), &go_on);
        let (manifest, _) = read.map_err(|error| BenchError::State { what: error.to_string() })?;
        let (seconds, cpu_s) =
            (began.elapsed().as_secs_f64(), super::execute::cpu_time().saturating_sub(cpu).as_secs_f64());
        let packed = pack::Pack::open(&dir).map_err(|error| BenchError::State { what: error.to_string() })?;
        let summary = &manifest.summary;
        Ok(Snapshot {
            rows: summary.rows,
            bytes: summary.bytes,
            packed_bytes: packed.packed_bytes(),
            chunks: summary.chunks,
            seconds,
            cpu_s,
            cpu_s_per_million_rows: cpu_s * 1e6 / summary.rows as f64,
            packed_bytes_per_row: packed.packed_bytes() as f64 / summary.rows as f64,
            rocksdb_checkpoint_seconds,
        })
    }

    /// Commits at a pace, one interval of them before a snapshot and one while and after it is read.
    fn meanwhile(&mut self, load: &Load, interval: u64, pace: Duration) -> Meanwhile {
        let (mut normal, mut during, mut taken) = (Vec::new(), Vec::new(), None);
        let mut snapshot_seconds = 0.0;
        let begun = Instant::now();
        for (index, input) in load.measured.iter().enumerate() {
            std::thread::sleep((pace * index as u32).saturating_sub(begun.elapsed()));
            let began = Instant::now();
            self.commit(input, true);
            let spent = began.elapsed();
            let height = input.height.0;
            if height == interval {
                taken = Some(Instant::now());
            }
            match taken {
                // The first second is a start.
                None if height > pace_heights(pace) => normal.push(spent),
                None => {}
                Some(at) if snapshot_seconds == 0.0 => {
                    during.push(spent);
                    if self.snapshots.root_if_known(Height(interval)).is_some() {
                        snapshot_seconds = at.elapsed().as_secs_f64();
                    }
                }
                Some(_) => {}
            }
        }
        let (normal, during) = (times(normal), times(during));
        let p99_of_normal = during.p99_us as f64 / normal.p99_us as f64;
        let waited_ms = self.snapshots.waited().as_millis() as u64;
        Meanwhile { normal, during, p99_of_normal, snapshot_seconds, waited_ms }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.snapshots.stop();
        drop(self.thread.take().map(std::thread::JoinHandle::join));
    }
}

fn pace_heights(pace: Duration) -> u64 {
    (1.0 / pace.as_secs_f64()) as u64
}

fn times(mut spent: Vec<Duration>) -> Times {
    spent.sort_unstable();
    let at = |share: f64| {
        let index = ((spent.len() as f64 * share) as usize).min(spent.len().saturating_sub(1));
        spent.get(index).map_or(0, |time| time.as_micros() as u64)
    };
    Times { commits: spent.len(), p50_us: at(0.5), p99_us: at(0.99), max_us: at(1.0) }
}

fn value(index: u32) -> ([u8; 32], [u8; 16]) {
    (*Digest::sha256(&index.to_le_bytes()).as_bytes(), [index as u8; 16])
}

/// What RocksDB alone takes for two puts a transfer, in one batch a commit, without its log.
fn rocksdb_rate(dir: &Path, commit: usize, commits: usize) -> Result<Rate, BenchError> {
    let failed = |error: rocksdb::Error| BenchError::State { what: error.to_string() };
    let db = DB::open_default(dir).map_err(failed)?;
    let mut write = WriteOptions::default();
    write.disable_wal(true);
    let (began, cpu) = (Instant::now(), super::execute::cpu_time());
    for height in 0..commits {
        let mut batch = WriteBatch::default();
        for put in 0..2 * commit {
            let (key, value) = value((height * 2 * commit + put) as u32);
            batch.put(key, value);
        }
        db.write_opt(batch, &write).map_err(failed)?;
    }
    let (transfers, spent) = (commit * commits, super::execute::cpu_time().saturating_sub(cpu));
    let per = |time: Duration| transfers as f64 / time.as_secs_f64();
    let engine = "RocksDB, two puts a transfer and nothing else";
    Ok(Rate { engine, per_s: per(began.elapsed()), per_cpu_s: per(spent), transfers })
}

/// RocksDB's own checkpoint of as many rows: a flush and hard links.
fn rocksdb_checkpoint(root: &Path, rows: u32) -> Result<f64, BenchError> {
    let failed = |error: rocksdb::Error| BenchError::State { what: error.to_string() };
    let db = DB::open_default(root.join("rows")).map_err(failed)?;
    for first in (0..rows).step_by(10_000) {
        let mut batch = WriteBatch::default();
        for (key, value) in (first..rows.min(first + 10_000)).map(value) {
            batch.put(key, value);
        }
        db.write(batch).map_err(failed)?;
    }
    let began = Instant::now();
    let checkpoint = Checkpoint::new(&db).map_err(failed)?;
    checkpoint.create_checkpoint(root.join("checkpoint")).map_err(failed)?;
    Ok(began.elapsed().as_secs_f64())
}

fn text(report: &Report) -> String {
    use std::fmt::Write;
    let Report { snapshot, meanwhile, .. } = report;
    let mut out = format!(
        "# State\n\n{} accounts, {} cores; load average before: {}, after: {}.\n\n\
         | engine | transfers/s | transfers per CPU second |\n|---|---|---|\n",
        report.accounts, report.cores, report.load_before, report.load_after
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_state_is_measured_to_the_end() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let args = StateArgs { accounts: 1_000, commit: 64, pace: 1_000, dir: None, json: None };
        let load = Shape {
            kind: Kind::Transfer,
            accounts: args.accounts,
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
