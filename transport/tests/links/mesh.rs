//! What links do in calm weather: order, priority, back-pressure, questions and answers.

use std::time::Duration;

use bytes::Bytes;
use transport::{Class, EventLimits, MeshEvent, RequestError, SendError};

use crate::cluster::{Node, number, numbered, pair, simulate, tight};
use crate::net::{Net, Weather};

#[test]
fn four_validators_exchange_frames_in_order_within_each_class() {
    simulate(async {
        let net = Net::new(1, Weather::CALM);
        let mut nodes = Vec::new();
        for index in 0..4 {
            nodes.push(Node::start(&net, index, 4, |_| {}).await);
        }
        for node in &mut nodes {
            let mut peers = [node.up().await, node.up().await, node.up().await];
            peers.sort_unstable();
            assert_eq!(peers.len(), 3);
        }
        const FRAMES: u32 = 200;
        for node in &nodes {
            for i in 0..FRAMES {
                for class in Class::ALL {
                    let report = node.mesh.broadcast(class, numbered(i, 10 + (i as usize % 5) * 5000)).unwrap();
                    assert_eq!((report.queued, report.full, report.down), (3, 0, 0));
                }
            }
        }
        for node in &mut nodes {
            let mut next = [[0u32; 3]; 4];
            for _ in 0..FRAMES * 3 * 3 {
                let (peer, class, bytes) = node.frame().await;
                let expected = &mut next[usize::from(peer)][class as usize];
                assert_eq!(number(&bytes), *expected);
                *expected += 1;
            }
            let stats = node.mesh.stats();
            assert_eq!(stats.class(Class::Payload).received_frames, u64::from(FRAMES) * 3);
            assert_eq!(stats.handshakes_accepted, 3);
        }
    });
}

