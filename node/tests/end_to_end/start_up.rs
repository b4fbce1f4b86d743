//! What a node or a signer cannot start with: a non-zero exit, one clear message, and nothing changed on disk.

use crate::check::headers_agree;
use crate::network::{BALANCE, Network, Node, Options};
use crate::process::{Ended, run_to_end, stele};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use types::Digest;

/// Every file below a directory by its content. A token is the device's own: it counts wrong PINs.
fn snapshot(directory: &Path) -> BTreeMap<PathBuf, Digest> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("tokens") {
            continue;
        }
        if path.is_dir() {
            found.insert(path.clone(), Digest::ZERO);
            found.extend(snapshot(&path));
        } else if let Ok(bytes) = std::fs::read(&path) {
            // A socket cannot be read.
            found.insert(path, Digest::sha256(&bytes));
        }
    }
    found
}

/// Names what changed, and nothing else.
fn assert_unchanged(directory: &Path, before: &BTreeMap<PathBuf, Digest>) {
    let after = snapshot(directory);
    let changed: Vec<_> = after.iter().filter(|(path, digest)| before.get(*path) != Some(digest)).collect();
    let gone: Vec<_> = before.keys().filter(|path| !after.contains_key(*path)).collect();
    assert!(changed.is_empty() && gone.is_empty(), "changed: {changed:?}, gone: {gone:?}");
}

