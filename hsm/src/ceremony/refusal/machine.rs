//! Why a machine's attestation is not taken.

use crate::hexadecimal::Hex;
use crate::machines::Mismatch;
use thiserror::Error;
use tpm::quote::QuoteError;

/// Why an attestation may not stand where somebody wants it, or is missing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MachineRefusal {
    /// None, where there has to be one.
    #[error("the machine is not attested, and has to be: {0}")]
    Missing(String),
    /// The steps are over, and what was done was not quoted.
    #[error("the closing quote is missing: nothing ties the whole transcript to the machine")]
    NoClosingQuote,
    /// The quote by itself.
    #[error(transparent)]
    Quote(#[from] QuoteError),
    /// The TPM was asked with another ceremony, or with this one up to another place.
    #[error(
        "the TPM's quote is not over this transcript up to here: it is of another ceremony, or of another place in it"
    )]
    OtherTranscript,
    /// A quote a second time.
    #[error("the TPM's quote is the one of entry {0} again: what came after it was not quoted")]
    Replayed(u64),
    /// Not the registers that the script lists.
    #[error("the quote is over the registers {found:?}, and the script wants {wanted:?}")]
    OtherRegisters {
        /// Which were quoted.
        found: Vec<u8>,
        /// Which should have been.
        wanted: Vec<u8>,
    },
    /// A machine that the policy does not let through.
    #[error(transparent)]
    Policy(#[from] Mismatch),
    /// The machine that began, or went on, is not the one that closes.
    #[error("the closing quote is of another machine than entry {entry}: the TPM was {before}, and is {now}")]
    OtherMachine {
        /// Of the start or resumption.
        entry: u64,
        /// Name of its attestation key; empty where it was not attested.
        before: Hex,
        /// Name of the attestation key of the closing quote; empty where there is none.
        now: Hex,
    },
    /// The same machine, started again.
    #[error(
        "the machine was started anew since entry {entry}, and that start was not attested: its TPM counted {before} starts, and now {now}"
    )]
    OtherBoot {
        /// Of the start or resumption.
        entry: u64,
        /// Starts of the machine then.
        before: u32,
        /// Starts of the machine now.
        now: u32,
    },
}
