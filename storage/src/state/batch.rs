//! Changes that become visible together. Bound to no database, so that it can be filled on one thread and committed on
//! another.

use rocksdb::{ColumnFamily, WriteBatch};

use super::{Family, StateError};

enum Change {
    Put { key: usize, value: usize },
    Delete { key: usize },
    DeleteRange { from: usize, to: usize },
}

/// Changes of one commit, in order.
#[derive(Default)]
pub struct StateBatch {
    changes: Vec<(Family, Change)>,
    bytes: Vec<u8>,
}

impl StateBatch {
    /// Sets a value.
    pub fn put(&mut self, family: Family, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.changes.push((family, Change::Put { key: key.len(), value: value.len() }));
    }

    /// Removes a value.
    pub fn delete(&mut self, family: Family, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.changes.push((family, Change::Delete { key: key.len() }));
    }

    /// Removes the values from `from` up to, and without, `to`.
    pub fn delete_range(&mut self, family: Family, from: &[u8], to: &[u8]) {
        self.bytes.extend_from_slice(from);
        self.bytes.extend_from_slice(to);
        self.changes.push((family, Change::DeleteRange { from: from.len(), to: to.len() }));
    }

    /// Number of changes.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Refuses keys that a hashed memtable would lose.
    pub(super) fn check(&self) -> Result<(), StateError> {
        let short = self.changes.iter().find_map(|(family, change)| {
            let (Change::Put { key, .. } | Change::Delete { key }) = change else { return None };
            (*key < family.key_bytes_min()).then_some((*family, *key))
        });
        short.map_or(Ok(()), |(family, bytes)| {
            Err(StateError::ShortKey { family, bytes, least: family.key_bytes_min() })
        })
    }

    pub(super) fn write_batch(&self, families: &[&ColumnFamily; Family::ALL.len()]) -> WriteBatch {
        // 12 bytes of header, and at most 1 tag and three varints of 5 bytes a change.
        let mut batch = WriteBatch::with_capacity_bytes(12 + self.bytes.len() + 16 * self.changes.len());
        let mut rest = self.bytes.as_slice();
        let mut take = |count: usize| {
            let (head, tail) = rest.split_at(count);
            rest = tail;
            head
        };
        for (family, change) in &self.changes {
            let family = families[*family as usize];
            match *change {
                Change::Put { key, value } => batch.put_cf(family, take(key), take(value)),
                Change::Delete { key } => batch.delete_cf(family, take(key)),
                Change::DeleteRange { from, to } => batch.delete_range_cf(family, take(from), take(to)),
            }
        }
        batch
    }
}
