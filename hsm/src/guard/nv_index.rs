//! An NV index of the kind *extend* as an [`Anchor`]: what it holds is SHA-256 over all that it ever took in.
//!
//! The index carries a digest of the validator's identity as its policy, which no session can satisfy and no right is
//! bound to: it only names the owner, so that two validators on one machine cannot share an index by mistake.

use crate::config::TpmFence;
use crate::error::{ConfigError, Fault, StartError, StoreError};
use crate::guard::fence::Anchor;
use std::path::PathBuf;
use tpm::{Answer, Command, RC_NO_HANDLE, RC_UNWRITTEN, Tpm, TpmError};
use types::Digest;

const CC_NV_DEFINE_SPACE: u32 = 0x12a;
const CC_NV_EXTEND: u32 = 0x136;
const CC_NV_READ: u32 = 0x14e;
const CC_NV_READ_PUBLIC: u32 = 0x169;
/// TPM_RH_OWNER.
const OWNER: u32 = 0x4000_0001;
/// TPM_ALG_SHA256.
const SHA256: u16 = 0xb;
/// TPMA_NV: TPM_NT_EXTEND, AUTHWRITE, AUTHREAD, NO_DA.
const ATTRIBUTES: u32 = 0x40 | 0x4 | 0x4_0000 | 0x200_0000;
/// TPMA_NV_WRITTEN.
const WRITTEN: u32 = 0x2000_0000;
/// NV indices that the owner of the machine gives out (TCG registry of reserved handles, 0x01800000 to 0x01bfffff).
const OWNERS: std::ops::RangeInclusive<u32> = 0x0180_0000..=0x01bf_ffff;
/// What an index takes in when it is made; one that has taken in nothing else belongs to a signer that never signed.
const FIRST: &[u8] = b"stele-guard-fence-1\0";

/// See the module.
pub struct NvAnchor {
    device: PathBuf,
    tpm: Option<Tpm>,
    index: u32,
    identity: Digest,
}

impl TpmFence {
    /// What an error is about.
    pub(crate) fn subject(&self) -> String {
        format!("{} index {:#010x}", self.device.display(), self.index)
    }
}

impl NvAnchor {
    /// Connects to the TPM; whether the index is there comes later.
    ///
    /// # Errors
    /// [`ConfigError::FenceUnusable`] where nobody answers, or the configuration is out of bounds.
    pub fn open(config: &TpmFence, identity: &Digest) -> Result<Self, StartError> {
        let unusable = |reason: String| ConfigError::FenceUnusable.about(format!("{} ({reason})", config.subject()));
        if !OWNERS.contains(&config.index) {
            return Err(unusable(format!("`index` must be from {:#x} to {:#x}", OWNERS.start(), OWNERS.end())));
        }
        if !(16..=1 << 20).contains(&config.rounds) {
            return Err(unusable("`rounds` must be from 16 to 1048576".to_owned()));
        }
        let tpm = Tpm::open(&config.device).map_err(|error| unusable(error.to_string()))?;
        let tpm = Some(tpm).filter(Tpm::is_shared);
        let mut anchor = Self { device: config.device.clone(), tpm, index: config.index, identity: *identity };
        // A word with it, so that what is no TPM, or asks for an authorisation, is told with its reason.
        match anchor.public() {
            Ok(()) => Ok(anchor),
            Err(Failure::Tpm(error)) if error.code() == Some(RC_NO_HANDLE) => Ok(anchor),
            Err(Failure::Tpm(error)) => Err(unusable(error.to_string())),
            Err(Failure::Foreign) => Err(ConfigError::FenceForeign.about(config.subject())),
        }
    }

    /// Makes the index, or takes one that was made for this identity and never used.
    ///
    /// # Errors
    /// [`ConfigError::FenceForeign`] where it was used; [`ConfigError::FenceUnusable`]; [`Fault::FenceSilent`].
    pub fn create_unused(&mut self) -> Result<(), StoreError> {
        self.create_if_missing()?;
        if self.value()? == first() { Ok(()) } else { Err(ConfigError::FenceForeign.into()) }
    }

