//! A secret that one TPM gives back, and only in the state in which the machine was sealed to: an object of a few bytes
//! under the storage primary, with a policy over platform configuration registers (PCRs, bank of SHA-256).
//!
//! The storage primary is made anew from the owner's seed each time, so nothing stays in the TPM; clearing the TPM
//! changes the seed, and everything that was sealed is lost. Deliberately absent: encryption on the way to the TPM (who
//! can listen to the wires of a separate chip reads the secret), authorisation values, policies that can be changed.

use super::command::{Answer, Command};
use super::device::{Tpm, TpmError};
use zeroize::Zeroizing;

/// Longest secret in bytes (part 2, MAX_SYM_DATA).
pub const SEALED_MAX: usize = 128;
/// Registers of a PC (TCG PC Client Platform TPM Profile): 0 to 23.
pub const PCR_MAX: u8 = 23;

const CC_CREATE_PRIMARY: u32 = 0x131;
const CC_CREATE: u32 = 0x153;
const CC_LOAD: u32 = 0x157;
const CC_UNSEAL: u32 = 0x15e;
const CC_FLUSH_CONTEXT: u32 = 0x165;
const CC_START_AUTH_SESSION: u32 = 0x176;
const CC_POLICY_PCR: u32 = 0x17f;
const CC_POLICY_GET_DIGEST: u32 = 0x189;
/// TPM_RH_OWNER and TPM_RH_NULL.
const OWNER: u32 = 0x4000_0001;
const NULL: u32 = 0x4000_0007;
/// TPM_SE_POLICY and TPM_SE_TRIAL.
const POLICY: u8 = 1;
const TRIAL: u8 = 3;
/// TPM_ALG_SHA256.
const SHA256: u16 = 0xb;
/// TPM_RC_POLICY_FAIL of the first session, and TPM_RC_PCR_CHANGED.
const RC_POLICY_FAIL: u32 = 0x99d;
const RC_PCR_CHANGED: u32 = 0x128;
/// TPM_RC_INTEGRITY of the first parameter.
const RC_INTEGRITY: u32 = 0x1df;

/// TPMT_PUBLIC of the storage primary: P-256, restricted to decrypting, AES-128-CFB for what is below it; fixedTPM,
/// fixedParent, sensitiveDataOrigin, userWithAuth, noDA.
const PRIMARY: [u8; 26] = [
    0x00, 0x23, 0x00, 0x0b, 0x00, 0x03, 0x04, 0x72, 0x00, 0x00, 0x00, 0x06, 0x00, 0x80, 0x00, 0x43, 0x00, 0x10, 0x00,
    0x03, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00,
];
/// TPMT_PUBLIC of the sealed object, before and behind its policy: TPM_ALG_KEYEDHASH; fixedTPM, fixedParent,
/// adminWithPolicy, noDA and so no way in but the policy; no scheme.
const SEALED: [u8; 8] = [0x00, 0x08, 0x00, 0x0b, 0x00, 0x00, 0x04, 0x92];
const SEALED_END: [u8; 4] = [0x00, 0x10, 0x00, 0x00];

/// What the TPM gives for a secret: of no use to another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blob {
    /// Name of the storage primary, which tells one TPM from another.
    pub(crate) parent: Vec<u8>,
    /// TPMT_PUBLIC.
    pub(crate) public: Vec<u8>,
    /// TPM2B_PRIVATE without its length.
    pub(crate) private: Vec<u8>,
}

/// Why there is no secret.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The storage primary is another one.
    OtherTpm,
    /// The registers are not as they were.
    OtherState,
    /// The object is not one that this TPM made.
    Altered,
    Tpm(TpmError),
}

impl From<TpmError> for Failure {
    fn from(error: TpmError) -> Self {
        Self::Tpm(error)
    }
}

/// Seals to the registers as they are now. At most [`SEALED_MAX`] bytes.
pub(crate) fn seal(tpm: &mut Tpm, pcrs: &[u8], secret: &[u8]) -> Result<Blob, Failure> {
    Loaded::with(tpm, |loaded| {
        let session = loaded.session(TRIAL)?;
        loaded.policy(session, pcrs)?;
        let command = Command::new("TPM2_PolicyGetDigest", CC_POLICY_GET_DIGEST, &[session], false);
        let policy = loaded.tpm.run(&command)?.sized()?.to_vec();
        let (primary, parent) = loaded.primary()?;
        let mut sensitive = Zeroizing::new(Vec::with_capacity(4 + SEALED_MAX));
        sensitive.extend([0, 0]);
        sensitive.extend((secret.len() as u16).to_be_bytes());
        sensitive.extend(secret);
        let public = [&SEALED[..], &(policy.len() as u16).to_be_bytes(), &policy, &SEALED_END].concat();
        let command = Command::new("TPM2_Create", CC_CREATE, &[primary], true);
        let mut answer = loaded.tpm.run(&command.sized(&sensitive).sized(&public).sized(&[]).u32(0))?;
        let private = answer.sized()?.to_vec();
        Ok(Blob { parent, public: answer.sized()?.to_vec(), private })
    })
}

