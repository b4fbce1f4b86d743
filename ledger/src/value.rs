//! What the state holds under a key.

use crate::account::Account;
use std::sync::Arc;
use types::{Decode, DecodeError, Encode, Grant, Object, StateKey};

/// The value of a key. Its kind is that of the key's domain. Accounts, which nearly all transactions are about, lie
/// inline; the others are shared, so that any value is copied in a few words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Under [`StateKey::Account`].
    Account(Account),
    /// Under [`StateKey::Object`].
    Object(Arc<Object>),
    /// Under [`StateKey::Grant`].
    Grant(Arc<Grant>),
}

impl Value {
    /// The account, where it is one.
    pub fn account(&self) -> Option<Account> {
        match self {
            Self::Account(account) => Some(*account),
            Self::Object(_) | Self::Grant(_) => None,
        }
    }

    /// Reads the value of a key from its encoding.
    ///
    /// # Errors
    /// [`DecodeError`] where it is not one of the key's domain.
    pub fn from_bytes(key: &StateKey, bytes: &[u8]) -> Result<Self, DecodeError> {
        match key {
            StateKey::Account(_) => Account::from_bytes(bytes).map(Self::Account),
            StateKey::Object(_) => Object::from_bytes(bytes).map(|object| Self::Object(Arc::new(object))),
            StateKey::Grant(_) => Grant::from_bytes(bytes).map(|grant| Self::Grant(Arc::new(grant))),
        }
    }
}

impl Encode for Value {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Account(account) => account.encode(out),
            Self::Object(object) => object.encode(out),
            Self::Grant(grant) => grant.encode(out),
        }
    }
}

impl From<Account> for Value {
    fn from(account: Account) -> Self {
        Self::Account(account)
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Self::Object(Arc::new(object))
    }
}

impl From<Grant> for Value {
    fn from(grant: Grant) -> Self {
        Self::Grant(Arc::new(grant))
    }
}
