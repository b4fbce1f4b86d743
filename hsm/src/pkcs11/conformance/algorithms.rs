//! Keys: which can be made, whether their signatures are what they should be, whether they can leave.

use super::{Bench, PointEncoding, Standing, code, encoding};
use crate::pkcs11::key;
use crate::pkcs11::point;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::Session;
use std::time::Instant;
use types::{AlgId, PublicKey, Signature};

const MESSAGE: &[u8] = b"stele-conformance-1: this signature is of no use";
/// How many signatures a latency is taken from.
const SAMPLES: usize = 21;

/// What can be used.
pub(super) struct Found {
    pub(super) algorithms: Vec<AlgId>,
    pub(super) ec_point: Option<PointEncoding>,
    /// Label of a key that signs.
    pub(super) sample: Option<String>,
}

pub(super) fn examine(bench: &mut Bench<'_>, session: &Session) -> Found {
    let mut found = Found { algorithms: Vec::new(), ec_point: None, sample: None };
    for (alg, case, generation) in [
        (AlgId::Ed25519, "Ed25519", Mechanism::EccEdwardsKeyPairGen),
        (AlgId::EcdsaP256, "ECDSA P-256", Mechanism::EccKeyPairGen),
    ] {
        let mut made = generate(bench, session, alg, &generation, true);
        if let Err(Error::Pkcs11(
            code @ (RvError::AttributeReadOnly
            | RvError::AttributeTypeInvalid
            | RvError::AttributeValueInvalid
            | RvError::TemplateInconsistent),
            _,
        )) = made
        {
            made = generate(bench, session, alg, &generation, false);
            if made.is_ok() {
                let found = format!("refused: {code:?}; needs a profile with cka_id_free = false");
                bench.row("choosing CKA_ID", Standing::Note, found);
            }
        }
        match made {
            Ok((private, public, label)) => {
                if let Some(encoding) = check_key(bench, session, alg, case, private, public) {
                    found.algorithms.push(alg);
                    found.ec_point.get_or_insert(encoding);
                    found.sample.get_or_insert(label);
                }
            }
            Err(error) => bench.row(case, Standing::Note, format!("no key: {}", code(&error))),
        }
    }
    let listed = bench.module.get_mechanism_list(bench.slot).unwrap_or_default();
    let hashes = if listed.contains(&MechanismType::ECDSA_SHA256) { "offered" } else { "absent; not needed" };
    bench.row("CKM_ECDSA_SHA256", Standing::Fine, hashes);
    sm2_curve(bench, session);
    if found.algorithms.is_empty() {
        bench.row("an algorithm of validators", Standing::Fails, "neither Ed25519 nor ECDSA P-256");
    }
    found
}

fn generate(
    bench: &mut Bench<'_>,
    session: &Session,
    alg: AlgId,
    generation: &Mechanism<'_>,
    with_id: bool,
) -> Result<(ObjectHandle, ObjectHandle, String), Error> {
    let label = format!("stele-conformance-{}-{}", alg.name(), std::process::id());
    let name = || Attribute::Label(label.as_bytes().to_vec());
    let params = key::params(alg).expect("in the table of curves").to_vec();
    let id = || with_id.then(|| Attribute::Id(label.as_bytes().to_vec()));
    let mut public = vec![name(), Attribute::Token(true), Attribute::Verify(true), Attribute::EcParams(params)];
    public.extend(id());
    let mut private = vec![
        name(),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
    ];
    private.extend(id());
    let (public, private) = session.generate_key_pair(generation, &public, &private)?;
    bench.made.push(label.clone());
    Ok((private, public, label))
}

/// The encoding of its point, where the key can be used.
fn check_key(
    bench: &mut Bench<'_>,
    session: &Session,
    alg: AlgId,
    case: &'static str,
    private: ObjectHandle,
    public: ObjectHandle,
) -> Option<PointEncoding> {
    let attributes = session.get_attributes(public, &[AttributeType::EcPoint]);
    let Ok([Attribute::EcPoint(bytes)]) = attributes.as_deref() else {
        bench.row(case, Standing::Note, "CKA_EC_POINT cannot be read");
        return None;
    };
    let (Some(key), Some(encoding)) = (point::decode(alg, bytes), encoding(alg, bytes)) else {
        bench.row(case, Standing::Note, format!("CKA_EC_POINT is not understood: {}", hex::encode(bytes)));
        return None;
    };
    let mut times = Vec::new();
    let (mut high, mut different) = (0, false);
    let mut first = None;
    for _ in 0..SAMPLES {
        let start = Instant::now();
        let raw = match sign(session, private, &key, &pure(alg)) {
            Ok(raw) => raw,
            Err(error) => {
                bench.row(case, Standing::Note, format!("does not sign: {}", code(&error)));
                return None;
            }
        };
        times.push(start.elapsed().as_micros());
        let normal = normalised(alg, &raw);
        let verifies = normal.as_ref().is_some_and(|signature| key.verify_bytes(MESSAGE, signature).is_ok());
        if !verifies {
            bench.row(case, Standing::Note, "its signatures do not verify");
            return None;
        }
        high += usize::from(normal.as_ref().is_some_and(|signature| signature.as_bytes() != raw));
        different |= first.get_or_insert_with(|| raw.clone()) != &raw;
    }
    times.sort_unstable();
    let nonces = if different { "nonces are random" } else { "deterministic" };
    bench.row(
        case,
        Standing::Fine,
        format!("signs and verifies; {nonces}; p50 {} µs; point: {encoding:?}", times[SAMPLES / 2]),
    );
    if alg == AlgId::EcdsaP256 {
        bench.row("high s", Standing::Fine, format!("{high} of {SAMPLES}; made low by Stele"));
    } else if different {
        bench.row("Ed25519 is deterministic (RFC 8032)", Standing::Fails, "two signatures of one message differ");
        return None;
    } else {
        let first = first.as_deref().expect("at least one sample");
        contexts(bench, session, private, &key, first);
    }
    leaves(bench, session, private).then_some(encoding)
}

