//! The seam to storage: cold reads of accounts. Deliberately absent: writes, which leave as [`crate::Executed`].

use crate::account::Account;
use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};
use thiserror::Error;
use types::{Address, DecodeError};

/// Our own storage failed. Nothing of the commit was applied, and the ledger stands where it stood.
#[derive(Debug, Error)]
pub enum StateFault {
    /// An account could not be read.
    #[error("an account could not be read")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An account was read and is not one.
    #[error("the stored account {address} is damaged")]
    Damaged {
        /// Where.
        address: Address,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// A batch was answered with another number of accounts than was asked for.
    #[error("{asked} accounts were asked for and {answered} came back")]
    Answers {
        /// How many were asked for.
        asked: usize,
        /// How many came back.
        answered: usize,
    },
    /// Another shard's read failed in the same commit; that shard's fault is the one to report.
    #[error("another shard could not read its accounts")]
    OtherShard,
}

/// Reads accounts that no shard holds in memory. Called from shard workers, several at a time.
///
/// The answer must contain every change of every height up to the last one that [`crate::Ledger::persisted`] was told,
/// and genesis before the first commit is executed. Later changes may or may not be in it: the ledger does not ask for
/// accounts that they touched.
pub trait StateReader: Send + Sync {
    /// The account at an address, or `None` where there is none.
    ///
    /// # Errors
    /// [`StateFault`] where that cannot be said.
    fn account(&self, address: &Address) -> Result<Option<Account>, StateFault>;

    /// The accounts at several addresses, in their order. Storage that batches reads should override it.
    ///
    /// # Errors
    /// As [`StateReader::account`].
    fn accounts(&self, addresses: &[Address]) -> Result<Vec<Option<Account>>, StateFault> {
        addresses.iter().map(|address| self.account(address)).collect()
    }
}

/// A state in memory: for tests, simulations and examples.
#[derive(Debug, Default)]
pub struct MemoryState(RwLock<BTreeMap<Address, Account>>);

impl MemoryState {
    /// Writes the accounts of an executed commit.
    pub fn apply(&self, accounts: &[(Address, Account)]) {
        // A panic between two inserts of plain values leaves nothing half-written, so a poisoned lock is still good.
        self.0.write().unwrap_or_else(PoisonError::into_inner).extend(accounts.iter().copied());
    }

    /// Every account, in the order of addresses.
    pub fn all(&self) -> Vec<(Address, Account)> {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        map.iter().map(|(address, account)| (*address, *account)).collect()
    }
}

impl StateReader for MemoryState {
    fn account(&self, address: &Address) -> Result<Option<Account>, StateFault> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).get(address).copied())
    }
}
