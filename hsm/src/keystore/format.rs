//! The keystore's file, version 1. Integers are little-endian.
//!
//! ```text
//! "STELEKEY"
//! version      u16 = 1
//! kdf          u8 = 1: Argon2id, version 0x13 (RFC 9106)
//! memory       u32, KiB        8 ..= 1 GiB
//! passes       u32             1 ..= 64
//! lanes        u32             1 ..= 16
//! salt         16 bytes
//! aead         u8 = 1: ChaCha20-Poly1305 (RFC 8439), key = 32 bytes of the KDF
//! nonce        12 bytes
//! public keys  list of role u8, algorithm u8, key
//! ciphertext   list of bytes, encrypts for each public key in order: seed, 32 bytes; then the tag, 16 bytes
//! ```
//! The keys are either a validator's, with the roles 1 (consensus) and 2 (transport) in this order, Ed25519 or P-256;
//! or a client's account, role 3 alone, of any algorithm that clients can sign with.
//!
//! Associated data is everything before the ciphertext's length. Salt and nonce are new for every file, and a file is
//! never written twice under one key.

use super::Held;
use crate::error::{ConfigError, Fault, StoreError};
use crate::secret::Secret;
use crate::signer::KeyRole;
use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use types::codec::{Decode, DecodeError, Encode, Reader, put_bytes};
use types::{AlgId, PublicKey, SecretKey, committee};
use zeroize::Zeroizing;

/// Longest file in bytes.
pub(super) const FILE_MAX: usize = 4096;

const MAGIC: &[u8; 8] = b"STELEKEY";
const VERSION: u16 = 1;
const ARGON2ID: u8 = 1;
const CHACHA20_POLY1305: u8 = 1;
const SEED_LEN: usize = 32;
/// Most keys of a file.
const KEYS_MAX: usize = 2;
const CIPHERTEXT_MAX: usize = KEYS_MAX * SEED_LEN + 16;
/// The role of an account's key. Those of validators' keys are [`KeyRole`].
const ACCOUNT: u8 = 3;

/// How much work it is to try a passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory in KiB; 65,536 by default.
    pub memory_kib: u32,
    /// Passes over the memory; 3 by default.
    pub passes: u32,
    /// Lanes; 1 by default.
    pub lanes: u32,
}

impl Default for Cost {
    /// RFC 9106 §4, second recommended option, on one lane.
    fn default() -> Self {
        Self { memory_kib: 64 << 10, passes: 3, lanes: 1 }
    }
}

struct Header {
    cost: Cost,
    salt: [u8; 16],
    nonce: [u8; 12],
    public: Held<PublicKey>,
}

impl Encode for Header {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(MAGIC);
        VERSION.encode(out);
        out.push(ARGON2ID);
        self.cost.memory_kib.encode(out);
        self.cost.passes.encode(out);
        self.cost.lanes.encode(out);
        out.extend_from_slice(&self.salt);
        out.push(CHACHA20_POLY1305);
        out.extend_from_slice(&self.nonce);
        let keys: Vec<(u8, &PublicKey)> = match &self.public {
            Held::Validator { consensus, transport } => {
                vec![(KeyRole::Consensus as u8, consensus), (KeyRole::Transport as u8, transport)]
            }
            Held::Account(key) => vec![(ACCOUNT, key)],
        };
        (keys.len() as u32).encode(out);
        for (role, key) in keys {
            out.push(role);
            key.encode(out);
        }
    }
}

