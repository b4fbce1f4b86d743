//! Replays the fuzz corpora of what comes from a TPM in the normal suite: answers, quotes, event logs, certificates. Inputs that
//! fuzzing found are added to the folders and stay.

use std::path::Path;

#[cfg(feature = "verifier")]
#[path = "../fuzz/src/certificates.rs"]
mod certificates;
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
fn answers() {
    replay("answers", checks::answers);
}

#[test]
fn quotes() {
    replay("quote", checks::quote);
}

#[test]
fn event_logs() {
    replay("event_log", checks::event_log);
}

#[cfg(feature = "verifier")]
#[test]
fn certificates_of_makers() {
    replay("certificates", certificates::certificates);
}
