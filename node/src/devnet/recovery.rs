//! How long a validator takes to be back: killed and started again on its disk, and with its disk gone while the load goes on.

use super::load;
use super::network::{Network, Victim};
use super::process::Process;
use super::traffic::{Order, Presigner};
use super::{DevnetArgs, WARM_UP, accounts, screen};
use crate::config::{LOG, SNAPSHOTS, STATE};
use crate::durable;
use client::RpcClient;
use client::rpc::{NodeState, NodeStatus};
use miette::{IntoDiagnostic, WrapErr, bail};
use serde::Serialize;
use std::time::{Duration, Instant};

/// How often nodes are asked how far they are.
const POLL: Duration = Duration::from_millis(20);
/// Longest wait for a node that starts on its own disk.
const RESTART_PATIENCE: Duration = Duration::from_mins(5);
/// Heights behind another node at which one counts as caught up: the two are not asked at the same moment.
const CLOSE: u64 = 8;

/// Both ways of coming back; null where they were not asked for.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Recovery {
    /// Killed, and started again.
    pub restart: Option<Restart>,
    /// Killed, its disk emptied, and started again under load.
    pub rejoin: Option<Rejoin>,
}

/// A node that was killed and finds its disk as it left it.
#[derive(Clone, Debug, Serialize)]
pub struct Restart {
    /// Transactions in its ledger.
    pub transactions: u64,
    /// Its height.
    pub height: u64,
    /// From the start of the process until it takes transactions again.
    pub ready_seconds: f64,
}

/// A node that finds nothing on its disk while the others go on.
#[derive(Clone, Debug, Serialize)]
pub struct Rejoin {
    /// From the start of the process until it was as far as the others; null where that was not reached under load.
    pub seconds: Option<f64>,
    /// Transactions in its ledger by then.
    pub transactions: u64,
    /// What it came forward by in a second.
    pub transactions_per_second: f64,
    /// What the network committed in a second meanwhile.
    pub network_transactions_per_second: f64,
    /// The ratio of the two.
    pub of_network: f64,
}

/// Does to the last validator what is asked for.
///
/// # Errors
/// A process that cannot be started, or a node that does not come back.
pub async fn run(network: &mut Network, args: &DevnetArgs) -> miette::Result<Recovery> {
    let mut recovery = Recovery::default();
    let mut victim = network.lend(network.validators().len() - 1);
    if args.restart {
        println!("  {} is killed and started again", victim.launch.name());
        recovery.restart = Some(restart(&mut victim).await?);
    }
    if args.rejoin {
        let accounts = accounts::Accounts::new(args.algorithm, accounts::COUNT);
        let duration = WARM_UP + Duration::from_secs(args.seconds.into());
        let order = Order { chain: network.chain(), payload: args.payload as usize, rate: args.rate, duration };
        let presigner = Presigner::start(accounts, order);
        screen::presigning(&presigner).await;
        println!("  {} is killed, its disk emptied, and started again under the same load", victim.launch.name());
        let other = network.validators()[0].rpc().clone();
        let (load, rejoin) = tokio::join!(load::run(network, presigner, args), rejoin(&mut victim, &other, duration));
        load?;
        recovery.rejoin = Some(rejoin?);
    }
    network.give_back(victim);
    Ok(recovery)
}

impl Recovery {
    /// Its lines of the table.
    pub fn print(&self) {
        if let Some(Restart { ready_seconds, transactions, .. }) = &self.restart {
            println!(
                "  restart         ready {ready_seconds:.2} s after a kill, with {transactions} transactions in the ledger"
            );
        }
        let Some(rejoin) = &self.rejoin else { return };
        match rejoin.seconds {
            Some(seconds) => println!("  empty disk      as far as the others after {seconds:.2} s"),
            None => println!("  empty disk      not as far as the others before the load ended"),
        }
        println!(
            "                  {:.0} transactions a second, {:.1} times the network's {:.0}",
            rejoin.transactions_per_second, rejoin.of_network, rejoin.network_transactions_per_second
        );
    }
}

async fn restart(victim: &mut Victim) -> miette::Result<Restart> {
    let before = status(&victim.rpc).await?;
    kill(victim).await;
    let began = Instant::now();
    victim.node = Some(victim.launch.start()?);
    while ask(victim).await?.is_none_or(|status| status.state != NodeState::Ready) {
        if began.elapsed() > RESTART_PATIENCE {
            bail!("{} is not ready {} s after its start", victim.launch.name(), RESTART_PATIENCE.as_secs());
        }
        tokio::time::sleep(POLL).await;
    }
    let ready_seconds = began.elapsed().as_secs_f64();
    Ok(Restart { transactions: before.committed_transactions, height: before.height.0, ready_seconds })
}

async fn rejoin(victim: &mut Victim, other: &RpcClient, duration: Duration) -> miette::Result<Rejoin> {
    let load_ends = Instant::now() + duration;
    tokio::time::sleep(WARM_UP).await;
    kill(victim).await;
    for name in [LOG, STATE, SNAPSHOTS] {
        let path = victim.launch.dir().join(name);
        let removed = durable::remove_dir(&path).into_diagnostic();
        removed.wrap_err_with(|| format!("cannot empty {}", path.display()))?;
    }
    let before = status(other).await?;
    let began = Instant::now();
    victim.node = Some(victim.launch.start()?);
    let (mut own, mut seconds) = (0, None);
    while seconds.is_none() && Instant::now() < load_ends {
        tokio::time::sleep(POLL).await;
        let Some(now) = ask(victim).await? else { continue };
        own = now.committed_transactions;
        if now.height.0 + CLOSE >= status(other).await?.height.0 {
            seconds = Some(began.elapsed().as_secs_f64());
        }
    }
    let spent = began.elapsed().as_secs_f64();
    let network = (status(other).await?.committed_transactions - before.committed_transactions) as f64;
    Ok(Rejoin {
        seconds,
        transactions: own,
        transactions_per_second: own as f64 / spent,
        network_transactions_per_second: network / spent,
        of_network: own as f64 / network.max(1.0),
    })
}

async fn kill(victim: &mut Victim) {
    if let Some(node) = victim.node.take() {
        node.kill().await;
    }
}

async fn status(rpc: &RpcClient) -> miette::Result<NodeStatus> {
    rpc.status().await.into_diagnostic()
}

/// What a node says of itself, once it answers.
async fn ask(victim: &mut Victim) -> miette::Result<Option<NodeStatus>> {
    victim.node.as_mut().map(Process::check).transpose()?;
    Ok(victim.rpc.status().await.ok())
}
