//! First pass over a commit, in order and without accounts: which transactions are executed, and which are rejected for
//! their form, signature, time or id. It changes nothing; a fault later on leaves the ledger as it was.

use crate::contracts;
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
use std::sync::Arc;
use types::{
    Address, Amount, Outcome, Receipt, Reject, StateKey, TimestampMs, Transaction, TransactionBody, TransactionId,
};

/// Number of the sender's key in a transfer or certificate, and of the receiver's.
pub(crate) const SENDER: u8 = 0;
pub(crate) const RECEIVER: u8 = 1;

/// The receiving side of a transfer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credit {
    pub(crate) receiver: Address,
    pub(crate) shard: u16,
    pub(crate) amount: Amount,
}

/// What is left to decide of an admitted transaction, with the keys that it declares: a transfer those of its sender and
/// receiver, a certificate that of its sender, a call what it says.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    /// Position in the commit.
    pub(crate) position: u32,
    /// The shard that says what became of it: one of those that take part.
    pub(crate) home: u16,
    pub(crate) action: Action,
}

impl Operation {
    /// The keys that it declares, with the number of each and its shard, in order: the same on every shard.
    pub(crate) fn for_each_key(&self, shards: NonZeroU16, mut each: impl FnMut(u8, StateKey, u16)) {
        match &self.action {
            Action::Transfer { sender, credit } => {
                each(SENDER, (*sender).into(), self.home);
                each(RECEIVER, credit.receiver.into(), credit.shard);
            }
            Action::Certify { sender } => each(SENDER, (*sender).into(), self.home),
            Action::Call(transaction) => {
                let access = contracts::call(transaction).map_or(&[][..], |call| &call.access);
                access.iter().zip(0..).for_each(|(access, number)| {
                    each(number, access.key, shard_of(&access.key, shards));
                });
            }
        }
    }
}

/// What an operation does.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Home is the sender's shard.
    Transfer { sender: Address, credit: Credit },
    /// Home is the sender's shard.
    Certify { sender: Address },
    /// Home is the shard of the first declared key.
    Call(Arc<Transaction>),
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
                        operations.extend(self.operation(position, transaction));
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

    /// `None` for what the shards have no part in.
    fn operation(&self, position: usize, transaction: &Arc<Transaction>) -> Option<Operation> {
        let (sender, shard) = (transaction.sender(), |key: StateKey| shard_of(&key, self.shards));
        let (home, action) = match transaction.body() {
            TransactionBody::Transfer { to, amount, .. } => {
                let credit = Credit { receiver: *to, shard: shard((*to).into()), amount: *amount };
                (shard(sender.into()), Action::Transfer { sender, credit })
            }
            TransactionBody::Certify { .. } => (shard(sender.into()), Action::Certify { sender }),
            TransactionBody::Call(call) => (shard(call.access.first()?.key), Action::Call(Arc::clone(transaction))),
            TransactionBody::Govern { .. } => return None,
        };
        let position = u32::try_from(position).expect("a commit has far fewer than 2^32 transactions");
        Some(Operation { position, home, action })
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
