//! Records of the log, in their order, become heights. Memory: the headers above garbage collection, and the votes for
//! heights that are not certified yet.

use super::{RebuildError, Source, epoch_of};
use crate::execution::{AtOnce, CommitBlock, Executor, Job, StateRoots};
use crate::node::ledger_options;
use crate::records::{self, Proposal};
use crate::replica::certificates::Certificates;
use crate::replica::contents::Contents;
use crate::replica::segments::Segments;
use crate::replica::serve::Archive;
use crate::tables::{Applied, BlockPlace, Tables};
use bytes::Bytes;
use consensus::EpochEnd;
use ledger::Ledger;
use std::collections::BTreeMap;
use std::sync::Arc;
use storage::log::io::SegmentReader;
use storage::log::{LogError, LogPosition, LogReader, Record};
use types::{
    BlockHeader, BlockRef, Certificate, ChainId, CommitRecord, Decode, DecodeError, Digest, EpochStart, Height,
    LedgerHeader,
};

/// Votes for a height come within so many commits of it, or not at all.
const VOTES_HEIGHTS: u64 = 1024;

/// A block that no commit has ordered yet.
struct Block {
    header: Arc<BlockHeader>,
    place: BlockPlace,
}

/// See the module.
pub(super) struct Replay<'a> {
    source: &'a Source,
    chain: ChainId,
    tables: Tables,
    archive: Archive,
    executor: Executor,
    epoch: EpochStart,
    /// The one after it, once the last height is executed. It is entered with its first block: until then votes for the
    /// last height come.
    next: Option<EpochStart>,
    marks: EpochEnd,
    segments: Segments,
    blocks: BTreeMap<BlockRef, Block>,
    votes: Certificates,
    /// Certificates of heights that were not executed when they were complete.
    early: BTreeMap<Height, Certificate>,
    /// The highest certificate since the last one whose signatures were verified; it proves all heights below.
    unproven: Option<Certificate>,
    /// Digest of the last commit record.
    commit: Digest,
    read_from: Option<u64>,
    /// Bytes of blocks since the last flush.
    unflushed: u64,
}

impl<'a> Replay<'a> {
    pub(super) fn new(
        source: &'a Source,
        tables: Tables,
        log: Arc<LogReader>,
        applied: Applied,
    ) -> Result<Self, RebuildError> {
        let chain = source.chain();
        let epoch = epoch_of(source, &tables)?;
        let height = applied.ledger.height();
        let archive = Archive::new(chain, log, tables.clone());
        let marks = marks_behind(&archive, &epoch, chain, height)?;
        let commit = if height > epoch.anchor.height { applied.ledger.header.commit } else { epoch.anchor.commit };
        let committee = Arc::new(epoch.committee.clone());
        let read_from = (height > Height(0)).then_some(applied.replay_from);
        let counts = (applied.committed, applied.rejected);
        let ledger = resume(source, &epoch, applied, &tables)?;
        let votes = Certificates::new(committee, Height(height.0.saturating_sub(VOTES_HEIGHTS)));
        Ok(Self {
            source,
            chain,
            executor: executor(ledger, &tables, counts)?,
            tables,
            archive,
            marks,
            segments: Segments::new(read_from.unwrap_or(0)),
            epoch,
            next: None,
            blocks: BTreeMap::new(),
            votes,
            early: BTreeMap::new(),
            unproven: None,
            commit,
            read_from,
            unflushed: 0,
        })
    }

    /// The first segment to read; all of them at genesis.
    pub(super) fn reads_from(&self) -> Option<u64> {
        self.read_from
    }

    pub(super) fn newest_segment(&self, files: &dyn SegmentReader) -> Result<u64, RebuildError> {
        let list = |source| LogError::Io { operation: "list the log", source };
        Ok(files.segments().map_err(list)?.last().copied().unwrap_or(0))
    }

    pub(super) fn height(&self) -> Height {
        self.executor.height()
    }

    pub(super) fn header(&self) -> &LedgerHeader {
        self.executor.ledger().tip().1
    }

    /// The epoch of the next height.
    pub(super) fn epoch(&self) -> &EpochStart {
        self.next.as_ref().unwrap_or(&self.epoch)
    }

