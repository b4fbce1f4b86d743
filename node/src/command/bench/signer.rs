//! `stele bench signer`: what a slow HSM does to a network, where it signs every round and where it certifies the keys that
//! do.
//!
//! Each row is a devnet of its own, one after the other with the same load: keys in files first and last, to show what the
//! machine did meanwhile; then tokens as they are; then tokens whose signatures take so much longer. Deliberately absent:
//! the devnet itself, which is started as a user would start it.

mod drawing;
mod text;

use super::pages::{PageArgs, Pages};
use super::{BenchError, note};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::process::{Command, Stdio};

/// Stem of the files that `--out` makes.
const STEM: &str = "signer-latency";

/// Measure what a slow HSM does to a network.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  stele bench signer
  stele bench signer --latency-ms 10,125 --seconds 10 --json -
  stele bench signer --rate 2000 --out results/

Each row starts a devnet as `stele devnet` does, with SoftHSM2 in the place of the HSM; latency is added in the signer process.
--out writes signer-latency.json, .md and .svg.")]
pub struct SignerArgs {
    /// What a signature of the HSM takes, in milliseconds, by comma.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 50, 125, 300],
        value_parser = clap::value_parser!(u32).range(1..=10_000), value_name = "MS")]
    latency_ms: Vec<u32>,
    /// Transactions a second.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000), value_name = "N")]
    rate: u32,
    /// Validators.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64), value_name = "N")]
    validators: u16,
    /// Seconds that are measured in each row.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=3_600), value_name = "N")]
    seconds: u32,
    #[command(flatten)]
    pages: PageArgs,
}

/// Where keys are and which of them signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Setup {
    /// `soft` or `softhsm`.
    store: &'static str,
    /// `direct` or `certified`.
    mode: &'static str,
    /// Added to each signature of the HSM.
    added_latency_ms: u32,
}

impl Setup {
    fn name(&self) -> String {
        let Self { store, mode, added_latency_ms } = self;
        match added_latency_ms {
            0 => format!("{store}, {mode}"),
            ms => format!("{store}, {mode}, {ms} ms more"),
        }
    }

    fn hsm_signs_rounds(&self) -> bool {
        self.store != SOFT.store && self.mode == SOFT.mode
    }
}

/// What the devnet's report says.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Measured {
    committed_tps: f64,
    rounds_per_second: f64,
    latency_ms: Latency,
    signer_stats: SignerTimes,
    cpu_seconds: f64,
    headers_agree: bool,
}

/// From the intended send time to the durable receipt.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Latency {
    mean: f64,
    p50: f64,
    p99: f64,
}

/// A round's signature in the signer, of the slowest validator.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct SignerTimes {
    p50_us: u64,
    p99_us: u64,
}

/// A line of the result.
#[derive(Clone, Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    setup: Setup,
    #[serde(flatten)]
    measured: Measured,
    /// Committed, as part of what keys in files committed.
    of_soft_tps: f64,
    /// Median latency over that with keys in files, in milliseconds.
    over_soft_p50_ms: f64,
    /// The same in signatures of the HSM as the signer took them at the median; none where it does not sign the rounds.
    over_soft_p50_signatures: Option<f64>,
}

/// The whole result.
#[derive(Clone, Debug, Serialize)]
struct Signers {
    kind: &'static str,
    rate: u32,
    validators: u16,
    seconds: u32,
    cores: usize,
    version: &'static str,
    /// Keys in files first and last; the rest is compared with their mean.
    results: Vec<Row>,
}

/// Measures and tells.
pub(super) fn run(args: &SignerArgs) -> Result<(), BenchError> {
    let destination = args.pages.look(STEM)?;
    let setups = setups(&args.latency_ms);
    let mut measured = Vec::new();
    for setup in &setups {
        note(&format!("{} of {}: {}", measured.len() + 1, setups.len(), setup.name()));
        measured.push(measure(args, setup)?);
    }
    let result = Signers {
        kind: "signer",
        rate: args.rate,
        validators: args.validators,
        seconds: args.seconds,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        version: env!("CARGO_PKG_VERSION"),
        results: compare(&setups, measured),
    };
    let (table, markdown, svg) = (text::table(&result), text::markdown(&result), drawing::svg(&result));
    Pages { result: &result, table, markdown, svg }.publish(destination)
}

const SOFT: Setup = Setup { store: "soft", mode: "direct", added_latency_ms: 0 };

/// Keys in files around tokens without and with latency, each in both modes.
fn setups(latencies: &[u32]) -> Vec<Setup> {
    let mut latencies = [&[0], latencies].concat();
    latencies.sort_unstable();
    latencies.dedup();
    let tokens = latencies.into_iter().flat_map(|added_latency_ms| {
        ["direct", "certified"].map(|mode| Setup { store: "softhsm", mode, added_latency_ms })
    });
    std::iter::once(SOFT).chain(tokens).chain([SOFT]).collect()
}

