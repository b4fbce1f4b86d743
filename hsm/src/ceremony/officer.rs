//! An officer's key while he signs: out of a file under a passphrase, or in a token of his own.

use super::device::Modules;
use super::room::RoomError;
use crate::keystore;
use crate::pkcs11::admin::{AdminError, Administration};
use crate::secret::Secret;
use crate::signer::Signer;
use std::fmt;
use std::path::Path;
use types::{PublicKey, Signature};

/// An open key.
pub struct OfficerKey {
    seat: String,
    public: PublicKey,
    place: Place,
}

enum Place {
    File(Box<dyn Signer>),
    Token { token: Box<Administration>, label: String },
}

impl fmt::Debug for OfficerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OfficerKey({}, {:?})", self.seat, self.public)
    }
}

impl OfficerKey {
    /// Decrypts a file of `stele key generate`.
    ///
    /// # Errors
    /// Those of [`keystore::open_account_with`].
    pub fn in_file(seat: &str, path: &Path, passphrase: &Secret) -> Result<Self, RoomError> {
        let signer = keystore::open_account_with(path, passphrase)?;
        Ok(Self { seat: seat.to_owned(), public: signer.public_key().clone(), place: Place::File(signer) })
    }

    /// Logs in to the token with this label and finds the key.
    ///
    /// # Errors
    /// [`RoomError::Token`], and those of `pin`, which is called once, and not at all where the token asks by itself.
    pub fn in_token(
        seat: &str,
        modules: &Modules,
        (module, token, label): (&Path, &str, &str),
        pin: impl FnOnce() -> Result<Secret, RoomError>,
    ) -> Result<Self, RoomError> {
        enum Lost {
            Token(AdminError),
            Pin(RoomError),
        }
        impl From<AdminError> for Lost {
            fn from(error: AdminError) -> Self {
                Self::Token(error)
            }
        }
        let about = |cause| RoomError::Token { seat: seat.to_owned(), cause };
        let module = modules.load(module).map_err(about)?;
        let token = module.open(token, || pin().map_err(Lost::Pin)).map_err(|lost| match lost {
            Lost::Token(cause) => about(cause),
            Lost::Pin(error) => error,
        })?;
        let public = token.public_key(label).map_err(about)?;
        let place = Place::Token { token: Box::new(token), label: label.to_owned() };
        Ok(Self { seat: seat.to_owned(), public, place })
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs.
    ///
    /// # Errors
    /// Those of the file's key or the token.
    pub fn sign(&mut self, message: &[u8; 47]) -> Result<Signature, RoomError> {
        match &mut self.place {
            Place::File(signer) => {
                Ok(signer.sign(message).map_err(|error| error.about(format_args!("officer {:?}", self.seat)))?)
            }
            Place::Token { token, label } => {
                token.sign(label, message).map_err(|cause| RoomError::Token { seat: self.seat.clone(), cause })
            }
        }
    }
}

/// What is asked for to open a file.
pub fn passphrase_of(seat: &str, path: &Path) -> String {
    format!("{seat}: passphrase of {}", path.display())
}

/// What is asked for to open a token.
pub fn pin_of(seat: &str, token: &str) -> String {
    format!("{seat}: PIN of the token {token:?}")
}
