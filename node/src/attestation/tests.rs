//! Policies as files, and event logs that do or do not add up. Attestations of a TPM are in the end-to-end tests.

use super::*;
use tempfile::NamedTempFile;

fn policy(text: &str) -> Result<Policy, String> {
    let file = NamedTempFile::new().expect("temporary file");
    std::fs::write(file.path(), text).expect("own file");
    Policy::read(file.path()).map_err(|error| error.to_string())
}

fn keys() -> String {
    format!("tpm_keys = [\"000b{}\"]\n", "9f".repeat(32))
}

#[test]
fn a_policy_that_lets_every_machine_through_or_names_what_there_is_not_is_none() {
    let value = "65".repeat(32);
    let whole =
        format!("{}event_log = true\n[registers]\n7 = [\"{value}\"]\n11 = [\"{value}\", \"{value}\"]\n", keys());
    assert!(policy(&whole).expect("a policy").wants_log());
    for (text, word) in [
        (String::new(), "tpm_keys"),
        (format!("tpm_keys = []\n[registers]\n7 = [\"{value}\"]\n"), "at least one TPM key"),
        (format!("{}[registers]\n", keys()), "at least one register"),
        (format!("{}[registers]\n7 = []\n", keys()), "at least one value"),
        (format!("{}[registers]\n24 = [\"{value}\"]\n", keys()), "`24` is no register"),
        (format!("{}[registers]\n07 = [\"{value}\"]\n", keys()), "`07` is no register"),
        (format!("{}[registers]\n7 = [\"{}\"]\n", keys(), &value[2..]), "neither"),
        (format!("tpm_keys = [\"{value}\"]\n[registers]\n7 = [\"{value}\"]\n"), "neither"),
        (format!("{}[registers]\n7 = [\"xy\"]\n", keys()), "is not a policy"),
        (format!("{whole}[more]\n"), "unknown field"),
    ] {
        let error = policy(&text).expect_err(&text);
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn a_policy_may_trust_makers_and_know_no_machine_yet() {
    let value = "65".repeat(32);
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("machines.toml");
    let text = |more: &str| format!("tpm_keys = []\n{more}[registers]\n7 = [\"{value}\"]\n");
    let read = |more: &str| {
        std::fs::write(&path, text(more)).expect("own directory");
        Policy::read(&path)
    };
    assert!(read("").is_err_and(|error| error.to_string().contains("ek_roots")));
    let roots = |more: &str| read(more).expect("a policy").roots().map(drop).map_err(|error| error.to_string());
    // Beside the policy, wherever one stands.
    let missing = roots("ek_roots = [\"vendor.pem\"]\n").expect_err("there is none");
    assert!(missing.contains(&dir.path().join("vendor.pem").display().to_string()), "{missing}");
    std::fs::write(dir.path().join("vendor.pem"), "no PEM").expect("own directory");
    assert!(roots("ek_roots = [\"vendor.pem\"]\n").expect_err("it is empty").contains("no certificates"));
    let maker = tpm::simulator::Maker::new();
    std::fs::write(dir.path().join("vendor.pem"), maker.root()).expect("own directory");
    std::fs::write(dir.path().join("steps.pem"), maker.issuer()).expect("own directory");
    assert_eq!(roots("ek_roots = [\"vendor.pem\"]\nek_intermediates = [\"steps.pem\"]\n"), Ok(()));
    let listed = policy(&format!("{}[registers]\n7 = [\"{value}\"]\n", keys())).expect("a policy");
    assert!(listed.roots().is_err_and(|error| error.to_string().contains("no ek_roots")));
}

/// A log with one event: `digest` 32 times, into register 11.
fn log(digest: u8) -> Vec<u8> {
    let mut first = [&b"Spec ID Event03\0"[..], &[0; 8], &1u32.to_le_bytes(), &[0x0b, 0, 32, 0]].concat();
    first.push(0);
    let mut bytes = [&[0, 0, 0, 0, 3, 0, 0, 0][..], &[0; 20], &(first.len() as u32).to_le_bytes(), &first].concat();
    bytes.extend([11u32.to_le_bytes(), 13u32.to_le_bytes(), 1u32.to_le_bytes()].concat());
    bytes.extend([&[0x0b, 0][..], &[digest; 32], &[0; 4]].concat());
    bytes
}

#[test]
fn an_event_log_fails_an_attestation_only_where_the_policy_wants_it_to_add_up() {
    let measured = EventLog::parse(&log(5)).expect("a log").replay()[&11];
    let registers = BTreeMap::from([(7, [0; 32]), (11, measured)]);
    assert_eq!(adds_up(&log(5), &registers, true).standing, Standing::Holds);
    let other = adds_up(&log(6), &registers, true);
    assert_eq!(other.standing, Standing::Fails);
    assert!(other.found.contains("registers 11"), "{}", other.found);
    assert_eq!(adds_up(&log(6), &registers, false).standing, Standing::Unchecked);
    assert_eq!(adds_up(b"no log", &registers, true).standing, Standing::Fails);
    // What the firmware did not measure and is not as it was at the start.
    let later = BTreeMap::from([(12, [1; 32]), (11, measured)]);
    assert_eq!(adds_up(&log(5), &later, true).standing, Standing::Fails);
}
