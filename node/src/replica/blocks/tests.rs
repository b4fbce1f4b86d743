//! Matching of headers and payloads by scenario.

use super::*;
use crate::fixtures::{block, ledger, transfer};

fn payload(nonces: std::ops::Range<u64>) -> Payload {
    Payload::build(nonces.map(|nonce| transfer(nonce, 10_000).raw().clone()))
}

fn received(block: BlockRef, payload: &Payload) -> ReceivedPayload {
    let contents = Arc::new(Contents::parse(&ledger().0, payload));
    ReceivedPayload { block, payload: payload.clone(), descriptor: payload.descriptor(), contents }
}

#[test]
fn header_and_payload_meet_in_either_order() {
    let payload = payload(0..3);
    let header = block(1, 4, Vec::new(), &payload, Vec::new());
    let reference = header.block_ref();
    let mut blocks = Blocks::default();
    assert_eq!(blocks.put_header(Arc::clone(&header)), Matched::Waiting);
    assert_eq!(blocks.put_payload(received(reference, &payload)), Matched::Complete);
    let mut blocks = Blocks::default();
    assert_eq!(blocks.put_payload(received(reference, &payload)), Matched::Waiting);
    assert_eq!(blocks.put_header(header), Matched::Complete);
    assert_eq!(blocks.put_payload(received(reference, &payload)), Matched::Known);
}

#[test]
fn a_payload_that_is_not_the_headers_is_not_taken() {
    let header = block(1, 4, Vec::new(), &payload(0..3), Vec::new());
    let mut blocks = Blocks::default();
    blocks.put_header(Arc::clone(&header));
    assert_eq!(blocks.put_payload(received(header.block_ref(), &payload(0..2))), Matched::WrongPayload);
    assert_eq!(blocks.put_payload(received(header.block_ref(), &payload(0..3))), Matched::Complete, "the right one is");
}

#[test]
fn an_empty_block_needs_no_payload() {
    let header = block(2, 4, Vec::new(), &Payload::empty(), Vec::new());
    assert_eq!(Blocks::default().put_header(header), Matched::Complete);
}

#[test]
fn payloads_without_headers_are_bounded_for_each_author() {
    let payload = payload(0..1);
    let mut blocks = Blocks::default();
    for round in 1..=3 * ORPHAN_PAYLOADS_MAX as u64 {
        let header = block(1, round, Vec::new(), &payload, Vec::new());
        blocks.put_payload(received(header.block_ref(), &payload));
    }
    assert_eq!(blocks.orphans[&AuthorityIndex(1)].len(), ORPHAN_PAYLOADS_MAX);
}

#[test]
fn bytes_of_committed_payloads_go_once_the_log_has_them() {
    let payload = payload(0..1);
    let mut blocks = Blocks::default();
    for round in [4, 5, 9] {
        let mut entry = Entry::bare(block(1, round, Vec::new(), &payload, Vec::new()));
        entry.payload = Some(payload.clone());
        entry.committed = true;
        entry.position = (round != 5).then_some(LogPosition { segment: 0, offset: 4096 });
        blocks.put(entry.header.block_ref(), entry);
    }
    blocks.collect(Round(4), Round(8));
    let kept: Vec<_> = blocks.entries.values().map(|entry| (entry.header.round().0, entry.payload.is_some())).collect();
    assert_eq!(kept, [(4, false), (5, true), (9, true)]);
    blocks.collect(Round(5), Round(8));
    assert_eq!(blocks.len(), 2);
}
