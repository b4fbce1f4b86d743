//! The bank: transfers move money among the accounts of genesis and make or lose none. An auditor reads all balances of one
//! height while the load runs, over RPC, from every node in turn; at the end each balance is what the receipts make it.

use crate::check::{PATIENCE, reaches, until};
use crate::load::{Outcomes, Transfer};
use crate::network::{ACCOUNTS, BALANCE, Network, address};
use client::RpcClient;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use types::{Height, Outcome, TransactionId};

/// A node that does not answer within this time is passed over.
const ANSWER: Duration = Duration::from_secs(2);
/// Between two readings.
const PAUSE: Duration = Duration::from_millis(20);
/// The sum of all balances, for ever.
const ALL: u128 = ACCOUNTS as u128 * BALANCE;

/// See the module. Ends with [`Auditor::finish`]; a wrong sum ends it at once, and fails the test there.
pub struct Auditor {
    heights: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Auditor {
    pub fn start(network: &Network) -> Self {
        let nodes: Vec<_> = network.nodes.iter().map(|node| (node.authority.name.clone(), node.rpc.clone())).collect();
        let heights = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&heights);
        let task = tokio::spawn(async move {
            for (name, rpc) in nodes.iter().cycle() {
                if let Ok(Some((height, balances))) = timeout(ANSWER, balances(rpc)).await {
                    assert_eq!(balances.iter().sum::<u128>(), ALL, "at height {height} of {name}: {balances:?}");
                    count.fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { heights, task }
    }

    /// Fails if a sum was wrong so far.
    pub async fn check(&mut self) {
        if self.task.is_finished() {
            (&mut self.task).await.unwrap();
        }
    }

    /// Fails if a sum was ever wrong; says how many were read.
    pub async fn finish(mut self) -> u64 {
        self.check().await;
        self.task.abort();
        self.heights.load(Ordering::Relaxed)
    }
}

/// All balances of one height, or `None` where the node has gone on in between, or away.
async fn balances(rpc: &RpcClient) -> Option<(Height, Vec<u128>)> {
    let asked = (0..ACCOUNTS).map(|index| {
        let rpc = rpc.clone();
        tokio::spawn(async move { rpc.account(&address(index)).await })
    });
    let (mut height, mut balances) = (None, Vec::new());
    for answer in asked.collect::<Vec<_>>() {
        let account = answer.await.unwrap().ok()?.expect("an account of genesis stays");
        if *height.get_or_insert(account.height) != account.height {
            return None;
        }
        balances.push(account.balance.0);
    }
    Some((height?, balances))
}

/// Every balance on every node is what genesis and the receipts make it; those that nobody told the client of are asked
/// for. They may still come while this asks, so it asks again until both agree.
pub async fn balances_follow_from_receipts(network: &Network, outcomes: &Outcomes) {
    let told: BTreeMap<_, _> = outcomes
        .acknowledged
        .iter()
        .map(|(id, receipt)| (*id, (receipt.height, receipt.outcome, outcomes.sent[id])))
        .collect();
    let mut last = String::new();
    for node in &network.nodes {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut done = told.clone();
            for (id, transfer) in outcomes.sent.iter().filter(|(id, _)| !told.contains_key(*id)) {
                if let Some(info) = node.rpc.transaction(id).await.unwrap() {
                    done.insert(*id, (info.height, Outcome::from(info.outcome), *transfer));
                }
            }
            reaches(node, done.values().map(|(height, ..)| *height).max().unwrap_or_default()).await;
            let (height, read) =
                until("all balances of one height are read", PATIENCE, async || balances(&node.rpc).await).await;
            let expected = expected(&done);
            if read == expected {
                last = format!(
                    "  {} transfers make the balances, {} of them without a word to the client",
                    done.len(),
                    done.len() - told.len()
                );
                break;
            }
            let name = &node.authority.name;
            assert!(Instant::now() < deadline, "balances of {name} at height {height}: {read:?}, not {expected:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }
    println!("{last}");
}

fn expected(done: &BTreeMap<TransactionId, (Height, Outcome, Transfer)>) -> Vec<u128> {
    let mut balances = vec![BALANCE; ACCOUNTS.into()];
    for (_, outcome, Transfer { from, to, amount }) in done.values() {
        if *outcome == Outcome::Applied {
            balances[usize::from(*from)] -= amount;
            balances[usize::from(*to)] += amount;
        }
    }
    balances
}
