//! What is in a TPM for as long as something is done with it: primary keys, objects, sessions. A simulator, and the device
//! without a resource manager, keep what is not taken out again.

use crate::command::{Answer, Command};
use crate::device::{Tpm, TpmError};
use crate::pcr::{SHA256, selection};

const CC_CREATE_PRIMARY: u32 = 0x131;
const CC_FLUSH_CONTEXT: u32 = 0x165;
const CC_START_AUTH_SESSION: u32 = 0x176;
/// TPM_CC_PolicyPCR, which is part of the digest.
pub(crate) const CC_POLICY_PCR: u32 = 0x17f;
const CC_POLICY_GET_DIGEST: u32 = 0x189;
/// TPM_RH_NULL.
const NULL: u32 = 0x4000_0007;

/// TPM_RH_ENDORSEMENT.
pub(crate) const ENDORSEMENT: u32 = 0x4000_000b;

/// Whose seed a primary key is made from.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum Hierarchy {
    /// TPM_RH_OWNER: another one after a clear.
    Owner = 0x4000_0001,
    /// The same for good.
    Endorsement = ENDORSEMENT,
}

/// What a session is for.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum Session {
    /// TPM_SE_POLICY: to satisfy a policy.
    Policy = 1,
    /// TPM_SE_TRIAL: to compute its digest.
    Trial = 3,
}

/// A key that a TPM makes from its seed, the same each time.
#[derive(Clone, Debug)]
pub(crate) struct Primary {
    pub handle: u32,
    /// TPMT_PUBLIC.
    pub public: Vec<u8>,
    /// Digest of the public area behind its algorithm (part 1, chapter 16).
    pub name: Vec<u8>,
}

/// A TPM with what was loaded into it.
pub(crate) struct Loaded<'a> {
    pub tpm: &'a mut Tpm,
    handles: Vec<u32>,
}

impl<'a> Loaded<'a> {
    /// Does something, and takes out of the TPM what it loaded, however that ends.
    pub fn with<T, E>(tpm: &'a mut Tpm, body: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E> {
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

    /// Takes note of what a command loaded.
    pub fn keep(&mut self, answer: &Answer) -> Result<u32, TpmError> {
        let handle = answer.handle().ok_or(TpmError::Malformed)?;
        self.handles.push(handle);
        Ok(handle)
    }

    /// The primary key that a template (TPMT_PUBLIC) asks for.
    pub fn primary(&mut self, hierarchy: Hierarchy, template: &[u8]) -> Result<Primary, TpmError> {
        let command = Command::new("TPM2_CreatePrimary", CC_CREATE_PRIMARY, &[hierarchy as u32], true);
        let command = command.returning_a_handle().sized(&[0; 4]).sized(template).sized(&[]).u32(0);
        let mut answer = self.tpm.run(&command)?;
        let handle = self.keep(&answer)?;
        let public = answer.sized()?.to_vec();
        for _ in ["creation data", "creation hash"] {
            answer.sized()?;
        }
        // The ticket: tag, hierarchy, digest.
        answer.take(6)?;
        answer.sized()?;
        Ok(Primary { handle, public, name: answer.sized()?.to_vec() })
    }

    /// A session without a key, so that it authorises by what policy it has gone through alone.
    pub fn session(&mut self, kind: Session) -> Result<u32, TpmError> {
        // The nonce counts for HMAC sessions, which this one is not.
        let command = Command::new("TPM2_StartAuthSession", CC_START_AUTH_SESSION, &[NULL, NULL], false);
        let command = command.returning_a_handle().sized(&[0; 16]).sized(&[]).raw(&[kind as u8]).u16(0x10).u16(SHA256);
        let answer = self.tpm.run(&command)?;
        self.keep(&answer)
    }

    /// The registers as they are now become part of the session's policy.
    pub fn policy_of_registers(&mut self, session: u32, pcrs: &[u8]) -> Result<(), TpmError> {
        let command = Command::new("TPM2_PolicyPCR", CC_POLICY_PCR, &[session], false);
        self.tpm.run(&command.sized(&[]).raw(&selection(pcrs))).map(drop)
    }
    /// The digest of what the session has gone through.
    pub fn policy_digest(&mut self, session: u32) -> Result<Vec<u8>, TpmError> {
        let command = Command::new("TPM2_PolicyGetDigest", CC_POLICY_GET_DIGEST, &[session], false);
        Ok(self.tpm.run(&command)?.sized()?.to_vec())
    }
}
