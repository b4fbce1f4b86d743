//! What is told of the machines of a ceremony.

use crate::ceremony::state::{AttestedMachine, Moment};
use crate::hexadecimal::Hex;
use serde::Serialize;
use std::collections::BTreeMap;

/// A machine, as its TPM attested it, or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MachineReport {
    /// The entry that says so.
    pub entry: u64,
    /// When: the ceremony began on it, went on, or was closed.
    pub moment: Moment,
    /// Name of the attestation key: which TPM it is. `null` where it is not attested.
    pub tpm_key_name: Option<Hex>,
    /// Starts of the machine since the TPM was made or cleared.
    pub resets: Option<u32>,
    /// The registers.
    pub registers: BTreeMap<u8, Hex>,
    /// Whether the event log explains the registers; `null` where there is none.
    pub event_log: Option<bool>,
    /// Whether it is one that the script's policy lets through; `null` where there is none. `false` in rehearsals alone.
    pub policy: Option<bool>,
    /// Why it is not attested.
    pub none: Option<String>,
}

impl MachineReport {
    /// Of a machine.
    pub fn of(machine: &AttestedMachine) -> Self {
        let said = machine.said.as_ref().ok();
        let registers = said.into_iter().flat_map(|said| &said.registers);
        Self {
            entry: machine.entry,
            moment: machine.moment,
            tpm_key_name: said.map(|said| Hex::of(&said.key_name)),
            resets: said.map(|said| said.resets),
            registers: registers.map(|(at, value)| (*at, Hex::of(value))).collect(),
            event_log: said.and_then(|said| said.adds_up()),
            policy: said.and_then(|said| said.policy.as_ref().map(Result::is_ok)),
            none: machine.said.as_ref().err().cloned(),
        }
    }
}
