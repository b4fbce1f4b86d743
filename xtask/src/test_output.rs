//! Runs one test program with its output live on our terminal, and reads the totals from what it prints (libtest's `test result:` lines,
//! which `cargo test --doc` prints too). Knows nothing of stages or budgets.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// Totals of one or more test programs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed, and programs that died without saying which test it was.
    pub failed: u64,
    /// Tests that the program itself left out.
    pub ignored: u64,
    /// Names of what failed.
    pub failures: Vec<String>,
    /// The last lines of each program that failed, to be shown where a reader looks last.
    pub excerpts: Vec<String>,
}

/// Lines kept of a program that fails: libtest says at its end what the failing tests printed.
const EXCERPT_LINES: usize = 60;

impl Totals {
    /// Adds another program's totals.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.failures.extend(other.failures);
        self.excerpts.extend(other.excerpts);
    }

    /// Reads one line of output.
    fn read_line(&mut self, program: &str, line: &str) {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("test result: ") {
            for part in rest.split(['.', ';']) {
                let mut words = part.split_whitespace();
                let (Some(count), Some(what)) = (words.next().and_then(|word| word.parse::<u64>().ok()), words.next())
                else {
                    continue;
                };
                match what {
                    "passed" => self.passed += count,
                    "failed" => self.failed += count,
                    "ignored" => self.ignored += count,
                    _ => {}
                }
            }
        } else if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            self.failures.push(format!("{program}: {name}"));
        }
    }
}

/// Runs `command` until it ends or `limit` has passed; then it is killed and counts as one failure.
pub fn run(program: &str, command: &mut Command, limit: Duration) -> Result<Totals, Failure> {
    run_into(&mut std::io::stdout(), program, command, limit)
}

/// Tests of this very file print lines that look like totals, so they keep them off the terminal.
fn run_into(
    terminal: &mut dyn Write,
    program: &str,
    command: &mut Command,
    limit: Duration,
) -> Result<Totals, Failure> {
    let refused = |error: std::io::Error| Failure::io(format!("running {program}"), &error);
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(refused)?;
    let mut pipe = child.stdout.take().expect("the pipe was asked for on the line above");
    // Bounded: a test that prints faster than the terminal waits, as it would without us.
    let (sender, chunks) = mpsc::sync_channel::<Vec<u8>>(16);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 8192];
        while let Ok(length @ 1..) = pipe.read(&mut buffer) {
            if sender.send(buffer[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    let deadline = Instant::now() + limit;
    let mut totals = Totals::default();
    let mut line = Vec::new();
    let mut last_lines = VecDeque::with_capacity(EXCERPT_LINES);
    loop {
        match chunks.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(chunk) => {
                terminal.write_all(&chunk).and_then(|()| terminal.flush()).ok();
                for byte in chunk {
                    if byte == b'\n' {
                        let text = String::from_utf8_lossy(&line).into_owned();
                        totals.read_line(program, &text);
                        if last_lines.len() == EXCERPT_LINES {
                            last_lines.pop_front();
                        }
                        last_lines.push_back(text);
                        line.clear();
                    } else {
                        line.push(byte);
                    }
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                child.kill().ok();
                child.wait().map_err(refused)?;
                totals.failed += 1;
                totals.failures.push(format!("{program}: stopped after {} s, a test hangs", limit.as_secs()));
                totals.excerpts.push(excerpt(program, last_lines));
                return Ok(totals);
            }
        }
    }
    let status = child.wait().map_err(refused)?;
    if !status.success() && totals.failed == 0 {
        totals.failed += 1;
        totals.failures.push(format!("{program}: ended with {status} and no totals"));
    }
    if totals.failed > 0 {
        totals.excerpts.push(excerpt(program, last_lines));
    }
    Ok(totals)
}

fn excerpt(program: &str, lines: VecDeque<String>) -> String {
    format!("-- the end of {program}\n{}", Vec::from(lines).join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn quietly(program: &str, command: &mut Command, limit: Duration) -> Result<Totals, Failure> {
        run_into(&mut std::io::sink(), program, command, limit)
    }

    fn shell(script: &str) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]);
        shell
    }

    #[test]
    fn totals_are_read_from_libtest_lines() {
        let mut totals = Totals::default();
        totals.read_line(
            "x",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.42s",
        );
        totals.read_line(
            "x",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
        );
        totals.read_line("x", "test committer::skips ... FAILED");
        totals.read_line("x", "test committer::commits ... ok");
        assert_eq!((totals.passed, totals.failed, totals.ignored), (15, 2, 1));
        assert_eq!(totals.failures, ["x: committer::skips"]);
    }

    #[test]
    fn a_program_that_dies_without_totals_is_a_failure() {
        let totals = quietly("dies", &mut shell("echo running; kill -ABRT $$"), LIMIT).expect("sh exists");
        assert_eq!((totals.passed, totals.failed, totals.failures.len()), (0, 1, 1));
    }

    #[test]
    fn a_program_that_reports_its_failures_is_counted_once() {
        let script = "echo 'test result: FAILED. 4 passed; 2 failed; 0 ignored'; exit 101";
        let totals = quietly("fails", &mut shell(script), LIMIT).expect("sh exists");
        assert_eq!((totals.passed, totals.failed), (4, 2));
        assert_eq!(totals.excerpts, ["-- the end of fails\ntest result: FAILED. 4 passed; 2 failed; 0 ignored"]);
    }

    #[test]
    fn a_program_that_hangs_is_killed_and_named() {
        let totals = quietly("hangs", &mut shell("exec sleep 1000"), Duration::from_millis(50)).expect("sh exists");
        assert_eq!(totals.failed, 1);
        assert!(totals.failures[0].contains("hangs"));
    }
}
