//! Answers to peers from the log and the state database: payloads of old blocks, and commits for nodes that were away.
//!
//! Runs on a blocking thread of the network runtime; it needs nothing of the replica.

use crate::records;
use crate::tables::{TableError, Tables};
use crate::wire::state::{CommitWithHeaders, HISTORY_MAX};
use crate::wire::{COMMITS_MAX, CommitWithBlocks, CommitsResponse, HEADERS_MAX, PayloadFrame, RESPONSE_BYTES_SOFT};
use bytes::Bytes;
use std::sync::Arc;
use storage::log::{LogError, LogPosition, ReadRecords, Record};
use thiserror::Error;
use types::{AuthorityIndex, BlockHeader, BlockRef, ChainId, DecodeError, Epoch, Height, Payload};

/// Why an answer could not be read.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The database failed.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A record of the log does not decode.
    #[error("a record of the log does not decode: {0}")]
    Record(#[from] DecodeError),
    /// A record is not of the kind that its index says.
    #[error("the record at {0:?} is not a block")]
    NotABlock(LogPosition),
}

impl ServeError {
    /// Whether the log has given the record up: what was asked for is too old.
    fn is_released(&self) -> bool {
        matches!(self, Self::Log(LogError::Released(_)))
    }
}

/// Reads blocks and commits back.
#[derive(Clone)]
pub struct Archive {
    chain: ChainId,
    log: Arc<dyn ReadRecords>,
    tables: Tables,
}

impl Archive {
    /// Over a log and its database.
    pub fn new(chain: ChainId, log: Arc<dyn ReadRecords>, tables: Tables) -> Self {
        Self { chain, log, tables }
    }

    /// Header and payload of the block at a place of the log. For an own proposal the header is not signed and so not
    /// there: only its payload is.
    pub fn block_at(&self, position: LogPosition) -> Result<(Option<Bytes>, Bytes), ServeError> {
        let Record { kind, payload, .. } = self.log.read(position)?;
        match kind {
            records::BLOCK => {
                let (header, payload) = records::parse_block(&self.chain, &payload)?;
                Ok((Some(header.raw().clone()), payload))
            }
            records::PROPOSAL => Ok((None, records::Proposal::parse(&payload)?.1)),
            _ => Err(ServeError::NotABlock(position)),
        }
    }

    /// The payload of the block at a place of the log. It was within the limits when it was written.
    pub fn payload_at(&self, position: LogPosition) -> Result<Payload, ServeError> {
        Ok(Payload::parse(self.block_at(position)?.1, usize::MAX)?)
    }

    /// A signed own header at a place of the log.
    pub fn signed_at(&self, position: LogPosition) -> Result<BlockHeader, ServeError> {
        let record = self.log.read(position)?;
        Ok(BlockHeader::parse(&self.chain, record.payload)?)
    }

    /// Header and payload of a committed block; `None` where the log does not hold it, or no longer.
    pub fn block(&self, block: &BlockRef) -> Result<Option<(Bytes, Bytes)>, ServeError> {
        let Some(place) = self.tables.block_place(&block.digest)? else { return Ok(None) };
        let (header, payload) = match self.block_at(place.block) {
            Ok(found) => found,
            Err(error) if error.is_released() => return Ok(None),
            Err(error) => return Err(error),
        };
        match (header, place.signed) {
            (Some(header), _) => Ok(Some((header, payload))),
            (None, Some(signed)) => Ok(Some((self.signed_at(signed)?.raw().clone(), payload))),
            (None, None) => Ok(None),
        }
    }

    /// The header of a committed block; `None` where neither log nor database has it.
    fn header(&self, block: &BlockRef) -> Result<Option<Bytes>, ServeError> {
        match self.block(block)? {
            Some((header, _)) => Ok(Some(header)),
            None => Ok(self.tables.synced_header(block)?.map(Bytes::from)),
        }
    }

    /// Commits without payloads, from `top` downward as far as they are here, at most to `bottom`.
    pub fn history(&self, top: Height, bottom: Height) -> Result<Vec<CommitWithHeaders>, ServeError> {
        let (mut commits, mut bytes) = (Vec::new(), 0);
        for height in (bottom.0.max(1)..=top.0).rev().take(HISTORY_MAX).map(Height) {
            let Some(record) = self.tables.commit_record(height)? else { break };
            let mut headers = Vec::with_capacity(record.blocks.len());
            for block in &record.blocks {
                let Some(header) = self.header(block)? else { return Ok(commits) };
                bytes += header.len();
                headers.push(header);
            }
            commits.push(CommitWithHeaders { record, headers });
            if bytes > RESPONSE_BYTES_SOFT {
                break;
            }
        }
        Ok(commits)
    }

