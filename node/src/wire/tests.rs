//! Messages between validators: read back, cut, flipped, random, and at their limits. A peer's bytes never panic, and
//! what is accepted has one encoding.

use super::*;
use crate::state_sync::certified::Vouched;
use crate::wire::state::{
    Certified, CommitWithHeaders, ManifestResponse, Offer, OffersResponse, StateRequest, history_response,
    parse_history_response,
};
use samples::Random;
use types::block::{ANCESTORS_MAX, EVIDENCE_MAX, LANES_MAX, VOTES_MAX};
use types::evidence::EVIDENCE_TRANSACTION_BYTES_MAX;
use types::{
    AlgId, BlockBody, BlockHeader, ChainId, Digest, Evidence, InvalidTransaction, Payload, Signature,
    StatementSignature,
};

/// Random values of every wire type, as the tests of `types` use them.
#[allow(dead_code, clippy::unwrap_used)]
#[path = "../../../types/tests/suite/samples.rs"]
pub mod samples;

type Rewrite = fn(&Bytes) -> Result<Bytes, DecodeError>;

/// One kind of message.
struct Message {
    name: &'static str,
    sample: fn(&mut Random) -> Bytes,
    /// Reads, and encodes what was read.
    rewrite: Rewrite,
    /// Ends with bytes that last until the frame does.
    open_ended: bool,
}

const HEADER_FRAME: Rewrite = |frame| HeaderFrame::parse(frame).map(|frame| frame.to_frame());
const REQUEST: Rewrite = |body| Request::parse(body).map(|request| request.to_body());

fn chain() -> ChainId {
    ChainId(Digest::sha256(b"the ledger of the decoding tests"))
}

fn raw_header(random: &mut Random) -> Bytes {
    random.block_header(chain()).raw().clone()
}

fn payload_frame(random: &mut Random) -> PayloadFrame {
    PayloadFrame { block: random.block_ref(), payload: random.payload().raw().clone() }
}

fn commits(random: &mut Random) -> CommitsResponse {
    let commit = |random: &mut Random| {
        let record = random.commit_record();
        let blocks = record.blocks.iter().map(|_| (raw_header(random), random.payload().raw().clone())).collect();
        CommitWithBlocks { record, header: random.ledger_header(), outcomes: random.list(4, Random::outcome), blocks }
    };
    let commits = random.list(3, commit);
    let certificate = (!commits.is_empty()).then(|| random.certificate());
    CommitsResponse { commits, certificate, oldest: Height(random.number()), certified: Height(random.number()) }
}

fn answer(commits: Vec<CommitWithBlocks>, certificate: Option<types::Certificate>) -> CommitsResponse {
    CommitsResponse { commits, certificate, oldest: Height(1), certified: Height(9) }
}

