//! What each return code of a token means for us: PKCS#11 v3.1 §5.1, and what modules are known to return instead.

use crate::error::{ConfigError, Fault, StoreError};
use cryptoki::error::{Error, RvError};

/// What is to be done about a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    /// Drop the session; the same request once more in another one.
    NewSession,
    /// Find the key anew and check its attributes; the same request once more.
    NewHandle,
    /// Log in again; the same request once more.
    Login,
    /// Have fewer sessions; the same request once more.
    Shrink,
    /// Never ask the token again before a restart: a rejected PIN that is tried again locks the token.
    Latch(ConfigError),
    /// Leave the token alone for a while, then finalise and initialise the module.
    Open,
}

/// A failed call: for the caller, and for the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) error: StoreError,
    pub(super) reaction: Reaction,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error: short(&error), reaction: reaction(&error) }
    }
}

/// What is found out without a call that failed: the token is not as it was, or not as it must be.
impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self { error, reaction: Reaction::Open }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        StoreError::from(error).into()
    }
}

impl From<Fault> for Failure {
    fn from(error: Fault) -> Self {
        StoreError::from(error).into()
    }
}

pub(super) fn reaction(error: &Error) -> Reaction {
    use RvError as Rv;
    let Error::Pkcs11(code, _) = error else { return Reaction::Open };
    match code {
        Rv::SessionHandleInvalid | Rv::SessionClosed | Rv::OperationActive | Rv::OperationNotInitialized => {
            Reaction::NewSession
        }
        Rv::ObjectHandleInvalid | Rv::KeyHandleInvalid => Reaction::NewHandle,
        Rv::UserNotLoggedIn => Reaction::Login,
        Rv::DeviceMemory | Rv::HostMemory | Rv::SessionCount => Reaction::Shrink,
        code => pin_rejected(code).map_or(Reaction::Open, Reaction::Latch),
    }
}

/// The codes after which the same PIN must not be tried again.
fn pin_rejected(code: &RvError) -> Option<ConfigError> {
    use RvError as Rv;
    match code {
        Rv::PinIncorrect | Rv::PinInvalid | Rv::PinLenRange | Rv::UserPinNotInitialized => {
            Some(ConfigError::PinIncorrect)
        }
        Rv::PinLocked => Some(ConfigError::PinLocked),
        Rv::PinExpired => Some(ConfigError::PinExpired),
        _ => None,
    }
}

/// Our short reason; the module's code goes to the log.
pub(super) fn short(error: &Error) -> StoreError {
    use RvError as Rv;
    let Error::Pkcs11(code, function) = error else {
        tracing::warn!(?error, "PKCS#11 call failed");
        return match error {
            Error::NullFunctionPointer | Error::MissingSymbol(_) => ConfigError::MechanismMissing.into(),
            _ => Fault::TokenFailed.into(),
        };
    };
    tracing::warn!(?code, ?function, "PKCS#11 call failed");
    if let Some(reason) = pin_rejected(code) {
        return reason.into();
    }
    match code {
        Rv::MechanismInvalid
        | Rv::MechanismParamInvalid
        | Rv::CurveNotSupported
        | Rv::FunctionNotSupported
        | Rv::AttributeTypeInvalid
        | Rv::AttributeValueInvalid
        | Rv::TemplateIncomplete
        | Rv::TemplateInconsistent => ConfigError::MechanismMissing.into(),
        Rv::KeyTypeInconsistent | Rv::KeyFunctionNotPermitted => ConfigError::KeyUnsuitable.into(),
        Rv::TokenWriteProtected => ConfigError::TokenWriteProtected.into(),
        Rv::SessionHandleInvalid
        | Rv::SessionClosed
        | Rv::OperationActive
        | Rv::OperationNotInitialized
        | Rv::ObjectHandleInvalid
        | Rv::KeyHandleInvalid
        | Rv::UserNotLoggedIn => Fault::SessionLost.into(),
        Rv::DeviceRemoved | Rv::TokenNotPresent | Rv::TokenNotRecognized | Rv::SlotIdInvalid => Fault::TokenGone.into(),
        Rv::DeviceMemory | Rv::HostMemory | Rv::SessionCount => Fault::TokenExhausted.into(),
        _ => Fault::TokenFailed.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cryptoki::context::Function;

    fn error(code: RvError) -> Error {
        Error::Pkcs11(code, Function::Sign)
    }

    #[test]
    fn a_rejected_pin_is_never_a_reason_to_try_again() {
        for code in [RvError::PinIncorrect, RvError::PinLocked, RvError::PinExpired, RvError::PinLenRange] {
            let failure = Failure::from(error(code));
            assert!(matches!(failure.reaction, Reaction::Latch(reason) if failure.error == reason.into()));
        }
    }

    #[test]
    fn what_heals_by_itself_is_retried_and_a_broken_device_is_not() {
        for (code, expected) in [
            (RvError::SessionHandleInvalid, Reaction::NewSession),
            (RvError::OperationActive, Reaction::NewSession),
            (RvError::KeyHandleInvalid, Reaction::NewHandle),
            (RvError::UserNotLoggedIn, Reaction::Login),
            (RvError::SessionCount, Reaction::Shrink),
            (RvError::DeviceMemory, Reaction::Shrink),
            (RvError::DeviceError, Reaction::Open),
            (RvError::DeviceRemoved, Reaction::Open),
            (RvError::GeneralError, Reaction::Open),
            (RvError::UnknownErrorCode(7), Reaction::Open),
        ] {
            assert_eq!(reaction(&error(code)), expected, "{code:?}");
            assert!(matches!(short(&error(code)), StoreError::Fault(_)));
        }
    }
}
