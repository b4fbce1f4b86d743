//! One shard of the state: a bounded cache of hot values, the working values of the commit at hand, and the net change
//! that they leave. Owned by one thread at a time; it knows nothing of other shards.
//!
//! Cost of a commit in a shard: one table lookup for each key that a transaction declares, one batched read for those
//! that are not cached, and for each value that changed two expansions of 2 KiB, of the old and of the new
//! element. Keeping the old expansions in memory was tried: reading 2 KiB from a cold cache costs what making them does.

use crate::account::Account;
use crate::executed::Work;
use crate::lthash::{Accumulator, Element, LtHash};
use crate::state::{StateFault, StateReader};
use crate::table::TableKey;
use crate::value::Value;
use std::collections::HashMap;
use std::num::NonZeroU16;
use types::{Height, StateKey};

/// Slots that the key space is divided into; a shard holds a contiguous range of them (CONSENSUS.md §4.1).
pub const SLOTS: u16 = 4096;

/// The slot of a key: 12 of its bits, which are those of a digest.
pub fn slot_of(key: &StateKey) -> u16 {
    let [low, high, ..] = *key.as_bytes();
    u16::from_le_bytes([low, high]) % SLOTS
}

/// The shard of a key where there are `shards` of them.
pub fn shard_of(key: &StateKey, shards: NonZeroU16) -> u16 {
    let shard = u32::from(slot_of(key)) * u32::from(shards.get()) / u32::from(SLOTS);
    u16::try_from(shard).expect("below the number of shards, because the slot is below SLOTS")
}

/// A cached value, or the knowledge that there is none.
#[derive(Debug)]
struct Entry {
    key: StateKey,
    value: Option<Value>,
    /// Last height that changed it; 0 where it is as it was read.
    written: Height,
    /// The commit that touched it last, by [`Shard::stamp`], and its place in the working values of that commit.
    stamp: u64,
    order: u32,
    /// Touched since the hand of the clock last passed.
    recent: bool,
}

/// A value within a commit.
#[derive(Clone, Debug)]
struct Working {
    entry: u32,
    before: Option<Value>,
    now: Option<Value>,
}

/// A key whose value changed.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) key: StateKey,
    pub(crate) before: Option<Value>,
    pub(crate) now: Option<Value>,
}

/// What a commit did in one shard.
#[derive(Debug, Default)]
pub(crate) struct NetChange {
    /// Changed values, in no particular order, with those before; `None` where there was none or one was removed.
    pub(crate) values: Vec<Changed>,
    pub(crate) state: LtHash,
    pub(crate) work: Work,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Shard {
    table: HashMap<StateKey, u32, TableKey>,
    entries: Vec<Entry>,
    capacity: usize,
    hand: usize,
    persisted: Height,
    stamp: u64,
    working: Vec<Working>,
    /// Places in `working` of keys that are not cached.
    missing: Vec<u32>,
}

impl Shard {
    /// A shard with an empty cache for `capacity` values, over storage that holds every height up to `persisted`.
    pub(crate) fn new(capacity: usize, persisted: Height, key: TableKey) -> Self {
        Self {
            table: HashMap::with_hasher(key),
            entries: Vec::new(),
            capacity,
            hand: 0,
            persisted,
            stamp: 0,
            working: Vec::new(),
            missing: Vec::new(),
        }
    }

    /// Storage now holds every height up to this one.
    pub(crate) fn persisted(&mut self, height: Height) {
        self.persisted = self.persisted.max(height);
    }

    /// Starts a commit.
    pub(crate) fn begin(&mut self) {
        self.evict();
        self.stamp += 1;
        self.working.clear();
        self.missing.clear();
    }

    /// Declares a key of the commit; the answer is its place among the working values.
    pub(crate) fn touch(&mut self, key: &StateKey) -> u32 {
        let order = self.working.len() as u32;
        let Some(index) = self.table.get(key).copied() else {
            let index = self.entries.len() as u32;
            self.table.insert(*key, index);
            let (value, written, stamp) = (None, Height(0), self.stamp);
            let entry = Entry { key: *key, value, written, stamp, order, recent: true };
            self.entries.push(entry);
            self.missing.push(order);
            self.working.push(Working { entry: index, before: None, now: None });
            return order;
        };
        let entry = &mut self.entries[index as usize];
        if entry.stamp != self.stamp {
            (entry.stamp, entry.order, entry.recent) = (self.stamp, order, true);
            self.working.push(Working { entry: index, before: entry.value.clone(), now: entry.value.clone() });
        }
        entry.order
    }

