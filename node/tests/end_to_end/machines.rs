//! A validator that lets peers in by their machines, and goes on without those that it does not let in.

use crate::attested::attest;
use crate::check::{PATIENCE, headers_agree, until};
use crate::load::Load;
use crate::network::{Network, Node, Options};
use tpm::simulator::Simulator;

/// The policy that the machine of a validator fulfils as it is.
fn policy(network: &Network, node: usize) -> toml::Table {
    let dir = network.path();
    let (file, nonce, rpc) = (format!("{node}.json"), "ab".repeat(32), network.nodes[node].rpc.url());
    let asked = attest(dir, &["quote", "--rpc", &rpc, "--nonce", &nonce, "--out", &file]);
    assert!(asked.status.success(), "{}", asked.message);
    let policy = attest(dir, &["policy", &file, "--nonce", &nonce, "--genesis", "genesis.toml"]);
    policy.output.parse().expect("a policy")
}

/// Adds the TPM of one policy to another.
fn allow(policy: &mut toml::Table, more: &toml::Table) {
    let names = more["tpm_keys"].as_array().expect("names").clone();
    policy["tpm_keys"].as_array_mut().expect("names").extend(names);
}

/// Gives the first node a policy, for its next start.
fn write(network: &Network, policy: &toml::Table) {
    std::fs::write(network.nodes[0].dir.join("machines.toml"), policy.to_string()).unwrap();
}

/// Which peers a node lets in, by its metrics.
fn let_in(node: &Node) -> Vec<u8> {
    let metrics = node.metrics();
    let lines = metrics.lines().filter(|line| line.starts_with("stele_peer_machine_flag{"));
    lines.map(|line| if line.ends_with(" 1") { 1 } else { 0 }).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validator_lets_in_the_machines_of_its_policy_and_no_others() {
    let mut network = Network::prepare(Options::default()).await;
    let mut tpms = Vec::new();
    for node in &network.nodes {
        let tpm = Simulator::start();
        node.attest_by(&tpm);
        tpms.push(tpm);
    }
    network.start_signers().await;
    network.start_nodes().await;

    // The machines of two of its peers are allowed, that of the third is not.
    let mut allowed = policy(&network, 1);
    allow(&mut allowed, &policy(&network, 2));
    let last = policy(&network, 3);
    write(&network, &allowed);
    let config = network.nodes[0].dir.join("node.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text + "\n[attestation]\npeers = \"machines.toml\"\n").unwrap();
    network.nodes[0].kill();
    network.nodes[0].restart().await;
    let node = &network.nodes[0];
    until("two are let in", PATIENCE, async || (let_in(node) == [1, 1, 0]).then_some(())).await;
    let words = "TPM: the policy does not name";
    until("it says why not the third", PATIENCE, async || node.log_text().contains(words).then_some(())).await;

    // Everybody goes on, and what the third makes comes by the others.
    let load = Load::start(&network, &[0, 3], 30);
    load.acknowledges_at(0, 30).await;
    load.acknowledges_at(3, 30).await;
    assert_eq!(let_in(&network.nodes[0]), [1, 1, 0]);

    // A machine that is added is let in.
    allow(&mut allowed, &last);
    write(&network, &allowed);
    network.nodes[0].kill();
    network.nodes[0].restart().await;
    let node = &network.nodes[0];
    until("all are let in", PATIENCE, async || (let_in(node) == [1, 1, 1]).then_some(())).await;
    // One that stops is no longer, and one that comes back is asked again.
    network.nodes[1].kill();
    let node = &network.nodes[0];
    until("it is gone", PATIENCE, async || (let_in(node) == [0, 1, 1]).then_some(())).await;
    network.nodes[1].spawn();
    network.nodes[1].ready().await;
    let node = &network.nodes[0];
    until("it is let in again", PATIENCE, async || (let_in(node) == [1, 1, 1]).then_some(())).await;
    load.acknowledges_at(0, 30).await;
    drop(load.finish_whatever_was_refused().await);
    headers_agree(&network).await;
}
