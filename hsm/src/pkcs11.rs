//! Keys in a token behind a PKCS#11 module: one C_Initialize, one login, a pool of sessions for both keys, and a second
//! token with the same keys where one is configured.
//!
//! Invariants: a PIN that was rejected is never tried again in this process; a failing token is left alone for a while and
//! then reached by C_Finalize and C_Initialize; one whose module does not return from a call is given up for good; every signature verifies in software before it leaves. Deliberately
//! absent: what may be signed, which the guard in front of both tokens decides.

pub mod admin;
mod breaker;
mod caller;
pub mod conformance;
mod key;
mod mechanism;
mod point;
mod policy;
mod pool;
pub mod profile;
mod provision;
mod token;

use crate::config::Pkcs11Config;
use crate::error::{ConfigError, Fault, StartError, StoreError};
use crate::signer::{KeyRole, Keys, PublicKeys, Signer};
use caller::Caller;
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use policy::Failure;
use pool::Pool;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use types::{PublicKey, Signature};

pub use provision::generate;

/// Loads the module, logs in, and finds both keys, in both tokens where there are two.
///
/// With a standby, one of the two may be failing at the start; it is looked for until it is there.
///
/// # Errors
/// [`StartError`] names module, token or key and the reason.
pub fn open(config: &Pkcs11Config) -> Result<Keys, StartError> {
    let stuck = Arc::new(AtomicU32::new(0));
    let first = Pool::load(config, &stuck)?;
    let Some(second) = config.of_standby() else {
        let public = first.connect()?;
        return Ok(keys(vec![first], &public, stuck));
    };
    if same_file(config, &second) {
        return Err(ConfigError::ModuleShared.about(second.module.display()));
    }
    let second = Pool::load(&second, &stuck)?;
    let public = match first.connect() {
        Ok(public) => {
            second.expect(&public);
            match second.connect() {
                Ok(_) => {}
                Err(StartError { subject, cause: StoreError::Fault(fault) }) => {
                    tracing::error!(%subject, %fault, "starting without the standby");
                    second.begin_open();
                }
                Err(error) => return Err(error),
            }
            public
        }
        Err(StartError { subject, cause: StoreError::Fault(fault) }) => {
            tracing::error!(%subject, %fault, "starting with the standby alone");
            let public = second.connect()?;
            first.expect(&public);
            first.begin_open();
            public
        }
        Err(error) => return Err(error),
    };
    Ok(keys(vec![first, second], &public, stuck))
}

/// Whether the loader would give both the same library.
fn same_file(one: &Pkcs11Config, other: &Pkcs11Config) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |path| std::fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    let identity = (identity(&one.module), identity(&other.module));
    matches!(identity, (Some(one), Some(other)) if one == other)
}

fn keys(pools: Vec<Pool>, public: &PublicKeys, stuck: Arc<AtomicU32>) -> Keys {
    let pools: Arc<[Pool]> = pools.into();
    let key = |role, public: &PublicKey| -> Box<dyn Signer> {
        let callers = (0..pools.len()).map(|place| Caller::new(&pools, place, role)).collect();
        Box::new(TokenKey { callers, public: public.clone() })
    };
    Keys {
        consensus: key(KeyRole::Consensus, &public.consensus),
        transport: key(KeyRole::Transport, &public.transport),
        modules_stuck: stuck,
    }
}

/// A private key in one token, or in two.
struct TokenKey {
    /// One for each token, in the order of preference.
    callers: Vec<Caller>,
    public: PublicKey,
}

impl Signer for TokenKey {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn module(&self) -> &str {
        self.callers[0].pool().module()
    }

    fn sign(&mut self, message: &[u8]) -> Result<Signature, StoreError> {
        let mut first = None;
        for caller in &mut self.callers {
            match caller.sign(message) {
                Ok(signature) => return Ok(signature),
                // The next one is for a token that fails, not for a request that does. One that rested when it was asked has
                // failed, though it may serve by now.
                Err(error) if caller.pool().serves() && error != Fault::TokenResting.into() => return Err(error),
                Err(error) => first = first.or(Some(error)),
            }
        }
        let first = first.expect("there is a token");
        let stuck = self.callers.iter().any(|caller| caller.pool().is_stuck());
        if stuck && self.callers.iter().all(|caller| caller.pool().is_lost()) {
            // What ends the process, so it is not told while a token may come back by itself.
            return Err(Fault::ModuleStuck.into());
        }
        match first {
            StoreError::Fault(Fault::ModuleStuck) => Err(Fault::TokenResting.into()),
            first => Err(first),
        }
    }
}

fn find_one_by(session: &Session, by: Attribute, class: ObjectClass) -> Result<ObjectHandle, Failure> {
    match session.find_objects(&[Attribute::Class(class), by])?[..] {
        [handle] => Ok(handle),
        [] => Err(ConfigError::KeyNotFound.into()),
        _ => Err(ConfigError::KeyAmbiguous.into()),
    }
}
