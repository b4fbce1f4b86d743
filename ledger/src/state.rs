//! The seam to storage: cold reads of values. Deliberately absent: writes, which leave as [`crate::Executed`].

use crate::value::Value;
use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};
use thiserror::Error;
use types::{DecodeError, StateKey};

/// Our own storage failed. Nothing of the commit was applied, and the ledger stands where it stood.
#[derive(Debug, Error)]
pub enum StateFault {
    /// A value could not be read.
    #[error("a value of the state could not be read")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A value was read and is not one of its key's kind.
    #[error("the value stored under {key:?} is damaged")]
    Damaged {
        /// Where.
        key: StateKey,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// A batch was answered with another number of values than was asked for.
    #[error("{asked} values were asked for and {answered} came back")]
    Answers {
        /// How many were asked for.
        asked: usize,
        /// How many came back.
        answered: usize,
    },
    /// Another shard's read failed in the same commit; that shard's fault is the one to report.
    #[error("another shard could not read its values")]
    OtherShard,
}

/// Reads values that no shard holds in memory. Called from shard workers, several at a time.
///
/// The answer must contain every change of every height up to the last one that [`crate::Ledger::persisted`] was told,
/// and genesis before the first commit is executed. Later changes may or may not be in it: the ledger does not ask for
/// keys that they touched.
pub trait StateReader: Send + Sync {
    /// The value under a key, of the kind of the key's domain, or `None` where there is none.
    ///
    /// # Errors
    /// [`StateFault`] where that cannot be said.
    fn value(&self, key: &StateKey) -> Result<Option<Value>, StateFault>;

    /// The values under several keys, in their order. Storage that batches reads should override it.
    ///
    /// # Errors
    /// As [`StateReader::value`].
    fn values(&self, keys: &[StateKey]) -> Result<Vec<Option<Value>>, StateFault> {
        keys.iter().map(|key| self.value(key)).collect()
    }
}

/// A state in memory: for tests, simulations and examples.
#[derive(Debug, Default)]
pub struct MemoryState(RwLock<BTreeMap<StateKey, Value>>);

impl MemoryState {
    /// Writes the changes of an executed commit.
    pub fn apply(&self, changes: &[(StateKey, Option<Value>)]) {
        // A panic between two inserts of plain values leaves nothing half-written, so a poisoned lock is still good.
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in changes {
            match value {
                Some(value) => drop(map.insert(*key, value.clone())),
                None => drop(map.remove(key)),
            }
        }
    }

    /// Every value, in the order of keys.
    pub fn all(&self) -> Vec<(StateKey, Value)> {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        map.iter().map(|(key, value)| (*key, value.clone())).collect()
    }
}

impl StateReader for MemoryState {
    fn value(&self, key: &StateKey) -> Result<Option<Value>, StateFault> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }
}
