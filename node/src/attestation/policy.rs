//! Which machines are the right ones: a file that an operator writes, or that `stele attest policy` writes from a machine
//! that is known to be in order.
//!
//! ```toml
//! # Names of the attestation keys of the TPMs, read while the machines were in our hands, or enrolled.
//! tpm_keys = ["000b9f…"]
//! # Makers whose TPMs may be enrolled, and certificates between them and the TPMs: files beside this one.
//! ek_roots = ["vendor.pem"]
//! ek_intermediates = ["vendor-steps.pem"]
//! # The firmware's list of what it measured has to add up to the registers.
//! event_log = true
//!
//! # Values that each register may have. Register 11 is what `cargo xtask image verify` predicts of an image.
//! [registers]
//! 7 = ["65ca…"]
//! 11 = ["8f03…", "b1d2…"]
//! ```

use super::Check;
use client::rpc::HexBytes;
use hsm::hexadecimal::Hex;
use hsm::machines::{Machines, MachinesError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use thiserror::Error;
use tpm::endorsement::{CertificateError, Roots};
use tpm::pcr::PCR_MAX;
use tpm::quote::Quote;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    tpm_keys: Vec<HexBytes>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ek_roots: Vec<PathBuf>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ek_intermediates: Vec<PathBuf>,
    #[serde(default)]
    event_log: bool,
    /// By number, which is text in TOML.
    registers: BTreeMap<String, Vec<HexBytes>>,
}

/// Why a policy is none.
#[derive(Debug, Error)]
pub enum PolicyError {
    /// The file.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its text.
    #[error("{} is not a policy: {source}", path.display())]
    Text {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Box<toml::de::Error>,
    },
    /// It would let every machine through.
    #[error(
        "a policy names at least one TPM key, or ek_roots to enrol some by, and at least one register, each with at \
         least one value"
    )]
    Empty,
    /// Nobody is trusted to certify TPMs.
    #[error("the policy names no ek_roots, so no TPM can be enrolled by it")]
    NoRoots,
    /// A maker's file.
    #[error("{}: {source}", path.display())]
    Roots {
        /// Which.
        path: PathBuf,
        /// Why.
        source: CertificateError,
    },
    /// It names no machine yet.
    #[error("as a policy for a ceremony: {0}")]
    Machines(#[from] MachinesError),
    /// Not a register's number.
    #[error("`{0}` is no register: they are numbered from 0 to {PCR_MAX}")]
    Register(String),
    /// Not a register's value, or not a key's name.
    #[error("`{0}` is neither the name of a TPM key (34 bytes) nor a register's value (32 bytes)")]
    Length(HexBytes),
}

impl Policy {
    /// Reads a file.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn read(path: &Path) -> Result<Self, PolicyError> {
        let text = std::fs::read_to_string(path).map_err(|source| PolicyError::Io { path: path.to_owned(), source })?;
        let mut policy: Self = toml::from_str(&text)
            .map_err(|source| PolicyError::Text { path: path.to_owned(), source: Box::new(source) })?;
        policy.check_itself()?;
        let beside = path.parent().unwrap_or(Path::new(""));
        for file in policy.ek_roots.iter_mut().chain(&mut policy.ek_intermediates) {
            *file = beside.join(&*file);
        }
        Ok(policy)
    }

    /// The one that a machine as it stands fulfils.
    pub fn of(quote: &Quote) -> Self {
        let registers = quote.registers.iter().map(|(at, value)| (at.to_string(), vec![HexBytes(value.to_vec())]));
        Self {
            tpm_keys: vec![HexBytes(quote.key_name())],
            ek_roots: Vec::new(),
            ek_intermediates: Vec::new(),
            event_log: false,
            registers: registers.collect(),
        }
    }

    /// The same, with or without the wish that the event log adds up.
    pub fn with_log(self, event_log: bool) -> Self {
        Self { event_log, ..self }
    }

    /// The makers whose TPMs may be enrolled.
    ///
    /// # Errors
    /// [`PolicyError::NoRoots`], [`PolicyError::Io`], [`PolicyError::Roots`].
    pub fn roots(&self) -> Result<Roots, PolicyError> {
        roots(&self.ek_roots, &self.ek_intermediates)
    }

    /// The machines that it names, as ceremonies are held against them.
    ///
    /// # Errors
    /// [`PolicyError::Machines`] where it names none yet.
    pub fn machines(&self) -> Result<Machines, PolicyError> {
        let plain = |bytes: &[HexBytes]| bytes.iter().map(|bytes| Hex::of(&bytes.0)).collect();
        let machines = Machines {
            tpm_keys: plain(&self.tpm_keys),
            event_log: self.event_log,
            registers: self.registers.iter().map(|(at, values)| (at.clone(), plain(values))).collect(),
        };
        machines.check_itself()?;
        Ok(machines)
    }

    /// Whether the event log has to explain the registers.
    pub fn wants_log(&self) -> bool {
        self.event_log
    }

    fn check_itself(&self) -> Result<(), PolicyError> {
        // With makers alone nobody is enrolled yet, and no machine holds.
        let empty = (self.tpm_keys.is_empty() && self.ek_roots.is_empty()) || self.registers.is_empty();
        if empty || self.registers.values().any(Vec::is_empty) {
            return Err(PolicyError::Empty);
        }
        let of_length = |bytes: &HexBytes, length: usize| match bytes.0.len() == length {
            true => Ok(()),
            false => Err(PolicyError::Length(bytes.clone())),
        };
        self.tpm_keys.iter().try_for_each(|name| of_length(name, 34))?;
        for (at, values) in &self.registers {
            number(at).ok_or_else(|| PolicyError::Register(at.clone()))?;
            values.iter().try_for_each(|value| of_length(value, 32))?;
        }
        Ok(())
    }

    /// Holds a verified quote against it.
    pub(super) fn check(&self, quote: &Quote) -> Vec<Check> {
        let name = HexBytes(quote.key_name());
        let mut checks = vec![match self.tpm_keys.contains(&name) {
            true => Check::of("TPM", true, "one that the policy names".to_owned()),
            false => Check::of("TPM", false, format!("the policy does not name {name}")),
        }];
        for (at, values) in &self.registers {
            let value = number(at).and_then(|at| quote.registers.get(&at));
            let (holds, found) = match value {
                None => (false, format!("{at} is not attested; [attestation] registers in signer.toml lists them")),
                Some(value) if values.iter().any(|allowed| allowed.0 == value) => (true, format!("{at} as allowed")),
                Some(value) => {
                    (false, format!("{at} is {}, which the policy does not allow", HexBytes(value.to_vec())))
                }
            };
            checks.push(Check::of("register", holds, found));
        }
        checks
    }
}

/// Makers, and certificates between them and TPMs, from files of PEM.
///
/// # Errors
/// As [`Policy::roots`].
pub fn roots(trusted: &[PathBuf], between: &[PathBuf]) -> Result<Roots, PolicyError> {
    if trusted.is_empty() {
        return Err(PolicyError::NoRoots);
    }
    let read = |path: &PathBuf| std::fs::read(path).map_err(|source| PolicyError::Io { path: path.clone(), source });
    let mut roots = Roots::default();
    for path in trusted {
        roots.trust(&read(path)?).map_err(|source| PolicyError::Roots { path: path.clone(), source })?;
    }
    for path in between {
        roots.know(&read(path)?).map_err(|source| PolicyError::Roots { path: path.clone(), source })?;
    }
    Ok(roots)
}

/// One way to write each.
fn number(text: &str) -> Option<u8> {
    text.parse().ok().filter(|at: &u8| *at <= PCR_MAX && at.to_string() == text)
}
