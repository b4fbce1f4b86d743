//! Administration of a token, for provisioning and ceremonies: initialise, set the PIN, generate, look, sign a challenge,
//! probe, destroy.
//!
//! One session, one login, no retry: after a failure a human decides, and a PIN that was rejected is never tried again
//! here. Keys are always sensitive and not extractable. Absent: pools, healing sessions and the signing of votes.

mod error;
mod probe;

use super::token::{self, auth_pin};
use super::{key, mechanism, point, policy};
use crate::error::ConfigError;
use crate::secret::Secret;
use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use std::path::Path;
use types::{AlgId, PublicKey, Signature};

pub use error::AdminError;
pub use probe::Observation;

/// A loaded module. A process loads one module once; finalised when dropped.
pub struct Module {
    pkcs11: Pkcs11,
}

impl Module {
    /// Loads and initialises it.
    ///
    /// # Errors
    /// [`ConfigError::ModuleMissing`], [`ConfigError::NotAModule`], and what C_Initialize says.
    pub fn load(path: &Path) -> Result<Self, AdminError> {
        Ok(Self { pkcs11: token::load(path).map_err(|error| error.cause)? })
    }

    /// How the module describes itself.
    ///
    /// # Errors
    /// [`AdminError::Call`].
    pub fn library(&self) -> Result<String, AdminError> {
        let info = self.pkcs11.get_library_info()?;
        let (name, maker) = (info.library_description().trim(), info.manufacturer_id().trim());
        Ok(format!("{name} {} ({maker})", info.library_version()))
    }

    /// The one initialised token with the label. A slot that does not say what it holds does not hide the others.
    ///
    /// # Errors
    /// [`ConfigError::TokenAbsent`], [`ConfigError::TokenAmbiguous`].
    pub fn token(&self, label: &str) -> Result<(Slot, TokenInfo), AdminError> {
        let mut found = self.tokens(label)?;
        match (found.pop(), found.is_empty()) {
            (None, _) => Err(ConfigError::TokenAbsent.into()),
            (Some(token), true) => Ok(token),
            (Some(_), false) => Err(ConfigError::TokenAmbiguous.into()),
        }
    }

    fn tokens(&self, label: &str) -> Result<Vec<(Slot, TokenInfo)>, AdminError> {
        let mut tokens = token::labelled(&self.pkcs11, label)?;
        tokens.retain(|(_, info)| info.token_initialized());
        Ok(tokens)
    }

    /// Whether a token with the label is there.
    ///
    /// # Errors
    /// [`AdminError::Call`].
    pub fn has_token(&self, label: &str) -> Result<bool, AdminError> {
        Ok(!self.tokens(label)?.is_empty())
    }

    /// Initialises the first free slot and sets the user PIN. With `again`, a token with the label is taken for one whose
    /// initialisation was interrupted, and gets its PIN if it has none.
    ///
    /// # Errors
    /// [`AdminError::TokenExists`], [`AdminError::NoFreeSlot`], [`ConfigError::TokenWriteProtected`], rejected PINs.
    pub fn initialise(&self, label: &str, so_pin: &Secret, pin: &Secret, again: bool) -> Result<(), AdminError> {
        let (so_pin, pin) = (auth_pin(so_pin)?, auth_pin(pin)?);
        if !self.has_token(label)? {
            let slots = self.pkcs11.get_slots_with_token()?;
            let info = |slot: &Slot| self.pkcs11.get_token_info(*slot);
            let free = slots.into_iter().find(|slot| info(slot).is_ok_and(|info| !info.token_initialized()));
            let free = free.ok_or(AdminError::NoFreeSlot)?;
            self.pkcs11.init_token(free, &so_pin, label)?;
        } else if !again {
            return Err(AdminError::TokenExists);
        }
        // Modules may move the token to another slot.
        let (slot, info) = self.token(label)?;
        if again && info.user_pin_initialized() {
            return Ok(());
        }
        let session = self.pkcs11.open_rw_session(slot)?;
        session.login(UserType::So, Some(&so_pin))?;
        session.init_pin(&pin)?;
        session.logout()?;
        Ok(())
    }

