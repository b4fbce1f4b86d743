//! `stele verify`: checks a file of signatures offline, line by line, on the best engine present.
//!
//! Lines stream through in bounded memory: [`input`] cuts what it reads into chunks of lines, [`workers`] parse each
//! ([`record`]) and have it verified, [`output`] puts the verdicts back in order. A chunk that is read holds a token until
//! it is written, so that no more than a fixed number of them exist. Deliberately absent: the ledger; a verdict here says
//! nothing about balances or authority.

mod gpu;
mod input;
mod output;
mod record;
mod user_id;
mod workers;

use clap::{Args, ValueEnum};
use crossbeam_channel::bounded;
use miette::Diagnostic;
use std::io::{IsTerminal, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use thiserror::Error;

/// Some line is invalid or malformed.
const EXIT_NOT_ALL_VALID: u8 = 1;
/// The work was not done: input or output failed, or the engine that was asked for is not there.
const EXIT_FAILED: u8 = 2;

/// Check a file of signatures.
#[derive(Clone, Debug, Args)]
#[command(
    long_about = "Check a file of signatures, offline: one JSON object a line in, one verdict a line out.",
    after_help = "Examples:
  stele verify --input signatures.jsonl
  zcat signatures.jsonl.gz | stele verify --input - --json
  stele verify --input signatures.jsonl --engine cpu --threads 4 > verdicts.jsonl",
    after_long_help = "Input, one JSON object a line; fields with other names are ignored:
  {\"alg\":\"ed25519\",\"pk\":HEX,\"msg\":HEX,\"sig\":HEX}
  alg   ed25519, sm2, p256 or secp256k1
  pk    ed25519: 32 bytes; else a point as x‖y (64 bytes) or in SEC 1 form (65 bytes, or 33 compressed)
  msg   the message, at most 1 MiB; \"\" is the empty message
  sig   64 bytes: R‖s for ed25519, else r‖s
  id    sm2: the user id, at most 8,191 bytes; 31323334353637383132333435363738 where it is missing
  e     sm2: the 32 bytes of SM3(Z ‖ msg), in place of msg

Output: {\"i\":n,\"valid\":true} or {\"i\":n,\"valid\":false} for each line in order, then a summary on standard error. n
counts the lines that are not empty, from 0. With --json, one object in place of the lines:
  {\"items\":3,\"valid\":1,\"invalid\":1,\"malformed\":1,\"engine\":\"cpu\",\"seconds\":0.001}

Rules: Ed25519 follows ZIP-215. ECDSA hashes with SHA-256 and takes low s alone. SM2 follows GM/T 0003.2.

  Invalid    the right form and no valid signature: also a key that is no point of its curve, r or s of 0 or beyond the
             order, a high s.
  Malformed  not a question at all: no JSON object, not UTF-8, a field that is missing or twice there, an unknown
             algorithm, what is not hexadecimal, a wrong length, both msg and e, a line over 4 MiB. Such a line has no
             verdict; it is counted and, for the first 20, named by line number on standard error.

Engines: with `auto`, a GPU joins once the input is longer than 65,536 lines, and the CPU goes on; with `gpu` it takes all.
Before its verdicts are believed it gives known answers, in every batch it is tried with items of known verdict, one accept
in 1,024 and one reject in 16 are verified again on the CPU; a device that fails is given no more, and the CPU verifies
what it had. `cpu` depends on no device.

Exit status: 0 all valid; 1 some invalid or malformed; 2 the work was not done: input, output or engine failed."
)]
pub struct VerifyArgs {
    /// A file of JSON lines; `-` is standard input.
    #[arg(long, value_name = "FILE|-")]
    input: PathBuf,
    /// What verifies. `auto`: the CPU, and a GPU beside it where there is one.
    #[arg(long, value_enum, default_value_t = EngineChoice::Auto, value_name = "ENGINE")]
    engine: EngineChoice,
    /// Part of an adapter's name, for a GPU other than the best one; also a software adapter is taken when it is named.
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,
    /// Print one object in place of a line for each signature.
    #[arg(long)]
    json: bool,
    /// CPU threads that parse and verify; as many as there are cores, where it is not given.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

/// What verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EngineChoice {
    /// The CPU, and a GPU beside it where there is one.
    Auto,
    /// The CPU alone.
    Cpu,
    /// The GPU; nothing is done where there is none.
    Gpu,
}

/// Why the work was not done.
#[derive(Debug, Error, Diagnostic)]
enum VerifyError {
    #[error("cannot read {input}")]
    #[diagnostic(help(
        "give the path of a file of JSON lines, or `-` for standard input; `stele verify --help` shows one"
    ))]
    Open {
        input: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{input} is a directory")]
    #[diagnostic(help("give the path of a file of JSON lines, or `-` for standard input"))]
    IsDirectory { input: String },
    #[error("cannot read {input} beyond line {after_line}")]
    #[diagnostic(help("the lines before it are verified; the rest is not"))]
    Read {
        input: String,
        after_line: u64,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot write the verdicts")]
    Write(#[source] std::io::Error),
    #[error("cannot start the CPU engine")]
    Cpu(#[from] accel::CpuEngineError),
    #[error("cannot start the verifier")]
    Service(#[from] accel::StartError),
    #[error("no GPU engine: {0}")]
    #[diagnostic(help("`stele hw` lists the adapters and why one is not used; --engine auto does without"))]
    NoGpu(#[source] accel::gpu::OpenError),
    #[error("the GPU did not give the known answers")]
    #[diagnostic(help("`stele hw --self-test` says more; --engine cpu depends on no device"))]
    GpuFailed,
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

/// Runs to the end and leaves the process with the documented status.
pub fn run(args: &VerifyArgs) -> ExitCode {
    match verify(args) {
        Ok(tally) if tally.all_valid() => ExitCode::SUCCESS,
        Ok(_) => EXIT_NOT_ALL_VALID.into(),
        // Whoever read the output has seen enough and knows it.
        Err(VerifyError::Write(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => EXIT_FAILED.into(),
        Err(error) => {
            // A stream that is closed cannot be told.
            drop(writeln!(std::io::stderr(), "{:?}", miette::Report::from(error)));
            EXIT_FAILED.into()
        }
    }
}

fn verify(args: &VerifyArgs) -> Result<output::Tally, VerifyError> {
    let input = name_of(&args.input);
    let source = input::Source::open(&args.input).map_err(|source| match source.kind() {
        std::io::ErrorKind::IsADirectory => VerifyError::IsDirectory { input: input.clone() },
        _ => VerifyError::Open { input: input.clone(), source },
    })?;
    let started = Instant::now();
    let threads = args.threads.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let engines = workers::Engines::start(args.engine, args.adapter.as_deref(), threads)?;
    let tokens_max = engines.chunks_in_flight_max();
    let (spare, tokens) = bounded(tokens_max);
    for _ in 0..tokens_max {
        spare.send(()).expect("the channel has room for all tokens and its other end is here");
    }
    let (chunks, queue) = bounded(tokens_max);
    let (done, verdicts) = bounded(tokens_max);
    // Neither is waited for: once the output fails, a read that may last for ever keeps nobody.
    let reader = std::thread::Builder::new().name("verify.read".into());
    let reader = reader.spawn(move || source.cut(&tokens, &chunks)).map_err(VerifyError::Thread)?;
    let (shared, workers) = engines.spawn(&queue, &done, !args.json)?;
    drop((queue, done));
    let mut tally = output::Tally::default();
    let mut writer = output::Writer::new(args.json, std::io::stderr().is_terminal());
    writer.drain(&verdicts, &spare, &mut tally).map_err(VerifyError::Write)?;
    let ended = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    for worker in workers {
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }
    let summary = tally.summary(shared.engines(), started.elapsed());
    writer.faults(shared.faults());
    writer.finish(&tally, &summary).map_err(VerifyError::Write)?;
    match ended.error {
        Some(source) => Err(VerifyError::Read { input, after_line: ended.lines, source }),
        None => Ok(tally),
    }
}

fn name_of(input: &Path) -> String {
    if input.as_os_str() == "-" { "standard input".into() } else { input.display().to_string() }
}
