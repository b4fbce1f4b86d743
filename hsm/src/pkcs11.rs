//! Keys in a token: one module, one C_Initialize, one login, a session for each key.
//!
//! Sessions heal by error code (see `policy`): a lost session, login or handle is replaced once and the same request
//! made once more; a rejected PIN closes the token for good, because tokens lock; a failing token is left alone for a
//! while. Deliberately absent: pools, fail-over and C_Finalize recovery.

mod point;
mod policy;
mod provision;
mod token;

use crate::config::Pkcs11Config;
use crate::error::{ConfigError, Fault, StartError, StoreError};
use crate::signer::{Keys, Signer};
use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use policy::Reaction;
use std::sync::Arc;
use std::time::{Duration, Instant};
use token::Token;
use types::{AlgId, PublicKey, Signature};

pub use provision::generate;

/// First pause after a failure of the token; doubled by each further one.
const REST_MIN: Duration = Duration::from_millis(50);
/// Longest pause.
const REST_MAX: Duration = Duration::from_secs(5);

/// CKA_EC_PARAMS of Ed25519: its OID 1.3.101.112, and the name as PrintableString.
const ED25519_PARAMS: [&[u8]; 2] = [&[0x06, 0x03, 0x2b, 0x65, 0x70], b"\x13\x0cedwards25519"];

/// Loads the module, logs in, and finds both keys.
///
/// # Errors
/// [`StartError`] names module, token or key and the reason.
pub fn open(config: &Pkcs11Config) -> Result<Keys, StartError> {
    let token = Arc::new(Token::open(config)?);
    let key = |label: &str| {
        let key = TokenKey::open(&token, label).map_err(|cause| cause.about(format_args!("key {label:?}")))?;
        Ok::<Box<dyn Signer>, StartError>(Box::new(key))
    };
    Ok(Keys { consensus: key(&config.consensus_label)?, transport: key(&config.transport_label)? })
}

/// A private key in a token, with a session of its own.
struct TokenKey {
    /// Before the token, so that it is closed before the module is finalised.
    open: Option<(Session, ObjectHandle)>,
    token: Arc<Token>,
    label: String,
    public: PublicKey,
    /// After a failure: until when the token is left alone, and how long the pause is.
    resting: Option<(Instant, Duration)>,
}

impl TokenKey {
    fn open(token: &Arc<Token>, label: &str) -> Result<Self, StoreError> {
        let session = token.session()?;
        let handle = find_private(&session, label)?;
        let public = find_public(&session, label)?;
        let open = Some((session, handle));
        Ok(Self { token: Arc::clone(token), label: label.to_owned(), public, open, resting: None })
    }

    fn attempt(&mut self, message: &[u8]) -> Result<Signature, Attempt> {
        let (session, handle) = match self.open.take() {
            Some(open) => open,
            None => {
                let session = self.token.session()?;
                // It was there at the start, so the token is another one now, or gone.
                let handle = find_private(&session, &self.label).map_err(|error| match error {
                    StoreError::Config(_) => Fault::TokenGone.into(),
                    fault => fault,
                })?;
                (session, handle)
            }
        };
        let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
        // On failure the session is dropped, and with it closed: what state it is in is unknown.
        let signature = session.sign(&mechanism, handle, message)?;
        self.open = Some((session, handle));
        Signature::from_parts(AlgId::Ed25519, &signature).map_err(|_| Fault::WrongSignature.into())
    }
}

impl Signer for TokenKey {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn module(&self) -> &str {
        self.token.module()
    }

    fn sign(&mut self, message: &[u8]) -> Result<Signature, StoreError> {
        self.token.check_latch()?;
        let last_rest = match self.resting {
            Some((until, _)) if Instant::now() < until => return Err(Fault::TokenResting.into()),
            Some((_, rest)) => rest,
            None => Duration::ZERO,
        };
        let outcome = match self.attempt(message) {
            Err(attempt) if attempt.retry => {
                tracing::warn!(key = %self.label, error = %attempt.error, "token session lost; once more with a new one");
                self.attempt(message).map_err(|attempt| attempt.error)
            }
            outcome => outcome.map_err(|attempt| attempt.error),
        };
        self.resting = match outcome {
            Err(StoreError::Fault(_)) => {
                let rest = (last_rest * 2).clamp(REST_MIN, REST_MAX);
                Some((Instant::now() + rest, rest))
            }
            _ => None,
        };
        outcome
    }
}

/// A failed attempt to sign, and whether a new session may help.
struct Attempt {
    error: StoreError,
    retry: bool,
}

impl From<Error> for Attempt {
    fn from(error: Error) -> Self {
        Self { error: policy::short(&error), retry: policy::reaction(&error) == Reaction::NewSession }
    }
}

impl<E: Into<StoreError>> From<E> for Attempt
where
    E: Copy,
{
    fn from(error: E) -> Self {
        Self { error: error.into(), retry: false }
    }
}

/// The one private key with the label, checked to be what it must be.
fn find_private(session: &Session, label: &str) -> Result<ObjectHandle, StoreError> {
    let handle = find_one(session, label, ObjectClass::PRIVATE_KEY)?;
    let wanted = [AttributeType::KeyType, AttributeType::Sensitive, AttributeType::Extractable, AttributeType::Sign];
    let attributes = session.get_attributes(handle, &wanted).map_err(|error| policy::short(&error))?;
    let has = |attribute: Attribute| attributes.contains(&attribute);
    let suitable = has(Attribute::KeyType(KeyType::EC_EDWARDS))
        && has(Attribute::Sensitive(true))
        && has(Attribute::Extractable(false))
        && has(Attribute::Sign(true));
    if suitable { Ok(handle) } else { Err(ConfigError::KeyUnsuitable.into()) }
}

/// The Ed25519 public key with the label.
fn find_public(session: &Session, label: &str) -> Result<PublicKey, StoreError> {
    let handle = find_one(session, label, ObjectClass::PUBLIC_KEY).map_err(|error| match error {
        // The private key is there, so this is another matter than a wrong label.
        StoreError::Config(ConfigError::KeyNotFound) => ConfigError::KeyUnsuitable.into(),
        other => other,
    })?;
    let wanted = [AttributeType::EcParams, AttributeType::EcPoint];
    let attributes = session.get_attributes(handle, &wanted).map_err(|error| policy::short(&error))?;
    let mut curve = false;
    let mut key = None;
    for attribute in attributes {
        match attribute {
            Attribute::EcParams(params) => curve = ED25519_PARAMS.contains(&params.as_slice()),
            Attribute::EcPoint(bytes) => key = point::ed25519(&bytes),
            _ => {}
        }
    }
    key.filter(|_| curve).ok_or(ConfigError::KeyUnsuitable.into())
}

fn find_one(session: &Session, label: &str, class: ObjectClass) -> Result<ObjectHandle, StoreError> {
    match find(session, label, class)?[..] {
        [handle] => Ok(handle),
        [] => Err(ConfigError::KeyNotFound.into()),
        _ => Err(ConfigError::KeyAmbiguous.into()),
    }
}

fn find(session: &Session, label: &str, class: ObjectClass) -> Result<Vec<ObjectHandle>, StoreError> {
    let template = [Attribute::Class(class), Attribute::Label(label.as_bytes().to_vec())];
    session.find_objects(&template).map_err(|error| policy::short(&error))
}
