//! Nodes that are away: for longer than garbage collection keeps blocks, frozen, one of four, two of four.

use crate::check::{PATIENCE, headers_agree, nobody_equivocated, nothing_is_missing, until};
use crate::load::Load;
use crate::network::{Network, Options};
use rustix::process::Signal;
use std::time::Duration;
use types::{Height, Parameters};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_away_for_longer_than_blocks_are_kept_catches_up_by_commits() {
    let parameters = Parameters { gc_depth_rounds: 30, ..Parameters::default() };
    let mut network = Network::start(Options { parameters, ..Options::default() }).await;
    let load = Load::start(&network, &[0, 1, 2], 50);
    load.acknowledges(50).await;
    let left = network.nodes[3].status().await;
    network.nodes[3].kill();
    let others = &network.nodes[0];
    until("the others are far ahead", PATIENCE, async || {
        let status = others.status().await;
        (status.round.0 > left.round.0 + 300 && status.height.0 > left.height.0 + 100).then_some(())
    })
    .await;
    network.nodes[3].restart().await;
    load.acknowledges(50).await;
    let outcomes = load.finish().await;
    headers_agree(&network).await;
    assert!(network.nodes[3].log_text().contains("CatchingUp"), "it did not fetch commits");
    nothing_is_missing(&network, &outcomes.acknowledged).await;
    // It takes part again, and is asked again.
    let load = Load::start(&network, &[3], 50);
    load.acknowledges_at(3, 20).await;
    let outcomes = load.finish().await;
    nothing_is_missing(&network, &outcomes.acknowledged).await;
    nobody_equivocated(&network).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_four_away_stops_nothing_and_two_of_four_stop_everything_until_one_returns() {
    let mut network = Network::start(Options::default()).await;
    let load = Load::start(&network, &[0, 1], 50);
    load.acknowledges(50).await;
    network.nodes[3].kill();
    load.acknowledges_at(0, 50).await;
    load.acknowledges_at(1, 50).await;

    network.nodes[2].kill();
    // What was decided already may still be executed; then nothing may happen for a while.
    let heights = async || [network.nodes[0].height().await, network.nodes[1].height().await];
    let mut before = heights().await;
    until("nothing moves", PATIENCE, async || {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = heights().await;
        (std::mem::replace(&mut before, now) == now).then_some(())
    })
    .await;
    let acknowledged = load.acknowledged_so_far();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(heights().await, before, "two of four committed something");
    assert_eq!(load.acknowledged_so_far(), acknowledged);

    network.nodes[2].restart().await;
    load.acknowledges(50).await;
    network.nodes[3].restart().await;
    load.acknowledges(50).await;
    let outcomes = load.finish().await;
    headers_agree(&network).await;
    nothing_is_missing(&network, &outcomes.acknowledged).await;
    nobody_equivocated(&network).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_freezes_in_the_middle_is_left_behind_and_catches_up_when_it_wakes() {
    let network = Network::start(Options::default()).await;
    let load = Load::start(&network, &[0, 1, 2], 50);
    load.acknowledges(50).await;
    let frozen = network.nodes[3].process.as_ref().unwrap();
    let height = network.nodes[3].height().await;
    frozen.signal(Signal::STOP);
    crate::check::reaches(&network.nodes[0], Height(height.0 + 100)).await;
    load.acknowledges(100).await;
    frozen.signal(Signal::CONT);
    load.acknowledges(50).await;
    let outcomes = load.finish().await;
    headers_agree(&network).await;
    nothing_is_missing(&network, &outcomes.acknowledged).await;
    nobody_equivocated(&network).await;
}
