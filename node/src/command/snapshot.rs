//! `stele snapshot`: the certified states of a node, outside of it.

use super::place::read_genesis;
use super::progress::Progress;
use crate::config::Setup;
use crate::state_sync::export;
use crate::state_sync::snapshots;
use clap::{Args, Subcommand};
use miette::{IntoDiagnostic, WrapErr, miette};
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;
use types::Digest;

/// Copy certified states of a node, verify them, and start nodes from them.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "At each snapshot height (snapshot_interval_heights in genesis) every node keeps its state in chunks; a header half an
interval later has their root, and so a quorum of the validators has signed every chunk. `create` and `restore` can
be interrupted and run again, and go on where they were; a node has no state before it is whole. The format is described in
docs/proofs.md.

Examples:
  stele snapshot list --data /var/lib/stele
  stele snapshot create --data /var/lib/stele --out /srv/snapshot
  stele snapshot verify --from /srv/snapshot --genesis genesis.toml --json
  stele snapshot restore --from /srv/snapshot --config node.toml"
)]
pub struct SnapshotArgs {
    #[command(subcommand)]
    action: Action,
    /// Print one JSON object at the end, and no progress.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// List the snapshots that a node keeps. The node may run.
    List {
        /// The node's data directory.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
    },
    /// Copy the newest certified snapshot of a node to a directory. The node may run.
    Create {
        /// The node's data directory.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Where to; a directory that holds a part of the same snapshot is gone on with.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Check a snapshot from genesis alone: epochs, certificates, commits, every chunk, the sum over all rows.
    Verify {
        /// The directory of the snapshot.
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
        /// The ledger's genesis, from a source that you trust.
        #[arg(long, value_name = "FILE")]
        genesis: PathBuf,
    },
    /// Verify a snapshot, and make it the state of a node that has never run.
    Restore {
        /// The directory of the snapshot.
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
        /// The new node's configuration, which names its data directory and the genesis.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Another data directory than that of the configuration.
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
    },
}

/// Runs to the end.
pub fn run(args: &SnapshotArgs) -> miette::Result<()> {
    let start = Instant::now();
    let mut progress = Progress::new();
    let json = args.json;
    let text = match &args.action {
        Action::List { data } => return list(data, json),
        Action::Create { data, out } => {
            let pack = export::create(&export::snapshots_of(data)?, out, &mut tell(&mut progress, json, "copied"))?;
            describe("created", &pack, out)
        }
        Action::Verify { from, genesis } => {
            let verified = export::verify(from, &read_genesis(genesis)?, &mut tell(&mut progress, json, "verified"))?;
            describe("verified", &verified.pack, from)
        }
        Action::Restore { from, config, data } => {
            let setup = Setup::load(config, true)?;
            let data = data.as_ref().unwrap_or(&setup.data_dir);
            std::fs::create_dir_all(data)
                .into_diagnostic()
                .wrap_err_with(|| format!("cannot make {}", data.display()))?;
            let verified = export::verify(from, &setup.genesis, &mut tell(&mut progress, json, "verified"))?;
            let tell = &mut tell(&mut progress, json, "restored");
            let held = export::restore(&verified, data, setup.identity(), tell)?;
            let (mut words, mut value) = describe("restored", &verified.pack, data);
            value["rows_held"] = json!(held);
            if held > 0 {
                words += &format!("; {held} rows were there from an earlier run");
            }
            (words, value)
        }
    };
    let seconds = start.elapsed().as_secs_f64();
    let (words, mut value) = text;
    if json {
        value["seconds"] = json!(seconds);
        println!("{value}");
    } else {
        println!("{words}, in {seconds:.1} s");
    }
    Ok(())
}

/// Says how far it is, unless JSON is wanted.
fn tell(progress: &mut Progress, json: bool, what: &'static str) -> impl FnMut(usize, usize) {
    move |done, of| {
        if !json {
            progress.say(|| format!("{what}: chunk {done} of {of}"));
        }
    }
}

fn describe(what: &str, pack: &crate::state_sync::pack::Pack, dir: &std::path::Path) -> (String, serde_json::Value) {
    let summary = &pack.manifest().summary;
    let root: Digest = pack.root();
    let words = format!(
        "{what} {}: the state behind height {}, {} rows of {} bytes in {} chunks of {} bytes, root {root}",
        dir.display(),
        summary.height,
        summary.rows,
        summary.bytes,
        summary.chunks,
        pack.packed_bytes()
    );
    let value = json!({
        what: true, "dir": dir, "height": summary.height, "chain": summary.chain, "root": root,
        "header": summary.header, "time_ms": summary.timestamp.0, "rows": summary.rows, "bytes": summary.bytes,
        "chunks": summary.chunks, "packed_bytes": pack.packed_bytes(), "root_height": pack.root_height(),
    });
    (words, value)
}

fn list(data: &std::path::Path, json: bool) -> miette::Result<()> {
    let dir = export::snapshots_of(data)?;
    let kept = snapshots::list(&dir).map_err(|error| {
        let help = "it has to be a directory that this user may read; what lies in its place may be moved away, and the node makes it anew";
        miette!(help = help, "cannot read {}: {error}", dir.display())
    })?;
    let mut values = Vec::new();
    for kept in kept {
        match kept {
            Ok(kept) => {
                let (words, mut value) = describe("kept", &kept.pack, kept.pack.dir());
                value["certified"] = json!(kept.vouched.is_some());
                values.push(value);
                if !json {
                    println!("{words}{}", if kept.vouched.is_some() { ", certified" } else { ", not certified yet" });
                }
            }
            Err(error) => {
                values.push(json!({ "damaged": error.to_string() }));
                if !json {
                    println!("damaged: {error}");
                }
            }
        }
    }
    if json {
        println!("{}", json!({ "snapshots": values }));
    } else if values.is_empty() {
        println!("there is none in {}", dir.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_place_of_the_directory_of_snapshots_is_told_with_what_to_do() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("log")).expect("a directory");
        std::fs::write(dir.path().join("snapshots"), b"in the way").expect("a file");
        let told = list(dir.path(), false).expect_err("it is no directory");
        assert!(told.to_string().contains("/snapshots: "), "{told}");
        assert!(told.help().expect("what to do").to_string().contains("moved away"));
    }
}
