//! Changes of committee and parameters by governance transactions, with real processes: who stays goes on, who was away
//! catches up through the change, who is new comes in, who has to leave ends by itself, and money is neither made nor lost.

use crate::bank::{Auditor, balances_follow_from_receipts};
use crate::check::{headers_agree, nobody_equivocated, nothing_is_missing, reaches, until};
use crate::load::Load;
use crate::network::{Network, Options, VALIDATORS, address, key};
use crate::process::{POLL, Process};
use bytes::Bytes;
use client::RpcError;
use std::io::Write;
use std::time::Duration;
use types::{
    Change, Digest, Epoch, EpochChain, EpochStart, Governance, Height, Outcome, Parameters, Reject, Transaction,
    TransactionBody, TransactionId,
};

const CHANGED: Duration = Duration::from_secs(60);
/// With this the node ends that has no part in the next epoch.
const OUTSIDE: i32 = 3;
const CLOSING: &str = "a change of committee or parameters is decided; the epoch is ending";
const FIRST: &str = "the epoch's first height is executed";
const LAST: &str = "the epoch's last height is executed";

/// Accounts 0 and 1 govern, both of them together.
async fn network() -> Network {
    let governance = Governance { members: vec![address(0), address(1)], threshold: 2 };
    Network::start(Options { governance, ..Options::default() }).await
}

/// Both members approve a change, through different nodes. A node that has lost sight of a peer for a moment refuses a change
/// of the committee, and is asked again.
async fn decide(network: &Network, epoch: u64, change: &Change) {
    for member in 0..2u8 {
        let body = TransactionBody::Govern { epoch: Epoch(epoch), change: Box::new(change.clone()) };
        let (chain, valid_until) = (network.chain(), client::now_ms() + 30_000);
        let approval = Transaction::sign(&chain, &key(member), valid_until, 0, body).unwrap();
        let rpc = &network.nodes[usize::from(member)].rpc;
        until("the approval is taken", CHANGED, async || match rpc.submit(&approval).await {
            Err(RpcError::Refused(Reject::QuorumUnreachable)) => None,
            submitted => Some(submitted.unwrap()),
        })
        .await;
    }
}

/// Other parameters than in the epoch before.
fn parameters(epoch: u64) -> Change {
    Change::Parameters { parameters: Parameters { gc_depth_rounds: 200 + epoch, ..Parameters::default() } }
}

async fn in_epoch(network: &Network, nodes: &[usize], epoch: u64) {
    for node in nodes {
        let rpc = &network.nodes[*node].rpc;
        until(&format!("node {node} is in epoch {epoch}"), CHANGED, async || {
            rpc.chain().await.ok().filter(|chain| chain.epoch == Epoch(epoch))
        })
        .await;
    }
}

/// A transaction that moves no money goes through and reaches all of these nodes, so the committee works.
async fn works(network: &mut Network, nodes: &[usize], nonce: u64) -> TransactionId {
    for node in nodes {
        network.nodes[*node].ready().await;
    }
    let body = TransactionBody::Certify { document: Digest::sha256(&nonce.to_le_bytes()), memo: Bytes::new() };
    let sent = Transaction::sign(&network.chain(), &key(4), client::now_ms() + 30_000, nonce, body).unwrap();
    network.nodes[nodes[0]].rpc.submit(&sent).await.unwrap();
    for node in nodes {
        let rpc = &network.nodes[*node].rpc;
        let known = async || rpc.transaction(&sent.id()).await.ok().flatten();
        until(&format!("node {node} executes it"), CHANGED, known).await;
    }
    sent.id()
}

