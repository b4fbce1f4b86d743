//! `stele attest`: what a validator's TPM says of its machine, and whether that is what it should say.

use super::genesis;
use crate::attestation::{self, Expected, Policy, Standing, Verdict};
use clap::{Args, Subcommand};
use client::RpcClient;
use client::rpc::{AttestationInfo, RpcError};
use hsm::attestation::{NONCE_BYTES, Nonce};
use miette::{IntoDiagnostic, WrapErr, miette};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long it is asked again while others are asking.
const PATIENCE: Duration = Duration::from_secs(10);

/// Have a validator's machine attested by its TPM, and verify attestations.
#[derive(Clone, Debug, Args)]
pub struct AttestArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// Ask a node for an attestation: its TPM's quote over your nonce, bound to the validator's keys.
    #[command(after_help = "Examples:
  stele attest quote --rpc http://validator-3:8545 --out quote.json            with a nonce of its own, which it prints
  stele attest quote --rpc http://validator-3:8545 --nonce 5f0c… --json

The validator's signer.toml has to have [attestation]; its keys `device` and `registers` have defaults (/dev/tpmrm0; 0 to 7
and 11). The first time, do this while the machine is in your hands: whose TPM it is nothing but that tells.")]
    Quote {
        /// The node's RPC.
        #[arg(long, value_name = "URL")]
        rpc: String,
        /// 32 random bytes in hexadecimal, which the answer has to contain; drawn where not given.
        #[arg(long, value_name = "HEX", value_parser = nonce)]
        nonce: Option<Nonce>,
        /// Write the attestation to this file.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Print the attestation.
        #[arg(long)]
        json: bool,
    },
    /// Verify an attestation: its signatures, nonce, ledger, validator, and its machine against a policy; status 1 where it fails.
    #[command(after_help = "Examples:
  stele attest verify quote.json --nonce 5f0c… --genesis genesis.toml --policy machines.toml
  stele attest verify quote.json --nonce 5f0c… --genesis genesis.toml --json