fn messages() -> [Message; 14] {
    let message =
        |name, open_ended, rewrite, sample: fn(&mut Random) -> Bytes| Message { name, sample, rewrite, open_ended };
    [
        message("own header", true, HEADER_FRAME, |random| HeaderFrame::Own(raw_header(random)).to_frame()),
        message("relayed headers", false, HEADER_FRAME, |random| {
            HeaderFrame::Relayed(random.list(4, raw_header)).to_frame()
        }),
        message(
            "payload",
            true,
            |frame| PayloadFrame::parse(frame).map(|frame| frame.to_frame()),
            |random| payload_frame(random).to_frame(),
        ),
        message("request for headers", false, REQUEST, |random| {
            let (refs, frontier) = (random.list(5, Random::block_ref), random.list(5, Random::round));
            Request::Headers { refs, frontier }.to_body()
        }),
        message("request for payloads", false, REQUEST, |random| {
            Request::Payloads(random.list(5, Random::block_ref)).to_body()
        }),
        message(
            "headers",
            false,
            |body| parse_headers_response(body).map(|headers| headers_response(&headers)),
            |random| headers_response(&random.list(4, raw_header)),
        ),
        message(
            "payloads",
            false,
            |body| parse_payloads_response(body).map(|payloads| payloads_response(&payloads)),
            |random| payloads_response(&random.list(4, payload_frame)),
        ),
        message(
            "commits",
            false,
            |body| CommitsResponse::parse(body).map(|commits| commits.to_body()),
            |random| commits(random).to_body(),
        ),
        message(
            "highest blocks",
            false,
            |body| HighestResponse::parse(body).map(|answer| answer.to_body()),
            |random| {
                let header = |random: &mut Random| (random.below(2) > 0).then(|| raw_header(random));
                HighestResponse { asker: header(random), peer: header(random) }.to_body()
            },
        ),
        message("request for a chunk", false, REQUEST, |random| {
            let request = StateRequest::Chunk { manifest: random.digest(), index: random.number() as u32 };
            Request::State(request).to_body()
        }),
        message(
            "offers",
            false,
            |body| OffersResponse::from_bytes(body).map(|answer| answer.to_bytes().into()),
            |random| {
                let offer = |random: &mut Random| Offer {
                    height: Height(random.number()),
                    manifest: random.digest(),
                    bytes: random.number(),
                };
                OffersResponse { offers: random.list(4, offer), preparing: random.below(2) > 0 }.to_bytes().into()
            },
        ),
        message(
            "manifest",
            false,
            |body| ManifestResponse::from_bytes(body).map(|answer| answer.to_bytes().into()),
            |random| {
                let root = (random.below(2) > 0).then(|| (random.ledger_header(), random.certificate()));
                let certified = Certified { header: random.ledger_header(), certificate: random.certificate(), root };
                ManifestResponse { manifest: random.state_manifest(), certified }.to_bytes().into()
            },
        ),
        message(
            "vouched",
            false,
            |body| Vouched::from_bytes(body).map(|vouched| vouched.to_bytes().into()),
            |random| {
                let certified =
                    Certified { header: random.ledger_header(), certificate: random.certificate(), root: None };
                let commits = (random.below(2) > 0).then(Vec::new);
                Vouched { certified, epochs: random.list(2, Random::epoch_change), commits }.to_bytes().into()
            },
        ),
        message(
            "history",
            false,
            |body| parse_history_response(body).map(|commits| history_response(&commits)),
            |random| {
                let commit = |random: &mut Random| {
                    let record = random.commit_record();
                    let headers = record.blocks.iter().map(|_| raw_header(random)).collect();
                    CommitWithHeaders { record, headers }
                };
                history_response(&random.list(3, commit))
            },
        ),
    ]
}

/// Accepted bytes are canonical; refused ones do not panic.
fn check(message: &Message, bytes: Bytes) -> bool {
    match (message.rewrite)(&bytes) {
        Ok(written) => {
            assert!(written == bytes, "{}: a second encoding of {}", message.name, hex::encode(bytes));
            true
        }
        Err(_) => false,
    }
}

#[test]
fn decoding_gives_back_every_message() {
    for message in messages() {
        let mut random = Random::new(1);
        for _ in 0..100 {
            let sample = (message.sample)(&mut random);
            assert!(check(&message, sample), "{}", message.name);
        }
    }
    let response = commits(&mut Random::new(2));
    assert_eq!(CommitsResponse::parse(&response.to_body()), Ok(response));
    let from = Request::Commits { from: Height(u64::MAX), to: Height(0) };
    assert_eq!(Request::parse(&from.to_body()), Ok(from));
}

#[test]
fn decoding_refuses_truncated_and_extended_messages() {
    for message in messages() {
        let mut random = Random::new(3);
        for _ in 0..4 {
            let sample = (message.sample)(&mut random);
            for length in 0..sample.len() {
                let accepted = check(&message, sample.slice(..length));
                assert!(!accepted || message.open_ended, "{}: {length} of {} bytes", message.name, sample.len());
            }
            let extended: Bytes = [&sample[..], &[0]].concat().into();
            if !message.open_ended {
                let error = (message.rewrite)(&extended).expect_err("one byte too many");
                assert_eq!(error, DecodeError::TrailingBytes { count: 1 }, "{}", message.name);
            }
        }
    }
}

