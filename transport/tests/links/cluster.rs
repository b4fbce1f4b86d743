//! Validators on the in-memory network.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use transport::{
    Class, EventLimits, IdentityKey, LinkFault, Mesh, MeshConfig, MeshEvent, MeshEvents, MeshLimits, PeerAddress,
    SoftIdentity, Wire, event_channel,
};
use types::{AlgId, SecretKey};

use crate::net::Net;

/// Runs on one thread and a clock that jumps to the next thing to happen.
pub fn simulate<T>(scenario: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(3600), scenario).await.expect("an hour is ample") })
}

/// Ed25519: the length of its signatures does not hang on what TLS draws by lot, so that a seed decides every datagram.
pub fn identity(index: u16) -> Arc<dyn IdentityKey> {
    Arc::new(SoftIdentity::from_seed([index as u8 + 1; 32]))
}

/// Of a mixed committee: validators with an odd index have P-256 keys, and their signatures are DER in TLS.
pub fn mixed_identity(index: u16) -> Arc<dyn IdentityKey> {
    let alg = if index.is_multiple_of(2) { AlgId::Ed25519 } else { AlgId::EcdsaP256 };
    Arc::new(SoftIdentity::new(SecretKey::from_seed(alg, [index as u8 + 1; 32]).expect("a seed")))
}

pub fn address(index: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, index as u8 + 1], 1))
}

pub fn roster(count: u16) -> Vec<PeerAddress> {
    let peer = |index| PeerAddress { index, addr: address(index), key: identity(index).public_key() };
    (0..count).map(peer).collect()
}

pub struct Node {
    pub mesh: Mesh,
    pub events: MeshEvents,
}

impl Node {
    /// Validator `index` of a committee of `count`, with whatever `change` does to its configuration.
    pub async fn start(net: &Arc<Net>, index: u16, count: u16, change: impl FnOnce(&mut MeshConfig)) -> Self {
        Self::start_with(net, index, count, EventLimits::default(), change).await
    }

    pub async fn start_with(
        net: &Arc<Net>,
        index: u16,
        count: u16,
        lanes: EventLimits,
        change: impl FnOnce(&mut MeshConfig),
    ) -> Self {
        let mut config = MeshConfig::new(index, address(index), roster(count));
        config.reset_secret = Some([index as u8; 32]);
        change(&mut config);
        let (sink, events) = event_channel(lanes);
        let wire = Wire::Abstract(net.socket(address(index)), [index as u8; 32]);
        Self { mesh: Mesh::start_on(wire, config, identity(index), sink).await.unwrap(), events }
    }

    pub async fn up(&mut self) -> u16 {
        match self.events.recv().await {
            Some(MeshEvent::Up { peer }) => peer,
            other => panic!("expected Up, got {other:?}"),
        }
    }

    /// The reason of the next `Down`; frames before it are passed over.
    pub async fn down(&mut self) -> LinkFault {
        loop {
            match self.events.recv().await {
                Some(MeshEvent::Down { reason, .. }) => return reason,
                Some(MeshEvent::Frame { .. }) => {}
                other => panic!("expected Down, got {other:?}"),
            }
        }
    }

    pub async fn frame(&mut self) -> (u16, Class, Bytes) {
        match self.events.recv().await {
            Some(MeshEvent::Frame { peer, class, bytes }) => (peer, class, bytes),
            other => panic!("expected a frame, got {other:?}"),
        }
    }

    pub fn fault(&self) -> Option<LinkFault> {
        self.mesh.peers()[0].last_fault
    }
}

/// Two validators with a link between them.
pub async fn pair(net: &Arc<Net>, change: impl Fn(&mut MeshConfig)) -> (Node, Node) {
    let (mut a, mut b) = (Node::start(net, 0, 2, &change).await, Node::start(net, 1, 2, &change).await);
    assert_eq!((a.up().await, b.up().await), (1, 0));
    (a, b)
}

/// Limits small enough that a test can fill them.
pub fn tight() -> MeshLimits {
    let mut limits = MeshLimits { stream_window_bytes: 64 * 1024, ..MeshLimits::default() };
    for class in [&mut limits.header, &mut limits.payload, &mut limits.sync] {
        class.frame_bytes_max = 64 * 1024;
        class.queue.bytes = 256 * 1024;
        class.queue.frames = 64;
    }
    limits
}

/// A frame that begins with its number.
pub fn numbered(number: u32, length: usize) -> Bytes {
    let mut frame = vec![0xa5; length.max(4)];
    frame[..4].copy_from_slice(&number.to_le_bytes());
    frame.into()
}

pub fn number(frame: &[u8]) -> u32 {
    u32::from_le_bytes(frame[..4].try_into().unwrap())
}
