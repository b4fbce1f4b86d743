//! Enrolment: learning from afar that an attestation key is in a TPM of a maker that is trusted. What comes of it is a name for
//! `tpm_keys` of a policy; quotes are verified against that, as they are against names that were read by hand.
//!
//! It proves whose TPM it is, not which machine's: the certificate's fingerprint or serial number against the machine's
//! papers does that, where it matters.

use client::rpc::{ChallengeInfo, EndorsementCertificate, EndorsementInfo, HexBytes};
use hsm::endorsement::Endorsement;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::time::SystemTime;
use thiserror::Error;
use tpm::endorsement::{Certificate, Challenge, ChallengeError, Endorsed, Roots, Slot, challenge};
use tpm::quote;

/// Bytes of the secret in a challenge.
pub const SECRET_BYTES: usize = 32;

/// Why a TPM is not enrolled.
#[derive(Debug, Error)]
pub enum EnrolmentError {
    /// Nothing to begin with.
    #[error("the TPM's maker left no certificate in it; read its key's name while the machine is in your hands")]
    NoCertificate,
    /// None that counts.
    #[error("no certificate of the TPM counts:\n{0}")]
    Untrusted(String),
    /// The attestation key is none.
    #[error(transparent)]
    Challenge(#[from] ChallengeError),
    /// It has not given the secret back.
    #[error(
        "the TPM of this certificate does not have this attestation key: the challenge came back without its secret"
    )]
    NotProven,
}

/// A TPM that was proven to be one.
#[derive(Clone, Debug, Serialize)]
pub struct Enrolled {
    /// The name of its attestation key, for `tpm_keys`.
    pub tpm_key_name: HexBytes,
    /// The kind of its endorsement key, and where the certificate is.
    pub endorsement_key: String,
    /// Who certified that.
    pub issuer: String,
    /// SHA-256 of the certificate.
    pub certificate_sha256: HexBytes,
}

/// One that is under way.
#[derive(Debug)]
pub struct Enrolment {
    challenge: Challenge,
    secret: [u8; SECRET_BYTES],
    enrolled: Enrolled,
}

impl Enrolment {
    /// Verifies the certificates and makes a challenge with a secret that was drawn for it.
    ///
    /// # Errors
    /// [`EnrolmentError`].
    pub fn begin(
        info: &EndorsementInfo,
        roots: &Roots,
        now: SystemTime,
        secret: [u8; SECRET_BYTES],
    ) -> Result<Self, EnrolmentError> {
        let (certificate, endorsed) = trusted(info, roots, now)?;
        let key = &info.tpm_key.0;
        let challenge = challenge(&endorsed, key, &secret)?;
        let tpm_key_name = HexBytes(quote::name_of_key(key).map_err(ChallengeError::from)?.to_vec());
        let enrolled = Enrolled {
            tpm_key_name,
            endorsement_key: endorsed.slot.to_string(),
            issuer: endorsed.issuer,
            certificate_sha256: HexBytes(Sha256::digest(&certificate.der).to_vec()),
        };
        Ok(Self { challenge, secret, enrolled })
    }

    /// What the machine is to answer.
    pub fn challenge(&self) -> ChallengeInfo {
        let Challenge { slot, identity, seed } = &self.challenge;
        ChallengeInfo { nv_index: index(*slot), identity: HexBytes(identity.clone()), seed: HexBytes(seed.clone()) }
    }

    /// Holds the answer against the secret.
    ///
    /// # Errors
    /// [`EnrolmentError::NotProven`].
    pub fn finish(self, answer: Option<&HexBytes>) -> Result<Enrolled, EnrolmentError> {
        match answer {
            Some(answer) if answer.0 == self.secret => Ok(self.enrolled),
            _ => Err(EnrolmentError::NotProven),
        }
    }
}

/// The first that counts. A TPM makes curve keys in no time, and may take half a minute for an RSA key.
fn trusted(info: &EndorsementInfo, roots: &Roots, now: SystemTime) -> Result<(Certificate, Endorsed), EnrolmentError> {
    let known = |found: &EndorsementCertificate| {
        let slot = slot(&found.nv_index)?;
        Some(Certificate { slot, der: found.certificate.0.clone() })
    };
    let mut certificates: Vec<Certificate> = info.certificates.iter().filter_map(known).collect();
    if certificates.is_empty() {
        return Err(EnrolmentError::NoCertificate);
    }
    certificates.sort_by_key(|certificate| matches!(certificate.slot, Slot::Rsa2048 | Slot::Rsa2048High));
    let chain: Vec<Vec<u8>> = info.chain.iter().map(|der| der.0.clone()).collect();
    let mut refused = Vec::new();
    for certificate in certificates {
        match roots.verify(&certificate, &chain, now) {
            Ok(endorsed) => return Ok((certificate, endorsed)),
            Err(error) => refused.push(format!("  {}: {error}", certificate.slot)),
        }
    }
    Err(EnrolmentError::Untrusted(refused.join("\n")))
}

