//! `stele devnet`: a network of validators on this machine, as separate processes, under an open-loop load, and a report.
//!
//! Owns the order of events: files, keys, processes, readiness, load, report, stop. Whatever happens (an error, Ctrl-C,
//! a kill of this process), no process is left behind; no file either, unless `--keep` or `--data` asks for it.
//! Deliberately absent: anything that a node does differently here than elsewhere.

mod accounts;
mod links;
mod load;
mod measure;
mod network;
mod process;
mod recovery;
mod report;
mod screen;
mod site;
mod traffic;
pub mod usage;
mod validator;

use crate::algorithm;
use crate::config::{CongestionControl, GpuUse};
use crate::result_file;
use clap::{Args, ValueEnum};
use hsm::config::{SigningConfig, SigningMode};
use miette::{Diagnostic, IntoDiagnostic, WrapErr};
use network::Network;
use site::Site;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
pub(crate) use traffic::SplitMix;
use types::{AlgId, Transaction};

/// Load before the window of measurement, so that caches are warm and batches have their size.
const WARM_UP: Duration = Duration::from_secs(3);
/// Longest wait for answers after the window.
const TAIL: Duration = Duration::from_secs(20);

/// Run a network of validators on this machine under load, and print a report.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  stele devnet                                  four validators, 10,000 transfers a second for 20 seconds
  stele devnet --rate max --seconds 30          as much as the network takes
  stele devnet --keep                           leave it running afterwards, and print how to use it
  stele devnet --seconds 0 --keep               no load at all
  stele devnet --algorithm sm2-sm3              accounts that sign with SM2
  stele devnet --gpu require --verify-threads 4 verified on a GPU, and on four threads of each validator
  stele devnet --delay-ms 25 --loss 1           validators 50 ms of round trip apart, one packet in a hundred lost
  stele devnet --rate 2000 --restart --rejoin   how long a validator takes to be back, with its disk and without
  stele devnet --signer soft --json out.json    keys in encrypted files; the report also as JSON")]
pub struct DevnetArgs {
    /// Validators, each a process with its signer process.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    validators: u16,
    /// Seconds of measured load, after three of warm-up; 0 for no load.
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// Transactions offered a second, or `max`: as many as are not answered with "busy".
    #[arg(long, default_value = "10000", value_name = "TPS|max")]
    rate: Rate,
    /// Bytes of an encoded, signed transaction; what is left over its fields is an incompressible memo.
    #[arg(long, default_value_t = 512, value_name = "BYTES")]
    payload: u32,
    /// Signature algorithm of the accounts that send.
    #[arg(long, value_name = "NAME", default_value = algorithm::DEFAULT, value_parser = algorithm::parser())]
    algorithm: AlgId,
    /// Signature algorithm of the validators' own keys, for consensus and transport.
    #[arg(
        long,
        value_name = "NAME",
        default_value = algorithm::DEFAULT,
        value_parser = algorithm::validator_parser()
    )]
    validator_algorithm: AlgId,
    /// Whether the validators verify on a GPU; all of them share the one that there is.
    #[arg(long, value_enum, default_value_t = GpuUse::Prefer)]
    gpu: GpuUse,
    /// Part of an adapter's name, in place of the best one; a software adapter is taken when it is named.
    #[arg(long, value_name = "NAME")]
    gpu_adapter: Option<String>,
    /// Threads with which each validator verifies on the CPU.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    verify_threads: u16,
    /// Execution threads of each validator.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    shards: u16,
    /// Where the validators' keys are.
    #[arg(long, value_enum, default_value_t = SignerKind::Softhsm)]
    signer: SignerKind,
    /// Which key signs the rounds: the consensus key each of them, or epoch keys that it certifies.
    #[arg(long, value_enum, default_value_t = Signing::Direct)]
    signing: Signing,
    /// What each signature of the consensus and transport keys takes longer, as those of a slow HSM do.
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=10_000))]
    signer_latency_ms: u32,
    /// Congestion control between validators, as `transport.congestion` in node.toml. Default: the node's.
    #[arg(long, value_enum, value_name = "NAME")]
    congestion: Option<CongestionControl>,
    /// Budget of second copies of blocks on lossy links, as `transport.copy_bytes_per_second` in node.toml; 0 is none.
    /// Default: the node's.
    #[arg(long, value_name = "BYTES/S")]
    copies: Option<u32>,
    #[command(flatten)]
    links: links::LinkArgs,
    /// After the window kill a validator, start it again, and report how long it takes until it is ready.
    #[arg(long)]
    restart: bool,
    /// After the window, under the same load for as long again, kill a validator, empty its disk, start it, and report how
    /// long it takes until it is as far as the others.
    #[arg(long)]
    rejoin: bool,
    /// Directory for the network's files: new or empty, and kept. Default: a new one among the temporary files.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Leave the network running after the report until Ctrl-C, and its files in place after that.
    #[arg(long)]
    keep: bool,
    /// Write the report as one JSON object.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// How fast transactions are offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// This many a second.
    PerSecond(u32),
    /// As many as the network takes.
    Max,
}

