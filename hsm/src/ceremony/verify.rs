//! Checks a transcript from its bytes alone: no HSM, no clock, no network. `hsm/ceremonies/verify_transcript.py` does the
//! same without any code of this program.

mod machines;

use super::entry::{self, Entry, Event, TRANSCRIPT_BYTES_MAX};
use super::refusal::Refusal;
use super::state::Ceremony;
use super::statement::Mode;
use super::words;
use crate::machines::Machines;
use serde::Serialize;
use thiserror::Error;
use types::{Digest, PublicKey};

pub use machines::MachineReport;

/// Why a transcript is not valid.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Invalid {
    /// More than [`TRANSCRIPT_BYTES_MAX`].
    #[error("the transcript has {0} bytes, and at most {TRANSCRIPT_BYTES_MAX} are read")]
    TooLong(usize),
    /// No entry at all.
    #[error("the transcript is empty")]
    Empty,
    /// An entry may not stand where it stands.
    #[error("entry {entry}: {reason}")]
    Entry {
        /// Its number, from 0.
        entry: u64,
        /// Why.
        reason: Refusal,
    },
    /// The last line has no end: the writer was interrupted.
    #[error("entry {entry}: the last line is torn: the ceremony was interrupted; run it again to resume")]
    Torn {
        /// Its number, from 0.
        entry: u64,
    },
    /// All entries are good, and more are needed.
    #[error("after entry {last}: the ceremony is not complete: what is due is {due}", last = .entries - 1)]
    Incomplete {
        /// How many there are.
        entries: u64,
        /// What is due.
        due: String,
    },
    /// Another script than was expected.
    #[error("entry 0: the script of this ceremony is {found}, and {expected} was expected")]
    OtherScript {
        /// Of the transcript.
        found: Digest,
        /// Of the reader.
        expected: Digest,
    },
}

impl Invalid {
    /// The entry that is at fault.
    pub fn entry(&self) -> Option<u64> {
        match self {
            Self::TooLong(_) | Self::Empty => None,
            Self::Entry { entry, .. } | Self::Torn { entry } => Some(*entry),
            Self::Incomplete { entries, .. } => Some(entries - 1),
            Self::OtherScript { .. } => Some(0),
        }
    }
}

/// Complete lines as a ceremony, and how many bytes they take. What comes after the last line end is the caller's matter.
///
/// # Errors
/// [`Invalid`] for anything but a torn last line.
pub fn replay(bytes: &[u8]) -> Result<(Ceremony, usize), Invalid> {
    if bytes.len() > TRANSCRIPT_BYTES_MAX {
        return Err(Invalid::TooLong(bytes.len()));
    }
    let mut texts = Vec::new();
    let (mut mode, mut head, mut length) = (Mode::Real, [0; 32], 0);
    // The chain first, and the rules then: where bytes were altered, that is the reason, and not what they say now.
    for (number, line) in (0..).zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
        let Some(line) = line.strip_suffix(b"\n") else { break };
        let text =
            chained(number, line, &mut mode, &mut head).map_err(|reason| Invalid::Entry { entry: number, reason })?;
        texts.push(text);
        length += line.len() + 1;
    }
    let mut ceremony: Option<Ceremony> = None;
    for (number, text) in (0..).zip(texts) {
        ceremony = Some(next(ceremony, text).map_err(|reason| Invalid::Entry { entry: number, reason })?);
    }
    ceremony.map(|ceremony| (ceremony, length)).ok_or(Invalid::Empty)
}

/// The text of a line whose hash follows from those before.
fn chained<'a>(number: u64, line: &'a [u8], mode: &mut Mode, head: &mut [u8; 32]) -> Result<&'a str, Refusal> {
    let (claimed, text) = entry::split(line)?;
    if number == 0 {
        let Event::Start(start) = Entry::parse(text)?.event else { return Err(Refusal::NoStart) };
        *mode = Mode::of(start.rehearsal);
    }
    *head = entry::hash(*mode, head, text);
    if *head == claimed { Ok(text) } else { Err(Refusal::Hash) }
}

fn next(ceremony: Option<Ceremony>, text: &str) -> Result<Ceremony, Refusal> {
    let entry = Entry::parse(text)?;
    match ceremony {
        None => Ceremony::start(&entry),
        Some(mut ceremony) => {
            ceremony.apply(&entry)?;
            Ok(ceremony)
        }
    }
}

