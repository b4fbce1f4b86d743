//! One entry of a transcript, and its line.
//!
//! A line is `{"hash":"<64 digits>","entry":<text>}` and a line feed. The text is the entry as JSON without spaces, fields
//! in the order of the types here, characters above ASCII unescaped: one value has one text, and any other is refused.
//! The hash is [`Purpose::Entry`] over the hash before (32 zero bytes for the first) and the text. Absent: whether an
//! entry may stand where it stands, which is `state`'s.

mod attested;
mod exchange;

use super::statement::{Mode, Purpose};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use types::{Digest, PublicKey, Signature};

pub use attested::{Attested, EVENT_LOG_BYTES_MAX, MachineQuote};
pub use exchange::{Operation, Outcome, PROBES, Probe, Token};

/// Most bytes of a line.
pub const LINE_BYTES_MAX: usize = 1 << 20;
/// Most bytes of a transcript.
pub const TRANSCRIPT_BYTES_MAX: usize = 16 << 20;

const HEAD: &str = "{\"hash\":\"";
const MIDDLE: &str = "\",\"entry\":";
const HASH_DIGITS: usize = 64;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its number, from 0.
    pub n: u64,
    /// When, by the clock of the machine, in milliseconds since the Unix epoch. Never before the entry before.
    pub time_ms: u64,
    /// What.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// The first entry. Its hash is the identity of the ceremony.
    Start(Start),
    /// An officer is here, and shows that he has his key.
    Present {
        /// His role in the script.
        role: String,
        /// His seat in the script.
        seat: String,
        /// Who he is.
        name: String,
        /// His key.
        key: PublicKey,
        /// Over [`Purpose::Attendance`].
        signature: Signature,
    },
    /// All who take part are here.
    Open {},
    /// A step begins.
    Begin {
        /// The step.
        step: String,
    },
    /// An answer to a question of a step.
    Answer {
        /// The step.
        step: String,
        /// The question.
        question: String,
        /// The answer.
        answer: String,
    },
    /// An officer agrees.
    Approval {
        /// The step.
        step: String,
        /// His seat.
        seat: String,
        /// Over [`Purpose::Approval`], or [`Purpose::Exception`] once the exception was asked for.
        signature: Signature,
    },
    /// The device is about to be asked.
    Request {
        /// The step.
        step: String,
        /// For what.
        operation: Operation,
    },
    /// The device answered.
    Result {
        /// The step.
        step: String,
        /// What.
        outcome: Outcome,
    },
    /// The device failed, or its answer was not accepted. The step goes on, or is excepted.
    Failure {
        /// The step.
        step: String,
        /// Why.
        reason: String,
    },
    /// The program was started again after an interruption. What was under way is looked at anew.
    Resume {
        /// The program.
        binary: Digest,
        /// The machine.
        machine: Machine,
    },
    /// The machine is attested by its TPM, or it is said why not.
    Attestation(Attested),
    /// A file was written.
    Document {
        /// The step.
        step: String,
        /// Its name.
        file: String,
        /// Its content.
        text: String,
    },
    /// The step is complete.
    Done {
        /// The step.
        step: String,
    },
    /// It is asked that the step be left out.
    Exception {
        /// The step.
        step: String,
        /// Why.
        reason: String,
    },
    /// The step is left out.
    Excepted {
        /// The step.
        step: String,
    },
    /// Nothing follows but signatures. Its hash is the root.
    Close {
        /// How many steps were done.
        done: u64,
        /// How many were left out.
        excepted: u64,
    },
    /// An officer signs for the whole.
    Sign {
        /// His seat.
        seat: String,
        /// Over [`Purpose::Root`].
        signature: Signature,
    },
}

/// The beginning of a ceremony.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// Version of the transcript's format: that of its script's.
    pub format: u32,
    /// Whether this is practice.
    pub rehearsal: bool,
    /// 32 random bytes in hexadecimal, so that no two ceremonies are one.
    pub nonce: String,
    /// SHA-256 of the script.
    pub script_digest: Digest,
    /// The script.
    pub script: String,
    /// Name and version of the program.
    pub program: String,
    /// SHA-256 of the program's file.
    pub binary: Digest,
    /// The machine.
    pub machine: Machine,
}

/// What a machine says of itself. `null` is *unknown*, which is something else than *no*.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Its name.
    pub hostname: Option<String>,
    /// Release and version of its kernel.
    pub kernel: Option<String>,
    /// Its processor.
    pub cpu: Option<String>,
    /// SHA-256 of its machine id, which is itself confidential.
    pub machine_id_digest: Option<Digest>,
    /// The present boot.
    pub boot_id: Option<String>,
    /// Kernel lockdown: `none`, `integrity` or `confidentiality`.
    pub lockdown: Option<String>,
    /// Whether the firmware checked what it started.
    pub secure_boot: Option<bool>,
}

/// Why a line is no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LineError {
    /// Longer than [`LINE_BYTES_MAX`].
    #[error("the line is longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
    /// Not UTF-8.
    #[error("the line is not UTF-8")]
    NotText,
    /// Not a hash and an entry.
    #[error("the line is not a hash and an entry")]
    Frame,
    /// The entry does not parse.
    #[error("the entry does not parse (column {column})")]
    Json {
        /// Where, within the entry's text.
        column: usize,
    },
    /// The entry parses, and its one text is another.
    #[error("the entry is not in its one form")]
    NotCanonical,
}