impl FromStr for Rate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected a number of transactions a second from 1 to 1000000, or `max`";
        match text {
            "max" => Ok(Self::Max),
            _ => match text.replace(['_', ','], "").parse() {
                Ok(rate @ 1..=1_000_000) => Ok(Self::PerSecond(rate)),
                _ => Err(EXPECTED),
            },
        }
    }
}

/// Where the validators' keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SignerKind {
    /// In a SoftHSM2 token for each validator, behind PKCS#11.
    Softhsm,
    /// In an encrypted file for each validator.
    Soft,
}

/// Which key signs the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Signing {
    /// The consensus key, where it is.
    Direct,
    /// An epoch key in the signer's memory.
    Certified,
}

impl Signing {
    fn label(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Certified => "certified",
        }
    }

    fn config(self, added_latency_ms: u32) -> SigningConfig {
        let mode = match self {
            Self::Direct => SigningMode::Direct,
            Self::Certified => SigningMode::Certified,
        };
        SigningConfig { mode, added_latency_ms, ..SigningConfig::default() }
    }
}

impl SignerKind {
    fn label(self) -> &'static str {
        match self {
            Self::Softhsm => "softhsm",
            Self::Soft => "soft",
        }
    }
}

#[derive(Debug, Error, Diagnostic)]
enum DevnetError {
    #[error("--payload {given} is too small: a signed transfer takes {needed} bytes without a memo")]
    #[diagnostic(help("give --payload {needed} or more"))]
    PayloadTooSmall { given: u32, needed: usize },
    #[error("--payload {given} is too large: a ledger allows transactions of {PAYLOAD_MAX} bytes at most")]
    PayloadTooLarge { given: u32 },
    #[error("--{option} comes after a load, and --seconds is 0")]
    #[diagnostic(help("give --seconds 10 or more"))]
    NoLoad { option: &'static str },
    #[error("--rejoin takes a validator away, and {validators} do not go on without one")]
    #[diagnostic(help("give --validators {FEWEST_TO_REJOIN} or more"))]
    TooFewToRejoin { validators: u16 },
    #[error("interrupted before the report")]
    #[diagnostic(help("every process was stopped"))]
    Interrupted,
    #[error("the validators disagree on the ledger header at height {height}")]
    #[diagnostic(help(
        "this must never happen; run again with --data DIR and keep the directory for an investigation"
    ))]
    HeadersDisagree { height: u64 },
    #[error("the ledger headers could not be read from every node")]
    #[diagnostic(help("see the log of each node in the data directory; run again with --data DIR to keep it"))]
    HeadersUnread,
    #[error("nothing was committed in the window")]
    #[diagnostic(help("see the log of each node in the data directory; run again with --data DIR to keep it"))]
    NothingCommitted,
    #[error("{count} of the processes died during the run")]
    #[diagnostic(help("see the logs; run again with --data DIR to keep them"))]
    ProcessesDied { count: usize },
}

/// Fewest validators that go on without one of them.
const FEWEST_TO_REJOIN: u16 = 4;
/// Largest transaction that a genesis may allow.
const PAYLOAD_MAX: u32 = 64 << 10;

