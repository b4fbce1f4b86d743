//! What the log holds of the present epoch. Records of other epochs are history: they are passed over.

use super::RecoveryError;
use crate::config::Plan;
use crate::records::{self, Proposal};
use crate::replica::blocks::{Blocks, Entry};
use crate::replica::segments::Segments;
use crate::tables::Tables;
use std::collections::BTreeMap;
use std::sync::Arc;
use storage::log::{Record, VisitError};
use thiserror::Error;
use types::{BlockHeader, ChainId, CommitRecord, Decode, DecodeError, Epoch, HeaderVote, Height};

/// What the log holds, in the order of the log.
pub(super) struct Found {
    chain: ChainId,
    /// The epoch whose records count, and the last height before it.
    epoch: Epoch,
    anchor: Height,
    pub(super) blocks: Blocks,
    pub(super) segments: Segments,
    pub(super) headers: Vec<Arc<BlockHeader>>,
    pub(super) commits: Vec<CommitRecord>,
    pub(super) verdicts: BTreeMap<Height, Vec<u8>>,
    pub(super) last_own: Option<Arc<BlockHeader>>,
    pub(super) unsigned: Option<Proposal>,
    /// Whether the log came from a backup.
    pub(super) restored: bool,
    pub(super) voted: Height,
}

/// A record that is not what its kind says.
#[derive(Debug, Error)]
#[error("the record at {position} (kind {kind}) does not decode: {source}")]
struct BadRecord {
    position: storage::log::LogPosition,
    kind: u8,
    source: DecodeError,
}

impl Found {
    pub(super) fn new(plan: &Plan, first: u64) -> Self {
        Self {
            chain: plan.chain,
            epoch: plan.epoch.epoch(),
            anchor: plan.epoch.anchor.height,
            blocks: Blocks::default(),
            segments: Segments::new(first),
            headers: Vec::new(),
            commits: Vec::new(),
            verdicts: BTreeMap::new(),
            last_own: None,
            unsigned: None,
            restored: false,
            voted: Height(0),
        }
    }

    pub(super) fn take(&mut self, record: Record) -> Result<(), VisitError> {
        let Record { position, kind, payload } = record;
        let bad = |source| BadRecord { position, kind, source };
        match kind {
            records::PROPOSAL => {
                let (proposal, _) = Proposal::parse(&payload).map_err(bad)?;
                self.note_votes(&proposal.votes);
                if proposal.statement.epoch != self.epoch {
                    return Ok(());
                }
                self.segments.note(position.segment, proposal.statement.round);
                let mut entry = Entry::bare(Arc::new(records::unsigned_header(&proposal)));
                entry.position = Some(position);
                self.blocks.put(proposal.statement.block_ref(), entry);
                // An earlier one without a signed header lost it to damage: it was repaired away.
                if let Some(lost) = self.unsigned.replace(proposal) {
                    self.blocks.remove(&lost.statement.block_ref());
                }
            }
            records::SIGNED => {
                // The header keeps its bytes alive: a copy frees those of the whole group.
                let header = BlockHeader::parse(&self.chain, bytes::Bytes::copy_from_slice(&payload)).map_err(bad)?;
                if header.epoch() != self.epoch {
                    return Ok(());
                }
                let header = Arc::new(header);
                if let Some(entry) = self.blocks.entry_mut(&header.block_ref()) {
                    entry.header = Arc::clone(&header);
                    entry.signed = Some(position);
                }
                if self.unsigned.as_ref().is_some_and(|waiting| waiting.statement.round <= header.round()) {
                    self.unsigned = None;
                }
                self.headers.push(Arc::clone(&header));
                self.last_own = Some(header);
            }
            records::BLOCK => {
                let (header, _) = records::parse_block(&self.chain, &payload).map_err(bad)?;
                if header.epoch() != self.epoch {
                    return Ok(());
                }
                let raw = bytes::Bytes::copy_from_slice(header.raw());
                let header = Arc::new(BlockHeader::parse(&self.chain, raw).map_err(bad)?);
                self.segments.note(position.segment, header.round());
                let mut entry = Entry::bare(Arc::clone(&header));
                entry.position = Some(position);
                self.blocks.put(header.block_ref(), entry);
                // An own one whose signed header was damaged, fetched whole.
                self.unsigned.take_if(|waiting| waiting.statement.block_ref() == header.block_ref());
                self.headers.push(header);
            }
            records::COMMIT => {
                let commit = records::Commit::from_bytes(&payload).map_err(bad)?;
                let taken = self.commits.last().map_or(self.anchor, |last| last.height);
                // Of an epoch that is over; or fetched again after a crash.
                if commit.record.height <= taken {
                    return Ok(());
                }
                self.verdicts.insert(commit.record.height, commit.verdicts);
                self.commits.push(commit.record);
            }
            records::RESTORED => {
                // Own blocks may have been made since the backup: those before it say nothing of how far the own chain
                // went, as on a disk that is new.
                self.last_own = None;
                self.restored = true;
                if let Some(proposal) = self.unsigned.take() {
                    self.blocks.remove(&proposal.statement.block_ref());
                }
            }
            other => {
                return Err(bad(DecodeError::UnknownTag { field: "record kind", value: other.into() }).into());
            }
        }
        Ok(())
    }

    /// Where the state came from peers, the commits below it came with it: they stand in the database. What the log holds
    /// from before is of no use.
    pub(super) fn go_on_from_synced(&mut self, tables: &Tables) -> Result<(), RecoveryError> {
        let Some((lowest, highest)) = tables.synced()? else { return Ok(()) };
        if highest <= self.anchor {
            // They are of an epoch that is over.
            return Ok(());
        }
        self.commits.retain(|record| record.height > highest);
        self.verdicts = self.verdicts.split_off(&highest.next());
        if self.commits.first().is_some_and(|first| first.height > highest.next()) {
            // The log has given up the first commits after it, so what it holds is enough.
            return Ok(());
        }
        let (mut commits, mut headers) = (Vec::new(), Vec::new());
        for height in (lowest.0..=highest.0).map(Height) {
            let record = tables.commit_record(height)?.ok_or(RecoveryError::SyncedCommit(height))?;
            for block in &record.blocks {
                let raw = tables.synced_header(block)?.ok_or(RecoveryError::SyncedCommit(height))?;
                let header = BlockHeader::parse(&self.chain, raw.into());
                let header = Arc::new(header.map_err(|_| RecoveryError::SyncedCommit(height))?);
                let mut entry = Entry::bare(Arc::clone(&header));
                entry.committed = true;
                self.blocks.put_missing(*block, entry);
                headers.push(header);
            }
            commits.push(record);
        }
        commits.append(&mut self.commits);
        headers.append(&mut self.headers);
        (self.commits, self.headers) = (commits, headers);
        Ok(())
    }

    fn note_votes(&mut self, votes: &[HeaderVote]) {
        self.voted = votes.iter().map(|vote| vote.height).fold(self.voted, Height::max);
    }
}
