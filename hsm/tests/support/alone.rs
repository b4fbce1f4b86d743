//! A test in a process and directory of its own: a PKCS#11 module reads its environment and is initialised once a
//! process, and the environment of a test with neighbours is not ours to change.

use hsm::softhsm;
use std::path::Path;
use std::process::Command;

/// Runs `body` with a SoftHSM2 that has no tokens yet, and with the shim's control file named `faults.toml` in the same
/// directory. `test` is the full name of the calling test.
pub fn alone(test: &str, body: impl FnOnce(&Path)) {
    const DIRECTORY: &str = "STELE_TEST_DIRECTORY";
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return body(Path::new(&directory));
    }
    let directory = tempfile::tempdir().expect("temporary directory");
    let conf = softhsm::write_conf(directory.path()).expect("own directory");
    let mut again = Command::new(std::env::current_exe().expect("this test"));
    again.args(["--exact", test, "--nocapture"]).env(DIRECTORY, directory.path()).env(softhsm::CONF_VARIABLE, conf);
    again.env(pkcs11_faults::CONTROL_VARIABLE, directory.path().join("faults.toml"));
    let output = again.output().expect("runs again");
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
}
