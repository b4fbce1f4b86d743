//! `stele hw placement`: on which processors each part of a node belongs here, and why.

use super::facts::{Tree, take};
use clap::Args;
use firmware_hal::{Place, Role, placement};
use miette::IntoDiagnostic;
use serde_json::json;
use std::io::Write;
use std::process::ExitCode;

/// Show where each part of a node belongs on this machine.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  stele hw placement
  stele hw placement --root DIR   of a machine that was recorded with `stele hw --record`

A node carries it out where node.toml has `[hardware]` with `placement = \"auto\"`; by default the scheduler decides, as it should
where other programs or several nodes share the machine. The signer is a process of its own: give its unit the CPUAffinity=
that is shown. It is near a PCI card that may be the HSM: an encryption controller (`crypto.*` in `stele hw --facts`) that is no part
of the processor; one in the network or on USB is not seen, and no place is near it. Machines of fewer than eight cores are left to the scheduler.")]
pub struct PlacementArgs {
    #[command(flatten)]
    tree: Tree,
    /// Print JSON: {placed, reason, places[{role, cpus, numa_node, why}]}.
    #[arg(long)]
    json: bool,
}

/// Runs to the end.
pub fn run(args: &PlacementArgs) -> miette::Result<ExitCode> {
    let found = placement::placement(&take(&args.tree)?);
    let mut out = std::io::stdout().lock();
    if args.json {
        let reason = found.as_ref().err().map(ToString::to_string);
        let places = found.unwrap_or_default();
        writeln!(out, "{}", json!({ "placed": reason.is_none(), "reason": reason, "places": places }))
            .into_diagnostic()?;
        return Ok(ExitCode::SUCCESS);
    }
    match found {
        Err(why) => writeln!(out, "nothing is placed: {why}").into_diagnostic()?,
        Ok(places) => {
            for place in &places {
                writeln!(out, "{}", line(place)).into_diagnostic()?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn line(Place { role, cpus, numa_node, why }: &Place) -> String {
    let cpus = cpus.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let node = numa_node.map_or_else(|| "several nodes".to_owned(), |node| format!("node {node}"));
    let affinity = if *role == Role::Signer { format!("    CPUAffinity={cpus}") } else { String::new() };
    format!("{:<14}{node:<14}{why}\n              processors {cpus}{affinity}", format!("{role:?}").to_lowercase())
}
