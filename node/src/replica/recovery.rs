//! From what log and state hold to a node that goes on where it stopped.
//!
//! The state says what was applied and from which segment the log has to be read; the log gives the blocks above garbage
//! collection, the commits behind what was applied, and the proposal that may still lack its signature. Memory is that of
//! the headers read: payloads stay on disk until a commit asks for them. Nothing is verified again that was verified
//! before it was logged (CONSENSUS.md §0.7); checksums, digests and chains are.

use crate::config::{LogBackend, Plan};
use crate::node::ledger_options;
use crate::records::{self, Proposal};
use crate::replica::blocks::{Blocks, Entry};
use crate::replica::epoch_end::EpochEnd;
use crate::replica::segments::Segments;
use crate::tables::{Applied, TableError, Tables};
use consensus::{Config, Core, Effect, Pacing, RecoverError, Recovered};
use hsm::refusal::Slot;
use ledger::{Executed, Ledger, ResumeError, StateFault};
use miette::Diagnostic;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use storage::log::{Backend, Log, LogError, LogOptions, Record, VisitError};
use storage::state::{StateDb, StateError, StateOptions};
use thiserror::Error;
use types::{
    BlockHeader, ChainId, CommitRecord, Decode, DecodeError, Digest, Epoch, EpochStart, GenesisError, HeaderVote,
    Height,
};

/// Why log or state cannot be used.
#[derive(Debug, Error, Diagnostic)]
pub enum RecoveryError {
    /// Another process works on the data directory.
    #[error("the data directory is in use")]
    #[diagnostic(help("another `stele node` runs on it: stop that one, or set another `data_dir` in node.toml"))]
    InUse(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The data directory is of another ledger or another node.
    #[error("the data directory belongs to another ledger or another validator")]
    #[diagnostic(help("nothing in it was touched; check `genesis`, `validator` and `data_dir` in node.toml"))]
    Foreign(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No room.
    #[error("the disk is full")]
    #[diagnostic(help("make room and start the node again: it continues where it stopped"))]
    DiskFull(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The log.
    #[error("the log cannot be used")]
    #[diagnostic(help(
        "a damaged log is never cut in the middle; with an empty data directory, and the signer's guard file kept, the node fetches everything from its peers"
    ))]
    Log(#[source] LogError),
    /// The state database.
    #[error("the state database cannot be used")]
    #[diagnostic(help("if it is damaged it can be rebuilt: remove the `state` directory and keep the log"))]
    State(#[source] StateError),
    /// A row of the state database.
    #[error("the state database cannot be read")]
    #[diagnostic(help("the state can be rebuilt: remove the `state` directory and keep the log"))]
    Table(#[from] TableError),
    /// Genesis accounts.
    #[error("genesis cannot be applied")]
    Genesis(#[source] GenesisError),
    /// State and genesis do not fit.
    #[error("the state does not belong to this genesis")]
    Ledger(#[source] ResumeError),
    /// Reading state failed.
    #[error(transparent)]
    Fault(#[from] StateFault),
    /// The log ends before what the state holds: it was cut, or is of an older copy.
    #[error("the log ends at height {log}, but the state holds height {state}")]
    #[diagnostic(help(
        "put the log and the state of one moment together again, or remove the data directory and let the node catch up from its peers; keep the signer's guard file in either case"
    ))]
    LogBehindState {
        /// Last height in the log.
        log: Height,
        /// Height of the state.
        state: Height,
    },
    /// A commit that came with the state is not there.
    #[error("the commit of height {0} that came with the state cannot be read")]
    #[diagnostic(help(
        "remove the data directory and let the node catch up from its peers; keep the signer's guard file"
    ))]
    SyncedCommit(Height),
    /// Governance has removed this validator.
    #[error("validator `{name}` is not a member of the committee of epoch {epoch}")]
    #[diagnostic(help(
        "the governance has removed it, and other validators no longer talk to it; its data can be kept or deleted"
    ))]
    NotAMember {
        /// Its name.
        name: String,
        /// The present epoch.
        epoch: Epoch,
    },
    /// Log and state do not fit.
    #[error("consensus cannot go on from this log")]
    #[diagnostic(help("log and state must come from one node and be kept together"))]
    Consensus(#[source] RecoverError),
}

impl From<LogError> for RecoveryError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::InUse { .. } => Self::InUse(Box::new(error)),
            LogError::OtherIdentity { .. } => Self::Foreign(Box::new(error)),
            LogError::DiskFull { .. } => Self::DiskFull(Box::new(error)),
            other => Self::Log(other),
        }
    }
}

impl From<StateError> for RecoveryError {
    fn from(error: StateError) -> Self {
        match error {
            StateError::InUse { .. } => Self::InUse(Box::new(error)),
            StateError::OtherIdentity { .. } => Self::Foreign(Box::new(error)),
            StateError::DiskFull(_) => Self::DiskFull(Box::new(error)),
            other => Self::State(other),
        }
    }
}

