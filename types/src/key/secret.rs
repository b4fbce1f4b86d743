//! Software secret keys: of clients, of tests, and inside the keystore of `hsm`.
//!
//! A key is its algorithm and a seed of 32 bytes; everything else is derived. Signing is deterministic under every
//! algorithm, so no source of randomness is needed here. Deliberately absent: keys of validators in production, which
//! stay in a module behind `hsm`.

use super::{KeyError, Material, PublicKey, Signature, ecdsa, point, sm2};
use crate::alg::{AlgId, AlgKind};
use crate::digest::SigningMessage;
use ::ecdsa::SigningKey;
use ed25519_dalek::Signer as _;
use k256::Secp256k1;
use p256::NistP256;
use std::fmt;
use zeroize::Zeroizing;

/// What signs; each wipes its scalar when dropped.
#[derive(Clone)]
enum Signing {
    Ed25519(ed25519_dalek::SigningKey),
    Sm2(sm2::SigningKey),
    P256(SigningKey<NistP256>),
    Secp256k1(SigningKey<Secp256k1>),
}

/// A software secret key: of clients, of tests, and inside the keystore of `hsm`. Wiped when dropped, never printed.
#[derive(Clone)]
pub struct SecretKey {
    seed: Zeroizing<[u8; 32]>,
    signing: Signing,
    public: PublicKey,
}

impl SecretKey {
    /// The Ed25519 key with this seed (RFC 8032 §5.1.5). The seed must come from a secure source.
    pub fn ed25519_from_seed(seed: [u8; 32]) -> Self {
        let signing = ed25519_dalek::SigningKey::from_bytes(&seed);
        let public = PublicKey { alg: AlgId::Ed25519, material: Material::new(signing.verifying_key().as_bytes()) };
        Self { signing: Signing::Ed25519(signing), seed: Zeroizing::new(seed), public }
    }

    /// The key of any supported signature algorithm with this seed, which must come from a secure source.
    ///
    /// Ed25519 takes the seed as RFC 8032 §5.1.5 does. For the others the scalar is, read big-endian and taken modulo n,
    /// SHA-512 of: the byte 18, `stele/secret-key/1`, the algorithm's id in one byte, the seed.
    ///
    /// # Errors
    /// [`KeyError::NotASignatureAlgorithm`], [`KeyError::Unsupported`]; [`KeyError::UnusableSeed`] where the scalar would
    /// be zero (under SM2 also n − 1), which no one will see.
    pub fn from_seed(alg: AlgId, seed: [u8; 32]) -> Result<Self, KeyError> {
        let seed = Zeroizing::new(seed);
        let unusable = KeyError::UnusableSeed(alg);
        let (signing, public) = match alg {
            AlgId::Ed25519 => return Ok(Self::ed25519_from_seed(*seed)),
            AlgId::Sm2Sm3 => {
                let key = sm2::SigningKey::new(&point::scalar_from_seed::<::sm2::Sm2>(alg, &seed)).ok_or(unusable)?;
                let public = point::encode(key.public());
                (Signing::Sm2(key), public)
            }
            AlgId::EcdsaP256 => {
                let key =
                    ecdsa::signing_key::<NistP256>(&point::scalar_from_seed::<NistP256>(alg, &seed)).ok_or(unusable)?;
                let public = point::encode(&key.verifying_key().into());
                (Signing::P256(key), public)
            }
            AlgId::EcdsaSecp256k1 => {
                let key = ecdsa::signing_key::<Secp256k1>(&point::scalar_from_seed::<Secp256k1>(alg, &seed))
                    .ok_or(unusable)?;
                let public = point::encode(&key.verifying_key().into());
                (Signing::Secp256k1(key), public)
            }
            other if other.kind() == AlgKind::Signature => return Err(KeyError::Unsupported(other)),
            other => return Err(KeyError::NotASignatureAlgorithm(other)),
        };
        Ok(Self { seed, signing, public: PublicKey { alg, material: Material::new(&public) } })
    }

    /// The algorithm.
    pub fn alg(&self) -> AlgId {
        self.public.alg
    }

    /// The seed, for a keystore that encrypts it.
    pub fn expose_seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// Its public half.
    pub fn public_key(&self) -> PublicKey {
        self.public.clone()
    }

    /// Signs. Deterministic: RFC 8032 §5.1.6 for Ed25519, nonces of RFC 6979 for the others. ECDSA signatures are low-s.
    pub fn sign(&self, message: &SigningMessage) -> Signature {
        self.sign_bytes(message.as_bytes())
    }

    /// [`SecretKey::sign`] over any bytes: for test vectors and for protocols whose message is not ours (TLS).
    pub fn sign_bytes(&self, message: &[u8]) -> Signature {
        let bytes = match &self.signing {
            Signing::Ed25519(key) => key.sign(message).to_bytes(),
            Signing::Sm2(key) => key.sign(&sm2::prehash(key.public(), message)),
            Signing::P256(key) => ecdsa::sign(key, &ecdsa::prehash(message)),
            Signing::Secp256k1(key) => ecdsa::sign(key, &ecdsa::prehash(message)),
        };
        Signature { alg: self.public.alg, material: Material::new(&bytes) }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({:?})", self.public)
    }
}
