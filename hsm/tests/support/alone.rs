//! A test in a process and directory of its own: a PKCS#11 module reads its environment and is initialised once a
//! process, and the environment of a test with neighbours is not ours to change.

use hsm::softhsm;
use rustix::process::{Signal, getpid, kill_process};
use std::path::Path;
use std::process::Command;

/// Runs `body` with a SoftHSM2 that has no tokens yet, and with the shim's control file named `faults.toml` in the same
/// directory. `test` is the full name of the calling test.
pub fn alone(test: &str, body: impl FnOnce(&Path)) {
    const DIRECTORY: &str = "STELE_TEST_DIRECTORY";
    const DONE: &str = "the test's body has come to its end";
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        body(Path::new(&directory));
        // A module of which calls still hang may not survive being unloaded, and no signer unloads one: it is left as it is.
        println!("{DONE}");
        return kill_process(getpid(), Signal::KILL).expect("its own process");
    }
    let directory = tempfile::tempdir().expect("temporary directory");
    let conf = softhsm::write_conf(directory.path()).expect("own directory");
    let mut again = Command::new(std::env::current_exe().expect("this test"));
    again.args(["--exact", test, "--nocapture"]).env(DIRECTORY, directory.path()).env(softhsm::CONF_VARIABLE, conf);
    again.env(pkcs11_faults::CONTROL_VARIABLE, directory.path().join("faults.toml"));
    let output = again.output().expect("runs again");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains(DONE), "{}: {text}", output.status);
}