    /// Number of keys that the commit has declared.
    pub(crate) fn touched(&self) -> usize {
        self.working.len()
    }

    /// Reads the values that are declared and not cached, in one batch. On a fault the commit must be abandoned.
    pub(crate) fn load(&mut self, reader: &dyn StateReader) -> Result<(), StateFault> {
        if self.missing.is_empty() {
            return Ok(());
        }
        let place = |order: &u32| self.working[*order as usize].entry as usize;
        let keys: Vec<_> = self.missing.iter().map(|order| self.entries[place(order)].key).collect();
        let values = reader.values(&keys).and_then(|values| {
            let (asked, answered) = (keys.len(), values.len());
            if asked == answered { Ok(values) } else { Err(StateFault::Answers { asked, answered }) }
        })?;
        for (order, value) in self.missing.iter().zip(values) {
            let working = &mut self.working[*order as usize];
            (working.before, working.now) = (value.clone(), value.clone());
            self.entries[working.entry as usize].value = value;
        }
        Ok(())
    }

    /// The working value at a place.
    pub(crate) fn value(&self, place: u32) -> Option<&Value> {
        self.working[place as usize].now.as_ref()
    }

    /// The account among the working values at a place.
    pub(crate) fn account(&self, place: u32) -> Option<Account> {
        self.value(place).and_then(Value::account)
    }

    /// Changes or removes the working value at a place.
    pub(crate) fn set(&mut self, place: u32, value: Option<Value>) {
        self.working[place as usize].now = value;
    }

    /// Ends a commit that goes through: the working values become the cached ones.
    pub(crate) fn settle(&mut self, height: Height) -> NetChange {
        let (mut change, mut state) = (NetChange::default(), Accumulator::default());
        for working in &self.working {
            if working.now == working.before {
                continue;
            }
            let entry = &mut self.entries[working.entry as usize];
            (entry.value, entry.written) = (working.now.clone(), height);
            let key = entry.key;
            if let Some(before) = &working.before {
                state.remove(&Element::value(&key, before));
                change.work.expansions += 1;
            }
            if let Some(now) = &working.now {
                state.add(&Element::value(&key, now));
                change.work.expansions += 1;
            }
            change.values.push(Changed { key, before: working.before.clone(), now: working.now.clone() });
        }
        change.state = state.sum();
        change.work.values_named = self.working.len() as u64;
        change.work.values_read = self.missing.len() as u64;
        change.work.values_changed = change.values.len() as u64;
        change
    }

    /// Takes back a commit that does not go through in another shard, whether it is settled here or not.
    pub(crate) fn abandon(&mut self) {
        for working in &self.working {
            let entry = &mut self.entries[working.entry as usize];
            entry.value = working.before.clone();
        }
        // Entries that were made for this commit are the last ones, because entries are only removed before a commit.
        let made = self.missing.len();
        for entry in self.entries.drain(self.entries.len() - made..) {
            self.table.remove(&entry.key);
        }
        self.missing.clear();
        self.working.clear();
    }

    /// Second-chance eviction down to the capacity. Values that storage may not hold yet stay, so the cache can be
    /// larger by what was changed and not persisted; the work is bounded by that of the commit before.
    fn evict(&mut self) {
        let over = self.entries.len().saturating_sub(self.capacity);
        let steps_max = 4 * self.working.len() + 1_024;
        let (mut steps, mut evicted) = (steps_max.min(4 * over), 0);
        while evicted < over && steps > 0 {
            steps -= 1;
            if self.hand >= self.entries.len() {
                self.hand = 0;
            }
            let entry = &mut self.entries[self.hand];
            if entry.recent || entry.written > self.persisted {
                entry.recent = false;
                self.hand += 1;
            } else {
                self.remove(self.hand);
                evicted += 1;
            }
        }
    }

    /// Takes out an entry and puts the last one in its place.
    fn remove(&mut self, index: usize) {
        let removed = self.entries.swap_remove(index);
        self.table.remove(&removed.key);
        if let Some(moved) = self.entries.get(index) {
            *self.table.get_mut(&moved.key).expect("every entry is in the table") = index as u32;
        }
    }
}
