//! `stele tx`: sends transactions and reads the ledger through any node.
//!
//! What a node says is its word, except `proof` and `state`, which are checked here against genesis. Deliberately absent: the fast
//! path, which is for programs (see the crate `client`).

mod ask;
mod contracts;
mod draft;
mod proofs;
mod prove;
mod say;
pub(super) mod send;
mod state;

use super::genesis;
use clap::{Args, Subcommand};
use client::rpc::ChainInfo;
use client::{RpcClient, RpcError};
use miette::{Report, miette};
use std::path::PathBuf;
use types::{Address, Amount, Digest, Genesis, Height, ParseAmountError, TransactionId};

/// Send transactions and read the ledger.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples, with a node of `stele devnet --keep` at http://127.0.0.1:8545:
  stele tx --rpc http://127.0.0.1:8545 status
  stele tx --rpc http://127.0.0.1:8545 transfer --to stele1… --amount 5 --key my.key --passphrase-file my.pass
  stele tx --rpc http://127.0.0.1:8545 certify contract.pdf --key my.key --passphrase-file my.pass
  stele tx --rpc http://127.0.0.1:8545 document contract.pdf
  stele tx --rpc http://127.0.0.1:8545 object create --salt 1 --content bond.pdf --key my.key --passphrase-file my.pass
  stele tx --rpc http://127.0.0.1:8545 history object:…
  stele tx --genesis genesis.toml proof sha256:… --save proof.json
  stele tx --genesis genesis.toml proof sha256:… --file proof.json
  stele tx --genesis genesis.toml state stele1… --prove state.json
  stele tx --rpc http://127.0.0.1:8545 follow --from 1")]
pub struct TxArgs {
    #[command(flatten)]
    node: NodeChoice,
    #[command(subcommand)]
    action: Action,
}

/// Some units of the currency or of an object.
fn units(text: &str) -> Result<Amount, String> {
    match text.parse() {
        Ok(Amount::ZERO) => Err("an amount is at least 1".to_owned()),
        Ok(amount) => Ok(amount),
        Err(error) => Err(ParseAmountError::to_string(&error)),
    }
}

/// Which node is asked, and how its answer is printed: for all commands that ask one.
#[derive(Clone, Debug, Args)]
pub(super) struct NodeChoice {
    /// RPC address of a node. Default: that of the first validator of --genesis.
    #[arg(long, value_name = "URL", global = true)]
    rpc: Option<String>,
    /// The ledger's genesis: with it, a node of another ledger is not believed.
    #[arg(long, value_name = "FILE", global = true)]
    genesis: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// Move an amount to another account.
    #[command(after_help = "Example:
  stele tx --rpc http://127.0.0.1:8545 transfer --to stele1… --amount 5 --key my.key --passphrase-file my.pass")]
    Transfer(send::TransferArgs),
    /// Put the digest of a file on the ledger, with the time of its commit.
    #[command(after_help = "Only the digest leaves this machine, not the file.

Example:
  stele tx --rpc http://127.0.0.1:8545 certify contract.pdf --key my.key --passphrase-file my.pass")]
    Certify(send::CertifyArgs),
    /// Create objects, hand them on, split, merge and burn them.
    Object(contracts::ObjectArgs),
    /// Give leave, take it back, put its use on record, and read the trail.
    Grant(contracts::GrantArgs),
    /// List what has happened to an object or a grant.
    History(contracts::HistoryArgs),
    /// Draft steps that several parties sign, as delivery against payment, and sign them first.
    Draft(draft::DraftArgs),
    /// Sign a draft.
    Sign(draft::SignArgs),
    /// Submit a draft that all parties have signed.
    Submit(draft::SubmitArgs),
    /// Show an account.
    Account {
        /// Its address.
        address: Address,
    },
    /// Show what became of a transaction.
    Transaction {
        /// Its id, `sha256:` and 64 digits.
        #[arg(value_parser = transaction_id)]
        id: TransactionId,
    },
    /// Show a ledger header.
    Header {
        /// Its height. Default: the latest.
        #[arg(value_parser = height)]
        height: Option<Height>,
    },
    /// List the transactions that certify a document.
    Document {
        /// A file, or its digest.
        document: String,
    },
    /// Prove what became of a transaction, up to the signatures of the validators in --genesis.
    Proof(prove::ProofArgs),
    /// Prove what the state held under a key, or that it held nothing, up to the signatures of the validators in --genesis.
    State(state::StateArgs),
    /// Print headers, or receipts, as they come.
    Follow(ask::FollowArgs),
    /// Show how the node is doing.
    Status,
}

