//! What can go wrong, split by what the caller does next: a refusal is final, a fault may heal, a configuration error
//! waits for a human. Reasons are codes with a short text, so that they cross the socket and become exit statuses.

use crate::refusal::Refusal;
use thiserror::Error;
use types::codec::{Decode, DecodeError, Encode, Reader};

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident, $field:literal, exit $exit:literal {
        $($(#[$variant_doc:meta])* $variant:ident = $code:literal => $text:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$variant_doc])* #[error($text)] $variant = $code,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Exit status of a signer process that stops for this reason.
            pub fn exit_status(self) -> u8 {
                $exit + self as u8
            }

            /// The reason with this exit status.
            pub fn from_exit_status(status: i32) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| i32::from(reason.exit_status()) == status)
            }
        }

        impl Encode for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                out.push(*self as u8);
            }
        }

        impl Decode for $name {
            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                let code = u8::decode(reader)?;
                let unknown = DecodeError::UnknownTag { field: $field, value: code.into() };
                Self::ALL.iter().copied().find(|reason| *reason as u8 == code).ok_or(unknown)
            }
        }
    };
}

codes! {
    /// Something is set up wrongly; trying again without a human does not help, and for a PIN does harm.
    ConfigError, "configuration error", exit 40 {
        /// No file at the module's path.
        ModuleMissing = 1 => "no PKCS#11 module there",
        /// The file does not load, or exports no PKCS#11.
        NotAModule = 2 => "not a PKCS#11 module for this machine",
        /// No token has the label.
        TokenAbsent = 3 => "no token with this label",
        /// More than one token has the label.
        TokenAmbiguous = 4 => "more than one token with this label",
        /// No private key has the label.
        KeyNotFound = 5 => "no key with this label",
        /// More than one key has the label.
        KeyAmbiguous = 6 => "more than one key with this label",
        /// Not on a curve of validators, not for signing, or without its public half.
        KeyUnsuitable = 7 => "not a signing key on a curve that validators use",
        /// A key to be made is there already.
        KeyExists = 8 => "exists already and is never overwritten",
        /// CKR_PIN_INCORRECT and its like.
        PinIncorrect = 9 => "the PIN was not accepted; it is not tried again",
        /// CKR_PIN_LOCKED.
        PinLocked = 10 => "the PIN is locked",
        /// CKR_PIN_EXPIRED.
        PinExpired = 11 => "the PIN has expired",
        /// The token does not sign with the mechanism that the key needs.
        MechanismMissing = 12 => "the token does not offer what is needed",
        /// The keystore does not open under the passphrase, or was altered.
        PassphraseWrong = 13 => "wrong passphrase, or the keystore was altered",
        /// No keystore at the path.
        KeystoreMissing = 14 => "no keystore there",
        /// The keystore is not in a known format.
        KeystoreDamaged = 15 => "not a keystore of a known version",
        /// The file with the PIN or passphrase is missing, empty, too long or not a regular file.
        SecretUnreadable = 16 => "no readable PIN or passphrase there",
        /// The file with the PIN or passphrase can be read by others.
        SecretExposed = 17 => "readable by others than its owner (chmod 600)",
        /// No guard file; a missing one is never replaced by an empty one.
        GuardMissing = 18 => "no guard file there; without it an old round could be signed twice",
        /// The guard file was altered before its end.
        GuardDamaged = 19 => "the guard file is damaged",
        /// Another process holds the guard file.
        GuardLocked = 20 => "another signer holds this guard file",
        /// The guard file is of another chain, author or key.
        GuardForeign = 21 => "the guard file is of another chain, validator or key",
        /// The socket's path is too long, or something else than a socket is there.
        SocketUnusable = 22 => "cannot listen on this socket path",
        /// The configuration file does not parse.
        ConfigUnreadable = 23 => "not a signer configuration",
        /// The keystore holds the key of a client's account.
        KeystoreOfAccount = 24 => "holds an account's key, not the two keys of a validator",
        /// An ELF file of another class or machine.
        ModuleForeign = 25 => "a library for another kind of machine (32 bits, or another processor)",
        /// The token, or its user PIN, was never initialised.
        TokenUninitialised = 26 => "the token or its user PIN is not initialised",
        /// CKR_TOKEN_WRITE_PROTECTED.
        TokenWriteProtected = 27 => "the token is write-protected",
        /// A private key that can leave the token.
        KeyExtractable = 28 => "the private key can be read out of the token",
        /// The token holds other keys than it did, or than the first token does.
        KeysDiffer = 29 => "holds other keys than it should",
        /// A key on the curve of SM2, and no mechanism that signs SM2.
        CurveUnmapped = 35 => "a key on the curve of SM2 needs a profile with the vendor's SM2 mechanism",
        /// No such profile, or its file is not one.
        ProfileUnusable = 36 => "not a profile of a token",
        /// Both tokens are behind one library, which is finalised as a whole.
        ModuleShared = 37 => "the standby needs a library file of its own (a copy will do)",
        /// CKF_USER_PIN_FINAL_TRY: a program does not take the last try.
        PinLastTry = 38 => "one more wrong PIN locks the token; log in once with the vendor's tool",
        /// The anchor has moved on since the guard file was written.
        GuardStale = 30 => "the guard file is older than the TPM's memory: restored, or another signer went on",
        /// The guard file is bound to something else.
        GuardMoved = 31 => "the guard file was not made here: a copy, a restored file, another machine or another fence",
        /// The TPM has no such NV index.
        FenceMissing = 32 => "the TPM does not know this fence: it was cleared, or is another one",
        /// The TPM's NV index is of another kind, validator or ledger.
        FenceForeign = 33 => "the TPM's NV index is in use for something else, or for a signer before this one",
        /// No TPM 2.0, or it asks for an authorisation.
        FenceUnusable = 34 => "no TPM 2.0 there that can be used",
        /// The user of `[process] user` does not exist, or cannot be become.
        UserUnusable = 39 => "cannot become this user",
        // From here on behind the exit statuses of faults.
        /// A path of `[process] allow_paths` is not there.
        PathUnusable = 61 => "no such file or directory",
        /// No TPM 2.0 for a sealed secret, or it asks for an authorisation.
        SealUnusable = 62 => "no TPM 2.0 there that can seal and unseal",
        /// The storage primary is not that under which the secret was sealed.
        SealForeign = 63 => "sealed by another TPM, or this one was cleared since",
        /// The registers are not as they were when it was sealed.
        SealState = 64 => "sealed to another state of this machine: its PCRs have other values now",
        /// The file of a sealed secret is not one, or was altered.
        SealDamaged = 65 => "not a sealed secret, or it was altered",
        /// No `[attestation]` in the signer's configuration.
        AttestationOff = 66 => "this signer makes no attestations: [attestation] is not in signer.toml",
        /// No TPM 2.0, no such register, or it asks for an authorisation.
        AttestationUnusable = 67 => "no TPM 2.0 there that attests",
    }
}

