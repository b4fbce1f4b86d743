//! An attestation: what this machine's TPM says of its state, in answer to somebody's nonce, bound to the validator whose
//! signer asked for it.
//!
//! Two signatures are bound to each other. The TPM's covers the registers and, as its qualifying data, a digest of the
//! nonce, the ledger and the validator's two keys. The transport key's covers the TPM's statement and key. The signer
//! makes both itself: nobody can hand it another machine's quote to sign. So who knows that the registers are those of
//! an image whose signer does this, knows that the validator's keys are used on that machine. Who runs a signer of his
//! own writing can sign what he likes, and his registers say so.
//!
//! Deliberately absent: which registers are the right ones, and whether the TPM's key is of a TPM at all
//! ([`crate::endorsement`] helps with that); both are the verifier's to know.

use crate::error::{ConfigError, Fault, SignError};
use crate::signer::PublicKeys;
use std::collections::BTreeMap;
use std::path::Path;
use thiserror::Error;
use tpm::quote::{Quote, QuoteError, Statement};
use tpm::{Tpm, TpmError};
use types::codec::{Decode, DecodeError, Encode, Reader, put_bytes};
use types::{ChainId, Digest, Hasher, Signature, SigningMessage};

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 32;
/// The asker's random bytes, so that an answer cannot be older than the question.
pub type Nonce = [u8; NONCE_BYTES];

/// Most bytes of a TPM's key, statement, or signature; known ones have 90, 130 and 72.
const PART_MAX: usize = 512;
/// Registers of a bank.
const REGISTERS_MAX: u8 = 24;

/// See the module. Nothing in it is to be believed before [`Attestation::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// The ledger that is signed for.
    pub chain: ChainId,
    /// The validator's keys.
    pub keys: PublicKeys,
    /// What the asker sent.
    pub nonce: Nonce,
    /// What the TPM said.
    pub quote: Quote,
    /// The transport key's signature over [`message`].
    pub signature: Signature,
}

/// Why an attestation is worth nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AttestationError {
    /// The TPM's half.
    #[error(transparent)]
    Quote(#[from] QuoteError),
    /// The TPM was asked something else.
    #[error("the TPM's quote is for another nonce, ledger or validator")]
    Qualifying,
    /// The validator's half.
    #[error("the validator's transport key has not signed this quote")]
    Signature,
}

impl Attestation {
    /// Has the TPM quote registers, and signs that with the transport key.
    pub(crate) fn make(
        device: &Path,
        registers: &[u8],
        (chain, keys, nonce): (ChainId, PublicKeys, Nonce),
        sign: impl FnOnce(&SigningMessage) -> Result<Signature, SignError>,
    ) -> Result<Self, SignError> {
        let qualifying = qualifying(&chain, &keys, &nonce);
        let quoted =
            Tpm::open(device).and_then(|mut tpm| tpm::quote::quote(&mut tpm, registers, qualifying.as_bytes()));
        let quote = quoted.map_err(|error| refusal(&error, device))?;
        let signature = sign(&message(&quote))?;
        Ok(Self { chain, keys, nonce, quote, signature })
    }

    /// Checks both signatures and that they belong together. Gives what the TPM says of itself.
    ///
    /// # Errors
    /// [`AttestationError`].
    pub fn verify(&self) -> Result<Statement, AttestationError> {
        let statement = self.quote.verify()?;
        if statement.qualifying != qualifying(&self.chain, &self.keys, &self.nonce).as_bytes() {
            return Err(AttestationError::Qualifying);
        }
        let signed = self.keys.transport.verify_bytes(message(&self.quote).as_bytes(), &self.signature);
        signed.map(|()| statement).map_err(|_| AttestationError::Signature)
    }
}

/// What a caller is told where a TPM does not do it. The log gets the words.
pub(crate) fn refusal(error: &TpmError, device: &Path) -> SignError {
    tracing::error!(%error, device = %device.display(), "the TPM does not attest");
    match error {
        TpmError::Code { .. } if !error.is_busy() => ConfigError::AttestationUnusable.into(),
        TpmError::Malformed => ConfigError::AttestationUnusable.into(),
        TpmError::Code { .. } | TpmError::Io(_) => Fault::AttestationFailed.into(),
    }
}

/// What the TPM is given to sign along: SHA-256.
fn qualifying(chain: &ChainId, keys: &PublicKeys, nonce: &Nonce) -> Digest {
    Hasher::new("stele/attestation/1").with_encoded(chain).with_encoded(keys).with(nonce).finish()
}

/// What the transport key signs.
pub fn message(quote: &Quote) -> SigningMessage {
    let mut parts = Vec::new();
    put_bytes(&mut parts, &quote.key);
    put_bytes(&mut parts, &quote.statement);
    SigningMessage::attestation(&Hasher::new("stele/attested-quote/1").with(&parts).finish())
}

impl Encode for Attestation {
    fn encode(&self, out: &mut Vec<u8>) {
        self.chain.encode(out);
        self.keys.encode(out);
        out.extend(self.nonce);
        for part in [&self.quote.key, &self.quote.statement, &self.quote.signature] {
            put_bytes(out, part);
        }
        out.push(self.quote.registers.len() as u8);
        for (register, value) in &self.quote.registers {
            out.push(*register);
            out.extend(value);
        }
        self.signature.encode(out);
    }
}

