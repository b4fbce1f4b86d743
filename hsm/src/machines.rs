//! Which machines are the right ones, by what their TPMs say: the names of attestation keys, the values that registers may
//! have, and whether the firmware's list of what it measured has to add up to them. As a table:
//!
//! ```toml
//! tpm_keys = ["000b9f…"]
//! event_log = true
//! [registers]
//! 7 = ["65ca…"]
//! 11 = ["8f03…", "b1d2…"]
//! ```
//!
//! Pure. Absent: whether a quote is genuine ([`tpm::quote::Quote::verify`]), and whose machine it is.

use crate::hexadecimal::Hex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use thiserror::Error;
use tpm::event_log::EventLogError;
use tpm::pcr::PCR_MAX;
use tpm::quote::Value;

/// Bytes of the name of an attestation key: the algorithm of a digest, and the digest (TPM 2.0 Library part 1, chapter 16).
pub const KEY_NAME_BYTES: usize = 34;
/// Bytes of a register of the bank of SHA-256.
const VALUE_BYTES: usize = 32;
/// Most TPMs of a table, and most values of a register.
pub const MACHINES_MAX: usize = 256;

/// What an event log adds up to, or why it does not add up to anything.
pub type Replay = Result<BTreeMap<u8, Value>, EventLogError>;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machines {
    /// Names of the attestation keys of their TPMs.
    pub tpm_keys: Vec<Hex>,
    /// Whether the event log has to add up to the registers.
    #[serde(default)]
    pub event_log: bool,
    /// Values that a register may have, by its number, which is text in TOML.
    pub registers: BTreeMap<String, Vec<Hex>>,
}

/// Why a table lets no machine through, or every one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MachinesError {
    /// No key, no register, or a register without a value.
    #[error("it names at least one TPM key and at least one register, each with at least one value")]
    Empty,
    /// More than [`MACHINES_MAX`].
    #[error("it names {0} keys or values of a register, and at most {MACHINES_MAX} are read")]
    Many(usize),
    /// Not a register's number.
    #[error("`{0}` is no register: they are numbered from 0 to {PCR_MAX}")]
    Register(String),
    /// Not a register's value, or not a key's name.
    #[error("`{0}` is neither the name of a TPM key (34 bytes) nor a register's value (32 bytes)")]
    Length(Hex),
}

/// What about a machine is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Mismatch {
    /// Another TPM.
    #[error("the TPM's attestation key is {found}, and expected is {}", any(expected))]
    Key {
        /// Its name.
        found: Hex,
        /// Those that are allowed.
        expected: Vec<Hex>,
    },
    /// The quote says nothing of a register.
    #[error("register {0} is not in the quote, and its value is prescribed")]
    NotQuoted(u8),
    /// Another value.
    #[error("register {register} is {found}, and expected is {}", any(expected))]
    Register {
        /// Which.
        register: u8,
        /// What it is.
        found: Hex,
        /// What it may be.
        expected: Vec<Hex>,
    },
    /// No event log.
    #[error("there is no event log, and it has to add up to the registers")]
    NoEventLog,
    /// No log.
    #[error(transparent)]
    EventLog(#[from] EventLogError),
    /// A log of other events.
    #[error("the event log gives {measured} for register {register}, and the TPM {found}")]
    DoesNotAddUp {
        /// The first of which that is so.
        register: u8,
        /// By the log.
        measured: Hex,
        /// By the TPM.
        found: Hex,
    },
}

fn any(allowed: &[Hex]) -> String {
    allowed.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}

impl Machines {
    /// Whether it can be used: somebody holds, and not everybody.
    ///
    /// # Errors
    /// [`MachinesError`].
    pub fn check_itself(&self) -> Result<(), MachinesError> {
        if self.tpm_keys.is_empty() || self.registers.is_empty() || self.registers.values().any(Vec::is_empty) {
            return Err(MachinesError::Empty);
        }
        let most = self.registers.values().map(Vec::len).chain([self.tpm_keys.len()]).max().unwrap_or_default();
        if most > MACHINES_MAX {
            return Err(MachinesError::Many(most));
        }
        let of_length = |bytes: &Hex, length: usize| match bytes.0.len() == length {
            true => Ok(()),
            false => Err(MachinesError::Length(bytes.clone())),
        };
        self.tpm_keys.iter().try_for_each(|name| of_length(name, KEY_NAME_BYTES))?;
        for (at, values) in &self.registers {
            number(at).ok_or_else(|| MachinesError::Register(at.clone()))?;
            values.iter().try_for_each(|value| of_length(value, VALUE_BYTES))?;
        }
        Ok(())
    }

    /// The registers that it speaks of.
    pub fn registers(&self) -> impl Iterator<Item = u8> {
        self.registers.keys().filter_map(|at| number(at))
    }

