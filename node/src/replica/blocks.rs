//! The blocks that the replica works with: headers and payloads that arrive apart are matched here, and the log's
//! place of each is remembered until its commit is executed.
//!
//! Bounded: payloads without a header by [`ORPHAN_PAYLOADS_MAX`] an author, everything else by the consensus core, which
//! decides which headers are kept, and by garbage collection.

use crate::pool::Pending;
use crate::replica::contents::Contents;
use crate::replica::event::ReceivedPayload;
use crate::topology::ORPHAN_PAYLOADS_MAX;
use std::collections::BTreeMap;
use std::sync::Arc;
use storage::log::LogPosition;
use types::{AuthorityIndex, BlockHeader, BlockRef, Digest, Payload, Round};

/// What is known of one block.
#[derive(Debug)]
pub struct Entry {
    /// The header.
    pub header: Arc<BlockHeader>,
    /// The payload's bytes; gone again when the block is old and can be read from the log.
    pub payload: Option<Payload>,
    /// The payload's transactions, from when it is matched until its commit is handed to execution.
    pub contents: Option<Arc<Contents>>,
    /// Where the log holds it: an own proposal, or another's block.
    pub position: Option<LogPosition>,
    /// Of an own block: where the log holds the signed header.
    pub signed: Option<LogPosition>,
    /// Of an own block: whom to tell about each transaction.
    pub origins: Vec<Pending>,
    /// Whether a commit has ordered it.
    pub committed: bool,
}

impl Entry {
    /// A header alone.
    pub fn bare(header: Arc<BlockHeader>) -> Self {
        let (payload, contents, position, signed) = (None, None, None, None);
        Self { header, payload, contents, position, signed, origins: Vec::new(), committed: false }
    }

    /// Whether the payload is at hand, in memory or in the log.
    pub fn is_whole(&self) -> bool {
        self.payload.is_some() || self.position.is_some()
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Blocks {
    entries: BTreeMap<BlockRef, Entry>,
    orphans: BTreeMap<AuthorityIndex, BTreeMap<BlockRef, ReceivedPayload>>,
}

/// What became of a header or payload that was put in.
#[derive(Debug, PartialEq, Eq)]
pub enum Matched {
    /// Header and payload are both here now.
    Complete,
    /// The other half is still missing.
    Waiting,
    /// It was here already.
    Known,
    /// The payload is not the one of its header.
    WrongPayload,
}

impl Blocks {
    /// Puts in a header, and its payload where that came first.
    pub fn put_header(&mut self, header: Arc<BlockHeader>) -> Matched {
        let block = header.block_ref();
        if self.entries.contains_key(&block) {
            return Matched::Known;
        }
        let empty = header.body().payload.is_empty();
        let orphan = self.orphans.get_mut(&block.author).and_then(|orphans| orphans.remove(&block));
        self.entries.insert(block, Entry::bare(header));
        if empty {
            let entry = self.entries.get_mut(&block).expect("inserted above");
            entry.payload = Some(Payload::empty());
            entry.contents = Some(Arc::new(Contents::verified(Vec::new())));
            return Matched::Complete;
        }
        match orphan {
            Some(payload) => self.put_payload(payload),
            None => Matched::Waiting,
        }
    }

    /// Puts in a payload; without its header it waits as one of a bounded number.
    pub fn put_payload(&mut self, received: ReceivedPayload) -> Matched {
        let Some(entry) = self.entries.get_mut(&received.block) else {
            let orphans = self.orphans.entry(received.block.author).or_default();
            orphans.insert(received.block, received);
            if orphans.len() > ORPHAN_PAYLOADS_MAX {
                orphans.pop_first();
            }
            return Matched::Waiting;
        };
        if entry.is_whole() {
            return Matched::Known;
        }
        if entry.header.body().payload != received.descriptor {
            return Matched::WrongPayload;
        }
        entry.payload = Some(received.payload);
        entry.contents = Some(received.contents);
        Matched::Complete
    }

    /// Puts in a whole block: an own one, or one from the log.
    pub fn put(&mut self, block: BlockRef, entry: Entry) {
        self.entries.insert(block, entry);
    }

    /// Puts in a block of which nothing is known here.
    pub fn put_missing(&mut self, block: BlockRef, entry: Entry) {
        self.entries.entry(block).or_insert(entry);
    }

    /// Forgets a block.
    pub fn remove(&mut self, block: &BlockRef) {
        self.entries.remove(block);
    }

    /// What is known of a block.
    pub fn entry(&self, block: &BlockRef) -> Option<&Entry> {
        self.entries.get(block)
    }

    /// What is known of a block, to change it.
    pub fn entry_mut(&mut self, block: &BlockRef) -> Option<&mut Entry> {
        self.entries.get_mut(block)
    }

    /// Takes the transactions of own blocks that no commit has ordered, in the order of the blocks.
    pub fn take_uncommitted(&mut self) -> Vec<Pending> {
        self.entries.values_mut().flat_map(|entry| std::mem::take(&mut entry.origins)).collect()
    }

    /// Forgets what is below `floor`, and the bytes of committed payloads below `payload_floor`, which the log serves.
    pub fn collect(&mut self, floor: Round, payload_floor: Round) {
        let at = |round| BlockRef { round, author: AuthorityIndex(0), digest: Digest::ZERO };
        // Nothing is dropped before the log has told where it stands, so that it can still be served.
        self.entries = self.entries.split_off(&at(floor));
        for (_, entry) in self.entries.range_mut(..at(payload_floor)) {
            if entry.committed && entry.position.is_some() {
                entry.payload = None;
            }
        }
        for orphans in self.orphans.values_mut() {
            *orphans = orphans.split_off(&at(floor));
        }
    }

    /// Number of blocks held.
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests;
