//! Sessions of clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use transport::{
    ClientEvent, ClientEvents, ClientLimits, ClientLink, ClientServer, ConnectError, EventLimits, LinkFault,
    QueueLimits, Refusal, SendError, SessionId, Violation, Wire, client_event_channel,
};

use crate::cluster::{address, identity, number, numbered, simulate};
use crate::net::{Net, Weather};

fn limits() -> ClientLimits {
    ClientLimits {
        frame_bytes_max: 64 * 1024,
        queue: QueueLimits { frames: 64, bytes: 256 * 1024 },
        stream_window_bytes: 64 * 1024,
        ..ClientLimits::default()
    }
}

async fn server(net: &Arc<Net>, limits: ClientLimits, lanes: EventLimits) -> (ClientServer, ClientEvents) {
    let (sink, events) = client_event_channel(lanes);
    let wire = Wire::Abstract(net.socket(address(0)), [0; 32]);
    (ClientServer::start_on(wire, identity(0), limits, None, sink).await.unwrap(), events)
}

async fn client(net: &Arc<Net>, last: u8, limits: ClientLimits) -> Result<ClientLink, ConnectError> {
    let wire = Wire::Abstract(net.socket(SocketAddr::from(([10, 0, 1, last], 1))), [last; 32]);
    ClientLink::connect_on(wire, address(0), Some(identity(0).public_key()), limits).await
}

async fn opened(events: &mut ClientEvents) -> SessionId {
    match events.recv().await {
        Some(ClientEvent::Opened { session }) => session,
        other => panic!("expected Opened, got {other:?}"),
    }
}

#[test]
fn frames_go_both_ways_in_order_and_a_client_that_leaves_is_closed() {
    simulate(async {
        let net = Net::new(1, Weather::CALM);
        let (server, mut events) = server(&net, limits(), EventLimits::default()).await;
        let link = client(&net, 1, limits()).await.unwrap();
        let session = opened(&mut events).await;
        for i in 0..50 {
            link.send(numbered(i, 600)).await.unwrap();
        }
        for i in 0..50 {
            let Some(ClientEvent::Batch { session: from, frame }) = events.recv().await else { panic!("a batch") };
            assert_eq!((from, number(&frame), frame.len()), (session, i, 600));
            server.send(session, frame).unwrap();
        }
        for i in 0..50 {
            assert_eq!(number(&link.recv().await.unwrap()), i);
        }
        assert_eq!(link.server_key(), &identity(0).public_key());
        link.close().await;
        let Some(ClientEvent::Closed { reason, .. }) = events.recv().await else { panic!("closed") };
        assert_eq!(reason, LinkFault::PeerShutdown);
        assert_eq!(server.send(session, Bytes::new()), Err(SendError::Down));
        assert_eq!(server.sessions(), 0);
    });
}

#[test]
fn a_slow_client_is_dropped_and_another_is_not_disturbed() {
    simulate(async {
        let net = Net::new(1, Weather::CALM);
        let (server, mut events) = server(&net, limits(), EventLimits::default()).await;
        let slow = client(&net, 1, limits()).await.unwrap();
        let slow_session = opened(&mut events).await;
        let quick = client(&net, 2, limits()).await.unwrap();
        let quick_session = opened(&mut events).await;
        let mut queued = 0;
        let refused = loop {
            match server.send(slow_session, numbered(queued, 16 * 1024)) {
                Ok(()) => queued += 1,
                Err(error) => break error,
            }
            server.send(quick_session, numbered(queued, 16)).unwrap();
            assert_eq!(number(&quick.recv().await.unwrap()), queued);
        };
        assert_eq!(refused, SendError::Full);
        assert!(queued as usize * 16 * 1024 <= 256 * 1024 + 3 * 64 * 1024, "{queued} frames were held for it");
        assert_eq!(server.send(slow_session, Bytes::new()), Err(SendError::Down));
        let Some(ClientEvent::Closed { session, reason }) = events.recv().await else { panic!("closed") };
        assert_eq!((session, reason), (slow_session, LinkFault::TooSlow));
        assert_eq!(server.stats().slow_dropped, 1);
        while slow.recv().await.is_some() {}
        assert_eq!(slow.fault(), Some(LinkFault::TooSlow));
        server.send(quick_session, numbered(1, 16)).unwrap();
        assert!(quick.recv().await.is_some());
    });
}

