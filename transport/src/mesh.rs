//! The validators' mesh: one mutually authenticated QUIC connection per pair, re-established when lost, and three
//! classes of frames on it that do not delay each other.
//!
//! The lower index dials. A frame handed to [`Mesh::send`] is delivered at most once and in order within its class; what
//! was queued or under way when a link is lost is lost with it, and [`MeshEvent::Up`] is the sign to start over.
//! Deliberately absent: what frames mean, relaying, and discovery. The roster is the whole world.

mod copies;
mod events;
mod link;
mod peer;
mod request;
mod supervise;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinSet;
use types::PublicKey;

pub use self::events::{EventSink, MeshEvent, MeshEvents, event_channel};
use self::peer::Peer;
pub use self::request::Reply;
use crate::admission::Admission;
use crate::endpoint::{self, Paths, Wire};
use crate::error::{LinkFault, RequestError, SendError, TransportError};
use crate::identity::{self, IdentityKey, Trust};
use crate::limits::{ClassLimits, Congestion, MeshLimits};
use crate::stats::{Counters, TransportStats};

/// Bytes of copies that QUIC holds for a link, each way; the oldest give way.
const COPIES_WAITING_BYTES: usize = 128 * 1024;

/// What a frame is to the network. Each class has its own stream and queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Class {
    /// Block headers and votes: leaves first, whatever else waits.
    Header = 0,
    /// Payload bodies.
    Payload = 1,
    /// Bulk synchronisation: leaves when nothing else does.
    Sync = 2,
}

impl Class {
    /// All of them, in the order of their wire tags.
    pub const ALL: [Self; 3] = [Self::Header, Self::Payload, Self::Sync];

    /// A short stable name, for metric labels.
    pub fn label(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Payload => "payload",
            Self::Sync => "sync",
        }
    }

    /// QUIC stream priority; requests and answers stand at 0, beside payloads.
    fn priority(self) -> i32 {
        match self {
            Self::Header => 2,
            Self::Payload => 0,
            Self::Sync => -1,
        }
    }
}

/// A validator of the roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress {
    /// Its index in the committee.
    pub index: u16,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its transport key: Ed25519 or P-256.
    pub key: PublicKey,
}

/// What a mesh is made from.
#[derive(Debug, Clone)]
pub struct MeshConfig {
    /// Our index in the committee.
    pub me: u16,
    /// The UDP address to listen on.
    pub bind: SocketAddr,
    /// The roster; our own entry may be in it.
    pub peers: Vec<PeerAddress>,
    /// Bounds.
    pub limits: MeshLimits,
    /// Congestion controller.
    pub congestion: Congestion,
    /// A secret that stays the same over restarts of this node. With it, peers learn of a restart within a round trip
    /// (stateless reset, RFC 9000 §10.3); without it, after `limits.idle_timeout`.
    pub reset_secret: Option<[u8; 32]>,
}

impl MeshConfig {
    /// A configuration with default limits.
    pub fn new(me: u16, bind: SocketAddr, peers: Vec<PeerAddress>) -> Self {
        let limits = MeshLimits::default();
        Self { me, bind, peers, limits, congestion: Congestion::default(), reset_secret: None }
    }
}

/// What is known of a peer's link. Counters are those of the present connection, zero while down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer.
    pub index: u16,
    /// Whether a link stands.
    pub up: bool,
    /// Smoothed round-trip time, microseconds.
    pub rtt_us: u64,
    /// UDP bytes sent.
    pub sent_bytes: u64,
    /// UDP bytes received.
    pub received_bytes: u64,
    /// Frame bytes waiting in our queues.
    pub queued_bytes: u64,
    /// Packets taken for lost.
    pub lost_packets: u64,
    /// Congestion window, bytes.
    pub cwnd: u64,
    /// Largest datagram in use, bytes.
    pub datagram_bytes: u16,
    /// Why the link last went down or failed to come up.
    pub last_fault: Option<LinkFault>,
}

/// What became of a broadcast: numbers of peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Broadcast {
    /// Queued.
    pub queued: u16,
    /// Not queued: queue full.
    pub full: u16,
    /// Not queued: link down.
    pub down: u16,
}

