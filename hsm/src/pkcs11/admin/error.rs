//! Why a token was not administered: short reasons, fit for a transcript and for an operator.

use crate::error::{ConfigError, StoreError};
use crate::pkcs11::policy;
use cryptoki::error::{Error, RvError};

/// Why a token was not administered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// One of the reasons that signing has too.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A token with the label is there already.
    #[error("there is a token with this label already")]
    TokenExists,
    /// No slot without an initialised token.
    #[error("no slot is free for a new token")]
    NoFreeSlot,
    /// CKR_DEVICE_MEMORY.
    #[error("the token is full")]
    Full,
    /// Any other return code.
    #[error("the module failed in {function} with {code:?}")]
    Call {
        /// Its code.
        code: RvError,
        /// Where.
        function: String,
    },
}

impl From<ConfigError> for AdminError {
    fn from(error: ConfigError) -> Self {
        Self::Store(error.into())
    }
}

impl From<Error> for AdminError {
    fn from(error: Error) -> Self {
        match error {
            Error::Pkcs11(RvError::TokenWriteProtected | RvError::SessionReadOnly, _) => {
                ConfigError::TokenWriteProtected.into()
            }
            Error::Pkcs11(RvError::DeviceMemory, _) => Self::Full,
            Error::Pkcs11(RvError::UserPinNotInitialized, _) => ConfigError::TokenUninitialised.into(),
            // Reasons of their own: PIN, mechanism, a token that went away.
            ref known => match (policy::short(known), known) {
                (StoreError::Fault(crate::Fault::TokenFailed), Error::Pkcs11(code, function)) => {
                    Self::Call { code: *code, function: format!("{function:?}") }
                }
                (reason, _) => Self::Store(reason),
            },
        }
    }
}

impl From<AdminError> for StoreError {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::Store(reason) => reason,
            AdminError::NoFreeSlot => ConfigError::TokenAbsent.into(),
            AdminError::TokenExists => ConfigError::TokenAmbiguous.into(),
            AdminError::Full => crate::Fault::TokenExhausted.into(),
            AdminError::Call { .. } => crate::Fault::TokenFailed.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cryptoki::context::Function;

    #[test]
    fn a_full_a_protected_and_an_empty_token_have_reasons_of_their_own() {
        let of = |code| AdminError::from(Error::Pkcs11(code, Function::GenerateKeyPair));
        assert_eq!(of(RvError::DeviceMemory), AdminError::Full);
        assert_eq!(of(RvError::TokenWriteProtected), ConfigError::TokenWriteProtected.into());
        assert_eq!(of(RvError::UserPinNotInitialized), ConfigError::TokenUninitialised.into());
        assert_eq!(of(RvError::PinIncorrect), ConfigError::PinIncorrect.into());
        assert_eq!(of(RvError::PinLocked), ConfigError::PinLocked.into());
        let unknown = of(RvError::DeviceError);
        assert!(matches!(unknown, AdminError::Call { code: RvError::DeviceError, .. }));
        assert!(unknown.to_string().len() < 80, "short, for a transcript: {unknown}");
    }
}
