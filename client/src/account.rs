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
use types::transaction::TransactionError;
use types::{
    Address, ChainId, DecodeError, Digest, Encode, PublicKey, SecretKey, Signature, SigningMessage, Transaction,
    TransactionBody,
};

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
        sign_with(&self.chain, &*self.key, valid_until_ms, nonce, body)
    }
}

/// [`Transaction::sign`] for a key that is not in memory: the unsigned encoding is taken from a transaction of a known
/// key, which stands at a fixed place in it, so that the layout has one owner.
fn sign_with(
    chain: &ChainId,
    key: &dyn AccountKey,
    valid_until_ms: u64,
    nonce: u64,
    body: TransactionBody,
) -> Result<Transaction, BuildError> {
    let template = SecretKey::ed25519_from_seed([0; 32]);
    let signed = Transaction::sign(chain, &template, valid_until_ms, nonce, body)?;
    let before_key = 1 + chain.to_bytes().len() + valid_until_ms.to_bytes().len() + nonce.to_bytes().len();
    let behind_key = before_key + template.public_key().to_bytes().len();
    let before_signature = signed.raw().len() - signed.signature().to_bytes().len();

    let public = key.public_key();
    let mut raw = signed.raw()[..before_key].to_vec();
    public.encode(&mut raw);
    raw.extend_from_slice(&signed.raw()[behind_key..before_signature]);
    let with = |signature: &Signature| {
        let raw = [raw.as_slice(), &signature.to_bytes()].concat();
        Transaction::parse(chain, raw.into()).map_err(|error| match error {
            TransactionError::Decode(error) => BuildError::Memo(error),
            TransactionError::WrongChain(_) => unreachable!("built for this very ledger"),
        })
    };
    let alg = public.alg();
    let placeholder = Signature::from_parts(alg, &vec![0; alg.signature_len()]).expect("a key's algorithm signs");
    let unsigned = with(&placeholder)?;
    with(&key.sign(&unsigned.message())?)
}

/// Milliseconds since the Unix epoch by this machine's clock.
pub fn now_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_device_signs_the_same_transaction_as_a_key_in_memory() {
        let (chain, key) = (ChainId(Digest::sha256(b"a genesis")), SecretKey::ed25519_from_seed([1; 32]));
        for body in [
            TransactionBody::Transfer {
                to: Address::from_bytes([2; 32]),
                amount: 5,
                memo: Bytes::from_static(b"rent"),
            },
            TransactionBody::Certify { document: Digest::sha256(b"a document"), memo: Bytes::new() },
        ] {
            let expected = Transaction::sign(&chain, &key, 77, 9, body.clone()).expect("a short memo");
            let built = sign_with(&chain, &Device(key.clone()), 77, 9, body).expect("a short memo");
            assert_eq!(built, expected);
        }
    }

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