/// Submits to every node in turn until all are in an epoch. The ids of what they have taken.
async fn submit_until_epoch(network: &Network, epoch: u64) -> Vec<TransactionId> {
    let (mut taken, mut nonce) = (Vec::new(), 1_000);
    loop {
        let mut there = 0;
        for node in &network.nodes {
            nonce += 1;
            let body = TransactionBody::Certify { document: Digest::sha256(b"in between"), memo: Bytes::new() };
            let sent = Transaction::sign(&network.chain(), &key(6), client::now_ms() + 30_000, nonce, body).unwrap();
            if node.rpc.submit(&sent).await.is_ok() {
                taken.push(sent.id());
            }
            there += usize::from(node.rpc.chain().await.is_ok_and(|chain| chain.epoch == Epoch(epoch)));
        }
        if there == network.nodes.len() {
            return taken;
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn logs(process: &Process, words: &str) {
    logs_again(process, words, 0).await;
}

/// Waits until the log has the words more often than before.
async fn logs_again(process: &Process, words: &str, before: usize) {
    let said = async || (process.log_text().matches(words).count() > before).then_some(());
    until(&format!("the log says: {words}"), CHANGED, said).await;
}

/// The time from the last height of an epoch to the first of the next one, each executed and durable, by a node's log.
fn tell_pauses(process: &Process) {
    let mut pauses = Vec::new();
    let mut last = None;
    for line in process.log_text().lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()) {
        let at = || line["timestamp"].as_str().map(milliseconds);
        match line["fields"]["message"].as_str() {
            Some(LAST) => last = at(),
            Some(FIRST) => pauses.extend(last.take().zip(at()).map(|(last, first)| first - last)),
            _ => {}
        }
    }
    // Past the harness, which shows nothing of a test that passes.
    std::io::stderr().write_all(format!("from one epoch to the next: {pauses:?} ms\n").as_bytes()).unwrap();
}

/// Of the day, of a time like `2026-11-21T12:07:25.071301Z`.
fn milliseconds(time: &str) -> u64 {
    let (_, clock) = time.trim_end_matches('Z').split_once('T').unwrap();
    let parts: Vec<f64> = clock.split(':').map(|part| part.parse().unwrap()).collect();
    ((parts[0] * 3_600.0 + parts[1] * 60.0 + parts[2]) * 1_000.0) as u64
}

/// Whoever has the genesis needs nothing else to know the present committee.
async fn epochs_are_proven(network: &Network, node: usize) {
    let epochs = network.nodes[node].rpc.epochs(Epoch(1)).await.unwrap();
    let mut proven = EpochChain::new(network.chain(), EpochStart::first(&network.genesis).unwrap());
    assert_eq!((epochs[0].epoch, epochs[0].first_height, &epochs[0].change), (Epoch(1), Height(1), &None));
    for epoch in &epochs[1..] {
        proven.push(epoch.change.as_ref().unwrap().decode().unwrap()).unwrap();
        let start = proven.last();
        assert_eq!((epoch.epoch, epoch.first_height), (start.epoch(), start.anchor.height.next()));
        assert_eq!(epoch.parameters, start.parameters);
        let names: Vec<_> = start.committee.authorities().iter().map(|member| &member.name).collect();
        assert_eq!(epoch.validators.iter().map(|validator| &validator.name).collect::<Vec<_>>(), names);
    }
    assert_eq!(proven.last().epoch(), network.nodes[node].rpc.chain().await.unwrap().epoch);
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_change_under_load_then_a_validator_leaves_and_the_others_survive_a_kill() {
    let mut network = network().await;
    let (auditor, load) = (Auditor::start(&network), Load::start(&network, &[0, 1, 2, 3], 50));
    decide(&network, 1, &parameters(2)).await;
    let taken = submit_until_epoch(&network, 2).await;
    in_epoch(&network, &[0, 1, 2, 3], 2).await;
    // What was taken before and during the change is executed after it, though nobody sends it again.
    for id in &taken {
        let known = async || network.nodes[0].rpc.transaction(id).await.ok().flatten();
        until("what was taken is executed", CHANGED, known).await;
    }
    let Change::Parameters { parameters } = parameters(2) else { unreachable!() };
    assert_eq!(network.nodes[0].rpc.chain().await.unwrap().parameters, parameters);
    works(&mut network, &[0, 1, 2, 3], 1).await;
    let outcomes = load.finish().await;
    headers_agree(&network).await;
    nothing_is_missing(&network, &outcomes.acknowledged).await;
    balances_follow_from_receipts(&network, &outcomes).await;
    assert!(auditor.finish().await > 0);
    tell_pauses(network.nodes[0].process.as_ref().unwrap());

    decide(&network, 2, &Change::Remove { name: "node-3".into() }).await;
    in_epoch(&network, &[0, 1, 2], 3).await;
    let left = network.nodes[3].process.take().unwrap();
    let log = network.nodes[3].dir.join("node-1.log");
    assert_eq!(left.wait().code(), Some(OUTSIDE));
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("the committee of epoch 3 has no validator `node-3`"), "{log}");
    // It ends again in the same way, with its data where it was.
    let ended = network.nodes[3].run_to_end();
    assert_eq!(ended.status.code(), Some(OUTSIDE), "{}", ended.message);

    works(&mut network, &[0, 1, 2], 2).await;
    network.nodes[1].kill();
    network.nodes[1].restart().await;
    in_epoch(&network, &[1], 3).await;
    let sent = works(&mut network, &[0, 1, 2], 3).await;
    epochs_are_proven(&network, 2).await;
    // Genesis is all that a proof is checked against, also in the third epoch.
    let proof = async || network.nodes[2].rpc.proof(&sent).await.ok().flatten();
    let proof = until("it is proven", CHANGED, proof).await;
    let trusted = EpochChain::from_genesis(&network.genesis).unwrap();
    let verified = client::verify_proof(&proof, &sent, &trusted).unwrap();
    let (epoch, validators) = (verified.committee.epoch(), verified.committee.size());
    assert_eq!((verified.outcome, epoch, validators), (Outcome::Applied, Epoch(3), 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fifth_validator_waits_outside_comes_in_and_is_needed() {
    let mut network = network().await;
    works(&mut network, &[0, 1, 2, 3], 1).await;
    network.add("").await;
    let refused = network.nodes[4].run_to_end();
    assert_eq!(refused.status.code(), Some(1), "{}", refused.message);
    assert!(refused.message.contains("no validator named `node-4`"), "{}", refused.message);

    network.nodes[4].spawn_with(&["--join"]);
    logs(network.nodes[4].process.as_ref().unwrap(), "waiting for an epoch whose committee has this validator").await;
    decide(&network, 1, &Change::Add { validator: network.nodes[4].authority.clone() }).await;
    in_epoch(&network, &[0, 1, 2, 3, 4], 2).await;
    works(&mut network, &[0, 1, 2, 3, 4], 2).await;
    epochs_are_proven(&network, 4).await;
    // Four of five are a quorum: without the new one nothing would be committed.
    network.nodes[0].kill();
    works(&mut network, &[1, 2, 3, 4], 3).await;
    // Its state says by itself where it belongs.
    network.nodes[4].kill();
    network.nodes[4].restart().await;
    works(&mut network, &[4, 1, 2, 3], 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fifth_validator_far_behind_takes_the_state_that_its_epoch_begins_with() {
    let mut network = network().await;
    let load = Load::start(&network, &[0, 1, 2, 3], 50);
    // The least that a node can be told to take a state for.
    reaches(&network.nodes[0], Height(120)).await;
    load.finish().await;
    network.add("[sync]\nstate_above_heights = 100\n").await;
    network.nodes[4].spawn_with(&["--join"]);
    decide(&network, 1, &Change::Add { validator: network.nodes[4].authority.clone() }).await;
    in_epoch(&network, &[0, 1, 2, 3, 4], 2).await;
    works(&mut network, &[0, 1, 2, 3, 4], 2).await;
    let process = network.nodes[4].process.as_ref().unwrap();
    assert!(process.log_text().contains("the state of peers took the place of this node's"));
    epochs_are_proven(&network, 4).await;
    network.nodes[0].kill();
    works(&mut network, &[4, 1, 2, 3], 3).await;
    network.nodes[4].kill();
    network.nodes[4].restart().await;
    works(&mut network, &[4, 1, 2, 3], 4).await;
}

/// Every node says of this validator alone that its keys came after genesis.
fn keys_are_younger_than_genesis(network: &Network, renewed: usize) {
    let genesis = network.genesis.created_ms as f64 / 1e3;
    for (node, of) in network.nodes.iter().flat_map(|node| network.nodes.iter().map(move |of| (node, of))) {
        let metrics = node.metrics();
        let name = format!("{{validator=\"{}\",key=\"consensus\"", of.authority.name);
        let line = metrics.lines().find(|line| line.starts_with("stele_validator_key_since") && line.contains(&name));
        let since: f64 = line.and_then(|line| line.rsplit(' ').next()).unwrap().parse().unwrap();
        let is_renewed = of.authority.name == network.nodes[renewed].authority.name;
        assert_eq!(since > genesis, is_renewed, "{name} since {since}, genesis {genesis}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validator_goes_on_with_new_keys() {
    let mut network = network().await;
    works(&mut network, &[0, 1, 2, 3], 1).await;
    network.nodes[3].kill();
    network.nodes[3].renew_keys().await;
    network.nodes[3].spawn_with(&["--join"]);
    logs(network.nodes[3].process.as_ref().unwrap(), "waiting for an epoch whose committee has this validator").await;
    let authority = network.nodes[3].authority.clone();
    let change = Change::Rekey {
        name: authority.name,
        consensus_key: authority.consensus_key,
        transport_key: authority.transport_key,
    };
    decide(&network, 1, &change).await;
    in_epoch(&network, &[0, 1, 2, 3], 2).await;
    works(&mut network, &[0, 1, 2, 3], 2).await;
    keys_are_younger_than_genesis(&network, 3);
    // Three of four are a quorum.
    network.nodes[0].kill();
    works(&mut network, &[3, 1, 2], 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_over_two_changes_comes_through_both_and_one_that_was_removed_meanwhile_ends() {
    let mut network = network().await;
    works(&mut network, &[0, 1, 2, 3], 1).await;
    network.nodes[3].kill();
    decide(&network, 1, &parameters(2)).await;
    in_epoch(&network, &[0, 1, 2], 2).await;
    works(&mut network, &[0, 1, 2], 2).await;
    decide(&network, 2, &parameters(3)).await;
    in_epoch(&network, &[0, 1, 2], 3).await;
    network.nodes[3].spawn();
    works(&mut network, &[3, 0, 1, 2], 3).await;
    in_epoch(&network, &[3], 3).await;

    // The state can be made again from a log that goes over several epochs.
    network.nodes[3].kill();
    std::fs::remove_dir_all(network.nodes[3].dir.join("data/state")).unwrap();
    network.nodes[3].restart().await;
    works(&mut network, &[3, 0, 1, 2], 4).await;
    in_epoch(&network, &[3], 3).await;

    network.nodes[3].kill();
    decide(&network, 3, &Change::Remove { name: "node-3".into() }).await;
    in_epoch(&network, &[0, 1, 2], 4).await;
    network.nodes[3].spawn();
    let status = network.nodes[3].process.take().unwrap().wait();
    assert_eq!(status.code(), Some(OUTSIDE));
    tell_pauses(network.nodes[0].process.as_ref().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_killed_at_every_step_of_the_change_come_back_into_the_right_epoch() {
    let mut network = network().await;
    let all = [0, 1, 2, 3];
    let (auditor, load) = (Auditor::start(&network), Load::start(&network, &all, 30));
    // One node at each step, then all of them at each: when the change is decided, when the last height is executed,
    // when the next epoch has begun.
    let begun = |epoch: u64| format!("\"epoch\":{epoch},");
    let mut epoch = 1;
    for victims in [vec![2], all.to_vec()] {
        for step in 0..3 {
            let words = [CLOSING.to_owned(), LAST.to_owned(), begun(epoch + 1)][step].clone();
            let before = network.nodes[victims[0]].log_text().matches(&words).count();
            decide(&network, epoch, &parameters(epoch + 1)).await;
            logs_again(network.nodes[victims[0]].process.as_ref().unwrap(), &words, before).await;
            victims.iter().for_each(|victim| network.nodes[*victim].kill());
            victims.iter().for_each(|victim| network.nodes[*victim].spawn());
            epoch += 1;
            in_epoch(&network, &all, epoch).await;
            works(&mut network, &all, epoch).await;
        }
    }
    assert_eq!(VALIDATORS, all.len());
    let outcomes = load.finish().await;
    headers_agree(&network).await;
    nothing_is_missing(&network, &outcomes.acknowledged).await;
    balances_follow_from_receipts(&network, &outcomes).await;
    nobody_equivocated(&network).await;
    assert!(auditor.finish().await > 0);
    epochs_are_proven(&network, 1).await;
    tell_pauses(network.nodes[0].process.as_ref().unwrap());
}
