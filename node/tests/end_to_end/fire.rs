//! Under fire: four validators in network namespaces, 50 ms of round trip and 1 % of loss apart, under a load of transfers,
//! while one of them hangs, one is killed, links are cut one way and both, and all of it heals. Money is neither made nor
//! lost, no receipt disappears, no two nodes tell a different story, and the network goes on by itself.

use crate::bank::{Auditor, balances_follow_from_receipts};
use crate::check::{headers_agree, nobody_equivocated, nothing_is_missing};
use crate::load::Load;
use crate::network::{Network, Options, VALIDATORS};
use netem::Path;
use rustix::process::Signal;
use std::time::Duration;

const FAR: Path = Path {
    delay: Duration::from_millis(25),
    jitter: Duration::from_micros(200),
    loss_ppm: 10_000,
    duplication_ppm: 1_000,
    bits_per_second: 0,
    queue: Duration::ZERO,
    cut: false,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hang_a_kill_a_one_way_cut_and_a_partition_over_lossy_links_lose_nothing() {
    let Some(mut network) = Network::prepare_emulated(Options::default(), 1).await else { return };
    let links = network.links.clone().unwrap();
    links.set_all(FAR);
    network.start_signers().await;
    network.start_nodes().await;
    let load = Load::start(&network, &[0, 1, 2, 3], 25);
    let mut auditor = Auditor::start(&network);
    load.acknowledges(60).await;

    // A hung leader: alive to the kernel, dead to everybody else.
    network.nodes[1].process.as_ref().unwrap().signal(Signal::STOP);
    load.acknowledges_at(0, 60).await;
    network.nodes[1].process.as_ref().unwrap().signal(Signal::CONT);
    load.acknowledges_at(1, 20).await;

    network.nodes[2].kill();
    load.acknowledges_at(3, 40).await;
    network.nodes[2].restart().await;
    load.acknowledges_at(2, 20).await;

    // The others hear nothing of the last one, which hears them.
    for peer in 0..VALIDATORS - 1 {
        links.change(3, peer, |path| path.cut = true);
    }
    load.acknowledges_at(0, 40).await;
    for peer in 0..VALIDATORS - 1 {
        links.change(3, peer, |path| path.cut = false);
    }
    load.acknowledges_at(3, 20).await;

    // Two against two: nobody has a quorum, and what is decided on both sides is the same.
    auditor.check().await;
    links.part(&[0, 1], true);
    tokio::time::sleep(Duration::from_secs(3)).await;
    links.part(&[0, 1], false);
    for node in 0..VALIDATORS {
        load.acknowledges_at(node, 20).await;
    }

    let outcomes = load.finish().await;
    let height = headers_agree(&network).await;
    nothing_is_missing(&network, &outcomes.acknowledged).await;
    balances_follow_from_receipts(&network, &outcomes).await;
    nobody_equivocated(&network).await;
    let audits = auditor.finish().await;
    let counts = links.counts();
    println!(
        "  height {height}; {audits} audits; {} packets dropped of {}",
        counts.dropped,
        counts.dropped + counts.delivered
    );
    assert!(audits > 20 && counts.dropped > 100, "{audits} audits, {counts:?}");
}
