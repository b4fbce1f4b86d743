//! What services print: into a bounded journal on the state's disk, and on the console.

use crate::state::FOLDER;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

/// Bytes of a journal's file; there are two, so that as much is kept at least and twice as much at most.
const FILE_BYTES: u64 = 4 << 20;
/// Bytes of a line; the rest of a longer one is a line of its own.
const LINE_BYTES: u64 = 8192;

/// A journal of one service.
#[derive(Debug)]
struct Journal {
    path: PathBuf,
    file: Option<File>,
    bytes: u64,
    bytes_max: u64,
}

impl Journal {
    fn open(path: PathBuf, bytes_max: u64) -> Self {
        let mut journal = Self { path, file: None, bytes: 0, bytes_max };
        journal.reopen();
        journal
    }

    fn reopen(&mut self) {
        self.file = OpenOptions::new().create(true).append(true).open(&self.path).ok();
        self.bytes = self.file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |data| data.len());
    }

    /// Appends; a full disk loses lines, never the service.
    fn write(&mut self, line: &[u8]) {
        if self.bytes + line.len() as u64 > self.bytes_max {
            let _ = std::fs::rename(&self.path, self.path.with_added_extension("old"));
            self.reopen();
        }
        self.bytes += line.len() as u64;
        if let Some(file) = &mut self.file {
            let _ = file.write_all(line);
        }
    }
}

/// Takes what a service prints until it ends, in a thread of its own. `aloud`: all lines go to the console, otherwise those
/// that speak of trouble.
pub fn follow(service: &'static str, output: impl Read + Send + 'static, aloud: bool) {
    let folder = Path::new(FOLDER).join("journal");
    let _ = std::fs::create_dir_all(&folder);
    std::thread::spawn(move || {
        let mut journal = Journal::open(folder.join(format!("{service}.log")), FILE_BYTES);
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while let Ok(1..) = output.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line) {
            if line.last() != Some(&b'\n') {
                line.push(b'\n');
            }
            journal.write(&line);
            let text = String::from_utf8_lossy(&line);
            if aloud || ["ERROR", "WARN", "Error", "panicked"].iter().any(|word| text.contains(word)) {
                print!("{service}: {text}");
            }
            line.clear();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_is_bounded_and_keeps_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.log");
        let mut journal = Journal::open(path.clone(), 100);
        (0..100).for_each(|n| journal.write(format!("line {n:04}\n").as_bytes()));
        let length = |path: &Path| std::fs::metadata(path).unwrap().len();
        assert!(length(&path) <= 100 && length(&path.with_added_extension("old")) <= 100);
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("line 0099\n"));
    }
}
