//! The fast path's client: submits raw transactions over QUIC and tells what became of each.
//!
//! Every transaction goes in with a tag of the caller's choosing and comes out exactly once, in an [`Update`] with that
//! tag. When the connection is lost, all that had no answer comes out as [`Update::Unknown`]: it may or may not have
//! been committed, and the caller asks by its id (or sends the same bytes again: a second copy is refused as a
//! duplicate). The client reconnects by itself. Queues are bounded by [`ClientOptions::in_flight_max`]: a submission
//! waits while that many have no answer, or have an answer that the caller did not take yet.

use crate::protocol::{SUBMIT_BYTES_MAX, SUBMIT_TRANSACTIONS_MAX};
use bytes::Bytes;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc};
use transport::LinkFault;
use types::{AuthorityIndex, ChainId, Height, Outcome, PublicKey, Reject, Transaction, TransactionId};

mod driver;
mod in_flight;

/// Batches that wait for the driver; each holds permits of [`ClientOptions::in_flight_max`], so this bounds little.
const COMMANDS_MAX: usize = 256;
/// Most bytes of one transaction on the fast path.
pub const TRANSACTION_BYTES_MAX: usize = SUBMIT_BYTES_MAX - 5;

/// How to connect.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// The node's transport key; nobody else is accepted. `None` accepts whoever answers: for tests.
    pub server_key: Option<PublicKey>,
    /// The ledger; a node of another one is refused. `None` accepts any.
    pub chain: Option<ChainId>,
    /// Most transactions without an answer. Default 8192; at least 1.
    pub in_flight_max: u32,
    /// How long to wait for a connection and for the node's greeting. Default 5 s.
    pub connect_timeout: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self { server_key: None, chain: None, in_flight_max: 8192, connect_timeout: Duration::from_secs(5) }
    }
}

/// Why there is no session.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// Not reached, or refused.
    #[error(transparent)]
    Transport(#[from] transport::ConnectError),
    /// The key in the options is not of an algorithm that transport uses.
    #[error("the node's key must be an Ed25519 key")]
    ServerKey,
    /// Reached, but it sent no greeting in time.
    #[error("{server} was reached but does not speak the fast path of this version")]
    NoGreeting {
        /// Who.
        server: SocketAddr,
    },
    /// A node of another ledger.
    #[error("{server} belongs to ledger {found}")]
    OtherChain {
        /// Who.
        server: SocketAddr,
        /// Its ledger.
        found: ChainId,
    },
}

/// Why a transaction was not taken for sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SubmitError {
    /// Longer than [`TRANSACTION_BYTES_MAX`].
    #[error("a transaction of {bytes} bytes, where {TRANSACTION_BYTES_MAX} are allowed")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// [`Client::try_submit`] alone: too many have no answer.
    #[error("too many transactions have no answer yet")]
    Full,
    /// The receiver of updates was dropped.
    #[error("the client was closed")]
    Closed,
}

/// What became of something that was submitted, or of the connection. `K` is the caller's tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update<K> {
    /// Committed and executed, durable on the node that says so.
    Receipt {
        /// Which.
        tag: K,
        /// Height at which it stands.
        height: Height,
        /// Position at that height.
        index: u32,
        /// What became of it.
        outcome: Outcome,
    },
    /// Not taken, and never will be in this form.
    Refused {
        /// Which.
        tag: K,
        /// Why.
        reject: Reject,
    },
    /// Not taken because a queue is full; the caller may submit it again.
    Busy {
        /// Which.
        tag: K,
        /// When to try again.
        retry_after_ms: u32,
    },
    /// The connection was lost before there was an answer.
    Unknown {
        /// Which.
        tag: K,
    },
    /// The connection was lost; the updates before this one say what is unknown.
    Lost {
        /// Why, where the link knows.
        fault: Option<LinkFault>,
    },
    /// Connected again.
    Restored {
        /// With whom.
        validator: AuthorityIndex,
    },
}

/// A batch on its way to the driver.
type Batch<K> = Vec<(K, Bytes)>;

/// Submits; cheap to clone. When the last clone is dropped, the session ends after its last answer.
#[derive(Debug)]
pub struct Client<K = TransactionId> {
    commands: mpsc::Sender<Batch<K>>,
    permits: Arc<Semaphore>,
    in_flight_max: u32,
    validator: AuthorityIndex,
    chain: ChainId,
}

impl<K> Clone for Client<K> {
    fn clone(&self) -> Self {
        Self { commands: self.commands.clone(), permits: self.permits.clone(), ..*self }
    }
}

/// Receives the updates of a [`Client`].
#[derive(Debug)]
pub struct Updates<K = TransactionId> {
    incoming: mpsc::UnboundedReceiver<Vec<Update<K>>>,
    ready: VecDeque<Update<K>>,
    permits: Arc<Semaphore>,
}

