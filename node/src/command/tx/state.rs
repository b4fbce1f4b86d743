//! `stele tx state`: fetches a proof of what the state held under a key, or that it held nothing, and checks it here, from
//! the validators of genesis on. The node is not believed.

use super::proofs::{self, Signed};
use super::{Context, explain, say};
use clap::Args;
use client::rpc::StateProofInfo;
use client::{StateValue, VerifiedState, verify_state_proof};
use miette::{IntoDiagnostic, miette};
use serde::Serialize;
use std::path::PathBuf;
use types::{Certificate, ChainId, Epoch, StateKey};

#[derive(Clone, Debug, Args)]
#[command(
    after_help = "A node proves the state at the height of its newest snapshot whose root is certified, not the present one: the
answer says which height and time that is. A proof that is kept is all that a third party needs, besides genesis.toml.

Examples:
  stele tx --genesis genesis.toml state stele1…                       an account, or that there is none
  stele tx --genesis genesis.toml state object:… --prove proof.json   and keep the proof
  stele tx --genesis genesis.toml state object:… --file proof.json    check a proof that was kept, without a node"
)]
pub struct StateArgs {
    /// An account `stele1…`, an object `object:…` or a grant `grant:…`.
    #[arg(value_parser = key)]
    key: StateKey,
    /// Write the proof to this file, once it holds.
    #[arg(long, value_name = "FILE", visible_alias = "save", conflicts_with = "file")]
    prove: Option<PathBuf>,
    /// Check the proof in this file instead of asking a node.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

fn key(text: &str) -> Result<StateKey, String> {
    text.parse().map_err(|_| "expected `stele1…`, or `object:` or `grant:` and 64 hexadecimal digits".to_owned())
}

/// What was proven.
#[derive(Serialize)]
struct Proven {
    proven: bool,
    chain: ChainId,
    key: StateKey,
    present: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<serde_json::Value>,
    epoch: Epoch,
    height: u64,
    time_ms: u64,
    root_height: u64,
    #[serde(flatten)]
    signed: Signed,
}

pub(super) async fn prove(context: &Context, args: StateArgs) -> miette::Result<()> {
    let trusted = proofs::trusted(context)?;
    let proof: StateProofInfo = match &args.file {
        Some(path) => proofs::read(path)?,
        None => context.rpc()?.state_proof(&args.key).await.map_err(explain)?.ok_or_else(|| {
            miette!(
                help = "the first one is certified half of snapshot_interval_heights after the ledger began; ask again later, or ask another node",
                "the node has no certified snapshot yet"
            )
        })?,
    };
    let verified = verify_state_proof(&proof, &args.key, &trusted).map_err(proofs::worthless)?;
    if let Some(path) = &args.prove {
        proofs::write(&proof, path)?;
    }
    let words = words(&verified.value);
    let proven = describe(args.key, trusted.ledger(), &proof, verified)?;
    context.print(&proven, || {
        format!(
            "PROVEN: behind height {}, at {}, ledger {}\nheld {words}\nunder {}.\n\
             The state's root, in the header of height {}, is {}",
            proven.height,
            say::time(proven.time_ms),
            proven.chain,
            proven.key,
            proven.root_height,
            proven.signed
        )
    })
}

fn words(value: &Option<StateValue>) -> String {
    match value {
        None => "nothing".to_owned(),
        Some(StateValue::Account { balance, transfers_out }) => {
            format!("an account with balance {balance}, and {transfers_out} transfers from it")
        }
        Some(StateValue::Object(object)) => {
            format!("an object of {}: quantity {}, content {}", object.owner, object.quantity, object.content)
        }
        Some(StateValue::Grant(grant)) => {
            format!("a grant by {} to {}: rights {}", grant.grantor, grant.grantee, grant.rights)
        }
    }
}

fn json(value: &StateValue) -> serde_json::Value {
    match value {
        StateValue::Account { balance, transfers_out } => {
            serde_json::json!({ "kind": "account", "balance": balance, "transfers_out": transfers_out })
        }
        StateValue::Object(object) => serde_json::json!({
            "kind": "object", "owner": object.owner, "issuer": object.issuer, "asset": object.asset,
            "content": object.content, "quantity": object.quantity,
            "transferable": object.rights.transferable, "divisible": object.rights.divisible,
        }),
        StateValue::Grant(grant) => serde_json::json!({
            "kind": "grant", "grantor": grant.grantor, "grantee": grant.grantee, "resource": grant.resource,
            "rights": grant.rights, "expires_ms": grant.expires.0, "entries": grant.entries,
        }),
    }
}

fn describe(key: StateKey, chain: ChainId, proof: &StateProofInfo, verified: VerifiedState) -> miette::Result<Proven> {
    let committee = verified.committee;
    let certificate: Certificate = proof.certificate.decode().into_diagnostic()?;
    Ok(Proven {
        proven: true,
        chain,
        key,
        present: verified.value.is_some(),
        value: verified.value.as_ref().map(json),
        epoch: committee.epoch(),
        height: verified.height.0,
        time_ms: verified.time.0,
        root_height: verified.root_height.0,
        signed: Signed::by(&certificate, &committee),
    })
}
