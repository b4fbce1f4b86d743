//! `stele governance`: approves changes of committee and parameters, and shows what members approve.
//!
//! Every action but `show` builds a change, says what it would make of the committee, and sends this member's approval.
//! Members approve a change by giving the same command with their own keys. Deliberately absent: any way around the
//! ledger; what a change may be is decided there.

mod change;
mod show;

use super::key::KeyChoice;
use super::tx::{Context, NodeChoice, explain, send};
use change::Wanted;
use clap::{Args, Subcommand};
use client::rpc::{ChainInfo, GovernanceInfo, TransactionInfo};
use client::{Account, RpcClient, RpcError};
use miette::{IntoDiagnostic, bail, miette};
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use types::{Authority, Change, Committee, Digest, Epoch, TransactionBody};

/// How long the next epoch may take to begin once its change is decided.
const BEGIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(200);

/// Change the committee or the parameters, and show what members approve.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Members of the ledger's governance (genesis names them) approve changes. A change that enough of them
approve in one epoch is decided: the epoch ends, and the next one begins with the new committee and parameters, a moment
later and on the same ledger. Each member gives the same command with a key of his own; approving another change takes
the first approval back.

Examples:
  stele governance --rpc http://127.0.0.1:8545 show
  stele governance --rpc http://127.0.0.1:8545 add east.json --preview
  stele governance --rpc http://127.0.0.1:8545 add east.json --key my.key --passphrase-file my.pass
  stele governance --rpc http://127.0.0.1:8545 remove east --key my.key --passphrase-file my.pass
  stele governance --rpc http://127.0.0.1:8545 rekey east keys.json --key my.key --passphrase-file my.pass
  stele governance --rpc http://127.0.0.1:8545 update east --stake 2 --key my.key --passphrase-file my.pass
  stele governance --rpc http://127.0.0.1:8545 parameters gc_depth_rounds=200 --key my.key --passphrase-file my.pass"
)]
pub struct GovernanceArgs {
    #[command(flatten)]
    node: NodeChoice,
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// Show members, committee, parameters, and what is approved.
    Show,
    /// Approve that a validator joins the committee, at its end.
    #[command(after_help = "FILE is what `stele genesis --help` describes: name, keys, addresses, stake.")]
    Add {
        /// The validator's JSON file.
        file: PathBuf,
        #[command(flatten)]
        approval: Approval,
    },
    /// Approve that a validator leaves the committee. Its node ends by itself.
    Remove {
        /// Its name.
        name: String,
        #[command(flatten)]
        approval: Approval,
    },
    /// Approve new keys of a validator, whose old ones were lost or may be known to others.
    #[command(
        after_help = "FILE is what `stele signer provision` or `stele signer keys` prints in the new signer's directory."
    )]
    Rekey {
        /// Its name.
        name: String,
        /// JSON file with the new public keys.
        file: PathBuf,
        #[command(flatten)]
        approval: Approval,
    },
    /// Approve another stake or other addresses of a validator; what is not given stays as it is.
    Update {
        /// Its name.
        name: String,
        #[command(flatten)]
        update: change::Update,
        #[command(flatten)]
        approval: Approval,
    },
    /// Approve other parameters; what is not given stays as it is.
    #[command(after_help = "`stele governance show` lists the parameters.

Example:
  stele governance --rpc http://127.0.0.1:8545 parameters gc_depth_rounds=200 validity_window_ms=30000 --preview")]
    Parameters {
        /// New values.
        #[arg(value_name = "NAME=NUMBER", required = true, value_parser = change::setting)]
        settings: Vec<change::Setting>,
        #[command(flatten)]
        approval: Approval,
    },
}

/// How a change is approved.
#[derive(Clone, Debug, Args)]
struct Approval {
    /// Say what the change would lead to, and send nothing.
    #[arg(long)]
    preview: bool,
    /// Key file of the member that approves, as `stele key generate` makes it.
    #[arg(long, value_name = "FILE", required_unless_present = "preview")]
    key: Option<PathBuf>,
    /// File with its passphrase.
    #[arg(long, value_name = "FILE", required_unless_present = "preview")]
    passphrase_file: Option<PathBuf>,
    /// Return once the node has queued the approval, without its outcome.
    #[arg(long)]
    no_wait: bool,
}

/// What is printed of a change: sent, or not.
#[derive(Debug, Serialize)]
struct Outcome {
    change: Change,
    digest: Digest,
    epoch: Epoch,
    next: show::Committee,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<TransactionInfo>,
    /// Members that approve it now.
    approvals: usize,
    threshold: u16,
    decided: bool,
    /// The epoch that has begun with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    began: Option<Epoch>,
}