/// 1 MiB of payload at 10 Mbit/s takes 0.84 s. Half a MiB of headers, queued behind it, must not wait for it, nor share
/// the path with it.
#[test]
fn headers_overtake_a_backlog_of_payloads_and_payloads_one_of_bulk() {
    simulate(async {
        let net = Net::new(1, Weather { bits_per_second: 10e6, ..Weather::CALM });
        let (a, mut b) = pair(&net, |_| {}).await;
        for i in 0..16 {
            a.mesh.send(1, Class::Sync, numbered(i, 64 * 1024)).unwrap();
            a.mesh.send(1, Class::Payload, numbered(i, 64 * 1024)).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        for i in 0..8 {
            a.mesh.send(1, Class::Header, numbered(i, 64 * 1024)).unwrap();
        }
        let mut order = Vec::new();
        for _ in 0..40 {
            order.push(b.frame().await.1);
        }
        let before_the_last = |class: Class, of: Class| {
            let last = order.iter().rposition(|c| *c == of).unwrap();
            order[..last].iter().filter(|c| **c == class).count()
        };
        // What the network had taken in before may come first.
        assert!(before_the_last(Class::Payload, Class::Header) <= 4, "{order:?}");
        assert!(before_the_last(Class::Sync, Class::Header) <= 3, "{order:?}");
        assert!(before_the_last(Class::Sync, Class::Payload) <= 3, "{order:?}");
    });
}

#[test]
fn a_stalled_reader_makes_send_return_full_and_nothing_is_lost_when_it_wakes() {
    simulate(async {
        let net = Net::new(1, Weather::CALM);
        let lanes = EventLimits { events: 1000, bytes: 128 * 1024 };
        let mut a = Node::start(&net, 0, 2, |c| c.limits = tight()).await;
        let mut b = Node::start_with(&net, 1, 2, lanes, |c| c.limits = tight()).await;
        a.up().await;
        const FRAME: usize = 16 * 1024;
        let mut sent = 0;
        // Full for ten seconds on end: nothing moves any more.
        let mut full_for = 0;
        while full_for < 10 {
            match a.mesh.send(1, Class::Payload, numbered(sent, FRAME)) {
                Ok(()) => (sent, full_for) = (sent + 1, 0),
                Err(SendError::Full) => {
                    full_for += 1;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Err(other) => panic!("{other}"),
            }
        }
        let held = sent as usize * FRAME;
        let bound = 256 * 1024 + 2 * 64 * 1024 + 128 * 1024 + 4 * FRAME;
        assert!(held <= bound, "{held} bytes were taken in, {bound} is what the bounds add up to");
        assert!(a.mesh.peers()[0].queued_bytes <= 256 * 1024);
        assert!(a.mesh.stats().class(Class::Payload).dropped_full >= 10);
        // Headers still pass, though this lane of the process would hold them.
        a.mesh.send(1, Class::Header, numbered(1, 100)).unwrap();
        assert_eq!(b.up().await, 0);
        let (mut next, mut headers) = (0, 0);
        while next < sent {
            let (_, class, bytes) = b.frame().await;
            if class == Class::Header {
                headers += 1;
                continue;
            }
            assert_eq!(number(&bytes), next);
            next += 1;
        }
        assert_eq!(headers, 1);
        a.mesh.send(1, Class::Payload, numbered(next, FRAME)).unwrap();
        assert_eq!(number(&b.frame().await.2), next);
    });
}

#[test]
fn frames_longer_than_their_class_allows_are_not_queued() {
    simulate(async {
        let net = Net::new(1, Weather::CALM);
        let (a, _b) = pair(&net, |c| c.limits = tight()).await;
        let long = Bytes::from(vec![0; 64 * 1024 + 1]);
        assert_eq!(a.mesh.send(1, Class::Header, long.clone()), Err(SendError::TooLarge));
        assert_eq!(a.mesh.broadcast(Class::Header, long.clone()), Err(SendError::TooLarge));
        assert_eq!(a.mesh.send(9, Class::Header, Bytes::new()), Err(SendError::Down));
        assert_eq!(a.mesh.request(1, long, Duration::from_secs(1)).await, Err(RequestError::TooLarge));
    });
}

async fn next_request(node: &mut Node) -> (Bytes, transport::Reply) {
    match node.events.recv().await {
        Some(MeshEvent::Request { body, reply, .. }) => (body, reply),
        other => panic!("expected a request, got {other:?}"),
    }
}

#[test]
fn a_request_is_answered_declined_or_times_out() {
    simulate(async {
        let net = Net::new(1, Weather::CALM);
        let (a, mut b) = pair(&net, |_| {}).await;
        let limit = Duration::from_secs(5);
        let ask = |body: &'static [u8]| {
            let mesh = a.mesh.clone();
            tokio::spawn(async move { mesh.request(1, Bytes::from_static(body), limit).await })
        };

        let answered = ask(b"ping");
        let (body, reply) = next_request(&mut b).await;
        assert_eq!(&body[..], b"ping");
        let answer = Bytes::from(vec![9; 5 << 20]);
        reply.send(answer.clone()).unwrap();
        assert_eq!(answered.await.unwrap(), Ok(answer));

        let declined = ask(b"no");
        drop(next_request(&mut b).await);
        assert_eq!(declined.await.unwrap(), Err(RequestError::Declined));

        let start = tokio::time::Instant::now();
        let unanswered = ask(b"late");
        let (_, reply) = next_request(&mut b).await;
        assert_eq!(unanswered.await.unwrap(), Err(RequestError::TimedOut));
        assert_eq!(start.elapsed().as_secs(), limit.as_secs());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(reply.is_withdrawn());
        assert_eq!(reply.send(Bytes::new()), Err(SendError::Down));

        let stats = a.mesh.stats();
        assert_eq!((stats.requests_sent, stats.requests_failed), (3, 2));
        assert_eq!(b.mesh.stats().requests_received, 3);
    });
}

/// The path is slow enough that giving up falls in the middle of the body: what arrived must not pass for a request.
#[test]
fn a_request_given_up_half_way_never_reaches_the_peer() {
    simulate(async {
        let net = Net::new(1, Weather { bits_per_second: 1e6, ..Weather::CALM });
        let (a, mut b) = pair(&net, |c| c.limits.stream_window_bytes = 16 * 1024).await;
        let given_up = a.mesh.request(1, numbered(1, 60_000), Duration::from_millis(200)).await;
        assert_eq!(given_up, Err(RequestError::TimedOut));
        assert!(a.mesh.request(1, numbered(2, 60_000), Duration::from_millis(1)).await.is_err());
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(b.events.try_recv().is_none());
        assert_eq!(b.mesh.stats().requests_received, 0);
    });
}

#[test]
fn requests_beyond_the_limit_are_refused_at_once_and_room_returns() {
    simulate(async {
        let net = Net::new(1, Weather::CALM);
        let (a, mut b) = pair(&net, |c| c.limits.requests_in_flight = 2).await;
        let limit = Duration::from_secs(5);
        for _ in 0..3 {
            let open: Vec<_> = (0..2)
                .map(|_| {
                    let mesh = a.mesh.clone();
                    tokio::spawn(async move { mesh.request(1, Bytes::new(), limit).await })
                })
                .collect();
            let first = next_request(&mut b).await;
            let second = next_request(&mut b).await;
            assert_eq!(a.mesh.request(1, Bytes::new(), limit).await, Err(RequestError::Full));
            first.1.send(Bytes::from_static(b"1")).unwrap();
            second.1.send(Bytes::from_static(b"2")).unwrap();
            for request in open {
                assert!(request.await.unwrap().is_ok());
            }
        }
    });
}

/// The path carries 1,472 bytes, the limits allow 8,952.
#[test]
fn the_largest_datagram_of_a_narrow_path_is_found() {
    simulate(async {
        let net = Net::new(1, Weather::CALM);
        let (a, mut b) = pair(&net, |c| c.limits.datagrams.network_bytes_max = 8952).await;
        let round_trip = 2 * Weather::CALM.delay;
        let (start, mut sent) = (tokio::time::Instant::now(), 0);
        while a.mesh.peers()[0].datagram_bytes < 1400 {
            a.mesh.send(1, Class::Sync, numbered(sent, 20_000)).unwrap();
            assert_eq!(number(&b.frame().await.2), sent);
            sent += 1;
            assert!(start.elapsed() < 100 * round_trip, "still {} bytes", a.mesh.peers()[0].datagram_bytes);
        }
    });
}
