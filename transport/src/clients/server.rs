//! The node's side: accepts sessions, reads their frames, writes answers, drops the slow.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::admission::{Admission, Verdict};
use crate::clients::{ClientEvent, ClientSink, PREFACE, SessionId, transport_configs};
use crate::endpoint::{self, Paths, Wire};
use crate::error::{LinkFault, SendError, TransportError, Violation, code};
use crate::identity::{self, IdentityKey};
use crate::limits::ClientLimits;
use crate::mesh::Class;
use crate::queue::SendQueue;
use crate::stats::{Counters, Refusal, TransportStats, bump};
use crate::stream::{self, FrameReader};

/// A running endpoint for clients. Clones share it. It runs until [`ClientServer::shutdown`] or the end of its runtime.
#[derive(Debug, Clone)]
pub struct ClientServer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    endpoint: quinn::Endpoint,
    servers: Paths<Arc<quinn::ServerConfig>>,
    limits: ClientLimits,
    counters: Counters,
    admission: Admission,
    events: ClientSink,
    vacancies: Arc<Semaphore>,
    next: AtomicU64,
    // Held for a look-up, an insertion or a removal; never across an await.
    sessions: Mutex<HashMap<SessionId, Arc<Session>>>,
}

#[derive(Debug)]
struct Session {
    queue: SendQueue,
    connection: quinn::Connection,
    too_slow: AtomicBool,
}

impl ClientServer {
    /// Binds and starts to accept. Must be called within a tokio runtime, on which everything then runs; `identity`
    /// signs there too, once per handshake. A `reset_secret` that is the same after a restart lets clients learn of it at
    /// once (stateless reset, RFC 9000 §10.3); without it, after `limits.idle_timeout`.
    pub async fn start(
        bind: SocketAddr,
        identity: Arc<dyn IdentityKey>,
        limits: ClientLimits,
        reset_secret: Option<[u8; 32]>,
        events: ClientSink,
    ) -> Result<Self, TransportError> {
        Self::start_on(Wire::Udp(bind), identity, limits, reset_secret, events).await
    }

    /// [`ClientServer::start`] over any wire.
    pub async fn start_on(
        wire: Wire,
        identity: Arc<dyn IdentityKey>,
        limits: ClientLimits,
        reset_secret: Option<[u8; 32]>,
        events: ClientSink,
    ) -> Result<Self, TransportError> {
        limits.check()?;
        let mut server = quinn::ServerConfig::with_crypto(identity::server_tls(&identity, None)?);
        server
            .migration(true)
            .max_incoming(limits.admission.in_progress as usize * 2)
            .incoming_buffer_size(16 * 1024)
            .incoming_buffer_size_total(8 * 1024 * 1024);
        let servers = transport_configs(&limits, true).map(|quic| {
            let mut server = server.clone();
            server.transport_config(quic.clone());
            Arc::new(server)
        });
        let endpoint = endpoint::open(wire, Some(server), reset_secret, limits.datagrams, limits.udp_buffer_bytes)?;
        let shared = Arc::new(Shared {
            endpoint,
            servers,
            admission: Admission::new(limits.admission),
            vacancies: Arc::new(Semaphore::new(limits.sessions as usize)),
            limits,
            counters: Counters::default(),
            events,
            next: AtomicU64::new(1),
            sessions: Mutex::default(),
        });
        tokio::spawn(accept(shared.clone()));
        Ok(Self(shared))
    }

    /// Queues a frame to a session. Never waits. `Full` means that the client reads too slowly and has been dropped.
    pub fn send(&self, session: SessionId, frame: Bytes) -> Result<(), SendError> {
        let found = self.0.sessions().get(&session).cloned().ok_or(SendError::Down)?;
        let done = found.queue.push(frame);
        if done == Err(SendError::Full) && !found.too_slow.swap(true, Ordering::Relaxed) {
            self.0.counters.dropped_full(Class::Payload);
            bump(&self.0.counters.slow_dropped);
            self.0.sessions().remove(&session);
            found.connection.close(code::TOO_SLOW, b"too slow");
            found.queue.close();
        }
        done
    }

    /// Ends a session; what is queued for it is lost.
    pub fn close(&self, session: SessionId) {
        if let Some(session) = self.0.sessions().remove(&session) {
            session.connection.close(code::SHUTDOWN, b"");
        }
    }

    /// Open sessions.
    pub fn sessions(&self) -> usize {
        self.0.sessions().len()
    }

    /// Where a session comes from.
    pub fn address(&self, session: SessionId) -> Option<SocketAddr> {
        Some(self.0.sessions().get(&session)?.connection.remote_address())
    }

    /// A reading of the counters.
    pub fn stats(&self) -> TransportStats {
        self.0.counters.read()
    }

    /// The address that is listened on.
    pub fn local_addr(&self) -> Result<SocketAddr, TransportError> {
        Ok(self.0.endpoint.local_addr()?)
    }

