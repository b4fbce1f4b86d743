//! What a peer's bytes become, by scenario.

use super::*;
use crate::fixtures::{block, genesis, key, ledger, transfer};
use types::{BlockRef, Epoch, HeaderVote, RoundStatement, StatementSignature};

fn checker() -> Checker {
    let (chain, committee) = ledger();
    Checker::new(chain, committee, genesis().parameters)
}

fn header(author: u16) -> Arc<BlockHeader> {
    block(author, 4, Vec::new(), &Payload::empty(), Vec::new())
}

fn take(peer: u16, class: Class, bytes: Bytes) -> Result<Vec<Fact>, Refused> {
    frame(&checker(), AuthorityIndex(peer), class, bytes)
}

fn refusal(result: Result<Vec<Fact>, Refused>) -> Refused {
    result.map(|facts| facts.len()).expect_err("it is refused")
}

#[test]
fn a_peers_own_signed_header_is_a_fact() {
    let facts = take(1, Class::Header, HeaderFrame::Own(header(1).raw().clone()).to_frame()).expect("it is its own");
    assert!(matches!(&facts[..], [Fact::Header { header, from }] if header.author() == *from));
}

#[test]
fn a_block_of_another_sent_as_own_is_refused_and_relayed_is_not() {
    let raw = header(2).raw().clone();
    assert_eq!(refusal(take(1, Class::Header, HeaderFrame::Own(raw.clone()).to_frame())), "block_of_another_as_own");
    assert_eq!(take(1, Class::Header, HeaderFrame::Relayed(vec![raw]).to_frame()).map(|facts| facts.len()), Ok(1));
}

#[test]
fn a_header_under_a_wrong_signature_is_refused() {
    let honest = header(1);
    let forged = key(2).sign(&honest.statement().message());
    let forged = BlockHeader::new(*honest.statement(), honest.body().clone(), Vec::new(), forged);
    assert_eq!(refusal(take(1, Class::Header, HeaderFrame::Own(forged.raw().clone()).to_frame())), "header_signature");
}

#[test]
fn a_header_of_another_epoch_is_refused_as_such_whoever_sends_it_and_its_epoch_is_noted() {
    let (chain, committee) = ledger();
    let next = Committee::new(Epoch(2), committee.authorities().to_vec()).expect("the same validators");
    let checker = Checker::new(chain, Arc::new(next), genesis().parameters);
    let own = HeaderFrame::Own(header(1).raw().clone()).to_frame();
    let relayed = HeaderFrame::Relayed(vec![header(2).raw().clone()]).to_frame();
    for bytes in [own.clone(), relayed.clone()] {
        assert_eq!(refusal(frame(&checker, AuthorityIndex(1), Class::Header, bytes)), OTHER_EPOCH);
    }
    assert_eq!(epoch_of(&checker, &own), Some(Epoch(1)));
    assert_eq!(epoch_of(&checker, &relayed), None, "what others made says nothing of the sender");
}

#[test]
fn an_author_outside_the_committee_is_refused() {
    let stranger = block(9, 4, Vec::new(), &Payload::empty(), Vec::new());
    assert_eq!(
        refusal(take(1, Class::Header, HeaderFrame::Relayed(vec![stranger.raw().clone()]).to_frame())),
        "unknown_author"
    );
}

#[test]
fn nobody_is_accused_by_forged_evidence() {
    let statement = |votes: &[HeaderVote], signer: u16| -> (RoundStatement, StatementSignature) {
        let body = header(3).body().clone();
        let statement =
            BlockHeader::statement_for(ledger().0, Epoch(1), types::Round(3), AuthorityIndex(3), &body, votes);
        (statement, key(signer).sign(&statement.message()).into())
    };
    let other = [HeaderVote { height: types::Height(1), header: types::Digest::ZERO }];
    for (signer, verdict) in [(3, Ok(1)), (2, Err("evidence_signature"))] {
        let mut pair = [statement(&[], 3), statement(&other, signer)];
        pair.sort_by_key(|(statement, _)| statement.digest());
        let [first, second] = pair;
        let mut body = header(1).body().clone();
        body.misbehaviour = vec![Evidence::Equivocation { first, second }];
        let statement =
            BlockHeader::statement_for(ledger().0, Epoch(1), types::Round(4), AuthorityIndex(1), &body, &[]);
        let signature = key(1).sign(&statement.message());
        let accusing = BlockHeader::new(statement, body, Vec::new(), signature);
        let taken = take(1, Class::Header, HeaderFrame::Own(accusing.raw().clone()).to_frame());
        assert_eq!(taken.map(|facts| facts.len()), verdict);
    }
}

#[test]
fn payloads_come_from_their_author_within_the_limits() {
    let payload = Payload::build([transfer(1, 10_000).raw()]);
    let frame = |block: BlockRef, payload: Bytes| PayloadFrame { block, payload }.to_frame();
    let own = header(1).block_ref();
    assert_eq!(take(1, Class::Payload, frame(own, payload.raw().clone())).map(|facts| facts.len()), Ok(1));
    assert_eq!(refusal(take(2, Class::Payload, frame(own, payload.raw().clone()))), "payload_of_another");
    let limit = genesis().parameters.block_payload_bytes_max as usize;
    assert_eq!(refusal(take(1, Class::Payload, frame(own, vec![0; limit + 1].into()))), "payload_too_large");
    assert_eq!(refusal(take(1, Class::Payload, frame(own, vec![9; 64].into()))), "undecodable_payload");
}

#[test]
fn random_bytes_are_refused_on_every_class() {
    for class in Class::ALL {
        for length in 0..200_usize {
            let bytes: Vec<u8> = (0..length).map(|index| (index * 131 + length * 7) as u8).collect();
            assert!(take(1, class, bytes.into()).is_err());
        }
    }
}
