//! One process of the binary: started with its output in a file, signalled, reaped. It ends with the test: it is killed
//! when this is dropped, and watches its standard input for the case that the test itself is killed.

use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for a process to end by itself.
const END_PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two looks.
pub const POLL: Duration = Duration::from_millis(10);

/// The binary under test: named by whoever runs this program, else beside it.
pub fn stele(directory: &Path) -> Command {
    let program = std::env::var_os("CARGO_BIN_EXE_stele").map_or_else(beside_this_program, PathBuf::from);
    let mut command = Command::new(program);
    command.current_dir(directory).env("SOFTHSM2_CONF", directory.join("softhsm2.conf"));
    command
}

/// The same command, under a tracer that is named with its arguments; as it is, where that is empty.
pub fn under(tracer: &[String], command: Command) -> Command {
    let Some((program, arguments)) = tracer.split_first() else { return command };
    let mut traced = Command::new(program);
    traced.args(arguments).arg(command.get_program()).args(command.get_args());
    traced.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(directory) = command.get_current_dir() {
        traced.current_dir(directory);
    }
    traced
}

fn beside_this_program() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let profile = this.parent().and_then(Path::parent).expect("test programs are in <profile>/deps");
    profile.join("stele")
}

/// What a command that ends by itself left behind.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub output: String,
    /// The errors as an operator reads them, without the lines of the log.
    pub message: String,
}

impl Ended {
    /// What a command that succeeds prints with `--json`.
    pub fn json(&self) -> serde_json::Value {
        assert!(self.status.success(), "{}", self.message);
        serde_json::from_str(&self.output).unwrap()
    }
}

/// Runs a command that is expected to end by itself.
pub fn run_to_end(mut command: Command, directory: &Path) -> Ended {
    let (output, errors) = (directory.join("run.out"), directory.join("run.err"));
    command.stdin(Stdio::null()).stdout(File::create(&output).unwrap()).stderr(File::create(&errors).unwrap());
    let mut child = command.spawn().unwrap();
    let status = wait(&mut child).unwrap_or_else(|| {
        drop(child.kill());
        panic!("{command:?} did not end: {}", std::fs::read_to_string(&errors).unwrap_or_default());
    });
    let read = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    let (output, message) = (read(&output), read(&errors));
    let message = message.lines().filter(|line| !line.starts_with('{')).collect::<Vec<_>>().join("\n");
    for file in ["run.out", "run.err"] {
        std::fs::remove_file(directory.join(file)).unwrap();
    }
    Ended { status, output, message }
}

fn wait(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + END_PATIENCE;
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return Some(status),
            None if Instant::now() > deadline => return None,
            None => std::thread::sleep(POLL),
        }
    }
}

/// A process that runs until it is told otherwise.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    pub fn spawn(mut command: Command, name: String, log: PathBuf) -> Self {
        let output = File::create(&log).unwrap();
        let errors = output.try_clone().unwrap();
        let child = command.stdin(Stdio::piped()).stdout(output).stderr(errors).spawn().unwrap();
        Self { name, child, log }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id().cast_signed()).unwrap(), signal).unwrap();
    }

    /// As the kernel does when memory runs out: at once, without a word.
    pub fn kill(mut self) {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
    }

    /// SIGTERM, and the end that it leads to.
    pub fn terminate(self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// The end that it comes to by itself.
    pub fn wait(mut self) -> ExitStatus {
        let ended = wait(&mut self.child);
        ended.unwrap_or_else(|| panic!("{} did not end; its log:\n{}", self.name, self.log_text()))
    }

    pub fn log_text(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }

    /// Fails the test, with the end of the log, if it has ended.
    pub fn check(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("{} ended: {status}; the end of its log:\n{}", self.name, tail(&self.log_text()));
        }
    }

    /// Processes that it started and that still run.
    pub fn children(&self) -> Vec<String> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("children")).ok());
        lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The last lines of a text.
pub fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
