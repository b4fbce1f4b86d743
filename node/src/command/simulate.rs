//! `stele simulate`: runs a scenario of the consensus simulator, for one seed or for many, and says what came out.
//!
//! Everything that decides lies in `consensus::sim`; here are files, threads, time and text. Deliberately absent: any
//! randomness that is not the seed's.

mod outcome;
mod seeds;

use clap::Args;
use consensus::sim::scenario::{Scenario, builtin, file};
use consensus::sim::{Report, Simulation};
use miette::Diagnostic;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use thiserror::Error;

use crate::config::InvalidToml;
use crate::result_file;
use outcome::Outcome;

/// Simulated milliseconds between two writes of the trace.
const TRACE_SLICE_MS: u64 = 1_000;
/// Something that must not happen did.
const EXIT_VIOLATION: u8 = 1;

/// Simulate a committee and check that nothing happens that must not.
#[derive(Clone, Debug, Args)]
#[command(
    long_about = "Simulate a committee: the real consensus core on simulated links, disks and clocks, with faults and
adversaries from a scenario file. The same scenario and seed give the same run, event for event.",
    after_help = "Examples:
  stele simulate --list
  stele simulate --scenario steady-10
  stele simulate --scenario my.toml --seed 7 --json
  stele simulate --scenario mix-4 --seeds 0..1000
  stele simulate --scenario mix-4 --seed 5 --trace events.log --svg dag.svg --rounds 40..60",
    after_long_help = "Scenario files are TOML; every key has a default but `about` and `duration_ms`:

  about = \"one of four loses power every second or so\"
  duration_ms = 60_000              # simulated
  measure_from_ms = 2_000           # latencies of transactions submitted from here on
  [committee]                       # size = 4, or stakes = [3, 1, 1, 1]; joiners = 1: machines that may become members
  [parameters]                      # gc_depth_rounds, schedule_interval_commits, schedule_window_commits, ...
  [pacing]                          # as in node.toml
  [load]                            # transactions_per_second (of each node), transaction_bytes
  [links]                           # delay_us, jitter_us, distribution, loss_permille, retransmit,
                                    # duplicate_permille, reorder, payload_us_max, uplink_kib_s
  [regions]                         # rtt_ms = [[1, 80], [80, 1]], of = [0, 0, 1, 1], jitter_percent
  [[link]]                          # from, to, both, cut, links = { loss_permille = 300 }
  [devices]                         # sync_us, sign_us, group_us, flush_permille, ignore_syncs
  [[device]]                        # nodes, devices = { sync_us = 20_000 }
  [[clock]]                         # nodes, offset_ms, drift_ppm
  [[adversary]]                     # nodes, kind: equivocator, withholder, selective-sender, ancient-referencer,
                                    # future-rounder, vote-liar, flooder, twins, dropper, removed-talker; and the
                                    # keys of the kind
  [[event]]                         # at_ms, or every_ms with from_ms and until_ms
  do = \"crash\"                      # crash, restart, lose-disk, hang, resume, partition, split, heal, cut, silence,
                                    # links, clock-jump, load, add-validator, remove-validator, rekey-validator
  random = 1                        # or nodes = [2]
  for_ms = [100, 900]               # then it is undone
  [[window]]                        # name, from_ms, until_ms, latency_mean_ms_max: latencies told apart
  [mix]                             # random storms: faults, storm_ms, pause_ms, lasts_ms, calm_ms, adversaries_max
  [check]                           # liveness_ms, beyond_f
  [expect]                          # latency_p50_ms_max, commits_min, epochs_min, marks = [...]: makes the file a test

add-validator, remove-validator and rekey-validator are decided one after the other, each at the next height, and each ends
an epoch: members mark their blocks, the commit with marks of a quorum is the last, and the next committee begins on it.
Nodes keep their numbers from epoch to epoch. A node that is removed stops; of kind removed-talker it goes on.

consensus/scenarios has the built-in ones as examples.

With --json, one object: {scenario, seed, simulated_seconds, nodes, commits[], latency_ms{p50,p99,mean}, violations[],
trace_digest, marks{}, sent{kind{messages,bytes}}}, and windows_ms[] where there are some; with --seeds or --wall-seconds sums over all runs, and {runs, committee_hours, wall_seconds}.

Exit status: 0 nothing that must not happen did; 1 a violation, whose replay is on standard error; 2 no such scenario,
or it is wrong."
)]
pub struct SimulateArgs {
    /// A scenario file, or the name of a built-in scenario.
    #[arg(long, value_name = "FILE|NAME", required_unless_present = "list")]
    scenario: Option<String>,
    /// Where the randomness comes from.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Runs once for each seed, the last not included, on all cores.
    #[arg(long, value_name = "A..B", value_parser = range, conflicts_with_all = ["seed", "trace", "svg"])]
    seeds: Option<Range<u64>>,
    /// Runs for seeds from --seed on, on all cores, until so many seconds are over.
    #[arg(long, value_name = "SECONDS", conflicts_with_all = ["seeds", "trace", "svg"])]
    wall_seconds: Option<u64>,
    /// Threads; as many as there are cores, where it is not given.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Writes a line for everything that happens.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Draws the DAG of --rounds: commits, skips and equivocations in colour.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Rounds to draw, the last not included.
    #[arg(long, value_name = "A..B", value_parser = range, default_value = "1..31", requires = "svg")]
    rounds: Range<u64>,
    /// Lists the built-in scenarios.
    #[arg(long)]
    list: bool,
}

