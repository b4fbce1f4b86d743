//! `stele backup`, `stele restore`, `stele archive`: a ledger outside of a node, in a directory or a bucket.
//!
//! One format for all three: ranges of commits with their blocks, receipts' outcomes and certificates, in the encoding in
//! which peers give them to each other. Each is proven by itself, from genesis on, and what reads them is the check for a
//! peer's answer, of which there is one. They are taken beside a running node, from any validator, and serve any other.
//! A restore makes log and state out of them by the same two steps as a node does: log, execute.
//!
//! Invariant: no key, PIN, guard file or other secret is read, let alone written; nor is anything that the network has not
//! certified. Deliberately absent: own blocks that no commit has ordered, and votes: a restored validator asks its peers
//! how far its own chain went, by the rule for a disk that was lost.

pub mod depot;
mod error;
mod manifest;
pub mod read;
pub mod restore;
pub mod take;
#[cfg(test)]
mod tests;

pub use error::BackupError;
pub use manifest::{Kept, Manifest, Range};
