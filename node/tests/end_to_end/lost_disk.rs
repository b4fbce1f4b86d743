//! A validator that comes back without its disk, or without its disk and what its signer remembers: it takes part again
//! and signs nothing twice.

use crate::check::{PATIENCE, nobody_equivocated, nothing_is_missing_at, tips_agree, until};
use crate::load::Load;
use crate::network::{Network, Node, Options};

/// Takes the data directory of a node that does not run away.
fn lose_disk(node: &Node) {
    let data = node.dir.join("data");
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::create_dir(&data).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validator_without_its_disk_goes_on_above_its_old_blocks() {
    let mut network = Network::start(Options::default()).await;
    let load = Load::start(&network, &[0, 1, 2, 3], 50);
    load.acknowledges_at(3, 50).await;
    let before = network.nodes[3].status().await.round;
    network.nodes[3].kill();
    lose_disk(&network.nodes[3]);
    network.nodes[3].restart().await;
    let log = network.nodes[3].log_text();
    assert!(log.contains("the disk is a new one; asking peers before proposing"), "it noticed nothing");
    load.acknowledges_at(3, 30).await;
    assert!(network.nodes[3].status().await.round > before);
    // It counts again: without it there is no quorum.
    network.nodes[2].kill();
    load.acknowledges_at(3, 30).await;
    network.nodes[2].restart().await;
    let outcomes = load.finish().await;
    tips_agree(&network).await;
    nothing_is_missing_at(&network.nodes, &outcomes.acknowledged).await;
    nobody_equivocated(&network).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_guard_file_too_it_waits_for_all_who_may_know_or_for_the_operator() {
    let mut network = Network::start(Options::default()).await;
    let load = Load::start(&network, &[0, 1, 2], 50);
    load.acknowledges(100).await;
    for round in 0..2 {
        network.nodes[3].kill();
        network.nodes[3].signer.take().unwrap().terminate();
        let before = network.nodes[0].status().await.round;
        lose_disk(&network.nodes[3]);
        network.nodes[3].renew_guard();
        network.nodes[3].spawn_signer();
        network.nodes[3].signer_listens().await;
        network.nodes[2].kill();
        network.nodes[3].spawn();
        let node = &network.nodes[3];
        until("it waits and says for whom", PATIENCE, async || {
            let detail = node.rpc.status().await.ok()?.state_detail?;
            (detail.contains("waiting for validators 2 ") && detail.contains("--accept-lost-disk")).then_some(())
        })
        .await;
        if round == 0 {
            network.nodes[2].restart().await;
            network.nodes[3].ready().await;
        } else {
            network.nodes[3].kill();
            network.nodes[3].spawn_with(&["--accept-lost-disk"]);
            network.nodes[3].ready().await;
            network.nodes[2].restart().await;
        }
        let node = &network.nodes[3];
        until("it makes blocks again, above the old ones", PATIENCE, async || {
            (node.status().await.round > before).then_some(())
        })
        .await;
        load.acknowledges(50).await;
    }
    drop(load.finish().await);
    tips_agree(&network).await;
    nobody_equivocated(&network).await;
}
