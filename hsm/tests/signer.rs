//! The signer as a real process, over its socket: SoftHSM2 and the keystore, wrong set-ups, kills, and bad input.
//! Each validator has its own directory and token, so that tests run side by side.

#[path = "signer/bad_input.rs"]
mod bad_input;
#[path = "signer/certified.rs"]
mod certified;
#[path = "signer/fixture.rs"]
mod fixture;
#[path = "signer/guard_file.rs"]
mod guard_file;
#[path = "signer/restart.rs"]
mod restart;
#[path = "signer/signing.rs"]
mod signing;
#[path = "signer/stuck.rs"]
mod stuck;
#[path = "signer/surroundings.rs"]
mod surroundings;
#[path = "signer/wrong_setup.rs"]
mod wrong_setup;