fn compare(setups: &[Setup], measured: Vec<Measured>) -> Vec<Row> {
    let soft = |of: fn(&Measured) -> f64| {
        let values = || setups.iter().zip(&measured).filter(|(setup, _)| **setup == SOFT).map(|(_, row)| of(row));
        values().sum::<f64>() / (values().count().max(1) as f64)
    };
    let (tps, p50) = (soft(|row| row.committed_tps), soft(|row| row.latency_ms.p50));
    let row = |(setup, measured): (&Setup, Measured)| {
        let over = measured.latency_ms.p50 - p50;
        let signature_ms = measured.signer_stats.p50_us as f64 / 1e3;
        Row {
            setup: *setup,
            of_soft_tps: measured.committed_tps / tps,
            over_soft_p50_ms: over,
            over_soft_p50_signatures: setup.hsm_signs_rounds().then_some(over / signature_ms),
            measured,
        }
    };
    setups.iter().zip(measured).map(row).collect()
}

fn measure(args: &SignerArgs, setup: &Setup) -> Result<Measured, BenchError> {
    let unreadable = |source| BenchError::DevnetReport { row: setup.name(), source };
    let report = std::env::temp_dir().join(format!("stele-bench-signer-{}.json", std::process::id()));
    let arguments = [
        ("--validators", args.validators.to_string()),
        ("--rate", args.rate.to_string()),
        ("--seconds", args.seconds.to_string()),
        ("--signer", setup.store.to_owned()),
        ("--signing", setup.mode.to_owned()),
        ("--signer-latency-ms", setup.added_latency_ms.to_string()),
    ];
    let program = std::env::current_exe().map_err(unreadable)?;
    let mut command = Command::new(program);
    command.arg("devnet").args(arguments.iter().flat_map(|(name, value)| [*name, value]));
    command.arg("--json").arg(&report).stdin(Stdio::null()).stdout(Stdio::null());
    if !command.status().map_err(unreadable)?.success() {
        let words: Vec<String> = arguments.iter().map(|(name, value)| format!("{name} {value}")).collect();
        return Err(BenchError::Devnet { row: setup.name(), command: format!("stele devnet {}", words.join(" ")) });
    }
    let text = std::fs::read(&report).map_err(unreadable)?;
    std::fs::remove_file(&report).map_err(unreadable)?;
    serde_json::from_slice(&text).map_err(|error| unreadable(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(tps: f64, p50: f64) -> Measured {
        Measured {
            committed_tps: tps,
            rounds_per_second: 10.0,
            latency_ms: Latency { mean: p50, p50, p99: 2.0 * p50 },
            signer_stats: SignerTimes { p50_us: 300, p99_us: 900 },
            cpu_seconds: 1.0,
            headers_agree: true,
        }
    }

    fn signers() -> Signers {
        let setups = setups(&[125, 10]);
        let measured = (0..setups.len()).map(|place| measured(1_000.0 - place as f64, 20.0 + place as f64)).collect();
        let results = compare(&setups, measured);
        Signers { kind: "signer", rate: 1_000, validators: 4, seconds: 1, cores: 2, version: "0", results }
    }

    #[test]
    fn keys_in_files_stand_around_what_is_compared_with_them() {
        let rows = signers().results;
        let latencies: Vec<u32> = rows.iter().map(|row| row.setup.added_latency_ms).collect();
        assert_eq!(latencies, [0, 0, 0, 10, 10, 125, 125, 0]);
        assert_eq!((rows[0].setup, rows[7].setup), (SOFT, SOFT));
        // Their mean is 23.5 ms.
        assert!((rows[6].over_soft_p50_ms - 2.5).abs() < 1e-9);
        // The signer took 0.3 ms for each.
        assert!((rows[5].over_soft_p50_signatures.expect("direct") - 1.5 / 0.3).abs() < 1e-9);
        assert_eq!(rows[6].over_soft_p50_signatures, None, "certified");
        assert_eq!(rows[0].over_soft_p50_signatures, None, "keys in files");
    }

    #[test]
    fn every_form_holds_every_row() {
        let signers = signers();
        assert_eq!(text::table(&signers).lines().filter(|line| line.contains("softhsm")).count(), 6);
        assert_eq!(text::markdown(&signers).lines().filter(|line| line.starts_with("| softhsm")).count(), 6);
        let svg = drawing::svg(&signers);
        assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
        assert!(svg.contains("certified") && svg.contains("direct"));
    }
}