#[test]
fn decoding_survives_flipped_bits_and_lying_lengths() {
    for message in messages() {
        let mut random = Random::new(4);
        for _ in 0..3 {
            let sample = (message.sample)(&mut random);
            let stride = 1 + sample.len() / 300;
            for bit in (0..sample.len() * 8).step_by(stride) {
                let mut flipped = sample.to_vec();
                flipped[bit / 8] ^= 1 << (bit % 8);
                check(&message, flipped.into());
            }
            for start in (0..sample.len().saturating_sub(3)).step_by(stride) {
                for lie in [u32::MAX, 1 << 20, 1024, 512, 64] {
                    let mut lying = sample.to_vec();
                    lying[start..start + 4].copy_from_slice(&lie.to_le_bytes());
                    check(&message, lying.into());
                }
            }
        }
    }
}

#[test]
fn decoding_survives_random_bytes() {
    let mut random = Random::new(5);
    for _ in 0..4000 {
        let length = random.below(300);
        let mut bytes = random.bytes(length);
        for byte in bytes.iter_mut().take(random.below(30)) {
            *byte &= 3;
        }
        let bytes = Bytes::from(bytes);
        for message in messages() {
            check(&message, bytes.clone());
        }
    }
}

#[test]
fn decoding_refuses_tags_to_come() {
    for tag in (0..=u8::MAX).filter(|tag| !(1..=2).contains(tag)) {
        let error = DecodeError::UnknownTag { field: "header frame", value: tag.into() };
        assert_eq!(HeaderFrame::parse(&Bytes::from(vec![tag; 40])), Err(error));
    }
    for tag in (0..=u8::MAX).filter(|tag| !(1..=6).contains(tag)) {
        let error = DecodeError::UnknownTag { field: "request", value: tag.into() };
        assert_eq!(Request::parse(&[tag; 40]), Err(error));
    }
    let mut body = answer(vec![], None).to_body().to_vec();
    *body.last_mut().expect("it is not empty") = 2;
    let error = DecodeError::UnknownTag { field: "option", value: 2 };
    assert_eq!(CommitsResponse::parse(&body.into()), Err(error));
}

#[test]
fn decoding_ends_at_the_limits_of_lists() {
    let mut random = Random::new(6);
    let reference = random.block_ref();
    let too_long = |field, limit| DecodeError::TooLong { field, length: limit + 1, limit };

    let headers = |count| vec![Bytes::from_static(b"h"); count];
    let relayed = |count| HeaderFrame::parse(&HeaderFrame::Relayed(headers(count)).to_frame());
    assert_eq!(relayed(HEADERS_MAX), Ok(HeaderFrame::Relayed(headers(HEADERS_MAX))));
    assert_eq!(relayed(HEADERS_MAX + 1), Err(too_long("headers", HEADERS_MAX)));
    let answered = |count| parse_headers_response(&headers_response(&headers(count)));
    assert_eq!(answered(HEADERS_MAX), Ok(headers(HEADERS_MAX)));
    assert_eq!(answered(HEADERS_MAX + 1), Err(too_long("headers", HEADERS_MAX)));

    let header = |bytes| headers_response(&[Bytes::from(vec![0; bytes])]);
    assert!(parse_headers_response(&header(HEADER_BYTES_MAX)).is_ok());
    assert_eq!(parse_headers_response(&header(HEADER_BYTES_MAX + 1)), Err(too_long("headers", HEADER_BYTES_MAX)));

    let payloads = |count| vec![PayloadFrame { block: reference, payload: Bytes::new() }; count];
    let answered = |count| parse_payloads_response(&payloads_response(&payloads(count)));
    assert_eq!(answered(PAYLOADS_MAX), Ok(payloads(PAYLOADS_MAX)));
    assert_eq!(answered(PAYLOADS_MAX + 1), Err(too_long("payloads", PAYLOADS_MAX)));

    let asked = |refs, frontier| {
        let request = Request::Headers { refs: vec![reference; refs], frontier: vec![Round(7); frontier] };
        Request::parse(&request.to_body()).map(|read| assert_eq!(read, request))
    };
    assert_eq!(asked(HEADERS_MAX, COMMITTEE_MAX), Ok(()));
    assert_eq!(asked(HEADERS_MAX + 1, 0), Err(too_long("header references", HEADERS_MAX)));
    assert_eq!(asked(0, COMMITTEE_MAX + 1), Err(too_long("frontier", COMMITTEE_MAX)));
    let asked = |count| Request::parse(&Request::Payloads(vec![reference; count]).to_body());
    assert!(asked(PAYLOADS_MAX).is_ok());
    assert_eq!(asked(PAYLOADS_MAX + 1), Err(too_long("payload references", PAYLOADS_MAX)));

    let record = CommitRecord { blocks: vec![], ..random.commit_record() };
    let commit = CommitWithBlocks { record, header: random.ledger_header(), outcomes: vec![], blocks: vec![] };
    let certificate = Some(random.certificate());
    let answered = |count| answer(vec![commit.clone(); count], certificate.clone());
    assert_eq!(CommitsResponse::parse(&answered(COMMITS_MAX).to_body()), Ok(answered(COMMITS_MAX)));
    assert_eq!(CommitsResponse::parse(&answered(COMMITS_MAX + 1).to_body()), Err(too_long("commits", COMMITS_MAX)));
}

