//! Queries of `stele tx`, answered on one node's word.

use super::{Context, digest, explain, height, say, send, transaction_id};
use clap::Args;
use client::rpc::{HeaderInfo, NodeStatus, ReceiptFilter};
use miette::{bail, miette};
use std::path::Path;
use types::{Address, Digest, Height, TransactionId};

#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Without --from it starts with the next height. A lost connection is resumed where it broke off.

Examples:
  stele tx --rpc http://127.0.0.1:8545 follow
  stele tx --rpc http://127.0.0.1:8545 --json follow --receipts --address stele1… --from 1"
)]
pub struct FollowArgs {
    /// The first height.
    #[arg(long, value_parser = height)]
    from: Option<Height>,
    /// Receipts instead of headers.
    #[arg(long)]
    receipts: bool,
    /// Only receipts of transactions from or to this account.
    #[arg(long, requires = "receipts")]
    address: Option<Address>,
    /// Only the receipt of this transaction.
    #[arg(long, requires = "receipts", value_parser = transaction_id)]
    transaction: Option<TransactionId>,
    /// Only receipts of transactions that certify this document, by its digest.
    #[arg(long, requires = "receipts", value_parser = digest)]
    document: Option<Digest>,
}

pub(super) async fn account(context: &Context, address: Address) -> miette::Result<()> {
    match context.rpc()?.account(&address).await.map_err(explain)? {
        Some(account) => context.print(&account, || {
            format!("account  {address}\nbalance  {}\nheight   {}", account.balance, account.height)
        }),
        None => {
            Err(miette!(help = "an account comes into being with the first transfer to it", "no account {address}"))
        }
    }
}

pub(super) async fn transaction(context: &Context, id: TransactionId) -> miette::Result<()> {
    match context.rpc()?.transaction(&id).await.map_err(explain)? {
        Some(info) => context.print(&info, || say::transaction(&info)),
        None => Err(miette!(
            help = "it may still be queued, may have expired, or may never have been sent",
            "no executed transaction {id}"
        )),
    }
}

pub(super) async fn header(context: &Context, height: Option<Height>) -> miette::Result<()> {
    match context.rpc()?.header(height).await.map_err(explain)? {
        Some(info) => context.print(&info, || header_words(&info)),
        None => {
            bail!("the node has no header {}", height.map_or("yet".to_owned(), |height| format!("of height {height}")))
        }
    }
}

fn header_words(info: &HeaderInfo) -> String {
    let header = &info.header;
    [
        ("height", info.height.to_string()),
        ("digest", info.digest.to_string()),
        ("previous", header.previous.to_string()),
        ("time", say::time(header.timestamp.0)),
        ("epoch", header.epoch.to_string()),
        ("commit", header.commit.to_string()),
        ("transactions", header.transaction_root.to_string()),
        ("receipts", header.receipt_root.to_string()),
        ("state", header.state_digest.to_string()),
        (
            "certificate",
            info.certificate.as_ref().map_or("not yet".to_owned(), |bytes| format!("{} bytes", bytes.0.len())),
        ),
    ]
    .map(|(name, value)| format!("{name:<13} {value}"))
    .join("\n")
}

pub(super) async fn document(context: &Context, document: &str) -> miette::Result<()> {
    let digest = match document.parse() {
        Ok(digest) => digest,
        Err(_) => send::read_document(Path::new(document))?,
    };
    let found = context.rpc()?.document(&digest).await.map_err(explain)?;
    context.print(&found, || {
        let list: Vec<_> = found.iter().map(say::transaction).collect();
        if list.is_empty() {
            format!("nothing certifies {digest}")
        } else {
            format!("document    {digest}\n{}", list.join("\n\n"))
        }
    })
}

pub(super) async fn status(context: &Context) -> miette::Result<()> {
    let status = context.rpc()?.status().await.map_err(explain)?;
    context.print(&status, || status_words(&status))
}

fn status_words(status: &NodeStatus) -> String {
    let mut detail = status.state_detail.as_ref().map_or(String::new(), |detail| format!(" ({detail})"));
    if let Some(sync) = &status.sync {
        let left = sync.seconds_left.map_or(String::new(), |seconds| format!(", {seconds:.0} s left"));
        if let (Some(fetched), Some(bytes)) = (sync.state_fetched_bytes, sync.state_bytes) {
            detail += &format!(" (taking the state: {fetched} of {bytes} bytes)");
        }
        detail += &format!(" to height {}, {:.0} heights a second{left}", sync.target, sync.heights_per_second);
    }
    [
        ("node", format!("{}, version {}", status.name, status.version)),
        ("ledger", status.chain.to_string()),
        ("state", format!("{}{detail}", status.state.label())),
        ("height", format!("{}, certified {}, round {}", status.height, status.certified_height, status.round)),
        ("header", status.header_digest.to_string()),
        ("peers", status.peers_up.to_string()),
        (
            "transactions",
            format!(
                "{} executed, {} of them rejected; {} waiting",
                status.committed_transactions, status.rejected_transactions, status.pending_transactions
            ),
        ),
        (
            "verification",
            format!(
                "{}: {} signatures in {} batches",
                status.verify.engine, status.verify.items, status.verify.batches
            ),
        ),
        (
            "signer",
            format!(
                "{}: {} signatures, p50 {} µs, p99 {} µs",
                status.signer.module, status.signer.signatures, status.signer.p50_us, status.signer.p99_us
            ),
        ),
        (
            "log",
            format!(
                "{}: {} bytes, {} syncs, p99 {} µs",
                status.log.backend, status.log.bytes, status.log.syncs, status.log.sync_p99_us
            ),
        ),
        ("uses", format!("{:.1} s of CPU time, {} MiB", status.cpu_seconds, status.rss_bytes >> 20)),
        ("runs for", format!("{} s", status.uptime_ms / 1000)),
    ]
    .map(|(name, value)| format!("{name:<13} {value}"))
    .join("\n")
}

pub(super) async fn follow(context: &Context, args: FollowArgs) -> miette::Result<()> {
    let rpc = context.rpc()?;
    if args.receipts {
        let filter = ReceiptFilter { address: args.address, transaction: args.transaction, document: args.document };
        let mut follow = rpc.follow_receipts(args.from, filter).await.map_err(explain)?;
        loop {
            let at = follow.next().await.map_err(explain)?;
            context.print(&at, || {
                let line = |info: &client::rpc::TransactionInfo| {
                    format!("{} {} {}  {}", info.height, say::time(info.time_ms), info.id, say::outcome(info.outcome))
                };
                at.receipts.iter().map(line).collect::<Vec<_>>().join("\n")
            })?;
        }
    }
    let mut follow = rpc.follow_headers(args.from).await.map_err(explain)?;
    loop {
        let info = follow.next().await.map_err(explain)?;
        context.print(&info, || format!("{} {} {}", info.height, say::time(info.header.timestamp.0), info.digest))?;
    }
}
