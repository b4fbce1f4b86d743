//! Scenarios over the simulator, and differential tests of the commit rule. `STELE_SIM_SEEDS` sets how many seeds the
//! random ones try (default 6).
#![allow(clippy::unwrap_used)]

mod adversary;
mod appendix_a;
mod bad_input;
mod bounds;
mod checkers;
mod committees;
mod epochs;
mod equivocation;
mod evidence;
mod far_behind_checkpoint;
mod faults;
mod increments;
mod links;
mod model;
mod naive_schedule;
mod oracle;
mod oracle_tests;
mod overtaken;
mod pacing;
mod random_dag;
mod reclaim;
mod recovery;
mod replica;
mod scenarios;
mod settling;
mod traffic;
mod twins;

/// How many seeds to try, `share` of the environment's number.
fn seeds(share: u64) -> std::ops::Range<u64> {
    let seeds = std::env::var("STELE_SIM_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    0..(seeds * share).max(1)
}

/// Names the seed in the panic of a failing run.
fn with_seed<T, E: std::fmt::Display>(seed: u64, result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("seed {seed}: {error}"))
}