#[test]
fn a_commit_has_a_header_and_a_payload_for_each_of_its_blocks() {
    let mut random = Random::new(7);
    let record = CommitRecord { blocks: vec![random.block_ref(); 3], ..random.commit_record() };
    let blocks = vec![(Bytes::from_static(b"header"), Bytes::from_static(b"payload")); 2];
    let commit = CommitWithBlocks { record, header: random.ledger_header(), outcomes: vec![], blocks };
    let short = answer(vec![commit], Some(random.certificate()));
    assert!(CommitsResponse::parse(&short.to_body()).is_err());
}

#[test]
fn commits_come_with_a_certificate_and_nothing_comes_without() {
    let mut random = Random::new(10);
    let error = Err(DecodeError::NotCanonical { field: "commits" });
    assert_eq!(CommitsResponse::parse(&answer(vec![], Some(random.certificate())).to_body()), error);
    let record = CommitRecord { blocks: vec![], ..random.commit_record() };
    let commit = CommitWithBlocks { record, header: random.ledger_header(), outcomes: vec![], blocks: vec![] };
    assert_eq!(CommitsResponse::parse(&answer(vec![commit], None).to_body()), error);
}

#[test]
fn the_largest_header_and_request_fit_their_limits() {
    let mut random = Random::new(8);
    let signature = StatementSignature::from(Signature::from_parts(AlgId::Ed25519, &[1; 64]).expect("64 bytes"));
    let (one, two) = (random.statement(), random.statement());
    let (first, second) = if one.digest() < two.digest() { (one, two) } else { (two, one) };
    let evidence = Evidence::Equivocation { first: (first, signature.clone()), second: (second, signature.clone()) };
    let body = BlockBody {
        ancestors: vec![random.block_ref(); ANCESTORS_MAX],
        lane_roots: vec![random.digest(); LANES_MAX],
        misbehaviour: vec![evidence; EVIDENCE_MAX - 1],
        ..random.block_body()
    };
    // Against a block as large as this one, about the largest of as many transactions as a block can have.
    let mut transactions = vec![Vec::new(); 1 << 16];
    transactions[0] = vec![0; EVIDENCE_TRANSACTION_BYTES_MAX];
    let payload = Payload::build(transactions);
    let accused = BlockBody { payload: payload.descriptor(), ..body.clone() };
    let accused = BlockHeader::new(random.statement(), accused, Vec::new(), signature.clone());
    let proof = InvalidTransaction::of(&accused, &payload, 0).expect("there are transactions");
    let mut body = body;
    body.misbehaviour.push(Evidence::InvalidTransaction(proof));
    let header = BlockHeader::new(random.statement(), body, vec![random.vote(); VOTES_MAX], signature);
    assert!(header.raw().len() <= HEADER_BYTES_MAX, "{} bytes", header.raw().len());

    let limits = transport::MeshLimits::default();
    assert!(HEADER_BYTES_MAX < limits.header.frame_bytes_max as usize);
    let refs = vec![random.block_ref(); HEADERS_MAX];
    let request = Request::Headers { refs, frontier: vec![Round(1); COMMITTEE_MAX] };
    assert!(request.to_body().len() <= limits.request_bytes_max as usize);
}