/// Runs `stele governance`.
///
/// # Errors
/// In words for the terminal.
pub async fn run(args: GovernanceArgs) -> miette::Result<()> {
    let context = Context::new(args.node)?;
    let (wanted, approval) = match args.action {
        Action::Show => return show::show(&context).await,
        Action::Add { file, approval } => (Wanted::Add(file), approval),
        Action::Remove { name, approval } => (Wanted::Remove(name), approval),
        Action::Rekey { name, file, approval } => (Wanted::Rekey(name, file), approval),
        Action::Update { name, update, approval } => (Wanted::Update(name, update), approval),
        Action::Parameters { settings, approval } => (Wanted::Parameters(settings), approval),
    };
    let rpc = context.rpc()?;
    let chain = context.chain(&rpc).await?;
    let governance = rpc.governance().await.map_err(explain)?;
    if governance.members.is_empty() {
        bail!(
            help = "members are named by `stele genesis --governor` when a ledger is made",
            "this ledger has no governance: its committee and parameters are fixed"
        );
    }
    let change = wanted.change(&chain)?;
    approve(&context, &rpc, &chain, governance, change, approval).await
}

/// Shows a change, sends the approval, and waits for what comes of it.
async fn approve(
    context: &Context,
    rpc: &RpcClient,
    chain: &ChainInfo,
    governance: GovernanceInfo,
    change: Change,
    approval: Approval,
) -> miette::Result<()> {
    let committee = committee_of(chain)?;
    let (next, parameters) = change.apply(&committee, &chain.parameters).into_diagnostic()?;
    let digest = change.digest();
    let mut outcome = Outcome {
        digest,
        epoch: chain.epoch,
        next: show::Committee::of(&next),
        transaction: None,
        approvals: show::approvals(&governance, &digest),
        threshold: governance.threshold,
        decided: false,
        began: None,
        change,
    };
    let (false, Some(key), Some(passphrase_file)) = (approval.preview, approval.key, approval.passphrase_file) else {
        return context.print(&outcome, || show::preview(&outcome, &committee, &governance));
    };
    let account = Account::new(chain.chain, KeyChoice { key, passphrase_file }.open()?);
    let body = TransactionBody::Govern { epoch: chain.epoch, change: Box::new(outcome.change.clone()) };
    let transaction = account.sign(body).into_diagnostic()?;
    send::submit(rpc, &transaction).await?;
    if approval.no_wait {
        return context.print(&outcome, || format!("transaction {}\nqueued", transaction.id()));
    }
    let info = send::outcome(rpc, &transaction).await?;
    send::applied(&info, &account)?;
    outcome.transaction = Some(info);
    let now = answer(rpc, async || rpc.governance().await).await?;
    outcome.decided = now.decided.as_ref() == Some(&outcome.change);
    outcome.approvals = show::approvals(&now, &digest);
    if outcome.decided || now.epoch > chain.epoch {
        let began = next_epoch(rpc, chain.epoch).await?;
        // Where the epoch ended before this node could be asked, by another change perhaps.
        let as_approved = committee_of(&began)? == next && began.parameters == parameters;
        outcome.decided = outcome.decided || as_approved;
        outcome.began = Some(began.epoch);
    }
    if outcome.decided {
        outcome.approvals = now.threshold.into();
    }
    context.print(&outcome, || show::outcome(&outcome))
}

/// Asks until there is an answer. A node starts again inside between two epochs, so it may not answer for a moment.
async fn answer<T>(rpc: &RpcClient, ask: impl AsyncFn() -> Result<T, RpcError>) -> miette::Result<T> {
    let deadline = Instant::now() + BEGIN;
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(RpcError::Unreachable { .. } | RpcError::TimedOut { .. }) if Instant::now() < deadline => {}
            Err(error) => {
                return Err(miette!(
                    help = "the approval was taken; ask another node with `stele governance show`. The node of a validator that leaves does not answer any more",
                    "{} does not say what came of it: {error}",
                    rpc.url()
                ));
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until the node is in a later epoch.
async fn next_epoch(rpc: &RpcClient, ended: Epoch) -> miette::Result<ChainInfo> {
    let deadline = Instant::now() + BEGIN;
    loop {
        let chain = answer(rpc, async || rpc.chain().await).await?;
        if chain.epoch > ended {
            return Ok(chain);
        }
        if Instant::now() > deadline {
            return Err(miette!(
                help = "`stele governance show` tells when it does",
                "the change is decided, but the next epoch has not begun within {} s",
                BEGIN.as_secs()
            ));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The committee as a node describes it.
fn committee_of(chain: &ChainInfo) -> miette::Result<Committee> {
    let authority = |validator: &client::rpc::ValidatorInfo| Authority {
        name: validator.name.clone(),
        consensus_key: validator.consensus_key.clone(),
        transport_key: validator.transport_key.clone(),
        stake: validator.stake,
        peer_address: validator.addresses.peer,
        client_address: validator.addresses.client,
        rpc_address: validator.addresses.rpc,
    };
    Committee::new(chain.epoch, chain.validators.iter().map(authority).collect()).into_diagnostic()
}
