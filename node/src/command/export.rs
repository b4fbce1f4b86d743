//! `stele export`: a node's ledger as tables, for engines that query them.

use super::progress::Progress;
use crate::config::Setup;
use crate::export::{self, Damage, Done, Format, Verified, Wanted, Wrong};
use crate::rebuild::Source;
use clap::Args;
use miette::IntoDiagnostic;
use serde_json::json;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use types::Height;

/// A file is not what the manifest says.
const EXIT_DAMAGED: u8 = 1;
/// The export could not be verified.
const EXIT_FAILED: u8 = 2;
/// Damage that is shown to a reader.
const SHOWN_MAX: usize = 20;

/// How often progress is told to a terminal, and elsewhere.
const ON_TERMINAL: Duration = Duration::from_millis(200);
const ELSEWHERE: Duration = Duration::from_secs(10);

/// Export headers, blocks, transactions, receipts and events as JSON lines or Parquet.
#[derive(Clone, Debug, Args)]
#[command(
    long_about = "Export headers, blocks, transactions, receipts and events as JSON lines or Parquet, from a node's data directory.",
    after_help = "Examples:
  stele export --config node.toml --out /srv/ledger
  stele export --config node.toml --out /srv/ledger-parquet --format parquet --json
  stele export --verify --out /srv/ledger-parquet
  duckdb -c \"select kind, count(*) from '/srv/ledger-parquet/transactions-*.parquet' group by kind\"

The node may run meanwhile; nothing of its data is changed, and what it has not flushed is left for the next time. It
flushes after every log.flush_bytes of its log, after log.flush_seconds (60 by default) with fewer, and when it stops. Each
height is checked as if a stranger had sent it: certificate, epochs from genesis on, blocks, signatures
of their authors, payloads, receipts. What does not hold ends the export, with height and reason.

Run it again to add what is new, or after an interruption: finished parts stay, and manifest.json names them with the
SHA-256 of each file. Parts that it does not name are refused and left alone. Columns are described in docs/export.md.

Of files of earlier runs it is only seen to that they are there and have their length. --verify reads all of them, and
names each that is missing, has another length or SHA-256, or is not in manifest.json; it changes nothing, and needs no node.

Exit status: 0 done, or nothing is new; 1 not done, as when --from or --to is above the last height that is certified
and flushed. With --verify: 0 all is as it was written; 1 something is damaged;
2 it could not be verified."
)]
pub struct ExportArgs {
    /// The node's configuration, which names its data directory and the genesis. With --verify the export has to be of its
    /// ledger.
    #[arg(long, value_name = "FILE", required_unless_present = "verify")]
    config: Option<PathBuf>,
    /// Directory to write to, or to add to.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How rows are written.
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// First height; once there are some, the first of them or the next one [default: after what the directory holds, else
    /// the oldest one in the log]
    #[arg(long, value_name = "HEIGHT")]
    from: Option<u64>,
    /// Last height [default: the last one that is certified and flushed]
    #[arg(long, value_name = "HEIGHT")]
    to: Option<u64>,
    /// Heights in a part, which is a file for each table.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    part_heights: u64,
    /// Read everything that is in the directory, and compare it with manifest.json.
    #[arg(long, conflicts_with_all = ["format", "from", "to", "part_heights"])]
    verify: bool,
    /// Print one JSON object at the end, and no progress.
    #[arg(long)]
    json: bool,
}

/// Runs to the end; the status to leave with.
pub fn run(args: &ExportArgs) -> miette::Result<ExitCode> {
    if args.verify {
        return Ok(match verify(args) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => EXIT_DAMAGED.into(),
            Err(error) => {
                // A stream that is closed cannot be told.
                drop(writeln!(std::io::stderr(), "{error:?}"));
                EXIT_FAILED.into()
            }
        });
    }
    add(args).map(|()| ExitCode::SUCCESS)
}

