//! `stele attest`: what a validator's TPM says of its machine, and whether that is what it should say.

mod here;

use super::genesis;
use crate::attestation::enrolment::{Enrolled, Enrolment};
use crate::attestation::{self, Expected, Policy, Standing, Verdict};
use clap::{Args, Subcommand};
use client::RpcClient;
use client::rpc::{AttestationInfo, RpcError};
use hsm::attestation::{NONCE_BYTES, Nonce};
use miette::{IntoDiagnostic, WrapErr, miette};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};
use tpm::endorsement::Roots;

/// How long it is asked again while others are asking.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest wait for a TPM that makes an RSA key; the node waits less long.
const TPM_PATIENCE: Duration = Duration::from_secs(90);

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
and 11). Whose TPM it is this does not tell: see `stele attest enrol`, or do it once while the machine is in your hands.")]
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
    /// Have a node's TPM prove, by its maker's certificate, that it is one and has the key of its attestations; status 1 where not.
    #[command(after_help = "Examples:
  stele attest enrol --rpc http://validator-3:8545 --policy machines.toml        its ek_roots are the makers that are trusted
  stele attest enrol --rpc http://validator-3:8545 --roots vendor.pem --intermediates steps.pem --json

Prints the name for `tpm_keys` of a policy, and the fingerprint of the certificate, by which the machine's papers may name its
TPM. The secret of the challenge is drawn here and compared here; nothing that the node says is believed without it.")]
    Enrol {
        /// The node's RPC.
        #[arg(long, value_name = "URL")]
        rpc: String,
        #[command(flatten)]
        makers: Makers,
        /// Print JSON.
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
    /// Print the policy that the machine fulfils on which this runs: its own TPM's key and registers; no node, no network.
    Here(here::HereArgs),
    /// Print the policy that an attested machine fulfils as it stands, once its attestation is verified.
    #[command(after_help = "Example:
  stele attest policy quote.json --nonce 5f0c… --genesis genesis.toml > machines.toml")]
    Policy {
        #[command(flatten)]
        given: Given,
    },
}

/// Whose certificates count.
#[derive(Clone, Debug, Args)]
struct Makers {
    /// A policy with ek_roots.
    #[arg(long, value_name = "FILE", required_unless_present = "roots", conflicts_with = "roots")]
    policy: Option<PathBuf>,
    /// Certificates of makers of TPMs that are trusted, PEM.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    roots: Vec<PathBuf>,
    /// Certificates between these and the TPMs, PEM.
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "roots")]
    intermediates: Vec<PathBuf>,
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
        Action::Enrol { rpc, makers, json } => {
            let roots = match &makers.policy {
                Some(policy) => Policy::read(policy).and_then(|policy| policy.roots()),
                None => attestation::roots(&makers.roots, &makers.intermediates),
            };
            let enrolled = super::runtime()?.block_on(enrol(rpc, &roots.into_diagnostic()?))?;
            print!("{}", if *json { json_of(&enrolled)? } else { words(&enrolled) });
            Ok(ExitCode::SUCCESS)
        }
        Action::Verify { given, policy, json } => {
            let policy = policy.as_deref().map(Policy::read).transpose().into_diagnostic()?;
            let (_, verdict) = given.judge(policy.as_ref())?;
            print!("{}", if *json { json_of(&verdict)? } else { text(&verdict) });
            Ok(if verdict.holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Action::Here(args) => here::run(args).map(|()| ExitCode::SUCCESS),
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
    let nonce: Nonce = match nonce {
        Some(nonce) => nonce,
        None => drawn()?,
    };
    let client = RpcClient::new(rpc).into_diagnostic()?;
    let info = patiently(async || client.attestation(&nonce).await).await.into_diagnostic()?;
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

async fn enrol(rpc: &str, roots: &Roots) -> miette::Result<Enrolled> {
    let client = RpcClient::with_timeout(rpc, TPM_PATIENCE).into_diagnostic()?;
    let told = patiently(async || client.endorsement().await).await.into_diagnostic()?;
    let enrolment = Enrolment::begin(&told, roots, SystemTime::now(), drawn()?).into_diagnostic()?;
    let challenge = enrolment.challenge();
    let answer = patiently(async || client.activate(&challenge).await).await.into_diagnostic()?;
    enrolment.finish(answer.as_ref()).into_diagnostic()
}

fn drawn<const N: usize>() -> miette::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| miette!("no randomness from the system: {error}"))?;
    Ok(bytes)
}

/// Asks again for as long as others are asking.
async fn patiently<T>(mut ask: impl AsyncFnMut() -> Result<T, RpcError>) -> Result<T, RpcError> {
    let start = Instant::now();
    loop {
        match ask().await {
            Err(RpcError::Busy { retry_after_ms }) if start.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(retry_after_ms.into())).await;
            }
            answer => return answer,
        }
    }
}

fn words(enrolled: &Enrolled) -> String {
    format!(
        "endorsement key  {}\nissuer           {}\ncertificate      SHA-256 {}\n\
         The TPM of this certificate has the key of the machine's attestations. For the policy:\n\n\
         tpm_keys = [\"{}\"]\n",
        enrolled.endorsement_key, enrolled.issuer, enrolled.certificate_sha256, enrolled.tpm_key_name
    )
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