/// The document of what a TPM says.
pub fn info(endorsement: Endorsement) -> EndorsementInfo {
    let certificate =
        |Certificate { slot, der }| EndorsementCertificate { nv_index: index(slot), certificate: HexBytes(der) };
    EndorsementInfo {
        tpm_key: HexBytes(endorsement.tpm_key),
        certificates: endorsement.certificates.into_iter().map(certificate).collect(),
        chain: endorsement.chain.into_iter().map(HexBytes).collect(),
    }
}

/// The challenge in a document; `None` where it names no slot that there is.
pub fn read(info: &ChallengeInfo) -> Option<Challenge> {
    Some(Challenge { slot: slot(&info.nv_index)?, identity: info.identity.0.clone(), seed: info.seed.0.clone() })
}

fn index(slot: Slot) -> HexBytes {
    HexBytes(slot.index().to_be_bytes().to_vec())
}

fn slot(index: &HexBytes) -> Option<Slot> {
    Slot::of_index(u32::from_be_bytes(index.0.as_slice().try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tpm::endorsement;
    use tpm::simulator::{Maker, Simulator};
    use tpm::{Tpm, TpmError};

    fn told(simulator: &Simulator) -> EndorsementInfo {
        let mut tpm = Tpm::open(&simulator.socket()).expect("it runs");
        let told = endorsement::read(&mut tpm).expect("a TPM tells");
        info(Endorsement { tpm_key: told.attestation_key, certificates: told.certificates, chain: told.chain })
    }

    fn answer(simulator: &Simulator, enrolment: &Enrolment) -> Option<HexBytes> {
        let challenge = read(&enrolment.challenge()).expect("as it was written");
        let mut tpm = Tpm::open(&simulator.socket()).expect("it runs");
        let secret: Result<_, TpmError> = endorsement::activate(&mut tpm, &challenge);
        secret.ok().map(|secret| HexBytes(secret.to_vec()))
    }

    fn roots(maker: &Maker) -> Roots {
        let mut roots = Roots::default();
        roots.trust(&maker.root()).expect("a certificate");
        roots.know(&maker.issuer()).expect("a certificate");
        roots
    }

    #[test]
    fn a_tpm_of_a_trusted_maker_is_enrolled_and_no_other() {
        let maker = Maker::new();
        let (one, other) = (Simulator::made_by(&maker), Simulator::made_by(&maker));
        let roots = roots(&maker);
        let begin = |info: &EndorsementInfo, roots: &Roots| Enrolment::begin(info, roots, SystemTime::now(), [9; 32]);
        let genuine = told(&one);
        let enrolment = begin(&genuine, &roots).expect("certified");
        let answered = answer(&one, &enrolment);
        let enrolled = enrolment.finish(answered.as_ref()).expect("proven");
        assert_eq!(enrolled.tpm_key_name.0.len(), 34);
        assert!(enrolled.endorsement_key.starts_with("P-384"), "{}", enrolled.endorsement_key);

        // The certificates of one machine, and the key of another: neither has both.
        let lent = EndorsementInfo { tpm_key: told(&other).tpm_key, ..genuine.clone() };
        for simulator in [&one, &other] {
            let enrolment = begin(&lent, &roots).expect("certified");
            let answered = answer(simulator, &enrolment);
            assert!(matches!(enrolment.finish(answered.as_ref()), Err(EnrolmentError::NotProven)));
        }
        let wrong = begin(&genuine, &roots).expect("certified").finish(Some(&HexBytes(vec![8; 32])));
        assert!(matches!(wrong, Err(EnrolmentError::NotProven)));

        let strange = begin(&genuine, &self::roots(&Maker::new()));
        let Err(EnrolmentError::Untrusted(why)) = strange else { panic!("{strange:?}") };
        assert_eq!(why.lines().count(), 2, "{why}");
        let bare = EndorsementInfo { certificates: Vec::new(), ..genuine };
        assert!(matches!(begin(&bare, &roots), Err(EnrolmentError::NoCertificate)));
    }
}
