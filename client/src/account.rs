//! An account that this process can sign for: builds its transactions.
//!
//! Every transaction gets a random nonce, so that two equal orders are two transactions, and a validity that is short
//! enough to give up on: once it has passed, a transaction without a receipt will never have one. Deliberately absent:
//! where keys are kept: whatever signs implements [`AccountKey`].

use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thiserror::Error;
use types::{
    Address, Amount, Call, ChainId, DecodeError, Digest, Draft, PublicKey, SecretKey, Signature, SigningMessage, Step,
    Transaction, TransactionBody,
};

/// How long a transaction stays valid unless [`Account::valid_for`] says otherwise; within the default window of genesis.
pub const DEFAULT_VALIDITY: Duration = Duration::from_secs(30);

/// Why a transaction could not be built.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The memo is longer, or the parties, keys or steps of a call are more, than the encoding allows.
    #[error(transparent)]
    Memo(#[from] DecodeError),
    /// The operating system gave no randomness for the nonce.
    #[error("no randomness from the operating system: {0}")]
    Randomness(getrandom::Error),
    /// The key did not sign.
    #[error(transparent)]
    Key(#[from] KeyFault),
}

/// A key did not sign.
#[derive(Debug, Error)]
#[error("the account's key did not sign: {0}")]
pub struct KeyFault(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Signs for an account: a [`SecretKey`] in memory, or a device.
pub trait AccountKey: Send + Sync + fmt::Debug {
    /// The public half.
    fn public_key(&self) -> PublicKey;

    /// Signs a transaction's message.
    ///
    /// # Errors
    /// [`KeyFault`].
    fn sign(&self, message: &SigningMessage) -> Result<Signature, KeyFault>;
}

impl AccountKey for SecretKey {
    fn public_key(&self) -> PublicKey {
        Self::public_key(self)
    }

    fn sign(&self, message: &SigningMessage) -> Result<Signature, KeyFault> {
        Ok(Self::sign(self, message))
    }
}

/// A key and the ledger on which it acts.
#[derive(Clone, Debug)]
pub struct Account {
    chain: ChainId,
    key: Arc<dyn AccountKey>,
    validity: Duration,
}

impl Account {
    /// The account of `key` on the ledger `chain`.
    pub fn new(chain: ChainId, key: impl AccountKey + 'static) -> Self {
        Self { chain, key: Arc::new(key), validity: DEFAULT_VALIDITY }
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
    pub fn transfer(&self, to: Address, amount: Amount, memo: Bytes) -> Result<Transaction, BuildError> {
        self.sign(TransactionBody::Transfer { to, amount, memo })
    }

    /// Puts the digest of a document on the ledger.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn certify(&self, document: Digest, memo: Bytes) -> Result<Transaction, BuildError> {
        self.sign(TransactionBody::Certify { document, memo })
    }

    /// Calls contracts, with no other party: all steps are applied, or none.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn call(&self, steps: Vec<Step>, memo: Bytes) -> Result<Transaction, BuildError> {
        let call = Call::new(&self.address(), Vec::new(), steps, memo);
        self.sign(TransactionBody::Call(Box::new(call)))
    }

    /// A call of contracts that others sign too, valid from now on, for [`Account::approve`] by each of its signers.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn draft(&self, cosigners: Vec<PublicKey>, steps: Vec<Step>, memo: Bytes) -> Result<Draft, BuildError> {
        let call = Call::new(&self.address(), cosigners, steps, memo);
        let (valid_until_ms, nonce) = (self.valid_until_ms(), getrandom::u64().map_err(BuildError::Randomness)?);
        let body = TransactionBody::Call(Box::new(call));
        Ok(Draft::new(&self.chain, &self.key.public_key(), valid_until_ms, nonce, body)?)
    }

    /// Signs a draft. Look at its steps first: they are all that protects the account.
    ///
    /// # Errors
    /// [`BuildError::Key`].
    pub fn approve(&self, draft: &Draft) -> Result<Signature, BuildError> {
        Ok(self.key.sign(&draft.message())?)
    }

    /// The public half of its key.
    pub fn public_key(&self) -> PublicKey {
        self.key.public_key()
    }

    /// Signs any body, valid from now on, with a random nonce.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn sign(&self, body: TransactionBody) -> Result<Transaction, BuildError> {
        let nonce = getrandom::u64().map_err(BuildError::Randomness)?;
        self.sign_as(self.valid_until_ms(), nonce, body)
    }

    fn valid_until_ms(&self) -> u64 {
        now_ms().saturating_add(u64::try_from(self.validity.as_millis()).unwrap_or(u64::MAX))
    }

    fn sign_as(&self, valid_until_ms: u64, nonce: u64, body: TransactionBody) -> Result<Transaction, BuildError> {
        let sign = |message: &SigningMessage| Ok(self.key.sign(message)?);
        Transaction::sign_with(&self.chain, &self.key.public_key(), valid_until_ms, nonce, body, sign)
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
    use types::{AlgId, ObjectId};

    /// A key behind a wall, as in a device.
    #[derive(Debug)]
    struct Device(SecretKey);

    impl AccountKey for Device {
        fn public_key(&self) -> PublicKey {
            self.0.public_key()
        }

        fn sign(&self, message: &SigningMessage) -> Result<Signature, KeyFault> {
            Ok(self.0.sign(message))
        }
    }

    #[test]
    fn a_device_signs_the_same_transaction_as_a_key_in_memory_under_every_algorithm() {
        let chain = ChainId(Digest::sha256(b"a genesis"));
        for alg in AlgId::signing() {
            let key = SecretKey::from_seed(alg, [1; 32]).expect("an algorithm that signs");
            for body in [
                TransactionBody::Transfer {
                    to: Address::from_bytes([2; 32]),
                    amount: Amount(5),
                    memo: Bytes::from_static(b"rent"),
                },
                TransactionBody::Certify { document: Digest::sha256(b"a document"), memo: Bytes::new() },
            ] {
                let expected = Transaction::sign(&chain, &key, 77, 9, body.clone()).expect("a short memo");
                let account = Account::new(chain, Device(key.clone()));
                let built = account.sign_as(77, 9, body).expect("a short memo");
                assert_eq!(built, expected);
                assert!(built.verify().is_ok());
            }
        }
    }

    #[test]
    fn a_sale_is_drafted_by_one_party_and_approved_by_both() {
        let chain = ChainId(Digest::sha256(b"a genesis"));
        let account = |seed| Account::new(chain, SecretKey::ed25519_from_seed([seed; 32]));
        let (seller, buyer) = (account(1), account(2));
        let steps = vec![
            Step::Transfer { object: ObjectId::issued(&seller.address(), 1), to: buyer.address() },
            Step::Pay { from: buyer.address(), to: seller.address(), amount: Amount(5) },
        ];
        let draft = seller.draft(vec![buyer.public_key()], steps, Bytes::new()).expect("a draft");
        let signatures = [seller.approve(&draft).expect("signs"), buyer.approve(&draft).expect("signs")];
        let sale = draft.finish(&signatures).expect("two signatures");
        assert!(sale.verify().is_ok() && sale.is_signed_by(&buyer.address()));
    }

    #[test]
    fn equal_orders_are_two_transactions_and_both_verify() {
        let account = Account::new(ChainId(Digest::ZERO), SecretKey::ed25519_from_seed([1; 32]));
        let build = || account.transfer(Address::from_bytes([2; 32]), Amount(5), Bytes::new()).expect("a short memo");
        let (first, second) = (build(), build());
        assert_ne!(first.id(), second.id());
        assert!(first.verify().is_ok() && second.verify().is_ok());
        assert_eq!(first.sender(), account.address());
        assert!(first.valid_until().0 > now_ms());
        assert!(matches!(account.certify(Digest::ZERO, vec![0; 1 << 17].into()), Err(BuildError::Memo(_))));
    }
}
