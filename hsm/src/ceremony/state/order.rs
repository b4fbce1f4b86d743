//! What is due in a ceremony: the orders that the state machine gives.

use crate::ceremony::entry::Operation;
use crate::ceremony::plan::Question;
use crate::ceremony::refusal::Refusal;
use crate::ceremony::script::Step;
use crate::ceremony::state::Moment;

/// What is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order<'a> {
    /// Officers come in; once every role has its quorum, `open` may follow.
    Gather {
        /// The first role that lacks somebody: name, m, how many are here.
        lacking: Option<(&'a str, usize, usize)>,
    },
    /// The machine's TPM has to quote these registers, and sign this along.
    Attest {
        /// When.
        moment: Moment,
        /// Which registers.
        registers: &'a [u8],
        /// What is signed along.
        qualifying: [u8; 32],
    },
    /// A step begins.
    Begin(&'a Step),
    /// A question waits.
    Ask(&'a Step, &'static Question),
    /// Signatures are needed from officers on any of these seats.
    Approve {
        /// The step.
        step: &'a Step,
        /// Who has not signed and may.
        seats: Vec<String>,
        /// What they sign.
        message: [u8; 47],
        /// Whether it is about leaving the step out.
        exception: bool,
    },
    /// The device has to do this.
    Do {
        /// The step.
        step: &'a Step,
        /// What.
        operation: Operation,
        /// Whether the request stands in the transcript and the result does not.
        requested: bool,
        /// Whether an earlier request for the same had no answer, or a failure for an answer: the device may have done
        /// it, wholly or in part.
        again: bool,
    },
    /// A file has to be written.
    Write {
        /// The step.
        step: &'a Step,
        /// Its name.
        file: String,
        /// Its content.
        text: String,
    },
    /// The step lacks what an excepted step did not give, and can only be excepted.
    Blocked(&'a Step, Refusal),
    /// The step is complete.
    Finish(&'a Step),
    /// The exception is agreed.
    Leave(&'a Step),
    /// All steps are over.
    Close,
    /// Officers on these seats sign for the whole.
    Sign {
        /// Who has not signed.
        seats: Vec<String>,
        /// What they sign.
        message: [u8; 47],
    },
    /// Nothing.
    Complete,
}

impl Order<'_> {
    /// For people, and for refusals.
    pub fn describe(&self) -> String {
        match self {
            Self::Gather { lacking: Some((role, needed, have)) } => {
                format!("officers of role {role:?}: {needed} are needed, {have} are here")
            }
            Self::Gather { lacking: None } => "more officers, or the opening".to_owned(),
            Self::Attest { moment, .. } => format!("the attestation of the machine {}", moment.describe()),
            Self::Begin(step) => format!("the beginning of step {:?}", step.id),
            Self::Ask(step, question) => format!("the answer to {:?} of step {:?}", question.id, step.id),
            Self::Approve { step, seats, exception: false, .. } => {
                format!("an approval of step {:?} by one of {}", step.id, seats.join(", "))
            }
            Self::Approve { step, seats, .. } => {
                format!("an agreement to leave out step {:?} by one of {}", step.id, seats.join(", "))
            }
            Self::Do { step, requested: false, .. } => format!("a request to the device in step {:?}", step.id),
            Self::Do { step, .. } => format!("the device's answer in step {:?}", step.id),
            Self::Write { step, file, .. } => format!("the document {file:?} of step {:?}", step.id),
            Self::Blocked(step, _) => format!("an exception for step {:?}", step.id),
            Self::Finish(step) => format!("the end of step {:?}", step.id),
            Self::Leave(step) => format!("the end of the excepted step {:?}", step.id),
            Self::Close => "the close".to_owned(),
            Self::Sign { seats, .. } => format!("signatures for the whole by {}", seats.join(", ")),
            Self::Complete => "nothing".to_owned(),
        }
    }
}
