//! Why an entry may not stand where somebody wants it. The program that writes a transcript and the one that checks it
//! give the same reasons, because both are the same rules.

mod machine;

use super::entry::LineError;
use super::script::ScriptError;
use thiserror::Error;
use types::Digest;

pub use machine::MachineRefusal;

/// Why an entry is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Not a line of a transcript.
    #[error(transparent)]
    Line(#[from] LineError),
    /// The script in the first entry is none.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// The first entry is no `start`.
    #[error("the first entry is no start of a ceremony")]
    NoStart,
    /// A `start` that is not first.
    #[error("a ceremony starts once")]
    StartTwice,
    /// A version of the format that is not known here, or another than the script's.
    #[error("transcript format {0} is not known, or not its script's; this program knows 1 and 2")]
    Format(u32),
    /// Not 64 lower-case hexadecimal digits.
    #[error("the nonce is not 32 bytes in hexadecimal")]
    Nonce,
    /// The script's digest is that of another text.
    #[error("the script is not the one whose digest is {claimed}; its own is {computed}")]
    ScriptDigest {
        /// Which stands there.
        claimed: Digest,
        /// Which it is.
        computed: Digest,
    },
    /// The hash does not follow from the hash before and the entry.
    #[error("the hash does not follow from the entry and the hash before it: something was altered, removed or moved")]
    Hash,
    /// A number out of order.
    #[error("the entry says it is number {claimed}, and is number {expected}")]
    Number {
        /// Which stands there.
        claimed: u64,
        /// Which it is.
        expected: u64,
    },
    /// Time went back.
    #[error("the clock went back by {back_ms} ms since the entry before")]
    ClockBackwards {
        /// How far.
        back_ms: u64,
    },
    /// Something else is due.
    #[error("{event} cannot come here; what is due is {due}")]
    OutOfOrder {
        /// What came.
        event: &'static str,
        /// What should have.
        due: String,
    },
    /// Another step is due.
    #[error("step {step:?} cannot come here; what is due is {due}")]
    WrongStep {
        /// Which came.
        step: String,
        /// What should have.
        due: String,
    },
    /// Nobody sits there, or not in that role.
    #[error("there is no seat {seat:?} in role {role:?}")]
    NoSeat {
        /// The role.
        role: String,
        /// The seat.
        seat: String,
    },
    /// The seat is taken, or the person or key is here already.
    #[error("{0} is here already: an officer counts once")]
    OfficerTwice(String),
    /// The officer has signed this already.
    #[error("officer {0:?} has signed this already, and counts once")]
    SignedTwice(String),
    /// The officer was not there at the start.
    #[error("officer {0:?} is not present")]
    NotPresent(String),
    /// The script expects another person or key on this seat.
    #[error("the script names another {what} for seat {seat:?}")]
    OtherOfficer {
        /// Name or key.
        what: &'static str,
        /// The seat.
        seat: String,
    },
    /// The officer's role has no say in this.
    #[error("officer {0:?} is of no role whose agreement this needs")]
    NotAsked(String),
    /// A signature does not verify.
    #[error("the signature of {0} is not over this, or not his")]
    Signature(String),
    /// Too few.
    #[error("role {role:?} needs {needed} and has {have}")]
    Quorum {
        /// The role.
        role: String,
        /// m.
        needed: usize,
        /// How many there are.
        have: usize,
    },
    /// Not a question of this step, or answered already.
    #[error("{0:?} is no open question of this step")]
    NoQuestion(String),
    /// The answer is not of the form that the question wants.
    #[error("the answer to {question:?} must be {form}")]
    Answer {
        /// The question.
        question: String,
        /// What is expected.
        form: &'static str,
    },
    /// A name, reason or other text is empty, too long, or has control characters.
    #[error("{0} is empty, too long, or has control characters")]
    Text(&'static str),
    /// The device would be asked for something else.
    #[error("the device is not asked for what the step needs")]
    OtherOperation,
    /// The device was not asked, or for something else.
    #[error("the device's answer is not one to what it was asked for")]
    OtherOutcome,
    /// The device is another one than before.
    #[error("the token's serial number was {before:?} and is {now:?}")]
    OtherToken {
        /// First.
        before: String,
        /// Now.
        now: String,
    },
    /// The key is of another algorithm than the script says.
    #[error("the key is not of the algorithm that the script names")]
    OtherAlgorithm,
    /// The machine's attestation.
    #[error(transparent)]
    Machine(#[from] MachineRefusal),
    /// Two names, one key.
    #[error("this public key is known already under the name {0:?}")]
    KeyTwice(String),
    /// A probe got through.
    #[error("the key does not stay in the token: probe {probe:?} observed {observed:?}")]
    KeyNotHeld {
        /// Which probe.
        probe: String,
        /// What it saw.
        observed: String,
    },
    /// Not all probes, or not in order.
    #[error("the probes are not the ones that are defined")]
    OtherProbes,
    /// The token's signature is wrong.
    #[error("the key made a signature that does not verify")]
    KeySignature,
    /// The document is not the one that follows from the entries before.
    #[error("the document is not the one that follows from the entries before it")]
    OtherDocument,
    /// The step cannot be done because a step before it was left out; it can only be left out itself.
    #[error("step {step:?} needs {needs}, which an excepted step did not give: it can only be excepted too")]
    Blocked {
        /// The step.
        step: String,
        /// What it lacks.
        needs: String,
    },
    /// The counts of the close are wrong.
    #[error("the close counts other steps than there were")]
    Counts,
    /// Nothing may follow.
    #[error("the ceremony is complete; nothing may follow")]
    Complete,
}
