//! From what log and state hold to a node that goes on where it stopped.
//!
//! The state says what was applied and from which segment the log has to be read; the log gives the blocks above garbage
//! collection, the commits behind what was applied, and the proposal that may still lack its signature. Memory is that of
//! the headers read: payloads stay on disk until a commit asks for them. Nothing is verified again that was verified
//! before it was logged (CONSENSUS.md §0.7); checksums, digests and chains are.

use crate::backup;
use crate::config::{LogBackend, Plan, Setup};
use crate::node::ledger_options;
use crate::records::Proposal;
use crate::repair;
use crate::replica::blocks::Blocks;
use crate::replica::epoch_end::EpochEnd;
use crate::replica::segments::Segments;
use crate::tables::{Applied, TableError, Tables};
use consensus::{Config, Core, Effect, Pacing, Recovered};
use found::Found;
use hsm::refusal::Slot;
use hsm::{PublicKeys, SignError, SignerClient, Stats};
use ledger::{Executed, Ledger};
use standing::Standing;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use storage::log::{Backend, Log, LogError, LogOptions};
use storage::state::{StateDb, StateOptions};
use types::{BlockHeader, Digest, Epoch, EpochChange, EpochStart, HeaderVote, Height, Round, RoundStatement};

mod error;
mod found;
mod standing;
pub use error::{NoPart, RecoveryError};

/// A node that is ready to go on.
pub struct Recovery {
    /// The node in the last epoch that it knows of.
    pub plan: Plan,
    /// The log.
    pub log: Log,
    /// The state database.
    pub tables: Tables,
    /// Execution after the last applied height.
    pub ledger: Ledger,
    /// What was applied.
    pub applied: Applied,
    /// What it goes on with.
    pub part: Part,
}

/// What a node goes on with.
pub enum Part {
    /// It takes part in the present epoch.
    Member(Box<Member>),
    /// Its state is in an epoch that is over: it takes the commits up to the end of that.
    Behind {
        /// The epoch of the state.
        past: Box<EpochStart>,
        /// The proof of the one after it.
        change: Box<EpochChange>,
        /// The last applied commit and its digest.
        tip: (Height, Digest),
    },
}

/// What a member of an epoch goes on with.
pub struct Member {
    /// How far the epoch's end had come.
    pub epoch_end: EpochEnd,
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
    /// The last height for which an own block carries a vote, or for which the signer's guard refuses one.
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
    /// The highest round of this epoch that the signer has signed for, or may have.
    pub own_floor: Option<Round>,
}

/// What the signer says before anything is opened.
#[derive(Clone, Copy, Debug)]
pub struct Signer<'a> {
    /// The keys that it holds.
    pub held: &'a PublicKeys,
    /// What its guard remembers, and refuses.
    pub guarded: Guarded,
}

/// What a signer's guard remembers, and refuses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Guarded {
    /// The last round that it signed for, or may have.
    pub signed_up_to: Option<Slot>,
    /// Where it signs only from a later round on: the first one.
    pub signs_from: Option<Slot>,
    /// The highest height that it does not vote for anew.
    pub votes_refused_up_to: Height,
}

impl Guarded {
    /// Asks the signer.
    pub fn ask(signer: &SignerClient) -> Result<Self, SignError> {
        let Stats { signed_up_to, signs_from, votes_refused_up_to, .. } = signer.stats()?;
        Ok(Self { signed_up_to, signs_from, votes_refused_up_to })
    }

    /// Own blocks of an epoch are above this round, whatever the disk says.
    pub fn own_floor(&self, epoch: Epoch) -> Option<Round> {
        self.signed_up_to.filter(|slot| slot.epoch == epoch).map(|slot| slot.round)
    }
}

/// The state, open. It needs no signer, so that it is opened while that is awaited.
pub struct State {
    // Closed before it goes.
    tables: Tables,
    made: Made,
}

/// The directory of a state that was made just now. It goes again unless it is kept: a mistake in the configuration leaves
/// nothing behind.
struct Made(Option<PathBuf>);

