//! `stele fsck --repair-from`: a log with damage in its middle is made whole again.
//!
//! What is damaged is found by the check; which commits and blocks it took, by the numbers of the commits that are left and
//! by the blocks that they name. Those are fetched from peers or out of a backup, proven as everything from a stranger is,
//! and written with all that is left, in its order, to a new log, from the first damaged segment on. That log is checked,
//! takes the place of the damaged one, and the rows that say where blocks lie follow.
//!
//! Invariants: nothing is invented: own blocks that no commit has ordered, and those of others, are given up and said so;
//! the repaired log ends with [`records::RESTORED`](crate::records::RESTORED), so that the validator makes no block before
//! it knows how far its own chain went. A kill at any moment leaves the damaged log or the repaired one; in between no node
//! starts, and the next run finishes. Deliberately absent: repairs of the state database, which is rebuilt.

mod error;
pub mod fetch;
mod find;
mod place;
#[cfg(test)]
mod tests;
mod write;

pub use error::RepairError;

use crate::rebuild::{Source, hold};
use fetch::Fetch;
use serde::Serialize;
use std::path::{Path, PathBuf};
use types::Height;

/// Directory in which a repair is at work.
pub const REPAIR: &str = "repair";
/// In it: that the new log is whole. Holds the number of its first new segment.
const WHOLE: &str = "whole";

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Done {
    /// The first segment that was written anew; none where nothing was damaged.
    pub from_segment: Option<u64>,
    /// Places that were damaged.
    pub damaged: u64,
    /// Heights whose commit was fetched.
    pub commits: Vec<Height>,
    /// Blocks that were fetched.
    pub blocks: u64,
    /// Records that were kept.
    pub kept: u64,
    /// The last height of the log.
    pub height: Height,
    /// Whether the rows of the state database that say where blocks lie were put right; otherwise it is to be rebuilt.
    pub state_kept: bool,
}

/// Whether a repair stopped between two places, so that nothing may start.
pub fn is_unfinished(data_dir: &Path) -> bool {
    data_dir.join(REPAIR).join(WHOLE).exists()
}

/// Repairs the log of a data directory on which no node runs.
///
/// # Errors
/// [`RepairError`]: the log is as it was, or the next run finishes.
pub fn repair(source: &Source, fetch: &mut dyn Fetch, progress: &mut dyn FnMut(Height)) -> Result<Done, RepairError> {
    let site = Site { data_dir: source.data_dir.clone() };
    if is_unfinished(&source.data_dir) {
        return place::finish(source, &site);
    }
    let held = hold(source)?;
    let found = find::find(source, held.files())?;
    let Some(first) = found.first_damaged else {
        return Ok(Done { height: found.last, state_kept: true, ..Done::default() });
    };
    // The damaged log is removed with its directory, and what else lies there is somebody's: a copy of a segment, perhaps.
    if let Some(file) = held.files().strays()?.into_iter().next() {
        return Err(RepairError::StrayFile(file));
    }
    let mut done = write::write(source, &site, held.files(), &found, first, fetch, progress)?;
    drop(held);
    let placed = place::finish(source, &site)?;
    (done.from_segment, done.damaged, done.state_kept) = (Some(first), found.damaged, placed.state_kept);
    Ok(done)
}

/// Where things are.
#[derive(Clone, Debug)]
struct Site {
    data_dir: PathBuf,
}

impl Site {
    fn dir(&self) -> PathBuf {
        self.data_dir.join(REPAIR)
    }

    fn new_log(&self) -> PathBuf {
        self.dir().join(crate::config::LOG)
    }

    fn old_log(&self) -> PathBuf {
        self.dir().join("damaged")
    }

    fn whole(&self) -> PathBuf {
        self.dir().join(WHOLE)
    }

    fn log(&self) -> PathBuf {
        self.data_dir.join(crate::config::LOG)
    }
}
