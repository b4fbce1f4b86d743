//! A deterministic simulator of whole committees, for tests and for `stele simulate`.
//!
//! Signatures are constant bytes: verifying them is the driver's job and not the core's, so they are neither made nor
//! checked here. Digests are real.

mod keys;

pub use keys::Keys;
