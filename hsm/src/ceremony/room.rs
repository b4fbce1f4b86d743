//! The people of a ceremony, as the conductor sees them: those who come in, read, answer and sign.

use super::plan::Question;
use super::script::Step;
use super::state::{Ceremony, Officer};
use crate::error::StartError;
use crate::pkcs11::admin::AdminError;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};
use thiserror::Error;
use types::Signature;

/// Why the people cannot go on.
#[derive(Debug, Error)]
pub enum RoomError {
    /// The answers file is for another script, or not for one at all.
    #[error("{path}: {reason}")]
    Answers {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: AnswersError,
    },
    /// A key, passphrase or PIN.
    #[error(transparent)]
    Secret(#[from] StartError),
    /// An officer's token.
    #[error("the token of officer {seat:?}: {cause}")]
    Token {
        /// His seat.
        seat: String,
        /// What is wrong.
        #[source]
        cause: AdminError,
    },
    /// A prompt was due, and nobody can be asked.
    #[error("{0} has to be asked for, and standard input is no terminal: give it in --answers FILE")]
    NoTerminal(String),
    /// A step failed, and the answers do not say what then.
    #[error("step {step:?}: {reason}; run the same command again to resume in this step")]
    Failed {
        /// The step.
        step: String,
        /// Why.
        reason: String,
    },
    /// Somebody ended it; it can be resumed.
    #[error("stopped; run the same command again to resume")]
    Stopped,
    /// The terminal, or a file that an answer names.
    #[error("{what}: {source}")]
    Io {
        /// What.
        what: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

/// Why answers do not fit.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AnswersError {
    /// Not TOML, or not of this shape.
    #[error("does not parse: {0}")]
    Toml(Box<toml::de::Error>),
    /// A version of the format that is not known here.
    #[error("answers format {0} is not known; this program knows 1")]
    Format(u32),
    /// The script asks, and nothing answers.
    #[error("lacks an answer to {question:?} of step {step:?}")]
    Missing {
        /// The step.
        step: String,
        /// The question.
        question: String,
    },
    /// Too few officers.
    #[error("role {role:?} needs {needed} officers and has {have}")]
    Officers {
        /// The role.
        role: String,
        /// m.
        needed: usize,
        /// How many there are.
        have: usize,
    },
    /// An answer to nothing.
    #[error("answers {0:?}, which the script does not ask")]
    Unasked(String),
    /// An officer without a place.
    #[error("names the seat {0:?}, which the script does not have, or twice")]
    Seat(String),
    /// Only a rehearsal may do this.
    #[error("{0} is for rehearsals")]
    RehearsalOnly(&'static str),
    /// Neither text nor number nor file fits here.
    #[error("the answer to {question:?} of step {step:?} must be {form}")]
    Form {
        /// The step.
        step: String,
        /// The question.
        question: String,
        /// What is expected.
        form: &'static str,
    },
    /// Where a PIN or passphrase is to come from.
    #[error("names {0:?}, which is no file, descriptor (`fd:3`), credential or prompt")]
    Source(String),
    /// Neither a PIN file nor a prompt.
    #[error("lacks {0} of [token]")]
    Token(&'static str),
}

/// An answer, or the wish to leave the step out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn<T> {
    /// Go on with this.
    Go(T),
    /// Leave the step out, for this reason.
    Except(String),
}

/// The people. Each call waits for them.
pub trait Room {
    /// Who comes in next; `None` when all are here. Only those are asked for whose role still has seats.
    ///
    /// # Errors
    /// [`RoomError`].
    fn arrival(&mut self, ceremony: &Ceremony) -> Result<Option<Officer>, RoomError>;

    /// A step begins: what it says is read aloud.
    ///
    /// # Errors
    /// [`RoomError`].
    fn begin(&mut self, ceremony: &Ceremony, step: &Step) -> Result<Turn<()>, RoomError>;

    /// An answer.
    ///
    /// # Errors
    /// [`RoomError`].
    fn answer(&mut self, step: &Step, question: &Question) -> Result<Turn<String>, RoomError>;

    /// A signature by one of the seats over the message.
    ///
    /// # Errors
    /// [`RoomError`].
    fn sign(&mut self, seats: &[String], message: &[u8; 47], about: &str) -> Result<(String, Signature), RoomError>;

    /// The step failed: `Go` tries once more, an error stops the program.
    ///
    /// # Errors
    /// [`RoomError`].
    fn failed(&mut self, step: &Step, reason: &str) -> Result<Turn<()>, RoomError>;

    /// Something to be heard by all: a root in words, a file that was written.
    fn tell(&mut self, text: &str);

    /// The clock of this machine, in milliseconds since the Unix epoch.
    fn now_ms(&mut self) -> u64;
}

/// The clock of this machine; 0 before 1970.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
