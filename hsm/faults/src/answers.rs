//! Wrong signatures.

#![allow(unsafe_code)]

use crate::control::Answer;
use crate::forward;
use crate::shim::{Scope, enter, enter_for_length, lock, steered};
use cryptoki_sys::*;

pub(crate) unsafe extern "C" fn sign_init(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    let other = {
        let shim = steered();
        (shim.control.answer == Some(Answer::OtherKey)).then(|| shim.control.other_key.clone())
    };
    let key = other.and_then(|label| find(session, &label)).unwrap_or(key);
    // SAFETY: the caller's arguments, or a key that the module behind just found.
    unsafe { forward::C_SignInit(session, mechanism, key) }
}

/// The private key with a label.
fn find(session: CK_SESSION_HANDLE, label: &str) -> Option<CK_OBJECT_HANDLE> {
    let real = enter(forward::Function::C_FindObjectsInit, Scope::Session(session)).ok()?;
    let (init, next, end) = (real.C_FindObjectsInit?, real.C_FindObjects?, real.C_FindObjectsFinal?);
    let mut class = CKO_PRIVATE_KEY;
    let mut label = label.as_bytes().to_vec();
    let mut template = [
        CK_ATTRIBUTE {
            type_: CKA_CLASS,
            pValue: (&raw mut class).cast(),
            ulValueLen: size_of::<CK_OBJECT_CLASS>() as CK_ULONG,
        },
        CK_ATTRIBUTE { type_: CKA_LABEL, pValue: label.as_mut_ptr().cast(), ulValueLen: label.len() as CK_ULONG },
    ];
    let (mut found, mut count) = (0, 0);
    // SAFETY: the template and both results live through the three calls.
    unsafe {
        if init(session, template.as_mut_ptr(), template.len() as CK_ULONG) != CKR_OK {
            return None;
        }
        next(session, &raw mut found, 1, &raw mut count);
        end(session);
    }
    (count == 1).then_some(found)
}

pub(crate) unsafe extern "C" fn sign(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    data_len: CK_ULONG,
    signature: *mut CK_BYTE,
    signature_len: *mut CK_ULONG,
) -> CK_RV {
    if signature.is_null() {
        return match enter_for_length(Scope::Session(session)) {
            // SAFETY: the caller's arguments, to the function that they are meant for.
            Ok(real) => real.C_Sign.map_or(CKR_FUNCTION_NOT_SUPPORTED, |sign| unsafe {
                sign(session, data, data_len, signature, signature_len)
            }),
            Err(code) => code,
        };
    }
    // SAFETY: the caller's arguments.
    let outcome = unsafe { forward::C_Sign(session, data, data_len, signature, signature_len) };
    if outcome != CKR_OK {
        return outcome;
    }
    // SAFETY: the module behind wrote a signature of that length, which is never empty.
    unsafe {
        match lock().control.answer {
            Some(Answer::FlippedBit) => *signature ^= 1,
            Some(Answer::Short) => *signature_len -= 1,
            Some(Answer::OtherKey) | None => {}
        }
    }
    outcome
}