/// Gives the secret back.
pub(crate) fn unseal(tpm: &mut Tpm, pcrs: &[u8], blob: &Blob) -> Result<Zeroizing<Vec<u8>>, Failure> {
    Loaded::with(tpm, |loaded| {
        let (primary, parent) = loaded.primary()?;
        if parent != blob.parent {
            return Err(Failure::OtherTpm);
        }
        let command = Command::new("TPM2_Load", CC_LOAD, &[primary], true).returning_a_handle();
        let answer = loaded.tpm.run(&command.sized(&blob.private).sized(&blob.public)).map_err(told)?;
        let object = loaded.keep(&answer)?;
        let session = loaded.session(POLICY)?;
        loaded.policy(session, pcrs)?;
        let command = Command::with_session("TPM2_Unseal", CC_UNSEAL, &[object], Some(session));
        let mut answer = loaded.tpm.run(&command).map_err(told)?;
        Ok(Zeroizing::new(answer.sized()?.to_vec()))
    })
}

fn told(error: TpmError) -> Failure {
    match error.code() {
        Some(RC_POLICY_FAIL | RC_PCR_CHANGED) => Failure::OtherState,
        Some(RC_INTEGRITY) => Failure::Altered,
        _ => Failure::Tpm(error),
    }
}

/// What was loaded into the TPM and has to leave it: a simulator and the device without a resource manager keep it.
struct Loaded<'a> {
    tpm: &'a mut Tpm,
    handles: Vec<u32>,
}

impl<'a> Loaded<'a> {
    fn with<T>(tpm: &'a mut Tpm, body: impl FnOnce(&mut Self) -> Result<T, Failure>) -> Result<T, Failure> {
        let mut loaded = Self { tpm, handles: Vec::new() };
        let outcome = body(&mut loaded);
        for handle in std::mem::take(&mut loaded.handles).into_iter().rev() {
            let command = Command::new("TPM2_FlushContext", CC_FLUSH_CONTEXT, &[handle], false);
            if let Err(error) = loaded.tpm.run(&command) {
                tracing::warn!(%error, "something stays loaded in the TPM");
            }
        }
        outcome
    }

    fn keep(&mut self, answer: &Answer) -> Result<u32, TpmError> {
        let handle = answer.handle().ok_or(TpmError::Malformed)?;
        self.handles.push(handle);
        Ok(handle)
    }

    /// The storage primary and its name.
    fn primary(&mut self) -> Result<(u32, Vec<u8>), TpmError> {
        let command = Command::new("TPM2_CreatePrimary", CC_CREATE_PRIMARY, &[OWNER], true).returning_a_handle();
        let mut answer = self.tpm.run(&command.sized(&[0; 4]).sized(&PRIMARY).sized(&[]).u32(0))?;
        let handle = self.keep(&answer)?;
        for _ in ["public area", "creation data", "creation hash"] {
            answer.sized()?;
        }
        // The ticket: tag, hierarchy, digest.
        answer.take(6)?;
        answer.sized()?;
        Ok((handle, answer.sized()?.to_vec()))
    }

    fn session(&mut self, kind: u8) -> Result<u32, TpmError> {
        // The nonce counts for HMAC sessions, which this one is not.
        let command = Command::new("TPM2_StartAuthSession", CC_START_AUTH_SESSION, &[NULL, NULL], false);
        let command = command.returning_a_handle().sized(&[0; 16]).sized(&[]).raw(&[kind]).u16(0x10).u16(SHA256);
        let answer = self.tpm.run(&command)?;
        self.keep(&answer)
    }

    /// The registers as they are now become part of the session's policy.
    fn policy(&mut self, session: u32, pcrs: &[u8]) -> Result<(), TpmError> {
        let mut selected = [0; 3];
        for pcr in pcrs.iter().filter(|pcr| **pcr <= PCR_MAX) {
            selected[usize::from(pcr / 8)] |= 1 << (pcr % 8);
        }
        let command = Command::new("TPM2_PolicyPCR", CC_POLICY_PCR, &[session], false);
        self.tpm.run(&command.sized(&[]).u32(1).u16(SHA256).raw(&[3]).raw(&selected)).map(drop)
    }
}
