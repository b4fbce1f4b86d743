//! What a running node does around the execution of a commit: flushes, and everybody who has to hear of it.

use crate::execution::{Executor, Job, Receipts, Retention, StateRoots};
use crate::pool::Pool;
use crate::replica::event::{Answer, Failure};
use crate::state_sync::snapshots::RootError;
use crate::status::{Status, Tip};
use crate::tables::{TableError, Tables};
use crossbeam_channel::{Sender, TrySendError, bounded};
use ledger::{Ledger, StateFault};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use storage::state::StateError;
use thiserror::Error;
use tokio::sync::broadcast;
use types::{Certificate, Height, TransactionId};

/// Why a commit could not be applied. The state database is ours: this is a fault, never a verdict.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// Reading state failed.
    #[error(transparent)]
    State(#[from] StateFault),
    /// Writing rows failed.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The root of an earlier state is due and cannot be had.
    #[error(transparent)]
    Root(#[from] RootError),
}

impl From<ApplyError> for Failure {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Table(TableError::State(StateError::DiskFull(_))) => Self::DiskFull,
            other => Self::State(other.to_string()),
        }
    }
}

/// Owns execution.
pub struct Applier {
    executor: Executor,
    tables: Tables,
    pool: Arc<Pool>,
    receipts: Receipts,
    heights: broadcast::Sender<Height>,
    status: Arc<Status>,
    flushes: Flushes,
    log_bytes: Arc<dyn Fn() -> u64 + Send + Sync>,
    flusher: Flusher,
}

impl Applier {
    /// Over a ledger that stands where the tables do.
    #[expect(clippy::too_many_arguments, reason = "called once, where everything is wired")]
    pub fn new(
        ledger: Ledger,
        tables: Tables,
        pool: Arc<Pool>,
        receipts: Receipts,
        heights: broadcast::Sender<Height>,
        status: Arc<Status>,
        counts: (u64, u64),
        (flush_bytes, flush_every): (u64, Duration),
        log_bytes: Arc<dyn Fn() -> u64 + Send + Sync>,
        retention: Retention,
        roots: StateRoots,
    ) -> std::io::Result<Self> {
        let flusher = Flusher::start(tables.clone(), retention)?;
        let flushes = Flushes { bytes: flush_bytes, every: flush_every, at: log_bytes(), last: Instant::now() };
        Ok(Self {
            executor: Executor::new(ledger, tables.clone(), counts, roots),
            tables,
            pool,
            receipts,
            heights,
            status,
            flushes,
            log_bytes,
            flusher,
        })
    }

    /// The last applied height.
    pub fn height(&self) -> Height {
        self.executor.height()
    }

    /// Executes, writes, tells clients.
    pub fn apply(&mut self, job: Job) -> Result<Answer, ApplyError> {
        let height = job.record.height;
        let executed = self.executor.execute(&job)?;
        self.pool.forget(own_ids(&job));
        self.receipts.deliver(&job, &executed);
        let (committed, rejected) = self.executor.counts();
        self.status.applied(Tip {
            committed,
            rejected,
            closing: executed.closing,
            ..Tip::at(&executed.header, executed.header_digest)
        });
        for faulty in &executed.faulty {
            tracing::warn!(author = faulty.author().0, block = %faulty.block, index = faulty.index, reject = faulty.reject.label(), "a block holds what its author could have refused");
        }
        // Nobody has to be listening.
        drop(self.heights.send(height));
        let (header, transactions) = (executed.header_digest, executed.receipts.len());
        let next_epoch = executed.next_epoch.map(Box::new);
        Ok(Answer::Executed { height, header, transactions, closing: executed.closing, next_epoch })
    }

    /// Stores a certificate.
    pub fn certified(&mut self, certificate: &Certificate) {
        let mut batch = self.tables.batch();
        batch.certificate(certificate);
        if let Err(error) = self.tables.commit(batch) {
            tracing::error!(%error, "a certificate could not be stored; it will be collected again after a restart");
        }
    }

    /// Flushes what is written.
    pub fn stop(self) {
        self.flusher.stop();
        if let Err(error) = self.tables.flush() {
            tracing::error!(%error, "the state could not be flushed; the next start replays more of the log");
        }
    }

    /// Starts a flush where the log has grown enough since the last, or at all and some time ago.
    pub fn flush_if_due(&mut self) {
        let (written, now) = ((self.log_bytes)(), Instant::now());
        if self.flushes.is_due(written, now) && self.flusher.start_flush() {
            (self.flushes.at, self.flushes.last) = (written, now);
        }
    }
}

/// When the state is flushed.
struct Flushes {
    bytes: u64,
    every: Duration,
    /// Bytes of log written when it last was.
    at: u64,
    last: Instant,
}

impl Flushes {
    fn is_due(&self, written: u64, now: Instant) -> bool {
        let new = written.saturating_sub(self.at);
        new >= self.bytes || new > 0 && now.saturating_duration_since(self.last) >= self.every
    }
}

fn own_ids(job: &Job) -> impl Iterator<Item = TransactionId> {
    job.blocks.iter().flat_map(|block| block.origins.iter()).map(|pending| pending.transaction.id())
}

/// Flushes on a thread of its own, one at a time: a flush takes as long as the disk does.
struct Flusher {
    requests: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    failures: Arc<AtomicU64>,
}

impl Flusher {
    fn start(tables: Tables, retention: Retention) -> std::io::Result<Self> {
        let (requests, queue) = bounded::<()>(1);
        let failures = Arc::new(AtomicU64::new(0));
        let failed = Arc::clone(&failures);
        let thread = std::thread::Builder::new().name("flush".into()).spawn(move || {
            for () in queue {
                if let Err(error) = tables.flush() {
                    tracing::error!(%error, "the state could not be flushed");
                    failed.fetch_add(1, Ordering::Relaxed);
                } else if let Err(error) = retention.apply() {
                    tracing::error!(%error, "old segments of the log could not be given up");
                }
            }
        })?;
        Ok(Self { requests: Some(requests), thread: Some(thread), failures })
    }

    /// Starts a flush; `false` while one is running.
    fn start_flush(&self) -> bool {
        self.requests.as_ref().is_some_and(|requests| !matches!(requests.try_send(()), Err(TrySendError::Full(()))))
    }

    fn stop(mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
        if self.failures.load(Ordering::Relaxed) > 0 {
            tracing::warn!("some flushes failed; the log holds everything that they would have saved");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_is_due_after_many_bytes_or_after_a_while_with_few_but_never_with_none() {
        let last = Instant::now();
        let flushes = Flushes { bytes: 1000, every: Duration::from_secs(60), at: 500, last };
        let after = |seconds| last + Duration::from_secs(seconds);
        assert!(!flushes.is_due(1499, after(59)) && flushes.is_due(1500, after(0)));
        assert!(flushes.is_due(501, after(60)) && !flushes.is_due(500, after(100_000)));
    }
}