impl Entry {
    /// Its one text.
    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("strings, numbers and flags always serialise")
    }

    /// Reads a text.
    ///
    /// # Errors
    /// [`LineError`].
    pub fn parse(text: &str) -> Result<Self, LineError> {
        let entry: Self = serde_json::from_str(text).map_err(|error| LineError::Json { column: error.column() })?;
        if entry.text() == text { Ok(entry) } else { Err(LineError::NotCanonical) }
    }
}

impl Event {
    /// Its name, as it stands in a transcript.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Start(_) => "start",
            Self::Present { .. } => "present",
            Self::Open {} => "open",
            Self::Begin { .. } => "begin",
            Self::Answer { .. } => "answer",
            Self::Approval { .. } => "approval",
            Self::Request { .. } => "request",
            Self::Result { .. } => "result",
            Self::Failure { .. } => "failure",
            Self::Resume { .. } => "resume",
            Self::Attestation(_) => "attestation",
            Self::Document { .. } => "document",
            Self::Done { .. } => "done",
            Self::Exception { .. } => "exception",
            Self::Excepted { .. } => "excepted",
            Self::Close { .. } => "close",
            Self::Sign { .. } => "sign",
        }
    }

    /// The step it belongs to.
    pub fn step(&self) -> Option<&str> {
        match self {
            Self::Begin { step }
            | Self::Answer { step, .. }
            | Self::Approval { step, .. }
            | Self::Request { step, .. }
            | Self::Result { step, .. }
            | Self::Failure { step, .. }
            | Self::Document { step, .. }
            | Self::Done { step }
            | Self::Exception { step, .. }
            | Self::Excepted { step } => Some(step),
            _ => None,
        }
    }
}

/// The hash of an entry's text after `before`.
pub fn hash(mode: Mode, before: &[u8; 32], text: &str) -> [u8; 32] {
    *Purpose::Entry.digest(mode, &[before, text.as_bytes()]).as_bytes()
}

/// The line of an entry, with its line feed.
pub fn line(hash: &[u8; 32], text: &str) -> String {
    format!("{HEAD}{}{MIDDLE}{text}}}\n", hex::encode(hash))
}

/// Hash and text of a line without its line feed.
///
/// # Errors
/// [`LineError`]; whether the hash is the right one is not looked at.
pub fn split(line: &[u8]) -> Result<([u8; 32], &str), LineError> {
    if line.len() >= LINE_BYTES_MAX {
        return Err(LineError::TooLong);
    }
    let line = std::str::from_utf8(line).map_err(|_| LineError::NotText)?;
    let rest = line.strip_prefix(HEAD).ok_or(LineError::Frame)?;
    let (digits, rest) = rest.split_at_checked(HASH_DIGITS).ok_or(LineError::Frame)?;
    let text = rest.strip_prefix(MIDDLE).and_then(|rest| rest.strip_suffix('}')).ok_or(LineError::Frame)?;
    let mut hash = [0; 32];
    hex::decode_to_slice(digits, &mut hash).map_err(|_| LineError::Frame)?;
    // Upper-case digits would be a second form.
    if hex::encode(hash) == digits { Ok((hash, text)) } else { Err(LineError::Frame) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back_and_every_other_form_of_it_is_refused() {
        let answer = "é \" \\ / \u{1}".to_owned();
        let event = Event::Answer { step: "s".to_owned(), question: "q".to_owned(), answer };
        let entry = Entry { n: 7, time_ms: 1, event };
        let text = entry.text();
        assert_eq!(
            text,
            r#"{"n":7,"time_ms":1,"event":{"answer":{"step":"s","question":"q","answer":"é \" \\ / \u0001"}}}"#
        );
        assert_eq!(Entry::parse(&text), Ok(entry));
        let hash = hash(Mode::Real, &[0; 32], &text);
        let line = line(&hash, &text);
        let bare = line.strip_suffix('\n').expect("ends a line");
        assert_eq!(split(bare.as_bytes()), Ok((hash, text.as_str())));
        for (from, to) in [("\"n\":7", "\"n\": 7"), ("\"n\":7", "\"n\":07"), ("é", "\\u00e9"), ("/", "\\/")] {
            assert!(Entry::parse(&text.replacen(from, to, 1)).is_err(), "{to}");
        }
        let swapped = text.replacen("\"n\":7,\"time_ms\":1", "\"time_ms\":1,\"n\":7", 1);
        assert_eq!(Entry::parse(&swapped), Err(LineError::NotCanonical));
        assert!(Entry::parse(&text.replacen("\"n\":7", "\"n\":7,\"n\":7", 1)).is_err(), "twice");
        assert_eq!(split(bare.to_uppercase().as_bytes()), Err(LineError::Frame));
        assert_eq!(split(line.as_bytes()), Err(LineError::Frame));
        assert_eq!(split(&vec![b'a'; LINE_BYTES_MAX]), Err(LineError::TooLong));
    }
}
