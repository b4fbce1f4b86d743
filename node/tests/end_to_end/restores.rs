//! A validator out of a backup that is older than what it has signed: it signs nothing twice and catches up, with its
//! signer's guard and without it.

use crate::check::all_is_well;
use crate::load::Load;
use crate::network::{Network, Options};
use std::fs;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validator_that_is_restored_goes_by_the_rule_for_a_lost_disk_and_catches_up() {
    let options =
        Options { node_toml: "[log]\nsegment_bytes = 16777216\nflush_bytes = 1048576\n".into(), ..Options::default() };
    let mut network = Network::start(options).await;
    let load = Load::start(&network, &[0, 1, 2, 3], 200);
    load.acknowledges(200).await;
    // What is in a backup was flushed: a start flushes.
    network.nodes[3].process.take().unwrap().terminate();
    network.nodes[3].restart().await;
    let backup = ["backup", "--config", "node.toml", "--to", "../backup", "--json"];
    let taken = network.nodes[3].run(&backup).json();
    assert!(taken["done"]["added"].as_u64().unwrap() > 0, "{taken}");
    load.acknowledges_at(3, 200).await;
    let again = network.nodes[3].run(&backup).json();
    assert!(again["done"]["to"].as_u64() >= taken["done"]["to"].as_u64());
    let verify = ["archive", "verify", "--from", "../backup", "--genesis", "../genesis.toml", "--json"];
    assert_eq!(network.nodes[3].run(&verify).json()["verified"]["to"], again["done"]["to"]);
    for guard_is_lost in [false, true] {
        load.acknowledges_at(3, 50).await;
        let before = network.nodes[3].status().await.round;
        network.nodes[3].kill();
        let node = &mut network.nodes[3];
        let refused = node.run(&["restore", "--from", "../backup", "--config", "node.toml"]);
        assert!(!refused.status.success() && refused.message.contains("it is not empty"), "{}", refused.message);
        fs::remove_dir_all(node.dir.join("data")).unwrap();
        let restored = node.run(&["restore", "--from", "../backup", "--config", "node.toml", "--json"]).json();
        assert_eq!(restored["done"]["height"], again["done"]["to"]);
        if guard_is_lost {
            node.signer.take().unwrap().terminate();
            node.renew_guard();
            node.spawn_signer();
            node.signer_listens().await;
        }
        network.nodes[3].restart().await;
        assert!(network.nodes[3].log_text().contains("asking peers"), "it did not notice");
        load.acknowledges_at(3, 30).await;
        assert!(network.nodes[3].status().await.round > before);
    }
    let outcomes = load.finish().await;
    all_is_well(&network, &outcomes.acknowledged).await;
}
