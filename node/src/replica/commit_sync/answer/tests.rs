//! What a peer answers is believed only as far as a certificate proves it.

use super::*;
use crate::fixtures::{block, genesis, ledger, transfer};
use types::{
    AuthorityIndex, Certificate, CommitRecord, Digest, Epoch, HeaderStatement, HeaderVote, LedgerHeader, Payload,
    TimestampMs,
};

/// What a peer makes of an honest answer.
struct Forged {
    commits: Vec<CommitWithBlocks>,
    voters: Vec<u16>,
    /// Whether the headers follow from what they are about, as far as a peer can make them.
    consistent: bool,
}

impl Forged {
    /// Two commits of one block each: a good transaction and one with a wrong signature.
    fn nothing() -> Self {
        let mut previous = Digest::ZERO;
        let commits = (1..=2)
            .map(|height| {
                let transactions = [transfer(height, 10_000), transfer(height + 100, 10_000)];
                let payload = Payload::build(transactions.iter().map(|transaction| transaction.raw()));
                let block = block(0, height * 3, Vec::new(), &payload, Vec::new());
                let leader = block.block_ref();
                let timestamp = TimestampMs(1_000 + height);
                let record = CommitRecord { height: Height(height), previous, leader, blocks: vec![leader], timestamp };
                previous = record.digest();
                let outcomes = vec![Outcome::Applied, Outcome::Rejected(Reject::BadSignature)];
                let receipts: Vec<_> = transactions
                    .iter()
                    .zip(&outcomes)
                    .map(|(transaction, outcome)| Receipt { transaction: transaction.id(), outcome: *outcome })
                    .collect();
                let header = header(Height(height), proof::receipt_root(&receipts));
                CommitWithBlocks {
                    record,
                    header,
                    outcomes,
                    blocks: vec![(block.raw().clone(), payload.raw().clone())],
                }
            })
            .collect();
        Self { commits, voters: vec![0, 1, 2], consistent: true }
    }

    /// The certificate is over the headers as they were made honestly, if `consistent`, else as they are now.
    fn check(mut self, forge: impl FnOnce(&mut Vec<CommitWithBlocks>)) -> Result<Vec<CertifiedCommit>, Refused> {
        if !self.consistent {
            forge(&mut self.commits);
            link(&mut self.commits);
            return self.certified(|_| ());
        }
        link(&mut self.commits);
        self.certified(forge)
    }

    fn certified(mut self, forge: impl FnOnce(&mut Vec<CommitWithBlocks>)) -> Result<Vec<CertifiedCommit>, Refused> {
        let (chain, committee) = ledger();
        let certified = &self.commits.last().expect("two commits").header;
        let vote = HeaderVote { height: certified.height, header: certified.digest() };
        let statement =
            |author: &u16| HeaderStatement::from(&*block(*author, 9, Vec::new(), &Payload::empty(), vec![vote]));
        let certificate = Certificate { vote, statements: self.voters.iter().map(statement).collect() };
        forge(&mut self.commits);
        let response = CommitsResponse {
            commits: self.commits,
            certificate: Some(certificate),
            oldest: Height(1),
            certified: Height(2),
        };
        let checker = Checker::new(chain, committee, genesis().parameters);
        check(&checker, Height(1), &response.to_body()).map(|answer| answer.commits)
    }
}

fn header(height: Height, receipt_root: Digest) -> LedgerHeader {
    let (chain, committee) = ledger();
    LedgerHeader {
        version: types::header::HEADER_VERSION,
        chain,
        epoch: committee.epoch(),
        committee: committee.digest(),
        height,
        previous: Digest::ZERO,
        commit: Digest::ZERO,
        transaction_root: Digest::ZERO,
        receipt_root,
        state_digest: Digest::ZERO,
        state_root: Digest::ZERO,
        timestamp: TimestampMs(1_000 + height.0),
        next_committee: None,
    }
}

/// Makes the headers name their records and each other.
fn link(commits: &mut [CommitWithBlocks]) {
    let mut previous = Digest::ZERO;
    for commit in commits {
        commit.header.commit = commit.record.digest();
        commit.header.previous = previous;
        previous = commit.header.digest();
    }
}

