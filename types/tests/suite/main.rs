//! The wire types against pinned encodings, public vectors, hostile bytes and each other.

#![allow(clippy::unwrap_used)]

mod addresses;
mod allocations;
mod amounts;
mod calls;
mod certificates;
mod committees;
mod conformance;
mod corpus;
mod curve_verdicts;
mod decoders;
mod decoding;
mod decoding_algorithms;
mod decoding_limits;
mod evidence;
mod genesis;
mod governance;
mod keys;
mod samples;
mod transactions;
mod verdicts;
