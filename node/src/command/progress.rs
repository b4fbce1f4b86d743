//! Says on standard error how far long work is: at most a line in two seconds.

use std::io::Write;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub struct Progress {
    said: Instant,
}

impl Progress {
    /// Starts quietly: short work says nothing.
    pub fn new() -> Self {
        Self { said: Instant::now() }
    }

    /// A segment begins.
    pub fn segment(&mut self, segment: u64, left: u64) {
        self.say(|| format!("log: segment {segment}, {left} left"));
    }

    /// So many rows of the state database were read.
    pub fn rows(&mut self, rows: u64) {
        self.say(|| format!("state: {rows} rows"));
    }

    /// Says it, if it is time.
    pub fn say(&mut self, what: impl FnOnce() -> String) {
        if self.said.elapsed() >= EVERY {
            self.said = Instant::now();
            drop(writeln!(std::io::stderr(), "{}", what()));
        }
    }
}