    pub(super) fn transactions(&self) -> u64 {
        self.executor.counts().0
    }

    pub(super) fn archive(&self) -> &Archive {
        &self.archive
    }

    /// Takes the next record; whether it completed a height.
    pub(super) fn take(&mut self, record: Record) -> Result<bool, RebuildError> {
        let Record { position, kind, payload } = record;
        let bad = |source| RebuildError::Record { position, kind, source };
        self.unflushed += payload.len() as u64;
        match kind {
            records::PROPOSAL => {
                let (proposal, _) = Proposal::parse(&payload).map_err(bad)?;
                if proposal.statement.chain != self.chain {
                    return Err(RebuildError::OtherLedger);
                }
                let header = Arc::new(records::unsigned_header(&proposal));
                self.keep(header, position)?;
            }
            records::SIGNED => {
                let header = BlockHeader::parse(&self.chain, own(&payload)).map_err(bad)?;
                let header = Arc::new(header);
                if let Some(block) = self.blocks.get_mut(&header.block_ref()) {
                    block.header = Arc::clone(&header);
                    block.place.signed = Some(position);
                }
                self.count(&header)?;
            }
            records::BLOCK => {
                let (header, _) = records::parse_block(&self.chain, &payload).map_err(bad)?;
                let header = Arc::new(BlockHeader::parse(&self.chain, own(header.raw())).map_err(bad)?);
                self.keep(Arc::clone(&header), position)?;
                self.count(&header)?;
            }
            records::COMMIT => {
                let records::Commit { record, verdicts } = records::Commit::from_bytes(&payload).map_err(bad)?;
                return self.commit(record, &verdicts);
            }
            records::RESTORED => {}
            other => return Err(bad(DecodeError::UnknownTag { field: "record kind", value: other.into() })),
        }
        Ok(false)
    }

    fn keep(&mut self, header: Arc<BlockHeader>, position: LogPosition) -> Result<(), RebuildError> {
        if let Some(next) = self.next.take_if(|next| next.epoch() == header.epoch()) {
            self.enter(next)?;
        }
        if header.epoch() == self.epoch.epoch() {
            self.segments.note(position.segment, header.round());
            let place = BlockPlace { block: position, signed: None };
            self.blocks.insert(header.block_ref(), Block { header, place });
        }
        Ok(())
    }

    fn count(&mut self, header: &Arc<BlockHeader>) -> Result<(), RebuildError> {
        if header.epoch() != self.epoch.epoch() {
            return Ok(());
        }
        for certificate in self.votes.count(header) {
            if certificate.height() > self.height() {
                self.early.insert(certificate.height(), certificate);
            } else {
                self.certified(certificate)?;
            }
        }
        Ok(())
    }

    /// Compares a certificate with what was executed, and keeps it.
    fn certified(&mut self, certificate: Certificate) -> Result<(), RebuildError> {
        let height = certificate.height();
        let Some(header) = self.tables.header(height)? else { return Ok(()) };
        let (computed, certified) = (header.digest(), certificate.vote.header);
        if computed != certified {
            return Err(RebuildError::Contradicted { height, computed, certified });
        }
        let mut batch = self.tables.batch();
        batch.certificate(&certificate);
        self.tables.commit(batch)?;
        if self.unproven.as_ref().is_none_or(|unproven| unproven.height() < height) {
            self.unproven = Some(certificate);
        }
        Ok(())
    }

    /// Verifies the signatures under the highest certificate; those below follow from it by the chain of headers.
    pub(super) fn prove(&mut self) -> Result<(), RebuildError> {
        let Some(certificate) = self.unproven.take() else { return Ok(()) };
        let verified = certificate.verify(self.chain, &self.epoch.committee);
        verified.map_err(|_| RebuildError::Certificate(certificate.height()))
    }

