//! What an operator does with a guard file while no signer uses it: vouch for it, and carry its mark elsewhere.

use crate::config::SignerConfig;
use crate::error::{ConfigError, StartError};
use crate::guard::{Activation, Floor, Guard, Identity, Imported, Mark, Review};
use crate::provision::now;
use crate::signer::PublicKeys;

/// What the guard file says of itself; a signer may be using it.
///
/// # Errors
/// [`ConfigError::GuardMissing`], [`ConfigError::GuardDamaged`]; [`ConfigError::GuardForeign`] where it is of another
/// chain or validator.
pub fn review(config: &SignerConfig) -> Result<Review, StartError> {
    let review = Guard::review(&config.guard)?;
    if (review.identity.chain, review.identity.author) != (config.chain, config.author) {
        return Err(ConfigError::GuardForeign.about(config.guard.display()));
    }
    Ok(review)
}

/// Binds the file to this machine or TPM, on the operator's word. Returns what is refused from now on.
///
/// # Errors
/// [`StartError`] names the file or the TPM and the reason.
pub fn activate(config: &SignerConfig, activation: Activation) -> Result<Floor, StartError> {
    let identity = review(config)?.identity;
    Guard::activate(&config.guard, &identity, &config.fence, activation, now())
}

/// The mark, for another guard of the same key. With `retire` this file never signs again.
///
/// # Errors
/// [`ConfigError::GuardLocked`] while the signer runs; [`StartError`] as it would have at its start.
pub fn export_mark(config: &SignerConfig, retire: bool) -> Result<Mark, StartError> {
    let identity = review(config)?.identity;
    Guard::export(&config.guard, &identity, &config.fence, retire, now())
}

/// Raises the guard to a mark, or makes one from it.
///
/// # Errors
/// [`ConfigError::GuardForeign`] for a mark of another chain, validator or key; [`StartError`] as a signer would have at
/// its start.
pub fn import_mark(config: &SignerConfig, keys: &PublicKeys, mark: &Mark) -> Result<Imported, StartError> {
    let identity = Identity { chain: config.chain, author: config.author, key: keys.consensus.clone() };
    Guard::import(&config.guard, &identity, &config.fence, mark, now())
}
