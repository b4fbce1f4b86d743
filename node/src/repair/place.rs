//! The new log takes the place of the damaged one, and the rows that say where blocks lie follow. Each step may be taken
//! again.

use super::find::{block_of, signed_of};
use super::{Done, RepairError, Site};
use crate::config::STATE;
use crate::durable;
use crate::rebuild::{RebuildError, Source};
use crate::tables::{BlockPlace, Tables};
use std::fs::{self, File, TryLockError};
use std::sync::Arc;
use storage::log::{Files, LogError, scan};
use storage::state::{StateDb, StateOptions};

/// Rows written at a time.
const ROWS: usize = 10_000;

/// Finishes a repair whose log is whole. Neither the log nor the state is always there to be locked, so its own directory is.
pub(super) fn finish(source: &Source, site: &Site) -> Result<Done, RepairError> {
    let file = RepairError::file;
    let dir = File::open(site.dir()).map_err(file(&site.dir()))?;
    dir.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => RebuildError::InUse { dir: site.data_dir.clone() }.into(),
        TryLockError::Error(error) => file(&site.dir())(error),
    })?;
    let (new, log, old) = (site.new_log(), site.log(), site.old_log());
    let mark = fs::read_to_string(site.whole()).map_err(file(&site.whole()))?;
    // One that names no segment has all of them looked at.
    let first = mark.trim().parse().unwrap_or(0);
    if new.exists() {
        if log.exists() {
            fs::rename(&log, &old).map_err(file(&old))?;
        }
        fs::rename(&new, &log).map_err(file(&log))?;
        durable::sync_dir(&site.data_dir).map_err(file(&site.data_dir))?;
    }
    let state_kept = match set_places(source, site, first) {
        Ok(kept) => kept,
        // It was damaged before: it is to be rebuilt.
        Err(RepairError::State(_) | RepairError::Table(_)) => false,
        Err(error) => return Err(error),
    };
    fs::remove_dir_all(site.dir()).map_err(file(&site.dir()))?;
    Ok(Done { from_segment: Some(first), state_kept, ..Done::default() })
}

/// Puts the rows right of blocks that lie elsewhere now; `false` where there is no state.
fn set_places(source: &Source, site: &Site, first: u64) -> Result<bool, RepairError> {
    let state = source.data_dir.join(STATE);
    if !state.exists() {
        return Ok(false);
    }
    let tables = Tables::new(Arc::new(StateDb::open(state, source.identity, StateOptions::default())?));
    let Some(mut applied) = tables.applied()? else { return Ok(false) };
    let chain = source.chain();
    // The new log goes on in the segment before the first damaged one.
    let from = first.saturating_sub(1);
    let (mut batch, mut rows) = (tables.batch(), 0);
    let files = Files::inspect(&site.log())?;
    let scanned = scan::scan(&files, &source.identity, Some(from), &mut |record| {
        let (kind, payload) = (record.kind, &record.payload);
        let place = if let Some(block) = block_of(&chain, kind, payload)? {
            Some((block, BlockPlace { block: record.position, signed: None }))
        } else if let Some(block) = signed_of(&chain, kind, payload)? {
            // Its proposal comes before it, and may wait in the batch.
            if rows > 0 {
                tables.commit(std::mem::replace(&mut batch, tables.batch()))?;
                rows = 0;
            }
            let known = tables.block_place(&block)?;
            known.map(|known| (block, BlockPlace { signed: Some(record.position), ..known }))
        } else {
            None
        };
        // Blocks that no commit has ordered have no row.
        if let Some((block, place)) = place
            && tables.block_place(&block)?.is_some()
        {
            batch.block_place(&block, &place);
            rows += 1;
        }
        if rows >= ROWS {
            tables.commit(std::mem::replace(&mut batch, tables.batch()))?;
            rows = 0;
        }
        Ok(())
    });
    scanned.map_err(|error| match error {
        LogError::Visitor { position, source } => match source.downcast::<crate::tables::TableError>() {
            Ok(error) => RepairError::Table(*error),
            Err(source) => LogError::Visitor { position, source }.into(),
        },
        error => error.into(),
    })?;
    if applied.replay_from > from {
        applied.replay_from = from;
        batch.applied(&applied);
    }
    if tables.log_begin()?.is_some_and(|begin| begin > from) {
        batch.log_begins_with(from);
    }
    tables.commit(batch)?;
    tables.flush()?;
    Ok(true)
}
