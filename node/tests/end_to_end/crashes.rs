//! Processes that die: by `kill -9`, one or all, at random moments, and by request. Nothing acknowledged is ever lost.

use crate::check::{PATIENCE, headers_agree, nobody_equivocated, nothing_is_missing, until};
use crate::load::Load;
use crate::network::{ACCOUNTS, Network, Options, address};
use bytes::Bytes;
use client::Update;
use rustix::process::Signal;
use std::time::Duration;
use types::{Amount, Hasher};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_killed_under_load_rejoins_and_agrees() {
    let mut network = Network::start(Options::default()).await;
    let load = Load::start(&network, &[0, 1, 2, 3], 50);
    load.acknowledges(100).await;
    network.nodes[3].kill();
    // The others go on.
    for node in 0..3 {
        load.acknowledges_at(node, 30).await;
    }
    network.nodes[3].restart().await;
    load.acknowledges_at(3, 30).await;
    let outcomes = load.finish().await;
    headers_agree(&network).await;
    nothing_is_missing(&network, &outcomes.acknowledged).await;
    nobody_equivocated(&network).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_four_killed_at_once_at_random_moments_lose_nothing_acknowledged() {
    let rounds = if std::env::var_os("STELE_TORTURE").is_some() { 200 } else { 20 };
    let mut network = Network::start(Options::default()).await;
    let load = Load::start(&network, &[0, 1, 2, 3], 40);
    for round in 0..rounds {
        // The chain goes on: something submitted after the restart is acknowledged.
        load.acknowledges(8).await;
        let moment = Hasher::new("stele/test/moment").with_encoded(&u64::from(round as u32)).finish();
        tokio::time::sleep(Duration::from_millis(u64::from(moment.as_bytes()[0]) * 2)).await;
        for node in &network.nodes {
            node.process.as_ref().unwrap().signal(Signal::KILL);
        }
        network.nodes.iter_mut().for_each(crate::network::Node::kill);
        network.start_nodes().await;
    }
    load.acknowledges(8).await;
    let starts: Vec<_> = network.nodes.iter().map(|node| node.logged("node started", "start_ms")).collect();
    let outcomes = load.finish().await;
    let height = headers_agree(&network).await;
    println!("  {rounds} times, up to height {height}; the last start took {starts:?} ms");
    nothing_is_missing(&network, &outcomes.acknowledged).await;
    nobody_equivocated(&network).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_asked_to_stop_finishes_and_has_next_to_nothing_to_replay() {
    let mut network = Network::start(Options::default()).await;
    let load = Load::start(&network, &[0, 1, 2, 3], 50);
    load.acknowledges(100).await;
    let node = network.nodes[1].process.take().unwrap();
    assert_eq!(node.children(), Vec::<String>::new());
    let status = node.terminate();
    assert_eq!(status.code(), Some(0), "{status}");
    load.acknowledges_at(0, 20).await;
    network.nodes[1].restart().await;
    // What was ordered and on its way to execution when it stopped, and nothing that was executed.
    let (height, replaying) =
        (network.nodes[1].logged("recovered", "height"), network.nodes[1].logged("recovered", "replaying"));
    println!("  height {height}, {replaying} commits to replay");
    assert!(height > 0 && replaying <= 8, "height {height}, {replaying} to replay");
    load.acknowledges_at(1, 20).await;

    // All at once, in the middle of it; signers too.
    for node in &network.nodes {
        node.process.as_ref().unwrap().signal(Signal::TERM);
    }
    for node in &mut network.nodes {
        assert_eq!(node.process.take().unwrap().wait().code(), Some(0));
        assert_eq!(node.signer.take().unwrap().terminate().code(), Some(0));
    }
    network.start_signers().await;
    network.start_nodes().await;
    load.acknowledges(20).await;
    let outcomes = load.finish().await;
    headers_agree(&network).await;
    nothing_is_missing(&network, &outcomes.acknowledged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_many_transactions_starts_again_after_a_kill() {
    const COUNT: usize = 20_000;
    // With everything as it is by default, since the time is told.
    let mut network = Network::start(Options { node_toml: String::new(), ..Options::default() }).await;
    let accounts: Vec<_> = (0..ACCOUNTS).map(|index| network.account(index)).collect();
    let (client, mut updates) = network.nodes[0].connect(network.chain()).await;
    let submit = tokio::spawn(async move {
        for turn in 0..COUNT {
            let (from, to) = (turn % accounts.len(), (turn + 1) % accounts.len());
            let transfer = accounts[from].transfer(address(to as u8), Amount(1), Bytes::new()).unwrap();
            client.submit(&transfer).await.unwrap();
        }
        client
    });
    for _ in 0..COUNT {
        let update = tokio::time::timeout(PATIENCE, updates.next()).await.expect("it is answered in time");
        assert!(matches!(update, Some(Update::Receipt { .. })), "{update:?}");
    }
    drop(submit.await.unwrap());

    network.nodes[0].kill();
    network.nodes[0].restart().await;
    let node = &network.nodes[0];
    println!(
        "  started in {} ms with {COUNT} transactions, {} commits replayed",
        node.logged("node started", "start_ms"),
        node.logged("recovered", "replaying")
    );
    headers_agree(&network).await;
    until("all are there again", PATIENCE, async || {
        (node.status().await.committed_transactions >= COUNT as u64).then_some(())
    })
    .await;
}
