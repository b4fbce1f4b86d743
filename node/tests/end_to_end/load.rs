//! A load on the fast path of several nodes, by a client that remembers what was acknowledged to it.

use crate::check::{PATIENCE, until};
use crate::network::{ACCOUNTS, Network, address};
use bytes::Bytes;
use client::{Account, Client, ClientOptions, Update, Updates};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use types::{Amount, Height, Outcome, Reject, TransactionId};

/// Longest wait for the answers that are missing when the load ends.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

/// A durable receipt, as a node sent it.
#[derive(Clone, Copy, Debug)]
pub struct Receipt {
    pub height: Height,
    pub index: u32,
    pub outcome: Outcome,
}

/// Everything that was acknowledged.
pub type Acknowledged = BTreeMap<TransactionId, Receipt>;

#[derive(Debug, Default)]
struct Memory {
    acknowledged: Acknowledged,
    by_node: BTreeMap<usize, usize>,
    sent: BTreeMap<TransactionId, Transfer>,
    refused: Vec<Reject>,
    unknown: usize,
    busy: usize,
}

/// What a transaction was to do: accounts by their indexes.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    pub from: u8,
    pub to: u8,
    pub amount: u128,
}

/// See the module. Transfers of a few units, from every account in turn to the next.
pub struct Load {
    memory: Arc<Mutex<Memory>>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// What a load came to.
pub struct Outcomes {
    pub acknowledged: Acknowledged,
    /// Submitted, and the connection was lost before there was an answer.
    pub unknown: usize,
    /// Everything that was submitted, acknowledged or not.
    pub sent: BTreeMap<TransactionId, Transfer>,
    /// Refused before they were ordered.
    pub refused: Vec<Reject>,
}

impl Load {
    /// Offers `rate` transfers a second to each of `nodes`, whether they run or not.
    pub fn start(network: &Network, nodes: &[usize], rate: u32) -> Self {
        let (memory, (stop, stopped)) = (Arc::new(Mutex::default()), watch::channel(false));
        let offer = |&node: &usize| {
            let offerer = Offerer {
                node,
                server: network.nodes[node].authority.client_address,
                options: network.nodes[node].client_options(network.chain()),
                accounts: (0..ACCOUNTS).map(|index| network.account(index)).collect(),
                period: Duration::from_secs(1) / rate,
                memory: Arc::clone(&memory),
            };
            tokio::spawn(offerer.run(stopped.clone()))
        };
        let tasks = nodes.iter().map(offer).collect();
        Self { memory, stop, tasks }
    }

    /// Waits until this many more are acknowledged, by whichever node.
    pub async fn acknowledges(&self, more: usize) {
        let count = || self.memory.lock().unwrap().acknowledged.len();
        let wanted = count() + more;
        until(&format!("{more} more are acknowledged"), PATIENCE, async || (count() >= wanted).then_some(())).await;
    }

    /// Waits until a node has acknowledged this many more.
    pub async fn acknowledges_at(&self, node: usize, more: usize) {
        let count = || self.memory.lock().unwrap().by_node.get(&node).copied().unwrap_or(0);
        let wanted = count() + more;
        until(&format!("node {node} acknowledges {more} more"), PATIENCE, async || (count() >= wanted).then_some(()))
            .await;
    }

    pub fn acknowledged_so_far(&self) -> usize {
        self.memory.lock().unwrap().acknowledged.len()
    }

    /// Ends it, waits for the answers that are still to come, and gives out what it remembers.
    pub async fn finish(self) -> Outcomes {
        let outcomes = self.finish_whatever_was_refused().await;
        assert_eq!(outcomes.refused, [], "good transfers were refused");
        let rejected = outcomes.acknowledged.values().filter(|receipt| receipt.outcome != Outcome::Applied).count();
        assert_eq!(rejected, 0, "good transfers were rejected");
        outcomes
    }

    /// The same where clocks jump or nodes hang for longer than a transaction is valid.
    pub async fn finish_whatever_was_refused(self) -> Outcomes {
        self.stop.send_replace(true);
        for task in self.tasks {
            task.await.unwrap();
        }
        let memory = std::mem::take(&mut *self.memory.lock().unwrap());
        println!(
            "  {} acknowledged, {} without an answer, {} busy, {} refused",
            memory.acknowledged.len(),
            memory.unknown,
            memory.busy,
            memory.refused.len()
        );
        let Memory { acknowledged, sent, refused, unknown, .. } = memory;
        Outcomes { acknowledged, unknown, sent, refused }
    }
}

/// Submits to one node.
struct Offerer {
    node: usize,
    server: SocketAddr,
    options: ClientOptions,
    accounts: Vec<Account>,
    period: Duration,
    memory: Arc<Mutex<Memory>>,
}

impl Offerer {
    async fn run(self, mut stopped: watch::Receiver<bool>) {
        let Some((client, mut updates)) = self.connect(&mut stopped).await else { return };
        let mut due = interval(self.period);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut turn = self.node;
        loop {
            tokio::select! {
                () = told(&mut stopped) => break,
                _ = due.tick() => {
                    let (from, to) = (turn % self.accounts.len(), (turn + 1) % self.accounts.len());
                    turn += 1;
                    let transfer = Transfer { from: from as u8, to: to as u8, amount: 1 + (turn as u128 * 7) % 5 };
                    let to = address(transfer.to);
                    let (sent, transfer) = (transfer, self.accounts[from].transfer(to, Amount(transfer.amount), Bytes::new()).unwrap());
                    self.memory.lock().unwrap().sent.insert(transfer.id(), sent);
                    // With as many in flight as there may be, this one is left out.
                    drop(client.try_submit(vec![(transfer.id(), transfer.raw().clone())]));
                }
                Some(update) = updates.next() => self.remember(update),
            }
        }
        drop(client);
        while let Ok(Some(update)) = timeout(LAST_ANSWERS, updates.next()).await {
            self.remember(update);
        }
    }

    /// Dials until somebody answers; afterwards the client reconnects by itself.
    async fn connect(
        &self,
        stopped: &mut watch::Receiver<bool>,
    ) -> Option<(Client<TransactionId>, Updates<TransactionId>)> {
        loop {
            tokio::select! {
                () = told(stopped) => return None,
                connected = Client::connect(self.server, self.options.clone()) => {
                    if let Ok(connected) = connected {
                        return Some(connected);
                    }
                }
            }
        }
    }

    fn remember(&self, update: Update<TransactionId>) {
        let mut memory = self.memory.lock().unwrap();
        match update {
            Update::Receipt { tag, height, index, outcome } => {
                let told_before = memory.acknowledged.insert(tag, Receipt { height, index, outcome });
                assert!(told_before.is_none(), "{tag} was acknowledged twice");
                *memory.by_node.entry(self.node).or_default() += 1;
            }
            Update::Refused { reject, .. } => memory.refused.push(reject),
            Update::Busy { .. } => memory.busy += 1,
            Update::Unknown { .. } => memory.unknown += 1,
            Update::Lost { .. } | Update::Restored { .. } => {}
        }
    }
}

/// Ends when the load is told to stop, or is dropped.
async fn told(stopped: &mut watch::Receiver<bool>) {
    drop(stopped.wait_for(|stopped| *stopped).await);
}
