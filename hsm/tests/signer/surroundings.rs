//! Secrets that come from elsewhere than a file, a user of the signer's own, and disks that do not take what is written.

use crate::fixture::{Validator, write_secret};
use hsm::child::SpawnError;
use hsm::{ConfigError, Fault, Refusal, SignError, SignerChild, SignerClient, StoreConfig, StoreError};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use types::{Digest, HeaderVote, Height};

const WITHIN: Duration = Duration::from_secs(60);

/// A validator whose passphrase comes from `source`, and the passphrase.
fn with_source(source: &str) -> (Validator, String) {
    let mut validator = Validator::with_keystore();
    let StoreConfig::Keystore(store) = &mut validator.config.store else { panic!("a keystore validator") };
    let passphrase = std::fs::read_to_string(&store.passphrase_file).expect("own file");
    std::fs::remove_file(&store.passphrase_file).expect("own file");
    store.passphrase_file = source.into();
    (validator, passphrase)
}

/// The command of the signer, inside another one.
fn inside(outer: &[&str], validator: &Validator) -> Command {
    let inner = validator.command();
    let mut command = Command::new(outer[0]);
    command.args(&outer[1..]).arg(inner.get_program()).args(inner.get_args()).stderr(Stdio::piped());
    command
}

fn starts(mut command: Command, validator: &Validator) -> (SignerChild, SignerClient) {
    command.stderr(Stdio::null());
    SignerChild::spawn(&mut command, &validator.config.socket, WITHIN).expect("a signer that is set up rightly")
}

#[test]
fn a_passphrase_comes_through_a_descriptor() {
    let (validator, passphrase) = with_source("fd:3");
    write_secret(&validator.dir.path().join("given"), &passphrase);
    let given = validator.dir.path().join("given").display().to_string();
    let (_child, client) =
        starts(inside(&["sh", "-c", &format!("exec \"$0\" \"$@\" 3< {given}")], &validator), &validator);
    assert!(client.sign_round(&validator.statement(1, 1, &[]), &[]).is_ok());
}

#[test]
fn a_passphrase_comes_as_a_credential_of_the_service_manager() {
    let (validator, passphrase) = with_source("credential:stele");
    let credentials = validator.dir.path().join("credentials");
    std::fs::create_dir(&credentials).expect("own directory");
    write_secret(&credentials.join("stele"), &passphrase);
    let start = |right: u32| {
        let mode = std::fs::Permissions::from_mode(right);
        std::fs::set_permissions(credentials.join("stele"), mode).expect("own file");
        let mut command = validator.command();
        command.env("CREDENTIALS_DIRECTORY", &credentials);
        SignerChild::spawn(&mut command, &validator.config.socket, WITHIN)
    };
    assert!(start(0o440).is_ok(), "systemd lets a service in by an access list, which shows as the group's right");
    let exposed = start(0o444).err().expect("everybody can read it");
    assert!(matches!(exposed, SpawnError::Start(StoreError::Config(ConfigError::SecretExposed))), "{exposed}");
    let unset = validator.try_start().err().expect("no service manager");
    assert!(matches!(unset, SpawnError::Start(StoreError::Config(ConfigError::SecretUnreadable))), "{unset}");
}

#[test]
fn a_prompt_without_a_terminal_and_a_closed_descriptor_are_told_and_nothing_secret_is() {
    for (source, word) in [("prompt", "prompt ("), ("fd:9", "fd:9 ("), ("fd:1", "not one")] {
        let (validator, _) = with_source(source);
        let output = inside(&["setsid", "--wait"], &validator).stdin(Stdio::null()).output().expect("setsid is there");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(ConfigError::SecretUnreadable.exit_status().into()), "{source}: {told}");
        assert!(told.contains(word), "{source}: {told}");
    }
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: needs root");
    }
    root
}

#[test]
fn a_signer_that_root_starts_becomes_its_own_user_and_lets_in_who_is_named() {
    if !is_root() {
        return;
    }
    const NOBODY: u32 = 65534;
    let mut validator = Validator::with_keystore();
    validator.config.process.user = Some("nobody".to_owned());
    validator.config.process.allow_uids = vec![0];
    let chown = || {
        let entries = std::fs::read_dir(validator.dir.path()).expect("own directory");
        for path in entries.map(|entry| entry.expect("own directory").path()).chain([validator.dir.path().to_owned()]) {
            std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).expect("root may");
        }
    };
    chown();
    let (child, client) = validator.start();
    let found = client.protections().expect("a report");
    assert_eq!((found.uid, found.undumpable, found.no_new_privileges), (NOBODY, true, true));
    assert!(client.sign_round(&validator.statement(1, 1, &[]), &[]).is_ok());
    drop(child);

    validator.config.process.allow_uids = vec![1];
    let mut child = validator.command().stdin(Stdio::piped()).spawn().expect("the signer runs");
    let start = std::time::Instant::now();
    while !validator.config.socket.exists() {
        assert!(start.elapsed() < WITHIN, "the signer does not come up");
        std::thread::yield_now();
    }
    let refused = SignerClient::connect(&validator.config.socket).err().expect("root is not named");
    assert_eq!(refused, SignError::Fault(Fault::SignerUnreachable));
    drop(child.stdin.take());
    assert!(child.wait().expect("our child").success());

    validator.config.process.user = Some("no such user".to_owned());
    let unknown = validator.try_start().err().expect("no such user");
    assert!(matches!(unknown, SpawnError::Start(StoreError::Config(ConfigError::UserUnusable))), "{unknown}");
}

