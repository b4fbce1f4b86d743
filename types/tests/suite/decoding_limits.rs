//! Lists and texts at their limits and one over, and prefixes that promise more than there is.

use crate::allocations::bytes_allocated;
use crate::decoders::{self, PAYLOAD_COUNT_MAX, chain};
use crate::samples::Random;
use bytes::Bytes;
use std::fmt::Debug;
use types::block::{ANCESTORS_MAX, COMMIT_BLOCKS_MAX, EVIDENCE_MAX, LANES_MAX, VOTES_MAX};
use types::committee::COMMITTEE_MAX;
use types::{
    Authority, BlockBody, BlockHeader, Certificate, CommitRecord, Decode, DecodeError, Encode, MerkleProof, Payload,
    Reader, Transaction, TransactionBody,
};

/// `value` is read at its limit; `over`, one item longer, is refused with the name of the list.
fn check_limit<T: Encode + Decode + PartialEq + Debug>(value: &T, over: &T, field: &'static str, limit: usize) {
    assert_eq!(T::from_bytes(&value.to_bytes()).as_ref(), Ok(value));
    let error = T::from_bytes(&over.to_bytes()).unwrap_err();
    assert_eq!(error, DecodeError::TooLong { field, length: limit + 1, limit });
}

#[test]
fn lists_of_a_block_body_end_at_their_limits() {
    let mut random = Random::new(1);
    let body = BlockBody { ancestors: vec![], lane_roots: vec![], misbehaviour: vec![], ..random.block_body() };
    let ancestors = |count| BlockBody { ancestors: vec![Random::new(2).block_ref(); count], ..body.clone() };
    check_limit(&ancestors(ANCESTORS_MAX), &ancestors(ANCESTORS_MAX + 1), "ancestors", ANCESTORS_MAX);
    let lanes = |count| BlockBody { lane_roots: vec![Random::new(3).digest(); count], ..body.clone() };
    check_limit(&lanes(LANES_MAX), &lanes(LANES_MAX + 1), "lane roots", LANES_MAX);
    let proofs = |count| BlockBody { misbehaviour: vec![Random::new(4).evidence(); count], ..body.clone() };
    check_limit(&proofs(EVIDENCE_MAX), &proofs(EVIDENCE_MAX + 1), "misbehaviour", EVIDENCE_MAX);
}

#[test]
fn votes_of_a_header_end_at_their_limit() {
    let mut random = Random::new(5);
    let body = random.block_body();
    let (statement, signature, vote) = (random.statement(), random.signature(), random.vote());
    let header = |count| BlockHeader::new(statement, body.clone(), vec![vote; count], signature.clone()).raw().clone();
    assert_eq!(BlockHeader::parse(&chain(), header(VOTES_MAX)).unwrap().votes().len(), VOTES_MAX);
    let error = BlockHeader::parse(&chain(), header(VOTES_MAX + 1)).unwrap_err();
    assert_eq!(error, DecodeError::TooLong { field: "votes", length: VOTES_MAX + 1, limit: VOTES_MAX });
}

#[test]
fn statements_votes_and_paths_end_at_their_limits() {
    let mut random = Random::new(6);
    let (vote, mut statement) = (random.vote(), random.header_statement());
    let certificate = |count| Certificate { vote, statements: vec![Random::new(7).header_statement(); count] };
    check_limit(&certificate(COMMITTEE_MAX), &certificate(COMMITTEE_MAX + 1), "statements", COMMITTEE_MAX);
    statement.votes = vec![vote; VOTES_MAX];
    let mut over = statement.clone();
    over.votes.push(vote);
    check_limit(&statement, &over, "votes", VOTES_MAX);
    let proof = |count| MerkleProof { index: 0, count: 1, path: vec![Random::new(8).digest(); count] };
    check_limit(&proof(40), &proof(41), "merkle path", 40);
}

#[test]
fn blocks_of_a_commit_end_at_their_limit() {
    let record = CommitRecord { blocks: vec![], ..Random::new(9).commit_record() };
    let mut bytes = record.to_bytes();
    let length = COMMIT_BLOCKS_MAX + 1;
    let prefix = bytes.len() - 12;
    bytes[prefix..prefix + 4].copy_from_slice(&(length as u32).to_le_bytes());
    let error = DecodeError::TooLong { field: "committed blocks", length, limit: COMMIT_BLOCKS_MAX };
    assert_eq!(CommitRecord::from_bytes(&bytes), Err(error));
}

#[test]
fn memos_and_payloads_end_at_their_limits() {
    let mut random = Random::new(10);
    let (secret, document) = (random.secret(), random.digest());
    let sign = |memo: usize| {
        let body = TransactionBody::Certify { document, memo: vec![0; memo].into() };
        Transaction::sign(&chain(), &secret, 1, 1, body)
    };
    assert!(sign(1 << 16).is_ok());
    assert_eq!(sign((1 << 16) + 1), Err(DecodeError::TooLong { field: "memo", length: 65_537, limit: 65_536 }));
    let payload = |count| Payload::build(vec![[]; count]).raw().clone();
    let at_limit = Payload::parse(payload(PAYLOAD_COUNT_MAX), PAYLOAD_COUNT_MAX).unwrap();
    assert_eq!(at_limit.len(), PAYLOAD_COUNT_MAX);
    let error = Payload::parse(payload(PAYLOAD_COUNT_MAX + 1), PAYLOAD_COUNT_MAX).unwrap_err();
    assert_eq!(error, DecodeError::TooLong { field: "payload", length: 4097, limit: 4096 });
}

