//! Certified states: proofs of what they hold, checked by the client alone; copied from a running node, verified, and made
//! the state of a node that has never run; and nodes that are killed while states are read.

use crate::check::{PATIENCE, all_is_well, nobody_equivocated, nothing_is_missing_at, tips_agree, until};
use crate::load::Load;
use crate::network::{Network, Node, Options, address};
use client::{StateValue, verify_state_proof};
use serde_json::Value;
use std::fs;
use types::{Address, EpochChain, Genesis, Parameters, StateKey};

/// Snapshots every few seconds.
fn options() -> Options {
    let parameters = Parameters { gc_depth_rounds: 60, snapshot_interval_heights: 64, ..Parameters::default() };
    Options { parameters, ..Options::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certified_state_is_proven_copied_verified_and_restored() {
    let mut network = Network::prepare(options()).await;
    network.start_signers().await;
    network.start_some(&[0, 1, 2]).await;
    let load = Load::start(&network, &[0, 1, 2], 200);
    load.acknowledges(200).await;
    let (here, nowhere) = (StateKey::from(address(0)), StateKey::from(Address::from_bytes([7; 32])));
    let node = &network.nodes[0];
    let proof = until("a state is certified", PATIENCE, async || node.rpc.state_proof(&here).await.unwrap()).await;
    let genesis = Genesis::from_toml(&fs::read_to_string(network.path().join("genesis.toml")).unwrap()).unwrap();
    let trusted = EpochChain::from_genesis(&genesis).unwrap();
    let verified = verify_state_proof(&proof, &here, &trusted).unwrap();
    assert!(matches!(verified.value, Some(StateValue::Account { .. })));
    assert_eq!(verified.root_height.0, verified.height.0 + 32);
    assert!(verify_state_proof(&proof, &nowhere, &trusted).is_err());
    let absent = node.rpc.state_proof(&nowhere).await.unwrap().unwrap();
    assert_eq!(verify_state_proof(&absent, &nowhere, &trusted).unwrap().value, None);

    // The same by hand, with a proof that is kept and checked without a node, and refused when a digit is another one.
    let (text, url) = (address(0).to_string(), node.rpc.url().to_owned());
    let genesis = ["--genesis", "../genesis.toml", "--json"];
    let asked = [&["tx", "--rpc", &url, "state", &text, "--prove", "kept.json"][..], &genesis].concat();
    let shown = node.run(&asked).json();
    assert_eq!((&shown["proven"], &shown["present"]), (&Value::Bool(true), &Value::Bool(true)));
    let checked = [&["tx", "state", &text, "--file", "kept.json"][..], &genesis].concat();
    assert_eq!(node.run(&checked).json()["value"], shown["value"]);
    let kept = fs::read_to_string(node.dir.join("kept.json")).unwrap();
    let at = kept.find("\"proof\": \"").unwrap() + 900;
    let digit = if &kept[at..=at] == "0" { "1" } else { "0" };
    fs::write(node.dir.join("kept.json"), [&kept[..at], digit, &kept[at + 1..]].concat()).unwrap();
    assert!(!node.run(&checked).status.success());

    let listed = node.run(&["snapshot", "list", "--data", "data", "--json"]).json();
    assert!(listed["snapshots"].as_array().unwrap().iter().any(|kept| kept["certified"] == true), "{listed}");
    let created = node.run(&["snapshot", "create", "--data", "data", "--out", "../copy", "--json"]).json();
    let verify = ["snapshot", "verify", "--from", "../copy", "--genesis", "../genesis.toml", "--json"];
    let verified = node.run(&verify).json();
    assert_eq!((&verified["root"], &verified["height"]), (&created["root"], &created["height"]));
    // A byte of the chunks is another one; then copying goes on where it was, and makes it whole.
    let chunks = network.path().join("copy/chunks");
    let whole = fs::read(&chunks).unwrap();
    let mut altered = whole.clone();
    altered[whole.len() / 2] ^= 1;
    fs::write(&chunks, altered).unwrap();
    assert!(!node.run(&verify).status.success());
    fs::write(&chunks, whole).unwrap();

    // Node 3 has never run. It starts from the copy, and goes on from there with commits.
    let joiner = &network.nodes[3];
    let restored = joiner.run(&["snapshot", "restore", "--from", "../copy", "--config", "node.toml", "--json"]).json();
    assert_eq!(restored["height"], created["height"]);
    let again = joiner.run(&["snapshot", "restore", "--from", "../copy", "--config", "node.toml", "--json"]).json();
    assert_eq!(again["rows_held"], created["rows"], "all of it was there");
    network.start_some(&[3]).await;
    let again = network.nodes[3].run(&["snapshot", "restore", "--from", "../copy", "--config", "node.toml", "--json"]);
    assert!(!again.status.success() && again.message.contains("is not empty"), "{}", again.message);
    assert!(!network.nodes[3].log_text().contains("taking the state from peers"));
    drop(load.finish().await);
    let load = Load::start(&network, &[1, 2, 3], 50);
    load.acknowledges_at(3, 30).await;
    let outcomes = load.finish().await;
    tips_agree(&network).await;
    nothing_is_missing_at(&network.nodes, &outcomes.acknowledged).await;
    nobody_equivocated(&network).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_are_killed_while_states_are_read_come_to_the_same_roots() {
    let mut network = Network::start(Options { idle_accounts: 5_000, ..options() }).await;
    let load = Load::start(&network, &[0, 1, 2, 3], 200);
    for round in 0..6 {
        let node = round % 4;
        load.acknowledges(40 + 17 * round).await;
        network.nodes[node].kill();
        network.nodes[node].restart().await;
        load.acknowledges_at(node, 10).await;
    }
    // All of them at once: nobody has the roots but by computing them again.
    network.nodes.iter_mut().for_each(Node::kill);
    network.start_nodes().await;
    load.acknowledges(200).await;
    let outcomes = load.finish().await;
    all_is_well(&network, &outcomes.acknowledged).await;
    let key = StateKey::from(address(0));
    let mut roots = Vec::new();
    for node in &network.nodes {
        let proof = until("a state is certified", PATIENCE, async || node.rpc.state_proof(&key).await.unwrap()).await;
        roots.push(proof);
    }
    assert!(roots.len() == 4);
}
