//! Keys in a token: found by class and label or CKA_ID, and checked to be what they must be, each time they are found.

use super::mechanism::Mechanisms;
use super::{find_one_by, point, policy};
use crate::error::{ConfigError, Fault, StoreError};
use cryptoki::error::Error;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use types::{AlgId, PublicKey};

/// CKA_EC_PARAMS of the curves: OIDs, and names as PrintableString where modules use them.
const CURVES: [(&[u8], AlgId); 6] = [
    // 1.3.101.112
    (&[0x06, 0x03, 0x2b, 0x65, 0x70], AlgId::Ed25519),
    (b"\x13\x0cedwards25519", AlgId::Ed25519),
    // 1.2.840.10045.3.1.7
    (&[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07], AlgId::EcdsaP256),
    (b"\x13\x09secp256r1", AlgId::EcdsaP256),
    (b"\x13\x0aprime256v1", AlgId::EcdsaP256),
    // 1.2.156.10197.1.301
    (&[0x06, 0x08, 0x2a, 0x81, 0x1c, 0xcf, 0x55, 0x01, 0x82, 0x2d], AlgId::Sm2Sm3),
];

/// CKA_EC_PARAMS to make a key with.
pub(super) fn params(alg: AlgId) -> Option<&'static [u8]> {
    CURVES.iter().find(|(_, of)| *of == alg).map(|(params, _)| *params)
}

/// The algorithm of a key with this CKA_EC_PARAMS.
fn algorithm(params: &[u8]) -> Option<AlgId> {
    CURVES.iter().find(|(known, _)| *known == params).map(|(_, alg)| *alg)
}

/// How a key is found.
#[derive(Clone, Debug)]
pub(super) struct Name {
    /// CKA_LABEL.
    pub(super) label: String,
    /// CKA_ID, which is then used instead.
    pub(super) id: Option<Vec<u8>>,
}

impl Name {
    fn attribute(&self) -> Attribute {
        match &self.id {
            Some(id) => Attribute::Id(id.clone()),
            None => Attribute::Label(self.label.as_bytes().to_vec()),
        }
    }
}

/// The one private key with the name, checked to be what it must be.
pub(super) fn find_private(session: &Session, name: &Name) -> Result<ObjectHandle, policy::Failure> {
    let handle = find_one_by(session, name.attribute(), ObjectClass::PRIVATE_KEY)?;
    let wanted = [AttributeType::KeyType, AttributeType::Sensitive, AttributeType::Extractable, AttributeType::Sign];
    let attributes = session.get_attributes(handle, &wanted)?;
    let has = |attribute: Attribute| attributes.contains(&attribute);
    if has(Attribute::Extractable(true)) || has(Attribute::Sensitive(false)) {
        return Err(ConfigError::KeyExtractable.into());
    }
    let curve = has(Attribute::KeyType(KeyType::EC_EDWARDS)) || has(Attribute::KeyType(KeyType::EC));
    let suitable =
        curve && has(Attribute::Sensitive(true)) && has(Attribute::Extractable(false)) && has(Attribute::Sign(true));
    if suitable { Ok(handle) } else { Err(ConfigError::KeyUnsuitable.into()) }
}

/// The public key with the name, on a curve that the mechanisms can sign on.
pub(super) fn find_public(
    session: &Session,
    name: &Name,
    mechanisms: &Mechanisms,
) -> Result<PublicKey, policy::Failure> {
    let handle = find_one_by(session, name.attribute(), ObjectClass::PUBLIC_KEY).map_err(|failure| {
        match failure.error {
            // The private key is there, so this is another matter than a wrong label.
            StoreError::Config(ConfigError::KeyNotFound) => ConfigError::KeyUnsuitable.into(),
            _ => failure,
        }
    })?;
    let (alg, bytes) = curve_and_point(session, handle)?;
    let alg = alg.ok_or(ConfigError::KeyUnsuitable)?;
    if alg == AlgId::Sm2Sm3 && !mechanisms.signs_sm2() {
        // Such a token signs plain ECDSA on the curve of SM2, which is no SM2 signature.
        return Err(ConfigError::CurveUnmapped.into());
    }
    point::decode(alg, &bytes).ok_or(ConfigError::KeyUnsuitable.into())
}

/// The algorithm of the curve that a public key is on, where it is a known one, and its point as the token encodes it.
pub(super) fn curve_and_point(session: &Session, handle: ObjectHandle) -> Result<(Option<AlgId>, Vec<u8>), Error> {
    let (mut alg, mut point) = (None, Vec::new());
    for attribute in session.get_attributes(handle, &[AttributeType::EcParams, AttributeType::EcPoint])? {
        match attribute {
            Attribute::EcParams(params) => alg = algorithm(&params),
            Attribute::EcPoint(bytes) => point = bytes,
            _ => {}
        }
    }
    Ok((alg, point))
}

/// A key that was there at the start and is not now: the token is another one, or gone.
pub(super) fn gone(failure: policy::Failure) -> policy::Failure {
    match failure.error {
        StoreError::Config(_) => Fault::TokenGone.into(),
        StoreError::Fault(_) => failure,
    }
}
