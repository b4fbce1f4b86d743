//! QUIC links with authenticated peers: framing, priorities, back-pressure.
//!
//! Two endpoints, on two ports, so that a flood of clients cannot starve consensus:
//!
//! - [`Mesh`]: the validators among each other. Both ends prove a key (Ed25519 or P-256; raw, RFC 7250) that the other
//!   has pinned. Three [`Class`]es of frames, each with its own stream, queue and priority, and requests with answers.
//! - [`ClientServer`] and [`ClientLink`]: many clients, who are not asked who they are, each with one framed stream.
//!
//! TLS 1.3 with X25519MLKEM768 first, no X.509, no session tickets, no early data, no migration. Every queue, window and
//! timer is in [`limits`]. Deliberately absent: what a frame means, and who should get it.
//!
//! ```
//! use std::sync::Arc;
//! use bytes::Bytes;
//! use transport::{ClientEvent, ClientLink, ClientServer, EventLimits, IdentityKey, SoftIdentity};
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let identity: Arc<dyn IdentityKey> = Arc::new(SoftIdentity::from_seed([7; 32]));
//! let (sink, mut events) = transport::client_event_channel(EventLimits::default());
//! let bind = "127.0.0.1:0".parse().unwrap();
//! let server = ClientServer::start(bind, identity.clone(), Default::default(), None, sink).await.unwrap();
//!
//! // The client knows the node by its key alone.
//! let node = server.local_addr().unwrap();
//! let link = ClientLink::connect(node, Some(identity.public_key())).await.unwrap();
//! link.send(Bytes::from_static(b"a batch of transactions")).await.unwrap();
//!
//! let Some(ClientEvent::Opened { session }) = events.recv().await else { panic!() };
//! let Some(ClientEvent::Batch { frame, .. }) = events.recv().await else { panic!() };
//! server.send(session, frame).unwrap();
//! assert_eq!(link.recv().await.unwrap(), "a batch of transactions");
//! # });
//! ```

mod admission;
mod clients;
mod congestion;
mod endpoint;
pub mod error;
pub mod frame;
pub mod identity;
mod lane;
pub mod limits;
pub mod mesh;
mod queue;
mod raw_key;
mod sockopt;
pub mod stats;
mod stream;

pub use clients::{
    ClientEvent, ClientEvents, ClientLink, ClientServer, ClientSink, ConnectError, SessionId, client_event_channel,
};
pub use endpoint::Wire;
pub use error::{LinkFault, RequestError, SendError, TransportError, Violation};
pub use identity::{IdentityFault, IdentityKey, SoftIdentity};
pub use limits::{
    AdmissionLimits, ClassLimits, ClientLimits, Congestion, DatagramLimits, EventLimits, MeshLimits, QueueLimits,
};
pub use mesh::{
    Broadcast, Class, EventSink, Mesh, MeshConfig, MeshEvent, MeshEvents, PeerAddress, PeerStatus, Reply, event_channel,
};
pub use stats::{Refusal, Traffic, TransportStats};
