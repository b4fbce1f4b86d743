//! `stele bench log`: what it costs to make a record durable, in the log, in RocksDB's synced write-ahead log, and with a
//! bare `pwrite` and `fdatasync`, side by side.
//!
//! For each size of record and number of writers the engines take turns, a short round each, again and again, so that
//! what else the machine and its disk do hits all of them; how much that was stands beside each row. At the end each log is
//! read back as a start does it, and its files as they are beside that.

mod drawing;
mod engines;
mod round;
mod scan;
#[cfg(test)]
mod tests;
mod text;

use super::pages::{PageArgs, Pages};
use super::{BenchError, note};
use crate::config::LogSection;
use clap::Args;
pub(super) use engines::EngineFault;
use engines::{BareFile, Engine, Kind};
use hdrhistogram::Histogram;
use round::{Tally, histogram, noise, record};
use scan::Scan;
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Stem of the files that `--out` makes.
const STEM: &str = "log";
/// What a round takes before the clock starts, as part of a round.
const WARM_UP_SHARE: u32 = 4;

/// Measure what it costs to make a record durable, in the log and in its peers.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  stele bench log
  stele bench log --dir /var/lib/stele --json log.json
  stele bench log --record-bytes 512 --writers 1,16,256 --seconds 2 --json -
  stele bench log --groups-in-flight 4 --dir /mnt/nvme

Every writer waits for its record before it makes the next. Run it on the disk that the ledger will lie on, and with
nothing else on the machine: the column `others` says how many cores other processes kept busy meanwhile.
--out writes log.json, .md and .svg.")]
pub struct LogArgs {
    /// Directory on the disk in question; a new one is made in it and removed at the end.
    #[arg(long, default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    /// Sizes of a record, by comma.
    #[arg(long, value_delimiter = ',', default_values_t = [512, 131_072],
        value_parser = clap::value_parser!(u32).range(1..=8_388_608), value_name = "BYTES")]
    record_bytes: Vec<u32>,
    /// Writers at the same time, by comma.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64],
        value_parser = clap::value_parser!(u32).range(1..=1_024), value_name = "N")]
    writers: Vec<u32>,
    /// Seconds for each engine at each size and number of writers.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=3_600), value_name = "N")]
    seconds: u32,
    /// Rounds that these seconds are cut into.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000), value_name = "N")]
    rounds: u32,
    /// Size of the log that is read back, for each size of a record.
    #[arg(long, default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(1..=65_536), value_name = "MIB")]
    scan_mib: u32,
    /// Groups of records that the log has on their way to the disk at the same time, as `log.groups_in_flight` of a node.
    #[arg(long, default_value_t = LogSection::default().groups_in_flight,
        value_parser = clap::value_parser!(u32).range(1..=64), value_name = "N")]
    groups_in_flight: u32,
    #[command(flatten)]
    pages: PageArgs,
}

/// A line of the result.
#[derive(Clone, Debug, Serialize)]
struct Row {
    engine: Kind,
    record_bytes: u32,
    writers: u32,
    records_per_s: f64,
    bytes_per_s: f64,
    /// From the call until the record is durable.
    p50_us: u64,
    p99_us: u64,
    /// CPU time of the process for a GB of records (10^9 bytes).
    cpu_s_per_gb: f64,
    /// Cores that other processes kept busy meanwhile.
    other_cores: f64,
    /// Records a second, as a multiple of RocksDB's in the same rounds; none for RocksDB.
    of_rocksdb: Option<f64>,
}

/// How long a group of the log took to become durable, and a bare `pwrite` and `fdatasync` of as many bytes, in turn.
#[derive(Clone, Debug, Serialize)]
struct GroupCommit {
    record_bytes: u32,
    writers: u32,
    groups: u64,
    /// Mean of the groups, padding included; what the bare file writes.
    group_bytes: u64,
    p50_us: u64,
    p99_us: u64,
    bare_p50_us: u64,
    bare_p99_us: u64,
}

/// The whole result.
#[derive(Clone, Debug, Serialize)]
struct Durability {
    kind: &'static str,
    seconds: u32,
    rounds: u32,
    cores: usize,
    version: &'static str,
    /// How the log writes here.
    backend: &'static str,
    /// Whether past the page cache.
    direct: bool,
    groups_in_flight: u32,
    /// A writer is a thread.
    results: Vec<Row>,
    group_commits: Vec<GroupCommit>,
    /// The log alone, its writers sharing one thread that it calls back, as in a node.
    callbacks: Vec<Row>,
    /// The logs read back.
    scans: Vec<Scan>,
}

/// Measures and tells.
pub(super) fn run(args: &LogArgs) -> Result<(), BenchError> {
    let destination = args.pages.look(STEM)?;
    let result = measure(args)?;
    let (table, markdown, svg) = (text::table(&result), text::markdown(&result), drawing::svg(&result));
    Pages { result: &result, table, markdown, svg }.publish(destination)
}

fn measure(args: &LogArgs) -> Result<Durability, BenchError> {
    let mut result = Durability {
        kind: "log",
        seconds: args.seconds,
        rounds: args.rounds,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        version: env!("CARGO_PKG_VERSION"),
        backend: "",
        direct: false,
        groups_in_flight: args.groups_in_flight,
        results: Vec::new(),
        group_commits: Vec::new(),
        callbacks: Vec::new(),
        scans: Vec::new(),
    };
    for record_bytes in &args.record_bytes {
        for writers in &args.writers {
            note(&format!("records of {record_bytes} bytes, {writers} at a time"));
            let directory = Scratch::make(&args.dir)?;
            let mut cell = Cell::open(&directory.0, *record_bytes, *writers, args.groups_in_flight)?;
            cell.measure(args, &mut result)?;
        }
        note(&format!("a log of records of {record_bytes} bytes, read back"));
        let directory = Scratch::make(&args.dir)?;
        let scan = scan::scan(&directory.0, *record_bytes, u64::from(args.scan_mib) << 20);
        result.scans.push(scan.map_err(failed(Kind::Stele))?);
    }
    Ok(result)
}

