//! `stele export`: a node's ledger as tables, for engines that query them.

use crate::config::Setup;
use crate::export::{self, Done, Format, Wanted};
use crate::rebuild::Source;
use clap::Args;
use miette::IntoDiagnostic;
use serde_json::json;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use types::Height;

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
  duckdb -c \"select kind, count(*) from '/srv/ledger-parquet/transactions-*.parquet' group by kind\"

The node may run meanwhile; nothing of its data is changed, and what it has not flushed is left for the next time. Each
height is checked as if a stranger had sent it: certificate, epochs from genesis on, blocks, signatures of their authors, payloads,
receipts. What does not hold ends the export, with height and reason.

Run it again to add what is new, or after an interruption: finished parts stay, and manifest.json names them with the
SHA-256 of each file. Parts that it does not name are refused and left alone. Columns are described in docs/export.md."
)]
pub struct ExportArgs {
    /// The node's configuration, which names its data directory and the genesis.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Directory to write to, or to add to.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How rows are written.
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// First height [default: after what the directory holds, else the oldest one in the log]
    #[arg(long, value_name = "HEIGHT")]
    from: Option<u64>,
    /// Last height [default: the last one that is certified and flushed]
    #[arg(long, value_name = "HEIGHT")]
    to: Option<u64>,
    /// Heights in a part, which is a file for each table.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    part_heights: u64,
    /// Print one JSON object at the end, and no progress.
    #[arg(long)]
    json: bool,
}

/// Runs to the end.
pub fn run(args: &ExportArgs) -> miette::Result<()> {
    let setup = Setup::load(&args.config, true)?;
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
        writeln!(out, "{} in {seconds:.1} s; {} parts in {}", summary(&done), done.parts, args.out.display())
            .into_diagnostic()
    }
}

fn line(done: &Done, to: Height) -> String {
    format!("height {} of {to}, {} transactions", done.to.unwrap_or_default(), done.transactions)
}

fn summary(done: &Done) -> String {
    match (done.from, done.to) {
        (Some(from), Some(to)) => {
            format!("heights {from} to {to}: {} blocks, {} transactions", done.blocks, done.transactions)
        }
        _ => format!("nothing new: all up to height {} is there", done.certified),
    }
}
