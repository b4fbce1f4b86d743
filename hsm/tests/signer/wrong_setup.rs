//! Set-ups that are wrong: the parent learns the reason, and nothing secret is written anywhere.

use crate::fixture::{Validator, generate, write_secret};
use hsm::child::SpawnError;
use hsm::{ConfigError, StoreConfig, StoreError};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;

fn reason(validator: &Validator) -> ConfigError {
    match validator.try_start() {
        Err(SpawnError::Start(StoreError::Config(reason))) => reason,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("started"),
    }
}

#[test]
fn a_wrong_pin_is_told_and_never_printed() {
    let mut validator = Validator::with_softhsm();
    let pin_file = validator.pkcs11().pin_file.clone();
    let right = std::fs::read_to_string(&pin_file).expect("own file");
    write_secret(&pin_file, "never-print-this-pin");
    assert_eq!(reason(&validator), ConfigError::PinIncorrect);
    let output = validator.command().stdin(Stdio::piped()).stderr(Stdio::piped()).output().expect("the signer runs");
    let written = String::from_utf8_lossy(&output.stderr);
    assert!(written.contains("the PIN was not accepted"), "{written}");
    assert!(!written.contains("never-print-this-pin"), "{written}");
    write_secret(&pin_file, &right);
    validator.start();
}

#[test]
fn a_missing_module_and_files_that_are_no_modules_are_told_apart() {
    let mut validator = Validator::with_softhsm();
    validator.pkcs11().module = PathBuf::from("/nonexistent/module.so");
    assert_eq!(reason(&validator), ConfigError::ModuleMissing);
    let text = validator.dir.path().join("signer.toml");
    validator.pkcs11().module = text;
    assert_eq!(reason(&validator), ConfigError::NotAModule);
    let maps = std::fs::read_to_string("/proc/self/maps").expect("our own");
    let libc = maps.split_whitespace().find(|word| word.contains("/libc.so") || word.contains("/libc-"));
    validator.pkcs11().module = PathBuf::from(libc.expect("dynamic glibc"));
    assert_eq!(reason(&validator), ConfigError::NotAModule);
}

#[test]
fn an_absent_token_and_an_absent_key_are_told() {
    let mut validator = Validator::with_softhsm();
    validator.pkcs11().transport_label = "no such key".to_owned();
    assert_eq!(reason(&validator), ConfigError::KeyNotFound);
    validator.pkcs11().token_label = "no such token".to_owned();
    assert_eq!(reason(&validator), ConfigError::TokenAbsent);
}

#[test]
fn keys_are_never_generated_over_existing_ones() {
    for validator in [Validator::with_softhsm(), Validator::with_keystore()] {
        let again = generate(validator.dir.path(), &validator.config.store);
        assert!(matches!(again, Err(SpawnError::Start(StoreError::Config(ConfigError::KeyExists)))), "{again:?}");
        let (_child, client) = validator.start();
        assert_eq!(client.public_keys(), &validator.keys);
    }
}

#[test]
fn a_pin_that_others_can_read_is_not_used() {
    let mut validator = Validator::with_softhsm();
    let pin_file = validator.pkcs11().pin_file.clone();
    std::fs::set_permissions(&pin_file, PermissionsExt::from_mode(0o644)).expect("own file");
    assert_eq!(reason(&validator), ConfigError::SecretExposed);
}

#[test]
fn a_wrong_passphrase_and_a_missing_keystore_are_told() {
    let validator = Validator::with_keystore();
    let StoreConfig::Keystore(store) = validator.config.store.clone() else { panic!("a keystore validator") };
    write_secret(&store.passphrase_file, "wrong");
    assert_eq!(reason(&validator), ConfigError::PassphraseWrong);
    std::fs::remove_file(&store.path).expect("own file");
    assert_eq!(reason(&validator), ConfigError::KeystoreMissing);
}

#[test]
fn a_second_signer_on_one_guard_is_refused() {
    let mut validator = Validator::with_keystore();
    let (_child, client) = validator.start();
    validator.config.socket = validator.dir.path().join("second.sock");
    assert_eq!(reason(&validator), ConfigError::GuardLocked);
    assert!(client.stats().is_ok(), "the first one goes on");
}

#[test]
fn a_missing_or_foreign_guard_file_is_refused() {
    let mut validator = Validator::with_keystore();
    let right = validator.config.clone();
    validator.config.author = types::AuthorityIndex(2);
    assert_eq!(reason(&validator), ConfigError::GuardForeign);
    validator.config = right;
    std::fs::remove_file(&validator.config.guard).expect("own file");
    assert_eq!(reason(&validator), ConfigError::GuardMissing);
}

#[test]
fn a_socket_path_that_is_taken_or_too_long_is_told() {
    let mut validator = Validator::with_keystore();
    validator.config.socket = validator.config.guard.clone();
    assert_eq!(reason(&validator), ConfigError::SocketUnusable);
    validator.config.socket = validator.dir.path().join("s".repeat(120));
    let output = validator.command().stdin(Stdio::piped()).output().expect("the signer runs");
    assert_eq!(output.status.code(), Some(ConfigError::SocketUnusable.exit_status().into()));
}

#[test]
fn an_unknown_key_in_the_configuration_is_refused() {
    let validator = Validator::with_keystore();
    let mut command = validator.command();
    let path = validator.dir.path().join("signer.toml");
    let text = std::fs::read_to_string(&path).expect("written by the command");
    std::fs::write(&path, format!("pin = \"1234\"\n{text}")).expect("own file");
    let status = command.stdin(Stdio::piped()).status().expect("the signer runs");
    assert_eq!(status.code(), Some(ConfigError::ConfigUnreadable.exit_status().into()));
}
