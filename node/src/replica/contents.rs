//! The parsed transactions of a block, and the verdicts on their signatures once they are known.

use crate::signatures;
use accel::{DeviceFault, Job, Origin, Priority, Verifier};
use ledger::Undecodable;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use types::{AuthorityIndex, ChainId, Payload, Transaction};

/// How long the verification of a peer's block may wait for company in its batch.
const BLOCK_PATIENCE: Duration = Duration::from_millis(8);
/// When to hand a block to the verifier again after it was busy.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// A transaction of a block, or why its bytes are none: those become rejected receipts.
pub type Entry = Result<Arc<Transaction>, Undecodable>;

/// A block's transactions.
#[derive(Debug)]
pub struct Contents {
    transactions: Vec<Entry>,
    /// One verdict for each transaction; undecodable ones count as invalid.
    verdicts: OnceLock<Vec<bool>>,
    /// Whether somebody has asked for the verdicts: a block is verified once, when it arrives or when it is committed.
    asked: AtomicBool,
}

impl Contents {
    /// Parses every transaction of a payload.
    pub fn parse(chain: &ChainId, payload: &Payload) -> Self {
        let parse = |raw: bytes::Bytes| {
            let parsed = Transaction::parse(chain, raw.clone());
            parsed.map(Arc::new).map_err(|error| Undecodable::new(&raw, error))
        };
        Self {
            transactions: payload.transactions().map(parse).collect(),
            verdicts: OnceLock::new(),
            asked: AtomicBool::new(false),
        }
    }

    /// Of an own block: the ingress verified every transaction.
    pub fn verified(transactions: Vec<Arc<Transaction>>) -> Self {
        let verdicts = OnceLock::from(vec![true; transactions.len()]);
        Self { transactions: transactions.into_iter().map(Ok).collect(), verdicts, asked: AtomicBool::new(true) }
    }

    /// The transactions, in order.
    pub fn transactions(&self) -> &[Entry] {
        &self.transactions
    }

    /// The verdicts, once they are known.
    pub fn verdicts(&self) -> Option<&[bool]> {
        self.verdicts.get().map(Vec::as_slice)
    }

    /// Takes verdicts from the log's bitmap, for a commit that was executed before a crash.
    pub fn settle(&self, verdicts: Vec<bool>) {
        // A second answer is the same answer: verdicts are a function of the bytes.
        drop(self.verdicts.set(verdicts));
    }

    /// Has the signatures verified in the background; `done` runs when the verdicts are there, for the first who asks.
    ///
    /// A busy verifier or a device that fails is waited out: a verdict is never guessed.
    pub fn verify(
        self: Arc<Self>,
        verifier: Arc<Verifier>,
        author: AuthorityIndex,
        done: impl FnOnce() + Send + 'static,
    ) {
        if !self.asked.swap(true, Ordering::Relaxed) {
            self.run(verifier, author, done);
        }
    }

    /// The entries that are transactions.
    fn parsed(&self) -> impl Iterator<Item = &Transaction> {
        self.transactions.iter().flatten().map(|transaction| &**transaction)
    }

    fn run(self: Arc<Self>, verifier: Arc<Verifier>, author: AuthorityIndex, done: impl FnOnce() + Send + 'static) {
        let items = signatures::items(self.parsed());
        if self.verdicts.get().is_some() || items.is_empty() {
            self.settle(vec![false; self.transactions.len()]);
            return done();
        }
        let again = Arc::clone(&verifier);
        let job = Job {
            origin: Origin::Author(author.0),
            priority: Priority::Block,
            deadline: Instant::now() + BLOCK_PATIENCE,
            items,
            done: Box::new(move |result| match result {
                Ok(verdicts) => {
                    let mut verdicts = signatures::verdicts(self.parsed(), verdicts.iter()).into_iter();
                    let each = self.transactions.iter().map(|entry| entry.is_ok() && verdicts.next().unwrap_or(false));
                    self.settle(each.collect());
                    done();
                }
                // The node is stopping; nothing waits for the verdicts any more.
                Err(DeviceFault::Stopped) => {}
                Err(fault) => {
                    tracing::error!(%fault, "verification failed on every engine; the block is verified again");
                    self.run(again, author, done);
                }
            }),
        };
        submit(&verifier, job);
    }
}

/// Submits a block's job; where the verifier is busy a short-lived thread waits for it, so that no caller blocks.
fn submit(verifier: &Arc<Verifier>, job: Job) {
    let Err(busy) = verifier.submit(job) else { return };
    let verifier = Arc::clone(verifier);
    std::thread::spawn(move || {
        let mut waiting = busy;
        loop {
            std::thread::sleep(BUSY_PAUSE);
            match verifier.submit(*waiting.job) {
                Ok(()) => break,
                Err(busy) => waiting = busy,
            }
        }
    });
}
