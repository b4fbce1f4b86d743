//! Rows of commits that came with a state from peers: their blocks are not in the log.

use super::{Batch, TableError, Tables};
use std::sync::Arc;
use storage::state::Family;
use types::{BlockHeader, BlockRef, CommitRecord, Decode, DecodeError, Encode, Height, Reader};

const SYNCED_KEY: &[u8] = b"synced";

impl Tables {
    /// The lowest and the highest height of the commits that came with a state from peers; `None` on a node that has
    /// executed everything itself.
    pub fn synced(&self) -> Result<Option<(Height, Height)>, TableError> {
        Ok(self.row::<Synced>(Family::Meta, SYNCED_KEY)?.map(|synced| (synced.lowest, synced.highest)))
    }

    /// The raw header of a block of those commits. Its payload was never here.
    pub fn synced_header(&self, block: &BlockRef) -> Result<Option<Vec<u8>>, TableError> {
        Ok(self.db.get(Family::Headers, &synced_key(block))?)
    }
}

impl Batch {
    /// Commits that came with a state from peers, in rising order, with the headers of their blocks.
    pub fn synced_commits(&mut self, commits: &[(CommitRecord, Vec<Arc<BlockHeader>>)]) {
        for (record, headers) in commits {
            self.batch.put(Family::Commits, &record.height.0.to_be_bytes(), &record.to_bytes());
            for header in headers {
                self.batch.put(Family::Headers, &synced_key(&header.block_ref()), header.raw());
                self.last_block(&header.block_ref());
            }
        }
        if let (Some((lowest, _)), Some((highest, _))) = (commits.first(), commits.last()) {
            let synced = Synced { lowest: lowest.height, highest: highest.height };
            self.batch.put(Family::Meta, SYNCED_KEY, &synced.to_bytes());
        }
    }
}

/// Heights of commits that came with a state from peers.
struct Synced {
    lowest: Height,
    highest: Height,
}

impl Encode for Synced {
    fn encode(&self, out: &mut Vec<u8>) {
        self.lowest.encode(out);
        self.highest.encode(out);
    }
}

impl Decode for Synced {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { lowest: Height::decode(reader)?, highest: Height::decode(reader)? })
    }
}

pub(super) fn synced_key(block: &BlockRef) -> Vec<u8> {
    let mut key = vec![b's'];
    block.encode(&mut key);
    key
}
