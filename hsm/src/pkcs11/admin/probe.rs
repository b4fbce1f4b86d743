//! Tries to get a private key out of a token. Six attributes say what the token claims; five attempts see what it does:
//! reading the value, making the key extractable or insensitive, copying it as extractable, and wrapping it under a key
//! that we know how to unwrap with. All five must fail, and what they would leave behind is removed.

use super::AdminError;
use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeInfo, AttributeType, ObjectHandle};
use cryptoki::session::Session;

/// What one probe saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Which probe: the names of `ceremony::entry::PROBES`.
    pub probe: &'static str,
    /// What the token said.
    pub observed: String,
    /// Whether a key that stays where it is would have said so.
    pub held: bool,
}

/// The probes, in order.
pub(super) fn all(session: &Session, key: ObjectHandle) -> Result<Vec<Observation>, AdminError> {
    let mut seen = attributes(session, key)?;
    seen.push(read_value(session, key)?);
    seen.push(change(session, key, "make-extractable", Attribute::Extractable(true))?);
    seen.push(change(session, key, "make-insensitive", Attribute::Sensitive(false))?);
    seen.push(copy(session, key)?);
    seen.push(wrap(session, key)?);
    Ok(seen)
}

fn attributes(session: &Session, key: ObjectHandle) -> Result<Vec<Observation>, AdminError> {
    let wanted: [(&str, AttributeType, Attribute); 6] = [
        ("sensitive", AttributeType::Sensitive, Attribute::Sensitive(true)),
        ("not-extractable", AttributeType::Extractable, Attribute::Extractable(false)),
        ("always-sensitive", AttributeType::AlwaysSensitive, Attribute::AlwaysSensitive(true)),
        ("never-extractable", AttributeType::NeverExtractable, Attribute::NeverExtractable(true)),
        ("local", AttributeType::Local, Attribute::Local(true)),
        ("private", AttributeType::Private, Attribute::Private(true)),
    ];
    wanted
        .into_iter()
        .map(|(probe, kind, expected)| {
            let found = session.get_attributes(key, &[kind])?;
            let observed = found.first().map_or("not told".to_owned(), |attribute| format!("{attribute:?}"));
            Ok(Observation { probe, observed, held: found.contains(&expected) })
        })
        .collect()
}

fn read_value(session: &Session, key: ObjectHandle) -> Result<Observation, AdminError> {
    let info = session.get_attribute_info(key, &[AttributeType::Value])?;
    let held = matches!(info[..], [AttributeInfo::Sensitive | AttributeInfo::TypeInvalid | AttributeInfo::Unavailable]);
    // The length of a value that can be read is told, and never the value.
    Ok(Observation { probe: "read-value", observed: format!("{info:?}"), held })
}

fn change(session: &Session, key: ObjectHandle, probe: &'static str, to: Attribute) -> Result<Observation, AdminError> {
    let kind = to.attribute_type();
    let answer = session.update_attributes(key, std::slice::from_ref(&to));
    // A token may say yes and do nothing.
    let changed = session.get_attributes(key, &[kind])?.contains(&to);
    Ok(Observation { probe, observed: said(&answer), held: answer.is_err() && !changed })
}

fn copy(session: &Session, key: ObjectHandle) -> Result<Observation, AdminError> {
    let template = [Attribute::Token(false), Attribute::Extractable(true), Attribute::Sensitive(false)];
    let answer = session.copy_object(key, &template);
    let observed = said(&answer);
    let held = answer.is_err();
    if let Ok(copy) = answer {
        session.destroy_object(copy)?;
    }
    Ok(Observation { probe: "copy-extractable", observed, held })
}

fn wrap(session: &Session, key: ObjectHandle) -> Result<Observation, AdminError> {
    let template = [
        Attribute::Token(false),
        Attribute::ValueLen(32.into()),
        Attribute::Wrap(true),
        Attribute::Unwrap(true),
        Attribute::Extractable(false),
    ];
    let wrapping = match session.generate_key(&Mechanism::AesKeyGen, &template) {
        Ok(wrapping) => wrapping,
        // A token without AES wraps nothing under it.
        Err(error) => {
            let observed = format!("no wrapping key: {}", code(&error));
            return Ok(Observation { probe: "wrap", observed, held: true });
        }
    };
    let answers =
        [Mechanism::AesKeyWrapPad, Mechanism::AesKeyWrap].map(|mechanism| session.wrap_key(&mechanism, wrapping, key));
    session.destroy_object(wrapping)?;
    let observed = answers.each_ref().map(said).join(", ");
    Ok(Observation { probe: "wrap", observed, held: answers.iter().all(Result::is_err) })
}

fn said<T>(answer: &Result<T, Error>) -> String {
    match answer {
        Ok(_) => "Ok".to_owned(),
        Err(error) => code(error),
    }
}

fn code(error: &Error) -> String {
    match error {
        Error::Pkcs11(code, _) => format!("{code:?}"),
        _ => "the module does not offer this".to_owned(),
    }
}
