//! One shard of the state: a bounded cache of hot accounts, the working values of the commit at hand, and the net change
//! that they leave. Owned by one thread at a time; it knows nothing of other shards.
//!
//! Cost of a commit in a shard: one table lookup for each key that a transaction declares, one batched read for those
//! that are not cached, and for each account whose value changed two expansions of 2 KiB, of the old and of the new
//! element. Keeping the old expansions in memory was tried: reading 2 KiB from a cold cache costs what making them does.

use crate::account::Account;
use crate::executed::Work;
use crate::lthash::{Expansion, LtHash};
use crate::state::{StateFault, StateReader};
use crate::table::TableKey;
use std::collections::HashMap;
use std::num::NonZeroU16;
use types::{Address, Height};

/// Slots that the key space is divided into; a shard holds a contiguous range of them (CONSENSUS.md §4.1).
pub const SLOTS: u16 = 4096;

/// The slot of an account: 12 bits of its address, which is the digest of its key.
pub fn slot_of(address: &Address) -> u16 {
    let [low, high, ..] = *address.as_bytes();
    u16::from_le_bytes([low, high]) % SLOTS
}

/// The shard of an account where there are `shards` of them.
pub(crate) fn shard_of(address: &Address, shards: NonZeroU16) -> u16 {
    let shard = u32::from(slot_of(address)) * u32::from(shards.get()) / u32::from(SLOTS);
    u16::try_from(shard).expect("below the number of shards, because the slot is below SLOTS")
}

/// A cached account, or the knowledge that there is none.
#[derive(Debug)]
struct Entry {
    address: Address,
    account: Option<Account>,
    /// Last height that changed it; 0 where it is as it was read.
    written: Height,
    /// The commit that touched it last, by [`Shard::stamp`], and its place in the working values of that commit.
    stamp: u64,
    order: u32,
    /// Touched since the hand of the clock last passed.
    recent: bool,
}

/// The value of an account within a commit.
#[derive(Clone, Copy, Debug)]
struct Working {
    entry: u32,
    before: Option<Account>,
    now: Option<Account>,
}

/// What a commit did in one shard.
#[derive(Debug, Default)]
pub(crate) struct NetChange {
    /// Changed accounts, in no particular order.
    pub(crate) accounts: Vec<(Address, Account)>,
    pub(crate) state: LtHash,
    pub(crate) work: Work,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Shard {
    table: HashMap<Address, u32, TableKey>,
    entries: Vec<Entry>,
    capacity: usize,
    hand: usize,
    persisted: Height,
    stamp: u64,
    working: Vec<Working>,
    /// Places in `working` of accounts that are not cached.
    missing: Vec<u32>,
}

impl Shard {
    /// A shard with an empty cache for `capacity` accounts, over storage that holds every height up to `persisted`.
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
    pub(crate) fn touch(&mut self, address: &Address) -> u32 {
        let order = self.working.len() as u32;
        let Some(index) = self.table.get(address).copied() else {
            let index = self.entries.len() as u32;
            self.table.insert(*address, index);
            let (account, written, stamp) = (None, Height(0), self.stamp);
            let entry = Entry { address: *address, account, written, stamp, order, recent: true };
            self.entries.push(entry);
            self.missing.push(order);
            self.working.push(Working { entry: index, before: None, now: None });
            return order;
        };
        let entry = &mut self.entries[index as usize];
        if entry.stamp != self.stamp {
            (entry.stamp, entry.order, entry.recent) = (self.stamp, order, true);
            self.working.push(Working { entry: index, before: entry.account, now: entry.account });
        }
        entry.order
    }

    /// Number of keys that the commit has declared.
    pub(crate) fn touched(&self) -> usize {
        self.working.len()
    }

    /// Reads the accounts that are declared and not cached, in one batch. On a fault the commit must be abandoned.
    pub(crate) fn load(&mut self, reader: &dyn StateReader) -> Result<(), StateFault> {
        if self.missing.is_empty() {
            return Ok(());
        }
        let place = |order: &u32| self.working[*order as usize].entry as usize;
        let addresses: Vec<_> = self.missing.iter().map(|order| self.entries[place(order)].address).collect();
        let accounts = reader.accounts(&addresses).and_then(|accounts| {
            let (asked, answered) = (addresses.len(), accounts.len());
            if asked == answered { Ok(accounts) } else { Err(StateFault::Answers { asked, answered }) }
        })?;
        for (order, account) in self.missing.iter().zip(accounts) {
            let working = &mut self.working[*order as usize];
            (working.before, working.now) = (account, account);
            self.entries[working.entry as usize].account = account;
        }
        Ok(())
    }

    /// The working value at a place.
    pub(crate) fn value(&self, place: u32) -> Option<Account> {
        self.working[place as usize].now
    }

    /// Changes the working value at a place.
    pub(crate) fn set(&mut self, place: u32, account: Account) {
        self.working[place as usize].now = Some(account);
    }

    /// Ends a commit that goes through: the working values become the cached ones.
    pub(crate) fn settle(&mut self, height: Height) -> NetChange {
        let mut change = NetChange::default();
        let (mut old, mut new) = (Expansion::zeroed(), Expansion::zeroed());
        for working in &self.working {
            let (Some(now), true) = (working.now, working.now != working.before) else { continue };
            let entry = &mut self.entries[working.entry as usize];
            (entry.account, entry.written) = (Some(now), height);
            let address = entry.address;
            new.account(&address, &now);
            if let Some(before) = &working.before {
                old.account(&address, before);
                change.state.replace(&old, &new);
                change.work.expansions += 2;
            } else {
                change.state.add(&new);
                change.work.expansions += 1;
            }
            change.accounts.push((address, now));
        }
        change.work.accounts_named = self.working.len() as u64;
        change.work.accounts_read = self.missing.len() as u64;
        change.work.accounts_changed = change.accounts.len() as u64;
        change
    }

    /// Takes back a commit that does not go through in another shard, whether it is settled here or not.
    pub(crate) fn abandon(&mut self) {
        for working in &self.working {
            let entry = &mut self.entries[working.entry as usize];
            entry.account = working.before;
        }
        // Entries that were made for this commit are the last ones, because entries are only removed before a commit.
        let made = self.missing.len();
        for entry in self.entries.drain(self.entries.len() - made..) {
            self.table.remove(&entry.address);
        }
        self.missing.clear();
        self.working.clear();
    }

    /// Second-chance eviction down to the capacity. Accounts that storage may not hold yet stay, so the cache can be
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
        self.table.remove(&removed.address);
        if let Some(moved) = self.entries.get(index) {
            *self.table.get_mut(&moved.address).expect("every entry is in the table") = index as u32;
        }
    }
}
