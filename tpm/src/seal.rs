//! A secret that one TPM gives back, and only in the state in which the machine was sealed to: an object of a few bytes
//! under the storage primary, with a policy over platform configuration registers ([PCRs](crate::pcr)).
//!
//! The storage primary is made anew from the owner's seed each time, so nothing stays in the TPM; clearing the TPM
//! changes the seed, and everything that was sealed is lost. Deliberately absent: encryption on the way to the TPM (who
//! can listen to the wires of a separate chip reads the secret), authorisation values. A policy that can be changed
//! is that of [`crate::authorised`].

use crate::command::Command;
use crate::device::{Tpm, TpmError};
use crate::loaded::{Hierarchy, Loaded, Session};
use zeroize::Zeroizing;

/// Longest secret in bytes (part 2, MAX_SYM_DATA).
pub const SEALED_MAX: usize = 128;

const CC_CREATE: u32 = 0x153;
const CC_LOAD: u32 = 0x157;
const CC_UNSEAL: u32 = 0x15e;
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
pub struct Blob {
    /// Name of the storage primary, which tells one TPM from another.
    pub parent: Vec<u8>,
    /// TPMT_PUBLIC.
    pub public: Vec<u8>,
    /// TPM2B_PRIVATE without its length.
    pub private: Vec<u8>,
}

/// Why there is no secret.
#[derive(Debug)]
pub enum Failure {
    /// The storage primary is another one.
    OtherTpm,
    /// The registers are not as they were.
    OtherState,
    /// The object is not one that this TPM made.
    Altered,
    /// It cannot be reached, or says no.
    Tpm(TpmError),
}

impl From<TpmError> for Failure {
    fn from(error: TpmError) -> Self {
        Self::Tpm(error)
    }
}

/// Seals to the registers as they are now. At most [`SEALED_MAX`] bytes.
///
/// # Errors
/// [`Failure::Tpm`].
pub fn seal(tpm: &mut Tpm, pcrs: &[u8], secret: &[u8]) -> Result<Blob, Failure> {
    Loaded::with(tpm, |loaded| {
        let session = loaded.session(Session::Trial)?;
        loaded.policy_of_registers(session, pcrs)?;
        let policy = loaded.policy_digest(session)?;
        create(loaded, &policy, secret)
    })
}

/// Gives the secret back.
///
/// # Errors
/// [`Failure`].
pub fn unseal(tpm: &mut Tpm, pcrs: &[u8], blob: &Blob) -> Result<Zeroizing<Vec<u8>>, Failure> {
    Loaded::with(tpm, |loaded| {
        let object = load(loaded, blob)?;
        let session = loaded.session(Session::Policy)?;
        loaded.policy_of_registers(session, pcrs)?;
        give_back(loaded, object, session)
    })
}

/// An object that opens to whoever has gone through a policy.
pub(crate) fn create(loaded: &mut Loaded<'_>, policy: &[u8], secret: &[u8]) -> Result<Blob, Failure> {
    let primary = loaded.primary(Hierarchy::Owner, &PRIMARY)?;
    let mut sensitive = Zeroizing::new(Vec::with_capacity(4 + SEALED_MAX));
    sensitive.extend([0, 0]);
    sensitive.extend((secret.len() as u16).to_be_bytes());
    sensitive.extend(secret);
    let public = [&SEALED[..], &(policy.len() as u16).to_be_bytes(), policy, &SEALED_END].concat();
    let command = Command::new("TPM2_Create", CC_CREATE, &[primary.handle], true);
    let mut answer = loaded.tpm.run(&command.sized(&sensitive).sized(&public).sized(&[]).u32(0))?;
    let private = answer.sized()?.to_vec();
    Ok(Blob { parent: primary.name, public: answer.sized()?.to_vec(), private })
}

/// The object's handle.
pub(crate) fn load(loaded: &mut Loaded<'_>, blob: &Blob) -> Result<u32, Failure> {
    let primary = loaded.primary(Hierarchy::Owner, &PRIMARY)?;
    if primary.name != blob.parent {
        return Err(Failure::OtherTpm);
    }
    let command = Command::new("TPM2_Load", CC_LOAD, &[primary.handle], true).returning_a_handle();
    let answer = loaded.tpm.run(&command.sized(&blob.private).sized(&blob.public)).map_err(told)?;
    Ok(loaded.keep(&answer)?)
}

/// What is in an object, for a session that has gone through its policy.
pub(crate) fn give_back(loaded: &mut Loaded<'_>, object: u32, session: u32) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let command = Command::with_session("TPM2_Unseal", CC_UNSEAL, &[object], Some(session));
    let mut answer = loaded.tpm.run(&command).map_err(told)?;
    Ok(Zeroizing::new(answer.sized()?.to_vec()))
}

fn told(error: TpmError) -> Failure {
    match error.code() {
        Some(RC_POLICY_FAIL | RC_PCR_CHANGED) => Failure::OtherState,
        Some(RC_INTEGRITY) => Failure::Altered,
        _ => Failure::Tpm(error),
    }
}
