//! Changes of the committee by governance transactions, with real processes.

use crate::check::until;
use crate::network::{Network, Options, VALIDATORS, address, key};
use bytes::Bytes;
use std::time::Duration;
use types::{Change, Epoch, Governance, Parameters, Transaction, TransactionBody};

const CHANGED: Duration = Duration::from_secs(60);

/// Accounts 0 and 1 govern, both of them together.
async fn network() -> Network {
    let governance = Governance { members: vec![address(0), address(1)], threshold: 2 };
    Network::start(Options { governance, ..Options::default() }).await
}

/// Both members approve a change, through different nodes.
async fn decide(network: &Network, epoch: u64, change: &Change) {
    for member in 0..2u8 {
        let body = TransactionBody::Govern { epoch: Epoch(epoch), change: Box::new(change.clone()) };
        let (chain, until) = (network.chain(), client::now_ms() + 30_000);
        let approval = Transaction::sign(&chain, &key(member), until, 0, body).unwrap();
        network.nodes[usize::from(member)].rpc.submit(&approval).await.unwrap();
    }
}

async fn in_epoch(network: &Network, node: usize, epoch: u64) {
    let rpc = &network.nodes[node].rpc;
    until("the node is in the next epoch", CHANGED, async || {
        rpc.chain().await.ok().filter(|chain| chain.epoch == Epoch(epoch))
    })
    .await;
}

/// A transfer goes through, so the committee works.
async fn works(network: &mut Network, nodes: usize, nonce: u64) {
    for node in &mut network.nodes[..nodes] {
        node.ready().await;
    }
    let body = TransactionBody::Transfer { to: address(5), amount: 1, memo: Bytes::new() };
    let transfer = Transaction::sign(&network.chain(), &key(4), client::now_ms() + 30_000, nonce, body).unwrap();
    network.nodes[0].rpc.submit(&transfer).await.unwrap();
    for node in &network.nodes[..nodes] {
        until("the transfer is executed", CHANGED, async || node.rpc.transaction(&transfer.id()).await.ok().flatten())
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_changes_then_a_validator_leaves_and_the_others_survive_a_kill() {
    let mut network = network().await;
    let parameters = Parameters { gc_depth_rounds: 200, ..Parameters::default() };
    decide(&network, 1, &Change::Parameters { parameters: parameters.clone() }).await;
    for node in 0..VALIDATORS {
        in_epoch(&network, node, 2).await;
    }
    assert_eq!(network.nodes[0].rpc.chain().await.unwrap().parameters, parameters);
    works(&mut network, VALIDATORS, 1).await;

    decide(&network, 2, &Change::Remove { name: "node-3".into() }).await;
    for node in 0..VALIDATORS - 1 {
        in_epoch(&network, node, 3).await;
    }
    works(&mut network, VALIDATORS - 1, 2).await;
    network.nodes[1].kill();
    network.nodes[1].restart().await;
    assert_eq!(network.nodes[1].rpc.chain().await.unwrap().epoch, Epoch(3));
    works(&mut network, VALIDATORS - 1, 3).await;
}