fn add(args: &ExportArgs) -> miette::Result<()> {
    let config = args.config.as_deref().expect("it is required where nothing is verified");
    let setup = Setup::load(config, true)?;
    let (identity, shards) = (setup.identity(), setup.config.shards);
    let source = Source::new(setup.data_dir, setup.genesis, identity, shards);
    let wanted = Wanted {
        dir: args.out.clone(),
        format: args.format,
        from: args.from.map(Height),
        to: args.to.map(Height),
        part_heights: args.part_heights,
    };
    let start = Instant::now();
    let terminal = std::io::stderr().is_terminal();
    let mut told = start;
    let done = export::run(&source, &wanted, &mut |done, to| {
        let due = if terminal { ON_TERMINAL } else { ELSEWHERE };
        if !args.json && told.elapsed() >= due {
            told = Instant::now();
            let (front, back) = if terminal { ("\r", "") } else { ("", "\n") };
            // Nobody may be listening; the export goes on.
            let _ = write!(std::io::stderr(), "{front}{}{back}", line(done, to));
        }
    })?;
    if terminal && !args.json {
        let _ = writeln!(std::io::stderr());
    }
    let seconds = start.elapsed().as_secs_f64();
    let mut out = std::io::stdout();
    if args.json {
        let text = json!({ "out": args.out, "format": args.format, "done": done, "seconds": seconds });
        writeln!(out, "{text}").into_diagnostic()
    } else {
        let dir = args.out.display();
        let mut text = format!("{} in {seconds:.1} s; {} parts in {dir}\n", summary(&done), done.parts);
        if done.kept_files > 0 {
            let _ = writeln!(
                text,
                "{} files of earlier runs are there with their lengths; `stele export --verify --out {dir}` reads them too",
                done.kept_files
            );
        }
        out.write_all(text.as_bytes()).into_diagnostic()
    }
}

/// Whether everything is what the manifest says.
fn verify(args: &ExportArgs) -> miette::Result<bool> {
    let setup = args.config.as_deref().map(|config| Setup::load(config, true)).transpose()?;
    let (start, mut progress) = (Instant::now(), Progress::new());
    let verified = export::verify(&args.out, setup.map(|setup| setup.chain), &mut |read, of| {
        if !args.json {
            progress.say(|| format!("{} of {} MiB", read >> 20, of >> 20));
        }
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let text = if args.json {
        format!("{}\n", json!({ "out": args.out, "verified": verified, "seconds": seconds }))
    } else {
        findings(&verified)
    };
    std::io::stdout().write_all(text.as_bytes()).into_diagnostic()?;
    Ok(verified.damaged.is_empty())
}

fn findings(verified: &Verified) -> String {
    let Verified { ledger, parts, files, bytes, damaged, .. } = verified;
    let mut text = String::new();
    for Damage { file, wrong } in damaged.iter().take(SHOWN_MAX) {
        let wrong = match wrong {
            Wrong::Missing => "is not there".to_owned(),
            Wrong::Length { found, expected } => format!("has {found} bytes, where {expected} were written"),
            Wrong::Sha256 => "was altered: its SHA-256 is another one".to_owned(),
            Wrong::Unreadable { reason } => format!("cannot be read: {reason}"),
            Wrong::NotNamed => "is not in manifest.json, and a query over all files counts its rows too".to_owned(),
        };
        let _ = writeln!(text, "damaged: {file}: {wrong}");
    }
    if damaged.len() > SHOWN_MAX {
        let _ = writeln!(text, "and {} files more", damaged.len() - SHOWN_MAX);
    }
    let heights = match (verified.from, verified.to) {
        (Some(from), Some(to)) => format!("heights {from} to {to}"),
        _ => "no heights".to_owned(),
    };
    let whole = match damaged.len() {
        0 => "whole".to_owned(),
        some => format!("{some} damaged; put them back from a copy, or export into another directory"),
    };
    let _ = writeln!(text, "ledger {ledger}: {heights}, {files} files of {parts} parts, {bytes} bytes read: {whole}");
    text
}

fn line(done: &Done, to: Height) -> String {
    format!("height {} of {to}, {} transactions", done.to.unwrap_or_default(), done.transactions)
}

fn summary(done: &Done) -> String {
    match (done.from, done.to) {
        (Some(from), Some(to)) => {
            format!("heights {from} to {to}: {} blocks, {} transactions", done.blocks, done.transactions)
        }
        _ => match (done.held_from, done.held_to) {
            (Some(from), Some(to)) => {
                format!(
                    "nothing new: heights {from} to {to} are there, and {} is the last one certified",
                    done.certified
                )
            }
            _ => "nothing is certified and flushed yet".to_owned(),
        },
    }
}