    /// The header of the highest committed block of an author in an epoch, if it is still here. In another epoch the same
    /// index may be another validator.
    pub fn last_header(&self, author: AuthorityIndex, epoch: Epoch) -> Result<Option<Bytes>, ServeError> {
        let Some(block) = self.tables.last_block(author)? else { return Ok(None) };
        let Some(raw) = self.header(&block)? else { return Ok(None) };
        let header = BlockHeader::parse(&self.chain, raw.clone())?;
        Ok((header.epoch() == epoch).then_some(raw))
    }

    /// The oldest segment that the log keeps.
    pub fn first_segment(&self) -> u64 {
        self.log.oldest_segment()
    }

    /// Headers of committed blocks.
    pub fn headers(&self, blocks: &[BlockRef]) -> Result<Vec<Bytes>, ServeError> {
        let mut found = Vec::new();
        for block in blocks.iter().take(HEADERS_MAX) {
            found.extend(self.header(block)?);
        }
        Ok(found)
    }

    /// Payloads of committed blocks.
    pub fn payloads(&self, blocks: &[BlockRef]) -> Result<Vec<PayloadFrame>, ServeError> {
        let (mut found, mut bytes) = (Vec::new(), 0);
        for block in blocks {
            if let Some((_, payload)) = self.block(block)? {
                bytes += payload.len();
                found.push(PayloadFrame { block: *block, payload });
            }
            if bytes > RESPONSE_BYTES_SOFT {
                break;
            }
        }
        Ok(found)
    }

    /// Commits of a range, ending at one that has a certificate: at or before `to` where there is one, else above it.
    pub fn commits(&self, from: Height, to: Height) -> Result<CommitsResponse, ServeError> {
        let mut response =
            CommitsResponse { commits: Vec::new(), certificate: None, oldest: Height(0), certified: self.certified()? };
        let (mut proven, mut bytes) = (0, 0);
        for height in (from.0.max(1)..).take(COMMITS_MAX).map(Height) {
            if height > to && response.certificate.is_some() {
                break;
            }
            let Some(commit) = self.commit(height)? else { break };
            bytes += commit.blocks.iter().map(|(header, payload)| header.len() + payload.len()).sum::<usize>();
            let last_of_epoch = commit.header.next_committee.is_some();
            response.commits.push(commit);
            if let Some(certificate) = self.tables.certificate(height)? {
                proven = response.commits.len();
                response.certificate = Some(certificate);
                if bytes > RESPONSE_BYTES_SOFT {
                    break;
                }
            }
            // What follows is certified by another committee.
            if last_of_epoch {
                break;
            }
            // Without a certificate for many heights in a row an answer could outgrow the link's limit.
            if bytes > 2 * RESPONSE_BYTES_SOFT {
                break;
            }
        }
        response.commits.truncate(proven);
        response.oldest = if proven > 0 { from } else { self.oldest(from)? };
        Ok(response)
    }

    /// The lowest height from `from` on of which the log holds every block, up to one above the last executed height.
    /// Segments are given up in their order, so heights are lost in theirs.
    pub fn oldest(&self, from: Height) -> Result<Height, ServeError> {
        let tip = self.tip()?;
        let (mut low, mut high) = (from.0.max(1), tip.0 + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.commit(Height(middle))?.is_some() { high = middle } else { low = middle + 1 }
        }
        Ok(Height(low))
    }

    /// The last executed height that has a certificate.
    pub fn certified(&self) -> Result<Height, ServeError> {
        Ok(self.tables.last_certified()?.min(self.tip()?))
    }

    fn tip(&self) -> Result<Height, ServeError> {
        Ok(self.tables.applied()?.map_or(Height(0), |applied| applied.ledger.height()))
    }

    /// A commit with its blocks; `None` where it was not executed here, or the log has given up one of its blocks.
    fn commit(&self, height: Height) -> Result<Option<CommitWithBlocks>, ServeError> {
        let (record, header) = (self.tables.commit_record(height)?, self.tables.header(height)?);
        let (Some(record), Some(header), Some(receipts)) = (record, header, self.tables.receipts(height)?) else {
            return Ok(None);
        };
        let mut blocks = Vec::with_capacity(record.blocks.len());
        for block in &record.blocks {
            let Some(block) = self.block(block)? else { return Ok(None) };
            blocks.push(block);
        }
        let outcomes = receipts.iter().map(|receipt| receipt.outcome).collect();
        Ok(Some(CommitWithBlocks { record, header, outcomes, blocks }))
    }
}