fn transaction_id(text: &str) -> Result<TransactionId, String> {
    text.parse().map(TransactionId).map_err(|_| "expected `sha256:` and 64 hexadecimal digits".to_owned())
}

fn height(text: &str) -> Result<Height, std::num::ParseIntError> {
    text.parse().map(Height)
}

fn digest(text: &str) -> Result<Digest, String> {
    text.parse().map_err(|_| "expected `sha256:` and 64 hexadecimal digits".to_owned())
}

/// Runs `stele tx`.
///
/// # Errors
/// In words for the terminal.
pub async fn run(args: TxArgs) -> miette::Result<()> {
    let context = Context::new(args.node)?;
    match args.action {
        Action::Transfer(transfer) => send::transfer(&context, transfer).await,
        Action::Certify(certify) => send::certify(&context, certify).await,
        Action::Object(object) => contracts::object(&context, object).await,
        Action::Grant(grant) => contracts::grant(&context, grant).await,
        Action::History(history) => contracts::history(&context, history).await,
        Action::Draft(draft) => draft::draft(&context, draft).await,
        Action::Sign(sign) => draft::sign(&context, sign).await,
        Action::Submit(submit) => draft::submit(&context, submit).await,
        Action::Account { address } => ask::account(&context, address).await,
        Action::Transaction { id } => ask::transaction(&context, id).await,
        Action::Header { height } => ask::header(&context, height).await,
        Action::Document { document } => ask::document(&context, &document).await,
        Action::Proof(proof) => prove::prove(&context, proof).await,
        Action::State(state) => state::prove(&context, state).await,
        Action::Follow(follow) => ask::follow(&context, follow).await,
        Action::Status => ask::status(&context).await,
    }
}

/// What all commands that ask a node share.
pub(super) struct Context {
    rpc: Option<String>,
    genesis: Option<Genesis>,
    json: bool,
}

impl Context {
    /// From the flags; reads the genesis.
    pub(super) fn new(NodeChoice { rpc, genesis, json }: NodeChoice) -> miette::Result<Self> {
        Ok(Self { rpc, genesis: genesis.as_deref().map(genesis::read).transpose()?, json })
    }

    pub(super) fn rpc(&self) -> miette::Result<RpcClient> {
        let first = || Some(format!("http://{}", self.genesis.as_ref()?.validators.first()?.rpc_address));
        let url = self.rpc.clone().or_else(first).ok_or_else(|| {
            miette!(
                help = "give --rpc http://HOST:PORT, or --genesis FILE; `stele devnet --keep` prints the addresses of its nodes",
                "which node?"
            )
        })?;
        RpcClient::new(&url).map_err(explain)
    }

    /// The ledger: that of genesis where it is given, and the node must belong to it; otherwise the node's.
    pub(super) async fn chain(&self, rpc: &RpcClient) -> miette::Result<ChainInfo> {
        let info = rpc.chain().await.map_err(explain)?;
        let told = info.chain;
        match &self.genesis {
            Some(genesis) if genesis.chain_id() != told => Err(miette!(
                help = "check --rpc and --genesis",
                "{} belongs to ledger {told}, not to that of the genesis, {}",
                rpc.url(),
                genesis.chain_id()
            )),
            _ => Ok(info),
        }
    }

    /// Prints JSON, or words.
    pub(super) fn print(&self, value: &impl serde::Serialize, words: impl FnOnce() -> String) -> miette::Result<()> {
        if self.json {
            let text = serde_json::to_string(value).map_err(|error| miette!("the answer is no JSON: {error}"))?;
            println!("{text}");
        } else {
            println!("{}", words());
        }
        Ok(())
    }
}

/// An error of the RPC, with what to do next.
pub(super) fn explain(error: RpcError) -> Report {
    let help = match &error {
        RpcError::Url { .. } => "give --rpc as http://HOST:PORT",
        RpcError::Unreachable { .. } => {
            "is the node running, and is --rpc its RPC address (rpc_address in genesis.toml)?"
        }
        RpcError::TimedOut { .. } => "the node may be overloaded; try again, or ask another one",
        RpcError::Refused(_) => "the transaction is as if it had never been sent",
        RpcError::Busy { .. } => "try again, or send to another node",
        RpcError::Answer { .. } | RpcError::Unreadable { .. } => {
            "node and client may be of different versions: compare `stele --version`"
        }
    };
    miette!(help = help, "{error}")
}
