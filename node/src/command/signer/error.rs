//! Why a step of `stele signer` fails, in words for the operator and as an exit status for a parent.

use hsm::guard::MarkError;
use hsm::{ConfigError, Fault, StartError, StoreError};
use miette::{Diagnostic, NamedSource, SourceSpan};
use std::path::PathBuf;
use std::sync::Arc;
use thiserror::Error;

#[derive(Debug, Error, Diagnostic)]
pub(super) enum SignerError {
    #[error("cannot read {path}")]
    #[diagnostic(help("give the path of a signer.toml with --config; `stele signer --help` shows an example"))]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path}: {message}")]
    #[diagnostic(help("`stele signer --help` shows an example"))]
    Invalid {
        path: String,
        message: String,
        #[source_code]
        source_code: Arc<NamedSource<String>>,
        #[label("here")]
        span: Option<SourceSpan>,
    },
    #[error("{path}: {source}")]
    #[diagnostic(help("it has to be a document that `stele signer export-mark` wrote"))]
    Mark {
        path: PathBuf,
        #[source]
        source: MarkError,
    },
    #[error("{subject}: {cause}")]
    Start {
        subject: String,
        cause: StoreError,
        #[help]
        help: Option<&'static str>,
    },
}

impl From<StartError> for SignerError {
    fn from(error: StartError) -> Self {
        Self::Start { help: help(error.cause), subject: error.subject, cause: error.cause }
    }
}

impl SignerError {
    /// What the process exits with: a parent reads the reason from it.
    pub(super) fn exit_status(&self) -> u8 {
        match self {
            Self::Unreadable { .. } | Self::Invalid { .. } => ConfigError::ConfigUnreadable.exit_status(),
            Self::Mark { .. } => ConfigError::GuardForeign.exit_status(),
            Self::Start { cause, .. } => cause.exit_status(),
        }
    }
}

/// What to do next, where the reason does not say.
fn help(cause: StoreError) -> Option<&'static str> {
    let cause = match cause {
        StoreError::Config(cause) => cause,
        StoreError::Fault(Fault::ModuleStuck) => {
            return Some("look at the token and the vendor's client; a slow one gets more time with `call_timeout_ms`");
        }
        StoreError::Fault(_) => return None,
    };
    match cause {
        ConfigError::ModuleMissing | ConfigError::NotAModule => {
            Some("check `module` in signer.toml; SoftHSM2 comes with: apt install softhsm2")
        }
        ConfigError::TokenAbsent => Some(
            "check `token_label` and SOFTHSM2_CONF; `stele signer provision --so-pin-file FILE` initialises a free slot",
        ),
        ConfigError::KeyNotFound | ConfigError::KeystoreMissing => Some("make the keys: stele signer provision"),
        ConfigError::KeyExists => Some(
            "what is there stays as it is: `stele signer keys` prints the public halves of keys, and with a guard file \
             `stele signer run` needs no --init",
        ),
        ConfigError::SecretUnreadable => Some("write it there with mode 0600, or let --create-secrets make one"),
        ConfigError::GuardMissing => Some(
            "for a validator that has never signed: stele signer init; for one that has: stele signer import-mark, or init \
             and then activate --from-round",
        ),
        ConfigError::GuardDamaged => Some(
            "put it aside. With a mark: stele signer import-mark; else stele signer init, and then activate --from-round with \
             a round above all that this key has signed. Never begin at round 0 with a key that has signed",
        ),
        ConfigError::GuardMoved | ConfigError::GuardStale => Some(
            "find the newest guard file, or say from which round on this one is right: stele signer activate --help",
        ),
        ConfigError::FenceMissing => {
            Some("check `device`; after the TPM was cleared or exchanged: stele signer activate --help")
        }
        ConfigError::FenceForeign => Some(
            "give each validator an `index` of its own; where this validator has signed before: stele signer import-mark",
        ),
        ConfigError::FenceUnusable => {
            Some("the device must be readable and writable (group tss), and the owner hierarchy without a password")
        }
        ConfigError::SealUnusable => Some(
            "check `device`; it must be readable and writable (group tss), and the owner hierarchy without a password",
        ),
        ConfigError::SealForeign | ConfigError::SealState => {
            Some("seal the PIN or passphrase again: stele signer seal --help; docs/guard.md says what changes PCRs")
        }
        ConfigError::PathUnusable => Some("correct `[process] allow_paths` in signer.toml"),
        ConfigError::UserUnusable => Some("start as root, or as that user; names are looked up in /etc/passwd"),
        ConfigError::GuardLocked => Some("stop the signer first"),
        ConfigError::ModuleForeign => Some("install the vendor's library for this processor"),
        ConfigError::CurveUnmapped => {
            Some("copy hsm/profiles/sm2-vendor.toml, put the vendor's number in, name it in `profile_file`")
        }
        ConfigError::ProfileUnusable => {
            Some("profiles: generic, softhsm2, kryoptic, yubihsm2, cloudhsm; or one of your own in `profile_file`")
        }
        ConfigError::PinLastTry => Some("a right login with the vendor's tool resets the token's count"),
        ConfigError::MechanismMissing => Some("`stele hsm conformance` says what the token offers"),
        ConfigError::PinIncorrect => Some("correct the PIN file before the next attempt: a token locks after a few"),
        _ => None,
    }
}
