//! A mesh of several validators in bad weather: loss, reordering, duplicates, cuts that heal. Whatever happens, frames of a
//! class arrive in order and at most once, and all of them while the link stands; and a run is a function of its seed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use transport::{Class, LinkFault, MeshEvent, SendError};

use crate::cluster::{Node, address, number, numbered, pair, simulate, tight};
use crate::net::{Net, Weather};

const NODES: u16 = 4;

const ROUGH: Weather = Weather {
    delay: Duration::from_millis(25),
    jitter: Duration::from_micros(300),
    loss: 0.01,
    duplication: 0.02,
    bits_per_second: 100e6,
    ..Weather::CALM
};

async fn mesh(net: &Arc<Net>) -> Vec<Node> {
    let mut nodes = Vec::new();
    for index in 0..NODES {
        nodes.push(Node::start(net, index, NODES, |_| {}).await);
    }
    for node in &mut nodes {
        for _ in 1..NODES {
            node.up().await;
        }
    }
    nodes
}

/// A block's header and its payload from everybody to everybody, every 20 ms. Returns the latest arrival of each class
/// after its sending, of all nodes and frames.
async fn blocks(nodes: &mut [Node], rounds: u32) -> [Duration; 3] {
    let start = Instant::now();
    let meshes: Vec<_> = nodes.iter().map(|node| node.mesh.clone()).collect();
    let sending = tokio::spawn(async move {
        for round in 0..rounds {
            tokio::time::sleep_until(start + round * Duration::from_millis(20)).await;
            for mesh in &meshes {
                assert_eq!(mesh.broadcast(Class::Payload, numbered(round, 8_000)).unwrap().queued, NODES - 1);
                assert_eq!(mesh.broadcast(Class::Header, numbered(round, 700)).unwrap().queued, NODES - 1);
                if round % 10 == 0 {
                    assert_eq!(mesh.broadcast(Class::Sync, numbered(round / 10, 40_000)).unwrap().queued, NODES - 1);
                }
            }
        }
    });
    let expected = (rounds * 2 + rounds.div_ceil(10)) * u32::from(NODES - 1);
    let mut latest = [Duration::ZERO; 3];
    for node in nodes {
        let mut next = [[0u32; 3]; NODES as usize];
        for _ in 0..expected {
            let (peer, class, bytes) = node.frame().await;
            let expected = &mut next[usize::from(peer)][class as usize];
            assert_eq!(number(&bytes), *expected, "in order and once");
            *expected += 1;
            let round = if class == Class::Sync { number(&bytes) * 10 } else { number(&bytes) };
            // Each node is read only once those before it have all: what is late then is not the network's doing.
            let sent = start + round * Duration::from_millis(20);
            latest[class as usize] = latest[class as usize].max(Instant::now() - sent);
        }
        assert!(node.events.try_recv().is_none(), "nothing arrives twice, and no link was lost");
    }
    sending.await.unwrap();
    latest
}

/// Everything that an observer can see of a run.
fn run(seed: u64, weather: Weather, rounds: u32) -> (u64, (u64, u64), Duration) {
    simulate(async {
        let net = Net::new(seed, weather);
        let mut nodes = mesh(&net).await;
        let start = Instant::now();
        blocks(&mut nodes, rounds).await;
        (net.trace(), net.counts(), start.elapsed())
    })
}

#[test]
fn at_one_percent_of_loss_everything_arrives_once_in_order_and_the_seed_decides_every_datagram() {
    let first = run(5, ROUGH, 200);
    let (sent, dropped) = first.1;
    assert!(dropped * 200 > sent && dropped * 50 < sent, "{dropped} of {sent}");
    assert!(first.2 < Duration::from_secs(5), "four seconds of blocks took {:?}", first.2);
    assert_eq!(first, run(5, ROUGH, 200), "the same seed");
    assert_ne!(first.0, run(6, ROUGH, 200).0, "another seed");
}

#[test]
fn at_ten_percent_of_loss_a_link_keeps_up_with_the_blocks() {
    let (_, (sent, dropped), took) = run(5, Weather { loss: 0.1, ..ROUGH }, 200);
    assert!(dropped * 20 > sent, "{dropped} of {sent}");
    assert!(took < Duration::from_secs(6), "four seconds of blocks took {took:?}");
}

