//! What happens in one session: login, finding keys, signing.

use super::{Pooled, Shared, index};
use crate::error::{ConfigError, Fault, StoreError};
use crate::pkcs11::key;
use crate::pkcs11::policy::{Failure, Reaction};
use crate::signer::KeyRole;
use cryptoki::error::{Error, RvError};
use cryptoki::object::ObjectHandle;
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use std::sync::PoisonError;
use std::time::Instant;
use types::{PublicKey, Signature};

impl Shared {
    pub(super) fn new_session(&self, slot: Option<Slot>) -> Result<Pooled, Failure> {
        let slot = slot.ok_or(Fault::TokenGone)?;
        let session = self.token.context().open_ro_session(slot)?;
        self.log_in(&session)?;
        Ok(Pooled { session, handles: [None; 2], logged_out: false, used: Instant::now() })
    }

    /// One at a time, and never again after a rejection.
    fn log_in(&self, session: &Session) -> Result<(), Failure> {
        let _one = self.login.lock().unwrap_or_else(PoisonError::into_inner);
        self.lock().health.may_log_in()?;
        match session.login(UserType::User, Some(self.token.pin())) {
            // A login holds for all sessions of a process.
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(error) => {
                let failure = Failure::from(error);
                if let Reaction::Latch(reason) = failure.reaction {
                    self.lock().health.latch(reason);
                }
                Err(failure)
            }
        }
    }

    pub(super) fn sign(&self, role: KeyRole, message: &[u8], pooled: &mut Pooled) -> Result<Signature, Failure> {
        if pooled.logged_out {
            self.log_in(&pooled.session)?;
            pooled.logged_out = false;
        }
        let public = self.public(role);
        let handle = match pooled.handles[index(role)] {
            Some(handle) => handle,
            None => self.find(role, pooled)?,
        };
        self.mechanisms.sign(&pooled.session, handle, public, message)
    }

    /// The key with its public half as it was at the start.
    fn find(&self, role: KeyRole, pooled: &mut Pooled) -> Result<ObjectHandle, Failure> {
        let name = &self.names[index(role)];
        let found = key::find_private(&pooled.session, name).or_else(|failure| match failure.error {
            // Private keys are not there for who is not logged in, and not every module says so.
            StoreError::Config(ConfigError::KeyNotFound) => {
                self.log_in(&pooled.session)?;
                key::find_private(&pooled.session, name)
            }
            _ => Err(failure),
        });
        let handle = found.map_err(key::gone)?;
        let public = key::find_public(&pooled.session, name, &self.mechanisms).map_err(key::gone)?;
        if public != *self.public(role) {
            return Err(Fault::TokenGone.into());
        }
        pooled.handles[index(role)] = Some(handle);
        Ok(handle)
    }

    fn public(&self, role: KeyRole) -> &PublicKey {
        let keys = self.expected.get().expect("a pool signs after it has connected, or was told what to expect");
        match role {
            KeyRole::Consensus => &keys.consensus,
            KeyRole::Transport => &keys.transport,
        }
    }
}