codes! {
    /// Our own hardware, disk or process fails; it may heal.
    Fault, "fault", exit 80 {
        /// Session or login was lost and a second attempt failed too.
        SessionLost = 1 => "the token's session was lost",
        /// The token is gone.
        TokenGone = 2 => "the token is gone",
        /// CKR_DEVICE_ERROR, CKR_GENERAL_ERROR, CKR_FUNCTION_FAILED and what is not understood.
        TokenFailed = 3 => "the token failed",
        /// Out of memory or sessions.
        TokenExhausted = 4 => "the token is out of memory or sessions",
        /// The token failed a moment ago and is left alone for a while.
        TokenResting = 5 => "the token failed a moment ago and is left alone",
        /// The signature does not verify.
        WrongSignature = 6 => "the key made a wrong signature",
        /// A write or sync of the guard file failed; nothing is signed until a restart.
        GuardWrite = 7 => "the guard file could not be written",
        /// The guard file could not be compacted, for instance because the disk is full; tried again later.
        GuardCompaction = 8 => "the guard file could not be compacted",
        /// The signer does not answer on its socket.
        SignerUnreachable = 9 => "the signer process cannot be reached",
        /// The signer did not answer in time.
        Timeout = 10 => "the signer did not answer in time",
        /// The signer's answer is not one to the request.
        Protocol = 11 => "the signer did not understand, or was not understood",
        /// A file operation at start failed.
        Io = 12 => "file operation failed",
        /// The system gave no randomness.
        Randomness = 13 => "no randomness from the system",
        /// A call into the module did not return in `call_timeout_ms`. Nothing but an end of the process gets rid of it.
        ModuleStuck = 14 => "a call into the PKCS#11 module does not return",
        /// The TPM did not answer, or not now.
        AttestationFailed = 19 => "the TPM does not answer",
        /// The TPM did not answer, or not now.
        FenceSilent = 20 => "the TPM does not answer; nothing is signed beyond what was reserved",
    }
}

/// Why a key store does not sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// It may heal.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// It will not.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl StoreError {
    /// With the thing that it is about.
    pub fn about(self, subject: impl std::fmt::Display) -> StartError {
        StartError { subject: subject.to_string(), cause: self }
    }

    /// Exit status of a signer process that stops for this reason.
    pub fn exit_status(self) -> u8 {
        match self {
            Self::Fault(fault) => fault.exit_status(),
            Self::Config(config) => config.exit_status(),
        }
    }

    /// The reason with this exit status.
    pub fn from_exit_status(status: i32) -> Option<Self> {
        let config = ConfigError::from_exit_status(status).map(Self::Config);
        config.or_else(|| Fault::from_exit_status(status).map(Self::Fault))
    }
}

/// Why a signer, a generation of keys or a guard file does not start: the thing and the reason.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{subject}: {cause}")]
pub struct StartError {
    /// Path or label that the operator can look at.
    pub subject: String,
    /// What is wrong with it.
    #[source]
    pub cause: StoreError,
}

impl ConfigError {
    /// With the thing that it is about.
    pub fn about(self, subject: impl std::fmt::Display) -> StartError {
        StoreError::Config(self).about(subject)
    }
}

impl Fault {
    /// With the thing that it is about.
    pub fn about(self, subject: impl std::fmt::Display) -> StartError {
        StoreError::Fault(self).about(subject)
    }
}

/// Why a request to the signer was not answered with a signature.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SignError {
    /// The signer will never sign this.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// Our hardware, disk or signer process; the same request may be made again.
    #[error("signer fault: {0}")]
    Fault(#[from] Fault),
    /// A human is needed.
    #[error("signer configuration: {0}")]
    Config(#[from] ConfigError),
}

impl From<StoreError> for SignError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Fault(fault) => Self::Fault(fault),
            StoreError::Config(config) => Self::Config(config),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_survives_the_wire_and_an_exit_status() {
        for config in ConfigError::ALL {
            assert_eq!(ConfigError::from_bytes(&config.to_bytes()), Ok(*config));
            assert_eq!(StoreError::from_exit_status(config.exit_status().into()), Some(StoreError::Config(*config)));
        }
        for fault in Fault::ALL {
            assert_eq!(Fault::from_bytes(&fault.to_bytes()), Ok(*fault));
            assert_eq!(StoreError::from_exit_status(fault.exit_status().into()), Some(StoreError::Fault(*fault)));
        }
    }
}
