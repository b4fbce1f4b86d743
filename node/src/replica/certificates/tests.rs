//! Certificates by scenario.

use super::*;
use crate::fixtures::{block, ledger};
use types::Payload;

fn vote(height: u64, header: &[u8]) -> HeaderVote {
    HeaderVote { height: Height(height), header: Digest::sha256(header) }
}

fn votes(author: u16, round: u64, votes: Vec<HeaderVote>) -> Arc<BlockHeader> {
    block(author, round, Vec::new(), &Payload::empty(), votes)
}

#[test]
fn votes_of_a_quorum_make_a_certificate_that_verifies() {
    let (chain, committee) = ledger();
    let mut certificates = Certificates::new(Arc::clone(&committee), Height(0));
    assert!(certificates.count(&votes(0, 5, vec![vote(1, b"h")])).is_empty());
    assert!(certificates.count(&votes(1, 5, vec![vote(1, b"h")])).is_empty());
    let complete = certificates.count(&votes(3, 7, vec![vote(1, b"h")]));
    assert_eq!(complete.len(), 1);
    complete[0].verify(chain, &committee).expect("three of four are a quorum");
}

#[test]
fn a_validator_counts_once_and_its_first_vote_stands() {
    let mut certificates = Certificates::new(ledger().1, Height(0));
    for round in 5..9 {
        assert!(certificates.count(&votes(0, round, vec![vote(1, b"h")])).is_empty());
    }
    certificates.count(&votes(1, 5, vec![vote(1, b"other")]));
    assert!(certificates.count(&votes(1, 6, vec![vote(1, b"h")])).is_empty(), "its vote is for the other");
    assert!(certificates.count(&votes(2, 6, vec![vote(1, b"h")])).is_empty(), "two are no quorum");
}

#[test]
fn heights_that_are_certified_or_far_ahead_are_not_collected() {
    let mut certificates = Certificates::new(ledger().1, Height(10));
    for author in 0..4 {
        let header = votes(author, 5, vec![vote(10, b"old"), vote(10 + WINDOW + 1, b"ahead")]);
        assert!(certificates.count(&header).is_empty());
    }
    assert!(certificates.votes.is_empty());
}

#[test]
fn a_credible_height_has_an_honest_witness() {
    let mut certificates = Certificates::new(ledger().1, Height(0));
    certificates.count(&votes(0, 5, vec![vote(900, b"a liar's")]));
    assert_eq!(certificates.credible_height(), Height(0));
    certificates.count(&votes(1, 5, vec![vote(40, b"h")]));
    assert_eq!(certificates.credible_height(), Height(40), "one of two who reached it is honest");
}

#[test]
fn a_header_of_our_own_is_contradicted_by_an_honest_witness_only() {
    let mut certificates = Certificates::new(ledger().1, Height(0));
    let own = Digest::sha256(b"own");
    certificates.count(&votes(0, 5, vec![vote(1, b"other")]));
    assert_eq!(certificates.contradicts(Height(1), own), None);
    certificates.count(&votes(1, 5, vec![vote(1, b"other")]));
    assert_eq!(certificates.contradicts(Height(1), own), Some(vote(1, b"other")));
}