fn pure(alg: AlgId) -> Mechanism<'static> {
    if alg == AlgId::Ed25519 {
        Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure))
    } else {
        Mechanism::Ecdsa
    }
}

fn sign(
    session: &Session,
    private: ObjectHandle,
    key: &PublicKey,
    mechanism: &Mechanism<'_>,
) -> Result<Vec<u8>, Error> {
    if key.alg() == AlgId::Ed25519 {
        return session.sign(mechanism, private, MESSAGE);
    }
    let digest = key.prehash(MESSAGE).expect("an algorithm with a digest");
    session.sign(mechanism, private, &digest)
}

fn normalised(alg: AlgId, raw: &[u8]) -> Option<Signature> {
    match alg {
        AlgId::Ed25519 => Signature::from_parts(alg, raw).ok(),
        _ => {
            let low = p256::ecdsa::Signature::from_slice(raw).ok()?.normalize_s();
            Signature::from_parts(alg, &low.to_bytes()).ok()
        }
    }
}

/// A module that ignores the parameters of Ed25519ctx signs something else than it was asked to.
fn contexts(bench: &mut Bench<'_>, session: &Session, private: ObjectHandle, key: &PublicKey, plain: &[u8]) {
    let context = b"stele-conformance";
    let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519ctx(context)));
    let found = match sign(session, private, key, &mechanism) {
        Err(error) => format!("refused: {}", code(&error)),
        Ok(signature) if signature == plain => "silently ignored; Stele uses no contexts".to_owned(),
        Ok(_) => "honoured; Stele uses no contexts".to_owned(),
    };
    let standing = if found.starts_with("silently") { Standing::Note } else { Standing::Fine };
    bench.row("Ed25519ctx", standing, found);
}

/// Whether a key that must not leave stays.
fn leaves(bench: &mut Bench<'_>, session: &Session, private: ObjectHandle) -> bool {
    let value = session.get_attributes(private, &[AttributeType::Value]);
    let readable = value.as_ref().is_ok_and(|found| !found.is_empty());
    let altered = session.update_attributes(private, &[Attribute::Extractable(true)]).is_ok();
    let wanted = [
        AttributeType::AlwaysSensitive,
        AttributeType::NeverExtractable,
        AttributeType::Local,
        AttributeType::Extractable,
        AttributeType::Sensitive,
    ];
    let told = session.get_attributes(private, &wanted).unwrap_or_default();
    let kept = told.contains(&Attribute::Extractable(false)) && told.contains(&Attribute::Sensitive(true));
    let holds = !readable && !altered && kept;
    let standing = if holds { Standing::Fine } else { Standing::Fails };
    let told: Vec<_> = told.iter().map(|attribute| format!("{attribute:?}")).collect();
    let found = format!("value readable: {readable}, CKA_EXTRACTABLE can be set: {altered}; {}", told.join(" "));
    bench.row("a sensitive key stays in the token", standing, found);
    holds
}

/// A key on the curve of SM2 that signs with CKM_ECDSA makes no SM2 signatures.
fn sm2_curve(bench: &mut Bench<'_>, session: &Session) {
    let case = "the curve of SM2";
    match generate(bench, session, AlgId::Sm2Sm3, &Mechanism::EccKeyPairGen, true) {
        Err(Error::Pkcs11(RvError::CurveNotSupported, _)) => {
            bench.row(case, Standing::Fine, "not supported, and says so")
        }
        Err(error) => bench.row(case, Standing::Fine, format!("no key: {}", code(&error))),
        Ok((private, public, _)) => {
            let found = match session.get_attributes(public, &[AttributeType::EcPoint]).as_deref() {
                Ok([Attribute::EcPoint(bytes)]) => point::decode(AlgId::Sm2Sm3, bytes),
                _ => None,
            };
            let signature = found.as_ref().and_then(|key| sign(session, private, key, &Mechanism::Ecdsa).ok());
            let signature = signature.and_then(|raw| Signature::from_parts(AlgId::Sm2Sm3, &raw).ok());
            let is_sm2 = matches!((&found, &signature), (Some(key), Some(signature)) if key.verify_bytes(MESSAGE, signature).is_ok());
            let text = match (signature.is_some(), is_sm2) {
                (_, true) => "CKM_ECDSA on it makes SM2 signatures",
                (true, false) => "a trap: CKM_ECDSA signs on it, and not as SM2; refused without a vendor's mechanism",
                (false, false) => "keys, and no signatures with CKM_ECDSA",
            };
            bench.row(case, if is_sm2 { Standing::Fine } else { Standing::Note }, text);
        }
    }
}