/// A node that is ready to go on.
pub struct Recovery {
    /// The configuration in the present epoch.
    pub plan: Plan,
    /// How far the epoch's end had come.
    pub epoch_end: EpochEnd,
    /// The log.
    pub log: Log,
    /// The state database.
    pub tables: Tables,
    /// Execution after the last applied height.
    pub ledger: Ledger,
    /// What was applied.
    pub applied: Applied,
    /// The protocol.
    pub core: Core,
    /// What the core wants done first: commits that were not applied, the last own block to everybody.
    pub effects: Vec<Effect>,
    /// Blocks above garbage collection, by their place in the log.
    pub blocks: Blocks,
    /// Segments that are still needed.
    pub segments: Segments,
    /// Verdicts of commits above what was applied.
    pub replayed: BTreeMap<Height, Vec<u8>>,
    /// A proposal that was not signed.
    pub unsigned: Option<Proposal>,
    /// The last height for which an own block carries a vote.
    pub voted: Height,
    /// Votes for executed heights that no own block carries yet.
    pub owed: Vec<HeaderVote>,
    /// Height of the last certificate that is stored.
    pub certified: Height,
    /// Headers of recovered blocks, whose votes count.
    pub headers: Vec<Arc<BlockHeader>>,
    /// The last applied commit and its digest.
    pub tip: (Height, Digest),
    /// Whether there is no own block in the log.
    pub own_blocks_lost: bool,
}

/// Opens log and state of a plan, or makes them.
/// `guarded` is the last round that the signer's guard remembers.
pub fn recover(configured: &Plan, guarded: Option<Slot>, started: Instant) -> Result<Recovery, RecoveryError> {
    let plan = configured;
    let state = StateDb::open(plan.data_dir.join("state"), plan.identity(), StateOptions::default());
    let tables = Tables::new(Arc::new(state?));
    let reader: Arc<Tables> = Arc::new(tables.clone());
    let (plan, next) = present_epoch(configured, &tables)?;
    let plan = &plan;
    let start = next.clone().unwrap_or_else(|| EpochStart::clone(&plan.epoch));
    let (genesis, shards) = (&plan.genesis, plan.config.shards);
    let (ledger, applied) = match tables.applied()? {
        Some(applied) => {
            let live = tables.live_buckets()?;
            let ledger = Ledger::resume(genesis, start, applied.ledger.clone(), live, shards, reader, ledger_options());
            (ledger.map_err(RecoveryError::Ledger)?, applied)
        }
        None => {
            let start = Ledger::genesis(genesis, shards, reader, ledger_options()).map_err(RecoveryError::Genesis)?;
            let applied = write_genesis(&tables, &start.1)?;
            (start.0, applied)
        }
    };
    let mut found = Found::new(plan, applied.replay_from);
    let log = Log::open(log_options(plan), Some(applied.replay_from), &mut |record| found.take(record))?;

    let height = ledger.tip().0;
    found.go_on_from_synced(&tables)?;
    let logged = found.commits.last().map_or(plan.epoch.anchor.height, |last| last.height);
    if logged < height {
        return Err(RecoveryError::LogBehindState { log: logged, state: height });
    }
    let replayed = std::mem::take(&mut found.verdicts).split_off(&height.next());
    // Behind the last height of the epoch before, nothing of this one is committed.
    let checkpoint = applied.consensus.clone().filter(|checkpoint| checkpoint.height > plan.epoch.anchor.height);
    let tip = (height, checkpoint.as_ref().map_or(plan.epoch.anchor.commit, |checkpoint| checkpoint.commit));
    let epoch_end = EpochEnd::recovered(ledger.approvals().decided().is_some(), next);
    let mut effects = Vec::new();
    let headers = found.headers.clone();
    let unsigned = found.unsigned.take();
    // Until an own block is durable nobody here knows how far they went. A guard whose last round is of an epoch before
    // this one has signed none in this one, so none is lost.
    let untouched = guarded.is_some_and(|slot| slot.epoch < plan.epoch.epoch());
    let own_blocks_lost = found.last_own.is_none() && unsigned.is_none() && !untouched;
    let recovered = Recovered {
        checkpoint,
        headers: found.headers,
        commits: found.commits,
        last_own: found.last_own,
        proposed_unsigned_round: unsigned.as_ref().map(|proposal| proposal.statement.round),
        own_blocks_lost,
    };
    let now_ms = started.elapsed().as_millis() as u64;
    let core = Core::recover(core_config(plan), recovered, now_ms, &mut effects).map_err(RecoveryError::Consensus)?;
    let owed = owed_votes(&tables, found.voted, plan.epoch.anchor.height, height)?;
    let certified = tables.last_certified()?;
    tracing::info!(
        height = height.0,
        replaying = replayed.len(),
        blocks = headers.len(),
        from_segment = applied.replay_from,
        "recovered"
    );
    Ok(Recovery {
        plan: plan.clone(),
        epoch_end,
        log,
        tables,
        ledger,
        applied,
        core,
        effects,
        blocks: found.blocks,
        segments: found.segments,
        replayed,
        unsigned,
        voted: found.voted.max(owed.last().map_or(Height(0), |vote| vote.height)),
        owed,
        certified,
        headers,
        tip,
        own_blocks_lost,
    })
}

