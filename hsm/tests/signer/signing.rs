//! What a signer that is set up rightly does.

use crate::fixture::{Validator, certificate_verify};
use hsm::config::{LandlockMode, SeccompMode};
use types::{AlgId, Digest, HeaderVote, Height};

fn signs_rounds_and_handshakes(validator: &Validator, module: &str) {
    let (_child, client) = validator.start();
    assert_eq!(client.public_keys(), &validator.keys);
    let votes = [HeaderVote { height: Height(1), header: Digest::sha256(b"header") }];
    for round in 1..=20 {
        let statement = validator.statement(round, 1, &votes);
        let signature = client.sign_round(&statement, &votes).expect("a new round");
        assert!(signature.verify(&statement, &validator.keys.consensus).is_ok());
        assert_eq!(client.sign_round(&statement, &votes), Ok(signature), "the identical request");
    }
    let handshake = certificate_verify();
    let signature = client.sign_handshake(&handshake).expect("a handshake");
    assert!(validator.keys.transport.verify_bytes(&handshake, &signature).is_ok());
    let stats = client.another().and_then(|client| client.stats()).expect("figures");
    assert_eq!((stats.signatures, stats.handshakes, stats.refused, stats.faults), (20, 1, 0, 0));
    assert!(stats.p50_us > 0 && stats.p50_us <= stats.p99_us && stats.guard_p50_us <= stats.p99_us);
    assert!(stats.module.contains(module), "{}", stats.module);
}

#[test]
fn keys_in_softhsm_sign() {
    signs_rounds_and_handshakes(&Validator::with_softhsm(), "SoftHSM");
}

#[test]
fn keys_in_a_keystore_sign() {
    signs_rounds_and_handshakes(&Validator::with_keystore(), "keystore");
}

#[test]
fn p256_keys_sign_in_a_token_and_in_a_keystore() {
    let token = Validator::with_softhsm_of(AlgId::EcdsaP256);
    assert_eq!([token.keys.consensus.alg(), token.keys.transport.alg()], [AlgId::EcdsaP256; 2]);
    signs_rounds_and_handshakes(&token, "SoftHSM");
    signs_rounds_and_handshakes(&Validator::with_keystore_of(AlgId::EcdsaP256), "keystore");
}

#[test]
fn the_process_is_hardened_and_its_socket_is_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let validator = Validator::with_keystore();
    let (child, _client) = validator.start();
    let proc = format!("/proc/{}", child.id());
    let status = std::fs::read_to_string(format!("{proc}/status")).expect("alive");
    assert!(status.lines().any(|line| line == "NoNewPrivs:\t1"));
    let limits = std::fs::read_to_string(format!("{proc}/limits")).expect("alive");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
    let mode = std::fs::metadata(&validator.config.socket).expect("listening").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn the_process_reports_its_protections_as_the_kernel_has_them() {
    for validator in [Validator::with_keystore(), Validator::with_softhsm()] {
        let (child, client) = validator.start();
        let found = client.protections().expect("a report");
        assert_eq!((found.pid, found.uid), (child.id(), rustix::process::geteuid().as_raw()));
        assert!(found.no_new_privileges && found.undumpable && found.seccomp_enforced, "{found:?}");
        assert!(found.files_confined, "this kernel has no Landlock: {found:?}");
        assert_eq!((found.core_bytes_max, found.seccomp_filters), (Some(0), 1));
        assert!(found.locked_kib > 0, "{found:?}");
    }
}

#[test]
fn without_a_filter_the_report_says_so() {
    let mut validator = Validator::with_keystore();
    for (mode, filters) in [(SeccompMode::Off, 0), (SeccompMode::Log, 1)] {
        validator.config.process.seccomp = mode;
        validator.config.process.landlock = LandlockMode::Off;
        let (_child, client) = validator.start();
        let found = client.protections().expect("a report");
        assert_eq!((found.seccomp_filters, found.seccomp_enforced), (filters, false), "{mode:?}");
        assert!(!found.files_confined);
    }
}