#[test]
fn a_partition_of_five_seconds_loses_nothing_and_is_over_with_the_next_ping() {
    simulate(async {
        let net = Net::new(3, ROUGH);
        let mut nodes = mesh(&net).await;
        blocks(&mut nodes, 20).await;
        // Two against two.
        let across = [(0, 2), (0, 3), (1, 2), (1, 3)];
        let set = |cut| {
            for (a, b) in across {
                net.cut_way(address(a), address(b), cut);
                net.cut_way(address(b), address(a), cut);
            }
        };
        set(true);
        for node in &nodes {
            assert_eq!(node.mesh.broadcast(Class::Header, numbered(77, 700)).unwrap().queued, NODES - 1);
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        set(false);
        let healed = Instant::now();
        for node in &mut nodes {
            for _ in 1..NODES {
                let (_, class, bytes) = node.frame().await;
                assert_eq!((class, number(&bytes)), (Class::Header, 77));
            }
        }
        // A link that has gone quiet is pinged every two seconds.
        assert!(healed.elapsed() < Duration::from_secs(3), "{:?}", healed.elapsed());
        assert!(nodes.iter().all(|node| node.mesh.peers().iter().all(|peer| peer.up)));
    });
}

/// One way is enough: nobody can use a link whose other end hears nothing.
#[test]
fn a_one_way_cut_takes_the_link_down_at_both_ends_and_it_is_back_after_it() {
    simulate(async {
        let net = Net::new(4, Weather { loss: 0.01, ..Weather::CALM });
        let (mut a, mut b) = pair(&net, |_| {}).await;
        net.cut_way(address(0), address(1), true);
        a.mesh.send(1, Class::Header, numbered(1, 100)).unwrap();
        let faults = (a.down().await, b.down().await);
        assert_eq!(faults, (LinkFault::TimedOut, LinkFault::TimedOut));
        assert_eq!(a.mesh.send(1, Class::Header, numbered(2, 100)), Err(SendError::Down));
        net.cut_way(address(0), address(1), false);
        let healed = Instant::now();
        a.up().await;
        b.up().await;
        assert!(healed.elapsed() < Duration::from_secs(6), "{:?}", healed.elapsed());
        a.mesh.send(1, Class::Header, numbered(3, 100)).unwrap();
        assert_eq!(number(&b.frame().await.2), 3, "what was sent into the cut is gone with its link");
    });
}

/// A peer that is cut off, or reads nothing: what is held for it stays within the queues, and others feel nothing.
#[test]
fn what_waits_for_a_lost_peer_is_bounded_while_the_others_go_on() {
    simulate(async {
        let net = Net::new(9, ROUGH);
        let mut nodes = Vec::new();
        for index in 0..3 {
            nodes.push(Node::start(&net, index, 3, |config| config.limits = tight()).await);
        }
        for node in &mut nodes {
            assert_ne!(node.up().await, node.up().await);
        }
        net.cut(address(2));
        let (mut full, mut down) = (0, 0);
        for turn in 0..400u32 {
            let report = nodes[0].mesh.broadcast(Class::Payload, numbered(turn, 16 * 1024)).unwrap();
            (full, down) = (full + report.full, down + report.down);
            let held: u64 = nodes[0].mesh.peers().iter().map(|peer| peer.queued_bytes).sum();
            assert!(held <= 2 * 256 * 1024, "{held} bytes wait");
            loop {
                match nodes[1].events.recv().await {
                    Some(MeshEvent::Frame { bytes, .. }) => break assert_eq!(number(&bytes), turn),
                    Some(MeshEvent::Down { peer: 2, .. }) => {}
                    other => panic!("expected a frame, got {other:?}"),
                }
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        assert!(full > 20 && down > 20, "{full} found no room, {down} no link");
    });
}

/// How many of 500 blocks arrive more than 10 ms after the path's delay, and what was sent for that.
fn late_blocks(loss: f64, copy_bytes_per_second: u32) -> (usize, (u64, u64)) {
    simulate(async {
        let net = Net::new(2, Weather { loss, ..ROUGH });
        let (a, mut b) = pair(&net, |config| config.limits.copy_bytes_per_second = copy_bytes_per_second).await;
        // The path's losses show in its first seconds.
        let (start, between) = (Instant::now(), Duration::from_millis(20));
        let mesh = a.mesh.clone();
        tokio::spawn(async move {
            for round in 0..700 {
                tokio::time::sleep_until(start + round * between).await;
                mesh.send(1, Class::Header, numbered(round, 700)).unwrap();
                mesh.send(1, Class::Payload, numbered(round, 8_000)).unwrap();
            }
        });
        let (mut late, mut next) = (0, [0; 2]);
        for _ in 0..1400 {
            let (_, class, bytes) = b.frame().await;
            let round = number(&bytes);
            assert_eq!(round, std::mem::replace(&mut next[class as usize], round + 1), "in order and once");
            let expected = start + round * between + ROUGH.delay + Duration::from_millis(10);
            late += usize::from(round >= 200 && Instant::now() > expected);
        }
        assert!(b.events.try_recv().is_none(), "nothing arrives twice");
        (late, (a.mesh.stats().copies_sent, b.mesh.stats().copies_used))
    })
}

#[test]
fn copies_take_the_delay_out_of_loss_and_are_not_sent_without_it() {
    let (without, with) = (late_blocks(0.01, 0), late_blocks(0.01, 1 << 20));
    println!("  late frames of 1,000 at 1 % of loss: {} without copies, {} with; {:?}", without.0, with.0, with.1);
    assert!(without.0 > 100 && with.0 * 10 < without.0, "{without:?}, {with:?}");
    assert_eq!(without.1, (0, 0));
    assert!(with.1.0 > 1000 && with.1.1 > 50, "{with:?}");
    assert_eq!(late_blocks(0.0, 1 << 20), (0, (0, 0)));
    // A budget is a budget: of 435 kB a second, a quarter.
    let (some, (sent, _)) = late_blocks(0.01, 100_000);
    assert!(some < without.0 && sent < 900, "{some} late, {sent} copies");
}
