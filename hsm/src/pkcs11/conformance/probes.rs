//! What a token says of itself, and how its sessions, logins and PINs behave.

use super::{Bench, Standing, code};
use crate::error::Fault;
use cryptoki::context::{CInitializeArgs, CInitializeFlags};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::{Limit, Slot, TokenInfo};
use cryptoki::types::AuthPin;

/// More sessions than Stele ever opens.
const SESSIONS: usize = 16;

pub(super) fn of_token(bench: &mut Bench<'_>, info: &TokenInfo) {
    let sessions = match info.max_session_count() {
        Limit::Max(most) => format!("{most}"),
        Limit::Infinite => "no limit".to_owned(),
        Limit::Unavailable => "not told".to_owned(),
    };
    bench.row("sessions, as told", Standing::Fine, sessions);
    bench.row("PIN length", Standing::Fine, format!("{} to {}", info.min_pin_length(), info.max_pin_length()));
    let mechanisms = bench.module.get_mechanism_list(bench.slot).map_or(0, |list| list.len());
    bench.row("mechanisms", Standing::Fine, mechanisms.to_string());
    if info.write_protected() {
        bench.row("write protection", Standing::Note, "on; keys are made elsewhere");
    }
    if info.protected_authentication_path() {
        bench.row("PIN pad", Standing::Fails, "the PIN is entered at the token, which a signer cannot do");
    }
}

/// A signature with the sample key, whatever its algorithm.
fn sign(session: &Session, key: ObjectHandle) -> Result<Vec<u8>, cryptoki::error::Error> {
    let kind = session.get_attributes(key, &[AttributeType::KeyType])?;
    if kind.contains(&Attribute::KeyType(KeyType::EC_EDWARDS)) {
        session.sign(&Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure)), key, &[7; 32])
    } else {
        session.sign(&Mechanism::Ecdsa, key, &[7; 32])
    }
}

fn find(session: &Session, label: &str) -> Vec<ObjectHandle> {
    let template = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Label(label.as_bytes().to_vec())];
    session.find_objects(&template).unwrap_or_default()
}

/// With the label of a key that signs. All sessions are closed before and after.
pub(super) fn of_sessions(bench: &mut Bench<'_>, sample: Option<&str>) {
    let Some(label) = sample else { return };
    if let Err(failure) = sessions(bench, label) {
        bench.row("sessions", Standing::Fails, format!("{failure:?}"));
    }
    if let Err(failure) = finalise(bench, label) {
        bench.row("C_Finalize and C_Initialize", Standing::Fails, format!("{failure:?}"));
    }
}

fn sessions(bench: &mut Bench<'_>, label: &str) -> Result<(), super::Failure> {
    let public = bench.module.open_ro_session(bench.slot)?;
    let hidden = find(&public, label).is_empty();
    let standing = if hidden { Standing::Fine } else { Standing::Note };
    bench.row("private keys without a login", standing, if hidden { "not found" } else { "found" });
    drop(public);

    let session = bench.session()?;
    let second = bench.module.open_ro_session(bench.slot)?;
    let state = second.get_session_info()?.session_state();
    let shared = matches!(state, SessionState::RoUser);
    let standing = if shared { Standing::Fine } else { Standing::Fails };
    bench.row("a login holds for later sessions", standing, format!("{state:?}"));
    drop(second);

    let mut open = Vec::new();
    let ended = loop {
        if open.len() == SESSIONS {
            break format!("{SESSIONS} more are no matter");
        }
        match bench.module.open_ro_session(bench.slot) {
            Ok(session) => open.push(session),
            Err(error) => break format!("{} more, then {}", open.len(), code(&error)),
        }
    };
    // Two keys can share one session, at the price that handshakes wait.
    let standing = if open.is_empty() { Standing::Note } else { Standing::Fine };
    bench.row("sessions, as found", standing, ended);
    drop(open);

    let Some(key) = find(&session, label).pop() else { return Ok(()) };
    session
        .sign_init(&Mechanism::Ecdsa, key)
        .or_else(|_| session.sign_init(&Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure)), key))?;
    let second = session
        .sign_init(&Mechanism::Ecdsa, key)
        .or_else(|_| session.sign_init(&Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure)), key));
    let found = second.map_or_else(|error| code(&error), |()| "accepted".to_owned());
    bench.row("a second C_SignInit", Standing::Fine, found);
    drop(session);

    let session = bench.session()?;
    let Some(key) = find(&session, label).pop() else { return Ok(()) };
    session.logout()?;
    let outcome = sign(&session, key);
    let standing = if outcome.is_err() { Standing::Fine } else { Standing::Fails };
    let found = outcome.map_or_else(|error| code(&error), |_| "signs".to_owned());
    bench.row("signing after a logout", standing, found);
    session.login(UserType::User, Some(&bench.pin))?;
    let old = sign(&session, key).map_or_else(|error| code(&error), |_| "valid".to_owned());
    bench.row("a key handle after a new login", Standing::Fine, old);
    match find(&session, label).pop().map(|key| sign(&session, key)) {
        Some(Ok(_)) => bench.row("a key found again after a new login", Standing::Fine, "signs"),
        other => bench.row("a key found again after a new login", Standing::Fails, format!("{other:?}")),
    }
    Ok(())
}

fn finalise(bench: &mut Bench<'_>, label: &str) -> Result<(), super::Failure> {
    let old = bench.session()?;
    let key = find(&old, label).pop();
    bench.module.clone().finalize()?;
    let after = bench.module.open_ro_session(bench.slot);
    let found = after.map_or_else(|error| code(&error), |_| "a session opens".to_owned());
    bench.row("after C_Finalize", Standing::Fine, found);
    bench.module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
    let ours = |slot: &Slot| bench.module.get_token_info(*slot).is_ok_and(|info| info.serial_number() == bench.serial);
    let slot = bench.module.get_slots_with_token()?.into_iter().find(ours).ok_or(Fault::TokenGone)?;
    let found = if slot == bench.slot { "as before" } else { "another one; Stele looks for the label" };
    bench.row("the slot after C_Initialize", Standing::Fine, found);
    bench.slot = slot;
    if let Some(key) = key {
        let found = sign(&old, key).map_or_else(|error| code(&error), |_| "signs".to_owned());
        let standing = if found == "signs" { Standing::Note } else { Standing::Fine };
        bench.row("an old session after C_Initialize", standing, found);
    }
    // Closing it could close a new session of the same number.
    std::mem::forget(old);
    let session = bench.session()?;
    match find(&session, label).pop().map(|key| sign(&session, key)) {
        Some(Ok(_)) => bench.row("C_Finalize and C_Initialize", Standing::Fine, "signs again"),
        other => bench.row("C_Finalize and C_Initialize", Standing::Fails, format!("{other:?}")),
    }
    Ok(())
}

/// One wrong PIN, for a token that was made for this.
pub(super) fn of_pin(bench: &mut Bench<'_>) {
    let outcome = bench.module.open_ro_session(bench.slot).map(|session| {
        let wrong = session.login(UserType::User, Some(&AuthPin::new("000000000000".into())));
        let right = session.login(UserType::User, Some(&bench.pin));
        (wrong, right)
    });
    match outcome {
        Ok((Err(wrong), Ok(()))) => {
            let known = matches!(super::policy::reaction(&wrong), super::policy::Reaction::Latch(_));
            let standing = if known { Standing::Fine } else { Standing::Fails };
            bench.row("a wrong PIN", standing, code(&wrong));
        }
        other => bench.row("a wrong PIN", Standing::Fails, format!("{other:?}")),
    }
}
