//! `stele bench ceiling`: the multiplications that a GPU does at most, against which its verdicts a second are read.

use super::BenchError;
use accel::gpu::{Options, ceilings};
use clap::Args;
use std::io::Write;
use std::path::Path;

/// Measure what a GPU can do at most.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  stele bench ceiling --adapter llvmpipe")]
pub struct CeilingArgs {
    /// Part of an adapter's name, in place of the best one; a software adapter is taken when it is named.
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,
}

/// Measures, and prints a list of operations with their rates.
pub(super) fn run(args: &CeilingArgs) -> Result<(), BenchError> {
    let allow_software = args.adapter.is_some();
    let options = Options { adapter: args.adapter.clone(), allow_software, ..Options::default() };
    let found = ceilings(&options).map_err(BenchError::NoGpu)?;
    let json = serde_json::to_string_pretty(&found).expect("numbers and names have a JSON form");
    writeln!(std::io::stdout(), "{json}").map_err(super::failed_at(Path::new("standard output")))
}
