//! `stele tx transfer` and `stele tx certify`: build, sign, submit, and wait for the outcome; calls of contracts too.

use super::{Context, explain, say, units};
use crate::command::key::KeyChoice;
use bytes::Bytes;
use clap::Args;
use client::rpc::{EventsInfo, OutcomeInfo, TransactionInfo};
use client::{Account, RpcClient, RpcError};
use miette::{IntoDiagnostic, WrapErr, miette};
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use types::{Address, Amount, Digest, Transaction};

/// How long to wait for the outcome beyond the validity of the transaction: no receipt comes after that.
const GRACE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(50);
/// Attempts while the node is busy.
const ATTEMPTS: u32 = 10;

#[derive(Clone, Debug, Args)]
pub struct TransferArgs {
    /// The receiver; the account is created where it does not exist.
    #[arg(long, value_name = "ADDRESS")]
    to: Address,
    /// Units to move.
    #[arg(long, value_parser = units)]
    amount: Amount,
    /// Text that is kept with the transaction, for all to read.
    #[arg(long, default_value = "")]
    memo: String,
    #[command(flatten)]
    sending: Sending,
}

#[derive(Clone, Debug, Args)]
pub struct CertifyArgs {
    /// The document.
    file: PathBuf,
    /// Text that is kept with the transaction, for all to read.
    #[arg(long, default_value = "")]
    memo: String,
    #[command(flatten)]
    sending: Sending,
}

/// What every transaction needs.
#[derive(Clone, Debug, Args)]
pub(super) struct Sending {
    #[command(flatten)]
    pub(super) key: KeyChoice,
    /// Return once the node has queued it, without its outcome.
    #[arg(long)]
    pub(super) no_wait: bool,
}

/// What is printed of a transaction that was sent.
#[derive(Serialize)]
#[serde(untagged)]
enum Sent {
    Queued { id: types::TransactionId },
    Certified { document: Digest, transaction: TransactionInfo },
    Executed(TransactionInfo),
}

pub(super) async fn transfer(context: &Context, args: TransferArgs) -> miette::Result<()> {
    let (rpc, account) = open(context, &args.sending).await?;
    let memo = Bytes::from(args.memo.clone());
    let transaction = account.transfer(args.to, args.amount, memo).into_diagnostic()?;
    send(context, &rpc, &account, &transaction, None, args.sending.no_wait).await
}

pub(super) async fn certify(context: &Context, args: CertifyArgs) -> miette::Result<()> {
    let document = read_document(&args.file)?;
    let (rpc, account) = open(context, &args.sending).await?;
    let transaction = account.certify(document, Bytes::from(args.memo.clone())).into_diagnostic()?;
    send(context, &rpc, &account, &transaction, Some(document), args.sending.no_wait).await
}

/// The digest of a file.
pub(super) fn read_document(path: &std::path::Path) -> miette::Result<Digest> {
    let content = std::fs::read(path).into_diagnostic().wrap_err_with(|| format!("cannot read {}", path.display()))?;
    Ok(Digest::sha256(&content))
}

pub(super) async fn open(context: &Context, sending: &Sending) -> miette::Result<(RpcClient, Account)> {
    let rpc = context.rpc()?;
    let chain = context.chain(&rpc).await?.chain;
    Ok((rpc, Account::new(chain, sending.key.open()?)))
}

async fn send(
    context: &Context,
    rpc: &RpcClient,
    account: &Account,
    transaction: &Transaction,
    document: Option<Digest>,
    no_wait: bool,
) -> miette::Result<()> {
    let Some(info) = submitted(context, rpc, transaction, no_wait).await? else { return Ok(()) };
    let sent = match document {
        Some(document) => Sent::Certified { document, transaction: info },
        None => Sent::Executed(info),
    };
    let words = || match document {
        Some(document) => format!("document    {document}\n{}", say::transaction(&info)),
        None => say::transaction(&info),
    };
    context.print(&sent, words)?;
    applied(&info, account)
}

/// Submits, and waits for the outcome; where that is not wanted, says that it waits in the queue and gives nothing.
async fn submitted(
    context: &Context,
    rpc: &RpcClient,
    transaction: &Transaction,
    no_wait: bool,
) -> miette::Result<Option<TransactionInfo>> {
    submit(rpc, transaction).await?;
    let id = transaction.id();
    if no_wait {
        context.print(&Sent::Queued { id }, || format!("transaction {id}\nqueued"))?;
        return Ok(None);
    }
    outcome(rpc, transaction).await.map(Some)
}

/// Submits a call of contracts, waits for its outcome, and prints what it did.
pub(super) async fn call(
    context: &Context,
    rpc: &RpcClient,
    transaction: &Transaction,
    no_wait: bool,
) -> miette::Result<()> {
    let Some(info) = submitted(context, rpc, transaction, no_wait).await? else { return Ok(()) };
    let executed =
        rpc.events(&info.id).await.map_err(explain)?.unwrap_or(EventsInfo { transaction: info, events: Vec::new() });
    context.print(&executed, || say::executed(&executed))?;
    accepted(&info, transaction.sender())
}

/// An error where the ledger rejected it.
pub(in crate::command) fn applied(info: &TransactionInfo, account: &Account) -> miette::Result<()> {
    accepted(info, account.address())
}

fn accepted(info: &TransactionInfo, sender: Address) -> miette::Result<()> {
    match info.outcome {
        OutcomeInfo::Applied => Ok(()),
        OutcomeInfo::Rejected(reject) => {
            Err(miette!(help = say::advice(reject), "the ledger rejected it: {reject} (sender {sender})"))
        }
    }
}

/// Submits, waiting for as long as the node asks to.
pub(in crate::command) async fn submit(rpc: &RpcClient, transaction: &Transaction) -> miette::Result<()> {
    let mut attempt = 1;
    loop {
        match rpc.submit(transaction).await {
            Ok(_) => return Ok(()),
            Err(RpcError::Busy { retry_after_ms }) if attempt < ATTEMPTS => {
                tokio::time::sleep(Duration::from_millis(retry_after_ms.into())).await;
                attempt += 1;
            }
            Err(RpcError::Refused(reject)) => {
                return Err(miette!(help = say::advice(reject), "the node refuses it: {reject}"));
            }
            Err(error) => return Err(explain(error)),
        }
    }
}

/// Waits until the transaction was executed, or cannot be any more.
pub(in crate::command) async fn outcome(rpc: &RpcClient, transaction: &Transaction) -> miette::Result<TransactionInfo> {
    let left = Duration::from_millis(transaction.valid_until().0.saturating_sub(client::now_ms()));
    let deadline = Instant::now() + left + GRACE;
    let id = transaction.id();
    loop {
        match rpc.transaction(&id).await {
            Ok(Some(info)) => return Ok(info),
            Ok(None) => {}
            // The node may be restarting; what it has acknowledged it still knows then.
            Err(RpcError::Unreachable { .. } | RpcError::TimedOut { .. }) if Instant::now() < deadline => {}
            Err(error) => return Err(explain(error)),
        }
        if Instant::now() > deadline {
            return Err(miette!(
                help = "its validity has passed, so it will not be executed unless it was already; ask another node with `stele tx transaction`",
                "no outcome of transaction {id} in time"
            ));
        }
        tokio::time::sleep(POLL).await;
    }
}