fn range(text: &str) -> Result<Range<u64>, RangeError> {
    let (from, to) = text.split_once("..").ok_or(RangeError::Form)?;
    let number = |text: &str| text.replace('_', "").parse::<u64>().map_err(|_| RangeError::Form);
    let (from, to) = (number(from)?, number(to)?);
    if from < to { Ok(from..to) } else { Err(RangeError::Empty) }
}

#[derive(Clone, Copy, Debug, Error)]
enum RangeError {
    #[error("a range is written as 0..1000")]
    Form,
    #[error("the range is empty")]
    Empty,
}

/// Why nothing was simulated.
#[derive(Debug, Error, Diagnostic)]
enum SimulateError {
    #[error("there is no scenario `{name}`, neither built in nor as a file")]
    #[diagnostic(help("`stele simulate --list` shows those that are built in; or give the path of a file"))]
    Unknown {
        name: String,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    #[diagnostic(transparent)]
    Invalid(Box<InvalidToml>),
    #[error("cannot write {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// Runs the command.
pub fn run(args: &SimulateArgs) -> miette::Result<ExitCode> {
    match simulate(args) {
        Ok(code) => Ok(code),
        Err(error) => {
            eprintln!("{:?}", miette::Report::new(error));
            Ok(ExitCode::from(2))
        }
    }
}

fn simulate(args: &SimulateArgs) -> Result<ExitCode, SimulateError> {
    if args.list {
        for (name, text) in builtin::ALL {
            let about = file::parse(text, 0).map(|scenario| scenario.about).unwrap_or_default();
            println!("{name:24} {about}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let name = args.scenario.as_deref().unwrap_or_default();
    let scenario = load(name)?;
    let title = Path::new(name).file_stem().map_or(name.into(), |stem| stem.to_string_lossy());
    let threads = args.threads.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let outcome = match (&args.seeds, args.wall_seconds) {
        (Some(seeds), _) => seeds::run_all(&scenario, seeds.clone(), None, threads),
        (None, Some(seconds)) => seeds::run_all(&scenario, args.seed..u64::MAX, Some(seconds), threads),
        (None, None) => Outcome::of(&run_one(args, Scenario { seed: args.seed, ..scenario })?),
    };
    for (seed, violation) in outcome.violations() {
        eprintln!("violation: {violation}\nreplay: stele simulate --scenario {name} --seed {seed}");
    }
    if args.json {
        println!("{}", outcome.json(&title));
    } else {
        print!("{}", outcome.text(&title));
    }
    Ok(if outcome.is_good() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_VIOLATION) })
}

/// Reads a scenario file; of names that are no files, a built-in one.
fn load(name: &str) -> Result<Scenario, SimulateError> {
    let (path, text) = match std::fs::read_to_string(name) {
        Ok(text) => (PathBuf::from(name), text),
        Err(source) => match builtin::text(name) {
            Some(text) => (PathBuf::from(format!("consensus/scenarios/{name}.toml")), text.to_owned()),
            None => return Err(SimulateError::Unknown { name: name.to_owned(), source }),
        },
    };
    file::parse(&text, 0)
        .map_err(|error| SimulateError::Invalid(InvalidToml::at(&path, text, error.to_string(), error.span())))
}

/// Runs one seed, and writes what is asked for.
fn run_one(args: &SimulateArgs, scenario: Scenario) -> Result<Report, SimulateError> {
    if args.trace.is_none() && args.svg.is_none() {
        return Ok(Simulation::run(scenario));
    }
    let failed_at = |path: &Path| {
        let path = path.to_owned();
        move |source| SimulateError::Write { path, source }
    };
    if let Some(path) = &args.svg {
        result_file::look(path).map_err(failed_at(path))?;
    }
    let (duration_ms, mut simulation) = (scenario.duration_ms, Simulation::new(scenario));
    let mut trace = match &args.trace {
        None => None,
        Some(path) => {
            simulation.keep_lines();
            let file = File::create(path).map_err(failed_at(path))?;
            Some((path, BufWriter::new(file)))
        }
    };
    let mut result = Ok(());
    while result.is_ok() && simulation.now_ms() < duration_ms {
        result = simulation.run_for(TRACE_SLICE_MS.min(duration_ms - simulation.now_ms()));
        if let Some((path, file)) = &mut trace {
            let written = file.write_all(simulation.take_lines().as_bytes()).and_then(|()| file.flush());
            written.map_err(failed_at(path))?;
        }
    }
    if let Some(path) = &args.svg {
        let drawing = simulation.svg(args.rounds.clone());
        std::fs::write(path, drawing).map_err(failed_at(path))?;
    }
    Ok(simulation.report(result))
}
