//! Replays the fuzz corpora of scripts, transcripts, attestations, frames and marks in the normal suite. Inputs that fuzzing
//! found are added to the folders and stay.

use std::path::Path;

#[path = "../fuzz/src/checks.rs"]
mod checks;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut inputs = 0;
    for entry in std::fs::read_dir(&folder).expect("the corpus is part of the sources") {
        let path = entry.expect("readable").path();
        println!("{}", path.display());
        check(&std::fs::read(&path).expect("readable"));
        inputs += 1;
    }
    assert!(inputs >= 3, "{} holds {inputs} inputs", folder.display());
}

#[test]
fn scripts() {
    replay("ceremony_script", checks::script);
}

#[test]
fn transcripts() {
    replay("ceremony_transcript", checks::transcript);
}

#[test]
fn attestations() {
    replay("attestation", checks::attestation);
}

#[test]
fn signer_frames() {
    replay("signer_frames", checks::signer_frames);
}

#[test]
fn guard_marks() {
    replay("guard_mark", checks::guard_mark);
}
