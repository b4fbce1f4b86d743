//! The script of a ceremony: who takes part, what is done in which order, who must agree. TOML, hashed over its exact
//! bytes, so that people who printed and read it know that the machine runs the same one.
//!
//! Parsing is checking: a [`Script`] that exists can be run. Absent: what a step asks and does, which is `plan`'s.

mod check;

use crate::machines::{Machines, MachinesError};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tpm::pcr::PCR_MAX;
use types::{AlgId, Digest, PublicKey};

/// Versions of the format. The second has `[attestation]`; nothing else is new in it.
pub const FORMATS: [u32; 2] = [1, 2];
/// Most bytes of a script.
pub const SCRIPT_BYTES_MAX: usize = 256 << 10;
/// Most steps of a script.
pub const STEPS_MAX: usize = 256;
/// Most roles of a script, and most seats of a role.
pub const SEATS_MAX: usize = 32;

/// A ceremony, as it was written before anybody met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Version of this format, one of [`FORMATS`].
    pub format: u32,
    /// Name of the script: lower-case letters, digits, hyphens.
    pub id: String,
    /// Version of the script itself.
    pub version: u32,
    /// For people.
    pub title: String,
    /// What it is for, for people.
    #[serde(default)]
    pub purpose: String,
    /// Who takes part.
    pub roles: Vec<Role>,
    /// The roles each of which must sign, with its quorum, before a step is left out.
    pub exceptions: Vec<String>,
    /// How the machine is attested; not at all where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation: Option<MachineAttestation>,
    /// What is done, in this order.
    pub steps: Vec<Step>,
}

/// What the TPM of the machine has to say of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineAttestation {
    /// Which registers are quoted, by rising number.
    #[serde(default = "registers")]
    pub registers: Vec<u8>,
    /// Whether a machine without an attestation holds no ceremony; otherwise it is on record that there was none.
    #[serde(default = "required")]
    pub required: bool,
    /// Which machines may hold it: what `stele attest verify --policy` reads, without makers' certificates. Left out, it is
    /// on record which one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Machines>,
}

/// Firmware, its settings, boot loader, Secure Boot, and the kernel image.
fn registers() -> Vec<u8> {
    vec![0, 1, 2, 3, 4, 5, 6, 7, 11]
}

fn required() -> bool {
    true
}

/// A group of people, of whom a number must agree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// Name in this script.
    pub id: String,
    /// For people.
    pub title: String,
    /// m of n: how many must be present, and must sign where the role has to agree.
    pub quorum: usize,
    /// The n.
    pub officers: Vec<Seat>,
}

/// One person's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seat {
    /// Name of the place in this script.
    pub id: String,
    /// The person; left out, named at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whose signatures count: Ed25519 or P-256; left out, named at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PublicKey>,
}

/// One thing that is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Name in this script.
    pub id: String,
    /// For people.
    pub title: String,
    /// What is said aloud.
    #[serde(default)]
    pub say: String,
    /// The roles each of which must sign, with its quorum, before the device does anything.
    #[serde(default)]
    pub approve: Vec<String>,
    /// What it is.
    #[serde(rename = "do")]
    pub action: Action,
}

/// What a step does. Keys have a name in the script and a label in the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// A free slot becomes the token with this label; the ceremony uses this one from here on.
    InitialiseToken {
        /// Label of the token.
        token: String,
    },
    /// A token that was initialised before.
    OpenToken {
        /// Label of the token.
        token: String,
    },
    /// A new key pair, sensitive and not extractable.
    GenerateKey {
        /// Name in the script.
        key: String,
        /// Label in the token.
        label: String,
        /// What it signs with.
        algorithm: Algorithm,
    },
    /// A key that is in the token already.
    FindKey {
        /// Name in the script.
        key: String,
        /// Label in the token.
        label: String,
    },
    /// Tries to get the key out, in every way that PKCS#11 has, and expects to fail.
    ProbeKey {
        /// Name in the script.
        key: String,
    },
    /// The key signs a challenge that could not be known before.
    ProvePossession {
        /// Name in the script.
        key: String,
    },
    /// The vendor's own statement about the key; `none` is an answer, and recorded as such.
    AttestKey {
        /// Name in the script.
        key: String,
    },
    /// The vendor's own way to keep a second copy; `none` is an answer, and recorded as such.
    BackUpKey {
        /// Name in the script.
        key: String,
    },
    /// Writes the validator's file for `stele genesis`.
    RegisterValidator {
        /// Name of the consensus key in the script.
        consensus: String,
        /// Name of the transport key in the script.
        transport: String,
    },
    /// The old key signs the new one.
    RotateKey {
        /// Name of the old key in the script.
        old: String,
        /// Name of the new key in the script.
        new: String,
    },
    /// The key signs that it is no longer to be trusted.
    RevokeKey {
        /// Name in the script.
        key: String,
    },
    /// Both halves leave the token, and it is looked whether they did.
    DestroyKey {
        /// Name in the script.
        key: String,
    },
    /// Everybody who has to approve this step shows that his key still works, over a challenge that could not be known
    /// before.
    CustodyDrill {},
    /// A human act, with initials.
    Observe {
        /// The role that acts.
        by: String,
    },
    /// The digest of a file enters the transcript.
    RecordHash {
        /// Which file, for people.
        what: String,
    },
}

