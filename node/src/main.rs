//! The binary `stele`: a ledger node, its signer, and the tools around them. Each subcommand is a file of [`command`].

mod algorithm;
mod command;
mod config;
mod devnet;
mod execution;
#[cfg(test)]
mod fixtures;
mod identity;
mod ingress;
mod metrics;
mod node;
mod pool;
mod reach;
mod records;
mod replica;
mod rpc;
mod state_sync;
mod status;
mod tables;
mod topology;
mod wire;

use clap::Parser;
use command::Command;
use std::process::ExitCode;

/// A permissioned ledger node for physical machines.
#[derive(Debug, Parser)]
#[command(
    name = "stele",
    version,
    after_help = "Start here:\n  stele devnet                    four validators under load, then a report\n  stele devnet --keep             leave them running and print how to use them\n  stele tx transfer --help        send a transaction\n  stele verify --help             check a file of signatures"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

fn main() -> miette::Result<ExitCode> {
    let cli = Cli::parse();
    cli.command.run()
}
