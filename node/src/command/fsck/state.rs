//! Whether the state database is what it says of itself: all rows are read, which checks the checksums of every block of
//! its files, headers are followed back to the first, and accounts, live ids and approvals are summed up anew.

use super::report::Report;
use crate::command::progress::Progress;
use crate::state_sync::stream::{self, StreamError};
use crate::tables::{Applied, TableError, Tables};
use std::io::{self, BufReader, BufWriter};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use storage::log::check::Checked;
use storage::state::{StateDb, StateError};
use thiserror::Error;
use types::{ChainId, Digest, Height};

/// What is wrong with a state.
#[derive(Debug, Error)]
pub enum StateDamage {
    /// The database does not open, or cannot be read.
    #[error(transparent)]
    Database(#[from] StateError),
    /// A row does not decode.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A row of the state is none.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// It does not say what it holds.
    #[error("the database does not say what was applied")]
    NothingApplied,
    /// The header of a height is not the one that the header above it names.
    #[error("the header of height {0} is not the one that the next one names")]
    Header(u64),
    /// The last header is not the one that was applied.
    #[error("the header of the last height is not the one that was applied")]
    LastHeader,
}

/// An open database.
pub struct State {
    database: Arc<StateDb>,
    tables: Tables,
    applied: Applied,
}

/// Reads what the database says of itself.
pub fn open(database: StateDb) -> Result<State, StateDamage> {
    let database = Arc::new(database);
    let tables = Tables::new(Arc::clone(&database));
    let applied = tables.applied()?.ok_or(StateDamage::NothingApplied)?;
    Ok(State { database, tables, applied })
}

impl State {
    /// Of its headers.
    pub fn chain(&self) -> ChainId {
        self.applied.ledger.header.chain
    }

    /// Whether a log was ever there. A first start makes the database before it makes the log; then it holds nothing that
    /// only a log can have given it.
    pub fn had_log(&self) -> bool {
        let synced = self.tables.synced().ok().flatten().map_or(Height(0), |(_, highest)| highest);
        let begun = self.tables.log_begin().ok().flatten().is_some() || self.applied.replay_from > 0;
        begun || self.applied.ledger.header.height > synced
    }

    /// Whether the log has the segments that the database knows of: none is gone but those that were given up.
    pub fn compare_segments(&self, checked: &Checked, report: &mut Report) {
        let begin = self.tables.log_begin().ok().flatten().unwrap_or(u64::MAX).min(self.applied.replay_from);
        if checked.segments == 0 || begin < checked.oldest {
            report.damage(begin, 0, "missing_segment");
        }
    }

    /// Whether the log reaches to where the state is.
    pub fn compare_heights(&self, checked: &Checked, last_commit: Option<Height>, report: &mut Report) {
        // Commits that came with a state from peers are rows, not records.
        let synced = self.tables.synced().ok().flatten().map(|(_, highest)| highest);
        if self.applied.ledger.header.height > last_commit.max(synced).unwrap_or(Height(0)) {
            report.damage(checked.end.segment, checked.end.offset.into(), "behind_state");
        }
    }

    /// Reads everything and compares the sum with the state digest of the last header.
    ///
    /// # Errors
    /// A pipe or a thread that cannot be had. What is wrong with the state is reported.
    pub fn sum(&self, report: &mut Report, progress: &mut Progress) -> io::Result<()> {
        let (reader, writer) = io::pipe()?;
        let mut rows = 0;
        let mut count = || {
            rows += 1;
            progress.rows(rows);
        };
        let total = thread::scope(|scope| {
            let count = &mut count;
            let add = thread::Builder::new().name("fsck-sum".into()).spawn_scoped(scope, move || {
                stream::read(&mut BufReader::with_capacity(1 << 20, reader), |_| {
                    count();
                    Ok::<_, StreamError>(())
                })
            })?;
            let mut writer = BufWriter::with_capacity(1 << 16, writer);
            let written = stream::write(&self.database.snapshot(), &self.applied.ledger.approvals, &mut writer)
                .and_then(|()| writer.into_inner().map(drop).map_err(|error| error.into_error().into()));
            let added = add.join().expect("summing up does not panic");
            // Where a row is none, the end of the pipe is closed and writing fails as well.
            io::Result::Ok(added.and_then(|total| written.map(|()| total)))
        })?;
        match total.map_err(StateDamage::from).and_then(|total| self.read_all(progress).map(|()| total)) {
            Ok(total) => {
                let counts = (total.live_ids, total.live_buckets);
                let expected = (self.applied.ledger.live_ids, self.applied.ledger.live_buckets);
                let header = &self.applied.ledger.header;
                report.state(header.height, header.state_digest, total.sum.digest(), counts == expected);
            }
            Err(damage) => report.state_failed(&damage),
        }
        Ok(())
    }

    /// Everything that is no part of the state digest: for its checksums. And the chain of headers is followed.
    fn read_all(&self, progress: &mut Progress) -> Result<(), StateDamage> {
        self.verify_checksums(progress)?;
        let last = &self.applied.ledger.header;
        if self.tables.header(last.height)?.as_ref() != Some(last) {
            return Err(StateDamage::LastHeader);
        }
        let mut named = last.previous;
        for height in (0..last.height.0).rev() {
            // Headers below a state that came from peers, or that were given up, are not there.
            let Some(header) = self.tables.header(Height(height))? else { break };
            if header.digest() != named {
                return Err(StateDamage::Header(height));
            }
            named = header.previous;
        }
        debug_assert!(last.height.0 > 0 || named == Digest::ZERO);
        Ok(())
    }

    /// The database does this in one call and tells nothing meanwhile; how far it is, is told by what the process has read.
    fn verify_checksums(&self, progress: &mut Progress) -> Result<(), StateError> {
        let all = self.database.stats()?.disk_bytes;
        let before = bytes_read();
        thread::scope(|scope| {
            let check = scope.spawn(|| self.database.verify_checksums());
            while !check.is_finished() {
                thread::sleep(LOOK);
                progress.say(|| {
                    let read = bytes_read().zip(before).map(|(now, before)| now.saturating_sub(before).min(all));
                    let megabytes = |bytes: u64| bytes.div_ceil(1_000_000);
                    match read {
                        Some(read) => format!("state: {} of {} MB of files checked", megabytes(read), megabytes(all)),
                        None => format!("state: checking {} MB of files", megabytes(all)),
                    }
                });
            }
            check.join().expect("checking files does not panic")
        })
    }
}

/// How often it is looked how far the database is.
const LOOK: Duration = Duration::from_millis(20);

/// Bytes that this process has read from files and elsewhere; none where the kernel does not say.
fn bytes_read() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/io").ok()?;
    text.lines().find_map(|line| line.strip_prefix("rchar: "))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_counted() {
        let before = bytes_read().expect("the kernel counts");
        let bytes = std::fs::read("/proc/self/exe").expect("a file").len() as u64;
        assert!(bytes_read().expect("the kernel counts") >= before + bytes);
    }
}
