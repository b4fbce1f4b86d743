//! What has to hold before a ceremony begins or goes on: its script and the machine. Until it does, nothing is written, and
//! no token was looked at.

use super::Mode;
use super::attester::Attester;
use super::conduct::{ConductError, TRANSCRIPT};
use super::entry::{Entry, Event, Start};
use super::machine;
use super::script::{Script, ScriptError};
use super::state::Ceremony;
use super::transcript::Transcript;
use std::path::{Path, PathBuf};
use types::Digest;

/// A ceremony that may begin or go on, on this machine.
#[derive(Debug)]
pub struct Prepared {
    place: Place,
    /// What is written first, at this time.
    events: Vec<Event>,
    now_ms: u64,
}

#[derive(Debug)]
enum Place {
    New(PathBuf, Box<Entry>),
    Old(Box<Transcript>),
}

/// Looks at the transcript in `directory`, or makes the first entry of a new one; has the machine attested where the script
/// wants that.
///
/// # Errors
/// [`ConductError`].
pub fn prepare(
    directory: &Path,
    script: &[u8],
    mode: Mode,
    program: &str,
    now_ms: u64,
    attester: &Attester,
) -> Result<Prepared, ConductError> {
    let path = directory.join(TRANSCRIPT);
    let binary = machine::binary().map_err(|source| ConductError::Io { path: "/proc/self/exe".into(), source })?;
    let (place, mut ceremony, mut events) = if path.exists() {
        let transcript = Transcript::resume(&path)?;
        let mut ceremony = transcript.ceremony().clone();
        let other = |what| Err(ConductError::OtherCeremony { path: path.clone(), what });
        if ceremony.script_digest() != Script::digest(script) {
            return other("script");
        }
        if ceremony.mode() != mode {
            return other("kind: rehearsal and ceremony are two");
        }
        let mut events = Vec::new();
        if ceremony.root().is_none() {
            events.push(Event::Resume { binary, machine: machine::facts() });
            apply(&mut ceremony, now_ms, &events[0])?;
        }
        (Place::Old(Box::new(transcript)), ceremony, events)
    } else {
        let start = first(script, mode, (program, binary), now_ms)?;
        let ceremony = Ceremony::start(&start)?;
        (Place::New(path, Box::new(start)), ceremony, Vec::new())
    };
    // Only where the machine was just started: what was done is quoted when all is done.
    let started = matches!(place, Place::New(..)) || !events.is_empty();
    if let Some(attested) = started.then(|| attester.attest(&ceremony)).transpose()?.flatten() {
        let event = Event::Attestation(attested);
        apply(&mut ceremony, now_ms, &event)?;
        events.push(event);
    }
    Ok(Prepared { place, events, now_ms })
}

impl Prepared {
    /// Writes what comes first.
    ///
    /// # Errors
    /// [`ConductError::Transcript`].
    pub fn begin(self) -> Result<Transcript, ConductError> {
        let mut transcript = match self.place {
            Place::New(path, start) => Transcript::create(&path, &start)?,
            Place::Old(transcript) => *transcript,
        };
        for event in self.events {
            transcript.append(self.now_ms, event)?;
        }
        Ok(transcript)
    }
}

fn apply(ceremony: &mut Ceremony, time_ms: u64, event: &Event) -> Result<(), ConductError> {
    let entry = Entry { n: ceremony.entries(), time_ms, event: event.clone() };
    Ok(ceremony.apply(&entry)?)
}

fn first(script: &[u8], mode: Mode, (program, binary): (&str, Digest), now_ms: u64) -> Result<Entry, ConductError> {
    let format = Script::parse(script)?.format;
    let text = std::str::from_utf8(script).map_err(|_| ScriptError::NotText)?;
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(|_| ConductError::Randomness)?;
    let start = Start {
        format,
        rehearsal: mode.is_rehearsal(),
        nonce: hex::encode(nonce),
        script_digest: Script::digest(script),
        script: text.to_owned(),
        program: program.to_owned(),
        binary,
        machine: machine::facts(),
    };
    Ok(Entry { n: 0, time_ms: now_ms, event: Event::Start(start) })
}