fn assert_refused(ended: &Ended, words: &[&str]) {
    assert!(!ended.status.success(), "it started");
    assert!(ended.status.code().is_some(), "it crashed: {}", ended.status);
    // The terminal's width breaks and decorates lines.
    let plain: String = ended
        .message
        .split(|c: char| c.is_whitespace() || "│╰─▶×".contains(c))
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    for word in words {
        assert!(plain.contains(word), "no `{word}` in: {}", ended.message);
    }
    assert_eq!(ended.message.matches('×').count(), 1, "not one message: {}", ended.message);
    assert!(!ended.message.contains("panicked"), "{}", ended.message);
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "no `{from}` in {text}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

/// Runs a node with an edited `node.toml`, and puts the old one back.
fn refused_with(node: &Node, from: &str, to: &str, words: &[&str]) {
    let path = node.dir.join("node.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    edit(&path, from, to);
    let before = snapshot(&node.dir);
    assert_refused(&node.run_to_end(), words);
    assert_unchanged(&node.dir, &before);
    std::fs::write(&path, good).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_with_a_mistake_is_refused_with_its_place() {
    let network = Network::prepare(Options::default()).await;
    let node = &network.nodes[0];
    refused_with(node, "shards = 2", "shrads = 2", &["node.toml", "unknown field `shrads`", "shrads = 2"]);
    refused_with(node, "[signer]", "[signer]\npassword = \"x\"", &["unknown field `password`"]);
    refused_with(node, "shards = 2", "shards = \"two\"", &["invalid type", "shards = \"two\""]);
    refused_with(node, "shards = 2", "shards = 0", &["node.toml"]);
    refused_with(node, "shards = 2", "shards = 65", &["shards = 65 is outside 1 to 64"]);
    refused_with(node, "shards = 2", "shards 2", &["node.toml"]);
    refused_with(node, "\"node-0\"", "\"node-9\"", &["no validator named `node-9`", "node-0"]);
    refused_with(node, "../genesis.toml", "../genesis.tmol", &["cannot read", "genesis.tmol"]);

    let mut command = stele(&node.dir);
    command.args(["node", "--config", "nowhere.toml"]);
    assert_refused(&run_to_end(command, &node.dir), &["cannot read nowhere.toml"]);

    // Balances that would overflow are refused before there is a ledger.
    let genesis = network.path().join("genesis.toml");
    let good = std::fs::read_to_string(&genesis).unwrap();
    let before = snapshot(&node.dir);
    std::fs::write(
        &genesis,
        good.replace(&format!("balance = \"{BALANCE}\"\n"), &format!("balance = \"{}\"\n", u128::MAX / 2)),
    )
    .unwrap();
    assert_refused(&node.run_to_end(), &["the balances add up to more than 2^128 - 1"]);
    std::fs::write(&genesis, good.replace("gc_depth_rounds = 300", "gc_depth_rounds = 3")).unwrap();
    assert_refused(&node.run_to_end(), &["gc_depth_rounds = 3 is outside 20 to 100000"]);
    assert_unchanged(&node.dir, &before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_its_own_signer_is_refused() {
    let mut network = Network::prepare(Options::default()).await;
    let before = snapshot(&network.nodes[0].dir);
    assert_refused(&network.nodes[0].run_to_end(), &["the signer process does not answer", "stele signer run"]);
    assert_unchanged(&network.nodes[0].dir, &before);

    network.nodes[1].spawn_signer();
    network.nodes[1].signer_listens().await;
    let words = ["the signer holds another consensus key than genesis names"];
    refused_with(&network.nodes[0], "\"signer.sock\"", "\"../node-1/signer.sock\"", &words);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_or_directory_in_use_is_refused_and_the_one_that_uses_it_goes_on() {
    let mut network = Network::start(Options::default()).await;
    assert_refused(&network.nodes[0].run_to_end(), &["in use"]);

    // The ports of a stopped node are taken by somebody else.
    let status = network.nodes[3].process.take().unwrap().terminate();
    assert_eq!(status.code(), Some(0));
    let authority = network.nodes[3].authority.clone();
    {
        let _taken = std::net::UdpSocket::bind(authority.peer_address).unwrap();
        let address = authority.peer_address.to_string();
        assert_refused(&network.nodes[3].run_to_end(), &["cannot open the validators' port", &address, "another node"]);
    }
    {
        let _taken = std::net::UdpSocket::bind(authority.client_address).unwrap();
        let address = authority.client_address.to_string();
        assert_refused(&network.nodes[3].run_to_end(), &["cannot open the clients' port", &address]);
    }
    {
        let _taken = std::net::TcpListener::bind(authority.rpc_address).unwrap();
        let address = authority.rpc_address.to_string();
        assert_refused(&network.nodes[3].run_to_end(), &["cannot open the RPC's port", &address]);
    }
    network.nodes[3].restart().await;
    headers_agree(&network).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_directory_of_another_node_or_another_ledger_is_refused_and_not_touched() {
    let mut network = Network::start(Options::default()).await;
    for node in &mut network.nodes {
        assert_eq!(node.process.take().unwrap().terminate().code(), Some(0));
    }
    let (first, second) = (&network.nodes[0], &network.nodes[1]);
    let foreign = snapshot(&second.dir.join("data"));
    edit(&first.dir.join("node.toml"), "data_dir = \"data\"", "data_dir = \"../node-1/data\"");
    assert_refused(&first.run_to_end(), &["another"]);
    assert_unchanged(&second.dir.join("data"), &foreign);
    edit(&first.dir.join("node.toml"), "data_dir = \"../node-1/data\"", "data_dir = \"data\"");

    // What lies in place of a directory is named, with what to do.
    let snapshots = first.dir.join("data/snapshots");
    std::fs::rename(&snapshots, snapshots.with_extension("kept")).unwrap();
    std::fs::write(&snapshots, "in the way").unwrap();
    assert_refused(&first.run_to_end(), &["data/snapshots: snapshots cannot be kept there", "Move away what lies"]);
    std::fs::remove_file(&snapshots).unwrap();
    std::fs::rename(snapshots.with_extension("kept"), &snapshots).unwrap();

    // The same node and keys in another ledger: only the name differs.
    let own = snapshot(&first.dir.join("data"));
    edit(&network.path().join("genesis.toml"), "name = \"end-to-end\"", "name = \"another\"");
    assert_refused(&first.run_to_end(), &["another"]);
    assert_unchanged(&first.dir.join("data"), &own);
    edit(&network.path().join("genesis.toml"), "name = \"another\"", "name = \"end-to-end\"");
    network.start_nodes().await;
    headers_agree(&network).await;
}

/// Runs the signer with an edited `signer.toml`.
fn signer_refused(node: &Node, edits: &[(&str, &str)], words: &[&str]) {
    let path = node.dir.join("signer.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    edits.iter().for_each(|(from, to)| edit(&path, from, to));
    let before = snapshot(&node.dir);
    let mut command = stele(&node.dir);
    command.args(["signer", "--config", "signer.toml", "run"]);
    assert_refused(&run_to_end(command, &node.dir), words);
    assert_unchanged(&node.dir, &before);
    std::fs::write(&path, good).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signer_that_cannot_open_its_keys_is_refused_with_the_reason() {
    let network = Network::prepare(Options::default()).await;
    let node = &network.nodes[0];
    let secret = node.dir.join("passphrase");
    let right = std::fs::read(&secret).unwrap();
    std::fs::write(&secret, "a wrong passphrase").unwrap();
    signer_refused(node, &[], &["passphrase"]);
    std::fs::write(&secret, right).unwrap();
    signer_refused(node, &[("guard = \"guard\"", "guard = \"no-guard\"")], &["guard", "stele signer init"]);
    // The lock beside a guard stays for ever once there was a signer.
    std::fs::write(node.dir.join("guard.lock"), "").unwrap();
    signer_refused(node, &[("author = 0", "author = 1")], &["guard"]);
    signer_refused(node, &[("author = 0", "auhtor = 0")], &["signer.toml", "auhtor"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_pin_or_a_missing_module_is_refused_with_the_reason() {
    let network = Network::prepare(Options { softhsm: true, ..Options::default() }).await;
    let node = &network.nodes[0];
    let pin = node.dir.join("pin");
    let right = std::fs::read(&pin).unwrap();
    std::fs::write(&pin, "0000").unwrap();
    signer_refused(node, &[], &["PIN"]);
    std::fs::write(&pin, right).unwrap();
    let module = hsm::softhsm::find_module().unwrap();
    let module = module.to_str().unwrap();
    signer_refused(node, &[(module, "/nowhere/libsofthsm2.so")], &["/nowhere/libsofthsm2.so", "apt install softhsm2"]);
    signer_refused(node, &[(module, "/etc/hostname")], &["/etc/hostname"]);
    signer_refused(node, &[("token_label = \"node-0\"", "token_label = \"node-9\"")], &["node-9"]);
    assert!(node.is_softhsm());
}
