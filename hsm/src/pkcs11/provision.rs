//! Makes both keys in a token, and the token itself in a free slot where there is none with the label.

use super::admin::{AdminError, Administration, Module};
use crate::config::Pkcs11Config;
use crate::error::{ConfigError, StartError, StoreError};
use crate::secret::Secret;
use crate::signer::PublicKeys;
use std::path::Path;
use types::{AlgId, PublicKey};

/// See [`crate::provision::generate`].
///
/// # Errors
/// As there.
pub fn generate(config: &Pkcs11Config, so_pin_file: Option<&Path>, alg: AlgId) -> Result<PublicKeys, StartError> {
    let pin = Secret::read(&config.pin_file)?;
    let so_pin = so_pin_file.map(Secret::read).transpose()?;
    let module = Module::load(&config.module).map_err(|error| start(error, config.module.display()))?;
    let about = |error| start(error, format_args!("token {:?}", config.token_label));
    if !module.has_token(&config.token_label).map_err(about)? {
        let so_pin = so_pin.ok_or_else(|| about(ConfigError::TokenAbsent.into()))?;
        module.initialise(&config.token_label, &so_pin, &pin, false).map_err(about)?;
    }
    let id_free = super::profile::of(config)?.cka_id_free;
    let token = module.open(&config.token_label, || Ok(pin)).map_err(about)?;
    Ok(PublicKeys {
        consensus: key(&token, &config.consensus_label, id_free, alg)?,
        transport: key(&token, &config.transport_label, id_free, alg)?,
    })
}

fn key(token: &Administration, label: &str, id_free: bool, alg: AlgId) -> Result<PublicKey, StartError> {
    let id = if id_free { label.as_bytes() } else { &[] };
    let made = token.generate(label, id, alg);
    made.map_err(|error| start(error, format_args!("key {label:?}")))
}

fn start(error: AdminError, subject: impl std::fmt::Display) -> StartError {
    StoreError::from(error).about(subject)
}
