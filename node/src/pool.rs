//! The pool of verified transactions that wait for a block.
//!
//! Bounded in number and bytes; when it is full the ingress answers `Busy`. It remembers the id of everything it holds
//! and of everything that own blocks took from it until that is executed, so that a client cannot enter one transaction
//! twice. One lock, held for microseconds: ingress pushes, the replica takes.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use types::{TimestampMs, Transaction, TransactionId};

/// Whom to tell what became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A session of the fast path, and the transaction's number in it.
    Session {
        /// The session.
        session: u64,
        /// Number of the transaction in it.
        sequence: u64,
    },
    /// The RPC, which asks for itself.
    Rpc,
}

/// A verified transaction and where it came from.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The transaction.
    pub transaction: Arc<Transaction>,
    /// Whom to tell.
    pub origin: Origin,
}

/// Why a transaction could not enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No room; come back later.
    Full,
    /// Its id is here already.
    Duplicate,
}

#[derive(Default)]
struct Inner {
    queue: VecDeque<Pending>,
    bytes: usize,
    /// Reserved by transactions whose signatures are being verified.
    reserved: usize,
    ids: HashSet<TransactionId>,
}

/// See the module.
pub struct Pool {
    inner: Mutex<Inner>,
    transactions_max: usize,
    bytes_max: usize,
}

impl Pool {
    /// An empty pool with its limits.
    pub fn new(transactions_max: usize, bytes_max: usize) -> Self {
        Self { inner: Mutex::default(), transactions_max, bytes_max }
    }

    /// Takes a place for a transaction that is about to be verified.
    pub fn reserve(&self, id: TransactionId) -> Result<(), Refusal> {
        let mut inner = self.lock();
        if inner.queue.len() + inner.reserved >= self.transactions_max || inner.bytes >= self.bytes_max {
            return Err(Refusal::Full);
        }
        if !inner.ids.insert(id) {
            return Err(Refusal::Duplicate);
        }
        inner.reserved += 1;
        Ok(())
    }

    /// Fills reserved places after verification: those that are valid enter, the ids of the others are forgotten.
    pub fn settle(&self, verified: impl IntoIterator<Item = (Pending, bool)>) {
        let mut inner = self.lock();
        for (pending, valid) in verified {
            inner.reserved -= 1;
            if valid {
                inner.bytes += pending.transaction.raw().len();
                inner.queue.push_back(pending);
            } else {
                inner.ids.remove(&pending.transaction.id());
            }
        }
    }

    /// Gives reserved places back, without a verdict.
    pub fn cancel<'a>(&self, ids: impl IntoIterator<Item = &'a TransactionId>) {
        let mut inner = self.lock();
        for id in ids {
            inner.reserved -= 1;
            inner.ids.remove(id);
        }
    }

    /// Takes transactions for a block, oldest first; those that expired by `now` come back apart.
    pub fn take(&self, count_max: usize, bytes_max: usize, now: TimestampMs) -> (Vec<Pending>, Vec<Pending>) {
        let mut inner = self.lock();
        let (mut taken, mut expired, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some(next) = inner.queue.front() {
            let length = next.transaction.raw().len() + 4;
            if taken.len() == count_max || bytes + length > bytes_max {
                break;
            }
            let next = inner.queue.pop_front().expect("there is a front");
            inner.bytes -= length - 4;
            if next.transaction.valid_until() < now {
                inner.ids.remove(&next.transaction.id());
                expired.push(next);
            } else {
                bytes += length;
                taken.push(next);
            }
        }
        (taken, expired)
    }

    /// Puts transactions of a block that will never be committed back to the front.
    pub fn put_back(&self, pending: Vec<Pending>) {
        let mut inner = self.lock();
        for pending in pending.into_iter().rev() {
            inner.bytes += pending.transaction.raw().len();
            inner.queue.push_front(pending);
        }
    }

    /// All sessions are over: whoever waits for an answer asks the RPC. What waits for a block goes on waiting.
    pub fn outlive_sessions(&self) {
        for pending in &mut self.lock().queue {
            pending.origin = Origin::Rpc;
        }
    }

    /// Forgets ids of executed transactions; the ledger remembers them from here on.
    pub fn forget(&self, ids: impl IntoIterator<Item = TransactionId>) {
        let mut inner = self.lock();
        for id in ids {
            inner.ids.remove(&id);
        }
    }

    /// Transactions that wait.
    pub fn len(&self) -> usize {
        self.lock().queue.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every critical section leaves the pool whole, so a panic elsewhere does not spoil it.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
