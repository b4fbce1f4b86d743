//! The wire types against pinned encodings, public vectors, hostile bytes and each other.

#![allow(clippy::unwrap_used)]

mod addresses;
mod allocations;
mod certificates;
mod committees;
mod conformance;
mod corpus;
mod decoders;
mod decoding;
mod decoding_algorithms;
mod decoding_limits;
mod genesis;
mod samples;
mod transactions;
mod verdicts;
