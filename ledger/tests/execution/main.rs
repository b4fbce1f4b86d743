//! Execution against an oracle, over random workloads, numbers of shards, cache sizes and restarts.
#![allow(clippy::unwrap_used)]

mod conformance;
mod contracts;
mod faults;
mod governance;
mod oracle;
mod rejects;
mod restart;
mod shards;
mod workload;
