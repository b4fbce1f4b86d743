//! What a TPM says of the state of its machine: the values of registers, signed together with the asker's own words by a
//! key that signs nothing that was not made inside (TPM 2.0 Library part 1, chapter 31; part 3, TPM2_Quote).
//!
//! The key is made from the endorsement seed each time, so that nothing stays in the TPM and clearing it changes nothing:
//! its name is the TPM's own. That it is a TPM at all its owner knows who read the name while he had the machine in his
//! hands, or has it proven by the TPM's maker ([`crate::endorsement`]).

use crate::command::Command;
use crate::device::{Tpm, TpmError};
use crate::key::{ECDSA, WIDTH, name, signing_key};
use crate::loaded::{ENDORSEMENT, Hierarchy, Loaded, Primary};
use crate::pcr::{PCR_MAX, SHA256, selection};
use crate::wire::Reader;
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use thiserror::Error;

const CC_QUOTE: u32 = 0x158;
const CC_PCR_READ: u32 = 0x17e;
/// TPM_GENERATED_VALUE, with which everything begins that was made inside, and TPM_ST_ATTEST_QUOTE.
const GENERATED: u32 = 0xff54_4347;
const QUOTE: u16 = 0x8018;
/// TPM_ALG_NULL: the scheme is the key's own.
const KEYS_SCHEME: u16 = 0x10;
/// How often registers are read again because one was extended meanwhile.
const ATTEMPTS: usize = 5;

/// TPMT_PUBLIC of the attestation key, up to its point: restricted, sign, fixedTPM, fixedParent, sensitiveDataOrigin,
/// userWithAuth, noDA.
const KEY: [u8; 20] = signing_key(0x0005_0472);

/// A register's value.
pub type Value = [u8; WIDTH];

/// What a TPM said. Nothing in it is to be believed before [`Quote::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// TPMT_PUBLIC of the key.
    pub key: Vec<u8>,
    /// TPMS_ATTEST, which is signed.
    pub statement: Vec<u8>,
    /// TPMT_SIGNATURE.
    pub signature: Vec<u8>,
    /// The registers whose digest is in the statement.
    pub registers: BTreeMap<u8, Value>,
}

/// What a verified quote says beside the registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The key's name (part 1, chapter 16): which TPM it is.
    pub key_name: Vec<u8>,
    /// What the asker had put in.
    pub qualifying: Vec<u8>,
    /// Starts since the TPM was made or cleared, and resumptions since the last of them: a machine that was started again
    /// between two quotes is told by them.
    pub resets: u32,
    /// Resumptions since the last start.
    pub restarts: u32,
    /// The TPM's firmware, as its maker numbers it.
    pub firmware: u64,
}

/// Why a quote is worth nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum QuoteError {
    /// The key is not a restricted P-256 signing key of a TPM.
    #[error("the attestation key is not one that signs what a TPM made, and nothing else")]
    Key,
    /// The key has not signed this.
    #[error("the signature over the quote is wrong")]
    Signature,
    /// What was signed is no quote.
    #[error("what the TPM signed is not a quote")]
    NotAQuote,
    /// It names another key, or one of another hierarchy.
    #[error("the quote names another key than the one that signed it")]
    OtherKey,
    /// Registers were added, left out or changed.
    #[error("the registers are not those that were signed")]
    Registers,
}

/// Has the TPM sign the registers as they are now, with at most 64 bytes of the asker's.
///
/// # Errors
/// [`TpmError`]. [`TpmError::Malformed`] also where registers never stand still, or one is asked for that there is not.
pub fn quote(tpm: &mut Tpm, pcrs: &[u8], qualifying: &[u8]) -> Result<Quote, TpmError> {
    Loaded::with(tpm, |loaded| {
        let key = attestation_key(loaded)?;
        for _ in 0..ATTEMPTS {
            let command = Command::new("TPM2_Quote", CC_QUOTE, &[key.handle], true);
            let command = command.sized(qualifying).u16(KEYS_SCHEME).raw(&selection(pcrs));
            let mut answer = loaded.tpm.run(&command)?;
            let statement = answer.sized()?.to_vec();
            let signature = answer.rest().to_vec();
            let registers = read(loaded.tpm, pcrs)?;
            let quote = Quote { key: key.public.clone(), statement, signature, registers };
            match quote.verify() {
                Err(QuoteError::Registers) => {}
                Err(_) => return Err(TpmError::Malformed),
                Ok(_) => return Ok(quote),
            }
        }
        Err(TpmError::Malformed)
    })
}

