//! The module and the one token that is used: loading, finding by label, logging in, and the latch after a rejected PIN.

use super::policy::{self, Reaction};
use crate::config::Pkcs11Config;
use crate::error::{ConfigError, Fault, StartError, StoreError};
use crate::secret::Secret;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::MechanismType;
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::AuthPin;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

pub(super) struct Token {
    pkcs11: Pkcs11,
    slot: Slot,
    pin: AuthPin,
    module: String,
    /// Held while logging in, so that a lost login is renewed once; keeps the reason after a rejected PIN.
    latch: Mutex<Option<ConfigError>>,
}

impl Token {
    pub(super) fn open(config: &Pkcs11Config) -> Result<Self, StartError> {
        let pin = read_pin(&config.pin_file)?;
        let pkcs11 = load(&config.module)?;
        let about = |cause: StoreError| cause.about(format_args!("token {:?}", config.token_label));
        let (slot, info) = match &find(&pkcs11, &config.token_label).map_err(about)?[..] {
            [(slot, info)] => (*slot, info.clone()),
            [] => return Err(about(ConfigError::TokenAbsent.into())),
            _ => return Err(about(ConfigError::TokenAmbiguous.into())),
        };
        let mechanisms = pkcs11.get_mechanism_list(slot).map_err(|error| about(policy::short(&error)))?;
        if !mechanisms.contains(&MechanismType::EDDSA) {
            return Err(about(ConfigError::MechanismMissing.into()));
        }
        if info.user_pin_locked() {
            return Err(about(ConfigError::PinLocked.into()));
        }
        let module = module_name(&info);
        Ok(Self { pkcs11, slot, pin, module, latch: Mutex::new(None) })
    }

    /// Model and maker, as the token says.
    pub(super) fn module(&self) -> &str {
        &self.module
    }

    /// Fails after a rejected PIN.
    pub(super) fn check_latch(&self) -> Result<(), ConfigError> {
        self.latch.lock().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// A new session, logged in.
    pub(super) fn session(&self) -> Result<Session, StoreError> {
        let mut latch = self.latch.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = *latch {
            return Err(reason.into());
        }
        let session = self.pkcs11.open_ro_session(self.slot).map_err(|error| policy::short(&error))?;
        match session.login(UserType::User, Some(&self.pin)) {
            // A login holds for all sessions of a process.
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(error) => {
                let reason = policy::short(&error);
                if policy::reaction(&error) == Reaction::Latch
                    && let StoreError::Config(reason) = reason
                {
                    *latch = Some(reason);
                }
                Err(reason)
            }
        }
    }
}

/// Loads and initialises a module.
pub(super) fn load(path: &Path) -> Result<Pkcs11, StartError> {
    if !path.is_file() {
        return Err(ConfigError::ModuleMissing.about(path.display()));
    }
    let pkcs11 = Pkcs11::new(path).map_err(|_| ConfigError::NotAModule.about(path.display()))?;
    match pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) => Ok(pkcs11),
        Err(error) => Err(policy::short(&error).about(path.display())),
    }
}

/// Initialised tokens with the label. A slot that does not say what it holds does not hide the others.
pub(super) fn find(pkcs11: &Pkcs11, label: &str) -> Result<Vec<(Slot, TokenInfo)>, StoreError> {
    let slots = pkcs11.get_slots_with_token().map_err(|error| policy::short(&error))?;
    let tokens = slots.into_iter().filter_map(|slot| Some((slot, pkcs11.get_token_info(slot).ok()?)));
    Ok(tokens.filter(|(_, info)| info.token_initialized() && info.label() == label).collect())
}

/// A PIN as PKCS#11 takes it, which is UTF-8.
pub(super) fn read_pin(path: &Path) -> Result<AuthPin, StartError> {
    let secret = Secret::read_file(path)?;
    match std::str::from_utf8(secret.expose()) {
        Ok(text) => Ok(AuthPin::new(text.into())),
        Err(_) => Err(ConfigError::SecretUnreadable.about(path.display())),
    }
}

fn module_name(info: &TokenInfo) -> String {
    format!("{} ({})", info.model().trim(), info.manufacturer_id().trim())
}

impl Drop for Token {
    fn drop(&mut self) {
        // Sessions hold clones of the context, so theirs are closed by their own drops before or fail harmlessly after.
        if let Err(error) = self.pkcs11.clone().finalize() {
            tracing::warn!(error = ?policy::short(&error), "module not finalised");
        }
    }
}

/// A fault for what a module should never do.
pub(super) const UNEXPECTED: StoreError = StoreError::Fault(Fault::TokenFailed);
