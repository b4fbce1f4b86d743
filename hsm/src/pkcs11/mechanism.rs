//! Signing with a key in a token: which mechanism, over what, and what its answer is worth.
//!
//! Ed25519 is CKM_EDDSA over the message. P-256 is CKM_ECDSA over SHA-256 of the message, because not every token has
//! CKM_ECDSA_SHA256, and s is made low, as `types` has it. SM2 needs a vendor's mechanism from a profile. Every signature
//! is verified in software before it counts.

use super::policy::Failure;
use super::profile::{Profile, Sm2Input};
use crate::error::{ConfigError, Fault};
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::vendor_defined::VendorDefinedMechanism;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use types::{AlgId, PublicKey, Signature};

/// The mechanisms of a profile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mechanisms {
    eddsa: MechanismType,
    ecdsa: MechanismType,
    sm2: Option<(MechanismType, Sm2Input)>,
}

impl Mechanisms {
    pub(super) fn new(profile: &Profile) -> Result<Self, ConfigError> {
        let numbers = &profile.mechanisms;
        let sm2 = numbers.sm2.map(|sm2| Ok::<_, ConfigError>((mechanism_type(sm2.number)?, sm2.input))).transpose()?;
        Ok(Self { eddsa: mechanism_type(numbers.eddsa)?, ecdsa: mechanism_type(numbers.ecdsa)?, sm2 })
    }

    pub(super) fn signs_sm2(&self) -> bool {
        self.sm2.is_some()
    }

    /// The mechanism for a key of an algorithm.
    pub(super) fn of(&self, alg: AlgId) -> Result<MechanismType, ConfigError> {
        match alg {
            AlgId::Ed25519 => Ok(self.eddsa),
            AlgId::EcdsaP256 => Ok(self.ecdsa),
            AlgId::Sm2Sm3 => self.sm2.map(|(number, _)| number).ok_or(ConfigError::CurveUnmapped),
            _ => Err(ConfigError::KeyUnsuitable),
        }
    }

    /// Signs, and verifies what the token answers.
    pub(super) fn sign(
        &self,
        session: &Session,
        key: ObjectHandle,
        public: &PublicKey,
        message: &[u8],
    ) -> Result<Signature, Failure> {
        let alg = public.alg();
        let mechanism = mechanism(self.of(alg)?);
        let raw = match alg {
            AlgId::Ed25519 => session.sign(&mechanism, key, message)?,
            AlgId::Sm2Sm3 if self.sm2.is_some_and(|(_, input)| input == Sm2Input::Message) => {
                session.sign(&mechanism, key, message)?
            }
            _ => {
                let digest = public.prehash(message).ok_or(ConfigError::KeyUnsuitable)?;
                session.sign(&mechanism, key, &digest)?
            }
        };
        let signature = match alg {
            AlgId::EcdsaP256 => low_s(&raw),
            _ => Signature::from_parts(alg, &raw).ok(),
        };
        let signature = signature.ok_or(Fault::WrongSignature)?;
        public.verify_bytes(message, &signature).map_err(|_| Fault::WrongSignature)?;
        Ok(signature)
    }
}

fn mechanism_type(number: u64) -> Result<MechanismType, ConfigError> {
    let standard = MechanismType::try_from(number);
    standard.or_else(|_| MechanismType::new_vendor_defined(number)).map_err(|_| ConfigError::ProfileUnusable)
}

fn mechanism(of: MechanismType) -> Mechanism<'static> {
    match of {
        MechanismType::EDDSA => Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure)),
        MechanismType::ECDSA => Mechanism::Ecdsa,
        vendor => Mechanism::VendorDefined(VendorDefinedMechanism::new::<()>(vendor, None)),
    }
}

/// (r, n − s) is as valid an ECDSA signature as (r, s); the lower s counts.
pub(super) fn low_s(raw: &[u8]) -> Option<Signature> {
    let signature = p256::ecdsa::Signature::from_slice(raw).ok()?.normalize_s();
    Signature::from_parts(AlgId::EcdsaP256, &signature.to_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::SecretKey;

    #[test]
    fn a_high_s_is_made_low_and_nonsense_is_refused() {
        let key = SecretKey::from_seed(AlgId::EcdsaP256, [3; 32]).expect("a seed");
        let signature = key.sign_bytes(b"message");
        let parsed = p256::ecdsa::Signature::from_slice(signature.as_bytes()).expect("a signature");
        let (r, s) = parsed.split_scalars();
        let high = p256::ecdsa::Signature::from_scalars(r.to_bytes(), (-s).to_bytes()).expect("in range");
        assert_ne!(high, parsed);
        assert_eq!(low_s(&high.to_bytes()), Some(signature.clone()));
        assert_eq!(low_s(signature.as_bytes()), Some(signature.clone()));
        for wrong in [&[][..], &[0; 64], &[0xff; 64], &signature.as_bytes()[..63]] {
            assert_eq!(low_s(wrong), None);
        }
    }
}
