//! `stele rebuild`: the command around [`crate::rebuild`].

use super::place::PlaceArgs;
use super::progress::Progress;
use crate::rebuild::{self, Done};
use clap::Args;
use miette::IntoDiagnostic;
use serde_json::json;
use std::io::Write;
use std::ops::ControlFlow;
use std::time::Instant;

/// Rebuild the state of a node that is not running out of its log.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  stele rebuild --config node.toml
  stele rebuild --data /var/lib/stele --genesis /etc/stele/genesis.toml --json

Makes the state database (accounts, objects, receipts, indexes) anew from the log alone, with the node's own execution:
for a database that is damaged, lost, or was deleted. Each height is compared with the header that the committee has
certified; the certificates are put together from the votes in the log's blocks, and their signatures verified.

The new database is made in DIR/rebuild, beside the one that is there, which stays until the new one is whole and takes
its place at once. Interrupted, by a signal or a power cut, the next run goes on behind its last flush. A node that runs
on the directory is in the way.

It begins with genesis, so the log must hold every commit: of a pruned log, or of a node that once took a state from its
peers, the state cannot be rebuilt; `stele restore` can, from a backup, and so can the node from its peers.

Exit status: 0 the state is rebuilt; 1 it is not, and what is there is as it was.")]
pub struct RebuildArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Forget what an interrupted run has made.
    #[arg(long)]
    anew: bool,
    /// Print one JSON object at the end, and no progress.
    #[arg(long)]
    json: bool,
}

/// Runs to the end.
pub fn run(args: &RebuildArgs) -> miette::Result<()> {
    let source = args.place.source()?;
    if args.anew {
        source.forget_begun()?;
    }
    let (start, mut progress) = (Instant::now(), Progress::new());
    let done = rebuild::run(&source, &mut |at| {
        if !args.json {
            let left = at.newest_segment.saturating_sub(at.segment);
            progress.say(|| format!("height {}, segment {}, {left} left", at.height, at.segment));
        }
        ControlFlow::Continue(())
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let mut out = std::io::stdout();
    if args.json {
        return writeln!(out, "{}", json!({ "done": done, "seconds": seconds })).into_diagnostic();
    }
    let Done { from, height, certified, epoch, transactions, .. } = done;
    writeln!(
        out,
        "heights {} to {height} in {seconds:.1} s, certified up to {certified}; {transactions} transactions, epoch {epoch}",
        from.next()
    )
    .into_diagnostic()
}