    /// Ends every session. The port is free once the last clone is dropped too.
    pub async fn shutdown(&self) {
        endpoint::close(&self.0.endpoint).await;
    }
}

impl Shared {
    /// Counted anew for each handshake, which costs far more itself.
    fn has_room_for(&self, address: IpAddr) -> bool {
        let from_there = |s: &&Arc<Session>| s.connection.remote_address().ip() == address;
        self.sessions().values().filter(from_there).count() < self.limits.sessions_per_address as usize
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Session>>> {
        self.sessions.lock().expect("no code panics while it holds this lock")
    }
}

async fn accept(shared: Arc<Shared>) {
    while let Some(incoming) = shared.endpoint.accept().await {
        let proven = incoming.remote_address_validated();
        match shared.admission.judge(incoming.remote_address().ip(), proven, Instant::now()) {
            Verdict::Admit(permit) => {
                let place = shared.vacancies.clone().try_acquire_owned().ok();
                let address = incoming.remote_address().ip();
                let Some(place) = place.filter(|_| shared.has_room_for(address)) else {
                    shared.counters.refused(Refusal::Busy);
                    incoming.refuse();
                    continue;
                };
                let shared = shared.clone();
                tokio::spawn(async move {
                    let opened = timeout(shared.limits.admission.timeout, open(&shared, incoming)).await;
                    drop(permit);
                    match opened.unwrap_or(Err(LinkFault::TimedOut)) {
                        Ok((connection, send, recv)) => serve(&shared, connection, send, recv).await,
                        Err(fault) => shared.counters.refused(fault.into()),
                    }
                    drop(place);
                });
            }
            Verdict::Retry => {
                bump(&shared.counters.retried);
                let _ = incoming.retry();
            }
            Verdict::Refuse(refusal) => {
                shared.counters.refused(refusal);
                incoming.refuse();
            }
        }
    }
}

/// The handshake, up to the preface of the session's stream.
async fn open(
    shared: &Shared,
    incoming: quinn::Incoming,
) -> Result<(quinn::Connection, quinn::SendStream, quinn::RecvStream), LinkFault> {
    let config = shared.servers.to(incoming.remote_address()).clone();
    let connecting = incoming.accept_with(config).map_err(|e| LinkFault::from(&e))?;
    let connection = connecting.await.map_err(|e| LinkFault::from(&e))?;
    let (send, mut recv) = connection.accept_bi().await.map_err(|e| LinkFault::from(&e))?;
    let preface = stream::read_preface(&mut recv, shared.limits.frame_stall).await?;
    if preface != PREFACE {
        connection.close(code::violation(Violation::UnexpectedStream), b"preface");
        return Err(Violation::UnexpectedStream.into());
    }
    Ok((connection, send, recv))
}

/// One session from `Opened` to `Closed`.
async fn serve(shared: &Shared, connection: quinn::Connection, mut send: quinn::SendStream, recv: quinn::RecvStream) {
    bump(&shared.counters.accepted);
    let id = SessionId(shared.next.fetch_add(1, Ordering::Relaxed));
    let queue = SendQueue::new(shared.limits.frame_bytes_max, shared.limits.queue);
    queue.open();
    let session = Arc::new(Session { queue, connection, too_slow: AtomicBool::new(false) });
    shared.sessions().insert(id, session.clone());
    shared.events.deliver(ClientEvent::Opened { session: id }).await;

    let written = |frames, bytes| shared.counters.sent(Class::Payload, frames, bytes);
    let ended = tokio::select! {
        biased;
        ended = read(shared, id, recv) => ended,
        ended = stream::write_frames(&session.queue, &mut send, |_| {}, written) => ended,
    };
    let reason = match ended {
        _ if session.too_slow.load(Ordering::Relaxed) => LinkFault::TooSlow,
        Ok(()) => LinkFault::PeerShutdown,
        // A client may leave by ending its stream or its process as it likes.
        Err(LinkFault::PeerMisbehaved(Violation::StreamEnded)) => LinkFault::PeerShutdown,
        Err(fault) => fault,
    };
    match reason {
        LinkFault::PeerMisbehaved(violation) => {
            shared.counters.violated(violation);
            session.connection.close(code::violation(violation), violation.label().as_bytes());
        }
        _ => session.connection.close(code::SHUTDOWN, b""),
    }
    session.queue.close();
    shared.sessions().remove(&id);
    shared.events.deliver(ClientEvent::Closed { session: id, reason }).await;
}

async fn read(shared: &Shared, session: SessionId, recv: quinn::RecvStream) -> Result<(), LinkFault> {
    let mut reader = FrameReader::new(recv, shared.limits.frame_bytes_max, shared.limits.frame_stall);
    let mut frames = Vec::new();
    while reader.read(&mut frames).await? {
        shared.counters.received(Class::Payload, frames.len(), frames.iter().map(Bytes::len).sum());
        for frame in frames.drain(..) {
            shared.events.deliver(ClientEvent::Batch { session, frame }).await;
        }
    }
    Ok(())
}
