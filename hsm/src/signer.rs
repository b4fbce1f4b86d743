//! What a key store gives the signer process: two keys that sign, and a self-test for each before it is used.

use crate::config::StoreConfig;
use crate::error::{Fault, StartError, StoreError};
use crate::{keystore, pkcs11};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use types::codec::{Decode, DecodeError, Encode, Reader};
use types::{AlgId, PublicKey, Signature};

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum KeyRole {
    /// Signs one statement a round.
    Consensus = 1,
    /// Signs TLS handshakes.
    Transport = 2,
}

/// The public halves of a validator's two keys, as genesis lists them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicKeys {
    /// Verifies statements.
    pub consensus: PublicKey,
    /// Verifies handshakes.
    pub transport: PublicKey,
}

impl Encode for PublicKeys {
    fn encode(&self, out: &mut Vec<u8>) {
        self.consensus.encode(out);
        self.transport.encode(out);
    }
}

impl Decode for PublicKeys {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { consensus: PublicKey::decode(reader)?, transport: PublicKey::decode(reader)? })
    }
}

/// One private key, in software or in a token. Lives in the signer process only.
pub trait Signer: Send {
    /// The public half.
    fn public_key(&self) -> &PublicKey;

    /// What holds the key, for reports.
    fn module(&self) -> &str;

    /// Signs the bytes as they are. May take as long as a token takes.
    ///
    /// # Errors
    /// [`StoreError`]; after a rejected PIN every call fails, without asking the token again.
    fn sign(&mut self, message: &[u8]) -> Result<Signature, StoreError>;
}

/// A validator's two keys.
pub struct Keys {
    /// Signs statements.
    pub consensus: Box<dyn Signer>,
    /// Signs handshakes.
    pub transport: Box<dyn Signer>,
    /// PKCS#11 modules that were given up so far, because a call into them does not return.
    pub modules_stuck: Arc<AtomicU32>,
}

impl Keys {
    /// Opens the store and tests both keys.
    ///
    /// # Errors
    /// [`StartError`] names the path or label and the reason.
    pub fn open(store: &StoreConfig) -> Result<Self, StartError> {
        let mut keys = match store {
            StoreConfig::Pkcs11(config) => pkcs11::open(config)?,
            StoreConfig::Keystore(config) => keystore::open(config)?,
        };
        self_test(keys.consensus.as_mut()).map_err(|cause| cause.about("consensus key"))?;
        self_test(keys.transport.as_mut()).map_err(|cause| cause.about("transport key"))?;
        Ok(keys)
    }

    /// The public halves.
    pub fn public(&self) -> PublicKeys {
        PublicKeys { consensus: self.consensus.public_key().clone(), transport: self.transport.public_key().clone() }
    }
}

/// Signs a message that is of no other use, twice: the signatures must verify in software. Ed25519 must be deterministic
/// besides; ECDSA draws a nonce for each signature, so an identical request may be answered by another valid one.
///
/// # Errors
/// [`Fault::WrongSignature`], or what the store says.
pub fn self_test(signer: &mut dyn Signer) -> Result<(), StoreError> {
    const MESSAGE: &[u8] = b"stele-self-test-1: this signature is of no use";
    let first = signer.sign(MESSAGE)?;
    let second = signer.sign(MESSAGE)?;
    let key = signer.public_key();
    let verify = [&first, &second].into_iter().all(|signature| key.verify_bytes(MESSAGE, signature).is_ok());
    let same = key.alg() != AlgId::Ed25519 || first == second;
    if verify && same { Ok(()) } else { Err(Fault::WrongSignature.into()) }
}
