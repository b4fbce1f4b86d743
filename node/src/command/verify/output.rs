//! The writer: puts chunks back in order, counts, and is the only one that writes.
//!
//! Runs on the main thread. Verdicts are formatted where they are made; here they are only copied. A chunk gives its token
//! back when it is written.

use super::record::Malformed;
use crossbeam_channel::{Receiver, Sender};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{StdoutLock, Write};
use std::time::{Duration, Instant};

/// Malformed lines that are named; the rest is counted.
const NAMED_MAX: u64 = 20;
/// How often the progress is shown.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// What became of a chunk.
#[derive(Debug, Default)]
pub struct Done {
    /// The chunk's own.
    pub sequence: u64,
    /// The lines of output.
    pub text: Vec<u8>,
    /// Valid items.
    pub valid: u64,
    /// Invalid items.
    pub invalid: u64,
    /// Malformed lines.
    pub malformed: u64,
    /// The first of them with their line numbers, no more than [`NAMED_MAX`].
    pub named: Vec<(u64, Malformed)>,
}

impl Done {
    /// Notes a malformed line.
    pub fn malformed(&mut self, line: u64, reason: Malformed) {
        self.malformed += 1;
        if self.malformed <= NAMED_MAX {
            self.named.push((line, reason));
        }
    }

    /// Notes a verdict, and formats it where that is asked for.
    pub fn verdict(&mut self, index: u64, valid: bool, lines: bool) {
        if valid {
            self.valid += 1;
        } else {
            self.invalid += 1;
        }
        if lines {
            writeln!(self.text, "{{\"i\":{index},\"valid\":{valid}}}").expect("a vector takes every byte");
        }
    }
}

/// Counts of all lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Valid items.
    pub valid: u64,
    /// Invalid items.
    pub invalid: u64,
    /// Malformed lines.
    pub malformed: u64,
}

/// The object of `--json`.
#[derive(Debug, Serialize)]
pub struct Summary {
    items: u64,
    valid: u64,
    invalid: u64,
    malformed: u64,
    engine: &'static str,
    seconds: f64,
}

impl Tally {
    /// Lines that were not empty.
    pub fn items(&self) -> u64 {
        self.valid + self.invalid + self.malformed
    }

    /// Whether there was nothing but valid items.
    pub fn all_valid(&self) -> bool {
        self.invalid == 0 && self.malformed == 0
    }

    /// All counts, with what verified and how long it took.
    pub fn summary(&self, engine: &'static str, took: Duration) -> Summary {
        let Self { valid, invalid, malformed } = *self;
        Summary { items: self.items(), valid, invalid, malformed, engine, seconds: took.as_secs_f64() }
    }
}

/// Standard output and standard error.
#[derive(Debug)]
pub struct Writer {
    output: StdoutLock<'static>,
    json: bool,
    progress: Option<Progress>,
    named: u64,
}

#[derive(Debug)]
struct Progress {
    started: Instant,
    shown: Instant,
    on_screen: bool,
}

impl Writer {
    /// With `json`, verdicts are counted alone; with `progress`, a line on standard error says how far it is.
    pub fn new(json: bool, progress: bool) -> Self {
        let now = Instant::now();
        let progress = progress.then_some(Progress { started: now, shown: now, on_screen: false });
        Self { output: std::io::stdout().lock(), json, progress, named: 0 }
    }

    /// Writes every chunk until there are no more.
    ///
    /// # Errors
    /// Those of standard output.
    pub fn drain(&mut self, verdicts: &Receiver<Done>, spare: &Sender<()>, tally: &mut Tally) -> std::io::Result<()> {
        let mut waiting = BTreeMap::new();
        let mut next = 0;
        for done in verdicts {
            waiting.insert(done.sequence, done);
            while let Some(done) = waiting.remove(&next) {
                next += 1;
                self.write(&done, tally)?;
                // The reader may be at the end of its input already.
                spare.send(()).ok();
            }
            // What a person or a program downstream waits for.
            if verdicts.is_empty() {
                self.output.flush()?;
            }
        }
        Ok(())
    }

    fn write(&mut self, done: &Done, tally: &mut Tally) -> std::io::Result<()> {
        tally.valid += done.valid;
        tally.invalid += done.invalid;
        tally.malformed += done.malformed;
        self.output.write_all(&done.text)?;
        for (line, reason) in &done.named {
            if self.named < NAMED_MAX {
                self.named += 1;
                self.say(&format!("line {line}: {reason}"));
            }
        }
        self.show_progress(tally);
        Ok(())
    }

    /// Says that a device failed, if it did.
    pub fn faults(&mut self, faults: u64) {
        if faults > 0 {
            self.say(&format!("the GPU failed {faults} times; what it had was verified on the CPU"));
        }
    }

    /// The end: what was left out, and the summary.
    ///
    /// # Errors
    /// Those of standard output.
    pub fn finish(&mut self, tally: &Tally, summary: &Summary) -> std::io::Result<()> {
        if tally.malformed > self.named {
            self.say(&format!("and {} more malformed lines", tally.malformed - self.named));
        }
        if self.json {
            serde_json::to_writer(&mut self.output, summary)?;
            self.output.write_all(b"\n")?;
        } else {
            let Tally { valid, invalid, malformed } = tally;
            let rate = summary.items as f64 / summary.seconds.max(1e-9);
            self.say(&format!(
                "{} items: {valid} valid, {invalid} invalid, {malformed} malformed; {}, {:.3} s, {rate:.0}/s",
                summary.items, summary.engine, summary.seconds
            ));
        }
        self.output.flush()
    }

    /// A line on standard error, in place of the progress. One that cannot be written is nobody's loss.
    fn say(&mut self, line: &str) {
        let mut errors = std::io::stderr().lock();
        if let Some(progress) = self.progress.as_mut().filter(|progress| progress.on_screen) {
            progress.on_screen = false;
            drop(write!(errors, "\r\x1b[K"));
        }
        drop(writeln!(errors, "{line}"));
    }

    fn show_progress(&mut self, tally: &Tally) {
        let Some(progress) = self.progress.as_mut().filter(|progress| progress.shown.elapsed() >= PROGRESS_EVERY)
        else {
            return;
        };
        progress.shown = Instant::now();
        progress.on_screen = true;
        let rate = tally.items() as f64 / progress.started.elapsed().as_secs_f64();
        let line = format!("\r\x1b[K{} items, {rate:.0}/s", tally.items());
        drop(std::io::stderr().write_all(line.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_names_the_first_malformed_lines_and_counts_all() {
        let mut done = Done::default();
        for line in 1..=50 {
            done.malformed(line, Malformed::NotUtf8);
        }
        assert_eq!((done.malformed, done.named.len() as u64), (50, NAMED_MAX));
        assert_eq!(done.named.last(), Some(&(NAMED_MAX, Malformed::NotUtf8)));
    }

    #[test]
    fn verdicts_are_one_object_a_line_or_only_counted() {
        let mut done = Done::default();
        done.verdict(7, true, true);
        done.verdict(9, false, true);
        done.verdict(10, false, false);
        assert_eq!(String::from_utf8_lossy(&done.text), "{\"i\":7,\"valid\":true}\n{\"i\":9,\"valid\":false}\n");
        assert_eq!((done.valid, done.invalid), (1, 2));
    }

    #[test]
    fn nothing_at_all_is_all_valid() {
        assert!(Tally::default().all_valid());
        assert!(!Tally { malformed: 1, ..Tally::default() }.all_valid());
        assert!(!Tally { invalid: 1, ..Tally::default() }.all_valid());
    }
}
