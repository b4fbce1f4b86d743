//! The database as it was at one moment, while commits go on. Holding one keeps overwritten values on the disk.

use rocksdb::{IteratorMode, ReadOptions};

use super::{Family, StateDb, StateError, StateIterator};

/// Reads the values of one moment. May be shared between threads.
pub struct StateSnapshot<'a> {
    db: &'a StateDb,
    snapshot: rocksdb::Snapshot<'a>,
}

impl<'a> StateSnapshot<'a> {
    pub(super) fn new(db: &'a StateDb) -> Self {
        Self { db, snapshot: db.db.snapshot() }
    }

    /// The value of a key.
    pub fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.snapshot.get_cf(self.db.family(family), key)?)
    }

    /// Everything in a family, ascending. Sorts what a hashed family has in memory, so that it is for a walk over all.
    pub fn iterate_all(&self, family: Family) -> StateIterator<'_> {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        options.set_total_order_seek(true);
        StateIterator(self.snapshot.iterator_cf_opt(self.db.family(family), options, IteratorMode::Start))
    }
}

impl std::fmt::Debug for StateSnapshot<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StateSnapshot")
    }
}