impl State {
    /// Opens it; where there is none and the node begins with the genesis, makes it from that.
    pub fn open(setup: &Setup) -> Result<Self, RecoveryError> {
        if backup::restore::is_unfinished(&setup.data_dir) {
            return Err(RecoveryError::RestoreUnfinished);
        }
        if repair::is_unfinished(&setup.data_dir) {
            return Err(RecoveryError::RepairUnfinished);
        }
        let dir = setup.state_dir();
        let made = Made((!setup.join && !dir.exists()).then_some(dir));
        let state = Self { tables: open_tables(setup)?, made };
        if state.made.0.is_some() {
            resume_ledger(setup, EpochStart::clone(&setup.first), &state.tables)?;
        }
        Ok(state)
    }

    fn keep(mut self) -> Tables {
        self.made.0 = None;
        self.tables
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let Some(dir) = &self.0 else { return };
        match std::fs::remove_dir_all(dir) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(dir = %dir.display(), %error, "a state that was just made cannot be removed");
            }
            _ => {}
        }
    }
}

/// Takes up the state, and opens the log or makes it.
pub fn recover(setup: &Setup, state: State, signer: Signer<'_>, started: Instant) -> Result<Recovery, RecoveryError> {
    let standing = standing::find(setup, signer.held, &state.tables)?;
    // From here on something is worth keeping.
    let tables = state.keep();
    let start = match &standing {
        Standing::Member { next: Some(next), .. } => EpochStart::clone(next),
        Standing::Member { plan, .. } => EpochStart::clone(&plan.epoch),
        Standing::Behind { past, .. } => EpochStart::clone(past),
    };
    let (ledger, applied) = resume_ledger(setup, start, &tables)?;
    match standing {
        Standing::Member { plan, next, certified } => {
            let epoch_end = EpochEnd::recovered(
                &plan.epoch,
                ledger.approvals().decided().is_some(),
                next.map(|next| *next),
                certified,
            );
            let (log, member) = member(setup, &plan, signer.guarded, &tables, (&ledger, &applied), epoch_end, started)?;
            Ok(Recovery { plan, log, tables, ledger, applied, part: Part::Member(Box::new(member)) })
        }
        Standing::Behind { plan, past, change } => {
            // What the log holds above the state is fetched again: it is not worth a second way to read it.
            let log = Log::open(log_options(setup), Some(applied.replay_from), &mut |_| Ok(()))?;
            check_begin(&log, &tables)?;
            let height = ledger.tip().0;
            let commit = if height > past.anchor.height { ledger.tip().1.commit } else { past.anchor.commit };
            tracing::info!(
                height = height.0,
                epoch = past.epoch().0,
                last = change.last.height.0,
                newest = plan.epoch.epoch().0,
                "this node's state is in an epoch that is over; taking the rest of its commits"
            );
            let part = Part::Behind { past, change, tip: (height, commit) };
            Ok(Recovery { plan, log, tables, ledger, applied, part })
        }
    }
}

/// Refuses a log whose first segments are gone and were not given up. A database that was made anew takes the log as it is.
fn check_begin(log: &Log, tables: &Tables) -> Result<(), RecoveryError> {
    let oldest = log.oldest_segment();
    match tables.log_begin()? {
        Some(begin) if begin < oldest => Err(LogError::MissingSegment { segment: begin }.into()),
        Some(_) => Ok(()),
        None => {
            let mut batch = tables.batch();
            batch.log_begins_with(oldest);
            Ok(tables.commit(batch)?)
        }
    }
}

/// Opens the state database, or makes it.
pub fn open_tables(setup: &Setup) -> Result<Tables, RecoveryError> {
    let state = StateDb::open(setup.state_dir(), setup.identity(), StateOptions::default())?;
    Ok(Tables::new(Arc::new(state)))
}

fn resume_ledger(setup: &Setup, start: EpochStart, tables: &Tables) -> Result<(Ledger, Applied), RecoveryError> {
    let reader: Arc<Tables> = Arc::new(tables.clone());
    let (genesis, shards) = (&setup.genesis, setup.config.shards);
    match tables.applied()? {
        Some(applied) => {
            let live = tables.live_buckets()?;
            let ledger = Ledger::resume(genesis, start, applied.ledger.clone(), live, shards, reader, ledger_options());
            Ok((ledger.map_err(RecoveryError::Ledger)?, applied))
        }
        None => {
            let start = Ledger::genesis(genesis, shards, reader, ledger_options()).map_err(RecoveryError::Genesis)?;
            let applied = write_genesis(tables, &start.1)?;
            Ok((start.0, applied))
        }
    }
}