/// The engines at one size and number of writers.
struct Cell {
    record_bytes: u32,
    writers: u32,
    engines: Vec<(Kind, Engine, Tally)>,
    /// A log of its own, so that the groups of the other are those of threads.
    called_back: (Engine, Tally),
    bare: BareFile,
}

impl Cell {
    fn open(directory: &Path, record_bytes: u32, writers: u32, groups_in_flight: u32) -> Result<Self, BenchError> {
        let open = |kind: Kind, name: &str| {
            let path = directory.join(name);
            fs::create_dir(&path).map_err(super::failed_at(&path))?;
            Engine::open(kind, &path, groups_in_flight).map_err(failed(kind))
        };
        let engine = |kind: Kind| Ok::<_, BenchError>((kind, open(kind, kind.name())?, Tally::default()));
        Ok(Self {
            record_bytes,
            writers,
            engines: Kind::ALL.into_iter().map(engine).collect::<Result<_, _>>()?,
            called_back: (open(Kind::Stele, "callbacks")?, Tally::default()),
            bare: BareFile::make(&directory.join("bare")).map_err(EngineFault::from).map_err(failed(Kind::File))?,
        })
    }

    fn measure(&mut self, args: &LogArgs, result: &mut Durability) -> Result<(), BenchError> {
        let (bytes, writers) = (self.record_bytes as usize, self.writers as usize);
        let time = Duration::from_secs(args.seconds.into()) / args.rounds;
        for (kind, engine, _) in &self.engines {
            Tally::default().threads(engine, bytes, writers, time / WARM_UP_SHARE).map_err(failed(*kind))?;
        }
        let mut bare = histogram();
        for _ in 0..args.rounds {
            for (kind, engine, tally) in &mut self.engines {
                tally.threads(engine, bytes, writers, time).map_err(failed(*kind))?;
                if let Some(groups) = engine.groups() {
                    write_bare(&self.bare, groups.bytes / groups.count.max(1), time, &mut bare)?;
                }
            }
            let (engine, tally) = &mut self.called_back;
            tally.callbacks(engine, bytes, writers, time).map_err(failed(Kind::Stele))?;
        }
        self.tell(&bare, result);
        Ok(())
    }

    fn tell(&self, bare: &Histogram<u64>, result: &mut Durability) {
        let rocksdb = self.engines.iter().find(|(kind, ..)| *kind == Kind::RocksDb);
        let rocksdb = rocksdb.map_or(0.0, |(.., tally)| per_second(tally));
        let row = |engine, tally| row(engine, self.record_bytes, self.writers, tally, rocksdb);
        result.results.extend(self.engines.iter().map(|(kind, _, tally)| row(*kind, tally)));
        result.callbacks.push(row(Kind::Stele, &self.called_back.1));
        for groups in self.engines.iter().filter_map(|(_, engine, _)| engine.groups()) {
            (result.backend, result.direct) = (groups.backend, groups.direct);
            result.group_commits.push(GroupCommit {
                record_bytes: self.record_bytes,
                writers: self.writers,
                groups: groups.count,
                group_bytes: groups.bytes / groups.count.max(1),
                p50_us: groups.p50_us,
                p99_us: groups.p99_us,
                bare_p50_us: bare.value_at_quantile(0.5),
                bare_p99_us: bare.value_at_quantile(0.99),
            });
        }
    }
}

fn write_bare(file: &BareFile, bytes: u64, time: Duration, micros: &mut Histogram<u64>) -> Result<(), BenchError> {
    let bytes = noise(3, usize::try_from(bytes).unwrap_or(usize::MAX));
    let begun = Instant::now();
    while begun.elapsed() < time {
        let before = Instant::now();
        file.append(&bytes).map_err(EngineFault::from).map_err(failed(Kind::File))?;
        record(micros, before);
    }
    Ok(())
}

fn per_second(tally: &Tally) -> f64 {
    tally.records as f64 / tally.wall.as_secs_f64().max(f64::MIN_POSITIVE)
}

fn row(engine: Kind, record_bytes: u32, writers: u32, tally: &Tally, rocksdb: f64) -> Row {
    let records_per_s = per_second(tally);
    let gigabytes = tally.records as f64 * f64::from(record_bytes) / 1e9;
    Row {
        engine,
        record_bytes,
        writers,
        records_per_s,
        bytes_per_s: records_per_s * f64::from(record_bytes),
        p50_us: tally.micros.value_at_quantile(0.5),
        p99_us: tally.micros.value_at_quantile(0.99),
        cpu_s_per_gb: tally.cpu.as_secs_f64() / gigabytes,
        other_cores: tally.others.as_secs_f64() / tally.wall.as_secs_f64().max(f64::MIN_POSITIVE),
        of_rocksdb: (engine != Kind::RocksDb).then_some(records_per_s / rocksdb),
    }
}

fn failed(engine: Kind) -> impl FnOnce(EngineFault) -> BenchError {
    move |source| BenchError::Log { engine: engine.name(), source: Box::new(source) }
}

/// A directory that is removed with what is in it.
struct Scratch(PathBuf);

impl Scratch {
    fn make(parent: &Path) -> Result<Self, BenchError> {
        let path = parent.join(format!("stele-bench-log-{}", std::process::id()));
        fs::create_dir(&path).map_err(super::failed_at(&path))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            note(&format!("cannot remove {}: {error}", self.0.display()));
        }
    }
}
