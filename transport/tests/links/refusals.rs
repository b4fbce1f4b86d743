//! Those who do not belong, and those who do and break the rules.

use std::time::Duration;

use transport::{Class, LinkFault, MeshConfig, MeshLimits, PeerAddress, Refusal, TransportError, Violation};

use crate::cluster::{Node, address, identity, numbered, roster, simulate, tight};
use crate::net::{Net, Weather};

/// Long enough for several attempts.
async fn a_while() {
    tokio::time::sleep(Duration::from_secs(5)).await;
}

#[test]
fn a_peer_outside_the_roster_is_refused_and_both_sides_say_so() {
    simulate(async {
        let net = Net::new(1, Weather::CALM);
        let stranger = Node::start(&net, 0, 2, |_| {}).await;
        let mut member = Node::start(&net, 1, 2, |c| c.peers[0].key = identity(9).public_key()).await;
        a_while().await;
        assert_eq!(stranger.fault(), Some(LinkFault::KeyRefused { by_peer: true }));
        assert!(stranger.mesh.stats().refused(Refusal::KeyByPeer) > 0);
        assert!(member.mesh.stats().refused(Refusal::Key) > 0);
        assert!(member.events.try_recv().is_none());
        assert!(!stranger.mesh.peers()[0].up && !member.mesh.peers()[0].up);
        assert_eq!(member.mesh.stats().handshakes_accepted + stranger.mesh.stats().handshakes_accepted, 0);
    });
}

#[test]
fn a_peer_with_the_wrong_key_is_refused_and_both_sides_say_so() {
    simulate(async {
        let net = Net::new(1, Weather::CALM);
        let mut member = Node::start(&net, 0, 2, |c| c.peers[1].key = identity(9).public_key()).await;
        let impostor = Node::start(&net, 1, 2, |_| {}).await;
        a_while().await;
        assert_eq!(member.fault(), Some(LinkFault::KeyRefused { by_peer: false }));
        assert!(member.mesh.stats().refused(Refusal::Key) > 0);
        assert!(impostor.mesh.stats().refused(Refusal::KeyByPeer) > 0);
        assert!(member.events.try_recv().is_none());
    });
}

#[test]
fn an_oversize_frame_cuts_the_connection_and_is_counted() {
    simulate(async {
        let net = Net::new(1, Weather::CALM);
        let mut lax = Node::start(&net, 0, 2, |_| {}).await;
        let mut strict = Node::start(&net, 1, 2, |c| c.limits = tight()).await;
        assert_eq!((lax.up().await, strict.up().await), (1, 0));
        lax.mesh.send(1, Class::Header, numbered(0, 64 * 1024 + 1)).unwrap();
        assert_eq!(strict.down().await, LinkFault::PeerMisbehaved(Violation::OversizeFrame));
        assert_eq!(lax.down().await, LinkFault::CutOff(Violation::OversizeFrame));
        assert_eq!(strict.mesh.stats().violation(Violation::OversizeFrame), 1);
        // It may come back, after a pause.
        let start = tokio::time::Instant::now();
        strict.up().await;
        assert!(start.elapsed() >= MeshLimits::default().reconnect.1 / 2);
    });
}

#[test]
fn an_oversize_request_cuts_the_connection_and_is_counted() {
    simulate(async {
        let net = Net::new(1, Weather::CALM);
        let mut lax = Node::start(&net, 0, 2, |_| {}).await;
        let mut strict = Node::start(&net, 1, 2, |c| c.limits.request_bytes_max = 100).await;
        assert_eq!((lax.up().await, strict.up().await), (1, 0));
        let answer = lax.mesh.request(1, numbered(0, 101), Duration::from_secs(5)).await;
        assert!(answer.is_err(), "{answer:?}");
        assert_eq!(strict.down().await, LinkFault::PeerMisbehaved(Violation::OversizeRequest));
        assert_eq!(strict.mesh.stats().violation(Violation::OversizeRequest), 1);
    });
}

/// 64 KiB of a frame arrive, then the path dies in one direction of the application: the rest never comes.
#[test]
fn a_frame_that_stalls_cuts_the_connection() {
    simulate(async {
        // 100 kbit/s: one frame of 64 KiB takes five seconds, and headers starve it.
        let weather = Weather { bits_per_second: 100e3, ..Weather::CALM };
        let net = Net::new(1, weather);
        let mut sender = Node::start(&net, 0, 2, |_| {}).await;
        let mut receiver = Node::start(&net, 1, 2, |c| c.limits.frame_stall = Duration::from_secs(1)).await;
        assert_eq!((sender.up().await, receiver.up().await), (1, 0));
        sender.mesh.send(1, Class::Payload, numbered(0, 256 * 1024)).unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        for i in 0..40 {
            sender.mesh.send(1, Class::Header, numbered(i, 64 * 1024)).unwrap();
        }
        assert_eq!(receiver.down().await, LinkFault::PeerMisbehaved(Violation::FrameStalled));
        assert_eq!(receiver.mesh.stats().violation(Violation::FrameStalled), 1);
    });
}

#[test]
fn the_wrong_end_dialling_is_told_so() {
    simulate(async {
        let net = Net::new(1, Weather::CALM);
        // Validator 1 believes that it is validator 0 and that its peer is 1, so that both dial.
        let confused = |c: &mut MeshConfig| {
            c.me = 0;
            c.peers = vec![PeerAddress { index: 1, addr: address(0), key: identity(0).public_key() }];
        };
        let _other = Node::start(&net, 0, 2, |_| {}).await;
        let confused = Node::start(&net, 1, 2, confused).await;
        a_while().await;
        let told = confused.fault();
        assert_eq!(told, Some(LinkFault::CutOff(Violation::WrongDirection)));
    });
}

#[test]
fn a_roster_with_a_doubled_index_or_key_is_refused() {
    simulate(async {
        let net = Net::new(1, Weather::CALM);
        let start = |peers: Vec<PeerAddress>| {
            let (sink, _events) = transport::event_channel(transport::EventLimits::default());
            let wire = transport::Wire::Abstract(net.socket(address(0)), [0; 32]);
            transport::Mesh::start_on(wire, MeshConfig::new(0, address(0), peers), identity(0), sink)
        };
        let mut doubled = roster(3);
        doubled[2].index = 1;
        assert!(matches!(start(doubled).await, Err(TransportError::DuplicatePeer { index: 1 })));
        let mut doubled = roster(3);
        doubled[2].key = doubled[1].key.clone();
        assert!(matches!(start(doubled).await, Err(TransportError::DuplicateKey { first: 1, second: 2 })));
        let mut config = MeshConfig::new(0, address(0), roster(2));
        config.limits.keep_alive = config.limits.idle_timeout;
        let (sink, _events) = transport::event_channel(transport::EventLimits::default());
        let refused = transport::Mesh::start(config, identity(0), sink).await;
        assert!(matches!(refused, Err(TransportError::Limit { name: "keep_alive" })));
    });
}