/// Algorithms of keys that a ceremony makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// Ed25519.
    Ed25519,
    /// ECDSA on P-256 with SHA-256, for tokens without EdDSA.
    EcdsaP256,
}

impl Algorithm {
    /// Its entry in the registry.
    pub fn id(self) -> AlgId {
        match self {
            Self::Ed25519 => AlgId::Ed25519,
            Self::EcdsaP256 => AlgId::EcdsaP256,
        }
    }
}

/// Why a text is no script.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScriptError {
    /// Longer than [`SCRIPT_BYTES_MAX`].
    #[error("the script has {0} bytes, and at most {SCRIPT_BYTES_MAX} are read")]
    TooLong(usize),
    /// Not UTF-8.
    #[error("the script is not UTF-8")]
    NotText,
    /// Not TOML, or not of this shape.
    #[error("the script does not parse: {0}")]
    Toml(Box<toml::de::Error>),
    /// A version of the format that is not known here.
    #[error("script format {0} is not known; this program knows 1 and 2")]
    Format(u32),
    /// Something of a newer format in an older one.
    #[error("`[attestation]` is of format 2: write `format = 2`")]
    Older,
    /// Not a list of registers.
    #[error("the registers of `[attestation]` are 1 to 24 different numbers from 0 to {PCR_MAX}, by rising number")]
    Registers,
    /// The policy of `[attestation]` is none.
    #[error("`[attestation.policy]`: {0}")]
    Policy(#[from] MachinesError),
    /// The policy prescribes a register that is not quoted.
    #[error("`[attestation.policy]` prescribes register {0}, which `registers` of `[attestation]` does not list")]
    NotQuoted(u8),
    /// Not 1 to 48 lower-case letters, digits and hyphens.
    #[error("{0:?} is no name: lower-case letters, digits and hyphens, at most 48")]
    Name(String),
    /// Empty, too long, or with control characters.
    #[error("{field} of {of} is empty, longer than allowed, or has control characters")]
    Text {
        /// Which field.
        field: &'static str,
        /// Of what.
        of: String,
    },
    /// Twice the same name.
    #[error("{what} {name:?} is there twice")]
    Twice {
        /// Role, seat, step, key or label.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// None, or more than are allowed.
    #[error("{count} {what} where 1 to {most} are allowed")]
    Count {
        /// Roles, seats or steps.
        what: &'static str,
        /// How many.
        count: usize,
        /// Most.
        most: usize,
    },
    /// m is 0 or above n.
    #[error("role {role:?} has a quorum of {quorum} of {officers}")]
    Quorum {
        /// The role.
        role: String,
        /// m.
        quorum: usize,
        /// n.
        officers: usize,
    },
    /// An officer's key must be Ed25519 or P-256.
    #[error("the key of {0:?} is neither Ed25519 nor P-256")]
    OfficerKey(String),
    /// A role that is not there.
    #[error("{of} names the role {role:?}, which is not there")]
    NoRole {
        /// Who names it.
        of: String,
        /// The name.
        role: String,
    },
    /// A key that no step before makes or finds, or that was destroyed.
    #[error("step {step:?} uses the key {key:?}, which no step before it makes or finds, or which is destroyed")]
    NoKey {
        /// The step.
        step: String,
        /// The key.
        key: String,
    },
    /// A step needs the token before any step opens it.
    #[error("step {0:?} needs a token, and no step before it opens one")]
    NoToken(String),
    /// A second token.
    #[error("step {0:?} opens a second token; a ceremony is about one")]
    SecondToken(String),
    /// A custody drill that nobody takes part in.
    #[error("the custody drill {0:?} names no role in `approve`")]
    EmptyDrill(String),
}

impl Script {
    /// Reads and checks a script.
    ///
    /// # Errors
    /// [`ScriptError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ScriptError> {
        if bytes.len() > SCRIPT_BYTES_MAX {
            return Err(ScriptError::TooLong(bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| ScriptError::NotText)?;
        let script: Self = toml::from_str(text).map_err(|error| ScriptError::Toml(Box::new(error)))?;
        check::check(&script)?;
        Ok(script)
    }

    /// The digest of a script's bytes.
    pub fn digest(bytes: &[u8]) -> Digest {
        Digest::sha256(bytes)
    }

    /// The role with this name.
    pub fn role(&self, id: &str) -> Option<&Role> {
        self.roles.iter().find(|role| role.id == id)
    }

    /// The seat with this name, and its role.
    pub fn seat(&self, id: &str) -> Option<(&Role, &Seat)> {
        let seats = self.roles.iter().flat_map(|role| role.officers.iter().map(move |seat| (role, seat)));
        seats.into_iter().find(|(_, seat)| seat.id == id)
    }
}
