//! Key ceremonies: a hashed script, run by a state machine, leaves a transcript that anybody can check without the HSM
//! and without this program.
//!
//! A seam runs through it. Pure: [`script`], [`entry`], [`statement`], [`state`], [`mod@verify`], [`words`], [`paper`]: facts
//! in, orders out. Drivers: [`transcript`] (the file), [`machine`], [`attester`] (its TPM), [`device`] (the token), [`room`]
//! (the people), [`prepare`] and [`conduct`], which bring them together. Invariants: an entry is durable before what follows from it happens; what may
//! be written is what verifies, because both are the same rules; a rehearsal shares no hash and no signature with the
//! real thing. Absent: trust in whoever has root on the machine and the PIN; `hsm/ceremonies/README.md` says what a
//! ceremony proves and what not.

pub mod answers;
pub mod attester;
pub mod conduct;
pub mod device;
pub mod entry;
pub mod machine;
pub mod officer;
pub mod paper;
mod plan;
pub mod prepare;
pub mod refusal;
pub mod room;
pub mod script;
pub mod state;
pub mod statement;
pub mod templates;
pub mod transcript;
pub mod unattended;
pub mod verify;
pub mod words;

pub use attester::Attester;
pub use plan::{Form, Question};
pub use refusal::{MachineRefusal, Refusal};
pub use script::{Script, ScriptError};
pub use state::{Ceremony, Order};
pub use statement::Mode;
pub use transcript::{Transcript, TranscriptError};
pub use verify::{Invalid, Report, verify};
