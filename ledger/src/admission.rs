//! First pass over a commit, in order and without accounts: which transactions are executed, and which are rejected for
//! their form, signature, time or id. It changes nothing; a fault later on leaves the ledger as it was.

use crate::executed::FaultyEntry;
use crate::governance::{Approvals, approved};
use crate::input::{CommitInput, OrderedTransaction};
use crate::live::{LiveBucket, LiveIds, Prefix, prefix_of};
use crate::rules;
use crate::screen::Policy;
use crate::shard::shard_of;
use crate::table::TableKey;
use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroU16;
use types::{Address, Outcome, Receipt, Reject, TimestampMs, Transaction, TransactionBody, TransactionId};

/// The receiving side of a transfer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credit {
    pub(crate) receiver: Address,
    pub(crate) shard: u16,
    pub(crate) amount: u64,
}

/// What is left to decide of an admitted transaction, with the keys that it declares.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    /// Position in the commit.
    pub(crate) position: u32,
    pub(crate) sender: Address,
    pub(crate) sender_shard: u16,
    /// `None` for a deposit certificate.
    pub(crate) credit: Option<Credit>,
}

/// A commit, ready to be executed.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// In the global order.
    pub(crate) operations: Vec<Operation>,
    /// One for each transaction; those of approvals are final, those of operations say `Applied` until execution knows better.
    pub(crate) receipts: Vec<Receipt>,
    pub(crate) claimed: Option<LiveBucket>,
    pub(crate) faulty: Vec<FaultyEntry>,
    /// What the governance approves afterwards, where that has changed.
    pub(crate) approvals: Option<Approvals>,
}

/// What admission is held against.
pub(crate) struct Admission<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) live: &'a LiveIds,
    pub(crate) approvals: &'a Approvals,
    /// Ids that may be claimed, with those of buckets that this commit drops.
    pub(crate) room: u64,
    pub(crate) shards: NonZeroU16,
    pub(crate) table_key: TableKey,
}

impl Admission<'_> {
    pub(crate) fn admit(&self, input: &CommitInput) -> Admitted {
        let count = input.transactions.len();
        let mut operations = Vec::with_capacity(count);
        let mut receipts = Vec::with_capacity(count);
        let mut faulty = BTreeMap::new();
        let mut approvals = None;
        let mut claims = Claims {
            bucket: LiveBucket {
                height: input.height,
                max_valid_until: TimestampMs(0),
                ids: Vec::with_capacity(count),
            },
            seen: HashSet::with_capacity_and_hasher(count, self.table_key),
        };
        for (position, entry) in input.transactions.iter().enumerate() {
            let (id, verdict) = match &entry.transaction {
                Err(undecodable) => (TransactionId(undecodable.digest), Err(undecodable.reason)),
                Ok(transaction) => (transaction.id(), self.check(transaction, entry, input.timestamp, &mut claims)),
            };
            let outcome = match (verdict, &entry.transaction) {
                (Ok(()), Ok(transaction)) => match approved(transaction) {
                    Some((epoch, change)) => {
                        let approvals = approvals.get_or_insert_with(|| self.approvals.clone());
                        let sender = transaction.sender();
                        let verdict = self.policy.electorate.approve(approvals, sender, epoch, change);
                        verdict.err().map_or(Outcome::Applied, Outcome::Rejected)
                    }
                    None => {
                        operations.push(self.operation(position, transaction));
                        Outcome::Applied
                    }
                },
                (Ok(()), Err(undecodable)) => Outcome::Rejected(undecodable.reason),
                (Err(reject), _) => {
                    if rules::is_author_fault(reject) {
                        let first = FaultyEntry { block: entry.block, index: entry.index, reject };
                        faulty.entry(entry.block.author).or_insert(first);
                    }
                    Outcome::Rejected(reject)
                }
            };
            receipts.push(Receipt { transaction: id, outcome });
        }
        let claimed = (!claims.bucket.ids.is_empty()).then_some(claims.bucket);
        let approvals = approvals.filter(|changed| changed != self.approvals);
        Admitted { operations, receipts, claimed, faulty: faulty.into_values().collect(), approvals }
    }

    /// The order of these checks decides which reject a receipt names, so it is part of the rules.
    fn check(
        &self,
        transaction: &Transaction,
        entry: &OrderedTransaction,
        time: TimestampMs,
        claims: &mut Claims,
    ) -> Result<(), Reject> {
        self.policy.form(transaction)?;
        if !entry.signature_valid {
            return Err(Reject::BadSignature);
        }
        self.policy.window(transaction, time)?;
        let prefix = prefix_of(&transaction.id());
        // An id of a bucket that this commit drops has run out too, and was rejected as expired just above.
        if self.live.holds(&prefix) || claims.seen.contains(&prefix) {
            return Err(Reject::Duplicate);
        }
        if claims.bucket.ids.len() as u64 >= self.room {
            return Err(Reject::TooManyLiveIds);
        }
        claims.take(transaction, prefix);
        rules::stateless(transaction)
    }

    fn operation(&self, position: usize, transaction: &Transaction) -> Operation {
        let sender = transaction.sender();
        let credit = match transaction.body() {
            TransactionBody::Transfer { to, amount, .. } => {
                Some(Credit { receiver: *to, shard: shard_of(to, self.shards), amount: *amount })
            }
            TransactionBody::Certify { .. } | TransactionBody::Govern { .. } => None,
        };
        let position = u32::try_from(position).expect("a commit has far fewer than 2^32 transactions");
        Operation { position, sender, sender_shard: shard_of(&sender, self.shards), credit }
    }
}

/// Ids that the commit has claimed so far.
struct Claims {
    bucket: LiveBucket,
    seen: HashSet<Prefix, TableKey>,
}

impl Claims {
    fn take(&mut self, transaction: &Transaction, prefix: Prefix) {
        self.seen.insert(prefix);
        self.bucket.ids.push(transaction.id());
        self.bucket.max_valid_until = self.bucket.max_valid_until.max(transaction.valid_until());
    }
}
