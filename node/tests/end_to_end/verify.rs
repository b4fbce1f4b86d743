//! `stele verify` as a process: what it prints, what it says, and with which status it ends. No network is needed.

use crate::process::{Ended, run_to_end, stele};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{ChildStdin, Stdio};
use types::{AlgId, SecretKey};

const ALGORITHMS: [(AlgId, &str); 4] = [
    (AlgId::Ed25519, "ed25519"),
    (AlgId::Sm2Sm3, "sm2"),
    (AlgId::EcdsaP256, "p256"),
    (AlgId::EcdsaSecp256k1, "secp256k1"),
];

/// Line `number` of a mixed file: another algorithm, key and message than its neighbours.
fn line(number: usize, valid: bool) -> String {
    let (alg, name) = ALGORITHMS[number % ALGORITHMS.len()];
    let secret = SecretKey::from_seed(alg, [number as u8; 32]).unwrap();
    let message = number.to_le_bytes();
    let mut signature = secret.sign_bytes(&message).as_bytes().to_vec();
    signature[40] ^= u8::from(!valid);
    let (key, message) = (hex::encode(secret.public_key().as_bytes()), hex::encode(message));
    json!({"alg": name, "pk": key, "msg": message, "sig": hex::encode(signature)}).to_string()
}

fn verify(directory: &Path, arguments: &[&str]) -> Ended {
    let mut command = stele(directory);
    command.arg("verify").args(arguments);
    run_to_end(command, directory)
}

fn verify_text(text: impl AsRef<[u8]>, arguments: &[&str]) -> Ended {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("lines"), text).unwrap();
    verify(directory.path(), &[&["--input", "lines"], arguments].concat())
}

/// The indices and verdicts that were printed.
fn verdicts(output: &str) -> Vec<(usize, bool)> {
    let parse = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap();
        assert_eq!(value.as_object().unwrap().len(), 2, "{line}");
        (value["i"].as_u64().unwrap() as usize, value["valid"].as_bool().unwrap())
    };
    output.lines().map(parse).collect()
}

#[test]
fn a_mixed_file_is_answered_in_order_by_any_number_of_threads() {
    // Several chunks, so that threads finish them out of order.
    let count = 10_000;
    let pattern: Vec<String> = (0..28).map(|number| line(number, number % 7 != 3)).collect();
    let text: String = (0..count).map(|number| format!("{}\n", pattern[number % 28])).collect();
    let expected: Vec<_> = (0..count).map(|number| (number, number % 28 % 7 != 3)).collect();
    let invalid = expected.iter().filter(|(_, valid)| !valid).count();
    for threads in ["1", "3"] {
        let ended = verify_text(&text, &["--engine", "cpu", "--threads", threads]);
        assert_eq!(ended.status.code(), Some(1), "{}", ended.message);
        assert_eq!(verdicts(&ended.output), expected);
        let summary = format!("{count} items: {} valid, {invalid} invalid, 0 malformed; cpu", count - invalid);
        assert!(ended.message.contains(&summary), "{}", ended.message);
        assert_eq!(ended.message.lines().count(), 1);
    }
}

#[test]
fn malformed_lines_are_named_by_number_and_stop_nothing() {
    let good = line(0, true);
    let text =
        format!("{good}\r\n\r\nnot json\n{good}\n{}\n  \n{{\"alg\":\"ed25519\"}}\n{}", line(1, false), line(2, true));
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(b"\n\xff\xfe\n");
    let ended = verify_text(&bytes, &[]);
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(verdicts(&ended.output), [(0, true), (2, true), (3, false), (5, true)]);
    for words in ["line 3: not a JSON object", "line 7: no `pk`", "line 9: not UTF-8"] {
        assert!(ended.message.contains(words), "no `{words}` in {}", ended.message);
    }
    assert!(ended.message.contains("7 items: 3 valid, 1 invalid, 3 malformed"), "{}", ended.message);
}

#[test]
fn the_first_twenty_malformed_lines_are_named_and_the_rest_is_counted() {
    let ended = verify_text("x\n".repeat(5000), &["--json"]);
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(ended.message.lines().filter(|line| line.starts_with("line ")).count(), 20);
    assert!(ended.message.contains("line 20: ") && ended.message.contains("and 4980 more malformed lines"));
}

