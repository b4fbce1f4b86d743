//! Executes commits and writes the rows of each as one batch: the one way in which a commit becomes state, in a node that
//! runs and in a rebuild from the log. Deliberately absent: who is told, and when the rows are flushed.

use crate::execution::apply::ApplyError;
use crate::execution::{Job, StateRoots};
use crate::tables::{Applied, Place, TableError, Tables};
use ledger::{CommitInput, Executed, Ledger, OrderedTransaction, claims_id};
use types::{Height, SnapshotPlan};

/// Owns the ledger and the write side of the tables.
pub struct Executor {
    ledger: Ledger,
    tables: Tables,
    committed: u64,
    rejected: u64,
    roots: StateRoots,
}

impl Executor {
    /// Over a ledger that stands where the tables do, with the transactions applied and rejected so far, and the roots of
    /// states that go with it.
    pub fn new(ledger: Ledger, tables: Tables, (committed, rejected): (u64, u64), roots: StateRoots) -> Self {
        Self { ledger, tables, committed, rejected, roots }
    }

    /// Execution after the last height.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The last applied height.
    pub fn height(&self) -> Height {
        self.ledger.tip().0
    }

    /// Transactions applied and rejected since genesis.
    pub fn counts(&self) -> (u64, u64) {
        (self.committed, self.rejected)
    }

    /// Executes the next commit, whose verdicts are all known, and writes its rows.
    pub fn execute(&mut self, job: &Job) -> Result<Executed, ApplyError> {
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
        let state_root = self.roots.due(SnapshotPlan::of(self.ledger.epoch()), height)?;
        let executed = self.ledger.execute(CommitInput {
            height,
            commit: job.record.digest(),
            timestamp: job.record.timestamp,
            state_root,
            last_of_epoch: job.last_of_epoch,
            transactions,
        })?;
        let applied = executed.receipts.iter().filter(|receipt| receipt.outcome.is_applied()).count() as u64;
        self.committed += applied;
        self.rejected += executed.receipts.len() as u64 - applied;
        self.write(job, &executed)?;
        self.ledger.persisted(height);
        self.roots.written(&executed);
        Ok(executed)
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
        self.roots.write(&mut batch, executed, SnapshotPlan::of(self.ledger.epoch()))?;
        batch.applied(&Applied {
            ledger: executed.checkpoint.clone(),
            consensus: job.checkpoint.clone(),
            replay_from: job.replay_from,
            committed: self.committed,
            rejected: self.rejected,
        });
        self.tables.commit(batch)
    }
}
