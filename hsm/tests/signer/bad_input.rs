//! What a broken or hostile node can send.

use crate::fixture::Validator;
use hsm::protocol::{FRAME_MAX, Request, Response, VERSION};
use hsm::{Fault, Refusal, SignError};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use types::block::votes_digest;
use types::{AuthorityIndex, ChainId, Decode, Digest, Encode, Epoch, HeaderVote, Height, Round, RoundStatement};

fn connect(validator: &Validator) -> UnixStream {
    let stream = UnixStream::connect(&validator.config.socket).expect("listening");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
    stream
}

fn frame(version: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len() as u32 + 1;
    [&length.to_le_bytes()[..], &[version], body].concat()
}

fn receive(stream: &mut UnixStream) -> Response {
    let mut length = [0; 4];
    stream.read_exact(&mut length).expect("an answer");
    let mut body = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut body).expect("an answer");
    Response::from_bytes(&body[1..]).expect("a canonical answer")
}

#[test]
fn garbage_is_answered_as_such_and_the_signer_goes_on() {
    let validator = Validator::with_keystore();
    let (_child, client) = validator.start();
    let request = Request::SignRound { statement: validator.statement(1, 1, &[]), votes: Vec::new() }.to_bytes();
    let garbage: Vec<Vec<u8>> = vec![
        frame(VERSION, &[]),
        frame(VERSION, &[99]),
        frame(VERSION + 1, &[3]),
        frame(VERSION, &[3, 0]),
        frame(VERSION, &request[..request.len() - 1]),
        frame(VERSION, &[&request[..request.len() - 4], &u32::MAX.to_le_bytes()].concat()),
        frame(VERSION, &[&[2], &u32::MAX.to_le_bytes()[..]].concat()),
        vec![0; 4],
        (FRAME_MAX as u32 + 1).to_le_bytes().to_vec(),
        vec![0xff; 64],
    ];
    for bytes in garbage {
        let mut stream = connect(&validator);
        stream.write_all(&bytes).expect("taken");
        assert_eq!(receive(&mut stream), Response::Fault(Fault::Protocol), "{bytes:02x?}");
        // Closed, either in order or with a reset because some of the garbage was not read.
        assert!(!matches!(stream.read(&mut [0]), Ok(1)), "{bytes:02x?}");
    }
    let mut stream = connect(&validator);
    stream.write_all(&frame(VERSION, &request)[..20]).expect("taken");
    drop(stream);
    assert!(client.sign_round(&validator.statement(1, 1, &[]), &[]).is_ok());
}

#[test]
fn a_frame_that_stops_in_its_middle_is_given_up() {
    let validator = Validator::with_keystore();
    let (_child, client) = validator.start();
    let mut stream = connect(&validator);
    stream.write_all(&[1, 0]).expect("taken");
    let mut rest = Vec::new();
    // Ends when the signer closes the connection; without its timeout this read would fail after ten seconds.
    let _ = stream.read_to_end(&mut rest).expect("closed by the signer");
    assert!(rest.is_empty());
    assert!(client.stats().is_ok());
}

#[test]
fn connections_over_the_limit_are_closed_and_the_others_go_on() {
    let validator = Validator::with_keystore();
    let (_child, client) = validator.start();
    let mut streams: Vec<_> = (0..hsm::server::CONNECTIONS_MAX).map(|_| connect(&validator)).collect();
    let last = streams.last_mut().expect("some");
    assert!(!matches!(last.read(&mut [0]), Ok(1)), "the client's own connection counts");
    assert!(client.stats().is_ok());
    drop(streams);
}

#[test]
fn a_later_epoch_is_signed_in_at_whatever_place_and_no_earlier_one_after_it() {
    let validator = Validator::with_keystore();
    let (_child, client) = validator.start();
    let first = validator.statement(9, 1, &[]);
    client.sign_round(&first, &[]).expect("the first place");
    // The committee of the next epoch has moved the validator, and rounds begin again.
    let moved = RoundStatement { epoch: Epoch(2), round: Round(1), author: AuthorityIndex(0), ..first };
    client.sign_round(&moved, &[]).expect("another place");
    let back = RoundStatement { round: Round(10), ..first };
    let refused = client.sign_round(&back, &[]);
    assert!(matches!(refused, Err(SignError::Refused(Refusal::BelowMark { .. }))), "{refused:?}");
    let second = RoundStatement { author: AuthorityIndex(1), ..moved };
    let refused = client.sign_round(&second, &[]);
    assert!(matches!(refused, Err(SignError::Refused(Refusal::SecondStatement { .. }))), "{refused:?}");
}

#[test]
fn statements_of_others_are_refused() {
    let validator = Validator::with_keystore();
    let (_child, client) = validator.start();
    let ours = validator.statement(1, 1, &[]);
    let mut other = ours;
    other.chain = ChainId(Digest::sha256(b"other"));
    let refusal = Refusal::WrongChain { ours: ours.chain, asked: other.chain };
    assert_eq!(client.sign_round(&other, &[]), Err(SignError::Refused(refusal)));
    let mut other = ours;
    other.epoch = Epoch(0);
    let refusal = Refusal::WrongEpoch { ours: Epoch(1), asked: Epoch(0) };
    assert_eq!(client.sign_round(&other, &[]), Err(SignError::Refused(refusal)));
    let mut other = ours;
    other.author = AuthorityIndex(0);
    assert_eq!(client.sign_round(&other, &[]), Err(SignError::Refused(Refusal::WrongAuthor)));
    let votes = [HeaderVote { height: Height(1), header: Digest::sha256(b"header") }];
    let refusal = Refusal::WrongVotes { named: votes_digest(&[]), given: votes_digest(&votes) };
    assert_eq!(client.sign_round(&ours, &votes), Err(SignError::Refused(refusal)));
    let stats = client.stats().expect("figures");
    assert_eq!((stats.refused, stats.signatures), (4, 0));
}

#[test]
fn bytes_that_are_no_handshake_are_refused_by_the_signer_itself() {
    let validator = Validator::with_keystore();
    let (_child, client) = validator.start();
    let round = validator.statement(1, 1, &[]).message().as_bytes().to_vec();
    for transcript in [round, vec![0x20; 130], Vec::new()] {
        let mut stream = connect(&validator);
        stream.write_all(&frame(VERSION, &Request::SignHandshake { transcript }.to_bytes())).expect("taken");
        assert_eq!(receive(&mut stream), Response::Refused(Refusal::NotAHandshake));
    }
    assert_eq!(client.stats().expect("figures").refused, 3);
}