/// The attestation key, made anew.
pub(crate) fn attestation_key(loaded: &mut Loaded<'_>) -> Result<Primary, TpmError> {
    loaded.primary(Hierarchy::Endorsement, &[&KEY[..], &[0, 0, 0, 0]].concat())
}

/// The name of an attestation key by its public area (TPMT_PUBLIC).
///
/// # Errors
/// [`QuoteError::Key`] where it is not one that a TPM made itself and that signs nothing but what a TPM made.
pub fn name_of_key(public: &[u8]) -> Result<[u8; 2 + WIDTH], QuoteError> {
    verifying_key(public).map(|_| name(public))
}

fn verifying_key(public: &[u8]) -> Result<VerifyingKey, QuoteError> {
    let point = || {
        let mut reader = Reader(public.strip_prefix(&KEY[..])?);
        let (x, y) = (reader.integer()?, reader.integer()?);
        reader.is_empty().then(|| [&[4][..], &x, &y].concat())
    };
    VerifyingKey::from_sec1_bytes(&point().ok_or(QuoteError::Key)?).map_err(|_| QuoteError::Key)
}

/// Reads registers.
///
/// # Errors
/// [`TpmError`]. [`TpmError::Malformed`] where there is no such register.
pub fn read(tpm: &mut Tpm, pcrs: &[u8]) -> Result<BTreeMap<u8, Value>, TpmError> {
    let mut registers = BTreeMap::new();
    for pcr in pcrs {
        // One at a time: how many fit into an answer is the TPM's to say.
        let command = Command::new("TPM2_PCR_Read", CC_PCR_READ, &[], false).raw(&selection(&[*pcr]));
        let mut answer = tpm.run(&command)?;
        answer.take(4 + selection(&[]).len())?;
        let count = answer.u32()?;
        let value = answer.sized()?.try_into().map_err(|_| TpmError::Malformed)?;
        if count != 1 {
            return Err(TpmError::Malformed);
        }
        registers.insert(*pcr, value);
    }
    Ok(registers)
}

impl Quote {
    /// Checks that a TPM's key has signed these registers, and tells the rest of what it signed.
    ///
    /// # Errors
    /// [`QuoteError`].
    pub fn verify(&self) -> Result<Statement, QuoteError> {
        let key = verifying_key(&self.key)?;
        key.verify(&self.statement, &self.signature()?).map_err(|_| QuoteError::Signature)?;
        let (statement, signer, digest) = self.read().ok_or(QuoteError::NotAQuote)?;
        if signer != qualified(&statement.key_name) {
            return Err(QuoteError::OtherKey);
        }
        if digest != self.digest_of_registers() {
            return Err(QuoteError::Registers);
        }
        Ok(statement)
    }

    /// Name of the key: the algorithm of the digest, and the digest over the public area.
    pub fn key_name(&self) -> Vec<u8> {
        name(&self.key).to_vec()
    }

    fn signature(&self) -> Result<Signature, QuoteError> {
        let scalars = || {
            let mut reader = Reader(&self.signature);
            let fits = reader.u16()? == ECDSA && reader.u16()? == SHA256;
            let (r, s) = (reader.integer()?, reader.integer()?);
            (fits && reader.is_empty()).then_some((r, s))
        };
        let (r, s) = scalars().ok_or(QuoteError::Signature)?;
        Signature::from_scalars(r, s).map_err(|_| QuoteError::Signature)
    }

    /// TPMS_ATTEST (part 2, 10.12.12): what it says, the qualified name of its signer, and the selection and the digest.
    fn read(&self) -> Option<(Statement, Vec<u8>, Vec<u8>)> {
        let mut reader = Reader(&self.statement);
        let generated = reader.u32()? == GENERATED && reader.u16()? == QUOTE;
        let signer = reader.sized()?.to_vec();
        let qualifying = reader.sized()?.to_vec();
        // The clock, which is not ours to trust, and whether it is safe.
        reader.take(8)?;
        let (resets, restarts) = (reader.u32()?, reader.u32()?);
        reader.take(1)?;
        let firmware = u64::from(reader.u32()?) << 32 | u64::from(reader.u32()?);
        let digest = reader.take_all().to_vec();
        let statement = Statement { key_name: self.key_name(), qualifying, resets, restarts, firmware };
        generated.then_some((statement, signer, digest))
    }

