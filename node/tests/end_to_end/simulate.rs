//! `stele simulate` as a process: what it prints, what it writes, and with which status it ends. No network is needed.

use crate::process::{Ended, run_to_end, stele};
use serde_json::Value;
use std::path::Path;

const SCENARIO: &str = "about = \"one of four loses power now and then\"
duration_ms = 4_000
[check]
liveness_ms = 2_000
[[event]]
every_ms = [300, 900]
do = \"crash\"
random = 1
for_ms = [0, 200]
";

fn simulate(directory: &Path, text: &str, arguments: &[&str]) -> Ended {
    std::fs::write(directory.join("own.toml"), text).unwrap();
    let mut command = stele(directory);
    command.args(["simulate", "--scenario", "own.toml"]).args(arguments);
    run_to_end(command, directory)
}

#[test]
fn a_run_is_one_object_and_the_same_seed_gives_it_again() {
    let directory = tempfile::tempdir().unwrap();
    let run = |seed: &str| {
        let ended = simulate(directory.path(), SCENARIO, &["--seed", seed, "--json"]);
        assert_eq!(ended.status.code(), Some(0), "{}", ended.message);
        serde_json::from_str::<Value>(&ended.output).unwrap()
    };
    let object = run("7");
    let keys: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "commits",
        "latency_ms",
        "marks",
        "nodes",
        "scenario",
        "seed",
        "sent",
        "simulated_seconds",
        "trace_digest",
        "violations",
    ];
    assert_eq!(keys, expected);
    assert_eq!(object["scenario"], "own");
    assert_eq!(object["seed"], 7);
    assert_eq!(object["simulated_seconds"], 4.0);
    assert_eq!(object["commits"].as_array().unwrap().len(), 4);
    assert_eq!(object["violations"], Value::Array(Vec::new()));
    assert!(object["marks"]["direct-commit"].as_u64().unwrap() > 100);
    assert!(object["marks"]["crashes"].as_u64().unwrap() > 2);
    assert_eq!(run("7"), object);
    assert_ne!(run("8")["trace_digest"], object["trace_digest"]);
}

#[test]
fn many_seeds_are_summed_whatever_the_threads() {
    let directory = tempfile::tempdir().unwrap();
    let run = |threads: &str| {
        let ended = simulate(directory.path(), SCENARIO, &["--seeds", "10..16", "--threads", threads, "--json"]);
        assert_eq!(ended.status.code(), Some(0), "{}", ended.message);
        let mut object: Value = serde_json::from_str(&ended.output).unwrap();
        assert!(object["wall_seconds"].take().as_f64().unwrap() > 0.0);
        object
    };
    let object = run("1");
    assert_eq!(object["runs"], 6);
    assert_eq!(object["seed"], 10);
    assert_eq!(object["simulated_seconds"], 24.0);
    assert!((object["committee_hours"].as_f64().unwrap() - 24.0 / 3_600.0).abs() < 1e-9);
    assert_eq!(run("3"), object);
}

#[test]
fn a_violation_ends_with_status_1_and_a_line_that_replays_it() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!("{SCENARIO}[expect]\ncommits_min = 1_000_000\n");
    let ended = simulate(directory.path(), &text, &["--seeds", "3..4"]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.message.contains("expected at least 1000000"), "{}", ended.message);
    assert!(ended.message.contains("replay: stele simulate --scenario own.toml --seed 3"), "{}", ended.message);
}

#[test]
fn a_wrong_scenario_ends_with_status_2_and_the_line_underlined() {
    let directory = tempfile::tempdir().unwrap();
    let wrong = [
        ("about = \"x\"\nduration_ms = 0\n", "0 is outside 1 to 86400000"),
        ("about = \"x\"\nduration_ms = 1\nduration = 1\n", "unknown field `duration`"),
        ("about = \"x\"\nduration_ms = 1\n[[event]]\nat_ms = 1\ndo = \"crash\"\nnodes = [4]\n", "there is no node 4"),
        ("about = \"x\"\nduration_ms = 1\n[[event]]\nat_ms = 1\ndo = \"crash\"\n", "`event` needs the key"),
        ("about = \"x\"\nduration_ms = 1\n[regions]\nrtt_ms = [[1, 2]]\n", "square matrix"),
    ];
    for (text, message) in wrong {
        let ended = simulate(directory.path(), text, &[]);
        assert_eq!(ended.status.code(), Some(2), "{text}");
        assert!(ended.message.contains(message), "{text}: {}", ended.message);
        assert!(ended.message.contains("here"), "the place is shown: {}", ended.message);
    }
    let mut command = stele(directory.path());
    command.args(["simulate", "--scenario", "no-such-scenario"]);
    let ended = run_to_end(command, directory.path());
    assert_eq!(ended.status.code(), Some(2));
    assert!(ended.message.contains("--list"), "{}", ended.message);
}

#[test]
fn the_trace_and_the_drawing_are_written() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!("{SCENARIO}[[adversary]]\nnodes = [2]\nkind = \"equivocator\"\n");
    let arguments = ["--trace", "events.log", "--svg", "dag.svg", "--rounds", "5..25", "--json"];
    let ended = simulate(directory.path(), &text, &arguments);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.message);
    let plain = simulate(directory.path(), &text, &["--json"]);
    assert_eq!(plain.output, ended.output, "looking on changes nothing");
    let trace = std::fs::read_to_string(directory.path().join("events.log")).unwrap();
    assert!(trace.lines().count() > 1_000);
    assert!(trace.contains(" commit 1 leader "), "commits are in the trace");
    assert!(trace.contains("Crash("), "and faults");
    let drawing = std::fs::read_to_string(directory.path().join("dag.svg")).unwrap();
    for colour in ["#2e7d32", "#64b5f6", "#ef6c00"] {
        assert!(drawing.contains(colour), "{colour} is in the drawing");
    }
    assert!(drawing.trim_end().ends_with("</svg>"));
}

#[test]
fn output_that_nobody_reads_ends_the_command_without_a_word() {
    let directory = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = stele(directory.path());
    let ended = command.args(["simulate", "--list"]).stdout(writer).output().unwrap();
    assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(141), ""));
}
