//! The binary `stele`: a ledger node, its signer, and the tools around them. Each subcommand is a file of [`command`].

mod algorithm;
mod attestation;
mod backup;
mod command;
mod committees;
mod config;
mod devnet;
mod durable;
mod epochs;
mod execution;
mod export;
#[cfg(test)]
mod fixtures;
mod health;
mod identity;
mod ingress;
mod key_ages;
mod log_scrub;
mod machine;
mod machines;
mod metrics;
mod node;
mod notify;
mod pinning;
mod pool;
mod progress;
mod reach;
mod rebuild;
mod records;
mod repair;
mod replica;
mod result_file;
mod rpc;
mod signatures;
mod state_sync;
mod status;
mod tables;
mod topology;
mod wire;

use clap::Parser;
use command::Command;
use std::io::Write;
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

/// Status of a program that SIGPIPE ends, as a shell sees it.
const CLOSED_PIPE: i32 = 128 + 13;

/// `stele … | head` closes our output early. That is no fault to report: end as other programs do, who die of SIGPIPE.
/// Rust ignores that signal, as a node must, and `println!` panics instead; as it does where an output takes no more.
fn end_when_output_cannot_be_written() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let message = panic.payload_as_str().unwrap_or_default();
        if message.starts_with("failed printing to std") {
            if message.contains("Broken pipe") {
                std::process::exit(CLOSED_PIPE);
            }
            // Standard error may be what takes no more.
            let _ = writeln!(std::io::stderr(), "Error: {message}; what was done before is done");
            std::process::exit(1);
        }
        report(panic);
    }));
}

fn main() -> miette::Result<ExitCode> {
    end_when_output_cannot_be_written();
    let cli = Cli::parse();
    cli.command.run()
}
