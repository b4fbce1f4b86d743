//! A validator whose state database is gone: rebuilt from its log it is what it was, and takes part again.

use crate::check::all_is_well;
use crate::load::Load;
use crate::network::{Network, Options};
use serde_json::Value;
use std::fs;
use types::Parameters;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_is_lost_comes_back_from_the_log_and_the_validator_takes_part() {
    // So that roots of states stand in headers, and have to be computed again.
    let parameters = Parameters { snapshot_interval_heights: 32, ..Parameters::default() };
    let mut network = Network::start(Options { parameters, ..Options::default() }).await;
    let load = Load::start(&network, &[0, 1, 2, 3], 200);
    load.acknowledges(300).await;
    let ended = network.nodes[0].run(&["rebuild", "--config", "node.toml"]);
    assert!(!ended.status.success() && ended.message.contains("another process works on it"), "{}", ended.message);
    network.nodes[0].kill();
    fs::remove_dir_all(network.nodes[0].dir.join("data/state")).unwrap();
    let rebuilt = network.nodes[0].run(&["rebuild", "--data", "data", "--genesis", "../genesis.toml", "--json"]).json();
    assert!(rebuilt["done"]["height"].as_u64() >= rebuilt["done"]["certified"].as_u64());
    assert!(rebuilt["done"]["certified"].as_u64().unwrap() > 0, "{rebuilt}");
    let checked = network.nodes[0].run(&["fsck", "--deep", "--data", "data", "--json"]).json();
    assert_eq!((&checked["state_digest_ok"], &checked["damaged_total"]), (&Value::Bool(true), &Value::from(0)));
    assert_eq!(checked["state_height"], rebuilt["done"]["height"]);
    network.nodes[0].restart().await;
    load.acknowledges_at(0, 30).await;
    let outcomes = load.finish().await;
    all_is_well(&network, &outcomes.acknowledged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_in_the_middle_of_a_log_comes_back_from_validators_over_the_node_s_own_links() {
    let mut network = Network::start(Options::default()).await;
    let load = Load::start(&network, &[0, 1, 2, 3], 200);
    load.acknowledges(300).await;
    let peer = network.nodes[1].authority.name.clone();
    let beside = network.nodes[0].run(&["fsck", "--config", "node.toml", "--repair-from", &peer]);
    let stop = beside.message.contains("another process works on it") && beside.message.contains("stop the node");
    assert!(beside.status.code() == Some(2) && stop, "{}", beside.message);
    assert!(network.nodes[0].process.take().unwrap().terminate().success());
    let log = network.nodes[0].dir.join("data/log");
    let segment = fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path());
    let segment = segment.filter(|path| path.extension().is_some_and(|it| it == "seg")).min().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    for place in (last / 4..last / 2).step_by(5_000) {
        bytes[place] ^= 1;
    }
    fs::write(&segment, bytes).unwrap();
    let damaged = network.nodes[0].run(&["fsck", "--data", "data", "--json"]);
    assert_eq!(damaged.status.code(), Some(1), "{}", damaged.message);
    let stranger = network.nodes[0].run(&["fsck", "--config", "node.toml", "--repair-from", "nobody"]);
    assert!(stranger.message.contains("is no validator"), "{}", stranger.message);
    let names: Vec<String> = network.nodes[1..3].iter().map(|node| node.authority.name.clone()).collect();
    let mut arguments = vec!["fsck", "--deep", "--config", "node.toml", "--json"];
    names.iter().for_each(|name| arguments.extend(["--repair-from", name]));
    let repaired = network.nodes[0].run(&arguments).json();
    assert!(repaired["repaired"]["damaged"].as_u64().unwrap() > 0, "{repaired}");
    assert_eq!((&repaired["damaged_total"], &repaired["state_digest_ok"]), (&Value::from(0), &Value::Bool(true)));
    network.nodes[0].restart().await;
    load.acknowledges_at(0, 30).await;
    let outcomes = load.finish().await;
    all_is_well(&network, &outcomes.acknowledged).await;
}