#[test]
fn texts_of_a_validator_are_bounded_and_canonical() {
    let mut random = Random::new(11);
    let mut named = |length: usize| random.authority("x".repeat(length));
    let (value, over) = (named(255), named(256));
    check_limit(&value, &over, "validator name", 255);
    let encoded = value.to_bytes();
    let address = value.rpc_address.to_string();
    let start = encoded.len() - address.len() - 4;
    let with = |written: &str| {
        let mut bytes = encoded[..start].to_vec();
        types::codec::put_bytes(&mut bytes, written.as_bytes());
        Authority::from_bytes(&bytes)
    };
    assert_eq!(with(&address), Ok(value.clone()));
    for wrong in ["", "localhost:1", "127.0.0.1", "127.0.0.1:70000", "127.0.0.1:01", "[0:0::1]:1", "[::FF]:1"] {
        assert_eq!(with(wrong), Err(DecodeError::NotCanonical { field: "address" }), "{wrong}");
    }
    let mut no_text = encoded.clone();
    no_text[4] = 0xff;
    assert_eq!(Authority::from_bytes(&no_text), Err(DecodeError::NotCanonical { field: "validator name" }));
}

#[test]
fn a_list_that_promises_more_than_there_is_allocates_nothing() {
    // A megabyte of input, and a prefix within the limit that claims a million blocks of 43 bytes.
    let record = CommitRecord { blocks: vec![], ..Random::new(12).commit_record() };
    let mut bytes = record.to_bytes();
    let prefix = bytes.len() - 12;
    bytes[prefix..prefix + 4].copy_from_slice(&(COMMIT_BLOCKS_MAX as u32).to_le_bytes());
    bytes.resize(1 << 20, 0x81);
    let (allocated, result) = bytes_allocated(|| CommitRecord::from_bytes(&bytes));
    assert!(matches!(result, Err(DecodeError::Truncated { .. })), "{result:?}");
    assert!(allocated < 1024, "{allocated} bytes");
}

#[test]
fn a_list_reserves_about_what_it_holds() {
    let mut random = Random::new(13);
    let record = CommitRecord { blocks: vec![random.block_ref(); 10_000], ..random.commit_record() };
    let bytes = record.to_bytes();
    let (allocated, result) = bytes_allocated(|| CommitRecord::from_bytes(&bytes));
    assert_eq!(result.as_ref(), Ok(&record));
    assert!(allocated < bytes.len() * 5 / 4, "{allocated} bytes for {}", bytes.len());
}

#[test]
fn a_lying_prefix_anywhere_allocates_within_the_input() {
    for decoder in decoders::all() {
        let mut random = Random::new(14);
        for _ in 0..3 {
            let sample = (decoder.sample)(&mut random);
            let stride = 1 + sample.len() / 2000;
            for start in (0..sample.len().saturating_sub(3)).step_by(stride) {
                for lie in [u32::MAX, i32::MAX as u32, COMMIT_BLOCKS_MAX as u32, 65_536, 512, 100, 64, 40, 8] {
                    let mut bytes = sample.clone();
                    bytes[start..start + 4].copy_from_slice(&lie.to_le_bytes());
                    // Reading, and for the few lies that are values, writing again.
                    let (allocated, _) = bytes_allocated(|| (decoder.rewrite)(&bytes));
                    let limit = 12 * bytes.len() + 2048;
                    assert!(allocated <= limit, "{}: {allocated} bytes for {}", decoder.name, bytes.len());
                }
            }
        }
    }
}

#[test]
fn a_reader_stops_where_the_bytes_do() {
    let mut reader = Reader::new(&[1, 2, 3]);
    assert_eq!(reader.take(usize::MAX), Err(DecodeError::Truncated { needed: usize::MAX, left: 3 }));
    assert_eq!(reader.array::<2>(), Ok([1, 2]));
    assert_eq!((reader.position(), reader.remaining()), (2, 1));
    assert_eq!(reader.finish(), Err(DecodeError::TrailingBytes { count: 1 }));
    assert_eq!(reader.bytes("x", 1), Err(DecodeError::Truncated { needed: 4, left: 1 }));
    let empty = Reader::new(&[]).list::<u64>("x", 1);
    assert_eq!(empty, Err(DecodeError::Truncated { needed: 4, left: 0 }));
    let unread = Payload::parse(Bytes::from_static(&[5, 0, 0, 0, 1]), 1).unwrap_err();
    assert!(matches!(unread, DecodeError::TooLong { .. } | DecodeError::Truncated { .. }));
}
