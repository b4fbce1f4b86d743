//! `stele tx proof`: fetches a proof and checks it here, from the validators of genesis on. The node is not believed.

use super::proofs::{self, Signed};
use super::{Context, explain, say, transaction_id};
use clap::Args;
use client::rpc::{OutcomeInfo, ProofInfo};
use client::{RpcClient, VerifiedReceipt, verify_proof};
use miette::{IntoDiagnostic, miette};
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use types::{Certificate, ChainId, Epoch, TransactionId};

/// A certificate follows its height within a round or two.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);

#[derive(Clone, Debug, Args)]
#[command(after_help = "A saved proof is all that a third party needs, besides genesis.toml: no node, no network.

Examples:
  stele tx --genesis genesis.toml proof sha256:…                       ask the first validator, check the answer
  stele tx --genesis genesis.toml proof sha256:… --save proof.json     and keep the proof
  stele tx --genesis genesis.toml proof sha256:… --file proof.json     check a proof that was kept")]
pub struct ProofArgs {
    /// The transaction, `sha256:` and 64 digits.
    #[arg(value_parser = transaction_id)]
    id: TransactionId,
    /// Write the proof to this file, once it holds.
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    save: Option<PathBuf>,
    /// Check the proof in this file instead of asking a node.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// What was proven.
#[derive(Serialize)]
struct Proven {
    proven: bool,
    chain: ChainId,
    transaction: TransactionId,
    epoch: Epoch,
    height: u64,
    index: u32,
    outcome: OutcomeInfo,
    time_ms: u64,
    #[serde(flatten)]
    signed: Signed,
}

pub(super) async fn prove(context: &Context, args: ProofArgs) -> miette::Result<()> {
    let trusted = proofs::trusted(context)?;
    let proof = match &args.file {
        Some(path) => proofs::read(path)?,
        None => fetch(&context.rpc()?, &args.id).await?,
    };
    let verified = verify_proof(&proof, &args.id, &trusted).map_err(proofs::worthless)?;
    if let Some(path) = &args.save {
        proofs::write(&proof, path)?;
    }
    let proven = describe(&args.id, trusted.ledger(), &proof, verified)?;
    context.print(&proven, || {
        format!(
            "PROVEN: transaction {}\nwas {} at height {}, position {}, at {}\non ledger {}.\n\
             The header of that height is {}",
            proven.transaction,
            say::outcome(proven.outcome),
            proven.height,
            proven.index,
            say::time(proven.time_ms),
            proven.chain,
            proven.signed
        )
    })
}

/// Asks for the proof, for as long as the certificate may still be on its way.
async fn fetch(rpc: &RpcClient, id: &TransactionId) -> miette::Result<ProofInfo> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(proof) = rpc.proof(id).await.map_err(explain)? {
            return Ok(proof);
        }
        if rpc.transaction(id).await.map_err(explain)?.is_none() {
            return Err(miette!(
                help = "it may still be queued, may have expired, or may never have been sent",
                "the node knows no executed transaction {id}"
            ));
        }
        if Instant::now() > deadline {
            return Err(miette!(
                help = "certificates need the votes of validators with stake ≥ Q; are enough of them running?",
                "transaction {id} was executed, and its height has no certificate yet"
            ));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn describe(
    id: &TransactionId,
    chain: ChainId,
    proof: &ProofInfo,
    verified: VerifiedReceipt,
) -> miette::Result<Proven> {
    let committee = verified.committee;
    let certificate: Certificate = proof.certificate.decode().into_diagnostic()?;
    Ok(Proven {
        proven: true,
        chain,
        transaction: *id,
        epoch: committee.epoch(),
        height: verified.height.0,
        index: verified.index,
        outcome: verified.outcome.into(),
        time_ms: verified.time.0,
        signed: Signed::by(&certificate, &committee),
    })
}
