//! Networks without faults: signed transfers are committed, and everybody says the same of them, to everybody.

use crate::check::{PATIENCE, headers_agree, nobody_equivocated, nothing_is_missing, until};
use crate::load::Load;
use crate::network::{ACCOUNTS, BALANCE, Network, Options, address};
use bytes::Bytes;
use client::{Update, verify_proof};
use std::collections::BTreeMap;
use types::{Amount, Digest, EpochChain, Outcome};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_validators_commit_signed_transfers_and_prove_them() {
    let network = Network::start(Options::default()).await;
    let load = Load::start(&network, &[0, 1, 2, 3], 50);
    for node in 0..4 {
        load.acknowledges_at(node, 50).await;
    }
    let outcomes = load.finish().await;
    assert_eq!(outcomes.unknown, 0);
    let height = headers_agree(&network).await;
    nothing_is_missing(&network, &outcomes.acknowledged).await;

    // Every transfer moved one unit in a ring, so a balance is known from what was acknowledged.
    let mut balances: BTreeMap<_, u128> = (0..ACCOUNTS).map(|index| (address(index), BALANCE)).collect();
    for (asked_before, node) in network.nodes.iter().enumerate() {
        let mut sum = 0;
        for (address, balance) in &mut balances {
            let found = node.rpc.account(address).await.unwrap().expect("it is in genesis");
            assert!(found.height >= height);
            if asked_before == 0 {
                *balance = found.balance.0;
            }
            assert_eq!(found.balance, Amount(*balance), "{address} on {}", node.authority.name);
            sum += found.balance.0;
        }
        assert_eq!(sum, BALANCE * u128::from(ACCOUNTS));
    }

    // The client alone, from genesis: it takes proofs from nodes that it does not trust.
    let trusted = EpochChain::from_genesis(&network.genesis).unwrap();
    for (turn, (id, receipt)) in outcomes.acknowledged.iter().step_by(16).enumerate() {
        let node = &network.nodes[turn % 4];
        let proof = until("there is a proof", PATIENCE, async || node.rpc.proof(id).await.unwrap()).await;
        let proven = verify_proof(&proof, id, &trusted).unwrap();
        assert_eq!((proven.height, proven.index, proven.outcome), (receipt.height, receipt.index, receipt.outcome));
        let other = *outcomes.acknowledged.keys().find(|other| *other != id).unwrap();
        assert!(verify_proof(&proof, &other, &trusted).is_err());
    }
    nobody_equivocated(&network).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certified_document_is_found_and_proven_on_every_node() {
    let network = Network::start(Options::default()).await;
    let document = Digest::sha256(b"the deed of a house");
    let certify = network.account(3).certify(document, Bytes::from_static(b"deed 17")).unwrap();
    let (client, mut updates) = network.nodes[2].connect(network.chain()).await;
    client.submit(&certify).await.unwrap();
    let Some(Update::Receipt { tag, height, outcome: Outcome::Applied, .. }) = updates.next().await else {
        panic!("it was not certified");
    };
    assert_eq!(tag, certify.id());
    for node in &network.nodes {
        crate::check::reaches(node, height).await;
        let found = node.rpc.document(&document).await.unwrap();
        assert_eq!(found.iter().map(|found| (found.id, found.height)).collect::<Vec<_>>(), [(tag, height)]);
        let proof = until("there is a proof", PATIENCE, async || node.rpc.proof(&tag).await.unwrap()).await;
        let proven = verify_proof(&proof, &tag, &EpochChain::from_genesis(&network.genesis).unwrap()).unwrap();
        assert_eq!(proven.time.0, found[0].time_ms);
        assert_eq!(node.rpc.document(&Digest::sha256(b"another deed")).await.unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn different_numbers_of_shards_give_equal_headers() {
    let network = Network::start(Options { shards: [1, 2, 4, 7], ..Options::default() }).await;
    let load = Load::start(&network, &[0, 1, 2, 3], 100);
    load.acknowledges(800).await;
    let outcomes = load.finish().await;
    headers_agree(&network).await;
    nothing_is_missing(&network, &outcomes.acknowledged).await;
}
