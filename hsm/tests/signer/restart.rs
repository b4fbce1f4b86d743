//! Deaths of the signer and of its parent.

use crate::fixture::Validator;
use hsm::{Fault, Refusal, SignError};
use std::process::Stdio;
use std::time::{Duration, Instant};
use types::{AlgId, Digest, HeaderVote, Height};

fn remembers_after_a_kill(validator: &Validator) {
    let votes = [HeaderVote { height: Height(3), header: Digest::sha256(b"header") }];
    let signed = validator.statement(7, 1, &votes);
    let (mut child, client) = validator.start();
    let signature = client.sign_round(&signed, &votes).expect("a new round");
    child.kill().expect("our child");

    let (_child, again) = validator.start();
    assert_eq!(client.sign_round(&signed, &votes), Ok(signature.clone()), "the old handle reconnects");
    assert_eq!(again.sign_round(&signed, &votes), Ok(signature));
    let other = validator.statement(7, 2, &votes);
    match again.sign_round(&other, &votes) {
        Err(SignError::Refused(Refusal::SecondStatement { approved, asked, .. })) => {
            assert_eq!((approved, asked), (signed.digest(), other.digest()));
        }
        answer => panic!("{answer:?}"),
    }
    let lower = again.sign_round(&validator.statement(6, 1, &[]), &[]);
    assert!(matches!(lower, Err(SignError::Refused(Refusal::BelowMark { .. }))), "{lower:?}");
    let second = [HeaderVote { height: Height(3), header: Digest::sha256(b"another") }];
    let second = again.sign_round(&validator.statement(8, 1, &second), &second);
    assert!(matches!(second, Err(SignError::Refused(Refusal::SecondHeader { .. }))), "{second:?}");
    assert_eq!(again.stats().expect("figures").refused, 3);
}

#[test]
fn a_killed_softhsm_signer_remembers_what_it_signed() {
    remembers_after_a_kill(&Validator::with_softhsm());
}

#[test]
fn a_killed_signer_with_a_p256_key_signs_the_same_statement_anew_and_no_other() {
    let validator = Validator::with_softhsm_of(AlgId::EcdsaP256);
    let (mut child, client) = validator.start();
    let statement = validator.statement(7, 1, &[]);
    let signature = client.sign_round(&statement, &[]).expect("a new round");
    assert_eq!(client.sign_round(&statement, &[]), Ok(signature), "remembered while the process lives");
    child.kill().expect("our child");
    let (_child, client) = validator.start();
    // ECDSA draws a nonce, and the signature that was lost with the process is not needed.
    let again = client.sign_round(&statement, &[]).expect("the identical statement");
    assert!(again.verify(&statement, &validator.keys.consensus).is_ok());
    let other = client.sign_round(&validator.statement(7, 2, &[]), &[]);
    assert!(matches!(other, Err(SignError::Refused(Refusal::SecondStatement { .. }))), "{other:?}");
}

#[test]
fn a_killed_keystore_signer_remembers_what_it_signed() {
    remembers_after_a_kill(&Validator::with_keystore());
}

#[test]
fn a_signer_that_still_ends_is_waited_for_and_not_taken_for_its_successor() {
    let validator = Validator::with_keystore();
    let (old, _client) = validator.start();
    let ending = std::thread::spawn(move || drop(old));
    let (new, client) = validator.start();
    ending.join().expect("no panic");
    assert!(client.sign_round(&validator.statement(1, 1, &[]), &[]).is_ok());
    drop(new);
}

#[test]
fn a_token_that_vanishes_is_a_fault_and_its_round_is_signed_when_it_is_back_without_a_restart() {
    let validator = Validator::with_softhsm();
    let (child, client) = validator.start();
    assert!(client.sign_round(&validator.statement(1, 1, &[]), &[]).is_ok());
    let (tokens, elsewhere) = (validator.dir.path().join("tokens"), validator.dir.path().join("elsewhere"));
    std::fs::rename(&tokens, &elsewhere).expect("own directory");
    let statement = validator.statement(2, 1, &[]);
    for _ in 0..3 {
        let answer = client.sign_round(&statement, &[]);
        assert!(matches!(answer, Err(SignError::Fault(_))), "{answer:?}");
    }
    assert_eq!(client.stats().expect("the process lives").faults, 3);
    std::fs::rename(&elsewhere, &tokens).expect("own directory");
    // The same process finds it again, within 5 s on a machine that is not loaded.
    let start = Instant::now();
    let signature = loop {
        match client.sign_round(&statement, &[]) {
            Ok(signature) => break signature,
            Err(SignError::Fault(_)) if start.elapsed() < Duration::from_secs(60) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    };
    drop(child);
    let (_child, client) = validator.start();
    assert_eq!(client.sign_round(&statement, &[]), Ok(signature));
    let other = client.sign_round(&validator.statement(2, 2, &[]), &[]);
    assert!(matches!(other, Err(SignError::Refused(Refusal::SecondStatement { .. }))), "{other:?}");
}

#[test]
fn a_dead_signer_is_told_as_such() {
    let validator = Validator::with_keystore();
    let (child, client) = validator.start();
    drop(child);
    assert!(!validator.config.socket.exists(), "a clean end removes the socket");
    let answer = client.sign_round(&validator.statement(1, 1, &[]), &[]);
    assert_eq!(answer, Err(SignError::Fault(Fault::SignerUnreachable)));
}

#[test]
fn the_signer_ends_cleanly_when_its_parent_is_gone_or_at_sigterm() {
    let (soft, token) = (Validator::with_keystore(), Validator::with_softhsm());
    for (validator, by_signal) in [(&soft, false), (&soft, true), (&token, false), (&token, true)] {
        let mut child = validator.command().stdin(Stdio::piped()).spawn().expect("the signer runs");
        let start = Instant::now();
        while !validator.config.socket.exists() {
            assert!(start.elapsed() < Duration::from_secs(60), "the signer does not come up");
            std::thread::yield_now();
        }
        if by_signal {
            let pid = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("our child");
        } else {
            drop(child.stdin.take());
        }
        assert!(child.wait().expect("our child").success());
        assert!(!validator.config.socket.exists());
    }
}
