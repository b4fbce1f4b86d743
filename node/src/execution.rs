//! The execution stage: one thread that owns the ledger and every write to the state database.
//!
//! A commit passes three gates in order: the verdicts on all its signatures are known; its record, with those verdicts,
//! is durable in the log; it is executed and its rows are written as one batch. Only then do clients hear of it, and
//! only then is its header voted for. Records are logged as soon as their verdicts are known, ahead of execution, so
//! that a sync is rarely waited for.

mod apply;
mod executor;
mod receipts;
mod retention;
mod state_root;

pub use apply::{Applier, ApplyError};
pub use executor::Executor;
pub use receipts::Receipts;
pub use retention::Retention;
pub use state_root::{AtOnce, StateRoots};

use crate::pool::Pending;
use crate::records;
use crate::replica::contents::Contents;
use crate::replica::event::{Answer, Failure};
use crate::status::Status;
use crate::tables::BlockPlace;
use consensus::Checkpoint;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use storage::log::{Log, LogFault};
use types::{BlockRef, Certificate, CommitRecord, Encode, Height};

/// A block of a commit.
pub struct CommitBlock {
    /// Which.
    pub block: BlockRef,
    /// Its transactions.
    pub contents: Arc<Contents>,
    /// Of an own block: whom to tell about each transaction, in order.
    pub origins: Vec<Pending>,
    /// Where the log holds it.
    pub place: BlockPlace,
}

/// A commit on its way through the gates.
pub struct Job {
    /// The ordering.
    pub record: CommitRecord,
    /// Its blocks, in order.
    pub blocks: Vec<CommitBlock>,
    /// Consensus after this commit; none where the epoch is known to be over, and only its commits are taken.
    pub checkpoint: Option<Checkpoint>,
    /// Whether the epoch ends with it.
    pub last_of_epoch: bool,
    /// First segment that a restart would have to read once this commit is applied.
    pub replay_from: u64,
    /// Whether the log holds the record already: it was read from there.
    pub logged: bool,
}

/// What the execution stage reacts to.
pub enum Order {
    /// The next commit.
    Commit(Box<Job>),
    /// Some block's verdicts are known, or some record is durable: look again. Sent without waiting, since a full queue
    /// makes the stage look again anyway.
    Look,
    /// A certificate was assembled.
    Certified(Box<Certificate>),
    /// Finish what is durable, flush, and end.
    Stop,
}

/// The stage.
pub struct Execution {
    /// The log.
    pub log: Arc<Log>,
    /// Executes and writes.
    pub applier: Applier,
    /// Tells the replica.
    pub replica: Sender<Answer>,
    /// Its own queue, for callbacks of the log.
    pub orders: Sender<Order>,
    /// What others read.
    pub status: Arc<Status>,
}

/// How often the thread looks whether a flush is due while nothing comes.
const PULSE: Duration = Duration::from_secs(1);

impl Execution {
    /// Runs until [`Order::Stop`] or a fault, which is reported to the replica.
    pub fn run(mut self, queue: &Receiver<Order>) {
        let mut jobs: VecDeque<Job> = VecDeque::new();
        // Jobs in front of this index have been handed to the log.
        let mut handed = 0;
        let durable = Arc::new(Mutex::new(Ok(self.applier.height())));
        loop {
            match queue.recv_timeout(PULSE) {
                Ok(Order::Commit(job)) => jobs.push_back(*job),
                Ok(Order::Look) => {}
                Ok(Order::Certified(certificate)) => self.applier.certified(&certificate),
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                // Nothing comes, and what came last may wait for its flush.
                Err(RecvTimeoutError::Timeout) => {}
            }
            while let Some(job) = jobs.get(handed).filter(|job| ready(job)) {
                if job.logged {
                    note(&durable, Ok(job.record.height));
                } else {
                    self.log_record(job, &durable);
                }
                handed += 1;
            }
            let durable = match *durable.lock().unwrap_or_else(PoisonError::into_inner) {
                Ok(height) => height,
                Err(fault) => return self.fail(fault.into()),
            };
            while handed > 0 && jobs.front().is_some_and(|job| job.record.height <= durable) {
                let job = jobs.pop_front().expect("there is a front");
                handed -= 1;
                match self.applier.apply(job) {
                    Ok(answer) => drop(self.replica.send(answer)),
                    Err(fault) => return self.fail(fault.into()),
                }
            }
            self.applier.flush_if_due();
            self.status.set_execution_queue(jobs.len());
        }
        self.applier.stop();
    }

    fn fail(self, failure: Failure) {
        drop(self.replica.send(Answer::Failed(failure)));
        self.applier.stop();
    }

    fn log_record(&self, job: &Job, durable: &Arc<Durable>) {
        let verdicts =
            job.blocks.iter().flat_map(|block| block.contents.verdicts().unwrap_or_default().iter().copied());
        let commit = records::Commit { record: job.record.clone(), verdicts: records::pack_verdicts(verdicts) };
        let (orders, durable, height) = (self.orders.clone(), Arc::clone(durable), job.record.height);
        let tell = move |result: Result<_, LogFault>| {
            note(&durable, result.map(|_| height));
            drop(orders.try_send(Order::Look));
        };
        // Where it fails, `tell` has noted why.
        let _ = self.log.append(records::COMMIT, &[&commit.to_bytes()], Box::new(tell));
    }
}

/// The last height whose record is durable, or why there will be no more. Written by the log's thread, for an instant.
type Durable = Mutex<Result<Height, LogFault>>;

fn note(durable: &Durable, news: Result<Height, LogFault>) {
    let mut durable = durable.lock().unwrap_or_else(PoisonError::into_inner);
    if durable.is_ok() {
        *durable = news;
    }
}

fn ready(job: &Job) -> bool {
    job.blocks.iter().all(|block| block.contents.verdicts().is_some())
}
