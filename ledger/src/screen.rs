//! The checks that need no account: of genesis, of time, and of the live ids. Ingress asks them before it spends a
//! signature verification, execution asks them again in order, and both use the functions of this file.

use crate::governance::{Electorate, approved};
use crate::live::LiveIds;
use crate::rules;
use std::sync::Arc;
use types::{AlgId, Committee, EpochStart, Genesis, GenesisError, Reject, TimestampMs, Transaction, TransactionId};

/// The limits of an epoch that a transaction is held against.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    algorithms: Vec<AlgId>,
    transaction_bytes_max: usize,
    validity_window_ms: u64,
    pub(crate) electorate: Arc<Electorate>,
}

impl Policy {
    pub(crate) fn new(genesis: &Genesis, start: &EpochStart) -> Result<Self, GenesisError> {
        let electorate = Electorate::new(genesis.governance.clone(), start);
        Ok(Self::of_epoch(genesis.algorithms()?, electorate, start))
    }

    /// The same ledger in its next epoch.
    pub(crate) fn next(&self, start: &EpochStart) -> Self {
        let governance = Electorate::clone(&self.electorate).into_governance();
        Self::of_epoch(self.algorithms.clone(), Electorate::new(governance, start), start)
    }

    fn of_epoch(algorithms: Vec<AlgId>, electorate: Electorate, start: &EpochStart) -> Self {
        Self {
            algorithms,
            transaction_bytes_max: start.parameters.transaction_bytes_max as usize,
            validity_window_ms: start.parameters.validity_window_ms,
            electorate: Arc::new(electorate),
        }
    }

    /// What the author of a block could have checked, apart from the signature.
    pub(crate) fn form(&self, transaction: &Transaction) -> Result<(), Reject> {
        if transaction.raw().len() > self.transaction_bytes_max {
            return Err(Reject::TooLarge);
        }
        let allowed = |alg| self.algorithms.contains(&alg);
        let all = transaction.claims().all(|(key, signature)| allowed(key.alg()) && allowed(signature.alg()));
        if all { Ok(()) } else { Err(Reject::AlgorithmNotAllowed) }
    }

    /// Valid iff T ≤ `valid_until` ≤ T + W (CONSENSUS.md §0.5).
    pub(crate) fn window(&self, transaction: &Transaction, time: TimestampMs) -> Result<(), Reject> {
        let valid_until = transaction.valid_until().0;
        if valid_until < time.0 {
            Err(Reject::Expired)
        } else if valid_until > time.0.saturating_add(self.validity_window_ms) {
            Err(Reject::ValidUntilTooFar)
        } else {
            Ok(())
        }
    }
}

/// Cheap checks for ingress, on any thread, beside an executing ledger. Cloning shares the live ids.
///
/// A pass promises nothing: the ledger decides when the transaction is executed.
#[derive(Clone, Debug)]
pub struct Screen {
    policy: Policy,
    live: Arc<LiveIds>,
}

impl Screen {
    pub(crate) fn new(policy: Policy, live: Arc<LiveIds>) -> Self {
        Self { policy, live }
    }

    /// Size, algorithm, window, form of the body, sense of a change, room for an id, duplicate; in this order. The chain was checked when
    /// the transaction was parsed. `now` is the caller's best guess at the time of a commit.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn check(&self, transaction: &Transaction, now: TimestampMs) -> Result<(), Reject> {
        self.policy.form(transaction)?;
        self.policy.window(transaction, now)?;
        rules::stateless(transaction)?;
        self.next_committee(transaction)?;
        if self.live.is_full() {
            return Err(Reject::TooManyLiveIds);
        }
        if self.is_live(&transaction.id()) { Err(Reject::Duplicate) } else { Ok(()) }
    }

    /// The committee that a change would lead to; `None` for a transaction that approves none.
    ///
    /// # Errors
    /// What is wrong with the change or its sender.
    pub fn next_committee(&self, transaction: &Transaction) -> Result<Option<Committee>, Reject> {
        let Some((epoch, change)) = approved(transaction) else { return Ok(None) };
        self.policy.electorate.next(&transaction.sender(), epoch, change).map(|(committee, _)| Some(committee))
    }

    /// Most bytes of a transaction: for framing, before there is anything to parse.
    pub fn transaction_bytes_max(&self) -> usize {
        self.policy.transaction_bytes_max
    }

    /// Whether an id was claimed by an executed commit and has not run out.
    pub fn is_live(&self, id: &TransactionId) -> bool {
        self.live.contains(id)
    }

    /// Live ids at this moment.
    pub fn live_ids(&self) -> u64 {
        self.live.count()
    }
}