/// Checks all of a transcript; with the digest of a script, also that it is of that one.
///
/// # Errors
/// [`Invalid`] names entry and reason.
pub fn verify(bytes: &[u8], script: Option<Digest>) -> Result<Ceremony, Invalid> {
    let (ceremony, length) = replay(bytes)?;
    if length != bytes.len() {
        return Err(Invalid::Torn { entry: ceremony.entries() });
    }
    if let Some(expected) = script.filter(|expected| *expected != ceremony.script_digest()) {
        return Err(Invalid::OtherScript { found: ceremony.script_digest(), expected });
    }
    if !ceremony.is_complete() {
        return Err(Invalid::Incomplete { entries: ceremony.entries(), due: ceremony.order().describe() });
    }
    Ok(ceremony)
}

/// Holds the machines of a ceremony against a policy of the reader's.
///
/// # Errors
/// [`Invalid::Entry`].
pub fn on_machines(ceremony: Ceremony, policy: &Machines) -> Result<Ceremony, Invalid> {
    match ceremony.check_machines(policy) {
        Ok(()) => Ok(ceremony),
        Err((entry, reason)) => Err(Invalid::Entry { entry, reason: reason.into() }),
    }
}

/// What is told of a transcript.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether it is complete and everything in it holds.
    pub valid: bool,
    /// How many steps were done.
    pub steps: usize,
    /// Steps that were left out.
    pub exceptions: Vec<LeftOut>,
    /// Who signed the root.
    pub signers: Vec<Signer>,
    /// The hash that stands for the whole.
    pub root: Option<Digest>,
    /// The root, to be read aloud.
    pub root_words: Option<String>,
    /// Whether it was practice; `null` where that cannot be told.
    pub rehearsal: Option<bool>,
    /// Name of the script.
    pub script: Option<String>,
    /// Digest of the script.
    pub script_digest: Option<Digest>,
    /// Keys that the ceremony leaves behind.
    pub keys: Vec<KeyReport>,
    /// The machines on which it was held; none where the script does not want them attested.
    pub machines: Vec<MachineReport>,
    /// The entry that is at fault.
    pub entry: Option<u64>,
    /// What is wrong with it.
    pub reason: Option<String>,
}

/// A step that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The step.
    pub step: String,
    /// Why.
    pub reason: String,
}

/// Someone who signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Signer {
    /// His role.
    pub role: String,
    /// His seat.
    pub seat: String,
    /// Who.
    pub name: String,
    /// His key.
    pub key: PublicKey,
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyReport {
    /// Name in the script.
    pub name: String,
    /// The public half.
    pub public: PublicKey,
    /// Whether all probes failed to get at it.
    pub probed: bool,
}

impl Report {
    /// Of a transcript's verdict.
    pub fn of(verdict: &Result<Ceremony, Invalid>) -> Self {
        match verdict {
            Ok(ceremony) => Self::valid(ceremony),
            Err(invalid) => Self {
                valid: false,
                steps: 0,
                exceptions: Vec::new(),
                signers: Vec::new(),
                root: None,
                root_words: None,
                rehearsal: None,
                script: None,
                script_digest: None,
                keys: Vec::new(),
                machines: Vec::new(),
                entry: invalid.entry(),
                reason: Some(invalid.to_string()),
            },
        }
    }

    fn valid(ceremony: &Ceremony) -> Self {
        let signers = ceremony.officers().iter().map(|officer| Signer {
            role: officer.role.clone(),
            seat: officer.seat.clone(),
            name: officer.name.clone(),
            key: officer.key.clone(),
        });
        let exceptions = ceremony
            .finished()
            .iter()
            .filter_map(|finished| Some(LeftOut { step: finished.step.clone(), reason: finished.excepted.clone()? }));
        let exceptions: Vec<_> = exceptions.collect();
        let keys = ceremony.keys().map(|(name, key)| KeyReport {
            name: name.to_owned(),
            public: key.public.clone(),
            probed: key.probed,
        });
        Self {
            valid: true,
            steps: ceremony.finished().len() - exceptions.len(),
            exceptions,
            signers: signers.collect(),
            root: ceremony.root().map(root_digest),
            root_words: ceremony.root().map(words::of),
            rehearsal: Some(ceremony.mode().is_rehearsal()),
            script: Some(ceremony.script().id.clone()),
            script_digest: Some(ceremony.script_digest()),
            keys: keys.collect(),
            machines: ceremony.machines().iter().map(MachineReport::of).collect(),
            entry: None,
            reason: None,
        }
    }
}

/// The root as a digest.
pub fn root_digest(root: &[u8; 32]) -> Digest {
    Digest::from_parts(types::AlgId::Sha256, *root).expect("SHA-256 is an algorithm of digests")
}