    /// Logs in as the user, for reading and writing. Where the token takes the PIN, or a quorum of its own, by itself, no
    /// PIN is asked for.
    ///
    /// # Errors
    /// [`ConfigError::TokenUninitialised`], [`ConfigError::PinLocked`], [`ConfigError::PinLastTry`], rejected PINs, and those of [`Module::token`] and `pin`.
    pub fn open<E: From<AdminError>>(
        &self,
        label: &str,
        pin: impl FnOnce() -> Result<Secret, E>,
    ) -> Result<Administration, E> {
        let admin = |error: Error| E::from(AdminError::from(error));
        let (slot, info) = self.token(label)?;
        if info.user_pin_locked() {
            return Err(AdminError::from(ConfigError::PinLocked).into());
        }
        if info.user_pin_final_try() {
            return Err(AdminError::from(ConfigError::PinLastTry).into());
        }
        if !info.user_pin_initialized() {
            return Err(AdminError::from(ConfigError::TokenUninitialised).into());
        }
        let pin = if info.protected_authentication_path() {
            None
        } else {
            Some(auth_pin(&pin()?).map_err(AdminError::from)?)
        };
        let session = match self.pkcs11.open_rw_session(slot) {
            // Enough to look and to sign a challenge.
            Err(Error::Pkcs11(RvError::TokenWriteProtected, _)) => self.pkcs11.open_ro_session(slot).map_err(admin)?,
            opened => opened.map_err(admin)?,
        };
        match session.login(UserType::User, pin.as_ref()) {
            // A login holds for all sessions of a process.
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
            Err(error) => return Err(admin(error)),
        }
        Ok(Administration { session, info })
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // Sessions hold clones of the context; theirs are closed by their own drops before or fail harmlessly after.
        if let Err(error) = self.pkcs11.clone().finalize() {
            tracing::debug!(error = ?policy::short(&error), "module not finalised");
        }
    }
}

/// A session in which keys are made and destroyed.
pub struct Administration {
    session: Session,
    info: TokenInfo,
}

impl Administration {
    /// What the token says of itself.
    pub fn info(&self) -> &TokenInfo {
        &self.info
    }