    /// Holds a machine against it. What is said of the machine comes from a verified quote.
    ///
    /// # Errors
    /// [`Mismatch`], the first of them.
    pub fn check(
        &self,
        key_name: &[u8],
        registers: &BTreeMap<u8, Value>,
        event_log: Option<&Replay>,
    ) -> Result<(), Mismatch> {
        if self.tpm_keys.iter().all(|allowed| allowed.0 != key_name) {
            return Err(Mismatch::Key { found: Hex::of(key_name), expected: self.tpm_keys.clone() });
        }
        for (at, allowed) in self.registers.iter().filter_map(|(at, allowed)| Some((number(at)?, allowed))) {
            let found = registers.get(&at).ok_or(Mismatch::NotQuoted(at))?;
            if allowed.iter().all(|allowed| allowed.0 != found) {
                return Err(Mismatch::Register { register: at, found: Hex::of(found), expected: allowed.clone() });
            }
        }
        match (self.event_log, event_log) {
            (false, _) => Ok(()),
            (true, None) => Err(Mismatch::NoEventLog),
            (true, Some(replay)) => adds_up(replay, registers),
        }
    }
}

/// Whether a log explains registers.
///
/// # Errors
/// [`Mismatch::EventLog`], [`Mismatch::DoesNotAddUp`].
pub fn adds_up(replay: &Replay, registers: &BTreeMap<u8, Value>) -> Result<(), Mismatch> {
    let replayed = replay.as_ref().map_err(|error| *error)?;
    for (register, found) in registers {
        // What was measured nowhere is as it was at the start.
        let measured = replayed.get(register).unwrap_or(&[0; VALUE_BYTES]);
        if measured != found {
            let (measured, found) = (Hex::of(measured), Hex::of(found));
            return Err(Mismatch::DoesNotAddUp { register: *register, measured, found });
        }
    }
    Ok(())
}

/// One way to write each.
fn number(text: &str) -> Option<u8> {
    text.parse().ok().filter(|at: &u8| *at <= PCR_MAX && at.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machines() -> Machines {
        Machines {
            tpm_keys: vec![Hex(vec![1; KEY_NAME_BYTES]), Hex(vec![2; KEY_NAME_BYTES])],
            event_log: false,
            registers: BTreeMap::from([("11".to_owned(), vec![Hex(vec![7; 32]), Hex(vec![8; 32])])]),
        }
    }

    #[test]
    fn a_table_that_lets_all_or_none_through_is_none() {
        machines().check_itself().expect("usable");
        let with = |change: &dyn Fn(&mut Machines)| {
            let mut machines = machines();
            change(&mut machines);
            machines.check_itself().expect_err("unusable")
        };
        assert_eq!(with(&|machines| machines.tpm_keys.clear()), MachinesError::Empty);
        assert_eq!(with(&|machines| machines.registers.clear()), MachinesError::Empty);
        assert_eq!(with(&|machines| machines.registers.values_mut().for_each(Vec::clear)), MachinesError::Empty);
        let many = vec![Hex(vec![1; KEY_NAME_BYTES]); MACHINES_MAX + 1];
        assert_eq!(with(&|machines| machines.tpm_keys = many.clone()), MachinesError::Many(MACHINES_MAX + 1));
        let short = Hex(vec![1; 32]);
        assert_eq!(with(&|machines| machines.tpm_keys[0] = short.clone()), MachinesError::Length(short.clone()));
        for at in ["24", "07", "-1", "x", ""] {
            let strange = |machines: &mut Machines| drop(machines.registers.insert(at.to_owned(), vec![short.clone()]));
            assert_eq!(with(&strange), MachinesError::Register(at.to_owned()));
        }
    }

    #[test]
    fn what_is_not_as_it_should_be_is_named_with_what_was_expected() {
        let mut machines = machines();
        let registers = BTreeMap::from([(11, [8; 32]), (12, [0; 32])]);
        machines.check(&[2; 34], &registers, None).expect("as allowed");
        let other = machines.check(&[3; 34], &registers, None).expect_err("another TPM");
        assert!(matches!(other, Mismatch::Key { .. }), "{other}");
        assert!(
            other.to_string().contains(&"03".repeat(34)) && other.to_string().contains(&"02".repeat(34)),
            "{other}"
        );
        let changed = machines.check(&[2; 34], &BTreeMap::from([(11, [9; 32])]), None).expect_err("another value");
        assert!(changed.to_string().contains("register 11 is 0909"), "{changed}");
        assert_eq!(machines.check(&[2; 34], &BTreeMap::new(), None), Err(Mismatch::NotQuoted(11)));
        machines.event_log = true;
        let check = |log: Option<&Replay>| machines.check(&[2; 34], &registers, log);
        assert_eq!(check(None), Err(Mismatch::NoEventLog));
        assert_eq!(check(Some(&Err(EventLogError::NotALog))), Err(Mismatch::EventLog(EventLogError::NotALog)));
        assert_eq!(check(Some(&Ok(BTreeMap::from([(11, [8; 32])])))), Ok(()));
        let less = check(Some(&Ok(BTreeMap::new())));
        assert!(matches!(less, Err(Mismatch::DoesNotAddUp { register: 11, .. })), "{less:?}");
        let more = check(Some(&Ok(BTreeMap::from([(11, [8; 32]), (12, [1; 32])]))));
        assert!(matches!(more, Err(Mismatch::DoesNotAddUp { register: 12, .. })), "{more:?}");
    }
}
