//! Learning of epochs that begin without this node: the proofs of all after the one that it knows, asked for at the RPC of
//! validators, since others have no link to whoever is not in their committee (CONSENSUS.md §2.11).
//!
//! Nobody is believed: each epoch is proven by the one before, from the one that the own state has reached, or from
//! genesis on. What was learnt is kept in the database, and read by the next start inside.

use crate::config::Setup;
use crate::node::Stopper;
use crate::replica::event::Fact;
use crate::replica::recovery::{RecoveryError, open_tables};
use crate::status::Status;
use crate::tables::{TableError, Tables};
use client::RpcClient;
use client::rpc::EPOCHS_MAX;
use crossbeam_channel::Sender;
use hsm::PublicKeys;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use types::{Committee, Epoch, EpochChain, EpochChange, EpochStart, Stake};

/// How long one validator may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pause between two rounds of questions.
const PAUSE: Duration = Duration::from_millis(500);
/// Pause after questions of a node that has no quorum: the others may be down just as well.
const UNEASY_PAUSE: Duration = Duration::from_secs(3);
/// Pages that one address may fill at a time, so that a liar cannot fill this memory. The rest is asked for later.
const PAGES_MAX: usize = 4;
/// Without links to a quorum, or behind honest peers' epoch, for so long, a node asks which epochs it has missed.
const UNEASY_MAX: Duration = Duration::from_secs(4);
/// How often a waiting node says so.
const TELL: Duration = Duration::from_secs(10);

/// Extends a chain by what the known validators can prove.
async fn learn(chain: &mut EpochChain, first: &EpochStart, ask: &[String], own_name: &str) {
    let known = [&chain.last().committee, &first.committee];
    let members = known.into_iter().flat_map(Committee::authorities).filter(|member| member.name != own_name);
    let addresses: BTreeSet<String> =
        members.map(|member| member.rpc_address.to_string()).chain(ask.iter().cloned()).collect();
    let from = chain.last().epoch().next();
    let mut questions: JoinSet<Vec<EpochChange>> = addresses.into_iter().map(|address| epochs(address, from)).collect();
    while let Some(answered) = questions.join_next().await {
        for change in answered.unwrap_or_default() {
            if change.start.epoch() != chain.last().epoch().next() {
                continue;
            }
            let epoch = change.start.epoch().0;
            match chain.push(change) {
                Ok(()) => tracing::info!(epoch, "a later epoch is proven"),
                Err(error) => {
                    tracing::warn!(epoch, %error, "an answer claims an epoch that it does not prove");
                    break;
                }
            }
        }
    }
}

/// The proofs that one address gives; none where it does not answer.
async fn epochs(address: String, from: Epoch) -> Vec<EpochChange> {
    let Ok(rpc) = RpcClient::new(&address) else { return Vec::new() };
    let (mut found, mut next) = (Vec::new(), from);
    for _ in 0..PAGES_MAX {
        let Ok(Ok(page)) = tokio::time::timeout(PATIENCE, rpc.epochs(next)).await else { break };
        let before = found.len();
        found.extend(page.iter().take(EPOCHS_MAX).filter_map(|info| info.change.as_ref()?.decode().ok()));
        let Some(last) = found.last().map(|change: &EpochChange| change.start.epoch()) else { break };
        // Pages rise, or there is nothing more to be had here.
        if found.len() == before || last < next {
            break;
        }
        next = last.next();
    }
    found
}

/// Puts proofs where the next start finds them.
fn keep(tables: &Tables, changes: &[EpochChange]) -> Result<(), TableError> {
    let mut batch = tables.batch();
    changes.iter().for_each(|change| batch.known_change(change));
    tables.commit(batch)
}

/// While a node is without links to a quorum, or behind the epoch of honest peers, it asks which epochs have begun without
/// it. Ends when there is one.
pub struct Watch {
    /// The node.
    pub setup: Setup,
    /// The last epoch that it knows.
    pub newest: EpochStart,
    /// Where proofs go.
    pub tables: Tables,
    /// Tells whether there is a quorum.
    pub status: Arc<Status>,
    /// To whoever runs the epoch.
    pub replica: Sender<Fact>,
}

impl Watch {
    /// See the type.
    pub async fn run(self) {
        let mut chain = EpochChain::new(self.setup.chain, self.newest);
        let mut well = Instant::now();
        loop {
            tokio::time::sleep(PAUSE).await;
            if !self.status.may_miss_an_epoch() {
                well = Instant::now();
            }
            if well.elapsed() < UNEASY_MAX {
                continue;
            }
            learn(&mut chain, &self.setup.first, &self.setup.ask, &self.setup.config.validator).await;
            if chain.changes().is_empty() {
                tokio::time::sleep(UNEASY_PAUSE).await;
                continue;
            }
            match keep(&self.tables, chain.changes()) {
                // The queue is full only for moments.
                Ok(()) if self.replica.try_send(Fact::LaterEpochs).is_ok() => return,
                Ok(()) => {}
                Err(error) => tracing::error!(%error, "the proofs of later epochs could not be kept"),
            }
        }
    }
}

/// Waits until there is an epoch whose committee has this node, and keeps the proofs. `false`: it was asked to stop.
pub async fn wait(
    setup: &Setup,
    held: &PublicKeys,
    newest: EpochStart,
    stopper: &Stopper,
) -> Result<bool, RecoveryError> {
    let mut chain = EpochChain::new(setup.chain, newest);
    let mut told = None::<Instant>;
    loop {
        if stopper.is_asked() {
            return Ok(false);
        }
        learn(&mut chain, &setup.first, &setup.ask, &setup.config.validator).await;
        let newest = chain.last();
        match setup.in_epoch(newest, held) {
            Ok(_) => break,
            Err(why) if told.is_none_or(|at| at.elapsed() >= TELL) => {
                told = Some(Instant::now());
                tracing::info!(epoch = newest.epoch().0, %why, "waiting for an epoch whose committee has this validator");
            }
            Err(_) => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
    tracing::info!(epoch = chain.last().epoch().0, "the committee has this validator");
    let tables = open_tables(setup)?;
    keep(&tables, chain.changes())?;
    tables.flush()?;
    Ok(true)
}

/// Waits until members of an epoch with stake above f are in it: from then on they serve what others still need of the
/// one before.
pub async fn has_begun(next: EpochStart) {
    loop {
        let mut begun = Stake(0);
        let mut questions = JoinSet::new();
        for (index, member) in next.committee.indices().zip(next.committee.authorities()) {
            let (address, epoch) = (member.rpc_address.to_string(), next.epoch());
            questions.spawn(async move { (index, !epochs(address, epoch).await.is_empty()) });
        }
        while let Some(answered) = questions.join_next().await {
            if let Ok((index, true)) = answered {
                begun.0 += next.committee.stake(index).0;
            }
        }
        if begun >= next.committee.validity() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
