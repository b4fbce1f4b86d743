//! End-to-end tests: networks of real processes of the binary `stele` on loopback, with real files and real signals.
//!
//! Every scenario starts with [`network::Network`], loads it with [`load::Load`], a client that remembers what was
//! acknowledged to it, and ends with [`check`]: the header digests of all nodes agree and nothing acknowledged is
//! missing anywhere. Conditions are polled with a deadline; time passes for its own sake only where a scenario says that
//! nothing may happen. One network runs at a time, whatever the number of test threads. `STELE_TORTURE` repeats what is
//! random more often.
#![allow(clippy::unwrap_used)]

mod bank;
mod check;
mod load;
mod network;
mod process;
mod schedule;

mod absence;
mod agreement;
mod algorithms;
mod attested;
mod ceremonies;
mod ceremony_machines;
mod ceremony_prompts;
mod contracts;
mod crashes;
mod disk_full;
mod engines;
mod epochs;
mod exports;
mod fenced;
mod fire;
mod governance;
mod hardware;
mod interrupted;
mod lost_disk;
mod machines;
mod protocols;
mod rebuilds;
mod rejects;
mod restores;
mod retention;
mod signers;
mod simulate;
mod slow_disk;
mod snapshots;
mod start_up;
mod state_sync;
mod torture;
mod verify;
