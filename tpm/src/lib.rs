//! A TPM 2.0 over its character device, without a library in between: the few commands that Stele needs.
//!
//! - [`Tpm`]: where it is reached, and one exchange with it; [`Command`] and [`Answer`] are the bytes.
//! - [`seal`]: secrets that one TPM gives back, and only in the state in which the machine was sealed to.
//! - [`authorised`]: the same, in every state that a key has signed for.
//! - [`quote`]: what the TPM says of that state, signed, and whether that is to be believed.
//! - [`event_log`]: what the firmware says that it measured.
//! - [`endorsement`]: what the TPM's maker says of it, and the proof that an attestation key is in that very TPM; its
//!   verifier needs no TPM, and the feature `verifier`.
//!
//! Commands are authorised by empty passwords; a TPM whose owner hierarchy has one is refused with a word on that. The
//! bus is not protected: who can rewrite what goes to the TPM is root already. Deliberately absent: sessions with
//! encryption, everything about TPM 1.2. References are to the TPM 2.0 Library, parts 2 and 3.

pub mod authorised;
mod command;
mod device;
pub mod endorsement;
pub mod event_log;
mod key;
mod loaded;
mod nv;
pub mod pcr;
pub mod quote;
pub mod seal;
#[cfg(any(test, feature = "simulator"))]
pub mod simulator;
mod wire;

pub use command::{Answer, Command};
pub use device::{RC_NO_HANDLE, RC_UNWRITTEN, Tpm, TpmError};