impl Decode for Attestation {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (chain, keys) = (ChainId::decode(reader)?, PublicKeys::decode(reader)?);
        let nonce = reader.array()?;
        let key = reader.bytes("attestation key", PART_MAX)?.to_vec();
        let statement = reader.bytes("quote", PART_MAX)?.to_vec();
        let signature = reader.bytes("quote's signature", PART_MAX)?.to_vec();
        let count = u8::decode(reader)?;
        if count > REGISTERS_MAX {
            let (length, limit) = (count.into(), REGISTERS_MAX.into());
            return Err(DecodeError::TooLong { field: "registers", length, limit });
        }
        let mut registers = BTreeMap::new();
        for _ in 0..count {
            let register = u8::decode(reader)?;
            if registers.last_key_value().is_some_and(|(last, _)| *last >= register) {
                return Err(DecodeError::UnknownTag { field: "register out of order", value: register.into() });
            }
            registers.insert(register, reader.array()?);
        }
        let quote = Quote { key, statement, signature, registers };
        Ok(Self { chain, keys, nonce, quote, signature: Signature::decode(reader)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tpm::simulator::Simulator;
    use types::SecretKey;

    const REGISTERS: [u8; 3] = [0, 7, 11];

    struct Validator {
        consensus: SecretKey,
        transport: SecretKey,
    }

    fn validator(seed: u8) -> Validator {
        Validator {
            consensus: SecretKey::ed25519_from_seed([seed; 32]),
            transport: SecretKey::ed25519_from_seed([seed + 100; 32]),
        }
    }

    fn attested(simulator: &Simulator, by: &Validator, nonce: Nonce) -> Attestation {
        let keys = PublicKeys { consensus: by.consensus.public_key(), transport: by.transport.public_key() };
        let about = (ChainId(Digest::sha256(b"chain")), keys, nonce);
        let sign = |message: &SigningMessage| Ok(by.transport.sign_bytes(message.as_bytes()));
        Attestation::make(&simulator.socket(), &REGISTERS, about, sign).expect("a TPM attests")
    }

    #[test]
    fn an_attestation_binds_registers_nonce_and_validator() {
        let simulator = Simulator::start();
        let genuine = attested(&simulator, &validator(1), [5; 32]);
        assert_eq!(genuine.verify().expect("genuine").key_name, genuine.quote.key_name());
        assert_eq!(genuine.quote.registers.keys().copied().collect::<Vec<_>>(), REGISTERS);
        assert_eq!(Attestation::from_bytes(&genuine.to_bytes()), Ok(genuine.clone()));

        let mut replayed = genuine.clone();
        replayed.nonce = [6; 32];
        assert_eq!(replayed.verify(), Err(AttestationError::Qualifying));
        let mut elsewhere = genuine.clone();
        elsewhere.chain = ChainId(Digest::sha256(b"another chain"));
        assert_eq!(elsewhere.verify(), Err(AttestationError::Qualifying));
        // Another validator cannot pass the machine off as its own, nor the TPM of another machine as that of its keys.
        let stranger = attested(&simulator, &validator(2), [5; 32]);
        let mut stolen = genuine.clone();
        stolen.keys = stranger.keys.clone();
        assert_eq!(stolen.verify(), Err(AttestationError::Qualifying));
        stolen.quote = stranger.quote;
        assert_eq!(stolen.verify(), Err(AttestationError::Signature));
        let mut lent = genuine.clone();
        lent.quote = attested(&Simulator::start(), &validator(1), [5; 32]).quote;
        assert_eq!(lent.verify(), Err(AttestationError::Signature));
        let mut healthier = genuine;
        healthier.quote.registers.insert(11, [1; 32]);
        assert_eq!(healthier.verify(), Err(AttestationError::Quote(QuoteError::Registers)));
    }

    #[test]
    fn what_is_no_tpm_makes_no_attestation() {
        let keys = PublicKeys {
            consensus: validator(1).consensus.public_key(),
            transport: validator(1).transport.public_key(),
        };
        let about = || (ChainId(Digest::sha256(b"chain")), keys.clone(), [0; 32]);
        let never = |_: &SigningMessage| unreachable!("there is no quote to sign");
        let missing = Attestation::make(Path::new("/nonexistent"), &REGISTERS, about(), never);
        assert_eq!(missing, Err(Fault::AttestationFailed.into()));
        let null = Attestation::make(Path::new("/dev/null"), &REGISTERS, about(), never);
        assert_eq!(null, Err(ConfigError::AttestationUnusable.into()));
    }

    #[test]
    fn a_longest_attestation_fits_into_a_frame() {
        let part = vec![0; PART_MAX];
        let registers = (0..REGISTERS_MAX).map(|register| (register, [0; 32])).collect();
        let quote = Quote { key: part.clone(), statement: part.clone(), signature: part, registers };
        let by = validator(1);
        let keys = PublicKeys { consensus: by.consensus.public_key(), transport: by.transport.public_key() };
        let signature = by.transport.sign_bytes(b"any");
        let longest = Attestation { chain: ChainId(Digest::ZERO), keys, nonce: [0; 32], quote, signature };
        assert!(longest.to_bytes().len() < crate::protocol::FRAME_MAX);
        assert_eq!(Attestation::from_bytes(&longest.to_bytes()), Ok(longest));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Attestation::from_bytes(&bytes);
        }
    }
}
