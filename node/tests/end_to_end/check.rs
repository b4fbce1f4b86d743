//! What must hold at the end of every scenario, and how it is waited for.

use crate::load::Acknowledged;
use crate::network::{Network, Node};
use std::time::Duration;
use tokio::time::Instant;
use types::{Digest, Height};

/// How long anything that must happen may take on two busy cores.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Queries to one node at a time.
const QUERIES: usize = 16;

/// Asks until there is an answer.
pub async fn until<T>(what: &str, patience: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {} s in vain until {what}", patience.as_secs());
        tokio::time::sleep(crate::process::POLL).await;
    }
}

/// Waits until a node has executed a height.
pub async fn reaches(node: &Node, height: Height) {
    let what = format!("{} reaches height {height}", node.authority.name);
    until(&what, PATIENCE, async || node.rpc.status().await.ok().filter(|status| status.height >= height)).await;
}

/// All nodes reach the height of the highest one, and have the same headers there and on the way. Returns it.
pub async fn headers_agree(network: &Network) -> Height {
    let mut highest = Height(0);
    for node in &network.nodes {
        highest = highest.max(node.height().await);
    }
    for node in &network.nodes {
        reaches(node, highest).await;
    }
    // Each header names the one before, so the last digest stands for all; the others show that queries agree too.
    let sampled = (1..=8).map(|part| Height(highest.0 * part / 8));
    for height in sampled {
        let mut digests = Vec::new();
        for node in &network.nodes {
            digests.push(header(node, height).await);
        }
        assert!(digests.iter().all(|digest| *digest == digests[0]), "headers at height {height} differ: {digests:?}");
    }
    highest
}

/// All nodes reach the height of the highest one, and have the same header there, which names all before it. For nodes
/// that do not have all of them.
pub async fn tips_agree(network: &Network) -> Height {
    let mut highest = Height(0);
    for node in &network.nodes {
        highest = highest.max(node.height().await);
    }
    let mut digests = Vec::new();
    for node in &network.nodes {
        reaches(node, highest).await;
        digests.push(header(node, highest).await);
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]), "headers at height {highest} differ: {digests:?}");
    highest
}

async fn header(node: &Node, height: Height) -> Digest {
    let found = node.rpc.header(Some(height)).await.unwrap();
    let found = found.unwrap_or_else(|| panic!("{} has no header at height {height}", node.authority.name));
    assert_eq!(found.digest, found.header.digest());
    found.digest
}

/// Every node knows everything that was acknowledged, at the same place and with the same outcome.
pub async fn nothing_is_missing(network: &Network, acknowledged: &Acknowledged) {
    nothing_is_missing_at(&network.nodes, acknowledged).await;
}

/// As [`nothing_is_missing`], where others may have taken a state and have no receipts from before it.
pub async fn nothing_is_missing_at(nodes: &[Node], acknowledged: &Acknowledged) {
    let highest = acknowledged.values().map(|receipt| receipt.height).max().unwrap_or_default();
    for node in nodes {
        reaches(node, highest).await;
        let receipts: Vec<_> = acknowledged.iter().map(|(id, receipt)| (*id, *receipt)).collect();
        for some in receipts.chunks(QUERIES) {
            let asked = some.iter().map(|(id, receipt)| {
                let (rpc, id, receipt, name) = (node.rpc.clone(), *id, *receipt, node.authority.name.clone());
                tokio::spawn(async move {
                    let found = rpc.transaction(&id).await.unwrap();
                    let found =
                        found.unwrap_or_else(|| panic!("{id} was acknowledged as {receipt:?} and {name} has lost it"));
                    assert_eq!((found.height, found.index), (receipt.height, receipt.index), "{id} on {name}");
                    assert_eq!(types::Outcome::from(found.outcome), receipt.outcome, "{id} on {name}");
                })
            });
            for answer in asked.collect::<Vec<_>>() {
                answer.await.unwrap();
            }
        }
    }
}

/// No node saw anybody sign two blocks of one round.
pub fn no_round_has_two_blocks(network: &Network) {
    for node in &network.nodes {
        let metrics = node.metrics();
        let seen = metrics.lines().find(|line| line.contains("equivocation") && !line.ends_with(" 0"));
        assert_eq!(seen, None, "{}", node.authority.name);
    }
}

/// All of it, after a load: one story everywhere, nothing that was acknowledged is gone, nobody signed twice.
pub async fn all_is_well(network: &Network, acknowledged: &Acknowledged) {
    headers_agree(network).await;
    tips_agree(network).await;
    nothing_is_missing(network, acknowledged).await;
    nobody_equivocated(network).await;
}

/// The same, and no signer had to refuse anything.
pub async fn nobody_equivocated(network: &Network) {
    no_round_has_two_blocks(network);
    for node in &network.nodes {
        assert_eq!(node.status().await.signer.refused, 0, "{}", node.authority.name);
    }
}
