//! Catching up: a node that was away fetches commits with their blocks from one peer after another, checks them against
//! a certificate, and hands them to the replica, while the others keep committing.
//!
//! Nothing is believed: the last commit's digest stands in a ledger header that stake ≥ Q voted for, every other one is
//! reached from it through `previous`, every block through its digest, every payload through its header.

use crate::replica::event::{CertifiedCommit, Fact};
use crate::replica::intake::{Checker, Refused};
use crate::wire::{CommitWithBlocks, CommitsResponse, PayloadFrame, Request};
use crossbeam_channel::Sender;
use std::time::Duration;
use transport::Mesh;
use types::{AuthorityIndex, Digest, Height};

/// How long a peer may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks `peers` in turn for the commits above `tip`, until one answers with something. Runs once; the replica starts it
/// again for as long as it lags.
pub async fn run(
    mesh: Mesh,
    checker: Checker,
    peers: Vec<AuthorityIndex>,
    tip: (Height, Digest),
    replica: Sender<Fact>,
) {
    let mut progress = false;
    for peer in peers {
        let body = Request::Commits { from: tip.0.next() }.to_body();
        let Ok(answer) = mesh.request(peer.0, body, PATIENCE).await else { continue };
        let (check, from) = (checker.clone(), tip);
        // Hashing megabytes would hold up the network's thread.
        let checked = tokio::task::spawn_blocking(move || checked(&check, from, &answer)).await;
        match checked {
            Ok(Ok(commits)) if commits.is_empty() => {}
            Ok(Ok(commits)) => {
                progress = replica.send(Fact::Certified(commits)).is_ok();
                break;
            }
            Ok(Err(what)) => drop(replica.send(Fact::Misbehaviour { peer, what })),
            Err(_) => {}
        }
    }
    drop(replica.send(Fact::CatchUpEnded { progress }));
}

fn checked(checker: &Checker, tip: (Height, Digest), answer: &bytes::Bytes) -> Result<Vec<CertifiedCommit>, Refused> {
    let response = CommitsResponse::parse(answer).map_err(|_| "undecodable_commits")?;
    let Some(last) = response.commits.last() else { return Ok(Vec::new()) };
    let (header, certificate) = response.proof.as_ref().ok_or("commits_without_certificate")?;
    let proven = header.chain == checker.chain
        && header.height == last.record.height
        && header.commit == last.record.digest()
        && certificate.vote.height == header.height
        && certificate.vote.header == header.digest();
    if !proven {
        return Err("commits_of_another_certificate");
    }
    certificate.verify(checker.chain, &checker.committee).map_err(|_| "invalid_certificate")?;
    let (mut height, mut previous) = tip;
    for commit in &response.commits {
        if commit.record.height != height.next() || commit.record.previous != previous {
            return Err("broken_commit_chain");
        }
        height = commit.record.height;
        previous = commit.record.digest();
    }
    response.commits.into_iter().map(|commit| blocks(checker, commit)).collect()
}

fn blocks(checker: &Checker, commit: CommitWithBlocks) -> Result<CertifiedCommit, Refused> {
    let mut blocks = Vec::with_capacity(commit.blocks.len());
    for (reference, (header, payload)) in commit.record.blocks.iter().zip(commit.blocks) {
        let header = checker.header(header)?;
        let received = checker.payload(PayloadFrame { block: *reference, payload })?;
        if header.block_ref() != *reference || header.body().payload != received.descriptor {
            return Err("block_not_of_its_commit");
        }
        blocks.push((header, received));
    }
    Ok(CertifiedCommit { record: commit.record, blocks })
}

#[cfg(test)]
mod tests;
