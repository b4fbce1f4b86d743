//! The verifier's half: TPM2_MakeCredential without a TPM (TPM 2.0 Library part 1, chapter 24, and annexes B.10.4 for RSA and
//! C.6.4 for curves).
//!
//! A seed goes encrypted to the endorsement key. Keys derived from it encrypt the secret and authenticate it together with the
//! attestation key's name; the TPM derives the encryption key from the name as well, so it cannot help with another one.

use super::certificate::{Endorsed, EndorsementKey};
use super::{Challenge, SECRET_BYTES_MAX, Slot};
use crate::quote::{self, QuoteError};
use aws_lc_rs::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use aws_lc_rs::{digest, error::Unspecified, hmac};
use thiserror::Error;
use zeroize::Zeroizing;

const STORAGE: &[u8] = b"STORAGE\0";
const INTEGRITY: &[u8] = b"INTEGRITY\0";
const IDENTITY: &[u8] = b"IDENTITY\0";

/// Why there is no challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ChallengeError {
    /// The attestation key is none.
    #[error(transparent)]
    Key(#[from] QuoteError),
    /// Nothing can be encrypted to the certified key.
    #[error("the certified endorsement key is not one of its kind")]
    Endorsement,
    /// A secret of another length than 1 to 32 bytes.
    #[error("a secret has 1 to {SECRET_BYTES_MAX} bytes")]
    Secret,
    /// The system gives no randomness.
    #[error("no randomness from the system")]
    Randomness,
}

/// Encrypts a secret so that only the TPM with the endorsement key gives it back, and only if it has the attestation key
/// (TPMT_PUBLIC) as well.
///
/// # Errors
/// [`ChallengeError`].
pub fn challenge(to: &Endorsed, attestation_key: &[u8], secret: &[u8]) -> Result<Challenge, ChallengeError> {
    let name = quote::name_of_key(attestation_key)?;
    if !(1..=SECRET_BYTES_MAX).contains(&secret.len()) {
        return Err(ChallengeError::Secret);
    }
    let algorithms = Algorithms::of(to.slot);
    let (plain, seed) = match &to.key {
        EndorsementKey::Rsa(spki) => rsa_seed(&algorithms, spki)?,
        EndorsementKey::Curve(point) => shared_seed(&algorithms, point)?,
    };
    // TPM2B_DIGEST, which is what is encrypted; nothing else is under this key, so the vector is zero.
    let mut identity = [&(secret.len() as u16).to_be_bytes()[..], secret].concat();
    let key = algorithms.kdf_a(&plain, STORAGE, &name, algorithms.cipher_bytes());
    let cipher = if algorithms.cipher_bytes() == 32 { &AES_256 } else { &AES_128 };
    let mut encrypt = || {
        let key = EncryptingKey::cfb128(UnboundCipherKey::new(cipher, &key)?)?;
        key.less_safe_encrypt(&mut identity, EncryptionContext::Iv128(FixedLength::from([0; 16]))).map(drop)
    };
    encrypt().map_err(|Unspecified| ChallengeError::Endorsement)?;
    let key = algorithms.kdf_a(&plain, INTEGRITY, &[], algorithms.digest_bytes());
    let mut mac = hmac::Context::with_key(&hmac::Key::new(algorithms.hmac, &key));
    mac.update(&identity);
    mac.update(&name);
    let mac = mac.sign();
    let identity = [&(mac.as_ref().len() as u16).to_be_bytes()[..], mac.as_ref(), &identity].concat();
    Ok(Challenge { slot: to.slot, identity, seed })
}

/// What goes with an endorsement key: the algorithm of its name, and what it encrypts with.
struct Algorithms {
    hash: &'static digest::Algorithm,
    hmac: hmac::Algorithm,
    agreement: &'static agreement::Algorithm,
}

impl Algorithms {
    fn of(slot: Slot) -> Self {
        match slot {
            Slot::P384High => Self { hash: &digest::SHA384, hmac: hmac::HMAC_SHA384, agreement: &agreement::ECDH_P384 },
            Slot::Rsa2048 | Slot::Rsa2048High | Slot::P256 | Slot::P256High => {
                Self { hash: &digest::SHA256, hmac: hmac::HMAC_SHA256, agreement: &agreement::ECDH_P256 }
            }
        }
    }

    fn digest_bytes(&self) -> usize {
        self.hash.output_len()
    }

    /// AES-128 goes with SHA-256, AES-256 with SHA-384.
    fn cipher_bytes(&self) -> usize {
        if self.digest_bytes() == 32 { 16 } else { 32 }
    }

    /// KDFa (part 1, chapter 11.4.10.2), for as much as one digest gives.
    fn kdf_a(&self, key: &[u8], label: &[u8], context: &[u8], bytes: usize) -> Zeroizing<Vec<u8>> {
        let mut mac = hmac::Context::with_key(&hmac::Key::new(self.hmac, key));
        let bits = (bytes as u32 * 8).to_be_bytes();
        for part in [&1u32.to_be_bytes()[..], label, context, &bits] {
            mac.update(part);
        }
        Zeroizing::new(mac.sign().as_ref()[..bytes].to_vec())
    }

    /// KDFe (part 1, chapter 11.4.10.3), for one digest.
    fn kdf_e(&self, shared: &[u8], label: &[u8], ours: &[u8], theirs: &[u8]) -> Zeroizing<Vec<u8>> {
        let mut hash = digest::Context::new(self.hash);
        for part in [&1u32.to_be_bytes()[..], shared, label, ours, theirs] {
            hash.update(part);
        }
        Zeroizing::new(hash.finish().as_ref().to_vec())
    }
}

/// A seed, and the same by RSA-OAEP.
fn rsa_seed(algorithms: &Algorithms, spki: &[u8]) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), ChallengeError> {
    let mut seed = Zeroizing::new(vec![0; algorithms.digest_bytes()]);
    SystemRandom::new().fill(&mut seed).map_err(|Unspecified| ChallengeError::Randomness)?;
    let encrypt = || {
        let key = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(spki).map_err(|_| Unspecified)?)?;
        let mut encrypted = vec![0; key.ciphertext_size()];
        let length = key.encrypt(&OAEP_SHA256_MGF1SHA256, &seed, &mut encrypted, Some(IDENTITY))?.len();
        encrypted.truncate(length);
        Ok(encrypted)
    };
    let encrypted = encrypt().map_err(|Unspecified| ChallengeError::Endorsement)?;
    Ok((seed, encrypted))
}

/// A seed of a key that is agreed on, and our half (TPMS_ECC_POINT).
fn shared_seed(algorithms: &Algorithms, theirs: &[u8]) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), ChallengeError> {
    let key = EphemeralPrivateKey::generate(algorithms.agreement, &SystemRandom::new());
    let key = key.map_err(|Unspecified| ChallengeError::Randomness)?;
    let ours = key.compute_public_key().map_err(|Unspecified| ChallengeError::Randomness)?;
    let ours = ours.as_ref();
    let width = (ours.len() - 1) / 2;
    let their_x = theirs.get(1..1 + width).ok_or(ChallengeError::Endorsement)?;
    let seed_of = |shared: &[u8]| Ok(algorithms.kdf_e(shared, IDENTITY, &ours[1..1 + width], their_x));
    let peer = UnparsedPublicKey::new(algorithms.agreement, theirs);
    let seed = agree_ephemeral(key, peer, ChallengeError::Endorsement, seed_of)?;
    let mut point = Vec::new();
    for coordinate in ours[1..].chunks_exact(width) {
        point.extend((width as u16).to_be_bytes());
        point.extend(coordinate);
    }
    Ok((seed, point))
}