/// Reads the log of the present epoch and puts consensus together.
fn member(
    setup: &Setup,
    plan: &Plan,
    guarded: Guarded,
    tables: &Tables,
    (ledger, applied): (&Ledger, &Applied),
    epoch_end: EpochEnd,
    started: Instant,
) -> Result<(Log, Member), RecoveryError> {
    let mut found = Found::new(plan, applied.replay_from);
    let log = Log::open(log_options(setup), Some(applied.replay_from), &mut |record| found.take(record))?;
    check_begin(&log, tables)?;

    let height = ledger.tip().0;
    found.go_on_from_synced(tables)?;
    let logged = found.commits.last().map_or(plan.epoch.anchor.height, |last| last.height);
    if logged < height {
        return Err(RecoveryError::LogBehindState { log: logged, state: height });
    }
    let replayed = std::mem::take(&mut found.verdicts).split_off(&height.next());
    // Behind the last height of the epoch before, nothing of this one is committed.
    let checkpoint = applied.consensus.clone().filter(|checkpoint| checkpoint.height > plan.epoch.anchor.height);
    let tip = (height, checkpoint.as_ref().map_or(plan.epoch.anchor.commit, |checkpoint| checkpoint.commit));
    let mut effects = Vec::new();
    let headers = found.headers.clone();
    let unsigned = found.unsigned.take().filter(|proposal| {
        let RoundStatement { epoch, round, .. } = proposal.statement;
        let fenced = guarded.signs_from.is_some_and(|from| Slot { epoch, round } < from);
        if fenced {
            tracing::warn!(round = round.0, "the signer's guard no longer signs for the last proposal: it is left out");
        }
        !fenced
    });
    // Until an own block is durable nobody here knows how far they went. A guard whose last round is of an epoch before
    // this one has signed none in this one, so none is lost.
    let untouched = guarded.signed_up_to.is_some_and(|slot| slot.epoch < plan.epoch.epoch());
    // Unless the log came from a backup: then the guard may have as well.
    let untouched = untouched && !found.restored;
    let own_blocks_lost = found.last_own.is_none() && unsigned.is_none() && !untouched;
    let own_floor = guarded.own_floor(plan.epoch.epoch());
    let recovered = Recovered {
        checkpoint,
        headers: found.headers,
        commits: found.commits,
        last_own: found.last_own,
        proposed_unsigned_round: unsigned.as_ref().map(|proposal| proposal.statement.round),
        own_blocks_lost,
        signed_up_to: own_floor,
    };
    let now_ms = started.elapsed().as_millis() as u64;
    let core = Core::recover(core_config(plan), recovered, now_ms, &mut effects).map_err(RecoveryError::Consensus)?;
    let mut owed = owed_votes(tables, found.voted, plan.epoch.anchor.height, height)?;
    owed.retain(|vote| vote.height > guarded.votes_refused_up_to);
    let owed_up_to = owed.last().map_or(Height(0), |vote| vote.height);
    let voted = found.voted.max(owed_up_to).max(guarded.votes_refused_up_to);
    let certified = tables.last_certified()?;
    tracing::info!(
        height = height.0,
        epoch = plan.epoch.epoch().0,
        replaying = replayed.len(),
        blocks = headers.len(),
        from_segment = applied.replay_from,
        "recovered"
    );
    let member = Member {
        epoch_end,
        core,
        effects,
        blocks: found.blocks,
        segments: found.segments,
        replayed,
        unsigned,
        voted,
        owed,
        certified,
        headers,
        tip,
        own_blocks_lost,
        own_floor,
    };
    Ok((log, member))
}

/// Writes the state of height 0.
pub fn write_genesis(tables: &Tables, executed: &Executed) -> Result<Applied, RecoveryError> {
    let mut batch = tables.batch();
    batch.height(&executed.header, None, &executed.receipts);
    for (key, value) in &executed.changes {
        batch.value(key, value.as_ref());
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

fn log_options(setup: &Setup) -> LogOptions {
    let mut options = LogOptions::new(setup.log_dir(), setup.identity());
    options.segment_bytes = setup.config.log.segment_bytes;
    options.groups_in_flight_max = setup.config.log.groups_in_flight;
    options.backend = match setup.config.log.backend {
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