/// The epoch that this node is in, and the next one where the state has reached its last height and it cannot begin yet,
/// because that height is not certified.
fn present_epoch(plan: &Plan, tables: &Tables) -> Result<(Plan, Option<EpochStart>), RecoveryError> {
    let enter = |start: EpochStart| {
        let (name, epoch) = (plan.config.validator.clone(), start.epoch());
        plan.in_epoch(start).ok_or(RecoveryError::NotAMember { name, epoch })
    };
    let Some(reached) = tables.last_epoch()? else { return Ok((plan.clone(), None)) };
    let certificate = tables.certificate(reached.anchor.height)?;
    if certificate.is_some_and(|certificate| certificate.vote.header == reached.anchor.header) {
        return Ok((enter(reached)?, None));
    }
    let before = match tables.epoch(Epoch(reached.epoch().0 - 1))? {
        Some(before) => enter(before)?,
        None => plan.clone(),
    };
    Ok((before, Some(reached)))
}

fn write_genesis(tables: &Tables, executed: &Executed) -> Result<Applied, RecoveryError> {
    let mut batch = tables.batch();
    batch.height(&executed.header, None, &executed.receipts);
    for (address, account) in &executed.accounts {
        batch.account(address, account);
    }
    let ledger = executed.checkpoint.clone();
    let applied = Applied { ledger, consensus: None, replay_from: 0, committed: 0, rejected: 0 };
    batch.applied(&applied);
    tables.commit(batch)?;
    tables.flush()?;
    Ok(applied)
}

/// Votes that a crash kept from being proposed: without them a height might never be certified.
fn owed_votes(tables: &Tables, voted: Height, start: Height, height: Height) -> Result<Vec<HeaderVote>, TableError> {
    // A node whose log holds no votes has nothing to catch up on: others certified what it executed.
    if voted == Height(0) {
        return Ok(Vec::new());
    }
    let mut owed = Vec::new();
    for height in (voted.max(start).0 + 1..=height.0).map(Height) {
        if let Some(header) = tables.header(height)? {
            owed.push(HeaderVote { height, header: header.digest() });
        }
    }
    Ok(owed)
}

fn log_options(plan: &Plan) -> LogOptions {
    let mut options = LogOptions::new(plan.data_dir.join("log"), plan.identity());
    options.segment_bytes = plan.config.log.segment_bytes;
    options.backend = match plan.config.log.backend {
        LogBackend::Auto => Backend::Auto,
        LogBackend::IoUring => Backend::IoUring,
        LogBackend::Threaded => Backend::Threaded,
    };
    options
}

/// What the core is built from.
pub fn core_config(plan: &Plan) -> Config {
    let pacing = &plan.config.pacing;
    Config {
        chain: plan.chain,
        committee: Arc::clone(&plan.committee),
        me: plan.me,
        parameters: plan.epoch.parameters.clone(),
        anchor: plan.epoch.anchor,
        pacing: Pacing {
            round_delay_ms_min: pacing.round_delay_ms_min,
            idle_delay_ms: pacing.idle_delay_ms,
            leader_timeout_ms_min: pacing.leader_timeout_ms_min,
            ..Pacing::default()
        },
    }
}

/// What the log holds, in the order of the log.
struct Found {
    chain: ChainId,
    /// The epoch whose records count, and the last height before it.
    epoch: Epoch,
    anchor: Height,
    blocks: Blocks,
    segments: Segments,
    headers: Vec<Arc<BlockHeader>>,
    commits: Vec<CommitRecord>,
    verdicts: BTreeMap<Height, Vec<u8>>,
    last_own: Option<Arc<BlockHeader>>,
    unsigned: Option<Proposal>,
    voted: Height,
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
    fn new(plan: &Plan, first: u64) -> Self {
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
            voted: Height(0),
        }
    }

    fn take(&mut self, record: Record) -> Result<(), VisitError> {
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
                self.unsigned = Some(proposal);
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
            other => {
                return Err(bad(DecodeError::UnknownTag { field: "record kind", value: other.into() }).into());
            }
        }
        Ok(())
    }

    /// Where the state came from peers, the commits below it came with it: they stand in the database. What the log holds
    /// from before is of no use.
    fn go_on_from_synced(&mut self, tables: &Tables) -> Result<(), RecoveryError> {
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
