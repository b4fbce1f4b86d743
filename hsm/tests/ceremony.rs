//! Whole ceremonies on a throw-away SoftHSM2: the scripts that ship, interruptions, wrong set-ups, and the independent
//! verifier. A module is one a process, so each scenario runs this program again in an environment of its own.

#[path = "support/alone.rs"]
mod alone;
#[path = "ceremony/answers.rs"]
mod answers;
#[path = "ceremony/damage.rs"]
mod damage;
#[path = "ceremony/fake.rs"]
mod fake;
#[path = "ceremony/interruptions.rs"]
mod interruptions;
#[path = "ceremony/machines.rs"]
mod machines;
#[path = "ceremony/python.rs"]
mod python;
#[path = "ceremony/refusals.rs"]
mod refusals;
#[path = "ceremony/rehearsals.rs"]
mod rehearsals;
#[path = "ceremony/tokens.rs"]
mod tokens;
#[path = "ceremony/vectors.rs"]
mod vectors;
