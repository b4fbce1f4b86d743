//! The signer without the node: for a machine or user of its own, with the smallest program that holds the keys.
//! `stele signer` does the same.

use hsm::command::{Command, USAGE};
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(command) = Command::parse(std::env::args_os().skip(1)) else {
        eprintln!("usage: stele-signer …\n{USAGE}");
        return ExitCode::from(2);
    };
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    match command.execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stele-signer: {error}");
            ExitCode::from(error.cause.exit_status())
        }
    }
}
