//! A TPM 2.0 over its character device, without a library in between: the few commands that the signer needs.
//!
//! It keeps a guard file's fence and gives back sealed secrets.
//!
//! Commands are authorised by empty passwords; a TPM whose owner hierarchy has one is refused with a word on that. The
//! bus is not protected: who can rewrite what goes to the TPM is root already. Deliberately absent: attestation, sessions
//! with encryption, everything about TPM 1.2. References are to the TPM 2.0 Library, parts 2 and 3.

mod command;
mod device;
mod nv;
pub(crate) mod seal;
#[cfg(test)]
pub(crate) mod simulator;
#[cfg(test)]
mod tests;

pub use device::{Tpm, TpmError};
pub use nv::NvAnchor;
