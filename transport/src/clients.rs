//! The endpoint of clients: the server proves its key, clients stay anonymous, one framed stream is one session.
//!
//! Everything is bounded and nobody is waited for: a client that does not read what it is sent is dropped. Deliberately
//! absent: what frames mean, and quotas by account, which need to read them.

mod link;
mod server;

use std::sync::Arc;

use bytes::Bytes;

pub use self::link::{ClientLink, ConnectError};
pub use self::server::ClientServer;
use crate::endpoint::{self, Paths};
use crate::error::LinkFault;
use crate::lane::{self, LaneReceiver, LaneSender};
use crate::limits::{ClientLimits, Congestion, EventLimits};

/// The first bytes of a session's stream from the client: protocol and version.
const PREFACE: [u8; 4] = *b"STC\x01";

/// A session, for the life of a server process; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// What clients do.
#[derive(Debug)]
pub enum ClientEvent {
    /// A session began. Always its first event.
    Opened {
        /// The session.
        session: SessionId,
    },
    /// A frame was received whole.
    Batch {
        /// The session.
        session: SessionId,
        /// Its bytes.
        frame: Bytes,
    },
    /// A session is over. Always its last event.
    Closed {
        /// The session.
        session: SessionId,
        /// Why.
        reason: LinkFault,
    },
}

/// The server's end of the event lane.
#[derive(Debug, Clone)]
pub struct ClientSink(LaneSender<ClientEvent>);

/// The process's end of the event lane.
#[derive(Debug)]
pub struct ClientEvents(LaneReceiver<ClientEvent>);

/// The lane between a client server and its process.
pub fn client_event_channel(limits: EventLimits) -> (ClientSink, ClientEvents) {
    let (sender, receiver) = lane::lane(limits);
    (ClientSink(sender), ClientEvents(receiver))
}

impl ClientSink {
    async fn deliver(&self, event: ClientEvent) {
        let bytes = if let ClientEvent::Batch { frame, .. } = &event { frame.len() } else { 0 };
        // An event that nobody listens for any more is dropped.
        let _ = self.0.send(event, bytes).await;
    }
}

impl ClientEvents {
    /// The next event; `None` once the server is gone. Safe to cancel.
    pub async fn recv(&mut self) -> Option<ClientEvent> {
        self.0.recv().await
    }

    /// The next event if one is here.
    pub fn try_recv(&mut self) -> Option<ClientEvent> {
        self.0.try_recv()
    }
}

/// The first congestion window between a node and its clients (RFC 9002 §7.2: ten datagrams).
const INITIAL_WINDOW_BYTES: u32 = 14_720;

/// The same for both ends, but that the client pings and that only it may open a stream.
fn transport_configs(limits: &ClientLimits, server: bool) -> Paths<Arc<quinn::TransportConfig>> {
    let idle = quinn::IdleTimeout::try_from(limits.idle_timeout).expect("checked to be under an hour");
    let window = quinn::VarInt::from_u32(limits.stream_window_bytes);
    endpoint::transport_configs(limits.datagrams, Congestion::Cubic, INITIAL_WINDOW_BYTES, |config| {
        config
            .max_concurrent_uni_streams(quinn::VarInt::from_u32(0))
            .max_concurrent_bidi_streams(quinn::VarInt::from_u32(u32::from(server)))
            .stream_receive_window(window)
            .receive_window(window)
            .send_window(u64::from(limits.stream_window_bytes))
            .max_idle_timeout(Some(idle))
            .keep_alive_interval((!server).then_some(limits.idle_timeout / 4));
    })
}