fn refused(forge: impl FnOnce(&mut Vec<CommitWithBlocks>)) -> Option<Refused> {
    Forged::nothing().check(forge).err()
}

#[test]
fn commits_up_to_a_certified_header_are_taken_with_the_verdicts_of_their_receipts() {
    let taken = Forged::nothing().check(|_| ()).expect("everything fits");
    assert_eq!(taken.iter().map(|commit| commit.record.height).collect::<Vec<_>>(), [Height(1), Height(2)]);
    let (header, received) = &taken[0].blocks[0];
    assert_eq!(header.author(), AuthorityIndex(0));
    assert_eq!(received.contents.verdicts(), Some(&[true, false][..]));
}

#[test]
fn a_certificate_without_a_quorum_proves_nothing() {
    let answer = Forged { voters: vec![0, 1], ..Forged::nothing() };
    assert_eq!(answer.check(|_| ()).err(), Some("invalid_certificate"));
}

#[test]
fn the_certificate_of_another_header_proves_nothing() {
    let wrong = refused(|commits| commits[1].header.timestamp = TimestampMs(9));
    assert_eq!(wrong, Some("commits_of_another_certificate"));
}

#[test]
fn no_commit_or_header_below_the_certified_one_can_be_changed() {
    assert_eq!(refused(|commits| commits[0].record.timestamp = TimestampMs(9)), Some("broken_commit_chain"));
    assert_eq!(refused(|commits| commits[1].record.timestamp = TimestampMs(9)), Some("broken_commit_chain"));
    assert_eq!(refused(|commits| commits[0].header.timestamp = TimestampMs(9)), Some("broken_commit_chain"));
    // A header that names the changed record, under a certificate that reaches it.
    let answer = Forged { consistent: false, ..Forged::nothing() };
    let wrong = answer.check(|commits| commits[0].record.timestamp = TimestampMs(9));
    assert_eq!(wrong.err(), Some("broken_commit_chain"));
}

#[test]
fn commits_that_do_not_start_where_they_were_asked_for_are_refused() {
    assert_eq!(refused(|commits| drop(commits.remove(0))), Some("broken_commit_chain"));
}

#[test]
fn commits_of_another_epoch_are_no_lie_and_nothing_is_taken_from_them() {
    let later = |commits: &mut Vec<CommitWithBlocks>| commits[1].header.epoch = Epoch(2);
    assert!(Forged::nothing().check(later).expect("no lie").is_empty());
}

#[test]
fn a_block_or_payload_cannot_be_exchanged() {
    let exchange = |commits: &mut Vec<CommitWithBlocks>| {
        commits[0].blocks[0].1 = Payload::build([transfer(77, 10_000).raw()]).raw().clone();
    };
    assert_eq!(refused(exchange), Some("block_not_of_its_commit"));
    assert_eq!(refused(|commits| commits[0].blocks = commits[1].blocks.clone()), Some("block_not_of_its_commit"));
}

#[test]
fn a_signature_that_is_not_its_authors_is_refused_though_the_certificate_covers_the_block() {
    let exchange = |commits: &mut Vec<CommitWithBlocks>| {
        let mut raw = commits[0].blocks[0].0.to_vec();
        *raw.last_mut().expect("a header has bytes") ^= 1;
        commits[0].blocks[0].0 = raw.into();
    };
    let wrong = refused(exchange);
    assert!(matches!(wrong, Some("header_signature" | "undecodable_header")), "{wrong:?}");
}

#[test]
fn verdicts_cannot_be_changed() {
    let accept = |commits: &mut Vec<CommitWithBlocks>| commits[0].outcomes[1] = Outcome::Applied;
    assert_eq!(refused(accept), Some("receipts_of_another_commit"));
    let reject = |commits: &mut Vec<CommitWithBlocks>| commits[1].outcomes[0] = Outcome::Rejected(Reject::BadSignature);
    assert_eq!(refused(reject), Some("receipts_of_another_commit"));
    assert_eq!(refused(|commits| commits[0].outcomes.truncate(1)), Some("receipts_of_another_commit"));
}
