//! The Rust SDK: build, sign, submit, follow, prove.

#![forbid(unsafe_code)]

mod account;
mod proof;
pub mod protocol;
pub mod rpc;

pub use account::{Account, BuildError, DEFAULT_VALIDITY, now_ms};
pub use proof::{ProofError, VerifiedReceipt, verify_header, verify_proof};
pub use rpc::{Follow, RpcClient, RpcError};
