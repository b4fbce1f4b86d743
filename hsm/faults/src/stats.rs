//! Counts of calls in a file of fixed-width lines, so that each call costs one small write.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const NAME: usize = 28;
const LINE: usize = NAME + 1 + 20 + 1;

/// What was called, as the stats file has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats(BTreeMap<String, u64>);

impl Stats {
    /// Reads a stats file.
    ///
    /// # Errors
    /// Those of the file system; a file of another form.
    pub fn read(path: &Path) -> io::Result<Self> {
        let text = std::fs::read_to_string(path)?;
        let line = |line: &str| {
            let (name, count) = line.trim_matches('\0').split_once(' ')?;
            Some((name.to_owned(), count.trim().parse().ok()?))
        };
        Ok(Self(text.lines().filter_map(line).collect()))
    }

    /// Calls of a function.
    pub fn calls(&self, function: &str) -> u64 {
        self.0.get(function).copied().unwrap_or(0)
    }

    /// Calls of C_Login.
    pub fn logins(&self) -> u64 {
        self.calls("C_Login")
    }

    /// Calls of C_Login after one whose PIN was not accepted, in one incarnation. A signer must have none.
    pub fn logins_after_rejection(&self) -> u64 {
        self.calls(AFTER_REJECTION)
    }
}

pub(crate) const AFTER_REJECTION: &str = "login_after_rejection";

/// The file, while it is written. One line a function, by its index.
pub(crate) struct StatsFile(File);

impl StatsFile {
    pub(crate) fn create(path: &Path) -> Option<Self> {
        // Append-less writing at offsets; a file from before is continued by its name, its counts begin anew.
        File::create(path).ok().map(Self)
    }

    pub(crate) fn put(&self, index: usize, name: &str, count: u64) {
        let line = format!("{name:<NAME$} {count:>20}\n");
        // Best effort: a test that reads the counts notices what is missing.
        let _ = self.0.write_at(line.as_bytes(), (index * LINE) as u64);
    }
}