#[test]
fn a_client_is_held_back_while_the_node_does_not_listen() {
    simulate(async {
        let net = Net::new(1, Weather::CALM);
        let lanes = EventLimits { events: 1000, bytes: 64 * 1024 };
        let (_server, mut events) = server(&net, limits(), lanes).await;
        let link = client(&net, 1, limits()).await.unwrap();
        let mut sent = 0;
        while tokio::time::timeout(Duration::from_secs(10), link.send(numbered(sent, 16 * 1024))).await.is_ok() {
            sent += 1;
            assert!(sent < 1000, "nothing holds the client back");
        }
        assert!(link.queued_bytes() <= 256 * 1024);
        // The queue, the window at both ends, the lane, and what is in hand in between.
        let bound = (256 + 2 * 64 + 64 + 4 * 16) * 1024;
        assert!(sent as usize * 16 * 1024 <= bound, "{sent} frames were taken in");
        opened(&mut events).await;
        for i in 0..sent {
            let Some(ClientEvent::Batch { frame, .. }) = events.recv().await else { panic!("a batch") };
            assert_eq!(number(&frame), i);
        }
        link.send(numbered(sent, 16)).await.unwrap();
    });
}

#[test]
fn an_oversize_frame_ends_the_session() {
    simulate(async {
        let net = Net::new(1, Weather::CALM);
        let (server, mut events) = server(&net, limits(), EventLimits::default()).await;
        let link = client(&net, 1, ClientLimits::default()).await.unwrap();
        opened(&mut events).await;
        link.send(Bytes::from(vec![0; 64 * 1024 + 1])).await.unwrap();
        let Some(ClientEvent::Closed { reason, .. }) = events.recv().await else { panic!("closed") };
        assert_eq!(reason, LinkFault::PeerMisbehaved(Violation::OversizeFrame));
        assert!(link.recv().await.is_none());
        assert_eq!(link.fault(), Some(LinkFault::CutOff(Violation::OversizeFrame)));
        assert_eq!(server.stats().violation(Violation::OversizeFrame), 1);
        assert_eq!(link.send(Bytes::new()).await, Err(SendError::Down));
    });
}

#[test]
fn a_server_with_another_key_is_not_talked_to() {
    simulate(async {
        let net = Net::new(1, Weather::CALM);
        let (server, _events) = server(&net, limits(), EventLimits::default()).await;
        let wire = Wire::Abstract(net.socket(SocketAddr::from(([10, 0, 1, 1], 1))), [1; 32]);
        let wrong = Some(identity(5).public_key());
        let refused = ClientLink::connect_on(wire, address(0), wrong, limits()).await.unwrap_err();
        let ConnectError::Link { fault, .. } = refused else { panic!("{refused}") };
        assert_eq!(fault, LinkFault::KeyRefused { by_peer: false });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(server.stats().refused(Refusal::KeyByPeer), 1);
        let wire = Wire::Abstract(net.socket(SocketAddr::from(([10, 0, 1, 2], 1))), [2; 32]);
        let trusting = ClientLink::connect_on(wire, address(0), None, limits()).await.unwrap();
        assert_eq!(trusting.server_key(), &identity(0).public_key());
    });
}

#[test]
fn sessions_beyond_the_limit_are_refused_and_a_leaver_makes_room() {
    simulate(async {
        let net = Net::new(1, Weather::CALM);
        let one = ClientLimits { sessions: 1, ..limits() };
        let (server, mut events) = server(&net, one, EventLimits::default()).await;
        let first = client(&net, 1, limits()).await.unwrap();
        let session = opened(&mut events).await;
        let ConnectError::Link { fault, .. } = client(&net, 2, limits()).await.unwrap_err() else {
            panic!("a link fault")
        };
        assert_eq!(fault, LinkFault::Busy);
        assert_eq!(server.stats().refused(Refusal::Busy), 1);
        server.close(session);
        assert!(first.recv().await.is_none());
        assert!(matches!(events.recv().await, Some(ClientEvent::Closed { .. })));
        assert!(client(&net, 3, limits()).await.is_ok());
    });
}

#[test]
fn one_address_cannot_take_every_place() {
    simulate(async {
        let net = Net::new(1, Weather::CALM);
        let bounded = ClientLimits { sessions_per_address: 1, ..limits() };
        let (_server, mut events) = server(&net, bounded, EventLimits::default()).await;
        let _first = client(&net, 1, limits()).await.unwrap();
        opened(&mut events).await;
        let wire = Wire::Abstract(net.socket(SocketAddr::from(([10, 0, 1, 1], 2))), [9; 32]);
        assert!(ClientLink::connect_on(wire, address(0), None, limits()).await.is_err());
        assert!(client(&net, 2, limits()).await.is_ok());
    });
}