/// A running mesh. Clones share it. It runs until [`Mesh::shutdown`] or the end of its runtime.
#[derive(Debug, Clone)]
pub struct Mesh(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    me: u16,
    limits: MeshLimits,
    endpoint: quinn::Endpoint,
    servers: Paths<Arc<quinn::ServerConfig>>,
    /// Ascending by index.
    peers: Vec<Arc<Peer>>,
    counters: Counters,
    admission: Admission,
    events: EventSink,
    closing: watch::Sender<bool>,
    tasks: tokio::sync::Mutex<JoinSet<()>>,
}

impl Mesh {
    /// Binds, and starts to dial and to accept. Must be called within a tokio runtime, on which everything then runs;
    /// `identity` signs there too, once per handshake.
    pub async fn start(
        config: MeshConfig,
        identity: Arc<dyn IdentityKey>,
        events: EventSink,
    ) -> Result<Self, TransportError> {
        let wire = Wire::Udp(config.bind);
        Self::start_on(wire, config, identity, events).await
    }

    /// [`Mesh::start`] over any wire; `config.bind` is not used.
    pub async fn start_on(
        wire: Wire,
        config: MeshConfig,
        identity: Arc<dyn IdentityKey>,
        events: EventSink,
    ) -> Result<Self, TransportError> {
        config.limits.check()?;
        let roster = roster(&config)?;
        let keys: Arc<[PublicKey]> = roster.iter().map(|p| p.key.clone()).collect();
        let quic = transport_configs(&config.limits, config.congestion);
        let mut server = quinn::ServerConfig::with_crypto(identity::server_tls(&identity, Some(keys))?);
        server
            .migration(false)
            .max_incoming(config.limits.admission.in_progress as usize * 2)
            .incoming_buffer_size(64 * 1024)
            .incoming_buffer_size_total(4 * 1024 * 1024);
        let servers = quic.map(|quic| {
            let mut server = server.clone();
            server.transport_config(quic.clone());
            Arc::new(server)
        });
        let endpoint = endpoint::open(
            wire,
            Some(server),
            config.reset_secret,
            config.limits.datagrams,
            config.limits.udp_buffer_bytes,
        )?;
        let mut incoming = Vec::new();
        let mut peers = Vec::new();
        for address in roster {
            let (sender, receiver) = tokio::sync::mpsc::channel(1);
            peers.push(Arc::new(Peer::new(address, &config.limits, sender)));
            incoming.push(receiver);
        }
        let shared = Arc::new(Shared {
            me: config.me,
            admission: Admission::new(config.limits.admission),
            limits: config.limits,
            endpoint,
            servers,
            peers,
            counters: Counters::default(),
            events,
            closing: watch::Sender::new(false),
            tasks: tokio::sync::Mutex::default(),
        });
        let mut tasks = shared.tasks.lock().await;
        for (peer, incoming) in shared.peers.iter().cloned().zip(incoming) {
            if shared.me < peer.address.index {
                let tls = identity::client_tls(Some(&identity), Trust::Pinned(Arc::new([peer.address.key.clone()])))?;
                let mut client = quinn::ClientConfig::new(tls);
                client.transport_config(quic.to(peer.address.addr).clone());
                tasks.spawn(supervise::dial(shared.clone(), peer, client));
            } else {
                tasks.spawn(supervise::await_dials(shared.clone(), peer, incoming));
            }
        }
        tasks.spawn(supervise::accept(shared.clone()));
        drop(tasks);
        Ok(Self(shared))
    }

    /// Queues a frame to one peer. Never waits.
    pub fn send(&self, peer: u16, class: Class, frame: Bytes) -> Result<(), SendError> {
        let peer = self.0.peer(peer).ok_or(SendError::Down)?;
        let done = peer.queue(class).push(frame);
        if done == Err(SendError::Full) {
            self.0.counters.dropped_full(class);
        }
        done
    }

