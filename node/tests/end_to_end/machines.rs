//! A validator that lets peers in by their machines, and goes on without those that it does not let in.

use crate::check::{PATIENCE, headers_agree, until};
use crate::load::Load;
use crate::network::{Network, Node, Options};
use crate::process::{Ended, run_to_end, stele};
use std::path::Path;
use tpm::simulator::Simulator;

fn attest(dir: &Path, arguments: &[&str]) -> Ended {
    let mut command = stele(dir);
    command.arg("attest").args(arguments);
    run_to_end(command, dir)
}

/// The policy that the machine of a validator fulfils as it is.
fn policy(network: &Network, node: usize) -> toml::Table {
    let dir = network.path();
    let (file, nonce, rpc) = (format!("{node}.json"), "ab".repeat(32), network.nodes[node].rpc.url());
    let asked = attest(dir, &["quote", "--rpc", &rpc, "--nonce", &nonce, "--out", &file]);
    assert!(asked.status.success(), "{}", asked.message);
    let policy = attest(dir, &["policy", &file, "--nonce", &nonce, "--genesis", "genesis.toml"]);
    policy.output.parse().expect("a policy")
}

/// Which peers the first node lets in, by its metrics.
fn let_in(node: &Node) -> Vec<u8> {
    let metrics = node.metrics();
    let lines = metrics.lines().filter(|line| line.starts_with("stele_peer_machine_flag{"));
    lines.map(|line| if line.ends_with(" 1") { 1 } else { 0 }).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validator_lets_in_the_machines_of_its_policy_and_no_others() {
    let mut network = Network::prepare(Options::default()).await;
    let mut tpms = Vec::new();
    // The last one has no TPM.
    for node in &network.nodes[..3] {
        let tpm = Simulator::start();
        let path = node.dir.join("signer.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let more = format!("\n[attestation]\ndevice = {:?}\nregisters = [7, 11]\n", tpm.socket());
        std::fs::write(&path, text + &more).unwrap();
        tpms.push(tpm);
    }
    network.start_signers().await;
    network.start_nodes().await;

    // The machine of one of its peers is allowed, that of another is not.
    let (mut allowed, other) = (policy(&network, 1), policy(&network, 2));
    let write = |network: &Network, policy: &toml::Table| {
        std::fs::write(network.nodes[0].dir.join("machines.toml"), policy.to_string()).unwrap();
    };
    write(&network, &allowed);
    let config = network.nodes[0].dir.join("node.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text + "\n[attestation]\npeers = \"machines.toml\"\n").unwrap();
    network.nodes[0].restart().await;
    let node = &network.nodes[0];
    until("one is let in", PATIENCE, async || (let_in(node) == [1, 0, 0]).then_some(())).await;
    until("it says why not the others", PATIENCE, async || {
        let log = node.log_text();
        let words = ["TPM: the policy does not name", "no attestation: "];
        words.iter().all(|words| log.contains(words)).then_some(())
    })
    .await;

    // The two are in touch with the rest, so all blocks come by the one that both let in.
    let load = Load::start(&network, &[0, 3], 30);
    load.acknowledges_at(0, 30).await;
    load.acknowledges_at(3, 30).await;
    assert_eq!(let_in(&network.nodes[0]), [1, 0, 0]);

    // A machine that is added is let in.
    let names = other["tpm_keys"].as_array().expect("names").clone();
    allowed["tpm_keys"].as_array_mut().expect("names").extend(names);
    write(&network, &allowed);
    network.nodes[0].restart().await;
    let node = &network.nodes[0];
    until("two are let in", PATIENCE, async || (let_in(node) == [1, 1, 0]).then_some(())).await;
    // One that stops is no longer, and one that comes back is asked again.
    network.nodes[1].kill();
    let node = &network.nodes[0];
    until("it is gone", PATIENCE, async || (let_in(node) == [0, 1, 0]).then_some(())).await;
    network.nodes[1].spawn();
    network.nodes[1].ready().await;
    let node = &network.nodes[0];
    until("it is let in again", PATIENCE, async || (let_in(node) == [1, 1, 0]).then_some(())).await;
    load.acknowledges_at(0, 30).await;
    drop(load.finish_whatever_was_refused().await);
    headers_agree(&network).await;
}
