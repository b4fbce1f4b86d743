//! What a device is asked for in a ceremony and what it answers, as a transcript has it.

use crate::ceremony::script::Algorithm;
use serde::{Deserialize, Serialize};
use types::{Digest, PublicKey, Signature};

/// What a device is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Operation {
    /// Makes a token in a free slot.
    Initialise {
        /// Its label.
        token: String,
    },
    /// Finds the token and logs in.
    Open {
        /// Its label.
        token: String,
    },
    /// Makes a key pair; one that carries the id already, from before an interruption, is taken.
    Generate {
        /// Label of both halves.
        label: String,
        /// CKA_ID of both halves, in hexadecimal: it names this step of this ceremony.
        id: String,
        /// What it signs with.
        algorithm: Algorithm,
    },
    /// Looks for a key.
    Find {
        /// Its label.
        label: String,
    },
    /// Tries to get the key out.
    Probe {
        /// Its label.
        label: String,
    },
    /// Signs.
    Sign {
        /// Label of the key.
        label: String,
        /// What, in hexadecimal.
        message: String,
    },
    /// Removes both halves; none there is as good.
    Destroy {
        /// Label of the key.
        label: String,
    },
}

/// What a device answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Outcome {
    /// To `initialise` and `open`.
    Token(Token),
    /// To `generate` and `find`.
    Key {
        /// The public half.
        public: PublicKey,
    },
    /// To `probe`.
    Probes(Vec<Probe>),
    /// To `sign`.
    Signature {
        /// The signature.
        signature: Signature,
    },
    /// To `destroy`: neither half is there any more.
    Destroyed {},
}

/// What a token says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Its label.
    pub label: String,
    /// Its maker.
    pub manufacturer: String,
    /// Its model.
    pub model: String,
    /// Its serial number.
    pub serial: String,
    /// Version of the hardware.
    pub hardware: String,
    /// Version of the firmware.
    pub firmware: String,
    /// The module through which it is reached, as it describes itself.
    pub library: String,
    /// SHA-256 of the module's file.
    pub module: Digest,
    /// Whether the token takes the PIN, or a quorum of its own, by itself, past this machine.
    pub own_authentication: bool,
}

/// One attempt to get at a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Which, of [`PROBES`].
    pub probe: String,
    /// What the token said.
    pub observed: String,
    /// Whether a key that stays where it is would have said so.
    pub held: bool,
}

/// All probes, in order: six attributes, then five attempts that must fail.
pub const PROBES: [&str; 11] = [
    "sensitive",
    "not-extractable",
    "always-sensitive",
    "never-extractable",
    "local",
    "private",
    "read-value",
    "make-extractable",
    "make-insensitive",
    "copy-extractable",
    "wrap",
];
