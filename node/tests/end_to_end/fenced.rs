//! A signer that may have signed more than its guard file knows: after a crash over a TPM, or with a restored file. Its
//! node starts again inside and goes on by itself, from the round on that the guard names.

use crate::check::{PATIENCE, no_round_has_two_blocks, nothing_is_missing_at, tips_agree, until};
use crate::load::Load;
use crate::network::{Network, Node, Options};
use crate::process::{Ended, run_to_end, stele};
use tpm::simulator::Simulator;
use types::Round;

fn signer(node: &Node, step: &[&str]) -> Ended {
    let mut command = stele(&node.dir);
    command.args(["signer", "--config", "signer.toml"]).args(step);
    run_to_end(command, &node.dir)
}

async fn signs_from(node: &Node, round: Round) {
    // While it starts again inside nobody answers.
    until("it signs again", PATIENCE, async || {
        node.rpc.status().await.ok().filter(|status| status.round >= round).map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validator_whose_signer_crashed_over_a_tpm_goes_on_above_what_was_reserved() {
    let mut network = Network::prepare(Options::default()).await;
    let node = &mut network.nodes[3];
    let tpm = Simulator::start();
    let path = node.dir.join("signer.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let fence = format!("[fence.tpm]\ndevice = {:?}\nindex = 0x01800000\nrounds = 64\n", tpm.socket());
    assert!(text.contains("[fence.machine]\n"), "{text}");
    std::fs::write(&path, text.replace("[fence.machine]\n", &fence)).unwrap();
    node.renew_guard();

    network.start_signers().await;
    network.start_nodes().await;
    let load = Load::start(&network, &[0, 1, 2], 30);
    load.acknowledges(60).await;
    let node = &mut network.nodes[3];
    node.signer.take().unwrap().kill();
    node.spawn_signer();
    node.signer_listens().await;
    until("it says so", PATIENCE, async || node.log_text().contains("starting again inside").then_some(())).await;
    let round = network.nodes[0].status().await.round;
    signs_from(&network.nodes[3], Round(round.0 + 65)).await;
    it_counts_again(&mut network, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_guard_file_signs_when_an_operator_vouches_for_it_and_from_there_on() {
    let mut network = Network::start(Options::default()).await;
    let load = Load::start(&network, &[0, 1, 2], 30);
    load.acknowledges(30).await;
    let (guard, backup) = (network.nodes[3].dir.join("guard"), network.nodes[3].dir.join("backup"));
    std::fs::copy(&guard, &backup).unwrap();
    load.acknowledges(60).await;

    let node = &mut network.nodes[3];
    node.signer.take().unwrap().kill();
    std::fs::rename(&backup, &guard).unwrap();
    let refused = signer(node, &["run"]);
    assert!(!refused.status.success() && refused.message.contains("stele signer activate"), "{}", refused.message);
    let status = network.nodes[0].status().await;
    let (round, height) = (status.round.0 + 100, status.height.0 + 300);
    let node = &mut network.nodes[3];
    let (from, above) = (round.to_string(), height.to_string());
    let said = signer(node, &["activate", "--from-round", &from, "--votes-above", &above]);
    assert!(said.status.success() && said.output.contains(&format!("round {round}")), "{}", said.output);
    node.spawn_signer();
    node.signer_listens().await;
    signs_from(node, Round(round)).await;
    assert!(node.log_text().contains("starting again inside"));
    it_counts_again(&mut network, load).await;
}

/// Without one of the others there is a quorum only with the validator that came back; and nothing was lost or signed twice.
async fn it_counts_again(network: &mut Network, load: Load) {
    network.nodes[2].kill();
    load.acknowledges(30).await;
    network.nodes[2].restart().await;
    let outcomes = load.finish().await;
    tips_agree(network).await;
    nothing_is_missing_at(&network.nodes, &outcomes.acknowledged).await;
    no_round_has_two_blocks(network);
}
