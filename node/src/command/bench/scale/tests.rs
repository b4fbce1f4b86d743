//! The bench over small committees: numbers that hang together, formulas that hold, files that are whole.

#![allow(clippy::unwrap_used)]

use super::*;
use bytes::Bytes;
use consensus::genesis_refs;
use consensus::sim::Keys;
use consensus::sim::traffic::weight;
use types::{AuthorityIndex, BlockRef, Digest, Height, Payload, Round};

use crate::wire::{
    CommitsResponse, HeaderFrame, HighestResponse, PayloadFrame, Request, headers_response, payloads_response,
};

fn options() -> Options {
    Options { transactions_per_second: 400, transaction_bytes: 300, link_ms: 20, seconds: 2, seed: 3 }
}

fn scale() -> Scale {
    let options = options();
    let results = [4, 7].map(|nodes| measure(&options, nodes).unwrap()).into();
    Scale { kind: "consensus", options, results }
}

/// The simulator's sizes are those of the frames that go to the wire.
#[test]
fn simulated_messages_weigh_what_the_frames_of_a_node_do() {
    let keys = Keys::generate(7);
    let config = keys.config(AuthorityIndex(0));
    let plain = keys.block(&config, Round(1), genesis_refs(&config), Vec::new(), 1, 0);
    let voting = keys.block(&config, Round(1), genesis_refs(&config), Vec::new(), 1, 9);
    let headers = [&*plain, &*voting];
    let raw = headers.map(|header| header.raw().clone());
    let len = |bytes: Bytes| bytes.len() as u64;
    for header in headers {
        assert_eq!(weight::own_header(header), len(HeaderFrame::Own(header.raw().clone()).to_frame()));
    }
    assert_eq!(weight::relayed_headers(headers), len(HeaderFrame::Relayed(raw.to_vec()).to_frame()));
    assert_eq!(weight::headers_answer(headers), len(headers_response(&raw)));
    let payload = Payload::build([[1u8; 300], [2; 300]]);
    let frame = PayloadFrame { block: voting.block_ref(), payload: payload.raw().clone() };
    assert_eq!(payload.descriptor().bytes, 2 * 304, "as the simulator counts transactions");
    assert_eq!(weight::payload(payload.descriptor().bytes), len(frame.to_frame()));
    assert_eq!(weight::payloads_answer([608, 608]), len(payloads_response(&[frame.clone(), frame])));
    let refs: Vec<BlockRef> = genesis_refs(&config);
    let frontier = vec![Round(3); 7];
    let request = Request::Headers { refs: refs.clone(), frontier };
    assert_eq!(weight::headers_request(refs.len(), 7), len(request.to_body()));
    assert_eq!(weight::payloads_request(refs.len()), len(Request::Payloads(refs.clone()).to_body()));
    let request = Request::Commits { from: Height(1), to: Height(2) };
    assert_eq!(weight::COMMITS_REQUEST, len(request.to_body()));
    assert_eq!(weight::HIGHEST_REQUEST, len(Request::Highest.to_body()));
    let answer = HighestResponse { asker: None, peer: Some(raw[1].clone()) };
    assert_eq!(weight::highest_answer([None, Some(headers[1])]), len(answer.to_body()));
    let none = CommitsResponse { commits: Vec::new(), certificate: None, oldest: Height(1), certified: Height(1) };
    let empty = weight::commits_answer(std::iter::empty::<(_, [&types::BlockHeader; 0])>());
    // Whether there is a certificate is a byte more.
    assert_eq!(empty + 1, len(none.to_body()));
    assert_eq!(weight::REF, 10 + Digest::ENCODED_LEN as u64);
}

#[test]
fn what_is_measured_agrees_with_the_formulas_and_with_itself() {
    for row in scale().results {
        for (name, ratio) in &row.over_paper {
            assert!((0.85..=1.1).contains(ratio), "{} validators, {name}: {ratio}", row.nodes);
        }
        assert_eq!(row.over_paper.len(), 9);
        let sum: f64 = row.sent_per_node.values().map(|rate| rate.bytes_per_second).sum();
        assert!((sum - row.bytes_per_second).abs() < 1e-6 * sum, "{row:?}");
        let all = row.bytes_per_second * f64::from(row.nodes);
        assert!((all / row.transactions_per_second / row.bytes_per_transaction - 1.0).abs() < 1e-6, "{row:?}");
        assert!((row.latency.p50_delays - row.latency.p50_ms / 20.0).abs() < 1e-9);
    }
}

#[test]
fn tables_page_and_drawing_are_whole() {
    let scale = scale();
    let (table, page, drawing) = (text::table(&scale), text::markdown(&scale), drawing::svg(&scale));
    assert!(table.contains("submission p50") && table.lines().count() > 10, "{table}");
    for words in
        ["## On paper", "| 7 |", "--nodes 4,7 --transactions-per-second 400", "by arithmetic", "What is heavy at 7"]
    {
        assert!(page.to_lowercase().contains(&words.to_lowercase()), "no `{words}` in\n{page}");
    }
    assert!(!page.contains("NaN") && !drawing.contains("NaN"));
    assert_eq!(drawing.matches("<svg").count(), 5);
    assert_eq!(drawing.matches("<svg").count(), drawing.matches("</svg>").count());
}
