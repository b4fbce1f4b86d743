//! A ceremony on a machine that its TPM attests, from the command line: the policy that the machine itself prints is put into
//! the script, another machine is refused, and anybody checks it afterwards.

use crate::process::{Ended, run_to_end, stele};
use std::path::Path;
use tpm::simulator::Simulator;

const SCRIPT: &str = r#"
format = 2
id = "attested"
version = 1
title = "Attested"
exceptions = ["officer"]
[attestation]
registers = [7, 11]
MORE
[[roles]]
id = "officer"
title = "Officer"
quorum = 1
officers = [{ id = "one" }]
[[steps]]
id = "seen"
title = "Seen"
approve = ["officer"]
do.observe = { by = "officer" }
"#;

const ANSWERS: &str = r#"
format = 1
[[officers]]
seat = "one"
name = "Ada Example"
key = { file = { path = "one.key", passphrase_file = "one.pass" } }
[steps.seen]
initials = "AE"
"#;

fn run(directory: &Path, arguments: &[&str]) -> Ended {
    let mut command = stele(directory);
    command.args(arguments);
    run_to_end(command, directory)
}

fn prepared(more: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("temporary directory");
    std::fs::write(dir.path().join("script.toml"), SCRIPT.replace("MORE", more)).expect("own file");
    std::fs::write(dir.path().join("answers.toml"), ANSWERS).expect("own file");
    let key = ["key", "generate", "--out", "one.key", "--passphrase-file", "one.pass", "--new-passphrase"];
    assert!(run(dir.path(), &key).status.success());
    dir
}

/// `what` is `run` or `rehearse`.
fn held(directory: &Path, what: &str, tpm: &Path) -> Ended {
    let tpm = tpm.display().to_string();
    let ceremony = ["ceremony", what, "--script", "script.toml", "--answers", "answers.toml", "--out", what];
    run(directory, &[&ceremony[..], &["--tpm", &tpm, "--event-log", "none"]].concat())
}

#[test]
fn a_script_names_the_machine_and_another_one_is_refused() {
    let (simulator, other) = (Simulator::start(), Simulator::start());
    let (socket, strange) = (simulator.socket().display().to_string(), other.socket().display().to_string());
    let here = |socket: &str, out: &[&str], dir: &Path| {
        run(dir, &[&["attest", "here", "--tpm", socket, "--registers", "7,11"][..], out].concat())
    };
    let desk = tempfile::tempdir().expect("temporary directory");
    let told = here(&socket, &["--out", "machine.toml"], desk.path());
    assert!(told.status.success() && told.message.contains("event log cannot be read"), "{}", told.message);
    let policy = std::fs::read_to_string(desk.path().join("machine.toml")).expect("written");
    assert_eq!(told.output, policy);
    assert!(here(&socket, &["--out", "machine.toml"], desk.path()).message.contains("never overwritten"));
    let json = here(&socket, &["--json"], desk.path()).json();
    assert!(policy.contains(json["tpm_key_name"].as_str().expect("a name")), "{json}");
    std::fs::write(desk.path().join("strange.toml"), here(&strange, &[], desk.path()).output).expect("own file");

    let section = policy.replace("[registers]", "[attestation.policy.registers]");
    let dir = prepared(&format!("[attestation.policy]\n{section}"));
    let dir = dir.path();
    let refused = held(dir, "run", &other.socket());
    assert!(!refused.status.success(), "{}", refused.output);
    for word in ["attestation key is", "expected is", "take a machine that the script names"] {
        assert!(refused.message.contains(word), "{word}: {}", refused.message);
    }
    assert!(!dir.join("run/transcript").exists(), "nothing was begun");
    // Practice is possible there, and says so.
    let rehearsed = held(dir, "rehearse", &other.socket());
    assert!(
        rehearsed.status.success() && rehearsed.output.contains("NOT as the script's policy wants"),
        "{rehearsed:?}"
    );

    let right = held(dir, "run", &simulator.socket());
    assert!(right.status.success(), "{}", right.message);
    assert!(right.message.contains("the machine at the start: TPM 000b"), "{}", right.message);
    let verify = |more: &[&str]| run(dir, &[&["ceremony", "verify", "run/transcript"][..], more].concat());
    let shown = verify(&["--script", "script.toml"]);
    assert!(shown.output.contains("machine at the close: TPM 000b"), "{}", shown.output);
    assert!(
        shown.output.contains("as the script's policy wants") && shown.output.contains("register 11"),
        "{}",
        shown.output
    );
    let (mine, strange) = (desk.path().join("machine.toml"), desk.path().join("strange.toml"));
    let mine = verify(&["--machines", &mine.display().to_string(), "--json"]).json();
    assert_eq!((&mine["valid"], mine["machines"].as_array().map(Vec::len)), (&true.into(), Some(2)));
    let theirs = verify(&["--machines", &strange.display().to_string(), "--json"]);
    assert_eq!(theirs.status.code(), Some(1));
    let theirs: serde_json::Value = serde_json::from_str(&theirs.output).expect("JSON");
    assert!(
        theirs["entry"] == 1 && theirs["reason"].as_str().is_some_and(|text| text.contains("attestation key")),
        "{theirs}"
    );
}

#[test]
fn without_a_tpm_it_is_refused_or_stands_in_the_transcript() {
    let none = Path::new("/nonexistent/tpm");
    let strict = prepared("");
    let refused = held(strict.path(), "run", none);
    assert!(!refused.status.success() && refused.message.contains("/nonexistent/tpm"), "{}", refused.message);
    assert!(refused.message.contains("required = false"), "what to do: {}", refused.message);
    assert!(!strict.path().join("run/transcript").exists(), "nothing was begun");
    let lenient = prepared("required = false");
    let held = held(lenient.path(), "run", none);
    assert!(held.status.success() && held.output.contains("machine at the start: NOT attested"), "{held:?}");
    assert!(held.message.contains("THE MACHINE IS NOT ATTESTED"), "{}", held.message);
    let here = run(lenient.path(), &["attest", "here", "--tpm", "/nonexistent/tpm"]);
    assert!(!here.status.success() && here.message.contains("TPM 2.0"), "{}", here.message);
}
