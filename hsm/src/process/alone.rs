//! A test in a process of its own: what it does to itself cannot be undone.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

/// How the process ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Passed,
    Failed(String),
    Signal(i32),
}

/// Runs `body` in a process of its own, and fails where it does. `test` is the full name of the calling test.
pub(super) fn alone(test: &str, body: impl FnOnce()) {
    assert_eq!(ending(test, body), Ending::Passed);
}

/// How a process ends that runs `body`.
pub(super) fn ending(test: &str, body: impl FnOnce()) -> Ending {
    const ALONE: &str = "STELE_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        body();
        return Ending::Passed;
    }
    let mut again = Command::new(std::env::current_exe().expect("this test"));
    // It may not be able to remove its own temporary files.
    let temporary = tempfile::tempdir().expect("temporary directory");
    again.args(["--exact", test, "--nocapture"]).env(ALONE, "1").env("TMPDIR", temporary.path());
    let output = again.output().expect("runs again");
    if let Some(signal) = output.status.signal() {
        return Ending::Signal(signal);
    }
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let passed = output.status.success() && text.contains("1 passed");
    if passed { Ending::Passed } else { Ending::Failed(text) }
}
