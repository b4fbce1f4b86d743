//! What the maker of this machine's TPM says of it, and the proof that the key of the [attestations](crate::attestation) is in
//! that TPM ([`tpm::endorsement`]). Nothing is signed with a key of the validator, and nothing is kept.
//!
//! Who asks gets public certificates, and secrets back that he has made himself for this TPM: an answer helps with nothing
//! else, since the TPM opens only what names its attestation key. Deliberately absent: verifying, which is the asker's.

use crate::attestation::refusal;
use crate::error::SignError;
use std::path::Path;
use tpm::endorsement::{
    self, CERTIFICATE_BYTES_MAX, CHAIN_BYTES_MAX, CHAIN_MAX, Certificate, Challenge, SECRET_BYTES_MAX, Slot,
};
use tpm::{Tpm, TpmError};
use types::codec::{Decode, DecodeError, Encode, Reader, put_bytes};

/// Most bytes of an attestation key; known ones have 90.
const KEY_BYTES_MAX: usize = 512;
/// Most bytes of either part of a challenge; RSA 2048 needs 256, the others 100 and less.
const PART_BYTES_MAX: usize = 512;

/// The certificates of a TPM and its attestation key. Nothing in it is to be believed before it was verified and proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endorsement {
    /// TPMT_PUBLIC of the attestation key.
    pub tpm_key: Vec<u8>,
    /// The certificates, by rising slot, one at most for each.
    pub certificates: Vec<Certificate>,
    /// Those between them and a root, DER, where they are in the TPM.
    pub chain: Vec<Vec<u8>>,
}

/// A challenge on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked(pub Challenge);

/// What a TPM gave back. `None`: it does not have both keys, or the challenge was altered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activated(pub Option<Vec<u8>>);

impl Endorsement {
    /// Reads it.
    pub(crate) fn read(device: &Path) -> Result<Self, SignError> {
        let read = Tpm::open(device).and_then(|mut tpm| endorsement::read(&mut tpm));
        let endorsement::Endorsement { attestation_key: tpm_key, certificates, chain } =
            read.map_err(|error| refusal(&error, device))?;
        Ok(Self { tpm_key, certificates, chain })
    }
}

impl Activated {
    /// Has the TPM answer a challenge.
    pub(crate) fn make(device: &Path, challenge: &Challenge) -> Result<Self, SignError> {
        match Tpm::open(device).and_then(|mut tpm| endorsement::activate(&mut tpm, challenge)) {
            Ok(secret) => Ok(Self(Some(secret.to_vec()))),
            // A stranger's mistake, or his try: no concern of ours.
            Err(error @ TpmError::Code { command: endorsement::ACTIVATE, .. }) if !error.is_busy() => {
                tracing::info!(%error, "a challenge that is not for this TPM");
                Ok(Self(None))
            }
            Err(error) => Err(refusal(&error, device)),
        }
    }
}

impl Encode for Endorsement {
    fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, &self.tpm_key);
        out.push(self.certificates.len() as u8);
        for Certificate { slot, der } in &self.certificates {
            slot.index().encode(out);
            put_bytes(out, der);
        }
        out.push(self.chain.len() as u8);
        self.chain.iter().for_each(|der| put_bytes(out, der));
    }
}

impl Decode for Endorsement {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let tpm_key = reader.bytes("attestation key", KEY_BYTES_MAX)?.to_vec();
        let (count, limit) = (u8::decode(reader)?, Slot::ALL.len());
        if usize::from(count) > limit {
            return Err(DecodeError::TooLong { field: "certificates", length: count.into(), limit });
        }
        let mut certificates: Vec<Certificate> = Vec::new();
        for _ in 0..count {
            let slot = slot(reader)?;
            if certificates.last().is_some_and(|last| last.slot >= slot) {
                return Err(DecodeError::UnknownTag { field: "slot out of order", value: slot.index().into() });
            }
            let der = reader.bytes("certificate", CERTIFICATE_BYTES_MAX)?.to_vec();
            certificates.push(Certificate { slot, der });
        }
        let (count, limit) = (u8::decode(reader)?, CHAIN_MAX);
        if usize::from(count) > limit {
            return Err(DecodeError::TooLong { field: "chain", length: count.into(), limit });
        }
        let (mut chain, mut room) = (Vec::new(), CHAIN_BYTES_MAX);
        for _ in 0..count {
            let der = reader.bytes("certificate of the chain", room)?.to_vec();
            room -= der.len();
            chain.push(der);
        }
        Ok(Self { tpm_key, certificates, chain })
    }
}

