//! `stele backup`: the command around [`crate::backup::take`].

use super::place::PlaceArgs;
use super::progress::Progress;
use crate::backup::depot::Depot;
use crate::backup::take::{self, Done, Wanted};
use clap::Args;
use miette::IntoDiagnostic;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

/// Where a backup lies.
#[derive(Clone, Debug, Args)]
pub struct S3Args {
    /// For s3://: a file of mode 0600 with endpoint and credentials, as --help shows one [default: the systemd credential
    /// stele-s3]
    #[arg(long, value_name = "FILE")]
    pub s3: Option<PathBuf>,
}

/// How the file looks, for the help of all who take it.
pub const S3_HELP: &str = "\
The file for s3://BUCKET/PREFIX is TOML of mode 0600; no flag and no variable takes a credential:

  endpoint = \"https://s3.example.com\"   # where it is not AWS
  region = \"eu-central-1\"
  access_key_id = \"...\"
  secret_access_key = \"...\"";

/// Back a node up, beside it while it runs.
#[derive(Clone, Debug, Args)]
#[command(after_help = format!("Examples:
  stele backup --config node.toml --to /srv/backup
  stele backup --config node.toml --to s3://bank-ledger/node-1 --s3 /etc/stele/s3.toml --json
  stele backup --data /var/lib/stele --genesis /etc/stele/genesis.toml --to /srv/backup

Adds what the network has certified since the last run, so that a timer may run it every few minutes. Each height is
checked before it is written, as if a stranger had sent it. An interrupted run loses nothing that is in manifest.json.

It holds the ledger: commits, blocks, receipts' outcomes and certificates, the proofs of epochs, the genesis, and node.toml if
--config names it. It never holds keys, PINs or the guard file of the signer, and no backup of the guard file may ever be
put back: an old one signs twice. Any validator of the ledger can be restored from it.

`stele archive verify` checks a backup, `stele restore` makes a data directory of it.

{S3_HELP}"))]
pub struct BackupArgs {
    #[command(flatten)]
    add: AddArgs,
}

/// What is added to which backup or archive.
#[derive(Clone, Debug, Args)]
pub struct AddArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Where to: a directory, or s3://BUCKET/PREFIX. What is there is added to.
    #[arg(long, value_name = "PLACE")]
    to: String,
    #[command(flatten)]
    s3: S3Args,
    /// Print one JSON object at the end, and no progress.
    #[arg(long)]
    json: bool,
}

/// Runs to the end.
pub fn run(BackupArgs { add: args }: &BackupArgs) -> miette::Result<()> {
    add(args, &Wanted { config: args.place.config(), ..Wanted::default() })
}

/// Adds to a backup or an archive, and says what was done.
pub fn add(AddArgs { place, to, s3, json }: &AddArgs, wanted: &Wanted<'_>) -> miette::Result<()> {
    let json = *json;
    let source = place.source()?;
    let depot = Depot::open_to_write(to, s3.s3.as_deref())?;
    let (start, mut progress) = (Instant::now(), Progress::new());
    let done = take::take(&source, &depot, wanted, &mut |height, last| {
        if !json {
            progress.say(|| format!("height {height} of {last}"));
        }
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let mut out = std::io::stdout();
    if json {
        return writeln!(out, "{}", json!({ "to": to, "done": done, "seconds": seconds })).into_diagnostic();
    }
    let Done { from, to: last, added, bytes, .. } = done;
    match from.zip(last) {
        Some((from, last)) => {
            writeln!(
                out,
                "{added} heights added in {seconds:.1} s; heights {from} to {last}, {bytes} bytes, are in {to}"
            )
        }
        None => writeln!(out, "nothing is certified and flushed yet"),
    }
    .into_diagnostic()
}
