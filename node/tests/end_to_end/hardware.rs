//! The facts of a machine at the command line: recorded, listed from the record, and held against policies.

use crate::load::Load;
use crate::network::{Network, Options};
use crate::process::{Ended, run_to_end, stele};
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;

fn hw(dir: &Path, arguments: &[&str]) -> Ended {
    let mut command = stele(dir);
    command.arg("hw").args(arguments);
    run_to_end(command, dir)
}

#[test]
fn a_recorded_machine_is_listed_and_judged_elsewhere_as_it_was() {
    let dir = TempDir::new().unwrap();
    let recorded = hw(dir.path(), &["--record", "machine"]);
    assert!(recorded.status.success(), "{}", recorded.message);
    let listed = hw(dir.path(), &["--root", "machine"]);
    assert!(listed.output.contains("memory.bytes") && listed.output.contains("/proc/meminfo"), "{}", listed.output);
    let json: Value = serde_json::from_str(&hw(dir.path(), &["--root", "machine", "--json"]).output).unwrap();
    let digest = json["inventory_digest"].as_str().unwrap();
    assert!(listed.output.contains(digest));

    std::fs::write(dir.path().join("good.toml"), "[require]\n\"memory.bytes\" = { at_least = 1 }\n").unwrap();
    let good = hw(dir.path(), &["check", "--policy", "good.toml", "--root", "machine"]);
    assert!(good.status.success(), "{}{}", good.output, good.message);
    std::fs::write(dir.path().join("bad.toml"), "[forbid]\n\"memory.bytes\" = { at_least = 1 }\n").unwrap();
    let bad = hw(dir.path(), &["check", "--policy", "bad.toml", "--root", "machine", "--json"]);
    assert_eq!(bad.status.code(), Some(1));
    let told: Value = serde_json::from_str(&bad.output).unwrap();
    assert_eq!((&told["passed"], &told["findings"][0]["fact"]), (&Value::Bool(false), &Value::from("memory.bytes")));
    assert_eq!(told["inventory_digest"].as_str(), Some(digest));
}

#[test]
fn a_policy_over_a_fact_that_does_not_exist_and_a_directory_that_is_there_are_refused() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("policy.toml"), "[require]\n\"cpu.colour\" = true\n").unwrap();
    let ended = hw(dir.path(), &["check", "--policy", "policy.toml"]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.message.contains("policy.toml") && ended.message.contains("cpu.colour"), "{}", ended.message);
    let ended = hw(dir.path(), &["--record", "."]);
    assert!(!ended.status.success() && ended.message.contains("exists"), "{}", ended.message);
    let ended = hw(dir.path(), &["--root", "nowhere"]);
    assert!(!ended.status.success() && ended.message.contains("not a directory"), "{}", ended.message);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_starts_only_on_a_machine_that_meets_its_policy() {
    let mut network = Network::prepare(Options::default()).await;
    network.start_signers().await;
    let node = &network.nodes[3];
    let (config, policy) = (node.dir.join("node.toml"), node.dir.join("hardware.toml"));
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}\n[hardware]\npolicy = \"hardware.toml\"\n")).unwrap();

    let ended = node.run_to_end();
    assert!(!ended.status.success() && ended.message.contains("hardware.toml"), "{}", ended.message);
    std::fs::write(&policy, "[require]\n\"memory.bytes\" = { at_most = 1 }\n").unwrap();
    let ended = node.run_to_end();
    assert_eq!(ended.status.code(), Some(1));
    for part in ["memory.bytes", "/proc/meminfo", "stele hw check"] {
        assert!(ended.message.contains(part), "{}", ended.message);
    }

    std::fs::write(&policy, "[require]\n\"memory.bytes\" = { at_least = 1 }\n[warn]\n\"memory.swap_bytes\" = 1\n")
        .unwrap();
    network.start_nodes().await;
    assert!(network.nodes[3].log_text().contains("memory.swap_bytes"));
    let load = Load::start(&network, &[3], 50);
    load.acknowledges(20).await;
    drop(load.finish().await);
}