/// Replays of `types/fuzz/corpus`, and the writing of its seeds.
mod corpus {
    use super::*;
    use client::protocol::{Event, Events, Submit};
    use std::path::PathBuf;
    use transport::frame::FrameParser;
    use types::AuthorityIndex;

    fn folder(target: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../types/fuzz/corpus").join(target)
    }

    fn inputs(target: &str) -> Vec<Bytes> {
        let files = std::fs::read_dir(folder(target)).expect("the corpus is part of the sources");
        let read = |path: PathBuf| std::fs::read(path).expect("an input of the corpus").into();
        let inputs: Vec<Bytes> = files.map(|file| read(file.expect("a directory entry").path())).collect();
        assert!(inputs.len() >= 3, "{target} has {} inputs", inputs.len());
        inputs
    }

    #[test]
    fn messages_of_validators() {
        for input in inputs("wire") {
            for message in messages() {
                check(&message, input.clone());
            }
        }
    }

    #[test]
    fn frames_of_clients() {
        let mut accepted = 0;
        for input in inputs("client_protocol") {
            if let Ok(submit) = Submit::decode(&input) {
                assert_eq!(submit.encode(), input);
                accepted += 1;
            }
            if let Ok(events) = Events::decode(&input) {
                assert_eq!(events.encode(), input);
                accepted += 1;
            }
        }
        assert!(accepted >= 3, "{accepted} inputs are frames");
    }

    #[test]
    fn streams_of_frames() {
        let mut frames_seen = 0;
        for input in inputs("peer_frames") {
            let cut = |step: usize| {
                let (mut parser, mut frames) = (FrameParser::new(4096), Vec::new());
                let chunk = |chunk: &[u8]| parser.push(Bytes::copy_from_slice(chunk), &mut frames);
                let result = input[1..].chunks(step).try_for_each(chunk);
                (result, frames)
            };
            let whole = cut(input.len());
            for step in [1, 3, usize::from(input[0]).max(1)] {
                assert_eq!(cut(step), whole);
            }
            frames_seen += whole.1.len();
        }
        assert!(frames_seen >= 3, "{frames_seen} frames");
    }

    /// `cargo test -p stele -- --ignored write_the_seeds`.
    #[test]
    #[ignore = "writes into the source tree"]
    fn write_the_seeds() {
        let write = |target: &str, name: String, input: &[u8]| {
            std::fs::create_dir_all(folder(target)).expect("the folder");
            std::fs::write(folder(target).join(name), input).expect("the seed");
        };
        let mut random = Random::new(9);
        for message in messages() {
            for number in 0..2 {
                let sample = (message.sample)(&mut random);
                write("wire", format!("{}-{number}", message.name.replace(' ', "-")), &sample);
            }
        }
        for number in 0..3 {
            let transactions = (0..=number).map(|_| random.transaction(&chain()).raw().clone()).collect();
            write("client_protocol", format!("submit-{number}"), &Submit { transactions }.encode());
            let events = vec![
                Event::Hello { chain: chain(), validator: AuthorityIndex(1) },
                Event::Receipt { sequence: number, height: Height(7), index: 3, outcome: random.outcome() },
                Event::Refused { sequence: 9, reject: types::Reject::Expired },
                Event::Busy { sequence: 10, retry_after_ms: 50 },
            ];
            write("client_protocol", format!("events-{number}"), &Events { events }.encode());
        }
        for (number, step) in [1, 5, 200].into_iter().enumerate() {
            let mut stream = vec![step];
            for length in [0, 1, 60, 300] {
                put_bytes(&mut stream, &random.bytes(length));
            }
            write("peer_frames", format!("stream-{number}"), &stream);
        }
        write("peer_frames", "cut".to_owned(), &[2, 9, 0, 0, 0, 1, 2]);
        write("peer_frames", "oversize".to_owned(), &[1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0]);
    }
}
