//! Runs a ceremony: asks the state machine what is due, gets it from the people or the device, and appends it.
//!
//! The order of things is the whole of it: a request is durable before the device is asked, an answer before the next
//! question, and whatever stops this process, the same command goes on where it stopped.

use super::attester::{Attester, NoAttestation};
use super::device::{Device, DeviceError};
use super::entry::Event;
use super::refusal::Refusal;
use super::room::{Room, RoomError, Turn};
use super::state::{Ceremony, Document, Order};
use super::transcript::{Transcript, TranscriptError};
use super::verify::root_digest;
use super::words;
use crate::atomic_file;
use std::path::{Path, PathBuf};
use thiserror::Error;
use types::Digest;

/// Name of the transcript in a ceremony's directory.
pub const TRANSCRIPT: &str = "transcript";

/// Why a ceremony stopped. It can be resumed, unless the reason is in the transcript itself.
#[derive(Debug, Error)]
pub enum ConductError {
    /// The transcript.
    #[error(transparent)]
    Transcript(#[from] TranscriptError),
    /// The people.
    #[error(transparent)]
    Room(#[from] RoomError),
    /// The device, when the ceremony begins or goes on: within a step a failure is recorded and the people decide.
    #[error("the token of the ceremony: {0}")]
    Device(#[from] DeviceError),
    /// The machine's TPM, where the script does not do without.
    #[error(transparent)]
    Machine(#[from] NoAttestation),
    /// A file beside the transcript, or the program's own.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The script is none.
    #[error(transparent)]
    Script(#[from] super::ScriptError),
    /// The directory has the transcript of something else.
    #[error("{path}: there is a transcript of another {what}; take a new directory")]
    OtherCeremony {
        /// The transcript.
        path: PathBuf,
        /// Script or mode.
        what: &'static str,
    },
    /// The system gave no randomness.
    #[error("no randomness from the system")]
    Randomness,
}

impl From<Refusal> for ConductError {
    fn from(refusal: Refusal) -> Self {
        Self::Transcript(refusal.into())
    }
}

/// Runs what is left of a ceremony; the root.
///
/// # Errors
/// [`ConductError`].
pub fn conduct(
    transcript: &mut Transcript,
    room: &mut dyn Room,
    device: &mut dyn Device,
    attester: &Attester,
    directory: &Path,
) -> Result<Digest, ConductError> {
    // Before anything is done on it, and before the token is looked at.
    attest(transcript, room, attester)?;
    announce(transcript.ceremony(), room);
    for document in transcript.ceremony().documents() {
        write(directory, document)?;
    }
    let over = transcript.ceremony().root().is_some();
    if let Some(token) = transcript.ceremony().token().filter(|_| !over).cloned() {
        device.reopen(&token)?;
    }
    loop {
        let ceremony = transcript.ceremony().clone();
        match ceremony.order() {
            Order::Complete => {
                let root = ceremony.root().expect("a complete ceremony is closed");
                return Ok(root_digest(root));
            }
            Order::Attest { .. } => {
                attest(transcript, room, attester)?;
                announce(transcript.ceremony(), room);
            }
            order => advance(transcript, room, device, directory, &ceremony, order)?,
        }
    }
}

/// One entry, or a few that belong together.
fn advance(
    transcript: &mut Transcript,
    room: &mut dyn Room,
    device: &mut dyn Device,
    directory: &Path,
    ceremony: &Ceremony,
    order: Order<'_>,
) -> Result<(), ConductError> {
    let due = order.describe();
    let event = match order {
        Order::Gather { lacking } => match room.arrival(ceremony)? {
            Some(officer) => {
                let message = ceremony.attendance(&officer.role, &officer.seat, &officer.name, &officer.key);
                let about = format!("{} is present", officer.name);
                let (_, signature) = room.sign(std::slice::from_ref(&officer.seat), &message, &about)?;
                let (role, seat) = (officer.role, officer.seat);
                Event::Present { role, seat, name: officer.name, key: officer.key, signature }
            }
            None => match lacking {
                None => Event::Open {},
                Some((role, needed, have)) => {
                    return Err(Refusal::Quorum { role: role.to_owned(), needed, have }.into());
                }
            },
        },
        Order::Begin(step) => {
            let event = Event::Begin { step: step.id.clone() };
            transcript.append(room.now_ms(), event)?;
            match room.begin(ceremony, step)? {
                Turn::Go(()) => return Ok(()),
                Turn::Except(reason) => Event::Exception { step: step.id.clone(), reason },
            }
        }
        Order::Ask(step, question) => match room.answer(step, question)? {
            Turn::Go(answer) => Event::Answer { step: step.id.clone(), question: question.id.to_owned(), answer },
            Turn::Except(reason) => Event::Exception { step: step.id.clone(), reason },
        },
        Order::Approve { step, seats, message, .. } => {
            let (seat, signature) = room.sign(&seats, &message, &due)?;
            Event::Approval { step: step.id.clone(), seat, signature }
        }
        Order::Do { step, operation, requested, again } => {
            if !requested {
                let event = Event::Request { step: step.id.clone(), operation: operation.clone() };
                transcript.append(room.now_ms(), event)?;
            }
            let outcome = device.run(&operation, again);
            let reason = match outcome {
                Ok(outcome) => {
                    let event = Event::Result { step: step.id.clone(), outcome };
                    match transcript.append(room.now_ms(), event) {
                        Ok(()) => return Ok(()),
                        // An answer that is not accepted is a failure of the step, with its reason on record.
                        Err(TranscriptError::Refused(refusal)) => refusal.to_string(),
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(error) => error.to_string(),
            };
            let reason = short(&reason);
            transcript.append(room.now_ms(), Event::Failure { step: step.id.clone(), reason: reason.clone() })?;
            match room.failed(step, &reason)? {
                Turn::Go(()) => return Ok(()),
                Turn::Except(reason) => Event::Exception { step: step.id.clone(), reason },
            }
        }
        Order::Blocked(step, refusal) => match room.failed(step, &refusal.to_string())? {
            Turn::Go(()) => return Err(refusal.into()),
            Turn::Except(reason) => Event::Exception { step: step.id.clone(), reason },
        },
        Order::Write { step, file, text } => {
            let document = Document { step: step.id.clone(), file: file.clone(), text: text.clone() };
            transcript.append(room.now_ms(), Event::Document { step: step.id.clone(), file, text })?;
            room.tell(&format!("writes {}", document.file));
            return write(directory, &document);
        }
        Order::Finish(step) => Event::Done { step: step.id.clone() },
        Order::Leave(step) => Event::Excepted { step: step.id.clone() },
        Order::Close => {
            let excepted = ceremony.finished().iter().filter(|step| step.excepted.is_some()).count();
            let done = (ceremony.finished().len() - excepted) as u64;
            transcript.append(room.now_ms(), Event::Close { done, excepted: excepted as u64 })?;
            if let Some(root) = transcript.ceremony().root() {
                room.tell(&format!("the root is {}\nin words: {}", root_digest(root), words::of(root)));
            }
            return Ok(());
        }
        Order::Sign { seats, message } => {
            let (seat, signature) = room.sign(&seats, &message, "the whole ceremony, by its root")?;
            Event::Sign { seat, signature }
        }
        Order::Attest { .. } | Order::Complete => return Ok(()),
    };
    Ok(transcript.append(room.now_ms(), event)?)
}

/// Has the machine attested, if that is due.
fn attest(transcript: &mut Transcript, room: &mut dyn Room, attester: &Attester) -> Result<(), ConductError> {
    let Some(attested) = attester.attest(transcript.ceremony())? else { return Ok(()) };
    Ok(transcript.append(room.now_ms(), Event::Attestation(attested))?)
}

/// Tells everybody which machine it is.
fn announce(ceremony: &Ceremony, room: &mut dyn Room) {
    if let Some(machine) = ceremony.machines().last().filter(|_| ceremony.root().is_none()) {
        room.tell(&machine.describe());
    }
}

/// Writes a document that is in the transcript, unless it is there.
fn write(directory: &Path, document: &Document) -> Result<(), ConductError> {
    let path = directory.join(&document.file);
    if std::fs::read(&path).is_ok_and(|content| content == document.text.as_bytes()) {
        return Ok(());
    }
    let written = atomic_file::replace(&path, document.text.as_bytes());
    written.map(drop).map_err(|source| ConductError::Io { path, source })
}

/// As a transcript takes it.
pub(super) fn short(reason: &str) -> String {
    let mut line: String =
        reason.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    while line.len() > 512 {
        line.pop();
    }
    line
}