A policy names TPM keys and what their registers may hold:

  tpm_keys = [\"000b9f…\"]
  event_log = true              # optional: the firmware's list has to add up to the registers
  [registers]
  7 = [\"65ca…\"]
  11 = [\"8f03…\"]                # what `cargo xtask image verify` predicts of an image")]
    Verify {
        #[command(flatten)]
        given: Given,
        /// What the machine should be.
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the policy that an attested machine fulfils as it stands, once its attestation is verified.
    #[command(after_help = "Example:
  stele attest policy quote.json --nonce 5f0c… --genesis genesis.toml > machines.toml")]
    Policy {
        #[command(flatten)]
        given: Given,
    },
}

/// An attestation, and what it is verified against in any case.
#[derive(Clone, Debug, Args)]
struct Given {
    /// What `stele attest quote` wrote.
    file: PathBuf,
    /// The nonce that was sent, in hexadecimal.
    #[arg(long, value_name = "HEX", value_parser = nonce)]
    nonce: Nonce,
    /// The ledger's genesis, from a source that you trust.
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
}

/// Runs `stele attest`.
///
/// # Errors
/// In words for the terminal.
pub fn run(args: &AttestArgs) -> miette::Result<ExitCode> {
    match &args.action {
        Action::Quote { rpc, nonce, out, json } => {
            super::runtime()?.block_on(quote(rpc, *nonce, out.as_deref(), *json))?;
            Ok(ExitCode::SUCCESS)
        }
        Action::Verify { given, policy, json } => {
            let policy = policy.as_deref().map(Policy::read).transpose().into_diagnostic()?;
            let (_, verdict) = given.judge(policy.as_ref())?;
            print!("{}", if *json { json_of(&verdict)? } else { text(&verdict) });
            Ok(if verdict.holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Action::Policy { given } => {
            let (info, verdict) = given.judge(None)?;
            if !verdict.holds {
                return Err(miette!(help = "`stele attest verify` says more", "the attestation does not hold"));
            }
            let policy = attestation::policy_of(&info).into_diagnostic()?;
            print!("{}", toml::to_string(&policy).into_diagnostic()?);
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl Given {
    fn judge(&self, policy: Option<&Policy>) -> miette::Result<(AttestationInfo, Verdict)> {
        let genesis = genesis::read(&self.genesis)?;
        let about = || format!("the attestation in {}", self.file.display());
        let text = std::fs::read_to_string(&self.file).into_diagnostic().wrap_err_with(about)?;
        let info: AttestationInfo = serde_json::from_str(&text).into_diagnostic().wrap_err_with(about)?;
        let validators: Vec<_> = genesis.validators.iter().map(attestation::keys_of).collect();
        let expected = Expected { nonce: self.nonce, chain: genesis.chain_id(), validators: &validators, policy };
        let verdict = attestation::judge(&info, &expected).into_diagnostic().wrap_err_with(about)?;
        Ok((info, verdict))
    }
}

async fn quote(rpc: &str, nonce: Option<Nonce>, out: Option<&Path>, json: bool) -> miette::Result<()> {
    let nonce = match nonce {
        Some(nonce) => nonce,
        None => {
            let mut nonce = [0; NONCE_BYTES];
            getrandom::fill(&mut nonce).map_err(|error| miette!("no randomness from the system: {error}"))?;
            nonce
        }
    };
    let info = ask(&RpcClient::new(rpc).into_diagnostic()?, &nonce).await.into_diagnostic()?;
    let document = json_of(&info)?;
    if let Some(path) = out {
        std::fs::write(path, &document)
            .into_diagnostic()
            .wrap_err_with(|| format!("cannot write {}", path.display()))?;
    }
    if json {
        print!("{document}");
    } else {
        println!("nonce      {}", hex::encode(nonce));
        println!("transport  {}", info.transport_key);
        info.registers.iter().for_each(|(at, value)| println!("register   {at:<2} {value}"));
        println!(
            "event log  {}",
            info.event_log.as_ref().map_or("none".into(), |log| format!("{} bytes", log.0.len()))
        );
        println!("Nothing of this is verified yet: `stele attest verify`.");
    }
    Ok(())
}

/// Asks again for as long as others are asking.
async fn ask(rpc: &RpcClient, nonce: &Nonce) -> Result<AttestationInfo, RpcError> {
    let start = Instant::now();
    loop {
        match rpc.attestation(nonce).await {
            Err(RpcError::Busy { retry_after_ms }) if start.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(retry_after_ms.into())).await;
            }
            answer => return answer,
        }
    }
}

fn text(verdict: &Verdict) -> String {
    let mut text = String::new();
    for check in &verdict.checks {
        let mark = match check.standing {
            Standing::Holds => " ",
            Standing::Fails => "X",
            Standing::Unchecked => "?",
        };
        let _ = writeln!(text, "{mark} {:10} {}", check.what, check.found);
    }
    let _ = writeln!(text, "\nTPM key    {}", verdict.tpm_key_name);
    for (at, value) in &verdict.registers {
        let _ = writeln!(text, "register   {at:<2} {value}");
    }
    let unchecked = verdict.checks.iter().any(|check| check.standing == Standing::Unchecked);
    text.push_str(match (verdict.holds, unchecked) {
        (false, _) => "\nIT DOES NOT HOLD: see the lines marked X.\n",
        (true, true) => "\nIt holds, as far as it was checked: see the lines marked ?.\n",
        (true, false) => "\nIt holds.\n",
    });
    text
}

fn json_of(value: &impl serde::Serialize) -> miette::Result<String> {
    Ok(serde_json::to_string_pretty(value).into_diagnostic()? + "\n")
}

fn nonce(text: &str) -> Result<Nonce, String> {
    let bytes = hex::decode(text).map_err(|error| error.to_string())?;
    bytes.try_into().map_err(|_| format!("a nonce has {NONCE_BYTES} bytes, {} digits", NONCE_BYTES * 2))
}
