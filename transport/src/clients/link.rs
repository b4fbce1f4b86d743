//! The client's side: one session with one node.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use types::PublicKey;

use crate::clients::{PREFACE, transport_configs};
use crate::endpoint::{self, Wire};
use crate::error::{LinkFault, SendError, TransportError, code};
use crate::identity::{self, Trust};
use crate::limits::ClientLimits;
use crate::queue::SendQueue;
use crate::stream::{self, FrameReader};

/// A session with a node. Its methods take `&self`: one task may send while another receives.
#[derive(Debug)]
pub struct ClientLink {
    endpoint: quinn::Endpoint,
    connection: quinn::Connection,
    server_key: PublicKey,
    queue: Arc<SendQueue>,
    writer: JoinHandle<()>,
    // A lock because `recv` takes `&self`; only receivers wait for it.
    incoming: Mutex<Incoming>,
}

#[derive(Debug)]
struct Incoming {
    reader: FrameReader,
    parsed: Vec<Bytes>,
    ready: VecDeque<Bytes>,
}

/// A session could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Our side could not start.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The node was not reached, or one of the two sides refused.
    #[error("no session with {addr}: {fault}")]
    Link {
        /// Whom we called.
        addr: SocketAddr,
        /// What happened.
        fault: LinkFault,
    },
}

impl ClientLink {
    /// Opens a session with the node at `addr`. With `server_key` nobody else is accepted there; without, whoever answers
    /// is, and [`ClientLink::server_key`] tells who it was.
    pub async fn connect(addr: SocketAddr, server_key: Option<PublicKey>) -> Result<Self, ConnectError> {
        let bind = match addr {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        Self::connect_on(Wire::Udp(bind), addr, server_key, ClientLimits::default()).await
    }

    /// [`ClientLink::connect`] over any wire and with other limits.
    pub async fn connect_on(
        wire: Wire,
        addr: SocketAddr,
        server_key: Option<PublicKey>,
        limits: ClientLimits,
    ) -> Result<Self, ConnectError> {
        limits.check()?;
        let trust = server_key.map_or(Trust::Any, |key| Trust::Pinned(Arc::new([key])));
        let mut config = quinn::ClientConfig::new(identity::client_tls(None, trust)?);
        config.transport_config(transport_configs(&limits, false).to(addr).clone());
        let endpoint = endpoint::open(wire, None, None, limits.datagrams, limits.udp_buffer_bytes)?;
        let failed = |fault| ConnectError::Link { addr, fault };
        let opening = async {
            let connecting = endpoint.connect_with(config, addr, "node.stele").map_err(|_| LinkFault::BadAddress)?;
            let connection = connecting.await.map_err(|e| LinkFault::from(&e))?;
            let (mut send, recv) = connection.open_bi().await.map_err(|e| LinkFault::from(&e))?;
            send.write_all(&PREFACE).await.map_err(|e| stream::write_fault(&e))?;
            Ok((connection, send, recv))
        };
        let (connection, mut send, recv) =
            timeout(limits.admission.timeout, opening).await.unwrap_or(Err(LinkFault::TimedOut)).map_err(failed)?;
        let server_key = identity::remote_key(&connection).ok_or(failed(LinkFault::KeyRefused { by_peer: false }))?;
        let queue = Arc::new(SendQueue::new(limits.frame_bytes_max, limits.queue));
        queue.open();
        let outgoing = queue.clone();
        let writer = tokio::spawn(async move {
            let _ = stream::write_frames(&outgoing, &mut send, |_| {}, |_, _| {}).await;
            outgoing.close();
        });
        let reader = FrameReader::new(recv, limits.frame_bytes_max, limits.frame_stall);
        let incoming = Mutex::new(Incoming { reader, parsed: Vec::new(), ready: VecDeque::new() });
        Ok(Self { endpoint, connection, server_key, queue, writer, incoming })
    }

    /// Sends a frame, waiting while the node holds us back. Frames of several callers leave in the order of their calls.
    pub async fn send(&self, frame: Bytes) -> Result<(), SendError> {
        self.queue.push_wait(frame).await
    }

    /// Queues a frame if there is room.
    pub fn try_send(&self, frame: Bytes) -> Result<(), SendError> {
        self.queue.push(frame)
    }

    /// The next frame from the node; `None` once the session is over. Safe to cancel.
    pub async fn recv(&self) -> Option<Bytes> {
        let mut guard = self.incoming.lock().await;
        let incoming = &mut *guard;
        loop {
            if let Some(frame) = incoming.ready.pop_front() {
                return Some(frame);
            }
            match incoming.reader.read(&mut incoming.parsed).await {
                Ok(true) => incoming.ready.extend(incoming.parsed.drain(..)),
                Ok(false) => return None,
                Err(LinkFault::PeerMisbehaved(violation)) => {
                    self.connection.close(code::violation(violation), violation.label().as_bytes());
                    return None;
                }
                Err(_) => return None,
            }
        }
    }

    /// The key that the node has proved to hold.
    pub fn server_key(&self) -> &PublicKey {
        &self.server_key
    }

    /// Why the session is over, once it is.
    pub fn fault(&self) -> Option<LinkFault> {
        self.connection.close_reason().as_ref().map(LinkFault::from)
    }

    /// Bytes that wait to be sent.
    pub fn queued_bytes(&self) -> usize {
        self.queue.bytes()
    }

    /// Smoothed round-trip time, microseconds.
    pub fn rtt_us(&self) -> u64 {
        u64::try_from(self.connection.rtt().as_micros()).unwrap_or(u64::MAX)
    }

    /// Ends the session and waits until the node has been told. What is still queued is lost.
    pub async fn close(self) {
        endpoint::close(&self.endpoint).await;
    }
}

impl Drop for ClientLink {
    fn drop(&mut self) {
        self.queue.close();
        self.writer.abort();
        self.connection.close(code::SHUTDOWN, b"");
    }
}
