//! What a peer answers is believed only as far as a certificate proves it.

use super::*;
use crate::fixtures::{block, genesis, ledger, transfer};
use types::{
    AuthorityIndex, Certificate, CommitRecord, HeaderStatement, HeaderVote, LedgerHeader, Payload, TimestampMs,
};

struct Answer {
    commits: Vec<CommitWithBlocks>,
    header: LedgerHeader,
    voters: Vec<u16>,
}

impl Answer {
    /// Two commits of one block each.
    fn honest() -> Self {
        let (chain, committee) = ledger();
        let mut previous = Digest::ZERO;
        let commits: Vec<_> = (1..=2)
            .map(|height| {
                let payload = Payload::build([transfer(height, 10_000).raw()]);
                let header = block(0, height * 3, Vec::new(), &payload, Vec::new());
                let leader = header.block_ref();
                let timestamp = TimestampMs(1_000 + height);
                let record = CommitRecord { height: Height(height), previous, leader, blocks: vec![leader], timestamp };
                previous = record.digest();
                CommitWithBlocks { record, blocks: vec![(header.raw().clone(), payload.raw().clone())] }
            })
            .collect();
        let header = LedgerHeader {
            version: types::header::HEADER_VERSION,
            chain,
            epoch: committee.epoch(),
            committee: committee.digest(),
            height: Height(2),
            previous: Digest::ZERO,
            commit: previous,
            transaction_root: Digest::ZERO,
            receipt_root: Digest::ZERO,
            state_digest: Digest::ZERO,
            state_root: Digest::ZERO,
            timestamp: TimestampMs(1_002),
            next_committee: None,
        };
        Self { commits, header, voters: vec![0, 1, 2] }
    }

    fn check(self) -> Result<Vec<CertifiedCommit>, Refused> {
        let (chain, committee) = ledger();
        let vote = HeaderVote { height: self.header.height, header: self.header.digest() };
        let statement =
            |author: &u16| HeaderStatement::from(&*block(*author, 9, Vec::new(), &Payload::empty(), vec![vote]));
        let certificate = Certificate { vote, statements: self.voters.iter().map(statement).collect() };
        let body = CommitsResponse { commits: self.commits, proof: Some((self.header, certificate)) }.to_body();
        let checker = Checker { chain, committee, parameters: genesis().parameters };
        checked(&checker, (Height(0), Digest::ZERO), &body)
    }
}

#[test]
fn commits_up_to_a_certified_header_are_taken() {
    let taken = Answer::honest().check().expect("everything fits");
    assert_eq!(taken.iter().map(|commit| commit.record.height).collect::<Vec<_>>(), [Height(1), Height(2)]);
    assert_eq!(taken[0].blocks[0].0.author(), AuthorityIndex(0));
}

#[test]
fn a_certificate_without_a_quorum_proves_nothing() {
    let answer = Answer { voters: vec![0, 1], ..Answer::honest() };
    assert_eq!(answer.check().map(|_| ()), Err("invalid_certificate"));
}

#[test]
fn a_certified_header_of_another_commit_proves_nothing() {
    let mut answer = Answer::honest();
    answer.commits[1].record.timestamp = TimestampMs(9);
    assert_eq!(answer.check().map(|_| ()), Err("commits_of_another_certificate"));
}

#[test]
fn a_commit_below_the_certified_one_cannot_be_changed() {
    let mut answer = Answer::honest();
    answer.commits[0].record.timestamp = TimestampMs(9);
    assert_eq!(answer.check().map(|_| ()), Err("broken_commit_chain"));
}

#[test]
fn commits_that_do_not_continue_ours_are_refused() {
    let mut answer = Answer::honest();
    answer.commits.remove(0);
    assert_eq!(answer.check().map(|_| ()), Err("broken_commit_chain"));
}

#[test]
fn a_block_or_payload_cannot_be_exchanged() {
    let mut answer = Answer::honest();
    answer.commits[0].blocks[0].1 = Payload::build([transfer(77, 10_000).raw()]).raw().clone();
    assert_eq!(answer.check().map(|_| ()), Err("block_not_of_its_commit"));
    let mut answer = Answer::honest();
    answer.commits[0].blocks = answer.commits[1].blocks.clone();
    assert_eq!(answer.check().map(|_| ()), Err("block_not_of_its_commit"));
}
