//! The replica: one thread that owns all protocol state of a node. It turns facts (headers, payloads, durability,
//! signatures, executed heights) into steps of the consensus core, and the core's effects into orders to the drivers.
//!
//! Invariants: an own block is durable before it is signed and signed before it is sent; a block enters the DAG only
//! with its payload at hand; every block of a commit is in the log before the commit's record is.

pub mod blocks;
pub mod certificates;
mod clocks;
pub mod commit_sync;
mod commits;
pub mod contents;
pub mod driver;
mod effects;
pub mod epoch_end;
pub mod event;
pub mod follower;
pub mod intake;
pub mod lost_disk;
pub mod outbox;
pub mod proposer;
pub mod recovery;
pub mod segments;
pub mod serve;
pub mod signer_desk;
