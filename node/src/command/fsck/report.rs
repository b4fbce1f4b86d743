//! What was found, as JSON and as text. Deliberately absent: how it was found.

use crate::repair;
use serde::Serialize;
use std::fmt::Write;
use std::path::PathBuf;
use storage::log::check::Checked;
use types::{Digest, Height};

/// Damage that is listed; all of it is counted.
const LISTED_MAX: usize = 10_000;
/// Damage that is shown to a reader.
const SHOWN_MAX: usize = 20;

/// A file that is none of the log's: nothing in the log is damaged, and no node starts.
const STRAY_FILE: &str = "stray_file";

/// A place where something else stands than was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Segment of the log.
    pub segment: u64,
    /// Byte offset in it.
    pub offset: u64,
    /// What it is.
    pub kind: &'static str,
    /// The file, where it is none of the log's: then segment and offset say nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

/// See the module.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Segments of the log that are there.
    pub segments: u64,
    /// Groups of records whose checksums hold.
    pub groups: u64,
    /// Records whose checksums hold.
    pub records: u64,
    /// Bytes of the groups.
    pub bytes: u64,
    /// The first places.
    pub damaged: Vec<Place>,
    /// How many there are.
    pub damaged_total: u64,
    /// Whether records and state were looked into.
    pub deep: bool,
    /// Whether the rows add up to the digest in the last header; none if it was not asked for or there is no state.
    pub state_digest_ok: Option<bool>,
    /// The last height of the state.
    pub state_height: Option<u64>,
    /// Why the state cannot be summed up.
    pub state_error: Option<String>,
    /// What a repair did before this was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repaired: Option<repair::Done>,
}

impl Report {
    /// Nothing was found yet.
    pub fn new(deep: bool) -> Self {
        Self { deep, ..Self::default() }
    }

    /// Something is wrong at a place.
    pub fn damage(&mut self, segment: u64, offset: u64, kind: &'static str) {
        self.place(Place { segment, offset, kind, file: None });
    }

    /// A file lies in the log that is none of its.
    pub fn stray(&mut self, file: PathBuf) {
        self.place(Place { segment: 0, offset: 0, kind: STRAY_FILE, file: Some(file) });
    }

    fn place(&mut self, place: Place) {
        self.damaged_total += 1;
        if self.damaged.len() < LISTED_MAX {
            self.damaged.push(place);
        }
    }

    /// The log was read.
    pub fn log(&mut self, checked: &Checked) {
        (self.segments, self.groups) = (checked.segments, checked.groups);
        (self.records, self.bytes) = (checked.records, checked.bytes);
    }

    /// The state was summed up.
    pub fn state(&mut self, height: Height, expected: Digest, found: Digest, counts: bool) {
        self.state_height = Some(height.0);
        self.state_digest_ok = Some(expected == found && counts);
        if expected != found {
            self.state_error = Some(format!("its rows add up to {found}, the header says {expected}"));
        } else if !counts {
            self.state_error = Some("live ids are missing or too many".to_owned());
        }
    }

    /// The state cannot be summed up.
    pub fn state_failed(&mut self, error: &dyn std::error::Error) {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            let _ = write!(text, ": {inner}");
            source = inner.source();
        }
        (self.state_digest_ok, self.state_error) = (Some(false), Some(text));
    }

    /// Whether nothing is wrong.
    pub fn whole(&self) -> bool {
        self.damaged_total == 0 && self.state_digest_ok != Some(false)
    }

    /// One object.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers, strings and lists have a JSON form") + "\n"
    }

    /// For a reader.
    pub fn to_text(&self) -> String {
        let Self { segments, groups, records, bytes, damaged_total, .. } = self;
        let mut out = self.repaired.as_ref().map(repair_text).unwrap_or_default();
        let _ = writeln!(out, "log: {segments} segments, {groups} groups, {records} records, {bytes} bytes");
        for Place { segment, offset, kind, file } in self.damaged.iter().take(SHOWN_MAX) {
            let _ = match file {
                Some(file) => writeln!(out, "{}: {kind}: none of the log's; move it away", file.display()),
                None => writeln!(out, "damaged: segment {segment}, offset {offset}: {kind}"),
            };
        }
        if *damaged_total > SHOWN_MAX as u64 {
            let _ = writeln!(out, "and {} places more", damaged_total - SHOWN_MAX as u64);
        }
        match (self.state_digest_ok, &self.state_error, self.state_height) {
            (Some(true), _, Some(height)) => drop(writeln!(out, "state: as the header of height {height} says")),
            (_, Some(error), _) => drop(writeln!(out, "state: damaged: {error}")),
            _ if self.deep => out.push_str("state: there is none\n"),
            _ => {}
        }
        out.push_str(if self.whole() { "nothing is damaged\n" } else { "damaged\n" });
        out
    }
}

fn repair_text(done: &repair::Done) -> String {
    let repair::Done { from_segment, damaged, commits, blocks, kept, state_kept, .. } = done;
    let Some(first) = from_segment else { return "repair: nothing is damaged\n".to_owned() };
    let (commits, state) = (commits.len(), if *state_kept { "kept" } else { "to be rebuilt: `stele rebuild`" });
    format!(
        "repair: {damaged} places; segments from {first} on are new: {kept} records kept, {commits} commits and {blocks} blocks fetched; own blocks that no commit had ordered may be gone; state {state}\n"
    )
}
