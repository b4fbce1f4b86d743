//! Makes both keys in a token, and the token itself in a free slot where there is none with the label.

use super::mechanism::Mechanisms;
use super::token::{UNEXPECTED, find as find_tokens, load, read_pin};
use super::{find, key, policy, profile};
use crate::config::Pkcs11Config;
use crate::error::{ConfigError, StartError, StoreError};
use crate::signer::PublicKeys;
use cryptoki::context::Pkcs11;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use std::path::Path;
use types::{AlgId, PublicKey};

/// See [`crate::provision::generate`].
///
/// # Errors
/// As there.
pub fn generate(config: &Pkcs11Config, so_pin_file: Option<&Path>) -> Result<PublicKeys, StartError> {
    let pin = read_pin(&config.pin_file)?;
    let so_pin = so_pin_file.map(read_pin).transpose()?;
    let pkcs11 = load(&config.module)?;
    let outcome = generate_in(&pkcs11, config, &pin, so_pin.as_ref());
    // Everything is on the token; the process ends after this.
    let _ = pkcs11.finalize();
    outcome
}

fn generate_in(
    pkcs11: &Pkcs11,
    config: &Pkcs11Config,
    pin: &AuthPin,
    so_pin: Option<&AuthPin>,
) -> Result<PublicKeys, StartError> {
    let about = |cause: StoreError| cause.about(format_args!("token {:?}", config.token_label));
    let slot = match &find_tokens(pkcs11, &config.token_label).map_err(about)?[..] {
        [(slot, _)] => *slot,
        [] => initialise(pkcs11, &config.token_label, pin, so_pin).map_err(about)?,
        _ => return Err(about(ConfigError::TokenAmbiguous.into())),
    };
    let session = pkcs11.open_rw_session(slot).map_err(|error| about(policy::short(&error)))?;
    session.login(UserType::User, Some(pin)).map_err(|error| about(policy::short(&error)))?;
    let profile = profile::of(config)?;
    let mechanisms =
        Mechanisms::new(&profile).map_err(|error| error.about(format_args!("profile {:?}", profile.name)))?;
    let key = |label: &str| {
        generate_key(&session, label, &mechanisms).map_err(|cause| cause.about(format_args!("key {label:?}")))
    };
    Ok(PublicKeys { consensus: key(&config.consensus_label)?, transport: key(&config.transport_label)? })
}

/// Initialises the first free slot, sets the user PIN, and returns the slot where the token is then.
fn initialise(pkcs11: &Pkcs11, label: &str, pin: &AuthPin, so_pin: Option<&AuthPin>) -> Result<Slot, StoreError> {
    let so_pin = so_pin.ok_or(ConfigError::TokenAbsent)?;
    let short = |error| policy::short(&error);
    let slots = pkcs11.get_slots_with_token().map_err(short)?;
    let free = slots.into_iter().find(|slot| pkcs11.get_token_info(*slot).is_ok_and(|info| !info.token_initialized()));
    pkcs11.init_token(free.ok_or(ConfigError::TokenAbsent)?, so_pin, label).map_err(short)?;
    // Modules may move the token to another slot.
    let [(slot, _)] = find_tokens(pkcs11, label)?[..] else {
        return Err(UNEXPECTED);
    };
    let session = pkcs11.open_rw_session(slot).map_err(short)?;
    session.login(UserType::So, Some(so_pin)).map_err(short)?;
    session.init_pin(pin).map_err(short)?;
    session.logout().map_err(short)?;
    Ok(slot)
}

fn generate_key(session: &Session, label: &str, mechanisms: &Mechanisms) -> Result<PublicKey, StoreError> {
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
        if !find(session, label, class)?.is_empty() {
            return Err(ConfigError::KeyExists.into());
        }
    }
    let name = || [Attribute::Label(label.as_bytes().to_vec()), Attribute::Id(label.as_bytes().to_vec())];
    let [public_label, public_id] = name();
    let [private_label, private_id] = name();
    let public = [
        public_label,
        public_id,
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Verify(true),
        Attribute::EcParams(key::params(AlgId::Ed25519).expect("in the table").to_vec()),
    ];
    let private = [
        private_label,
        private_id,
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        Attribute::Decrypt(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ];
    session
        .generate_key_pair(&Mechanism::EccEdwardsKeyPairGen, &public, &private)
        .map_err(|error| policy::short(&error))?;
    let name = key::Name { label: label.to_owned(), id: None };
    key::find_public(session, &name, mechanisms).map_err(|failure| failure.error)
}
