//! The Rust SDK: build, sign, submit, follow, prove.

#![forbid(unsafe_code)]

pub mod protocol;
pub mod rpc;
