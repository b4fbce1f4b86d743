//! One child process: its log, its end. It is killed when this is dropped, and ends by itself when this process dies,
//! because it watches its standard input, whose other end is held here.

use miette::{IntoDiagnostic, WrapErr, miette};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

/// Lines of a log that are shown when its process failed.
const TAIL_LINES: usize = 15;

/// A running child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    /// Held open for as long as the child is to live.
    stdin: Option<ChildStdin>,
    pid: u32,
    log: PathBuf,
    reported: bool,
}

impl Process {
    /// Starts `command` with both of its outputs in the file `log`.
    pub fn spawn(mut command: Command, name: String, log: PathBuf) -> miette::Result<Self> {
        let about = || format!("cannot start {name}");
        let output = File::create(&log).into_diagnostic().wrap_err_with(about)?;
        let errors = output.try_clone().into_diagnostic().wrap_err_with(about)?;
        // A process group of its own: Ctrl-C at the terminal reaches this process alone, which then stops the others.
        command.stdin(Stdio::piped()).stdout(output).stderr(errors).process_group(0).kill_on_drop(true);
        let mut child = command.spawn().into_diagnostic().wrap_err_with(about)?;
        let stdin = child.stdin.take();
        let pid = child.id().ok_or_else(|| miette!("{name} ended at once"))?;
        Ok(Self { name, child, stdin, pid, log, reported: false })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Fails, with the end of its log, if it has ended.
    pub fn check(&mut self) -> miette::Result<()> {
        match self.child.try_wait().into_diagnostic()? {
            None => Ok(()),
            Some(status) => Err(miette!(
                help = format!("the end of {}:\n{}", self.log.display(), tail(&self.log)),
                "{} ended: {status}",
                self.name
            )),
        }
    }

    /// Whether it has ended; says so once on the terminal.
    pub fn died(&mut self) -> bool {
        let died = self.check();
        if let Err(error) = &died
            && !std::mem::replace(&mut self.reported, true)
        {
            eprintln!("{error:?}");
        }
        died.is_err()
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        // A process that has ended and was waited for has no id any more, and nothing is signalled.
        if let Some(pid) = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Kills it, as a loss of power does.
    pub async fn kill(mut self) {
        // It fails only where the process has ended by itself.
        let _ = self.child.kill().await;
    }

    /// Waits until it has ended, and kills it where that takes too long.
    pub async fn stop(mut self, patience: Duration) {
        drop(self.stdin.take());
        if timeout(patience, self.child.wait()).await.is_err() {
            eprintln!("{} did not stop within {} s and is killed", self.name, patience.as_secs());
            let _ = self.child.kill().await;
        }
    }
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn a_child_that_ends_is_told_with_the_end_of_its_log() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let log = dir.path().join("log");
        let mut process =
            Process::spawn(shell("echo no such token >&2; exit 3"), "signer 1".into(), log).expect("a shell");
        process.child.wait().await.expect("is a child");
        let error = format!("{:?}", process.check().expect_err("ended"));
        assert!(error.contains("signer 1 ended") && error.contains("no such token"), "{error}");
        assert!(process.died());
    }

    #[tokio::test]
    async fn a_child_is_stopped_by_request_or_by_its_input_or_by_force() {
        let dir = tempfile::tempdir().expect("temporary directory");
        for (script, ask) in
            [("read line", false), ("sleep 60", true), ("trap '' TERM; while :; do sleep 1; done", true)]
        {
            let process = Process::spawn(shell(script), "a child".into(), dir.path().join("log")).expect("a shell");
            let pid = process.pid();
            if ask {
                process.terminate();
            }
            process.stop(Duration::from_millis(500)).await;
            assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{script}");
        }
    }
}
