//! What a machine's TPM says of it in a ceremony, as a transcript has it. Structures are those of the TPM 2.0 Library, part
//! 2, in hexadecimal.

use crate::hexadecimal::Hex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tpm::quote::{Quote, Value};

/// Most bytes of an event log in a transcript; those of real machines have 20 to 100 KiB, and a line has twice as many.
pub const EVENT_LOG_BYTES_MAX: usize = 256 << 10;

/// What the TPM said, or that nothing was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Attested {
    /// A quote.
    Quote(MachineQuote),
    /// None, which the script has to allow.
    None {
        /// Why.
        reason: String,
    },
}

/// A quote, its key, and what the firmware says that it measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineQuote {
    /// TPMT_PUBLIC of the attestation key.
    pub tpm_key: Hex,
    /// TPMS_ATTEST, which is signed.
    pub statement: Hex,
    /// TPMT_SIGNATURE.
    pub signature: Hex,
    /// The registers whose digest is in the statement.
    pub registers: BTreeMap<u8, Hex>,
    /// The firmware's event log; `null` where there is none, and at the close, where that of the start counts.
    pub event_log: Option<Hex>,
}

impl MachineQuote {
    /// Of a TPM's quote.
    pub fn of(quote: &Quote, event_log: Option<Vec<u8>>) -> Self {
        Self {
            tpm_key: Hex::of(&quote.key),
            statement: Hex::of(&quote.statement),
            signature: Hex::of(&quote.signature),
            registers: quote.registers.iter().map(|(at, value)| (*at, Hex::of(value))).collect(),
            event_log: event_log.map(Hex),
        }
    }

    /// As the TPM made it; `None` where a register has not the length of one.
    pub fn quote(&self) -> Option<Quote> {
        let value = |(at, value): (&u8, &Hex)| Some((*at, Value::try_from(value.0.as_slice()).ok()?));
        Some(Quote {
            key: self.tpm_key.0.clone(),
            statement: self.statement.0.clone(),
            signature: self.signature.0.clone(),
            registers: self.registers.iter().map(value).collect::<Option<_>>()?,
        })
    }
}
