//! The ingress: takes clients' transactions in. Framing and size, then the cheap checks, then a place in the pool, then
//! the signature; whoever fails is told why, and a full queue is `Busy` with a hint when to come back.

use crate::config::Restraint;
use crate::execution::Receipts;
use crate::pool::{Origin, Pending, Pool, Refusal};
use crate::reach::{OutOfReach, Reach};
use crate::replica::event::Fact;
use crate::signatures;
use crate::status::Status;
use accel::{Job, Priority, Verifier};
use client::protocol::{Event, Submit};
use crossbeam_channel::Sender;
use ledger::Screen;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use transport::{ClientEvent, ClientEvents, SessionId};
use types::{AuthorityIndex, ChainId, Reject, TimestampMs, Transaction, TransactionId};

/// How long a client's signature may wait for company in its batch.
const PATIENCE: Duration = Duration::from_millis(4);
/// When a client should come back after the pool was full.
const RETRY_AFTER_MS: u32 = 20;

/// Everything that admission needs. Shared by the fast path and the RPC.
pub struct Admission {
    /// The ledger.
    pub chain: ChainId,
    /// Who answers.
    pub me: AuthorityIndex,
    /// Cheap checks.
    pub screen: Screen,
    /// Whether a change of the committee can be taken.
    pub reach: Reach,
    /// Where verified transactions wait.
    pub pool: Arc<Pool>,
    /// Signatures.
    pub verifier: Arc<Verifier>,
    /// Tells the replica that something waits.
    pub replica: Sender<Fact>,
    /// Counters.
    pub status: Arc<Status>,
}

/// Why a transaction was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// For a reason that will not go away.
    Rejected(Reject),
    /// A queue is full.
    Busy {
        /// When to try again.
        retry_after_ms: u32,
    },
}

impl Admission {
    /// Everything before the signature. A place in the pool is taken when this succeeds.
    fn admit(&self, raw: bytes::Bytes, now: TimestampMs) -> Result<Arc<Transaction>, Denied> {
        if self.status.restraint() >= Restraint::Shed {
            return Err(Denied::Busy { retry_after_ms: RETRY_AFTER_MS });
        }
        if raw.len() > self.screen.transaction_bytes_max() {
            return Err(Denied::Rejected(Reject::TooLarge));
        }
        let transaction = Transaction::parse(&self.chain, raw).map_err(|error| Denied::Rejected(error.into()))?;
        self.screen.check(&transaction, now).map_err(Denied::Rejected)?;
        if let Some(next) = self.screen.next_committee(&transaction).map_err(Denied::Rejected)?
            && let Err(OutOfReach { reachable, quorum }) = self.reach.carries(&next)
        {
            tracing::debug!(reachable, quorum, "a change is refused: its committee would have no quorum that answers");
            return Err(Denied::Rejected(Reject::QuorumUnreachable));
        }
        match self.pool.reserve(transaction.id()) {
            Ok(()) => Ok(Arc::new(transaction)),
            Err(Refusal::Duplicate) => Err(Denied::Rejected(Reject::Duplicate)),
            Err(Refusal::Full) => Err(Denied::Busy { retry_after_ms: RETRY_AFTER_MS }),
        }
    }

    /// Verifies admitted transactions, lets the valid ones into the pool, and tells of each whether it went in.
    fn verify(
        &self,
        pending: Vec<Pending>,
        origin: u64,
        told: impl FnOnce(Vec<(Pending, Result<(), Denied>)>) + Send + 'static,
    ) {
        if pending.is_empty() {
            return;
        }
        let items = signatures::items(pending.iter().map(|pending| &*pending.transaction));
        let (pool, replica, status) = (Arc::clone(&self.pool), self.replica.clone(), Arc::clone(&self.status));
        let waiting = Arc::new(std::sync::Mutex::new(Some((pending, told))));
        let taken = Arc::clone(&waiting);
        let take = move || waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let job = Job {
            origin: accel::Origin::Client(origin),
            priority: Priority::Ingress,
            deadline: Instant::now() + PATIENCE,
            items,
            done: Box::new(move |result| {
                let Some((pending, told)) = take() else { return };
                let busy = Denied::Busy { retry_after_ms: RETRY_AFTER_MS };
                let verdicts: Vec<Result<(), Denied>> = match result {
                    Ok(verdicts) => {
                        let transactions = pending.iter().map(|pending| &*pending.transaction);
                        signatures::verdicts(transactions, verdicts.iter())
                            .into_iter()
                            .map(|valid| valid.then_some(()).ok_or(Denied::Rejected(Reject::BadSignature)))
                            .collect()
                    }
                    // A fault says nothing about a signature: the client may try again.
                    Err(_) => vec![Err(busy); pending.len()],
                };
                pool.settle(pending.iter().cloned().zip(verdicts.iter().map(Result::is_ok)));
                status.admitted(verdicts.iter().filter(|verdict| verdict.is_ok()).count() as u64);
                // A full queue means that the replica has enough to wake up for.
                drop(replica.try_send(Fact::Pooled));
                told(pending.into_iter().zip(verdicts).collect());
            }),
        };
        if let Err(busy) = self.verifier.submit(job) {
            let Some((pending, told)) = taken.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() else {
                return;
            };
            let ids: Vec<TransactionId> = pending.iter().map(|pending| pending.transaction.id()).collect();
            self.pool.cancel(&ids);
            let denied = Denied::Busy { retry_after_ms: busy.retry_after_ms };
            told(pending.into_iter().map(|pending| (pending, Err(denied))).collect());
        }
    }

