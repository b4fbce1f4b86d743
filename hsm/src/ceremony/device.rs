//! The device of a ceremony: a token behind PKCS#11, driven by [`Operation`]s.

use super::answers::Prepared;
use super::entry::{Operation, Outcome, Probe, Token};
use crate::error::StartError;
use crate::pkcs11::admin::{AdminError, Administration, Module};
use crate::secret::Secret;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use thiserror::Error;
use types::Digest;

/// Signed to see whether a key pair is whole; of no other use.
const TRIAL: &[u8] = b"stele-ceremony-test-1: this signature is of no use";

/// Why a device did not do what it was asked for.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// The token.
    #[error(transparent)]
    Token(#[from] AdminError),
    /// The PIN could not be had.
    #[error(transparent)]
    Secret(#[from] StartError),
    /// A key has the label and was not made by this step.
    #[error("a key with the label {0:?} is in the token already, and was not made by this step")]
    ForeignKey(String),
    /// Not the token that the ceremony began with.
    #[error("the token's serial number is {found:?}, and the ceremony is about {expected:?}")]
    OtherToken {
        /// Of the token that is there.
        found: String,
        /// Of the ceremony.
        expected: String,
    },
    /// Asked for something before the token is open.
    #[error("the token is not open")]
    NotOpen,
}

/// What a ceremony needs of a device.
pub trait Device {
    /// Does it. With `again`, an earlier attempt may have done it, wholly or in part.
    ///
    /// # Errors
    /// [`DeviceError`]; nothing is tried twice.
    fn run(&mut self, operation: &Operation, again: bool) -> Result<Outcome, DeviceError>;

    /// Finds the token of an interrupted ceremony again.
    ///
    /// # Errors
    /// [`DeviceError::OtherToken`] where it is another one.
    fn reopen(&mut self, token: &Token) -> Result<(), DeviceError>;
}

/// Which PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// The user's.
    User,
    /// The security officer's.
    SecurityOfficer,
}

impl Pin {
    /// What is asked for.
    pub fn title(self) -> &'static str {
        match self {
            Self::User => "the token's user PIN",
            Self::SecurityOfficer => "the token's security officer's PIN",
        }
    }
}

/// Where PINs come from: a file or a prompt. Called once for each use.
pub type Pins = Box<dyn FnMut(Pin) -> Result<Secret, StartError>>;

/// Modules that are loaded: a process loads one module once, and officers' tokens may be behind the same one as the
/// ceremony's.
#[derive(Clone, Default)]
pub struct Modules(Rc<RefCell<BTreeMap<PathBuf, Rc<Module>>>>);

impl Modules {
    /// The module at this path, loaded where it is not.
    ///
    /// # Errors
    /// Those of [`Module::load`].
    pub fn load(&self, path: &Path) -> Result<Rc<Module>, AdminError> {
        // The same file by two names would be initialised twice.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mut loaded = self.0.borrow_mut();
        if let Some(module) = loaded.get(&path) {
            return Ok(Rc::clone(module));
        }
        let module = Rc::new(Module::load(&path)?);
        loaded.insert(path, Rc::clone(&module));
        Ok(module)
    }
}

/// A token behind PKCS#11.
pub struct Hsm {
    /// Before the module, so that it is closed before the module is finalised.
    open: Option<Administration>,
    module: Rc<Module>,
    path: PathBuf,
    pins: Pins,
}

impl Hsm {
    /// Loads the module.
    ///
    /// # Errors
    /// Those of [`Module::load`].
    pub fn load(modules: &Modules, path: &Path, pins: Pins) -> Result<Self, DeviceError> {
        Ok(Self { open: None, module: modules.load(path)?, path: path.to_owned(), pins })
    }

