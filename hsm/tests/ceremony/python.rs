//! The independent verifier: same verdicts as ours, on good transcripts and on damaged ones, and at most 300 lines.

use crate::alone::alone;
use crate::rehearsals::{rehearse, shipped};
use hsm::ceremony::{Report, verify};
use std::path::Path;
use std::process::{Command, Output};

/// Runs it; `None` where there is no Python of the version it needs.
pub fn run(transcript: &Path) -> Option<Output> {
    let recent = Command::new("python3").args(["-c", "import tomllib"]).output().is_ok_and(|out| out.status.success());
    if !recent {
        eprintln!("skipped: no python3 with tomllib (3.11)");
        return None;
    }
    let script = shipped().join("verify_transcript.py");
    Some(Command::new("python3").arg("-B").arg(script).arg(transcript).output().expect("python3 ran a moment ago"))
}

#[test]
fn it_says_what_we_say_of_a_whole_rehearsal_and_has_300_lines() {
    let text = std::fs::read_to_string(shipped().join("verify_transcript.py")).expect("ships");
    assert!(text.lines().count() <= 300, "{} lines", text.lines().count());
    alone("python::it_says_what_we_say_of_a_whole_rehearsal_and_has_300_lines", |directory| {
        let bytes = rehearse("validator-genesis", directory);
        let Some(output) = run(&directory.join("transcript")) else { return };
        let ours = serde_json::to_string_pretty(&Report::of(&verify(&bytes, None))).expect("serialises");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), ours, "{output:?}");
        assert!(output.status.success());
    });
}
