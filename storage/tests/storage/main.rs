//! Tests of the log over the simulated disk and over files, and of the state database.
#![allow(clippy::unwrap_used)]

mod callers;
mod check;
mod crash;
mod damage;
mod decode;
mod files;
mod full_disk;
mod power_loss;
mod prefixes;
mod scrub;
mod state;
