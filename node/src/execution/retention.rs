//! How much of the log is kept: what a restart needs, what those need who take a state from this node, and as much beyond
//! as node.toml says, for those who catch up by commits.

use crate::state_sync::snapshots::Snapshots;
use crate::tables::{TableError, Tables};
use std::sync::Arc;
use storage::log::Log;

/// Gives up old segments.
pub struct Retention {
    /// The log.
    pub log: Arc<Log>,
    /// Tells what a restart needs.
    pub tables: Tables,
    /// Tells what joiners need.
    pub snapshots: Snapshots,
    /// Bytes kept beyond that; all of them if `None`.
    pub keep_bytes: Option<u64>,
    /// Bytes of a segment.
    pub segment_bytes: u64,
}

impl Retention {
    /// Gives up what nobody needs, as far as the state on the disk has come.
    pub fn apply(&self) -> Result<(), TableError> {
        let Some(keep_bytes) = self.keep_bytes else { return Ok(()) };
        let Some(applied) = self.tables.persisted_applied()? else { return Ok(()) };
        let newest = self.log.next_position().segment;
        let kept = newest.saturating_sub(keep_bytes.div_ceil(self.segment_bytes));
        let first = kept.min(applied.replay_from).min(self.snapshots.first_segment().unwrap_or(u64::MAX));
        let oldest = self.log.oldest_segment();
        if first > oldest {
            let oldest = self.log.release_before(first);
            tracing::info!(oldest, newest, "segments of the log were given up");
        }
        Ok(())
    }
}