#[test]
fn a_guard_without_room_to_be_compacted_approves_nothing_until_there_is() {
    if !is_root() {
        return;
    }
    let mut validator = Validator::with_keystore();
    let mount = validator.dir.path().join("small");
    std::fs::create_dir(&mount).expect("own directory");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=9m", "tmpfs"]).arg(&mount).status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: cannot mount");
        return;
    }
    let unmount = Unmount(&mount);
    validator.config.guard = mount.join("guard");
    hsm::provision::guard(&validator.config, &validator.keys).expect("four of nine MiB");
    let ballast = mount.join("ballast");
    std::fs::write(&ballast, vec![1; 6 << 20]).expect_err("there is less room than that");
    let (child, client) = validator.start();
    // The file is written in advance, so that records need no room; its exchange by a compacted one does.
    let votes = |round: u64| -> Vec<HeaderVote> {
        let vote = |height| HeaderVote { height: Height(height), header: Digest::sha256(b"header") };
        (100 * round..100 * (round + 1)).map(vote).collect()
    };
    let sign = |client: &SignerClient, round: u64, variant: u8| {
        client.sign_round(&validator.statement(round, variant, &votes(round)), &votes(round))
    };
    let refused = (1..5_000).find_map(|round| sign(&client, round, 1).err().map(|error| (round, error)));
    let (round, error) = refused.expect("4 MiB are full before that");
    assert_eq!(error, SignError::Fault(Fault::GuardCompaction));
    assert_eq!(sign(&client, round, 1), Err(error), "as long as there is no room");
    std::fs::remove_file(&ballast).expect("own file");
    let signature = sign(&client, round, 1).expect("there is room again");
    drop(child);
    let (child, client) = validator.start();
    assert_eq!(sign(&client, round, 1), Ok(signature));
    let second = sign(&client, round, 2);
    assert!(matches!(second, Err(SignError::Refused(Refusal::SecondStatement { .. }))), "{second:?}");
    drop(child);
    drop(unmount);
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_refusal_leaves_a_trace_beside_the_guard() {
    let validator = Validator::with_keystore();
    let (_child, client) = validator.start();
    let (first, second) = (validator.statement(3, 1, &[]), validator.statement(3, 2, &[]));
    client.sign_round(&first, &[]).expect("a new round");
    client.sign_round(&second, &[]).expect_err("another statement");
    let trace = std::fs::read_to_string(validator.dir.path().join("guard.refusals")).expect("a trace");
    assert!(trace.contains(&first.digest().to_string()) && trace.contains(&second.digest().to_string()), "{trace}");
}

#[test]
fn guard_files_that_are_truncated_or_in_a_directory_without_room_for_a_lock_are_told() {
    let validator = Validator::with_keystore();
    let whole = std::fs::read(&validator.config.guard).expect("own file");
    for length in [0, 100, 600, (whole.len() - 1) as u64] {
        let file = std::fs::OpenOptions::new().write(true).open(&validator.config.guard).expect("own file");
        file.set_len(length).expect("own file");
        let refused = validator.try_start().err().expect("less than a guard file");
        assert!(
            matches!(refused, SpawnError::Start(StoreError::Config(ConfigError::GuardDamaged))),
            "{length}: {refused}"
        );
        std::fs::write(&validator.config.guard, &whole).expect("own file");
    }
    // Also root cannot make a file where a directory has the name.
    let lock = validator.dir.path().join("guard.lock");
    let _ = std::fs::remove_file(&lock);
    std::fs::create_dir(&lock).expect("own directory");
    let refused = validator.try_start().err().expect("no lock can be made");
    assert!(matches!(refused, SpawnError::Start(StoreError::Fault(Fault::Io))), "{refused}");
}

#[test]
fn a_module_reaches_a_directory_of_its_own_only_where_the_configuration_allows_it() {
    let mut validator = Validator::with_softhsm();
    let elsewhere = tempfile::tempdir().expect("temporary directory");
    let steering = elsewhere.path().join("faults.toml");
    let soft = std::mem::replace(&mut validator.pkcs11().module, pkcs11_faults::module());
    pkcs11_faults::Control::through(soft).write(&steering).expect("own directory");
    let start = |validator: &Validator| {
        let mut command = validator.command();
        command.env(pkcs11_faults::CONTROL_VARIABLE, &steering);
        SignerChild::spawn(&mut command, &validator.config.socket, WITHIN)
    };
    let refused = start(&validator).err().expect("the module cannot read its settings");
    assert!(matches!(refused, SpawnError::Start(StoreError::Fault(_))), "{refused}");
    validator.config.process.allow_paths = vec![elsewhere.path().to_owned()];
    let (_child, client) = start(&validator).expect("now it can");
    assert!(client.protections().expect("a report").files_confined);
    assert!(client.sign_round(&validator.statement(1, 1, &[]), &[]).is_ok());
}
