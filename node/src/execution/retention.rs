//! How much of the past is kept: what a restart needs, what those need who take a state from this node, and as much beyond
//! as the node's role says. Runs behind a flush, on the flusher's thread.
//!
//! A height goes as a whole: first the rows that lead to it, then its receipts and events, in one batch that moves the
//! mark below which nothing is; and then the segments of the log, once the database on the disk says so: a segment that is
//! gone without that is damage. A crash in between leaves segments that the next run gives up. Deliberately absent: what answers say of heights that are gone (`rpc`).

use crate::config::Keep;
use crate::replica::serve::{Archive, ServeError};
use crate::state_sync::snapshots::Snapshots;
use crate::tables::{Place, PrunedRows, TableError, Tables};
use std::sync::Arc;
use storage::log::Log;
use thiserror::Error;
use types::{AuthorityIndex, ChainId, Height, Transaction, TransactionBody};

/// Heights whose rows go in one batch, and in one run at most.
const BATCH_HEIGHTS: u64 = 256;
const RUN_HEIGHTS: u64 = 16_384;

/// Why nothing was given up.
#[derive(Debug, Error)]
pub enum RetentionError {
    /// The database.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The log.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// Gives up what the role does not keep.
pub struct Retention {
    /// The ledger.
    pub chain: ChainId,
    /// The log.
    pub log: Arc<Log>,
    /// Its blocks.
    pub archive: Archive,
    /// Tells what a restart needs.
    pub tables: Tables,
    /// Tells what joiners need.
    pub snapshots: Snapshots,
    /// What is kept.
    pub keep: Keep,
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Validators of the epoch.
    pub authors: u16,
    /// Rounds by which a block may be older than the leader that commits it, and so at most the heights in between.
    pub gc_depth_rounds: u64,
}

impl Retention {
    /// Gives up what nobody needs, as far as the state on the disk has come.
    pub fn apply(&self) -> Result<(), RetentionError> {
        if self.keep == Keep::Everything {
            return Ok(());
        }
        let Some(applied) = self.tables.persisted_applied()? else { return Ok(()) };
        let newest = self.log.next_position().segment;
        let needed = applied.replay_from.min(self.snapshots.first_segment().unwrap_or(u64::MAX));
        let tip = applied.ledger.height();
        let (floor, first) = match self.keep {
            Keep::Everything => return Ok(()),
            Keep::LogBytes(bytes) => (None, newest.saturating_sub(bytes.div_ceil(self.segment_bytes))),
            Keep::Heights(heights) => {
                let floor = Height(tip.0.saturating_sub(heights));
                (Some(floor), self.first_segment_from(floor, tip)?)
            }
        };
        let mut first = first.min(needed);
        if first > self.log.oldest_segment() {
            self.keep_last_headers(first)?;
        }
        if let Some(floor) = floor {
            first = self.prune(floor, first)?;
        }
        let stated = self.tables.persisted_log_begin()?.unwrap_or(0).min(first);
        if stated > self.log.oldest_segment() {
            let oldest = self.log.release_before(stated);
            tracing::info!(oldest, newest, "segments of the log were given up");
        }
        if self.tables.log_begin()?.is_none_or(|begin| begin < first) {
            let mut batch = self.tables.batch();
            batch.log_begins_with(first);
            self.tables.commit(batch)?;
        }
        Ok(())
    }

    /// The first segment with a block of a height or a later one.
    fn first_segment_from(&self, height: Height, tip: Height) -> Result<u64, TableError> {
        let mut first = u64::MAX;
        for height in (height.0..=tip.0.min(height.0.saturating_add(self.gc_depth_rounds))).map(Height) {
            if let Some((lowest, _)) = self.segments_of(height)? {
                first = first.min(lowest);
            }
        }
        Ok(first)
    }

    /// The lowest and the highest segment with a block of a height, as far as they are known.
    fn segments_of(&self, height: Height) -> Result<Option<(u64, u64)>, TableError> {
        let mut found: Option<(u64, u64)> = None;
        for block in self.tables.commit_record(height)?.iter().flat_map(|record| &record.blocks) {
            if let Some(place) = self.tables.block_place(&block.digest)? {
                let segment = place.block.segment;
                let (lowest, highest) = found.unwrap_or((segment, segment));
                found = Some((lowest.min(segment), highest.max(segment)));
            }
        }
        Ok(found)
    }

    /// Removes the rows of heights below `floor` whose blocks lie before segment `first`; the first segment that is needed
    /// by what stays.
    fn prune(&self, floor: Height, first: u64) -> Result<u64, RetentionError> {
        let begin = self.tables.pruned_below()?;
        let end = Height(floor.0.min(begin.0 + RUN_HEIGHTS));
        let mut next = begin;
        while next < end {
            let (mut batch, from) = (self.tables.batch(), next);
            let mut held = None;
            while next < end && next.0 < from.0 + BATCH_HEIGHTS {
                held = self.segments_of(next)?.filter(|(_, highest)| *highest >= first);
                if held.is_some() {
                    break;
                }
                let rows = PrunedRows { documents: self.documents_of(next)? };
                self.tables.unlink(&mut batch, next, &rows)?;
                next = next.next();
            }
            if next > from {
                batch.prune_below(from, next);
                self.tables.commit(batch)?;
            }
            if held.is_some() {
                break;
            }
        }
        if next > begin {
            tracing::info!(below = next.0, "receipts, events and indexes of old heights were given up");
        }
        // What a run does not get to keeps its blocks until the next one.
        let waiting = if next < floor { self.first_segment_from(next, floor)? } else { u64::MAX };
        Ok(first.min(waiting))
    }

    /// The documents that a height's transactions certified: they stand in its blocks alone.
    fn documents_of(&self, height: Height) -> Result<Vec<(types::Digest, Place)>, RetentionError> {
        let Some(record) = self.tables.commit_record(height)? else { return Ok(Vec::new()) };
        let (mut documents, mut index) = (Vec::new(), 0);
        for block in &record.blocks {
            let Some((_, payload)) = self.archive.block(block)? else { return Ok(documents) };
            let payload = types::Payload::parse(payload, usize::MAX).map_err(ServeError::from)?;
            for raw in payload.transactions() {
                if let Ok(transaction) = Transaction::parse(&self.chain, raw)
                    && let TransactionBody::Certify { document, .. } = transaction.body()
                {
                    documents.push((*document, Place { height, index }));
                }
                index += 1;
            }
        }
        Ok(documents)
    }

    /// A validator without its disk asks for its last block, however old: its header stays when its record goes.
    fn keep_last_headers(&self, first: u64) -> Result<(), RetentionError> {
        let mut batch = self.tables.batch();
        for author in (0..self.authors).map(AuthorityIndex) {
            let Some(block) = self.tables.last_block(author)? else { continue };
            let place = self.tables.block_place(&block.digest)?;
            if place.is_some_and(|place| place.block.segment < first)
                && let Some((header, _)) = self.archive.block(&block)?
            {
                batch.keep_header(&block, &header);
            }
        }
        Ok(self.tables.commit(batch)?)
    }
}
