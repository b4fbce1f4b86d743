//! An account that this process holds the key of: builds and signs its transactions.
//!
//! Every transaction gets a random nonce, so that two equal orders are two transactions, and a validity that is short
//! enough to give up on: once it has passed, a transaction without a receipt will never have one. Deliberately absent:
//! where keys are kept.

use bytes::Bytes;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thiserror::Error;
use types::{Address, ChainId, DecodeError, Digest, SecretKey, Transaction, TransactionBody};

/// How long a transaction stays valid unless [`Account::valid_for`] says otherwise; within the default window of genesis.
pub const DEFAULT_VALIDITY: Duration = Duration::from_secs(30);

/// Why a transaction could not be built.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The memo is longer than the encoding allows.
    #[error(transparent)]
    Memo(#[from] DecodeError),
    /// The operating system gave no randomness for the nonce.
    #[error("no randomness from the operating system: {0}")]
    Randomness(getrandom::Error),
}

/// A key and the ledger on which it acts.
#[derive(Clone, Debug)]
pub struct Account {
    chain: ChainId,
    key: SecretKey,
    validity: Duration,
}

impl Account {
    /// The account of `key` on the ledger `chain`.
    pub fn new(chain: ChainId, key: SecretKey) -> Self {
        Self { chain, key, validity: DEFAULT_VALIDITY }
    }

    /// Sets how long from now its transactions stay valid; the ledger refuses more than its `validity_window_ms`.
    #[must_use]
    pub fn valid_for(mut self, validity: Duration) -> Self {
        self.validity = validity;
        self
    }

    /// Its address.
    pub fn address(&self) -> Address {
        self.key.public_key().address()
    }

    /// The ledger.
    pub fn chain(&self) -> ChainId {
        self.chain
    }

    /// Moves `amount` to another account.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn transfer(&self, to: Address, amount: u64, memo: Bytes) -> Result<Transaction, BuildError> {
        self.sign(TransactionBody::Transfer { to, amount, memo })
    }

    /// Puts the digest of a document on the ledger.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn certify(&self, document: Digest, memo: Bytes) -> Result<Transaction, BuildError> {
        self.sign(TransactionBody::Certify { document, memo })
    }

    /// Signs any body, valid from now on, with a random nonce.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn sign(&self, body: TransactionBody) -> Result<Transaction, BuildError> {
        let nonce = getrandom::u64().map_err(BuildError::Randomness)?;
        let valid_until_ms = now_ms().saturating_add(u64::try_from(self.validity.as_millis()).unwrap_or(u64::MAX));
        Ok(Transaction::sign(&self.chain, &self.key, valid_until_ms, nonce, body)?)
    }
}

/// Milliseconds since the Unix epoch by this machine's clock.
pub fn now_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_orders_are_two_transactions_and_both_verify() {
        let account = Account::new(ChainId(Digest::ZERO), SecretKey::ed25519_from_seed([1; 32]));
        let build = || account.transfer(Address::from_bytes([2; 32]), 5, Bytes::new()).expect("a short memo");
        let (first, second) = (build(), build());
        assert_ne!(first.id(), second.id());
        assert!(first.verify().is_ok() && second.verify().is_ok());
        assert_eq!(first.sender(), account.address());
        assert!(first.valid_until().0 > now_ms());
        assert!(matches!(account.certify(Digest::ZERO, vec![0; 1 << 17].into()), Err(BuildError::Memo(_))));
    }
}
