//! The functions that change what the shim knows: sessions, login, slots, and what a token says of itself.

#![allow(unsafe_code)]

use crate::forward::{self, FORWARD};
use crate::real::Real;
use crate::shim::{lock, steered};
use crate::{answers, handles};
use cryptoki_sys::*;
use std::ffi::c_void;

/// What callers get.
pub(crate) static LIST: CK_FUNCTION_LIST = CK_FUNCTION_LIST {
    C_Finalize: Some(finalize),
    C_GetSlotList: Some(slot_list),
    C_GetTokenInfo: Some(token_info),
    C_GetMechanismList: Some(mechanism_list),
    C_OpenSession: Some(open_session),
    C_CloseSession: Some(close_session),
    C_CloseAllSessions: Some(close_all_sessions),
    C_Login: Some(login),
    C_GetAttributeValue: Some(handles::attribute_value),
    C_SignInit: Some(answers::sign_init),
    C_Sign: Some(answers::sign),
    ..FORWARD
};

unsafe extern "C" fn finalize(reserved: *mut c_void) -> CK_RV {
    // SAFETY: the caller's arguments.
    let outcome = unsafe { forward::C_Finalize(reserved) };
    if outcome == CKR_OK {
        lock().finalised();
    }
    outcome
}

unsafe extern "C" fn slot_list(present: CK_BBOOL, list: *mut CK_SLOT_ID, count: *mut CK_ULONG) -> CK_RV {
    // SAFETY: the caller's arguments.
    let outcome = unsafe { forward::C_GetSlotList(present, list, count) };
    if outcome == CKR_OK && !lock().control.token.present {
        // SAFETY: the module behind wrote to it.
        unsafe { *count = 0 };
    }
    outcome
}

unsafe extern "C" fn token_info(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) -> CK_RV {
    // SAFETY: the caller's arguments.
    let outcome = unsafe { forward::C_GetTokenInfo(slot, info) };
    if outcome == CKR_OK {
        let control = &lock().control;
        // SAFETY: the module behind wrote to it, and nobody else holds it.
        let info = unsafe { &mut *info };
        info.flags = (info.flags | control.token.flags_set) & !control.token.flags_clear;
        if let (true, Some(most)) = (control.tells_sessions_max, control.sessions_max) {
            info.ulMaxSessionCount = most;
        }
    }
    outcome
}

unsafe extern "C" fn mechanism_list(slot: CK_SLOT_ID, list: *mut CK_MECHANISM_TYPE, count: *mut CK_ULONG) -> CK_RV {
    // SAFETY: the caller's arguments.
    let outcome = unsafe { forward::C_GetMechanismList(slot, list, count) };
    if outcome == CKR_OK && !list.is_null() {
        // SAFETY: the module behind wrote that many.
        let listed = unsafe { std::slice::from_raw_parts_mut(list, *count as usize) };
        let hidden = &lock().control.mechanisms_hidden;
        let mut kept = 0;
        for index in 0..listed.len() {
            if !hidden.contains(&listed[index]) {
                listed[kept] = listed[index];
                kept += 1;
            }
        }
        // SAFETY: as above. The first call, which asks how many there are, may be told more than there are then.
        unsafe { *count = kept as CK_ULONG };
    }
    outcome
}

unsafe extern "C" fn open_session(
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    application: *mut c_void,
    notify: CK_NOTIFY,
    session: *mut CK_SESSION_HANDLE,
) -> CK_RV {
    {
        let shim = steered();
        if shim.control.sessions_max.is_some_and(|most| shim.sessions.len() as u64 >= most) {
            return CKR_SESSION_COUNT;
        }
    }
    // SAFETY: the caller's arguments.
    let outcome = unsafe { forward::C_OpenSession(slot, flags, application, notify, session) };
    if outcome == CKR_OK {
        // SAFETY: the module behind wrote to it.
        lock().sessions.insert(unsafe { *session }, slot);
    }
    outcome
}

unsafe extern "C" fn close_session(session: CK_SESSION_HANDLE) -> CK_RV {
    // SAFETY: the caller's arguments.
    let outcome = unsafe { forward::C_CloseSession(session) };
    if outcome == CKR_OK {
        lock().sessions.remove(&session);
    }
    outcome
}

unsafe extern "C" fn close_all_sessions(slot: CK_SLOT_ID) -> CK_RV {
    // SAFETY: the caller's arguments.
    let outcome = unsafe { forward::C_CloseAllSessions(slot) };
    if outcome == CKR_OK {
        lock().sessions.retain(|_, of| *of != slot);
    }
    outcome
}

unsafe extern "C" fn login(
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    pin: *mut CK_UTF8CHAR,
    len: CK_ULONG,
) -> CK_RV {
    steered().before_login();
    // SAFETY: the caller's arguments.
    let outcome = unsafe { forward::C_Login(session, user, pin, len) };
    lock().after_login(outcome);
    outcome
}

/// Ends the sessions of a slot in the module behind.
pub(crate) fn close_all(real: Real, slot: CK_SLOT_ID) {
    if let Some(close) = real.C_CloseAllSessions {
        // SAFETY: takes a number; one that is no slot is an error of the module.
        unsafe { close(slot) };
    }
}
