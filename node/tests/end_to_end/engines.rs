//! `stele hw`, `stele bench` and the GPU of `stele verify` as processes. No network is needed. Where no software adapter
//! (Mesa's lavapipe) is installed, what needs a GPU is passed over.

use crate::process::{Ended, run_to_end, stele};
use serde_json::{Value, json};
use std::path::Path;
use types::{AlgId, SecretKey};

/// How Mesa's software driver calls its adapter.
const SOFTWARE: &str = "llvmpipe";

fn run(directory: &Path, arguments: &[&str]) -> Ended {
    let mut command = stele(directory);
    command.args(arguments).env("XDG_RUNTIME_DIR", directory).env("XDG_CACHE_HOME", directory.join("cache"));
    run_to_end(command, directory)
}

/// As on a machine without any driver.
fn run_without_driver(directory: &Path, arguments: &[&str]) -> Ended {
    let mut command = stele(directory);
    command.args(arguments).env("VK_DRIVER_FILES", "/dev/null").env("VK_ICD_FILENAMES", "/dev/null");
    run_to_end(command, directory)
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

fn software_adapter(directory: &Path) -> bool {
    let inventory = json_of(&run(directory, &["hw", "--json"]).output);
    let adapters = inventory["adapters"].as_array().unwrap();
    adapters.iter().any(|adapter| adapter["name"].as_str().is_some_and(|name| name.contains(SOFTWARE)))
}

#[test]
fn without_a_driver_hw_says_so_and_every_command_does_without_or_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let inventory = run_without_driver(path, &["hw", "--self-test"]);
    assert_eq!(inventory.status.code(), Some(0), "{}", inventory.message);
    assert!(inventory.output.contains("none: no Vulkan driver") && inventory.output.contains("self-test   passed"));
    std::fs::write(path.join("lines"), "").unwrap();
    let verified = run_without_driver(path, &["verify", "--input", "lines", "--engine", "gpu"]);
    assert_eq!(verified.status.code(), Some(2));
    assert!(verified.message.contains("no Vulkan adapter was found"), "{}", verified.message);
    let benched = run_without_driver(path, &["bench", "verify", "--engine", "gpu"]);
    assert_eq!(benched.status.code(), Some(1));
    assert!(benched.message.contains("no Vulkan adapter was found"), "{}", benched.message);
}

#[test]
fn a_software_adapter_is_listed_with_the_reason_why_it_is_not_used() {
    let directory = tempfile::tempdir().unwrap();
    if !software_adapter(directory.path()) {
        return;
    }
    let inventory = json_of(&run(directory.path(), &["hw", "--json"]).output);
    let adapters = inventory["adapters"].as_array().unwrap();
    let found = adapters.iter().find(|adapter| adapter["name"].as_str().unwrap().contains(SOFTWARE)).unwrap();
    assert_eq!(found["used"], json!(false));
    assert!(found["reason"].as_str().unwrap().contains("software"));
}

#[test]
fn a_bench_on_the_cpu_leaves_a_table_json_and_a_page() {
    let directory = tempfile::tempdir().unwrap();
    let short = ["--batch", "1,32", "--threads", "1", "--seconds", "0.01", "--keys", "32", "--report", "out"];
    let ended =
        run(directory.path(), &[&["bench", "verify", "--engine", "cpu", "--alg", "ed25519,sm2"], &short[..]].concat());
    assert_eq!(ended.status.code(), Some(0), "{}", ended.message);
    assert!(ended.output.contains("items/s") && ended.output.contains("sm2-sm3"));
    let report = json_of(&std::fs::read_to_string(directory.path().join("out/report.json")).unwrap());
    assert_eq!(report["results"].as_array().unwrap().len(), 4);
    let page = std::fs::read_to_string(directory.path().join("out/report.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("<svg") && page.ends_with("</html>\n"));

    let short = ["--message-bytes", "64", "--leaves", "8", "--seconds", "0.01", "--json", "-"];
    let ended = run(directory.path(), &[&["bench", "hash", "--engine", "cpu"], &short[..]].concat());
    assert_eq!(json_of(&ended.output)["results"].as_array().unwrap().len(), 4);
    let nowhere =
        run(directory.path(), &["bench", "hash", "--engine", "cpu", "--seconds", "0.001", "--json", "no/where"]);
    assert!(!nowhere.status.success() && nowhere.message.contains("cannot write no/where"), "{}", nowhere.message);
}

/// Two algorithms with wrong signatures among them: the file, and what is right.
fn lines() -> (String, Vec<bool>) {
    let line = |number: usize| {
        let (alg, name) = [(AlgId::Ed25519, "ed25519"), (AlgId::Sm2Sm3, "sm2")][number % 2];
        let secret = SecretKey::from_seed(alg, [number as u8; 32]).unwrap();
        let mut signature = secret.sign_bytes(&[number as u8]).as_bytes().to_vec();
        signature[7] ^= u8::from(number.is_multiple_of(3));
        let (key, signature) = (hex::encode(secret.public_key().as_bytes()), hex::encode(signature));
        json!({"alg": name, "pk": key, "msg": hex::encode([number as u8]), "sig": signature}).to_string() + "\n"
    };
    ((0..200).map(line).collect(), (0..200).map(|number| number % 3 != 0).collect())
}

#[test]
fn a_named_software_adapter_verifies_as_the_cpu_does_and_is_measured() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    if !software_adapter(path) {
        return;
    }
    let (text, right) = lines();
    std::fs::write(path.join("lines"), text).unwrap();
    let ended = run(path, &["verify", "--input", "lines", "--engine", "gpu", "--adapter", SOFTWARE]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.message);
    let found: Vec<bool> = ended.output.lines().map(|line| json_of(line)["valid"].as_bool().unwrap()).collect();
    assert_eq!(found, right);
    assert!(ended.message.contains("malformed; gpu,"), "{}", ended.message);

    let short = ["--alg", "ed25519", "--batch", "8", "--seconds", "0.05", "--keys", "8", "--json", "-"];
    let ended = run(path, &[&["bench", "verify", "--engine", "gpu", "--adapter", SOFTWARE], &short[..]].concat());
    assert_eq!(ended.status.code(), Some(0), "{}", ended.message);
    let report = json_of(&ended.output);
    assert!(report["adapter"]["name"].as_str().unwrap().contains(SOFTWARE));
    assert_eq!((&report["results"][0]["engine"], &report["results"][0]["batch"]), (&json!("gpu"), &json!(8)));
    let total = |start: &str| report["gpu_start"][start]["total"].as_f64().unwrap();
    assert!(total("cold") > 0.0 && total("warm") > 0.0);
}
