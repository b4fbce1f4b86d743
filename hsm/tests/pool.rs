//! Keys in a token that fails: SoftHSM2 behind the module with faults on demand, each scenario in a process of its own.

#[path = "support/alone.rs"]
mod alone;
#[path = "pool/failures.rs"]
mod failures;
#[path = "pool/fixture.rs"]
mod fixture;
#[path = "pool/standby.rs"]
mod standby;
#[path = "pool/stuck.rs"]
mod stuck;
#[path = "pool/wrong_setup.rs"]
mod wrong_setup;
