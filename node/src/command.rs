//! The command line: one variant and one file for each subcommand.

mod archive;
mod attest;
mod backup;
mod bench;
mod ceremony;
mod export;
mod fsck;
mod genesis;
mod governance;
mod hsm;
mod hw;
mod key;
mod node;
mod place;
mod progress;
mod rebuild;
mod restore;
mod signer;
mod simulate;
mod snapshot;
mod this_machine;
mod tx;
mod verify;

use clap::Subcommand;
use miette::IntoDiagnostic;
use std::process::ExitCode;

/// What `stele` can do. The arguments of a subcommand are put together only where it is called: the whole command line is a
/// third of the code that a node or signer runs at its start.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Command {
    /// Run a validator.
    Node(node::NodeArgs),
    /// Run the signer process of a validator, or create its keys.
    Signer(signer::SignerArgs),
    /// Run a network of validators on this machine under load, and print a report.
    Devnet(crate::devnet::DevnetArgs),
    /// Hold, rehearse and check key ceremonies.
    Ceremony(ceremony::CeremonyArgs),
    /// Make or check a genesis.
    Genesis(genesis::GenesisArgs),
    /// Make or show an account key.
    Key(key::KeyArgs),
    /// Send transactions and read the ledger.
    Tx(tx::TxArgs),
    /// Export a node's ledger as tables: JSON lines or Parquet.
    Export(export::ExportArgs),
    /// Change the committee or the parameters of a ledger, and show what its members approve.
    Governance(governance::GovernanceArgs),
    /// Simulate a committee and check that nothing happens that must not.
    Simulate(simulate::SimulateArgs),
    /// Check the data directory of a validator that is not running.
    Fsck(fsck::FsckArgs),
    /// Copy certified states of a node, verify them, and start nodes from them.
    Snapshot(snapshot::SnapshotArgs),
    /// Rebuild the state of a node that is not running out of its log.
    Rebuild(rebuild::RebuildArgs),
    /// Back a node up, beside it while it runs.
    Backup(backup::BackupArgs),
    /// Make the data directory of a validator out of a backup.
    Restore(restore::RestoreArgs),
    /// Archive the cold parts of a ledger, check archives and backups, and make nodes of them.
    Archive(archive::ArchiveArgs),
    /// Check a file of signatures.
    Verify(verify::VerifyArgs),
    /// Measure the engines of this machine.
    Bench(bench::BenchArgs),
    /// Examine a token behind a PKCS#11 module.
    Hsm(hsm::HsmArgs),
    /// Show what this machine is, and hold it against a policy.
    Hw(hw::HwArgs),
    /// Have a validator's machine attested by its TPM, and verify attestations.
    Attest(attest::AttestArgs),
}

impl Command {
    /// Runs to the end; the status to leave with.
    pub fn run(self) -> miette::Result<ExitCode> {
        match self {
            Self::Ceremony(args) => return ceremony::run(args),
            Self::Verify(args) => return Ok(verify::run(&args)),
            Self::Fsck(args) => return Ok(fsck::run(&args)),
            Self::Rebuild(args) => rebuild::run(&args)?,
            Self::Backup(args) => backup::run(&args)?,
            Self::Restore(args) => restore::run(&args)?,
            Self::Archive(args) => archive::run(&args)?,
            Self::Snapshot(args) => snapshot::run(&args)?,
            Self::Simulate(args) => return simulate::run(&args),
            Self::Hsm(args) => return hsm::run(&args),
            Self::Hw(args) => return hw::run(&args),
            Self::Attest(args) => return attest::run(&args),
            Self::Bench(args) => bench::run(args)?,
            Self::Export(args) => return export::run(&args),
            Self::Node(args) => return node::run(args),
            Self::Signer(args) => signer::run(args)?,
            Self::Devnet(args) => runtime()?.block_on(crate::devnet::run(args))?,
            Self::Genesis(args) => genesis::run(args)?,
            Self::Key(args) => key::run(args)?,
            Self::Governance(args) => runtime()?.block_on(governance::run(args))?,
            Self::Tx(args) => runtime()?.block_on(tx::run(args))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn runtime() -> miette::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().into_diagnostic()
}

/// `cryptoki` reports each mechanism of a token that it does not know as an error, and anybody can make `jsonrpsee` warn.
const DEFAULT_LOG: &str = "info,cryptoki::mechanism=off,jsonrpsee_server=error";

/// Structured logs on standard error: text for a terminal, JSON lines otherwise; `STELE_LOG` filters (default `info`).
fn start_logging() {
    use std::io::IsTerminal;
    let filter = tracing_subscriber::EnvFilter::try_from_env("STELE_LOG").unwrap_or_else(|_| DEFAULT_LOG.into());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() { builder.init() } else { builder.json().init() }
}
