//! A trace of what was refused, beside the guard file: a node that stops because its key was asked to contradict itself
//! leaves behind what it was asked for. One JSON object a line, two files of at most [`BYTES_MAX`] each.
//!
//! Nothing reads the file, and a failure to write it changes no answer.

use crate::provision::now;
use crate::refusal::{Refusal, Slot};
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Most bytes of a file; a full one takes the place of the one before, `….old`.
pub const BYTES_MAX: u64 = 256 << 10;

/// The file.
pub(crate) struct Evidence {
    path: PathBuf,
    /// A node asks again for what was refused; once is enough.
    last: Option<Refusal>,
}

impl Evidence {
    /// Beside a guard file; made with the first refusal.
    pub(crate) fn beside(guard: &Path) -> Self {
        let mut path = guard.as_os_str().to_owned();
        path.push(".refusals");
        Self { path: path.into(), last: None }
    }

    pub(crate) fn take(&mut self, refusal: &Refusal) {
        if self.last == Some(*refusal) {
            return;
        }
        self.last = Some(*refusal);
        if let Err(error) = self.append(refusal) {
            tracing::warn!(%error, path = %self.path.display(), "refusal not written down");
        }
    }

    fn append(&self, refusal: &Refusal) -> io::Result<()> {
        let mut line = line(refusal).to_string();
        line.push('\n');
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        if file.metadata()?.len() + line.len() as u64 > BYTES_MAX {
            let mut old = self.path.as_os_str().to_owned();
            old.push(".old");
            std::fs::rename(&self.path, old)?;
            file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&self.path)?;
        }
        file.write_all(line.as_bytes())?;
        file.sync_data()
    }
}

fn line(refusal: &Refusal) -> Value {
    let place = |slot: &Slot| json!({ "epoch": slot.epoch.0, "round": slot.round.0 });
    let facts = match refusal {
        Refusal::SecondStatement { slot, approved, asked } => {
            json!({ "why": "second statement", "slot": place(slot), "approved": approved.to_string(), "asked": asked.to_string() })
        }
        Refusal::BelowMark { slot, mark, approved, asked } => {
            json!({ "why": "below the mark", "slot": place(slot), "mark": place(mark),
                "approved_at_mark": approved.to_string(), "asked": asked.to_string() })
        }
        Refusal::Fenced { slot, from, asked } => {
            json!({ "why": "fenced", "slot": place(slot), "from": place(from), "asked": asked.to_string() })
        }
        Refusal::SecondHeader { height, voted, asked } => {
            json!({ "why": "second header", "height": height.0, "voted": voted.to_string(), "asked": asked.to_string() })
        }
        Refusal::ForgottenHeight { height, floor } => {
            json!({ "why": "forgotten height", "height": height.0, "floor": floor.0 })
        }
        other => json!({ "why": other.to_string() }),
    };
    json!({ "at": now(), "refusal": facts })
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{Digest, Epoch, Height, Round};

    #[test]
    fn refusals_are_traced_with_their_digests_in_bounded_files() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut evidence = Evidence::beside(&dir.path().join("guard"));
        let (approved, asked) = (Digest::sha256(b"1"), Digest::sha256(b"2"));
        let second =
            |round| Refusal::SecondStatement { slot: Slot { epoch: Epoch(1), round: Round(round) }, approved, asked };
        for _ in 0..3 {
            evidence.take(&second(7));
        }
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).expect("a file");
        let text = read("guard.refusals");
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(line["refusal"]["slot"]["round"], 7);
        assert_eq!(line["refusal"]["asked"], asked.to_string());
        for round in 0..4000 {
            evidence.take(&Refusal::ForgottenHeight { height: Height(round), floor: Height(round) });
            evidence.take(&second(round));
        }
        let length = |name: &str| read(name).len() as u64;
        assert!(length("guard.refusals") <= BYTES_MAX && length("guard.refusals.old") <= BYTES_MAX);
        assert!(read("guard.refusals").lines().last().is_some_and(|line| line.contains("3999")));
        assert_eq!(std::fs::read_dir(dir.path()).expect("own directory").count(), 2);
    }
}
