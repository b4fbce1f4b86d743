//! Checks an answer to a request for commits. Nothing in it is believed: the last ledger header stands under a
//! certificate, every other one is reached from it through `previous`, every commit record through its header, every
//! block through its record, every payload through its block, and every verdict on a signature through the receipt root.
//!
//! The signature of each header is checked although the certificate vouches for the block: a block's digest does not
//! cover its signature, and the header will be passed on and its votes counted.

use crate::replica::event::{CertifiedCommit, ReceivedPayload};
use crate::replica::intake::{Checker, Refused};
use crate::wire::{CommitWithBlocks, CommitsResponse, PayloadFrame};
use bytes::Bytes;
use ledger::proof;
use std::sync::Arc;
use types::{BlockHeader, Certificate, HeaderVote, Height, Outcome, Receipt, Reject, TransactionId};

/// What a peer answered.
#[derive(Debug)]
pub struct Answer {
    /// Proven commits, from the height that was asked for.
    pub commits: Vec<CertifiedCommit>,
    /// The lowest height that the peer says it can serve.
    pub oldest: Height,
    /// The highest height that it says it has a certificate for.
    pub certified: Height,
}

/// Checks the answer of one peer to a request for commits from `from` on. Hashes every byte and verifies a signature a
/// block: not for the network's threads.
pub fn check(checker: &Checker, from: Height, answer: &Bytes) -> Result<Answer, Refused> {
    check_response(checker, from, CommitsResponse::parse(answer).map_err(|_| "undecodable_commits")?)
}

/// As [`check`], of an answer that is decoded.
pub fn check_response(checker: &Checker, from: Height, response: CommitsResponse) -> Result<Answer, Refused> {
    let CommitsResponse { commits, certificate, oldest, certified } = response;
    let nothing = Answer { commits: Vec::new(), oldest, certified };
    let Some(last) = commits.last() else { return Ok(nothing) };
    if last.header.epoch != checker.committee.epoch() {
        // They can only be checked in their own epoch; what comes before them is asked for first.
        return Ok(nothing);
    }
    let certificate = certificate.ok_or("commits_without_certificate")?;
    let vote = certificate.vote;
    let proven =
        last.header.chain == checker.chain && vote.height == last.header.height && vote.header == last.header.digest();
    if !proven {
        return Err("commits_of_another_certificate");
    }
    certificate.verify(checker.chain, &checker.committee).map_err(|_| "invalid_certificate")?;
    chain(from, &commits)?;
    let commits = commits.into_iter().map(|commit| blocks(checker, commit)).collect::<Result<_, _>>()?;
    Ok(Answer { commits, oldest, certified })
}

/// The certificate over a header, out of the answer of a peer that was asked for its height alone.
pub fn certificate(checker: &Checker, wanted: HeaderVote, answer: &Bytes) -> Option<Certificate> {
    let certificate = CommitsResponse::parse(answer).ok()?.certificate?;
    let proven = certificate.vote == wanted && certificate.verify(checker.chain, &checker.committee).is_ok();
    proven.then_some(certificate)
}

/// Whether headers and records follow each other from `from` on, and each header is its record's.
fn chain(from: Height, commits: &[CommitWithBlocks]) -> Result<(), Refused> {
    let first = commits.first().is_none_or(|commit| commit.record.height == from);
    let each = commits
        .iter()
        .all(|commit| commit.header.height == commit.record.height && commit.header.commit == commit.record.digest());
    let links = commits.windows(2).all(|pair| {
        let (below, above) = (&pair[0], &pair[1]);
        above.header.height == below.header.height.next()
            && above.header.previous == below.header.digest()
            && above.record.previous == below.header.commit
    });
    if first && each && links { Ok(()) } else { Err("broken_commit_chain") }
}

fn blocks(checker: &Checker, commit: CommitWithBlocks) -> Result<CertifiedCommit, Refused> {
    let CommitWithBlocks { record, header: ledger_header, outcomes, blocks: raw } = commit;
    let mut blocks = Vec::with_capacity(raw.len());
    for (reference, (header, payload)) in record.blocks.iter().zip(raw) {
        let header = checker.header(header)?;
        let received = checker.payload(PayloadFrame { block: *reference, payload })?;
        if header.block_ref() != *reference || header.body().payload != received.descriptor {
            return Err("block_not_of_its_commit");
        }
        blocks.push((header, received));
    }
    settle(&blocks, &outcomes, ledger_header.receipt_root)?;
    Ok(CertifiedCommit { record, header: ledger_header.digest(), blocks })
}

/// Takes the verdicts on signatures from the receipts: with the transactions' ids the outcomes must give the certified
/// root. A transaction that was rejected before its signature was looked at is rejected again whatever the verdict.
fn settle(
    blocks: &[(Arc<BlockHeader>, ReceivedPayload)],
    outcomes: &[Outcome],
    root: types::Digest,
) -> Result<(), Refused> {
    let entries = || blocks.iter().flat_map(|(_, received)| received.contents.transactions());
    if entries().count() != outcomes.len() {
        return Err("receipts_of_another_commit");
    }
    let receipts: Vec<Receipt> = entries()
        .zip(outcomes)
        .map(|(entry, outcome)| {
            let transaction = match entry {
                Ok(transaction) => transaction.id(),
                Err(undecodable) => TransactionId(undecodable.digest),
            };
            Receipt { transaction, outcome: *outcome }
        })
        .collect();
    if proof::receipt_root(&receipts) != root {
        return Err("receipts_of_another_commit");
    }
    let mut rest = outcomes;
    for (_, received) in blocks {
        let entries = received.contents.transactions();
        let (own, others) = rest.split_at(entries.len());
        rest = others;
        let valid = |outcome: &Outcome| *outcome != Outcome::Rejected(Reject::BadSignature);
        received
            .contents
            .settle(entries.iter().zip(own).map(|(entry, outcome)| entry.is_ok() && valid(outcome)).collect());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