/// Runs `stele devnet` to its end.
///
/// # Errors
/// Whatever kept it from a report, or a report that shows a fault; in words for the terminal.
pub async fn run(args: DevnetArgs) -> miette::Result<()> {
    let needed = Transaction::transfer_overhead(args.algorithm);
    if (args.payload as usize) < needed {
        return Err(DevnetError::PayloadTooSmall { given: args.payload, needed }.into());
    }
    if args.payload > PAYLOAD_MAX {
        return Err(DevnetError::PayloadTooLarge { given: args.payload }.into());
    }
    let after_load = [("restart", args.restart), ("rejoin", args.rejoin)];
    if let Some((option, _)) = after_load.into_iter().find(|(_, asked)| *asked && args.seconds == 0) {
        return Err(DevnetError::NoLoad { option }.into());
    }
    if args.rejoin && args.validators < FEWEST_TO_REJOIN {
        return Err(DevnetError::TooFewToRejoin { validators: args.validators }.into());
    }
    let mut interrupt = Interrupt::new()?;
    let links = args.links.emulate(args.validators)?;
    let site = Site::create(args.data.as_deref(), args.keep)?;
    if let Some(path) = &args.json {
        result_file::look(path).into_diagnostic().wrap_err_with(|| format!("cannot write {}", path.display()))?;
    }
    let mut network = Network::new(&site, links);
    let driven = tokio::select! {
        driven = drive(&args, &site, &mut network) => driven,
        () = interrupt.wait() => Err(DevnetError::Interrupted.into()),
    };
    if driven.is_ok() && args.keep {
        screen::usage(&network, &site);
        interrupt.wait().await;
    }
    network.stop().await;
    if driven.is_err() && site.kept() {
        println!("the files are in {}", site.path().display());
    }
    site.remove();
    driven
}

async fn drive(args: &DevnetArgs, site: &Site, network: &mut Network) -> miette::Result<()> {
    let total = Duration::from_secs(args.seconds.into()) + WARM_UP;
    println!(
        "{} validators, {} signer, {} transactions, files in {}",
        args.validators,
        args.signer.label(),
        args.algorithm,
        site.path().display()
    );
    let accounts = accounts::Accounts::new(args.algorithm, accounts::COUNT);
    network.prepare(args, &accounts).await?;
    // Signing ahead and starting up share the cores; what is measured starts after both.
    let presigner = (args.seconds > 0).then(|| {
        let order =
            traffic::Order { chain: network.chain(), payload: args.payload as usize, rate: args.rate, duration: total };
        traffic::Presigner::start(accounts, order)
    });
    network.start().await?;
    let Some(presigner) = presigner else { return Ok(()) };
    screen::presigning(&presigner).await;

    let measured = load::run(network, presigner, args).await?;
    let mut report = report::Report::gather(args, network, measured).await;
    report.print();
    report.recovery = recovery::run(network, args).await?;
    report.recovery.print();
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&report).into_diagnostic()?;
        std::fs::write(path, text + "\n")
            .into_diagnostic()
            .wrap_err_with(|| format!("cannot write {}", path.display()))?;
    }
    let died = network.died();
    match report.common_height {
        _ if died > 0 => Err(DevnetError::ProcessesDied { count: died }.into()),
        Some(height) if report.all_answered && !report.headers_agree => {
            Err(DevnetError::HeadersDisagree { height }.into())
        }
        _ if !report.headers_agree => Err(DevnetError::HeadersUnread.into()),
        _ if report.committed == 0 => Err(DevnetError::NothingCommitted.into()),
        _ => Ok(()),
    }
}

/// Ctrl-C, or a polite request from elsewhere.
struct Interrupt {
    signals: [tokio::signal::unix::Signal; 3],
}

impl Interrupt {
    fn new() -> miette::Result<Self> {
        let listen = |kind| signal(kind).into_diagnostic();
        let signals =
            [listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?];
        Ok(Self { signals })
    }

    async fn wait(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_numbers_or_max() {
        assert_eq!("max".parse(), Ok(Rate::Max));
        assert_eq!("20000".parse(), Ok(Rate::PerSecond(20_000)));
        assert_eq!("20_000".parse(), Ok(Rate::PerSecond(20_000)));
        for wrong in ["0", "", "fast", "-1", "1000001"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
