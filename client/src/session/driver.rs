//! The task behind a [`Client`](super::Client): owns the link, numbers what is sent, maps answers back, reconnects.

use super::in_flight::InFlight;
use super::{Batch, ClientOptions, ConnectError, Update};
use crate::protocol::{Event, Events, SubmitFrame};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;
use transport::{ClientLink, LinkFault};
use types::{AuthorityIndex, ChainId, PublicKey, committee};

/// First and longest pause before dialling again; doubled each time.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// How to reach the node, again and again.
#[derive(Debug)]
pub(super) struct Dialler {
    server: SocketAddr,
    key: Option<PublicKey>,
    chain: Option<ChainId>,
    patience: Duration,
}

/// An open session, behind its greeting.
#[derive(Debug)]
pub(super) struct Session {
    link: ClientLink,
    pub(super) validator: AuthorityIndex,
    pub(super) chain: ChainId,
    /// Events that came in the frame of the greeting.
    early: Vec<Event>,
}

impl Dialler {
    pub(super) fn new(server: SocketAddr, options: &ClientOptions) -> Result<Self, ConnectError> {
        let key = match &options.server_key {
            Some(key) if committee::ALGORITHMS.contains(&key.alg()) => Some(key.clone()),
            Some(_) => return Err(ConnectError::ServerKey),
            None => None,
        };
        Ok(Self { server, key, chain: options.chain, patience: options.connect_timeout })
    }

    pub(super) async fn dial(&self) -> Result<Session, ConnectError> {
        let server = self.server;
        let link = ClientLink::connect(server, self.key.clone()).await?;
        let greeting = timeout(self.patience, link.recv()).await.ok().flatten();
        let mut early = greeting.and_then(|frame| Events::decode(&frame).ok()).map_or(Vec::new(), |read| read.events);
        let Some(&Event::Hello { chain, validator }) = early.first() else {
            return Err(ConnectError::NoGreeting { server });
        };
        if self.chain.is_some_and(|expected| expected != chain) {
            return Err(ConnectError::OtherChain { server, found: chain });
        }
        early.remove(0);
        Ok(Session { link, validator, chain, early })
    }

    /// Dials until it succeeds; `None` when nobody listens any more.
    async fn redial<K>(&self, updates: &mpsc::UnboundedSender<Vec<Update<K>>>) -> Option<Session> {
        let mut pause = RECONNECT.0;
        loop {
            tokio::select! {
                () = updates.closed() => return None,
                () = tokio::time::sleep(pause) => {}
            }
            match self.dial().await {
                Ok(session) => return Some(session),
                Err(error) => tracing::debug!(server = %self.server, %error, "client.reconnect"),
            }
            pause = (pause * 2).min(RECONNECT.1);
        }
    }
}

/// Why a session is over.
enum End {
    /// Every submitter is gone and everything is answered, or nobody listens.
    Done,
    /// The connection is lost.
    Lost,
}

/// Shared by the two halves of a session, which one task polls; neither holds the lock across an await.
struct Shared<K> {
    in_flight: Mutex<InFlight<K>>,
    /// Every submitter is gone.
    closing: AtomicBool,
}

pub(super) async fn run<K: Send + 'static>(
    dialler: Dialler,
    mut session: Session,
    mut commands: mpsc::Receiver<Batch<K>>,
    updates: mpsc::UnboundedSender<Vec<Update<K>>>,
) {
    let shared = Shared { in_flight: Mutex::default(), closing: AtomicBool::new(false) };
    loop {
        let early = std::mem::take(&mut session.early);
        if !early.is_empty() && deliver(&shared, &early, &updates).is_none() {
            return;
        }
        let end = tokio::select! {
            end = send_all(&session.link, &mut commands, &shared, &updates) => end,
            end = receive_all(&session.link, &shared, &updates) => end,
        };
        if matches!(end, End::Done) {
            session.link.close().await;
            return;
        }
        let fault: Option<LinkFault> = session.link.fault();
        let mut lost: Vec<_> = shared.in_flight().drain().map(|tag| Update::Unknown { tag }).collect();
        lost.push(Update::Lost { fault });
        if updates.send(lost).is_err() {
            return;
        }
        let Some(restored) = dialler.redial(&updates).await else { return };
        session = restored;
        if updates.send(vec![Update::Restored { validator: session.validator }]).is_err() {
            return;
        }
    }
}

impl<K> Shared<K> {
    fn in_flight(&self) -> MutexGuard<'_, InFlight<K>> {
        self.in_flight.lock().expect("no code panics while it holds this lock")
    }

    /// Whether nothing more can come.
    fn done(&self) -> bool {
        self.closing.load(Ordering::Relaxed) && self.in_flight().len() == 0
    }
}

/// Sends what is submitted, several batches a frame where they are there.
async fn send_all<K>(
    link: &ClientLink,
    commands: &mut mpsc::Receiver<Batch<K>>,
    shared: &Shared<K>,
    updates: &mpsc::UnboundedSender<Vec<Update<K>>>,
) -> End {
    let mut frame = SubmitFrame::default();
    loop {
        let first = tokio::select! {
            batch = commands.recv() => batch,
            () = updates.closed() => return End::Done,
        };
        let Some(first) = first else {
            // The other half ends the session with its last answer.
            shared.closing.store(true, Ordering::Relaxed);
            return if shared.done() { End::Done } else { std::future::pending().await };
        };
        let mut next = Some(first);
        let mut full = Vec::new();
        while let Some(batch) = next {
            let mut numbered = shared.in_flight();
            for (tag, transaction) in batch {
                if !frame.fits(transaction.len()) {
                    full.extend(frame.take());
                }
                let taken = frame.push(&transaction);
                debug_assert!(taken, "its length was checked on submission");
                numbered.push(tag);
            }
            drop(numbered);
            next = if full.is_empty() { commands.try_recv().ok() } else { None };
        }
        full.extend(frame.take());
        for bytes in full {
            if link.send(bytes).await.is_err() {
                return End::Lost;
            }
        }
    }
}

/// Receives answers until the connection is lost, or nothing more can come.
async fn receive_all<K>(link: &ClientLink, shared: &Shared<K>, updates: &mpsc::UnboundedSender<Vec<Update<K>>>) -> End {
    while let Some(frame) = link.recv().await {
        let Ok(Events { events }) = Events::decode(&frame) else {
            tracing::warn!("client.undecodable_events");
            return End::Lost;
        };
        if deliver(shared, &events, updates).is_none() || shared.done() {
            return End::Done;
        }
    }
    End::Lost
}

/// Hands updates to the caller; `None` when nobody listens any more.
fn deliver<K>(shared: &Shared<K>, events: &[Event], updates: &mpsc::UnboundedSender<Vec<Update<K>>>) -> Option<()> {
    let mut numbered = shared.in_flight();
    let batch: Vec<_> = events.iter().filter_map(|event| update(&mut numbered, event)).collect();
    drop(numbered);
    if batch.is_empty() { Some(()) } else { updates.send(batch).ok() }
}

/// An event for the caller; `None` for a number that is not in flight, which an honest node does not send.
fn update<K>(in_flight: &mut InFlight<K>, event: &Event) -> Option<Update<K>> {
    let tag = in_flight.take(event.sequence()?)?;
    match *event {
        Event::Hello { .. } => None,
        Event::Receipt { height, index, outcome, .. } => Some(Update::Receipt { tag, height, index, outcome }),
        Event::Refused { reject, .. } => Some(Update::Refused { tag, reject }),
        Event::Busy { retry_after_ms, .. } => Some(Update::Busy { tag, retry_after_ms }),
    }
}
