//! Endorsement keys: what a TPM's maker vouches for, and the proof that an attestation key is inside that very TPM.
//!
//! The maker signs a certificate for a key that the TPM makes from its endorsement seed, and leaves it in the TPM's memory
//! (TCG EK Credential Profile for TPM Family 2.0). That key decrypts and never signs, so it cannot vouch for another key
//! itself. Instead a verifier encrypts a secret to it, together with the *name* of the attestation key; the TPM gives the
//! secret back if it has both keys and not otherwise (TPM 2.0 Library part 1, chapter 24, credential protection; part 3,
//! TPM2_ActivateCredential). The name covers that the attestation key was made inside, never leaves, and signs only what
//! the TPM made.
//!
//! ```text
//! machine -> verifier    read(): certificates, the attestation key
//! verifier               the certificate leads to a root that he trusts; challenge(certificate, key, secret)
//! verifier -> machine    the challenge
//! machine -> verifier    activate(challenge), which is the secret or a refusal
//! ```
//!
//! Deliberately absent: which roots there are, and whether a certificate was revoked. Makers' certificates that are to be had
//! from their servers alone are not fetched.

#[cfg(feature = "verifier")]
mod certificate;
#[cfg(feature = "verifier")]
mod challenge;
mod slot;
#[cfg(all(test, feature = "verifier"))]
mod tests;

#[cfg(feature = "verifier")]
pub use certificate::{CertificateError, Endorsed, Roots};
#[cfg(feature = "verifier")]
pub use challenge::{ChallengeError, challenge};
pub use slot::Slot;

use crate::command::{Command, PASSWORD};
use crate::device::{Tpm, TpmError};
use crate::loaded::{ENDORSEMENT, Hierarchy, Loaded, Session};
use crate::{nv, quote};
use zeroize::Zeroizing;

const CC_ACTIVATE_CREDENTIAL: u32 = 0x147;
const CC_POLICY_SECRET: u32 = 0x151;

/// The command that answers a challenge: a [`TpmError::Code`] of it is about the challenge, of any other about the TPM.
pub const ACTIVATE: &str = "TPM2_ActivateCredential";
/// Most bytes of a certificate; known ones have 1,000 to 1,600.
pub const CERTIFICATE_BYTES_MAX: usize = 4096;
/// Most bytes of all certificates between a root and these; known ones have 3,000 to 4,000.
pub const CHAIN_BYTES_MAX: usize = 8192;
/// Most of these; known chains have three.
pub const CHAIN_MAX: usize = 8;
/// Where the first part of that chain is, and how many parts there may be.
const CHAIN: u32 = 0x01c0_0100;
const CHAIN_PARTS_MAX: u32 = 16;
/// Most bytes of a secret that is proven with: a digest of SHA-256, which every slot has room for.
pub const SECRET_BYTES_MAX: usize = 32;

/// A certificate as the TPM keeps it. Nothing in it is to be believed before its chain was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// For which key.
    pub slot: Slot,
    /// X.509, DER.
    pub der: Vec<u8>,
}

/// A secret that one TPM alone gives back, and only if it has the attestation key that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The endorsement key that it is encrypted to.
    pub slot: Slot,
    /// TPMS_ID_OBJECT: an HMAC, and the secret under a key of the seed and the name.
    pub identity: Vec<u8>,
    /// The seed, encrypted to the endorsement key (part 2, TPMU_ENCRYPTED_SECRET).
    pub seed: Vec<u8>,
}

/// What a TPM has of its maker, and what is to be proven to be in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endorsement {
    /// TPMT_PUBLIC of the attestation key.
    pub attestation_key: Vec<u8>,
    /// The certificates of its endorsement keys, by rising slot; none where the maker left none.
    pub certificates: Vec<Certificate>,
    /// Certificates on the way to a root, DER, where the maker gave each TPM its own. Empty for most.
    pub chain: Vec<Vec<u8>>,
}

/// Reads what a TPM has of its maker.
///
/// # Errors
/// [`TpmError`]. [`TpmError::Malformed`] where an index holds no certificate.
pub fn read(tpm: &mut Tpm) -> Result<Endorsement, TpmError> {
    let mut certificates = Vec::new();
    for slot in Slot::ALL {
        if let Some(bytes) = nv::read(tpm, slot.index())? {
            let der = whole(&bytes).filter(|der| der.len() <= CERTIFICATE_BYTES_MAX).ok_or(TpmError::Malformed)?;
            certificates.push(Certificate { slot, der: der.to_vec() });
        }
    }
    let chain = if certificates.is_empty() { Vec::new() } else { chain(tpm)? };
    let attestation_key = Loaded::with(tpm, |loaded| Ok::<_, TpmError>(quote::attestation_key(loaded)?.public))?;
    Ok(Endorsement { attestation_key, certificates, chain })
}

/// One certificate behind the other, cut to the length of an index wherever that falls (section 2.2.1.5).
fn chain(tpm: &mut Tpm) -> Result<Vec<Vec<u8>>, TpmError> {
    let mut bytes = Vec::new();
    for part in 0..CHAIN_PARTS_MAX {
        let Some(more) = nv::read(tpm, CHAIN + part)? else { break };
        bytes.extend(more);
    }
    if bytes.len() > CHAIN_BYTES_MAX {
        return Err(TpmError::Malformed);
    }
    let (mut chain, mut rest) = (Vec::new(), &bytes[..]);
    // What fills the last index up is no certificate.
    while let Some(certificate) = whole(rest) {
        chain.push(certificate.to_vec());
        rest = &rest[certificate.len()..];
    }
    if chain.len() > CHAIN_MAX { Err(TpmError::Malformed) } else { Ok(chain) }
}

/// Answers a challenge.
///
/// # Errors
/// [`TpmError`]. A [`TpmError::Code`] of [`ACTIVATE`]: the challenge is for another TPM, another attestation key, or
/// was altered.
pub fn activate(tpm: &mut Tpm, challenge: &Challenge) -> Result<Zeroizing<Vec<u8>>, TpmError> {
    Loaded::with(tpm, |loaded| {
        let attestation = quote::attestation_key(loaded)?;
        let endorsement = loaded.primary(Hierarchy::Endorsement, &challenge.slot.template())?;
        let authorisation = if challenge.slot.has_password() { PASSWORD } else { endorsement_session(loaded)? };
        let (handles, sessions) = ([attestation.handle, endorsement.handle], [PASSWORD, authorisation]);
        let command = Command::with_sessions(ACTIVATE, CC_ACTIVATE_CREDENTIAL, &handles, &sessions);
        let mut answer = loaded.tpm.run(&command.sized(&challenge.identity).sized(&challenge.seed))?;
        Ok(Zeroizing::new(answer.sized()?.to_vec()))
    })
}

/// What keys of the low range are used by: the endorsement hierarchy's password, an empty one, through a policy.
fn endorsement_session(loaded: &mut Loaded<'_>) -> Result<u32, TpmError> {
    let session = loaded.session(Session::Policy)?;
    let command = Command::new("TPM2_PolicySecret", CC_POLICY_SECRET, &[ENDORSEMENT, session], true);
    // No nonce, no parameters that it is limited to, no reference, and it does not expire.
    loaded.tpm.run(&command.sized(&[]).sized(&[]).sized(&[]).u32(0))?;
    Ok(session)
}

/// The certificate at the beginning of an index that may be longer than it: an ASN.1 sequence with a length of two bytes.
fn whole(bytes: &[u8]) -> Option<&[u8]> {
    let [0x30, 0x82, high, low, ..] = *bytes else { return None };
    bytes.get(..4 + usize::from(u16::from_be_bytes([high, low])))
}
