//! What a call sees of the state: the values of the keys that it declares, and an error for every other.

use crate::account::Account;
use crate::value::Value;
use std::sync::Arc;
use types::{Access, Address, Grant, GrantId, Object, ObjectId, Reject, StateKey};

/// Values of declared keys.
pub(crate) struct View<'a> {
    access: &'a [Access],
    values: &'a mut [Option<Value>],
}

impl<'a> View<'a> {
    /// Over the values of `access`, in that order, which rises.
    pub(crate) fn new(access: &'a [Access], values: &'a mut [Option<Value>]) -> Self {
        assert_eq!(access.len(), values.len(), "a value for each declared key");
        Self { access, values }
    }

    pub(super) fn account(&self, address: &Address) -> Result<Option<Account>, Reject> {
        Ok(self.value(&(*address).into())?.and_then(Value::account))
    }

    pub(super) fn object(&self, object: ObjectId) -> Result<Option<Arc<Object>>, Reject> {
        Ok(match self.value(&object.into())? {
            Some(Value::Object(object)) => Some(Arc::clone(object)),
            Some(Value::Account(_) | Value::Grant(_)) | None => None,
        })
    }

    pub(super) fn grant(&self, grant: GrantId) -> Result<Option<Arc<Grant>>, Reject> {
        Ok(match self.value(&grant.into())? {
            Some(Value::Grant(grant)) => Some(Arc::clone(grant)),
            Some(Value::Account(_) | Value::Object(_)) | None => None,
        })
    }

    /// Changes or removes a value.
    pub(super) fn set(&mut self, key: StateKey, value: Option<Value>) -> Result<(), Reject> {
        let place = self.place(&key)?;
        if !self.access[place].write {
            return Err(Reject::Undeclared);
        }
        self.values[place] = value;
        Ok(())
    }

    fn value(&self, key: &StateKey) -> Result<Option<&Value>, Reject> {
        Ok(self.values[self.place(key)?].as_ref())
    }

    fn place(&self, key: &StateKey) -> Result<usize, Reject> {
        self.access.binary_search_by_key(key, |access| access.key).map_err(|_| Reject::Undeclared)
    }
}
