//! A TPM simulator for tests: `swtpm` on a Unix socket, with a state of its own.

mod maker;

pub use maker::Maker;

use crate::command::Command;
use crate::device::Tpm;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A running one. It ends with this value.
#[derive(Debug)]
pub struct Simulator {
    dir: TempDir,
    child: Child,
}

impl Simulator {
    /// A new TPM. The package is `swtpm`, as `cargo xtask setup` installs.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let child = run(&dir);
        Self { dir, child }
    }

    /// A new TPM with its maker's certificates. Takes a second.
    pub fn made_by(maker: &Maker) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let state = dir.path().join("state");
        std::fs::create_dir(&state).expect("own directory");
        maker.manufacture(&state);
        let child = run(&dir);
        Self { dir, child }
    }

    /// Leaves bytes at an NV index as a maker does: everybody may read them.
    pub fn leave(&self, index: u32, bytes: &[u8]) {
        const PLATFORM: u32 = 0x4000_000c;
        let mut tpm = Tpm::open(&self.socket()).expect("it runs");
        // TPMS_NV_PUBLIC: SHA-256; ppwrite, ppread, ownerread, authread, noDA, platformcreate; no policy.
        let public = [&index.to_be_bytes()[..], &[0, 0x0b, 0x42, 0x07, 0, 1, 0, 0]].concat();
        let public = [&public[..], &(bytes.len() as u16).to_be_bytes()].concat();
        let define = Command::new("TPM2_NV_DefineSpace", 0x12a, &[PLATFORM], true).sized(&[]).sized(&public);
        tpm.run(&define).expect("the simulator has room");
        for (at, chunk) in bytes.chunks(512).enumerate() {
            let write = Command::new("TPM2_NV_Write", 0x137, &[PLATFORM, index], true).sized(chunk);
            tpm.run(&write.u16(at as u16 * 512)).expect("the simulator writes");
        }
    }

    /// Where it is reached, by one at a time.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("tpm.sock")
    }

    /// Turns it off and on again.
    pub fn restart(&mut self) {
        self.stop();
        self.child = run(&self.dir);
    }

    /// Turns it off.
    pub fn stop(&mut self) {
        self.child.kill().expect("our child");
        self.child.wait().expect("our child");
        let _ = std::fs::remove_file(self.socket());
    }

    /// Extends a platform configuration register.
    pub fn extend(&self, pcr: u32) {
        // TPML_DIGEST_VALUES with one of SHA-256.
        let command = Command::new("TPM2_PCR_Extend", 0x182, &[pcr], true).u32(1).u16(0xb).raw(&[7; 32]);
        Tpm::open(&self.socket()).and_then(|mut tpm| tpm.run(&command)).expect("the simulator extends");
    }

    /// What the firmware does when somebody clears the TPM (TPM_RH_PLATFORM).
    pub fn clear(&self) {
        let command = Command::new("TPM2_Clear", 0x126, &[0x4000_000c], true);
        Tpm::open(&self.socket()).and_then(|mut tpm| tpm.run(&command)).expect("the simulator clears");
    }

    /// Makes it another TPM.
    pub fn replace(&mut self) {
        self.stop();
        std::fs::remove_dir_all(self.dir.path().join("state")).expect("own directory");
        self.child = run(&self.dir);
    }
}

fn run(dir: &TempDir) -> Child {
    let (state, socket) = (dir.path().join("state"), dir.path().join("tpm.sock"));
    std::fs::create_dir_all(&state).expect("own directory");
    let child = std::process::Command::new("swtpm")
        .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
        .arg("--tpmstate")
        .arg(format!("dir={}", state.display()))
        .arg("--server")
        .arg(format!("type=unixio,path={}", socket.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("swtpm is not installed: apt-get install swtpm");
    let start = Instant::now();
    // There is a moment between the name and the first that is let in.
    while UnixStream::connect(&socket).is_err() {
        assert!(start.elapsed() < Duration::from_secs(20), "swtpm does not come up");
        std::thread::yield_now();
    }
    child
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
