//! `stele archive`: cold parts of a ledger outside of a node, in the format of backups, and back.

use super::backup::{self, AddArgs, S3_HELP, S3Args};
use super::place::read_genesis;
use super::progress::Progress;
use super::restore::{self, RestoreArgs};
use crate::backup::depot::Depot;
use crate::backup::read::{self, Verified};
use crate::backup::take::Wanted;
use clap::{Args, Subcommand};
use miette::IntoDiagnostic;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

/// Archive the cold parts of a ledger, check archives and backups, and make nodes of them.
#[derive(Clone, Debug, Args)]
pub struct ArchiveArgs {
    #[command(subcommand)]
    command: ArchiveCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum ArchiveCommand {
    /// Add a node's cold heights to an archive, beside the node while it runs.
    Export(ExportArgs),
    /// Check all of an archive or a backup.
    Verify(VerifyArgs),
    /// Make the data directory of a node out of an archive that begins with height 1: as `stele restore`.
    Import(RestoreArgs),
}

/// Add a node's cold heights to an archive, beside the node while it runs.
#[derive(Clone, Debug, Args)]
#[command(after_help = format!("Examples:
  stele archive export --config node.toml --to /srv/archive --keep 1000000
  stele archive export --data /var/lib/stele --genesis genesis.toml --to s3://bank-ledger/history --s3 s3.toml

An archive and a backup have one format; an archive may begin above height 1, and leaves out what is not cold yet and
node.toml. A node whose role is pruned drops old heights: archive them before, with a timer.

{S3_HELP}"))]
struct ExportArgs {
    #[command(flatten)]
    add: AddArgs,
    /// Leave out the last so many heights.
    #[arg(long, value_name = "HEIGHTS", default_value_t = 0)]
    keep: u64,
}

/// Check all of an archive or a backup.
#[derive(Clone, Debug, Args)]
#[command(after_help = format!("Examples:
  stele archive verify --from /srv/backup --genesis genesis.toml
  stele archive verify --from s3://bank-ledger/node-1 --s3 /etc/stele/s3.toml --genesis genesis.toml --json

Reads every byte: the SHA-256 of the manifest, certificates of committees that are proven from the genesis on, the chain of
headers, every block, its author's signature, its payload, and every receipt. Without --genesis the one in the archive is
believed: then compare the ledger that is printed.

{S3_HELP}"))]
struct VerifyArgs {
    /// The archive or backup: a directory, or s3://BUCKET/PREFIX.
    #[arg(long, value_name = "PLACE")]
    from: String,
    #[command(flatten)]
    s3: S3Args,
    /// The genesis that it has to be of.
    #[arg(long, value_name = "FILE")]
    genesis: Option<PathBuf>,
    /// Print one JSON object at the end, and no progress.
    #[arg(long)]
    json: bool,
}

/// Runs to the end.
pub fn run(args: &ArchiveArgs) -> miette::Result<()> {
    match &args.command {
        ArchiveCommand::Export(args) => backup::add(&args.add, &Wanted { keep: args.keep, ..Wanted::default() }),
        ArchiveCommand::Verify(args) => verify(args),
        ArchiveCommand::Import(args) => restore::run(args),
    }
}

fn verify(args: &VerifyArgs) -> miette::Result<()> {
    let genesis = args.genesis.as_deref().map(read_genesis).transpose()?;
    let depot = Depot::open(&args.from, args.s3.s3.as_deref())?;
    let (start, mut progress) = (Instant::now(), Progress::new());
    let verified = read::verify(&depot, genesis, &mut |height, last| {
        if !args.json {
            progress.say(|| format!("height {height} of {last}"));
        }
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let mut out = std::io::stdout();
    if args.json {
        return writeln!(out, "{}", json!({ "verified": verified, "seconds": seconds })).into_diagnostic();
    }
    let Verified { ledger, from, to, bytes, transactions, .. } = verified;
    let (from, to) = (from.unwrap_or_default(), to.unwrap_or_default());
    writeln!(out, "ledger {ledger}: heights {from} to {to}, {transactions} transactions, {bytes} bytes: whole")
        .into_diagnostic()
}
