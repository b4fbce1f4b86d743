//! `stele restore`: the command around [`crate::backup::restore`].

use super::backup::{S3_HELP, S3Args};
use super::place::read_genesis;
use super::progress::Progress;
use crate::backup::depot::Depot;
use crate::backup::restore::{self, Done, Step, Wanted};
use crate::config::Setup;
use clap::Args;
use miette::IntoDiagnostic;
use serde_json::json;
use std::io::Write;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Instant;

/// Make the data directory of a validator out of a backup.
#[derive(Clone, Debug, Args)]
#[command(after_help = format!("Examples:
  stele restore --from /srv/backup --config node.toml
  stele restore --from s3://bank-ledger/node-1 --s3 /etc/stele/s3.toml --data /var/lib/stele --genesis genesis.toml --json

Checks everything before it puts anything in place: the SHA-256 of every file, certificates by committees that are proven
from the genesis on, every block, and each height's header as execution gives it. Work is done in DIR/restoring; interrupted,
the next run goes on, and until it is done no node starts there. A directory that is not empty is refused.

--config takes the data directory, genesis and name of the validator from node.toml; the backup may be another validator's.
Without it the directory is for the validator that was backed up, and without --genesis the backup's own genesis is
believed: then compare the ledger that is printed. Genesis and node.toml of the backup are put in DIR/restored.

The validator that starts on it goes by the rule for a lost disk: it makes no block before its peers, or the guard of its
signer, have said how far its own chain went. Keep the signer's guard file as it is; never put an old one back.

{S3_HELP}"))]
pub struct RestoreArgs {
    /// The backup: a directory, or s3://BUCKET/PREFIX.
    #[arg(long, value_name = "PLACE")]
    from: String,
    #[command(flatten)]
    s3: S3Args,
    /// The data directory to make: empty, or not there.
    #[arg(long, value_name = "DIR", required_unless_present = "config", conflicts_with = "config")]
    data: Option<PathBuf>,
    /// With --data: the genesis that the backup has to be of.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    genesis: Option<PathBuf>,
    /// The configuration of the validator.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one JSON object at the end, and no progress.
    #[arg(long)]
    json: bool,
}

/// Runs to the end.
pub fn run(args: &RestoreArgs) -> miette::Result<()> {
    let wanted = match &args.config {
        Some(config) => {
            let setup = Setup::load(config, true)?;
            let (identity, shards) = (Some(setup.identity()), setup.config.shards);
            Wanted { genesis: Some((*setup.genesis).clone()), data_dir: setup.data_dir, identity, shards }
        }
        None => {
            let data_dir = args.data.clone().unwrap_or_default();
            let genesis = args.genesis.as_deref().map(read_genesis).transpose()?;
            Wanted { data_dir, genesis, identity: None, shards: NonZeroU16::MIN }
        }
    };
    let data_dir = wanted.data_dir.clone();
    let depot = Depot::open(&args.from, args.s3.s3.as_deref())?;
    let (start, mut progress) = (Instant::now(), Progress::new());
    let done = restore::restore(&depot, wanted, &mut |step| {
        if !args.json {
            progress.say(|| match step {
                Step::Reading { height, of } => format!("checked up to height {height} of {of}"),
                Step::Executing { height, of } => format!("executed up to height {height} of {of}"),
            });
        }
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let mut out = std::io::stdout();
    if args.json {
        let text = json!({ "data": data_dir, "done": done, "seconds": seconds });
        return writeln!(out, "{text}").into_diagnostic();
    }
    let Done { ledger, height, transactions, .. } = done;
    let dir = data_dir.display();
    writeln!(
        out,
        "ledger {ledger}: restored up to height {height}, {transactions} transactions, in {seconds:.1} s to {dir}"
    )
    .into_diagnostic()
}
