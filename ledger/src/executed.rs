//! What execution gives out: everything that storage writes in one batch, and what the node tells others.

use crate::checkpoint::LedgerCheckpoint;
use crate::live::LiveBucket;
use crate::value::Value;
use types::{
    AuthorityIndex, BlockRef, Digest, EpochStart, Height, LedgerEvent, LedgerHeader, Receipt, Reject, StateKey,
    TransactionId,
};

/// What a height did to the set of live ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveChange {
    /// Ids that this height claimed; `None` where it claimed none. To be stored under the height.
    pub added: Option<LiveBucket>,
    /// Heights whose buckets have run out, rising. To be deleted.
    pub dropped: Vec<Height>,
}

/// An entry of a block that its author should never have put there, with its place as proof (CONSENSUS.md §0.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultyEntry {
    /// The block, with its author.
    pub block: BlockRef,
    /// Position in the block's payload.
    pub index: u32,
    /// What is wrong with it.
    pub reject: Reject,
}

impl FaultyEntry {
    /// Who answers for it.
    pub fn author(&self) -> AuthorityIndex {
        self.block.author
    }
}

/// How much work a commit was. Depends on caches and shards, and is never part of what nodes agree on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Keys that its transactions declared.
    pub values_named: u64,
    /// Values that were read through [`crate::StateReader`].
    pub values_read: u64,
    /// Values that changed.
    pub values_changed: u64,
    /// Elements that were expanded for the state digest, 2 KiB each.
    pub expansions: u64,
    /// Values that shards sent each other.
    pub values_sent: u64,
}

impl std::ops::AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        self.values_named += other.values_named;
        self.values_read += other.values_read;
        self.values_changed += other.values_changed;
        self.expansions += other.expansions;
        self.values_sent += other.values_sent;
    }
}

/// The result of one height. Apart from [`Executed::work`] it is equal on every node.
#[derive(Clone, Debug)]
pub struct Executed {
    /// The header that validators vote for.
    pub header: LedgerHeader,
    /// Its digest.
    pub header_digest: Digest,
    /// What became of each transaction, in order; the leaves of the receipt root. An id may stand in several receipts;
    /// the one that [`crate::claims_id`] is the transaction's own.
    pub receipts: Vec<Receipt>,
    /// Keys whose value changed, with the new value or `None` where it is gone, in rising order.
    pub changes: Vec<(StateKey, Option<Value>)>,
    /// What those keys held before, in their order: what a snapshot that is still being read can be had back from.
    pub before: Vec<Option<Value>>,
    /// Positions of transactions that emitted events, rising, with the events: what the digests in receipts are of.
    pub events: Vec<(u32, Vec<LedgerEvent>)>,
    /// Documents that were certified, with the transaction whose receipt and header are the certificate.
    pub certified: Vec<(Digest, TransactionId)>,
    /// What happened to the set of live ids.
    pub live: LiveChange,
    /// What [`crate::Ledger::resume`] continues from.
    pub checkpoint: LedgerCheckpoint,
    /// Whether a change is decided and the epoch is to end.
    pub closing: bool,
    /// At the last height of an epoch: the next one.
    pub next_epoch: Option<EpochStart>,
    /// The first faulty entry of each author who has one, in rising order of authors.
    pub faulty: Vec<FaultyEntry>,
    /// How much work it was.
    pub work: Work,
}