    fn commit(&mut self, record: CommitRecord, verdicts: &[u8]) -> Result<bool, RebuildError> {
        let (height, reached) = (record.height, self.height());
        if height <= reached {
            // Of before the state that this began with; or fetched again after a crash.
            return Ok(false);
        }
        if height > reached.next() {
            return Err(RebuildError::Gap { reached, found: height });
        }
        if record.previous != self.commit || record.timestamp < self.header().timestamp {
            return Err(RebuildError::Chain(height));
        }
        let (mut blocks, mut headers) = (Vec::with_capacity(record.blocks.len()), Vec::new());
        let mut first = 0;
        for block in &record.blocks {
            let found = self.blocks.get(block).ok_or(RebuildError::BlockMissing { height, block: *block })?;
            let payload = self.archive.payload_at(found.place.block)?;
            let contents = Arc::new(Contents::parse(&self.chain, &payload));
            let count = contents.transactions().len();
            contents.settle((first..first + count).map(|index| records::verdict(verdicts, index)).collect());
            first += count;
            headers.push(Arc::clone(&found.header));
            blocks.push(CommitBlock { block: *block, contents, origins: Vec::new(), place: found.place });
        }
        let last_of_epoch = self.marks.note(&headers);
        let gc_round = record.leader.round.saturating_sub(self.epoch.parameters.gc_depth_rounds);
        let replay_from = self.segments.collect(gc_round);
        self.commit = record.digest();
        let job = Job { record, blocks, checkpoint: None, last_of_epoch, replay_from, logged: true };
        let executed = self.executor.execute(&job)?;
        self.blocks.retain(|block, _| block.round > gc_round);
        self.votes.certified_up_to(Height(height.0.saturating_sub(VOTES_HEIGHTS)));
        if let Some(certificate) = self.early.remove(&height) {
            self.certified(certificate)?;
        }
        self.next = executed.next_epoch;
        // Behind an epoch's last height its last certificate would be missed after an interruption.
        if self.unflushed >= self.source.flush_bytes && self.next.is_none() {
            self.prove()?;
            self.tables.flush()?;
            self.unflushed = 0;
        }
        Ok(true)
    }

    /// Goes on in the next epoch, as a node does that starts again inside.
    fn enter(&mut self, next: EpochStart) -> Result<(), RebuildError> {
        self.prove()?;
        let applied = self.tables.applied()?.ok_or(RebuildError::Consensus(next.anchor.height))?;
        let (first, counts) = (applied.replay_from, (applied.committed, applied.rejected));
        let committee = Arc::new(next.committee.clone());
        self.executor = executor(resume(self.source, &next, applied, &self.tables)?, &self.tables, counts)?;
        self.marks = EpochEnd::new(Arc::clone(&committee), &next.parameters);
        self.votes = Certificates::new(committee, next.anchor.height);
        self.segments = Segments::new(first);
        (self.commit, self.epoch) = (next.anchor.commit, next);
        self.blocks.clear();
        self.early.clear();
        Ok(())
    }
}

/// The header keeps its bytes alive: a copy frees those of the whole group.
fn own(raw: &[u8]) -> Bytes {
    Bytes::copy_from_slice(raw)
}

fn resume(source: &Source, epoch: &EpochStart, applied: Applied, tables: &Tables) -> Result<Ledger, RebuildError> {
    let (live, reader) = (tables.live_buckets()?, Arc::new(tables.clone()));
    let (genesis, shards) = (&source.genesis, source.shards);
    Ok(Ledger::resume(genesis, epoch.clone(), applied.ledger, live, shards, reader, ledger_options())?)
}

/// Roots of states that are due are computed as they come.
fn executor(ledger: Ledger, tables: &Tables, counts: (u64, u64)) -> Result<Executor, RebuildError> {
    let roots = StateRoots::recovered(AtOnce::new(tables.clone()), tables.clone(), &ledger)?;
    Ok(Executor::new(ledger, tables.clone(), counts, roots))
}

/// The marks that count behind a height.
fn marks_behind(
    archive: &Archive,
    epoch: &EpochStart,
    chain: ChainId,
    height: Height,
) -> Result<EpochEnd, RebuildError> {
    let mut marks = EpochEnd::new(Arc::new(epoch.committee.clone()), &epoch.parameters);
    let first = epoch.anchor.height.next();
    if height >= first {
        let bottom = EpochEnd::follows_from(&epoch.parameters, first, height);
        for (_, headers) in super::finish::history(archive, chain, height, bottom)? {
            marks.note(&headers);
        }
    }
    Ok(marks)
}