    /// One transaction, for the RPC: waits for the verdict.
    pub async fn submit(&self, raw: bytes::Bytes) -> Result<TransactionId, Denied> {
        let transaction = self.admit(raw, now())?;
        let id = transaction.id();
        let (sender, verdict) = tokio::sync::oneshot::channel();
        self.verify(vec![Pending { transaction, origin: Origin::Rpc }], u64::MAX, move |mut told| {
            // A caller who has gone away does not wait for the answer.
            let _ = sender.send(told.pop().map_or(Ok(()), |(_, result)| result));
        });
        verdict.await.unwrap_or(Err(Denied::Busy { retry_after_ms: RETRY_AFTER_MS })).map(|()| id)
    }
}

/// Serves the fast path until the endpoint is gone.
pub async fn run(admission: Arc<Admission>, receipts: Receipts, mut events: ClientEvents) {
    // Number of the next transaction of each session.
    let mut sessions: HashMap<SessionId, u64> = HashMap::new();
    while let Some(event) = events.recv().await {
        match event {
            ClientEvent::Opened { session } => {
                sessions.insert(session, 0);
                receipts.send(session.0, vec![Event::Hello { chain: admission.chain, validator: admission.me }]);
            }
            ClientEvent::Closed { session, .. } => drop(sessions.remove(&session)),
            ClientEvent::Batch { session, frame } => {
                let Some(next) = sessions.get_mut(&session) else { continue };
                let Ok(submit) = Submit::decode(&frame) else {
                    // Without framing there are no transactions to answer for: the session has no meaning any more.
                    admission.status.refused(Reject::Malformed, 1);
                    receipts.close(session);
                    continue;
                };
                batch(&admission, &receipts, session, next, submit);
            }
        }
    }
}

fn batch(admission: &Admission, receipts: &Receipts, session: SessionId, next: &mut u64, submit: Submit) {
    let now = now();
    let (mut pending, mut denied) = (Vec::with_capacity(submit.transactions.len()), Vec::new());
    for raw in submit.transactions {
        let sequence = *next;
        *next += 1;
        match admission.admit(raw, now) {
            Ok(transaction) => {
                pending.push(Pending { transaction, origin: Origin::Session { session: session.0, sequence } })
            }
            Err(reason) => denied.push(answer(&admission.status, sequence, reason)),
        }
    }
    if !denied.is_empty() {
        receipts.send(session.0, denied);
    }
    let (receipts, status) = (receipts.clone(), Arc::clone(&admission.status));
    admission.verify(pending, session.0, move |told| {
        let failed = told.into_iter().filter_map(|(pending, result)| {
            let Origin::Session { sequence, .. } = pending.origin else { return None };
            result.err().map(|reason| answer(&status, sequence, reason))
        });
        let failed: Vec<_> = failed.collect();
        if !failed.is_empty() {
            receipts.send(session.0, failed);
        }
    });
}

fn answer(status: &Status, sequence: u64, denied: Denied) -> Event {
    match denied {
        Denied::Rejected(reject) => {
            status.refused(reject, 1);
            Event::Refused { sequence, reject }
        }
        Denied::Busy { retry_after_ms } => {
            status.busy(1);
            Event::Busy { sequence, retry_after_ms }
        }
    }
}

/// The wall clock.
pub fn now() -> TimestampMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampMs(since.as_millis() as u64)
}