impl Encode for Asked {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.slot.index().encode(out);
        put_bytes(out, &self.0.identity);
        put_bytes(out, &self.0.seed);
    }
}

impl Decode for Asked {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let slot = slot(reader)?;
        let identity = reader.bytes("identity", PART_BYTES_MAX)?.to_vec();
        Ok(Self(Challenge { slot, identity, seed: reader.bytes("seed", PART_BYTES_MAX)?.to_vec() }))
    }
}

impl Encode for Activated {
    fn encode(&self, out: &mut Vec<u8>) {
        // No secret is empty.
        put_bytes(out, self.0.as_deref().unwrap_or_default());
    }
}

impl Decode for Activated {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let secret = reader.bytes("secret", SECRET_BYTES_MAX)?;
        Ok(Self((!secret.is_empty()).then(|| secret.to_vec())))
    }
}

fn slot(reader: &mut Reader<'_>) -> Result<Slot, DecodeError> {
    let index = u32::decode(reader)?;
    Slot::of_index(index).ok_or(DecodeError::UnknownTag { field: "slot", value: index.into() })
}

/// Whether a challenge fits into a request; others are none.
pub fn fits(challenge: &Challenge) -> bool {
    challenge.identity.len() <= PART_BYTES_MAX && challenge.seed.len() <= PART_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ConfigError, Fault};
    use proptest::prelude::*;
    use std::time::SystemTime;
    use tpm::endorsement::{Roots, challenge};
    use tpm::simulator::{Maker, Simulator};

    #[test]
    fn a_signer_proves_the_key_of_its_attestations_and_opens_nothing_else() {
        let maker = Maker::new();
        let (simulator, other) = (Simulator::made_by(&maker), Simulator::made_by(&maker));
        let endorsement = Endorsement::read(&simulator.socket()).expect("a TPM tells");
        assert_eq!(Endorsement::from_bytes(&endorsement.to_bytes()), Ok(endorsement.clone()));
        let mut roots = Roots::default();
        roots.trust(&maker.root()).expect("a certificate");
        roots.know(&maker.issuer()).expect("a certificate");
        for certificate in &endorsement.certificates {
            let endorsed = roots.verify(certificate, &endorsement.chain, SystemTime::now()).expect("genuine");
            let asked = Asked(challenge(&endorsed, &endorsement.tpm_key, &[7; 32]).expect("a challenge"));
            assert_eq!(Asked::from_bytes(&asked.to_bytes()), Ok(asked.clone()));
            assert!(fits(&asked.0));
            let answer = |simulator: &Simulator| Activated::make(&simulator.socket(), &asked.0);
            assert_eq!(answer(&simulator), Ok(Activated(Some(vec![7; 32]))));
            assert_eq!(answer(&other), Ok(Activated(None)));
        }
    }

    #[test]
    fn a_tpm_that_nobody_has_certified_says_so_and_what_is_no_tpm_is_told() {
        let endorsement = Endorsement::read(&Simulator::start().socket()).expect("a TPM tells");
        assert!(endorsement.certificates.is_empty() && !endorsement.tpm_key.is_empty());
        let any = Challenge { slot: Slot::P256, identity: vec![0; 68], seed: vec![0; 68] };
        for (path, error) in [
            ("/nonexistent", SignError::from(Fault::AttestationFailed)),
            ("/dev/null", ConfigError::AttestationUnusable.into()),
        ] {
            assert_eq!(Endorsement::read(Path::new(path)), Err(error.clone()));
            assert_eq!(Activated::make(Path::new(path), &any), Err(error));
        }
    }

    #[test]
    fn a_longest_endorsement_fits_into_a_frame() {
        let certificate = |slot| Certificate { slot, der: vec![0x30; CERTIFICATE_BYTES_MAX] };
        let certificates = Slot::ALL.map(certificate).to_vec();
        let chain = vec![vec![0x30; CHAIN_BYTES_MAX / CHAIN_MAX]; CHAIN_MAX];
        let longest = Endorsement { tpm_key: vec![0; KEY_BYTES_MAX], certificates, chain };
        assert!(longest.to_bytes().len() < crate::protocol::FRAME_MAX);
        assert_eq!(Endorsement::from_bytes(&longest.to_bytes()), Ok(longest.clone()));
        let mut longer = longest;
        longer.chain[0].push(0);
        assert!(Endorsement::from_bytes(&longer.to_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoders_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = (Endorsement::from_bytes(&bytes), Asked::from_bytes(&bytes), Activated::from_bytes(&bytes));
        }
    }
}