impl Decode for Header {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let expect = |good: bool| good.then_some(()).ok_or(DecodeError::NotCanonical { field: "keystore" });
        expect(reader.take(8)? == MAGIC)?;
        expect(u16::decode(reader)? == VERSION)?;
        expect(u8::decode(reader)? == ARGON2ID)?;
        let cost = Cost { memory_kib: u32::decode(reader)?, passes: u32::decode(reader)?, lanes: u32::decode(reader)? };
        // Someone who can write the file could otherwise make the signer take all memory or time.
        expect((8..=1 << 20).contains(&cost.memory_kib))?;
        expect((1..=64).contains(&cost.passes) && (1..=16).contains(&cost.lanes))?;
        let salt = reader.array()?;
        expect(u8::decode(reader)? == CHACHA20_POLY1305)?;
        let nonce = reader.array()?;
        let count = u32::decode(reader)?;
        let mut key = |role, allowed: fn(AlgId) -> bool| {
            expect(u8::decode(reader)? == role)?;
            let key = PublicKey::decode(reader)?;
            expect(allowed(key.alg()))?;
            Ok(key)
        };
        let validators = |alg| committee::ALGORITHMS.contains(&alg);
        let signing = |alg| AlgId::signing().any(|signs| signs == alg);
        let public = match count {
            1 => Held::Account(key(ACCOUNT, signing)?),
            2 => Held::Validator {
                consensus: key(KeyRole::Consensus as u8, validators)?,
                transport: key(KeyRole::Transport as u8, validators)?,
            },
            _ => return Err(DecodeError::NotCanonical { field: "keystore" }),
        };
        Ok(Self { cost, salt, nonce, public })
    }
}

/// A whole file with these keys.
pub(super) fn encrypt(keys: &Held<SecretKey>, passphrase: &Secret, cost: Cost) -> Result<Vec<u8>, StoreError> {
    let (mut salt, mut nonce) = ([0; 16], [0; 12]);
    getrandom::fill(&mut salt).and_then(|()| getrandom::fill(&mut nonce)).map_err(|_| Fault::Randomness)?;
    let mut seeds = Zeroizing::new(Vec::with_capacity(KEYS_MAX * SEED_LEN));
    let public = keys.as_ref().map(|key| {
        seeds.extend_from_slice(key.expose_seed());
        key.public_key()
    });
    let header = Header { cost, salt, nonce, public };
    let mut file = header.to_bytes();
    let ciphertext = cipher(&header, passphrase)?
        .encrypt(&Nonce::from(nonce), Payload { msg: &seeds, aad: &file })
        .expect("a message of 64 bytes is within the cipher's limit");
    put_bytes(&mut file, &ciphertext);
    Ok(file)
}

/// The keys of a file.
pub(super) fn decrypt(file: &[u8], passphrase: &Secret) -> Result<Held<SecretKey>, StoreError> {
    let mut reader = Reader::new(file);
    let header = Header::decode(&mut reader).map_err(|_| ConfigError::KeystoreDamaged)?;
    let associated = &file[..reader.position()];
    let ciphertext = reader.bytes("ciphertext", CIPHERTEXT_MAX).map_err(|_| ConfigError::KeystoreDamaged)?;
    reader.finish().map_err(|_| ConfigError::KeystoreDamaged)?;
    let seeds = cipher(&header, passphrase)?
        .decrypt(&Nonce::from(header.nonce), Payload { msg: ciphertext, aad: associated })
        .map(Zeroizing::new)
        .map_err(|_| ConfigError::PassphraseWrong)?;
    let mut seeds = seeds.chunks_exact(SEED_LEN);
    // A key that does not belong to its public one is told like any other damage.
    let keys = header.public.map(|public| {
        let mut seed = Zeroizing::new([0; SEED_LEN]);
        seed.copy_from_slice(seeds.next()?);
        SecretKey::from_seed(public.alg(), *seed).ok().filter(|key| key.public_key() == public)
    });
    keys.transpose().ok_or(ConfigError::KeystoreDamaged.into())
}

/// The public keys of a file.
pub(super) fn public_keys(file: &[u8]) -> Result<Held<PublicKey>, StoreError> {
    let header = Header::decode(&mut Reader::new(file)).map_err(|_| ConfigError::KeystoreDamaged)?;
    Ok(header.public)
}

fn cipher(header: &Header, passphrase: &Secret) -> Result<ChaCha20Poly1305, StoreError> {
    let Cost { memory_kib, passes, lanes } = header.cost;
    let params = Params::new(memory_kib, passes, lanes, Some(32)).map_err(|_| ConfigError::KeystoreDamaged)?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.expose(), &header.salt, &mut *key)
        .map_err(|_| ConfigError::KeystoreDamaged)?;
    Ok(ChaCha20Poly1305::new((&*key).into()))
}