#[test]
fn json_is_one_object_in_place_of_the_lines() {
    let ended = verify_text(format!("{}\n{}\n?\n", line(0, true), line(1, false)), &["--json"]);
    let value: Value = serde_json::from_str(&ended.output).unwrap();
    assert!(value["seconds"].as_f64().unwrap() > 0.0);
    let fields: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["engine", "invalid", "items", "malformed", "seconds", "valid"]);
    assert_eq!((&value["items"], &value["valid"], &value["invalid"]), (&json!(3), &json!(1), &json!(1)));
    assert_eq!((&value["malformed"], &value["engine"]), (&json!(1), &json!("cpu")));
    assert_eq!(ended.status.code(), Some(1));
}

#[test]
fn an_empty_file_and_a_valid_one_end_well() {
    for text in [String::new(), "\n\n".into(), line(0, true), line(1, true) + "\n"] {
        let ended = verify_text(&text, &[]);
        assert_eq!(ended.status.code(), Some(0), "{}", ended.message);
        assert_eq!(ended.output.lines().count(), usize::from(!text.trim().is_empty()));
    }
    let empty = verify_text("", &["--json"]);
    assert_eq!(serde_json::from_str::<Value>(&empty.output).unwrap()["items"], 0);
}

#[test]
fn lines_at_and_over_the_limit_are_taken_and_named() {
    let secret = SecretKey::ed25519_from_seed([1; 32]);
    let message = vec![7; 1 << 20];
    let (key, signature) = (secret.public_key(), secret.sign_bytes(&message));
    let with_padding = |padding: usize| {
        let object = json!({"alg": "ed25519", "pk": hex::encode(key.as_bytes()), "msg": hex::encode(&message),
            "sig": hex::encode(signature.as_bytes())});
        format!("{}{}\n", " ".repeat(padding), object)
    };
    let room = (4 << 20) - (with_padding(0).len() - 1);
    let ended = verify_text(with_padding(room) + &with_padding(room + 1) + &line(0, true), &[]);
    assert_eq!(verdicts(&ended.output), [(0, true), (2, true)]);
    assert!(ended.message.contains("line 2: longer than 4194304 bytes"), "{}", ended.message);
}

#[test]
fn what_cannot_be_read_ends_with_two_and_one_message() {
    let directory = tempfile::tempdir().unwrap();
    for (input, words) in [("nowhere", "cannot read nowhere"), (".", ". is a directory")] {
        let ended = verify(directory.path(), &["--input", input]);
        assert_eq!(ended.status.code(), Some(2));
        assert!(ended.message.contains(words) && ended.message.matches('×').count() == 1, "{}", ended.message);
        assert_eq!(ended.output, "");
    }
    for wrong in [&["--input", "x", "--engine", "abacus"][..], &[], &["--input", "x", "--threads", "0"]] {
        assert_eq!(verify(directory.path(), wrong).status.code(), Some(2));
    }
}

/// Runs it between two pipes.
fn between_pipes(directory: &Path) -> (std::process::Child, ChildStdin, BufReader<std::process::ChildStdout>) {
    let mut command = stele(directory);
    command.args(["verify", "--input", "-", "--engine", "cpu"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    (child, input, output)
}

#[test]
fn each_line_of_a_slow_pipe_is_answered_before_the_next_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let (mut child, mut input, mut output) = between_pipes(directory.path());
    for number in 0..5 {
        writeln!(input, "{}", line(number, number != 3)).unwrap();
        let mut answer = String::new();
        output.read_line(&mut answer).unwrap();
        assert_eq!(verdicts(&answer), [(number, number != 3)]);
    }
    drop(input);
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn when_nobody_reads_the_verdicts_it_ends_without_a_word_though_its_input_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let (mut child, mut input, output) = between_pipes(directory.path());
    drop(output);
    writeln!(input, "{}", line(0, true)).unwrap();
    // The input is still open: the end must not wait for it.
    assert_eq!(child.wait().unwrap().code(), Some(2));
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(errors, "");
    drop(input);
}
