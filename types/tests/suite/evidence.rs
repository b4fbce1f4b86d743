//! Proofs of invalid transactions: who put one into a signed block is convicted, nobody else.

use crate::samples::Random;
use types::block::BlockBody;
use types::evidence::EVIDENCE_TRANSACTION_BYTES_MAX;
use types::{
    Amount, AuthorityIndex, BlockHeader, ChainId, Decode, Digest, Encode, Epoch, Evidence, InvalidTransaction, Payload,
    Round, SecretKey, TimestampMs, Transaction, TransactionBody,
};

fn chain() -> ChainId {
    ChainId(Digest::sha256(b"evidence"))
}

fn transaction(nonce: u64) -> Transaction {
    let key = SecretKey::ed25519_from_seed([7; 32]);
    let body =
        TransactionBody::Transfer { to: key.public_key().address(), amount: Amount(1), memo: vec![1, 2, 3].into() };
    Transaction::sign(&chain(), &key, 1_000, nonce, body).unwrap()
}

/// A valid transaction, one with a wrong signature, bytes that are none, and one of another ledger.
fn payload() -> Payload {
    let mut forged = transaction(1).raw().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let mut elsewhere = transaction(2).raw().to_vec();
    elsewhere[5] ^= 1;
    Payload::build([transaction(0).raw().to_vec(), forged, vec![0xff; 40], elsewhere])
}

fn header(payload: &Payload) -> BlockHeader {
    let mut random = Random::new(3);
    let body =
        BlockBody { payload: payload.descriptor(), misbehaviour: vec![random.evidence()], ..random.block_body() };
    let statement = BlockHeader::statement_for(chain(), Epoch(1), Round(5), AuthorityIndex(2), &body, &[]);
    BlockHeader::new(statement, body, Vec::new(), random.signature())
}

fn proof(index: usize) -> InvalidTransaction {
    InvalidTransaction::of(&header(&payload()), &payload(), index).unwrap()
}

#[test]
fn a_transaction_of_a_block_is_shown_to_be_of_it_and_valid_ones_convict_nobody() {
    for (index, invalid) in [(0, false), (1, true), (2, true), (3, true)] {
        let proof = proof(index);
        assert!(proof.is_of_its_block(), "transaction {index}");
        assert_eq!(proof.is_invalid(&chain()), invalid, "transaction {index}");
        let evidence = Evidence::InvalidTransaction(proof);
        assert_eq!(evidence.culprit(), AuthorityIndex(2));
        assert_eq!(evidence.signed(), [&(*header(&payload()).statement(), header(&payload()).signature().clone())]);
        assert_eq!(Evidence::from_bytes(&evidence.to_bytes()), Ok(evidence));
    }
    assert_eq!(InvalidTransaction::of(&header(&payload()), &payload(), 4), None);
}

#[test]
fn a_proof_that_was_tampered_with_is_of_no_block() {
    let honest = Evidence::InvalidTransaction(proof(1)).to_bytes();
    let signed = 1 + header(&payload()).statement().to_bytes().len() + header(&payload()).signature().to_bytes().len();
    // Whatever is changed behind the signed statement: it does not decode, or is not of the block any more.
    for position in signed..honest.len() {
        let mut tampered = honest.clone();
        tampered[position] ^= 1;
        if let Ok(Evidence::InvalidTransaction(proof)) = Evidence::from_bytes(&tampered) {
            assert!(!proof.is_of_its_block(), "byte {position}");
        }
    }
}

#[test]
fn what_no_genesis_allows_is_not_carried() {
    let payload =
        Payload::build([vec![0; EVIDENCE_TRANSACTION_BYTES_MAX + 1], vec![0; EVIDENCE_TRANSACTION_BYTES_MAX]]);
    let header = header(&payload);
    assert_eq!(InvalidTransaction::of(&header, &payload, 0), None);
    let largest = InvalidTransaction::of(&header, &payload, 1).unwrap();
    assert!(largest.is_of_its_block() && largest.is_invalid(&chain()));
}

#[test]
fn the_time_of_a_block_is_part_of_what_is_proven() {
    let mut body = header(&payload()).body().clone();
    body.timestamp = TimestampMs(body.timestamp.0 ^ 1);
    let statement = *header(&payload()).statement();
    let other = BlockHeader::new(statement, body, Vec::new(), header(&payload()).signature().clone());
    assert!(!InvalidTransaction::of(&other, &payload(), 1).unwrap().is_of_its_block());
}
