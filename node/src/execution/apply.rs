//! Executes a commit and writes its rows as one batch.

use crate::execution::{Job, Receipts, Retention};
use crate::pool::Pool;
use crate::replica::event::{Answer, Failure};
use crate::state_sync::snapshots::Snapshots;
use crate::status::{Status, Tip};
use crate::tables::{Applied, Place, TableError, Tables};
use crossbeam_channel::{Sender, TrySendError, bounded};
use ledger::{CommitInput, Executed, Ledger, OrderedTransaction, StateFault, claims_id};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
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
}

impl From<ApplyError> for Failure {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Table(TableError::State(StateError::DiskFull(_))) => Self::DiskFull,
            other => Self::State(other.to_string()),
        }
    }
}

/// Owns the ledger and the write side of the tables.
pub struct Applier {
    ledger: Ledger,
    tables: Tables,
    pool: Arc<Pool>,
    receipts: Receipts,
    heights: broadcast::Sender<Height>,
    status: Arc<Status>,
    committed: u64,
    rejected: u64,
    /// Bytes of log written when the state was last flushed.
    flushed_at: u64,
    flush_bytes: u64,
    log_bytes: Arc<dyn Fn() -> u64 + Send + Sync>,
    flusher: Flusher,
    snapshots: Snapshots,
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
        flush_bytes: u64,
        log_bytes: Arc<dyn Fn() -> u64 + Send + Sync>,
        retention: Retention,
    ) -> std::io::Result<Self> {
        let snapshots = retention.snapshots.clone();
        let flusher = Flusher::start(tables.clone(), retention)?;
        let (committed, rejected) = counts;
        let flushed_at = log_bytes();
        Ok(Self {
            ledger,
            tables,
            pool,
            receipts,
            heights,
            status,
            committed,
            rejected,
            flushed_at,
            flush_bytes,
            log_bytes,
            flusher,
            snapshots,
        })
    }

    /// The last applied height.
    pub fn height(&self) -> Height {
        self.ledger.tip().0
    }

    /// Executes, writes, tells clients.
    pub fn apply(&mut self, job: Job) -> Result<Answer, ApplyError> {
        let transactions = job
            .blocks
            .iter()
            .flat_map(|block| {
                let verdicts = block.contents.verdicts().expect("a job is handed on when all verdicts are known");
                block.contents.transactions().iter().zip(verdicts).enumerate().map(|(index, (entry, valid))| {
                    let transaction = entry.clone();
                    OrderedTransaction { transaction, signature_valid: *valid, block: block.block, index: index as u32 }
                })
            })
            .collect();
        let height = job.record.height;
        let executed = self.ledger.execute(CommitInput {
            height,
            commit: job.record.digest(),
            timestamp: job.record.timestamp,
            last_of_epoch: job.last_of_epoch,
            transactions,
        })?;
        let applied = executed.receipts.iter().filter(|receipt| receipt.outcome.is_applied()).count() as u64;
        self.committed += applied;
        self.rejected += executed.receipts.len() as u64 - applied;
        self.write(&job, &executed)?;
        self.ledger.persisted(height);
        self.snapshots.executed(height);
        self.flush_if_due();
        self.pool.forget(own_ids(&job));
        self.receipts.deliver(&job, &executed);
        self.status.applied(Tip {
            committed: self.committed,
            rejected: self.rejected,
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

    fn write(&mut self, job: &Job, executed: &Executed) -> Result<(), TableError> {
        let mut batch = self.tables.batch();
        let height = executed.header.height;
        batch.height(&executed.header, Some(&job.record), &executed.receipts);
        for (key, value) in &executed.changes {
            batch.value(key, value.as_ref());
        }
        for (index, events) in &executed.events {
            batch.events(Place { height, index: *index }, events);
        }
        let mut place = Place { height, index: 0 };
        for receipt in &executed.receipts {
            // An id that was claimed before keeps the place where it was claimed.
            if claims_id(receipt.outcome) {
                batch.place(&receipt.transaction, place);
            }
            place.index += 1;
        }
        for (document, transaction) in &executed.certified {
            let index = executed.receipts.iter().position(|receipt| receipt.transaction == *transaction);
            let index = index.expect("a certified document's transaction has a receipt") as u32;
            batch.document(document, Place { height, index });
        }
        for block in &job.blocks {
            batch.block_place(&block.block.digest, &block.place);
            // Blocks of an author stand in rising order of rounds, within a commit and from one to the next.
            batch.last_block(&block.block);
        }
        if let Some(bucket) = &executed.live.added {
            batch.live_bucket(bucket);
        }
        for dropped in &executed.live.dropped {
            batch.drop_live_bucket(*dropped);
        }
        if let Some(next) = &executed.next_epoch {
            batch.epoch(next);
        }
        batch.applied(&Applied {
            ledger: executed.checkpoint.clone(),
            consensus: job.checkpoint.clone(),
            replay_from: job.replay_from,
            committed: self.committed,
            rejected: self.rejected,
        });
        self.tables.commit(batch)
    }

    fn flush_if_due(&mut self) {
        let written = (self.log_bytes)();
        if written - self.flushed_at >= self.flush_bytes && self.flusher.start_flush() {
            self.flushed_at = written;
        }
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
