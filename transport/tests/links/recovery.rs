//! Links that are lost and come back.

use std::time::Duration;

use transport::{Class, LinkFault, RequestError, SendError};

use crate::cluster::{Node, address, number, numbered, pair, simulate};
use crate::net::{Net, Weather};

#[test]
fn a_restarted_peer_is_linked_again_whichever_end_dials() {
    for restarted in [0u16, 1] {
        simulate(async {
            let net = Net::new(1, Weather::CALM);
            let (a, b) = pair(&net, |_| {}).await;
            let (mut stays, goes) = if restarted == 0 { (b, a) } else { (a, b) };
            goes.mesh.shutdown().await;
            assert_eq!(stays.down().await, LinkFault::PeerShutdown);
            assert_eq!(stays.mesh.send(restarted, Class::Header, numbered(0, 9)), Err(SendError::Down));
            let mut returned = Node::start(&net, restarted, 2, |_| {}).await;
            let start = tokio::time::Instant::now();
            assert_eq!(stays.up().await, restarted);
            returned.up().await;
            assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
            stays.mesh.send(restarted, Class::Header, numbered(5, 9)).unwrap();
            assert_eq!(number(&returned.frame().await.2), 5);
        });
    }
}

/// The peer dies without a farewell and is back at once: its answer to the next packet tells.
#[test]
fn a_killed_peer_is_noticed_by_its_stateless_reset_long_before_the_idle_timeout() {
    simulate(async {
        let net = Net::new(1, Weather::CALM);
        let (mut a, b) = pair(&net, |_| {}).await;
        net.cut(address(1));
        b.mesh.shutdown().await;
        drop(b);
        let mut b = Node::start(&net, 1, 2, |_| {}).await;
        net.heal(address(1));
        let start = tokio::time::Instant::now();
        a.mesh.send(1, Class::Header, numbered(1, 100)).unwrap();
        assert_eq!(a.down().await, LinkFault::PeerRestarted);
        assert_eq!(a.up().await, 1);
        assert_eq!(b.up().await, 0);
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    });
}

#[test]
fn a_dialler_that_died_replaces_its_old_connection() {
    simulate(async {
        let net = Net::new(1, Weather::CALM);
        let (a, mut b) = pair(&net, |_| {}).await;
        net.cut(address(0));
        a.mesh.shutdown().await;
        drop(a);
        net.heal(address(0));
        let mut a = Node::start(&net, 0, 2, |_| {}).await;
        a.up().await;
        assert_eq!(b.down().await, LinkFault::Replaced);
        assert_eq!(b.up().await, 0);
        b.mesh.send(0, Class::Sync, numbered(3, 10)).unwrap();
        assert_eq!(number(&a.frame().await.2), 3);
    });
}

#[test]
fn a_peer_that_falls_silent_is_down_after_the_idle_timeout() {
    simulate(async {
        let net = Net::new(1, Weather::CALM);
        let (mut a, _b) = pair(&net, |_| {}).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(a.mesh.peers()[0].up, "keep-alives hold an idle link");
        net.cut(address(1));
        let start = tokio::time::Instant::now();
        let asking = {
            let mesh = a.mesh.clone();
            tokio::spawn(async move { mesh.request(1, numbered(0, 10), Duration::from_secs(60)).await })
        };
        assert_eq!(a.down().await, LinkFault::TimedOut);
        assert!((6..=9).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        assert_eq!(asking.await.unwrap(), Err(RequestError::Down));
        assert!(!a.mesh.peers()[0].up);
    });
}

/// Frames over a bad path, a cut longer than the idle timeout, frames again. Returns what an observer can see.
fn bad_day(seed: u64) -> (Duration, (u64, u64), Vec<u32>) {
    simulate(async {
        let weather = Weather {
            delay: Duration::from_millis(40),
            jitter: Duration::from_millis(5),
            loss: 0.02,
            duplication: 0.01,
            ..Weather::CALM
        };
        let net = Net::new(seed, weather);
        let start = tokio::time::Instant::now();
        let (mut a, mut b) = pair(&net, |_| {}).await;
        let mut received = Vec::new();
        for round in 0..2 {
            for i in 0..60 {
                a.mesh.send(1, Class::Payload, numbered(round * 60 + i, 30_000)).unwrap();
            }
            for _ in 0..60 {
                received.push(number(&b.frame().await.2));
            }
            if round == 0 {
                net.cut(address(0));
                assert_eq!(a.down().await, LinkFault::TimedOut);
                assert_eq!(b.down().await, LinkFault::TimedOut);
                net.heal(address(0));
                a.up().await;
                b.up().await;
            }
        }
        (start.elapsed(), net.counts(), received)
    })
}

#[test]
fn loss_and_a_cut_are_survived_and_the_same_seed_gives_the_same_packets() {
    let first = bad_day(7);
    assert_eq!(first.2, (0..120).collect::<Vec<_>>());
    assert!(first.1.1 > 40, "the weather was bad: {:?}", first.1);
    assert_eq!(first, bad_day(7));
    assert_ne!(first.1, bad_day(8).1);
}