    /// Makes a throw-away token as a ceremony wants to find it: with these keys. What is there is left alone.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn prepare(&mut self, token: &str, keys: &[Prepared]) -> Result<(), DeviceError> {
        if !self.module.has_token(token)? {
            let (so_pin, pin) = ((self.pins)(Pin::SecurityOfficer)?, (self.pins)(Pin::User)?);
            self.module.initialise(token, &so_pin, &pin, false)?;
            self.open(token)?;
            for key in keys {
                self.token()?.generate(&key.label, key.label.as_bytes(), key.algorithm.id())?;
            }
            self.open = None;
        }
        Ok(())
    }

    fn open(&mut self, label: &str) -> Result<Token, DeviceError> {
        self.open = None;
        let open = self.module.open(label, || (self.pins)(Pin::User).map_err(DeviceError::Secret))?;
        let info = open.info();
        let clean = |text: &str| text.trim().chars().filter(|character| !character.is_control()).collect::<String>();
        let token = Token {
            label: label.to_owned(),
            manufacturer: clean(info.manufacturer_id()),
            model: clean(info.model()),
            serial: clean(info.serial_number()),
            hardware: info.hardware_version().to_string(),
            firmware: info.firmware_version().to_string(),
            library: clean(&self.module.library()?),
            module: Digest::sha256(
                &std::fs::read(&self.path).map_err(|_| AdminError::from(crate::ConfigError::ModuleMissing))?,
            ),
            own_authentication: info.protected_authentication_path(),
        };
        self.open = Some(open);
        Ok(token)
    }

    fn token(&self) -> Result<&Administration, DeviceError> {
        self.open.as_ref().ok_or(DeviceError::NotOpen)
    }
}

impl Device for Hsm {
    fn run(&mut self, operation: &Operation, again: bool) -> Result<Outcome, DeviceError> {
        Ok(match operation {
            Operation::Initialise { token } => {
                let (so_pin, pin) = ((self.pins)(Pin::SecurityOfficer)?, (self.pins)(Pin::User)?);
                self.module.initialise(token, &so_pin, &pin, again)?;
                Outcome::Token(self.open(token)?)
            }
            Operation::Open { token } => Outcome::Token(self.open(token)?),
            Operation::Generate { label, id, algorithm } => {
                let token = self.token()?;
                let id = hex::decode(id).unwrap_or_default();
                // The id names this step of this ceremony, so such a key is from before an interruption.
                let left = again && token.is_all_of(label, &id)?;
                let public = if left && token.carries(label, &id)? && token.sign(label, TRIAL).is_ok() {
                    token.public_key(label)?
                } else {
                    if left {
                        // The making itself was interrupted, and nobody was told of the key.
                        token.destroy(label)?;
                    }
                    token.generate(label, &id, algorithm.id()).map_err(|error| match error {
                        error if error == crate::ConfigError::KeyExists.into() => {
                            DeviceError::ForeignKey(label.clone())
                        }
                        error => error.into(),
                    })?
                };
                Outcome::Key { public }
            }
            Operation::Find { label } => Outcome::Key { public: self.token()?.public_key(label)? },
            Operation::Probe { label } => {
                let seen = self.token()?.probe(label)?.into_iter();
                let probe = |seen: crate::pkcs11::admin::Observation| Probe {
                    probe: seen.probe.to_owned(),
                    observed: seen.observed,
                    held: seen.held,
                };
                Outcome::Probes(seen.map(probe).collect())
            }
            Operation::Sign { label, message } => {
                let message = hex::decode(message).unwrap_or_default();
                Outcome::Signature { signature: self.token()?.sign(label, &message)? }
            }
            Operation::Destroy { label } => {
                self.token()?.destroy(label)?;
                Outcome::Destroyed {}
            }
        })
    }

    fn reopen(&mut self, token: &Token) -> Result<(), DeviceError> {
        let found = self.open(&token.label)?;
        if found.serial == token.serial {
            return Ok(());
        }
        self.open = None;
        Err(DeviceError::OtherToken { found: found.serial, expected: token.serial.clone() })
    }
}
