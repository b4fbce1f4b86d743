//! The same promises for frames of clients and peers, and for records of the log. `node`'s tests replay these corpora.

use crate::checks::chain;
use crate::frame::FrameParser;
use crate::protocol::{Events, Submit};
use crate::records::{self, Commit, Proposal};
use crate::wire::{self, CommitsResponse, HeaderFrame, PayloadFrame, Request};
use bytes::Bytes;
use types::{Decode, Encode};

/// Both directions of the clients' protocol.
pub fn client_protocol(data: &[u8]) {
    let frame = Bytes::copy_from_slice(data);
    if let Ok(submit) = Submit::decode(&frame) {
        assert_eq!(submit.encode(), data);
    }
    if let Ok(events) = Events::decode(data) {
        assert_eq!(events.encode(), data);
    }
}

/// The cutting of a stream into frames: the first byte says how the stream is cut into chunks.
pub fn peer_frames(data: &[u8]) {
    const LIMIT: u32 = 4096;
    let Some((step, stream)) = data.split_first() else { return };
    let cut = |step: usize| {
        let (mut parser, mut frames) = (FrameParser::new(LIMIT), Vec::new());
        let result = stream
            .chunks(step.max(1))
            .try_for_each(|chunk| parser.push(Bytes::copy_from_slice(chunk), &mut frames));
        assert!(frames.iter().all(|frame| frame.len() <= LIMIT as usize));
        (result, frames, parser.mid_frame())
    };
    let (whole, chunked) = (cut(stream.len()), cut((*step).into()));
    assert_eq!((&whole.0, &whole.1), (&chunked.0, &chunked.1));
    if whole.0.is_ok() {
        assert_eq!(whole.2, chunked.2);
        let taken: usize = whole.1.iter().map(|frame| 4 + frame.len()).sum();
        assert_eq!(whole.2, taken < stream.len());
    }
}

/// Every message between validators.
pub fn wire(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    if let Ok(frame) = HeaderFrame::parse(&body) {
        assert_eq!(frame.to_frame(), data);
    }
    if let Ok(frame) = PayloadFrame::parse(&body) {
        assert_eq!(frame.to_frame(), data);
    }
    if let Ok(request) = Request::parse(&body) {
        assert_eq!(request.to_body(), data);
    }
    if let Ok(headers) = wire::parse_headers_response(&body) {
        assert_eq!(wire::headers_response(&headers), data);
    }
    if let Ok(payloads) = wire::parse_payloads_response(&body) {
        assert_eq!(wire::payloads_response(&payloads), data);
    }
    if let Ok(commits) = CommitsResponse::parse(&body) {
        assert_eq!(commits.to_body(), data);
    }
}

/// Every record of the log.
pub fn log_records(data: &[u8]) {
    let record = Bytes::copy_from_slice(data);
    if let Ok((proposal, payload)) = Proposal::parse(&record) {
        assert_eq!([proposal.to_part(), payload].concat(), data);
    }
    if let Ok((header, payload)) = records::parse_block(&chain(), &record) {
        assert_eq!([records::block_part(&header), payload].concat(), data);
    }
    if let Ok(commit) = Commit::from_bytes(data) {
        assert_eq!(commit.to_bytes(), data);
    }
}
