//! What the damage took: the first damaged segment, and from there on which commits and blocks are left.

use super::RepairError;
use crate::config::STATE;
use crate::rebuild::Source;
use crate::records::{self, Proposal};
use crate::tables::{BlockPlace, TableError, Tables};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;
use storage::log::check::{self, DamageKind, Seen};
use storage::log::io::SegmentReader;
use storage::log::{Files, LogPosition};
use storage::state::StateDb;
use types::{BlockHeader, ChainId, Decode, DecodeError, Digest, Height};

/// What was found.
pub(super) struct Found {
    /// None where nothing is damaged.
    pub first_damaged: Option<u64>,
    /// Places.
    pub damaged: u64,
    /// The last commit before the first damaged segment.
    pub before: Height,
    /// The last height that the log had, as far as anything says.
    pub last: Height,
    /// The last height that came with a state from peers: the log never had those up to it.
    pub synced: Height,
    /// Blocks that are left whole, of those that may be asked for: of own ones, proposal and signed header.
    blocks: BTreeSet<Digest>,
    /// The database, where it can be read.
    pub tables: Option<Tables>,
}

impl Found {
    /// Whether the log still has a block, with its signature.
    pub fn has(&self, block: &Digest) -> Result<bool, RepairError> {
        // The signed header of an own block lies behind its proposal.
        Ok(self.blocks.contains(block) || self.is_before(block, |place| place.signed.unwrap_or(place.block))?)
    }

    /// Whether a record of a block lies before the damage, as far as the rows say.
    fn is_before(&self, block: &Digest, record: fn(&BlockPlace) -> LogPosition) -> Result<bool, TableError> {
        let (Some(tables), Some(damaged)) = (&self.tables, self.first_damaged) else { return Ok(false) };
        Ok(tables.block_place(block)?.is_some_and(|place| record(&place).segment < damaged))
    }
}

/// Reads the log, once to find the damage and once behind it.
pub(super) fn find(source: &Source, files: &Files) -> Result<Found, RepairError> {
    let chain = source.chain();
    let state = source.data_dir.join(STATE);
    let opened = StateDb::open_read_only(state, source.identity).ok().map(|database| Tables::new(Arc::new(database)));
    // One that cannot even say what it holds is of no use.
    let tables = opened.filter(|tables| matches!(tables.applied(), Ok(Some(_))));
    let applied = tables.as_ref().map(Tables::applied).transpose()?.flatten();
    let segments = SegmentReader::segments(files).map_err(RepairError::file(&source.data_dir))?;
    let oldest = segments.first().copied().unwrap_or(0);
    // Those before were given up; none is missing that nobody knows of.
    let begin = tables.as_ref().map(Tables::log_begin).transpose()?.flatten().map_or(oldest, |begin| begin.min(oldest));
    let (mut first_damaged, mut damaged, mut before, mut seen) = (None::<u64>, 0, None, BTreeSet::new());
    if begin < oldest {
        (first_damaged, damaged) = (Some(begin), 1);
    }
    let mut foreign = 0;
    let checked = check::check(files, &source.identity, &mut |record| {
        match record {
            Seen::Damage(damage) => {
                damaged += 1;
                foreign += usize::from(damage.kind == DamageKind::OtherIdentity);
                first_damaged = Some(first_damaged.map_or(damage.segment, |first| first.min(damage.segment)));
            }
            Seen::Record { position, kind: records::COMMIT, payload } => {
                let height = records::Commit::from_bytes(payload)?.record.height;
                seen.insert((position.segment, height));
                // Damage is met in the order of the log: what lies far before it is not looked at again.
                while first_damaged.is_none()
                    && let Some(oldest) = seen.first().copied().filter(|(at, _)| at + 2 < position.segment)
                {
                    before = before.max(Some(oldest.1));
                    seen.remove(&oldest);
                }
            }
            Seen::Record { .. } | Seen::Segment { .. } => {}
        }
        Ok(())
    })?;
    let known = applied.as_ref().map_or(Height(0), |applied| applied.ledger.height());
    let synced = tables.as_ref().map(Tables::synced).transpose()?.flatten().map_or(Height(0), |(_, highest)| highest);
    let newest = seen.iter().map(|(_, height)| *height).max().max(before).unwrap_or_default();
    // Nothing that is left is damaged, and its end is gone: the state holds heights that only the log can have given it.
    if first_damaged.is_none() && known > newest.max(synced) {
        (first_damaged, damaged) = (Some(checked.end.segment + 1), 1);
    }
    let bound = first_damaged.unwrap_or(u64::MAX);
    let commits: BTreeSet<Height> = seen.iter().filter(|(at, _)| *at >= bound).map(|(_, height)| *height).collect();
    for (segment, height) in &seen {
        if *segment < bound {
            before = before.max(Some(*height));
        }
    }
    if foreign > 0 && foreign == segments.len() {
        return Err(RepairError::Foreign(source.data_dir.clone()));
    }
    let last = commits.last().copied().max(before).unwrap_or_default().max(known);
    // A log that does not begin with the ledger goes on from whatever is left of it.
    let before = before.unwrap_or_else(|| match commits.first() {
        Some(first) if begin > 0 => Height(first.0.saturating_sub(1)),
        _ => Height(0),
    });
    let mut found = Found { first_damaged, damaged, before, last, synced, blocks: BTreeSet::new(), tables };
    if first_damaged.is_some() {
        // Blocks before the damage that no commit has ordered are in no row: those of the segments that a start reads.
        let from = match applied.filter(|_| found.tables.is_some()) {
            Some(applied) => bound.min(applied.replay_from),
            None => 0,
        };
        let mut proposals = BTreeSet::new();
        check::check(files, &source.identity, &mut |record| {
            if let Seen::Record { position, kind, payload } = record
                && position.segment >= from
            {
                let payload_of = block_of(&chain, kind, payload)?;
                if kind == records::PROPOSAL {
                    proposals.extend(payload_of);
                } else {
                    found.blocks.extend(payload_of);
                }
                if let Some(block) = signed_of(&chain, kind, payload)?
                    && (proposals.contains(&block) || found.is_before(&block, |place| place.block)?)
                {
                    found.blocks.insert(block);
                }
            }
            Ok(())
        })?;
    }
    Ok(found)
}

/// The block whose payload a record holds.
pub(super) fn block_of(chain: &ChainId, kind: u8, payload: &[u8]) -> Result<Option<Digest>, DecodeError> {
    let record = || Bytes::copy_from_slice(payload);
    Ok(match kind {
        records::PROPOSAL => Some(Proposal::parse(&record())?.0.statement.digest()),
        records::BLOCK => Some(records::parse_block(chain, &record())?.0.digest()),
        _ => None,
    })
}

/// The block whose signed header a record holds.
pub(super) fn signed_of(chain: &ChainId, kind: u8, payload: &[u8]) -> Result<Option<Digest>, DecodeError> {
    let record = Bytes::copy_from_slice(payload);
    if kind == records::SIGNED { Ok(Some(BlockHeader::parse(chain, record)?.digest())) } else { Ok(None) }
}
