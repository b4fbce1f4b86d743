//! A secret that one TPM gives back in every state that a policy key has signed for (part 3, TPM2_PolicyAuthorize): what
//! was sealed under one release opens under the next one, and under no release of somebody else.
//!
//! ```text
//! sealed to      PolicyAuthorize(policy key, DOMAIN), then PolicyPCR(bound registers as they were), where there are any
//! opened by      PolicyPCR(signed registers as they are) -> the approved policy, whose signature the TPM checks
//! ```
//!
//! The policy of a state that is yet to come is computed without a TPM ([`policy_of`]), so that a release can bring its own
//! signature. A signature is for good: a release that was signed once opens the secret as long as the key is the same.
//! Signed registers alone are worth little where anybody can start his own system on the machine, for that can extend them
//! to whatever value was published; that is what bound registers are for (PCR 7: Secure Boot and its keys).
//! Deliberately absent: the private half of the key.

use crate::command::Command;
use crate::device::Tpm;
use crate::key::{ECDSA, WIDTH, name, signing_key};
use crate::loaded::{CC_POLICY_PCR, Hierarchy, Loaded, Session};
use crate::pcr::{SHA256, selection};
use crate::seal::{self, Blob, Failure};
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

const CC_LOAD_EXTERNAL: u32 = 0x167;
const CC_POLICY_AUTHORIZE: u32 = 0x16a;
const CC_VERIFY_SIGNATURE: u32 = 0x177;
/// TPM_RC_SIGNATURE of the second parameter.
const RC_SIGNATURE: u32 = 0x2db;
/// policyRef: the key's signatures for this purpose are of no use for another one.
const DOMAIN: &[u8] = b"stele state 1";
/// TPMT_PUBLIC of the policy key, up to its point: userWithAuth, sign.
const KEY: [u8; 20] = signing_key(0x0004_0040);

/// The digest of a policy (policyDigest, part 1, chapter 19.7).
pub type PolicyDigest = [u8; WIDTH];

/// Public half of a P-256 key that signs policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyKey(VerifyingKey);

/// A policy with the signature (r, then s) that approves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedPolicy {
    /// What [`policy_of`] computes.
    pub policy: PolicyDigest,
    /// ECDSA over [`PolicyKey::message`].
    pub signature: [u8; 2 * WIDTH],
}

/// Why there is no secret.
#[derive(Debug, Error)]
pub enum Refusal {
    /// None of the signed policies is that of the registers as they are.
    #[error("the measured state is not one that was signed for")]
    NotSigned,
    /// A policy of the right state, whose signature is not the key's.
    #[error("the policy of the measured state is not signed by the policy key")]
    Signature,
    /// As for every sealed secret. [`Failure::OtherState`]: the bound registers are others, or it was sealed for another
    /// policy key.
    #[error("{0:?}")]
    Sealed(Failure),
}

impl<T: Into<Failure>> From<T> for Refusal {
    fn from(failure: T) -> Self {
        Self::Sealed(failure.into())
    }
}

impl PolicyKey {
    /// Of an uncompressed point (SEC 1): 4, x, y. `None` where that is no point of the curve.
    pub fn from_point(point: &[u8; 1 + 2 * WIDTH]) -> Option<Self> {
        VerifyingKey::from_sec1_bytes(point).ok().map(Self)
    }

    /// The uncompressed point.
    pub fn point(&self) -> [u8; 1 + 2 * WIDTH] {
        let mut point = [0; 1 + 2 * WIDTH];
        point.copy_from_slice(self.0.to_sec1_point(false).as_bytes());
        point
    }

    /// Its name inside a TPM (part 1, chapter 16): by this it is told from others.
    pub fn name(&self) -> [u8; 2 + WIDTH] {
        name(&self.public())
    }

    /// What the key signs to approve a policy.
    pub fn message(policy: &PolicyDigest) -> Vec<u8> {
        [&policy[..], DOMAIN].concat()
    }

    /// Whether the key has approved a policy.
    pub fn has_signed(&self, signed: &SignedPolicy) -> bool {
        let signature = Signature::from_slice(&signed.signature);
        signature.is_ok_and(|signature| self.0.verify(&Self::message(&signed.policy), &signature).is_ok())
    }

    /// TPMT_PUBLIC.
    fn public(&self) -> Vec<u8> {
        let point = self.point();
        let mut public = KEY.to_vec();
        for coordinate in point[1..].chunks_exact(WIDTH) {
            public.extend((WIDTH as u16).to_be_bytes());
            public.extend(coordinate);
        }
        public
    }

