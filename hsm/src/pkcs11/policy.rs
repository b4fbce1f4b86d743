//! What each return code of a token means for us: PKCS#11 v3.1 §5.1, and what modules are known to return instead.

use crate::error::{ConfigError, Fault, StoreError};
use cryptoki::error::{Error, RvError};

/// What to do after a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    /// Drop the session, open a new one, log in and find the key anew, and make the same request once more.
    NewSession,
    /// Never ask the token again before a restart.
    Latch,
    /// Report it; the next request comes after a pause.
    Rest,
}

pub(super) fn reaction(error: &Error) -> Reaction {
    use RvError as Rv;
    match error {
        Error::Pkcs11(
            Rv::SessionHandleInvalid
            | Rv::SessionClosed
            | Rv::OperationActive
            | Rv::OperationNotInitialized
            | Rv::ObjectHandleInvalid
            | Rv::KeyHandleInvalid
            | Rv::UserNotLoggedIn,
            _,
        ) => Reaction::NewSession,
        Error::Pkcs11(
            Rv::PinIncorrect
            | Rv::PinInvalid
            | Rv::PinLenRange
            | Rv::PinExpired
            | Rv::PinLocked
            | Rv::UserPinNotInitialized,
            _,
        ) => Reaction::Latch,
        _ => Reaction::Rest,
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
    match code {
        Rv::PinIncorrect | Rv::PinInvalid | Rv::PinLenRange | Rv::UserPinNotInitialized => {
            ConfigError::PinIncorrect.into()
        }
        Rv::PinLocked => ConfigError::PinLocked.into(),
        Rv::PinExpired => ConfigError::PinExpired.into(),
        Rv::MechanismInvalid
        | Rv::MechanismParamInvalid
        | Rv::CurveNotSupported
        | Rv::FunctionNotSupported
        | Rv::AttributeTypeInvalid
        | Rv::AttributeValueInvalid
        | Rv::TemplateIncomplete
        | Rv::TemplateInconsistent => ConfigError::MechanismMissing.into(),
        Rv::KeyTypeInconsistent | Rv::KeyFunctionNotPermitted => ConfigError::KeyUnsuitable.into(),
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
            assert_eq!(reaction(&error(code)), Reaction::Latch);
            assert!(matches!(short(&error(code)), StoreError::Config(_)));
        }
    }

    #[test]
    fn a_lost_session_is_retried_and_a_broken_device_is_not() {
        assert_eq!(reaction(&error(RvError::SessionHandleInvalid)), Reaction::NewSession);
        assert_eq!(reaction(&error(RvError::UserNotLoggedIn)), Reaction::NewSession);
        for code in [RvError::DeviceError, RvError::DeviceRemoved, RvError::GeneralError, RvError::UnknownErrorCode(7)]
        {
            assert_eq!(reaction(&error(code)), Reaction::Rest);
            assert!(matches!(short(&error(code)), StoreError::Fault(_)));
        }
    }
}
