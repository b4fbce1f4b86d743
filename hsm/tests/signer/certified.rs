//! Rounds signed by epoch keys that the token has certified.

use crate::fixture::Validator;
use hsm::config::{SigningConfig, SigningMode};
use hsm::refusal::Slot;
use hsm::{ConfigError, Refusal, SignError};
use types::{Epoch, Round, StatementSignature};

const ROUNDS: u64 = 100;

fn certified() -> Validator {
    let mut validator = Validator::with_softhsm();
    validator.config.signing =
        SigningConfig { mode: SigningMode::Certified, certificate_rounds: ROUNDS, ..SigningConfig::default() };
    validator
}

fn epoch_key(signature: &StatementSignature) -> String {
    match signature {
        StatementSignature::Certified { certificate, .. } => certificate.key.to_string(),
        StatementSignature::Direct(_) => panic!("the token signed a round"),
    }
}

#[test]
fn rounds_are_signed_by_certified_keys_that_take_turns() {
    let validator = certified();
    let (_child, client) = validator.start();
    let mut keys = Vec::new();
    for round in 1..=10 * ROUNDS {
        let statement = validator.statement(round, 1, &[]);
        let signature = client.sign_round(&statement, &[]).expect("a new round");
        assert_eq!(signature.verify(&statement, &validator.keys.consensus), Ok(()));
        keys.push(epoch_key(&signature));
    }
    keys.dedup();
    // The next key is asked for half way through the present one's rounds, and comes then or as late as at their end.
    assert!((10..=25).contains(&keys.len()), "{} keys for {} rounds", keys.len(), 10 * ROUNDS);
    let Some(Slot { epoch, round: Round(until) }) = client.stats().expect("figures").certified_until else {
        panic!("certified until when?")
    };
    assert_eq!(epoch, Epoch(1));
    assert!((10 * ROUNDS + 1..=11 * ROUNDS).contains(&until), "until {until}");
}

#[test]
fn the_epoch_key_dies_with_its_process_and_the_guard_does_not() {
    let validator = certified();
    let (mut child, client) = validator.start();
    let signed = validator.statement(7, 1, &[]);
    let before = client.sign_round(&signed, &[]).expect("a new round");
    child.kill().expect("our child");
    let (_child, client) = validator.start();
    let again = client.sign_round(&signed, &[]).expect("the identical statement");
    assert_eq!(again.verify(&signed, &validator.keys.consensus), Ok(()));
    assert_ne!(epoch_key(&again), epoch_key(&before));
    let other = client.sign_round(&validator.statement(7, 2, &[]), &[]);
    assert!(matches!(other, Err(SignError::Refused(Refusal::SecondStatement { .. }))), "{other:?}");
}

#[test]
fn the_mode_may_change_between_two_starts() {
    let mut validator = certified();
    let (first, second) = (validator.statement(1, 1, &[]), validator.statement(2, 1, &[]));
    let (child, client) = validator.start();
    epoch_key(&client.sign_round(&first, &[]).expect("a new round"));
    drop(child);
    validator.config.signing.mode = SigningMode::Direct;
    let (child, client) = validator.start();
    for statement in [first, second] {
        let signature = client.sign_round(&statement, &[]).expect("approved before, and new");
        assert!(matches!(signature, StatementSignature::Direct(_)));
    }
    assert_eq!(client.stats().expect("figures").certified_until, None);
    drop(child);
    validator.config.signing.mode = SigningMode::Certified;
    let (_child, client) = validator.start();
    let signature = client.sign_round(&second, &[]).expect("the identical statement");
    assert_eq!(signature.verify(&second, &validator.keys.consensus), Ok(()));
}

#[test]
fn a_certificate_for_hardly_any_rounds_is_a_wrong_configuration() {
    let mut validator = certified();
    for rounds in [0, 99, 10_000_001] {
        validator.config.signing.certificate_rounds = rounds;
        let error = validator.try_start().err().expect("refused");
        assert!(error.to_string().contains(&ConfigError::ConfigUnreadable.to_string()), "{error}");
    }
}
