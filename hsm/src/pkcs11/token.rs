//! The module and the one token that is used: loading, finding by label, and what a token says of itself. A token says it
//! anew after each C_Initialize, and may be in another slot then.

use super::policy;
use crate::config::Pkcs11Config;
use crate::error::{ConfigError, StartError};
use crate::secret::Secret;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::MechanismType;
use cryptoki::slot::{Limit, Slot, TokenInfo};
use cryptoki::types::AuthPin;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// A loaded module, and which of its tokens is meant.
pub(super) struct Token {
    pkcs11: Pkcs11,
    label: String,
    pin: AuthPin,
}

/// A token as it is found.
pub(super) struct Found {
    pub(super) slot: Slot,
    /// Model and maker, as the token says.
    pub(super) module: String,
    /// Most sessions that the token allows.
    pub(super) sessions_max: Option<u32>,
    mechanisms: Vec<MechanismType>,
}

impl Found {
    pub(super) fn check_mechanism(&self, wanted: MechanismType) -> Result<(), ConfigError> {
        if self.mechanisms.contains(&wanted) { Ok(()) } else { Err(ConfigError::MechanismMissing) }
    }
}

impl Token {
    /// Loads the module; the token is looked at later.
    pub(super) fn load(config: &Pkcs11Config) -> Result<Self, StartError> {
        let pin = read_pin(&config.pin_file)?;
        let pkcs11 = open_library(&config.module)?;
        Ok(Self { pkcs11, label: config.token_label.clone(), pin })
    }

    pub(super) fn context(&self) -> &Pkcs11 {
        &self.pkcs11
    }

    pub(super) fn label(&self) -> &str {
        &self.label
    }

    pub(super) fn pin(&self) -> &AuthPin {
        &self.pin
    }

    pub(super) fn initialise(&self) -> Result<(), policy::Failure> {
        Ok(self.pkcs11.initialize(initialise_arguments())?)
    }

    /// Call with no session of this module open: the handles of those that come later may be the same numbers.
    pub(super) fn finalise(&self) {
        match self.pkcs11.clone().finalize() {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiNotInitialized, _)) => {}
            Err(error) => tracing::warn!(error = ?policy::short(&error), "module not finalised"),
        }
    }

    /// The token, with its slot as it is now. A PIN that is locked is told without trying it.
    pub(super) fn find(&self) -> Result<Found, policy::Failure> {
        let named = labelled(&self.pkcs11, &self.label)?;
        let (slot, info) = match &named[..] {
            [(slot, info)] => (*slot, info),
            [] => return Err(ConfigError::TokenAbsent.into()),
            _ => return Err(ConfigError::TokenAmbiguous.into()),
        };
        if !info.token_initialized() || !info.user_pin_initialized() {
            return Err(ConfigError::TokenUninitialised.into());
        }
        for (told, reason) in
            [(info.user_pin_locked(), ConfigError::PinLocked), (info.user_pin_final_try(), ConfigError::PinLastTry)]
        {
            if told {
                return Err(policy::Failure { error: reason.into(), reaction: policy::Reaction::Latch(reason) });
            }
        }
        let sessions_max = match info.max_session_count() {
            Limit::Max(most) => Some(u32::try_from(most).unwrap_or(u32::MAX)),
            Limit::Unavailable | Limit::Infinite => None,
        };
        let mechanisms = self.pkcs11.get_mechanism_list(slot)?;
        Ok(Found { slot, module: module_name(info), sessions_max, mechanisms })
    }
}

/// The tokens with a label, initialised or not. A slot that does not say what it holds does not hide the others.
pub(super) fn labelled(module: &Pkcs11, label: &str) -> Result<Vec<(Slot, TokenInfo)>, Error> {
    let slots = module.get_slots_with_token()?.into_iter();
    let tokens = slots.filter_map(|slot| Some((slot, module.get_token_info(slot).ok()?)));
    Ok(tokens.filter(|(_, info)| info.label() == label).collect())
}

fn initialise_arguments() -> CInitializeArgs {
    CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)
}

/// Loads and initialises a module.
pub(super) fn load(path: &Path) -> Result<Pkcs11, StartError> {
    let pkcs11 = open_library(path)?;
    match pkcs11.initialize(initialise_arguments()) {
        Ok(()) => Ok(pkcs11),
        Err(error) => Err(policy::short(&error).about(path.display())),
    }
}

fn open_library(path: &Path) -> Result<Pkcs11, StartError> {
    if !path.is_file() {
        return Err(ConfigError::ModuleMissing.about(path.display()));
    }
    check_machine(path).map_err(|reason| reason.about(path.display()))?;
    Pkcs11::new(path).map_err(|_| ConfigError::NotAModule.about(path.display()))
}

/// Compares the head of an ELF file with our own, because the loader says of a library for another machine no more than
/// that it cannot be opened.
fn check_machine(path: &Path) -> Result<(), ConfigError> {
    let head = |path: &Path| {
        let mut head = [0; 20];
        File::open(path)?.read_exact(&mut head).map(|()| head)
    };
    let theirs = head(path).map_err(|_| ConfigError::NotAModule)?;
    if theirs[..4] != *b"\x7fELF" {
        return Err(ConfigError::NotAModule);
    }
    // Class and byte order (EI_CLASS, EI_DATA), and e_machine.
    let machine = |head: [u8; 20]| (head[4], head[5], head[18], head[19]);
    match head(Path::new("/proc/self/exe")) {
        Ok(ours) if machine(ours) != machine(theirs) => Err(ConfigError::ModuleForeign),
        // Without /proc the loader has the last word.
        _ => Ok(()),
    }
}

/// The PIN that a configuration's source gives.
pub(super) fn read_pin(source: &Path) -> Result<AuthPin, StartError> {
    auth_pin(&Secret::read(source)?).map_err(|error| error.about(source.display()))
}

/// A PIN as PKCS#11 takes it, which is UTF-8.
pub(super) fn auth_pin(pin: &Secret) -> Result<AuthPin, ConfigError> {
    let text = std::str::from_utf8(pin.expose()).map_err(|_| ConfigError::SecretUnreadable)?;
    Ok(AuthPin::new(text.into()))
}

fn module_name(info: &TokenInfo) -> String {
    format!("{} ({})", info.model().trim(), info.manufacturer_id().trim())
}