    /// Makes a key pair with this label and CKA_ID, sensitive and not extractable. An empty CKA_ID leaves it to the token.
    ///
    /// # Errors
    /// [`ConfigError::KeyExists`] where anything has the label, [`AdminError::Full`], [`ConfigError::TokenWriteProtected`],
    /// [`ConfigError::MechanismMissing`].
    pub fn generate(&self, label: &str, id: &[u8], alg: AlgId) -> Result<PublicKey, AdminError> {
        for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
            if !self.find(label, class)?.is_empty() {
                return Err(ConfigError::KeyExists.into());
            }
        }
        let mechanism = match alg {
            AlgId::Ed25519 => Mechanism::EccEdwardsKeyPairGen,
            AlgId::EcdsaP256 => Mechanism::EccKeyPairGen,
            _ => return Err(ConfigError::MechanismMissing.into()),
        };
        let params = key::params(alg).ok_or(ConfigError::MechanismMissing)?;
        let name = || {
            let id = (!id.is_empty()).then(|| Attribute::Id(id.to_vec()));
            [Attribute::Label(label.as_bytes().to_vec())].into_iter().chain(id)
        };
        let mut public = Vec::from_iter(name());
        public.extend([
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Verify(true),
            Attribute::EcParams(params.to_vec()),
        ]);
        let mut private = Vec::from_iter(name());
        private.extend([
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
            Attribute::Decrypt(false),
            Attribute::Unwrap(false),
            Attribute::Derive(false),
        ]);
        self.session.generate_key_pair(&mechanism, &public, &private)?;
        self.public_key(label)
    }

    /// Whether the one key pair with the label carries this CKA_ID.
    ///
    /// # Errors
    /// [`ConfigError::KeyAmbiguous`] where two keys have the label.
    pub fn carries(&self, label: &str, id: &[u8]) -> Result<bool, AdminError> {
        for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
            let Some(handle) = self.at_most_one(label, class)? else { return Ok(false) };
            let attributes = self.session.get_attributes(handle, &[AttributeType::Id])?;
            if !attributes.contains(&Attribute::Id(id.to_vec())) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether something has the label, and all of that carries this CKA_ID: a key pair, or what is left of its making.
    ///
    /// # Errors
    /// [`AdminError::Call`].
    pub fn is_all_of(&self, label: &str, id: &[u8]) -> Result<bool, AdminError> {
        let mut handles = self.find(label, ObjectClass::PRIVATE_KEY)?;
        handles.extend(self.find(label, ObjectClass::PUBLIC_KEY)?);
        for handle in &handles {
            let attributes = self.session.get_attributes(*handle, &[AttributeType::Id])?;
            if !attributes.contains(&Attribute::Id(id.to_vec())) {
                return Ok(false);
            }
        }
        Ok(!handles.is_empty())
    }

    /// The public half of the one key pair with the label.
    ///
    /// # Errors
    /// [`ConfigError::KeyNotFound`], [`ConfigError::KeyAmbiguous`], [`ConfigError::KeyUnsuitable`] where it is neither
    /// Ed25519 nor P-256 or lacks a half.
    pub fn public_key(&self, label: &str) -> Result<PublicKey, AdminError> {
        self.private(label)?;
        let Some(handle) = self.at_most_one(label, ObjectClass::PUBLIC_KEY)? else {
            // The private key is there, so this is another matter than a wrong label.
            return Err(ConfigError::KeyUnsuitable.into());
        };
        let (alg, point) = key::curve_and_point(&self.session, handle)?;
        let known = |alg: &AlgId| matches!(alg, AlgId::Ed25519 | AlgId::EcdsaP256);
        let key = alg.filter(known).and_then(|alg| point::decode(alg, &point));
        key.ok_or(ConfigError::KeyUnsuitable.into())
    }

    /// Signs a challenge. A P-256 signature is given its low-s form.
    ///
    /// # Errors
    /// Those of [`Administration::public_key`]; [`crate::Fault::WrongSignature`].
    pub fn sign(&self, label: &str, message: &[u8]) -> Result<Signature, AdminError> {
        let public = self.public_key(label)?;
        let handle = self.private(label)?;
        let wrong = || AdminError::Store(crate::Fault::WrongSignature.into());
        let signature = match public.prehash(message) {
            None => {
                let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
                Signature::from_parts(public.alg(), &self.session.sign(&mechanism, handle, message)?).ok()
            }
            Some(digest) => mechanism::low_s(&self.session.sign(&Mechanism::Ecdsa, handle, &digest)?),
        };
        let signature = signature.ok_or_else(wrong)?;
        public.verify_bytes(message, &signature).map_err(|_| wrong())?;
        Ok(signature)
    }

    /// Destroys both halves and looks whether they are gone. None there is as good.
    ///
    /// # Errors
    /// [`ConfigError::KeyAmbiguous`] where two keys have the label: which one is meant is not for a program to guess.
    pub fn destroy(&self, label: &str) -> Result<(), AdminError> {
        for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
            if let Some(handle) = self.at_most_one(label, class)? {
                self.session.destroy_object(handle)?;
            }
            if !self.find(label, class)?.is_empty() {
                return Err(AdminError::Store(crate::Fault::TokenFailed.into()));
            }
        }
        Ok(())
    }

    /// Tries to get the private key out, in every way that PKCS#11 has: six attributes, five attempts.
    ///
    /// # Errors
    /// Those of finding the key; what a probe meets is an observation.
    pub fn probe(&self, label: &str) -> Result<Vec<Observation>, AdminError> {
        probe::all(&self.session, self.private(label)?)
    }

    fn private(&self, label: &str) -> Result<ObjectHandle, AdminError> {
        self.at_most_one(label, ObjectClass::PRIVATE_KEY)?.ok_or(ConfigError::KeyNotFound.into())
    }

    fn at_most_one(&self, label: &str, class: ObjectClass) -> Result<Option<ObjectHandle>, AdminError> {
        match self.find(label, class)?[..] {
            [] => Ok(None),
            [handle] => Ok(Some(handle)),
            _ => Err(ConfigError::KeyAmbiguous.into()),
        }
    }

    fn find(&self, label: &str, class: ObjectClass) -> Result<Vec<ObjectHandle>, AdminError> {
        let template = [Attribute::Class(class), Attribute::Label(label.as_bytes().to_vec())];
        Ok(self.session.find_objects(&template)?)
    }
}