    /// Queues a frame to every peer whose link is up; the bytes are shared, not copied. Fails only if the frame is too
    /// large for its class.
    pub fn broadcast(&self, class: Class, frame: Bytes) -> Result<Broadcast, SendError> {
        let mut result = Broadcast::default();
        for peer in &self.0.peers {
            match peer.queue(class).push(frame.clone()) {
                Ok(()) => result.queued += 1,
                Err(SendError::Full) => {
                    self.0.counters.dropped_full(class);
                    result.full += 1;
                }
                Err(SendError::Down) => result.down += 1,
                Err(SendError::TooLarge) => return Err(SendError::TooLarge),
            }
        }
        Ok(result)
    }

    /// Asks a peer and waits for its answer. Cancelling it withdraws the request.
    pub async fn request(&self, peer: u16, body: Bytes, timeout: Duration) -> Result<Bytes, RequestError> {
        let peer = self.0.peer(peer).ok_or(RequestError::Down)?;
        request::ask(&self.0, peer, body, timeout).await
    }

    /// Every peer's link, ascending by index.
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.0.peers.iter().map(|p| p.status()).collect()
    }

    /// A reading of the counters.
    pub fn stats(&self) -> TransportStats {
        self.0.counters.read()
    }

    /// The address that is listened on.
    pub fn local_addr(&self) -> Result<SocketAddr, TransportError> {
        Ok(self.0.endpoint.local_addr()?)
    }

    /// Takes leave of every peer. What is still queued is dropped. The port is free once the last clone is dropped too.
    pub async fn shutdown(&self) {
        self.0.closing.send_replace(true);
        endpoint::close(&self.0.endpoint).await;
        self.0.tasks.lock().await.shutdown().await;
    }
}

impl Shared {
    fn peer(&self, index: u16) -> Option<&Arc<Peer>> {
        let at = self.peers.binary_search_by_key(&index, |p| p.address.index).ok()?;
        self.peers.get(at)
    }

    fn class_limits(&self, class: Class) -> ClassLimits {
        class_limits(&self.limits, class)
    }

    fn closing(&self) -> bool {
        *self.closing.borrow()
    }
}

fn class_limits(limits: &MeshLimits, class: Class) -> ClassLimits {
    match class {
        Class::Header => limits.header,
        Class::Payload => limits.payload,
        Class::Sync => limits.sync,
    }
}

/// The others, ascending by index, each once.
fn roster(config: &MeshConfig) -> Result<Vec<PeerAddress>, TransportError> {
    let mut roster: Vec<_> = config.peers.iter().filter(|p| p.index != config.me).cloned().collect();
    roster.sort_by_key(|p| p.index);
    for pair in roster.windows(2) {
        if pair[0].index == pair[1].index {
            return Err(TransportError::DuplicatePeer { index: pair[0].index });
        }
    }
    let mut keys: Vec<_> = roster.iter().map(|p| (&p.key, p.index)).collect();
    keys.sort_unstable();
    for pair in keys.windows(2) {
        if pair[0].0 == pair[1].0 {
            return Err(TransportError::DuplicateKey { first: pair[0].1, second: pair[1].1 });
        }
    }
    Ok(roster)
}

fn transport_configs(limits: &MeshLimits, congestion: Congestion) -> Paths<Arc<quinn::TransportConfig>> {
    let idle = quinn::IdleTimeout::try_from(limits.idle_timeout).expect("checked to be under an hour");
    endpoint::transport_configs(limits.datagrams, congestion, limits.initial_window_bytes, |config| {
        config
            .max_concurrent_uni_streams(quinn::VarInt::from_u32(Class::ALL.len() as u32))
            .max_concurrent_bidi_streams(quinn::VarInt::from_u32(limits.requests_in_flight))
            .stream_receive_window(quinn::VarInt::from_u32(limits.stream_window_bytes))
            .receive_window(quinn::VarInt::from_u32(limits.receive_window_bytes()))
            .send_window(u64::from(limits.receive_window_bytes()))
            .max_idle_timeout(Some(idle))
            .datagram_receive_buffer_size(Some(COPIES_WAITING_BYTES))
            .datagram_send_buffer_size(COPIES_WAITING_BYTES)
            .keep_alive_interval(Some(limits.keep_alive));
    })
}
