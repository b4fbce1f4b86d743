//! A TPM simulator in a validator's directory.

use crate::check::{PATIENCE, until};
use crate::process::Process;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where it is reached, by one at a time.
pub fn socket(dir: &Path) -> PathBuf {
    dir.join("tpm.sock")
}

/// Starts `swtpm` with its state in a directory. It ends with what this returns.
pub async fn start(dir: &Path) -> Process {
    let mut command = Command::new("swtpm");
    command.args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"]);
    command.arg(format!("dir={}", dir.display()));
    command.arg("--server").arg(format!("type=unixio,path={}", socket(dir).display()));
    let tpm = Process::spawn(command, "the TPM".to_owned(), dir.join("tpm.log"));
    until("the TPM listens", PATIENCE, async || UnixStream::connect(socket(dir)).ok()).await;
    tpm
}
