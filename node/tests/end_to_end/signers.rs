//! Keys in SoftHSM2 tokens, and signer processes that die: the node asks again for the very same statement.

use crate::check::{PATIENCE, headers_agree, nobody_equivocated, nothing_is_missing, until};
use crate::load::Load;
use crate::network::{Network, Options};
use rustix::process::Signal;
use types::{EpochChain, Round};

/// `certificate_rounds`: where all but the last validator sign with epoch keys.
async fn survives_the_death_of_a_signer(softhsm: bool, certificate_rounds: Option<u64>) {
    let mut network = Network::start(Options { softhsm, certificate_rounds, ..Options::default() }).await;
    let load = Load::start(&network, &[0, 1, 2], 30);
    load.acknowledges(60).await;
    let module = network.nodes[0].status().await.signer.module;
    assert_eq!(module.to_lowercase().contains("softhsm"), softhsm, "{module}");

    network.nodes[3].signer.take().unwrap().kill();
    load.acknowledges(60).await;
    let round = network.nodes[3].status().await.round;
    network.nodes[3].process.as_mut().unwrap().check();
    network.nodes[3].spawn_signer();
    network.nodes[3].signer_listens().await;
    signs_beyond(&network, 3, Round(round.0 + 5)).await;

    // The signer and its node at once: the round that may have been signed is asked for again.
    for _ in 0..3 {
        network.nodes[2].process.as_ref().unwrap().signal(Signal::KILL);
        network.nodes[2].signer.take().unwrap().kill();
        network.nodes[2].kill();
        network.nodes[2].spawn_signer();
        network.nodes[2].signer_listens().await;
        network.nodes[2].restart().await;
        load.acknowledges_at(2, 10).await;
    }
    let outcomes = load.finish().await;
    headers_agree(&network).await;
    nothing_is_missing(&network, &outcomes.acknowledged).await;
    nobody_equivocated(&network).await;
    // A client that knows genesis alone believes what epoch keys have certified.
    let (id, receipt) = outcomes.acknowledged.iter().next().unwrap();
    let node = &network.nodes[0];
    let proof = until("there is a proof", PATIENCE, async || node.rpc.proof(id).await.unwrap()).await;
    let trusted = EpochChain::from_genesis(&network.genesis).unwrap();
    assert_eq!(client::verify_proof(&proof, id, &trusted).unwrap().height, receipt.height);
    for (index, node) in network.nodes.iter().enumerate() {
        let status = node.status().await;
        let certified = certificate_rounds.filter(|_| index + 1 < network.nodes.len());
        assert_eq!(status.signer.certified_until.is_some(), certified.is_some(), "{}", node.authority.name);
        if let (Some(until), Some(rounds)) = (status.signer.certified_until, certified) {
            assert!(until.round + 10 > status.round.0 && until.round <= status.round.0 + rounds, "{until:?}");
            assert!(status.round.0 > 2 * rounds, "the keys were not renewed by round {}", status.round);
        }
    }
}

async fn signs_beyond(network: &Network, node: usize, round: Round) {
    let node = &network.nodes[node];
    until("it signs again", PATIENCE, async || (node.status().await.round > round).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_with_softhsm_goes_on_when_a_signer_dies_and_returns() {
    survives_the_death_of_a_signer(true, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_with_keys_in_files_goes_on_when_a_signer_dies_and_returns() {
    survives_the_death_of_a_signer(false, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_with_certified_epoch_keys_goes_on_when_a_signer_dies_and_returns() {
    survives_the_death_of_a_signer(true, Some(100)).await;
}