    /// The policy of whoever has gone through one that the key approved.
    fn authorised(&self) -> PolicyDigest {
        let first = Sha256::new().chain_update([0; WIDTH]).chain_update(CC_POLICY_AUTHORIZE.to_be_bytes());
        let first = first.chain_update(self.name()).finalize();
        Sha256::new().chain_update(first).chain_update(DOMAIN).finalize().into()
    }
}

/// The policy of registers with these values, in ascending order of their numbers.
pub fn policy_of(registers: &[(u8, [u8; WIDTH])]) -> PolicyDigest {
    with_registers([0; WIDTH], registers)
}

/// TPM2_PolicyPCR upon what a session has gone through before.
fn with_registers(before: PolicyDigest, registers: &[(u8, [u8; WIDTH])]) -> PolicyDigest {
    let pcrs: Vec<u8> = registers.iter().map(|register| register.0).collect();
    let values = registers.iter().fold(Sha256::new(), |hash, register| hash.chain_update(register.1)).finalize();
    let hash = Sha256::new().chain_update(before).chain_update(CC_POLICY_PCR.to_be_bytes());
    hash.chain_update(selection(&pcrs)).chain_update(values).finalize().into()
}

/// Seals for every state that the key signs for, as long as the bound registers are as they are now. At most
/// [`seal::SEALED_MAX`] bytes.
///
/// # Errors
/// [`Failure::Tpm`].
pub fn seal_authorised(tpm: &mut Tpm, key: &PolicyKey, bound: &[u8], secret: &[u8]) -> Result<Blob, Failure> {
    let mut policy = key.authorised();
    if !bound.is_empty() {
        let registers: Vec<_> = crate::quote::read(tpm, bound)?.into_iter().collect();
        policy = with_registers(policy, &registers);
    }
    Loaded::with(tpm, |loaded| seal::create(loaded, &policy, secret))
}

/// Gives the secret back, by that one of the signed policies that is the policy of the `measured` registers as they are.
///
/// # Errors
/// [`Refusal`].
pub fn unseal_authorised(
    tpm: &mut Tpm,
    key: &PolicyKey,
    signed: &[SignedPolicy],
    measured: &[u8],
    bound: &[u8],
    blob: &Blob,
) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    Loaded::with(tpm, |loaded| {
        // First, since another TPM has other registers as well.
        let object = seal::load(loaded, blob)?;
        let session = loaded.session(Session::Policy)?;
        loaded.policy_of_registers(session, measured)?;
        let digest = loaded.policy_digest(session)?;
        let approval = signed.iter().find(|signed| signed.policy[..] == digest).ok_or(Refusal::NotSigned)?;
        let ticket = check(loaded, key, approval)?;
        let command = Command::new("TPM2_PolicyAuthorize", CC_POLICY_AUTHORIZE, &[session], false);
        let command = command.sized(&approval.policy).sized(DOMAIN).sized(&key.name()).raw(&ticket);
        loaded.tpm.run(&command)?;
        if !bound.is_empty() {
            loaded.policy_of_registers(session, bound)?;
        }
        Ok(seal::give_back(loaded, object, session)?)
    })
}

/// Has the TPM check the signature; its ticket says that it did.
fn check(loaded: &mut Loaded<'_>, key: &PolicyKey, signed: &SignedPolicy) -> Result<Vec<u8>, Refusal> {
    // The owner hierarchy: a ticket of the null hierarchy is worth nothing.
    let command = Command::new("TPM2_LoadExternal", CC_LOAD_EXTERNAL, &[], false).returning_a_handle();
    let answer = loaded.tpm.run(&command.sized(&[]).sized(&key.public()).u32(Hierarchy::Owner as u32))?;
    let handle = loaded.keep(&answer)?;
    let digest: [u8; WIDTH] = Sha256::digest(PolicyKey::message(&signed.policy)).into();
    let (r, s) = signed.signature.split_at(WIDTH);
    let command = Command::new("TPM2_VerifySignature", CC_VERIFY_SIGNATURE, &[handle], false);
    let command = command.sized(&digest).u16(ECDSA).u16(SHA256).sized(r).sized(s);
    let answer = loaded.tpm.run(&command);
    let mut ticket = answer.map_err(|error| match error.code() {
        Some(RC_SIGNATURE) => Refusal::Signature,
        _ => error.into(),
    })?;
    Ok(ticket.rest().to_vec())
}

#[cfg(test)]
mod tests;