impl<K: Send + 'static> Client<K> {
    /// Connects to the fast path of a node (its `client_address`). Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`ConnectError`]. Only the first connection fails this way; later ones are tried until they succeed.
    pub async fn connect(server: SocketAddr, options: ClientOptions) -> Result<(Self, Updates<K>), ConnectError> {
        let dialler = driver::Dialler::new(server, &options)?;
        let first = dialler.dial().await?;
        let in_flight_max = options.in_flight_max.clamp(1, Semaphore::MAX_PERMITS.min(1 << 24) as u32);
        let permits = Arc::new(Semaphore::new(in_flight_max as usize));
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        // Unbounded as a channel, bounded by permits: each queued answer still holds that of its transaction.
        let (updates, incoming) = mpsc::unbounded_channel();
        let (validator, chain) = (first.validator, first.chain);
        tokio::spawn(driver::run(dialler, first, received, updates));
        let client = Self { commands, permits: permits.clone(), in_flight_max, validator, chain };
        Ok((client, Updates { incoming, ready: VecDeque::new(), permits }))
    }

    /// Submits one encoded transaction under a tag; waits while too many have no answer.
    ///
    /// # Errors
    /// [`SubmitError::TooLarge`], [`SubmitError::Closed`].
    pub async fn submit_raw(&self, tag: K, transaction: Bytes) -> Result<(), SubmitError> {
        self.submit_all(vec![(tag, transaction)]).await
    }

    /// Submits encoded transactions in order; waits while too many have no answer.
    ///
    /// # Errors
    /// [`SubmitError::TooLarge`] before anything is sent, [`SubmitError::Closed`].
    pub async fn submit_all(&self, mut batch: Vec<(K, Bytes)>) -> Result<(), SubmitError> {
        check(&batch)?;
        while !batch.is_empty() {
            let count = batch.len().min(self.in_flight_max as usize).min(SUBMIT_TRANSACTIONS_MAX);
            let rest = batch.split_off(count);
            let permits = self.permits.acquire_many(count as u32).await.map_err(|_| SubmitError::Closed)?;
            self.commands.send(batch).await.map_err(|_| SubmitError::Closed)?;
            permits.forget();
            batch = rest;
        }
        Ok(())
    }

    /// Submits encoded transactions if there is room for all of them now.
    ///
    /// # Errors
    /// [`SubmitError`]; the batch comes back with [`SubmitError::Full`].
    pub fn try_submit(&self, batch: Vec<(K, Bytes)>) -> Result<(), (SubmitError, Vec<(K, Bytes)>)> {
        if let Err(error) = check(&batch) {
            return Err((error, batch));
        }
        let Ok(permits) = self.permits.try_acquire_many(u32::try_from(batch.len()).unwrap_or(u32::MAX)) else {
            return Err((SubmitError::Full, batch));
        };
        match self.commands.try_send(batch) {
            Ok(()) => {
                permits.forget();
                Ok(())
            }
            Err(mpsc::error::TrySendError::Full(batch)) => Err((SubmitError::Full, batch)),
            Err(mpsc::error::TrySendError::Closed(batch)) => Err((SubmitError::Closed, batch)),
        }
    }

    /// The validator at the other end when the session was opened.
    pub fn validator(&self) -> AuthorityIndex {
        self.validator
    }

    /// Its ledger.
    pub fn chain(&self) -> ChainId {
        self.chain
    }
}

impl Client<TransactionId> {
    /// Submits a transaction under its id; waits while too many have no answer.
    ///
    /// # Errors
    /// [`SubmitError::TooLarge`], [`SubmitError::Closed`].
    pub async fn submit(&self, transaction: &Transaction) -> Result<(), SubmitError> {
        self.submit_raw(transaction.id(), transaction.raw().clone()).await
    }
}

fn check<K>(batch: &[(K, Bytes)]) -> Result<(), SubmitError> {
    match batch.iter().map(|(_, raw)| raw.len()).find(|bytes| *bytes > TRANSACTION_BYTES_MAX) {
        Some(bytes) => Err(SubmitError::TooLarge { bytes }),
        None => Ok(()),
    }
}

impl<K> Updates<K> {
    /// The next update; `None` once the session has ended. Safe to cancel.
    pub async fn next(&mut self) -> Option<Update<K>> {
        while self.ready.is_empty() {
            self.ready = self.incoming.recv().await?.into();
        }
        let update = self.ready.pop_front();
        self.release(usize::from(update.as_ref().is_some_and(answers)));
        update
    }

    /// All updates that are here, at least one; `None` once the session has ended. Safe to cancel.
    pub async fn next_batch(&mut self) -> Option<Vec<Update<K>>> {
        let batch =
            if self.ready.is_empty() { self.incoming.recv().await? } else { std::mem::take(&mut self.ready).into() };
        self.release(batch.iter().filter(|update| answers(update)).count());
        Some(batch)
    }

    fn release(&self, answered: usize) {
        self.permits.add_permits(answered);
    }
}

impl<K> Drop for Updates<K> {
    fn drop(&mut self) {
        // Nobody gives permits back any more, so those who wait for one are told.
        self.permits.close();
    }
}

fn answers<K>(update: &Update<K>) -> bool {
    !matches!(update, Update::Lost { .. } | Update::Restored { .. })
}

#[cfg(test)]
mod tests;