    /// Makes the index where there is none.
    ///
    /// # Errors
    /// [`ConfigError::FenceForeign`] where it is another's; [`ConfigError::FenceUnusable`]; [`Fault::FenceSilent`].
    pub fn create_if_missing(&mut self) -> Result<(), StoreError> {
        match self.public() {
            Ok(()) => {}
            Err(Failure::Tpm(error)) if error.code() == Some(RC_NO_HANDLE) => {
                let command = Command::new("TPM2_NV_DefineSpace", CC_NV_DEFINE_SPACE, &[OWNER], true);
                let command = command.sized(&[]).sized(&self.template(ATTRIBUTES));
                self.run(&command).map_err(|error| told(&error))?;
            }
            Err(failure) => return Err(failure.cause()),
        }
        match self.read() {
            Err(error) if error.code() == Some(RC_UNWRITTEN) => self.take_in(FIRST).map_err(|error| told(&error)),
            Err(error) => Err(told(&error)),
            Ok(_) => Ok(()),
        }
    }

    /// TPMS_NV_PUBLIC.
    fn template(&self, attributes: u32) -> Vec<u8> {
        let mut public = self.index.to_be_bytes().to_vec();
        public.extend_from_slice(&SHA256.to_be_bytes());
        public.extend_from_slice(&attributes.to_be_bytes());
        public.extend_from_slice(&32u16.to_be_bytes());
        public.extend_from_slice(self.identity.as_bytes());
        public.extend_from_slice(&32u16.to_be_bytes());
        public
    }

    /// Whether the index is there, of the right kind, and this validator's.
    fn public(&mut self) -> Result<(), Failure> {
        let command = Command::new("TPM2_NV_ReadPublic", CC_NV_READ_PUBLIC, &[self.index], false);
        let mut answer = self.run(&command)?;
        let public = answer.sized()?;
        let ours = [self.template(ATTRIBUTES), self.template(ATTRIBUTES | WRITTEN)];
        if ours.iter().any(|template| template == public) { Ok(()) } else { Err(Failure::Foreign) }
    }

    fn read(&mut self) -> Result<Digest, TpmError> {
        let command = Command::new("TPM2_NV_Read", CC_NV_READ, &[self.index, self.index], true).u16(32).u16(0);
        let mut answer = self.run(&command)?;
        let bytes: [u8; 32] = answer.sized()?.try_into().map_err(|_| TpmError::Malformed)?;
        Digest::from_parts(types::AlgId::Sha256, bytes).map_err(|_| TpmError::Malformed)
    }

    fn take_in(&mut self, data: &[u8]) -> Result<(), TpmError> {
        let command = Command::new("TPM2_NV_Extend", CC_NV_EXTEND, &[self.index, self.index], true);
        self.run(&command.sized(data)).map(drop)
    }

    /// A connection that failed is made anew with the next command. A simulator serves one at a time, so it is let go.
    fn run(&mut self, command: &Command) -> Result<Answer, TpmError> {
        let mut tpm = match self.tpm.take() {
            Some(tpm) => tpm,
            None => Tpm::open(&self.device)?,
        };
        let answer = tpm.run(command);
        if tpm.is_shared() && !matches!(answer, Err(TpmError::Io(_) | TpmError::Malformed)) {
            self.tpm = Some(tpm);
        }
        answer
    }
}

impl Anchor for NvAnchor {
    fn value(&mut self) -> Result<Digest, StoreError> {
        self.public().map_err(|failure| failure.cause())?;
        self.read().map_err(|error| told(&error))
    }

    fn extend(&mut self, claim: &Digest) -> Result<(), StoreError> {
        self.take_in(claim.as_bytes()).map_err(|error| told(&error))
    }
}

enum Failure {
    Tpm(TpmError),
    Foreign,
}

impl From<TpmError> for Failure {
    fn from(error: TpmError) -> Self {
        Self::Tpm(error)
    }
}

impl Failure {
    fn cause(&self) -> StoreError {
        match self {
            Self::Tpm(error) => told(error),
            Self::Foreign => ConfigError::FenceForeign.into(),
        }
    }
}

/// Where a code has to do for the caller, the log gets the words.
fn told(error: &TpmError) -> StoreError {
    let cause = match error {
        TpmError::Io(_) => Fault::FenceSilent.into(),
        TpmError::Code { code: RC_NO_HANDLE, .. } => ConfigError::FenceMissing.into(),
        error if error.is_busy() => Fault::FenceSilent.into(),
        TpmError::Malformed | TpmError::Code { .. } => ConfigError::FenceUnusable.into(),
    };
    if matches!(cause, StoreError::Fault(Fault::FenceSilent)) {
        tracing::warn!(%error, "the TPM does not answer");
    } else {
        tracing::error!(%error, "the TPM refuses");
    }
    cause
}

/// The value of an index that was made and never used.
fn first() -> Digest {
    Digest::sha256(&[&Digest::ZERO.as_bytes()[..], FIRST].concat())
}
