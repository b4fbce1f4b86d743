//! What execution takes in: one ordered commit with its verdicts.

use std::sync::Arc;
use types::transaction::TransactionError;
use types::{BlockRef, Digest, Height, Reject, TimestampMs, Transaction};

/// Bytes in a block that are no transaction of this ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecodable {
    /// SHA-256 of the bytes; it stands in the receipt in place of a transaction id.
    pub digest: Digest,
    /// Why: [`Reject::Malformed`], [`Reject::WrongChain`] or [`Reject::AlgorithmNotAllowed`].
    pub reason: Reject,
}

impl Undecodable {
    /// From the bytes and what [`Transaction::parse`] said of them.
    pub fn new(raw: &[u8], error: TransactionError) -> Self {
        Self { digest: Digest::sha256(raw), reason: error.into() }
    }
}

/// A transaction at its place in the global order.
#[derive(Clone, Debug)]
pub struct OrderedTransaction {
    /// The parsed transaction.
    pub transaction: Result<Arc<Transaction>, Undecodable>,
    /// The verdict on its signature; without meaning for an undecodable one.
    pub signature_valid: bool,
    /// The block that carries it; its author answers for what he could have checked.
    pub block: BlockRef,
    /// Position in that block's payload.
    pub index: u32,
}

/// One commit of the DAG, in order.
#[derive(Clone, Debug)]
pub struct CommitInput {
    /// Position; one above the ledger's tip.
    pub height: Height,
    /// Digest of the commit record.
    pub commit: Digest,
    /// BFT time; never below that of the height before (CONSENSUS.md §0.10).
    pub timestamp: TimestampMs,
    /// What the header is to carry in `state_root`: the root of the snapshot that is due at this height
    /// ([`types::SnapshotPlan`]), or [`Digest::ZERO`].
    pub state_root: Digest,
    /// Whether consensus commits nothing more in this epoch.
    pub last_of_epoch: bool,
    /// The transactions of all blocks of the commit, in their order.
    pub transactions: Vec<OrderedTransaction>,
}
