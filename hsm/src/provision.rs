//! Makes what a signer needs before it starts: two keys, and an empty guard file. Done once, never by the signer.

use crate::config::{SignerConfig, StoreConfig};
use crate::error::StartError;
use crate::guard::{Guard, Identity};
use crate::signer::PublicKeys;
use crate::{keystore, pkcs11};
use std::path::Path;
use types::AlgId;

/// Makes the two keys in the store and returns their public halves; existing keys are never touched.
///
/// In a token they are SENSITIVE and not EXTRACTABLE. A token with the label is used where there is one; otherwise a
/// free slot is initialised with the SO PIN in `so_pin_file` and the user PIN of the configuration. A process can load
/// one PKCS#11 module once, so for a token this runs in a process of its own.
///
/// # Errors
/// [`StartError`] names the path or label and the reason.
pub fn generate(store: &StoreConfig, so_pin_file: Option<&Path>) -> Result<PublicKeys, StartError> {
    generate_with(store, so_pin_file, AlgId::Ed25519)
}

/// As [`generate`], of another algorithm than Ed25519: P-256, for tokens without EdDSA.
///
/// # Errors
/// As there; [`crate::ConfigError::KeyUnsuitable`] for an algorithm that no validator has.
pub fn generate_with(store: &StoreConfig, so_pin_file: Option<&Path>, alg: AlgId) -> Result<PublicKeys, StartError> {
    match store {
        StoreConfig::Pkcs11(config) => pkcs11::generate(config, so_pin_file, alg),
        StoreConfig::Keystore(config) => keystore::generate_with(config, alg, keystore::Cost::default()),
    }
}

/// Makes the guard file of a validator that has never signed for this chain. Restoring a validator that has is the
/// business of whoever knows its last round.
///
/// # Errors
/// [`crate::ConfigError::KeyExists`] where there is a file; faults of the disk.
pub fn guard(config: &SignerConfig, keys: &PublicKeys) -> Result<(), StartError> {
    let identity = Identity { chain: config.chain, author: config.author, key: keys.consensus.clone() };
    Guard::create(&config.guard, &identity, &config.fence, now())
}

/// Seconds since 1970, for people who read of it later. Nothing is decided by it.
pub(crate) fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}