    /// TPMS_QUOTE_INFO: which registers, and SHA-256 over them in rising order.
    fn digest_of_registers(&self) -> Vec<u8> {
        let pcrs: Vec<u8> = self.registers.keys().copied().filter(|pcr| *pcr <= PCR_MAX).collect();
        if pcrs.len() < self.registers.len() {
            return Vec::new();
        }
        let mut hash = Sha256::new();
        self.registers.values().for_each(|value| hash.update(value));
        [&selection(&pcrs)[..], &(WIDTH as u16).to_be_bytes(), &hash.finalize()].concat()
    }
}

/// Qualified name of a primary key of the endorsement hierarchy.
fn qualified(key_name: &[u8]) -> [u8; 2 + WIDTH] {
    name(&[&ENDORSEMENT.to_be_bytes()[..], key_name].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::Simulator;
    use proptest::prelude::*;

    const PCRS: [u8; 4] = [0, 7, 11, 23];

    fn quoted(simulator: &Simulator) -> Quote {
        let mut tpm = Tpm::open(&simulator.socket()).expect("it runs");
        quote(&mut tpm, &PCRS, &[9; 32]).expect("a TPM quotes")
    }

    #[test]
    fn a_quote_says_how_the_registers_stand_and_who_asked() {
        let simulator = Simulator::start();
        let before = quoted(&simulator);
        let statement = before.verify().expect("it is genuine");
        assert_eq!(statement.qualifying, [9; 32]);
        assert_eq!(before.registers[&11], [0; 32]);
        simulator.extend(11);
        let after = quoted(&simulator);
        assert_eq!(after.verify().expect("it is genuine").key_name, statement.key_name);
        let extended: Value = Sha256::digest([[0; 32], [7; 32]].concat()).into();
        assert_eq!((after.registers[&11], after.registers[&7]), (extended, before.registers[&7]));
    }

    #[test]
    fn the_key_is_the_tpms_own_whatever_its_owner_does() {
        let mut simulator = Simulator::start();
        let name = quoted(&simulator).key_name();
        simulator.clear();
        assert_eq!(quoted(&simulator).key_name(), name);
        simulator.restart();
        assert_eq!(quoted(&simulator).key_name(), name);
        simulator.replace();
        assert_ne!(quoted(&simulator).key_name(), name);
    }

    #[test]
    fn what_is_put_together_is_told() {
        let (one, other) = (Simulator::start(), Simulator::start());
        let (genuine, strange) = (quoted(&one), quoted(&other));
        let with = |change: &dyn Fn(&mut Quote)| {
            let mut quote = genuine.clone();
            change(&mut quote);
            quote.verify()
        };
        assert_eq!(with(&|quote| quote.key = strange.key.clone()), Err(QuoteError::Signature));
        assert_eq!(with(&|quote| quote.statement = strange.statement.clone()), Err(QuoteError::Signature));
        assert_eq!(with(&|quote| quote.registers.clear()), Err(QuoteError::Registers));
        assert_eq!(with(&|quote| quote.registers.retain(|pcr, _| *pcr != 7)), Err(QuoteError::Registers));
        assert_eq!(with(&|quote| quote.registers.extend([(1, [0; 32])])), Err(QuoteError::Registers));
        assert_eq!(with(&|quote| quote.registers.extend([(200, [0; 32])])), Err(QuoteError::Registers));
        assert_eq!(with(&|quote| quote.registers.entry(11).or_default()[0] ^= 1), Err(QuoteError::Registers));
        // A key that signs what it is given: the attribute *restricted* taken away.
        assert_eq!(with(&|quote| quote.key[5] ^= 1), Err(QuoteError::Key));
    }

    #[test]
    fn every_flipped_bit_is_told() {
        let genuine = quoted(&Simulator::start());
        for part in [0, 1, 2] {
            let length = [&genuine.key, &genuine.statement, &genuine.signature][part].len();
            for bit in 0..length * 8 {
                let mut quote = genuine.clone();
                let bytes = [&mut quote.key, &mut quote.statement, &mut quote.signature];
                bytes.into_iter().nth(part).expect("three parts")[bit / 8] ^= 1 << (bit % 8);
                assert!(quote.verify().is_err(), "part {part}, bit {bit}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_quote_makes_the_verifier_panic(
            key in prop::collection::vec(any::<u8>(), 0..100),
            statement in prop::collection::vec(any::<u8>(), 0..200),
            signature in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let quote = Quote { key: [&KEY[..], &key].concat(), statement, signature, registers: BTreeMap::new() };
            prop_assert!(quote.verify().is_err());
            let _ = quote.read();
        }
    }
}
