//! `stele bench`: what signature checks and hashes cost on this machine, on every engine that it has; and what a
//! committee of a size costs in the simulator ([`scale`]), what a slow HSM costs a network ([`signer`]), and what a durable
//! record costs ([`log`]).
//!
//! A run measures ([`verify`], [`hash`]), each row with the engine, the batch and the threads; the rows become one
//! [`report::Report`], which is printed as a [`table`], written as JSON, and drawn as one page ([`page`], [`plot`]) that
//! needs nothing from anywhere else. Every verdict is compared with the right one: a fast wrong answer ends the run.
//! [`execute`] measures the ledger alone. Deliberately absent: the whole node, which
//! `stele devnet` measures; [`signer`] runs it.

mod burn;
mod ceiling;
mod columns;
mod destination;
mod energy;
mod execute;
mod gpu_start;
mod hash;
mod log;
mod openssl;
mod page;
mod pages;
mod peers;
mod plot;
mod report;
mod scale;
mod sheet;
mod signer;
mod state;
mod stopwatch;
mod table;
mod verify;
mod workload;

use clap::{Args, Subcommand, ValueEnum};
use destination::Destination;
use miette::Diagnostic;
use std::io::Write;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Measure the engines of this machine.
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Measure signature checks.
    Verify(verify::VerifyArgs),
    /// Measure hashes and Merkle roots.
    Hash(hash::HashArgs),
    /// Measure what a committee sends, checks and waits for by its size, in the simulator.
    Consensus(scale::ScaleArgs),
    /// Measure execution alone: no signatures, no disk, no network.
    Execute(execute::ExecuteArgs),
    /// Measure execution over RocksDB, and snapshots of the state.
    State(state::StateArgs),
    /// Measure what a slow HSM does to a network, where it signs every round and where it certifies what does.
    Signer(signer::SignerArgs),
    /// Measure what it costs to make a record durable: the log beside RocksDB and a bare file.
    Log(log::LogArgs),
    /// Measure what a GPU can do at most: multiplications a second, as JSON.
    Ceiling(ceiling::CeilingArgs),
    /// Open a GPU engine once and print how long it took, as JSON: what `bench verify` starts to measure a cold start.
    #[command(hide = true)]
    GpuStart(gpu_start::GpuStartArgs),
}

/// Where the results go, besides the terminal.
#[derive(Clone, Debug, Args)]
pub struct Output {
    /// Directory for report.html and report.json; it is made.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// File for the JSON; `-` is standard output, in place of the table.
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
}

impl Output {
    /// The destination, before anything is measured.
    fn look(&self) -> Result<Destination, BenchError> {
        let names = ["report.json", "report.html"].map(String::from);
        Destination::look(self.json.as_deref(), self.report.as_deref(), &names)
    }
}

/// Which engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EngineChoice {
    /// The CPU alone.
    Cpu,
    /// The GPU alone; it is an error where there is none.
    Gpu,
    /// All that there are.
    All,
}

/// Why nothing was measured.
#[derive(Debug, Error, Diagnostic)]
enum BenchError {
    #[error("no GPU engine: {0}")]
    #[diagnostic(help(
        "`stele hw` lists the adapters and why one is not used; --adapter NAME takes also a software adapter"
    ))]
    NoGpu(#[source] accel::gpu::OpenError),
    #[error("the {engine} engine failed at a batch of {batch} {alg} items")]
    Fault {
        engine: String,
        batch: usize,
        alg: &'static str,
        #[source]
        fault: accel::DeviceFault,
    },
    #[error("the {engine} engine gave {wrong} wrong verdicts in a batch of {batch} {alg} items")]
    #[diagnostic(help(
        "nothing that it answers can be trusted; please report it with the output of `stele hw --json`"
    ))]
    WrongVerdicts { engine: String, batch: usize, alg: &'static str, wrong: usize },
    #[error("the state cannot be read or written: {what}")]
    State { what: String },
    #[error("cannot write {path}")]
    Write {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the committee of {nodes} did what it must not")]
    Simulation {
        nodes: u16,
        #[source]
        violation: Box<consensus::sim::Violation>,
    },
    #[error("the devnet of {row} did not end as it should")]
    #[diagnostic(help("its last words are above; the same by hand: {command}"))]
    Devnet { row: String, command: String },
    #[error("the report of {row} cannot be read")]
    DevnetReport {
        row: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{engine} cannot make a record durable")]
    Log {
        engine: &'static str,
        #[source]
        source: Box<log::EngineFault>,
    },
    #[error("cannot start the CPU engine")]
    Cpu(#[from] accel::CpuEngineError),
    #[error("cannot start the threads that keep the cores busy")]
    Burn(#[source] std::io::Error),
    #[error("a GPU cannot be started in a process of its own")]
    GpuStart(#[source] std::io::Error),
}

/// Runs to the end.
pub fn run(args: BenchArgs) -> miette::Result<()> {
    let (report, output) = match args.what {
        What::Verify(args) => {
            let output = args.output.look()?;
            (verify::run(&args)?, output)
        }
        What::Hash(args) => {
            let output = args.output.look()?;
            (hash::run(&args)?, output)
        }
        What::Consensus(args) => return Ok(scale::run(&args)?),
        What::Execute(args) => return Ok(execute::run(&args)?),
        What::State(args) => return Ok(state::run(&args)?),
        What::Signer(args) => return Ok(signer::run(&args)?),
        What::Log(args) => return Ok(log::run(&args)?),
        What::Ceiling(args) => return Ok(ceiling::run(&args)?),
        What::GpuStart(args) => return Ok(gpu_start::run(&args)?),
    };
    let json = report.to_json();
    Ok(output.write(&table::table(&report), &json, &[&json, &page::page(&report)])?)
}

fn failed_at(path: &Path) -> impl FnOnce(std::io::Error) -> BenchError + use<> {
    let path = path.display().to_string();
    move |source| BenchError::Write { path, source }
}

/// Says on standard error what is being done: a run takes minutes.
fn note(what: &str) {
    drop(writeln!(std::io::stderr(), "{what}"));
}
