//! What must hold of any bytes that claim to be certificates of a TPM's maker.

use crate::checks::{key_of, parts};
use p256::ecdsa::SigningKey;
use std::time::{Duration, SystemTime};
use tpm::endorsement::{Certificate, ChallengeError, Roots, Slot, challenge};

/// The day of judgement, 2030-01-01, so that what an input is does not change with time.
const NOW: Duration = Duration::from_secs(1_893_456_000);

/// Parts: certificates that are trusted, certificates that are known, both PEM; the certificate of a TPM, DER; those that come
/// with it, DER. It leads to a root or not, whatever kind of key it is said to be for; to a key in one that does, a secret
/// can be encrypted, unless it is none.
pub fn certificates(bytes: &[u8]) {
    let mut parts = parts(bytes);
    let mut next = || parts.next().unwrap_or_default().to_vec();
    let (trusted, known, der) = (next(), next(), next());
    let chain: Vec<Vec<u8>> = parts.map(<[u8]>::to_vec).collect();
    let mut roots = Roots::default();
    let _ = (roots.trust(&trusted), roots.know(&known));
    let key = key_of(&SigningKey::from_slice(&[7; 32]).expect("a scalar"));
    let mut kinds = Vec::new();
    for slot in Slot::ALL {
        let certificate = Certificate { slot, der: der.clone() };
        let verified = roots.verify(&certificate, &chain, SystemTime::UNIX_EPOCH + NOW);
        let nobody = Roots::default().verify(&certificate, &chain, SystemTime::UNIX_EPOCH + NOW);
        assert!(nobody.is_err(), "without a root nothing is believed");
        let Ok(endorsed) = verified else { continue };
        kinds.push(slot);
        match challenge(&endorsed, &key, &[7; 32]) {
            Ok(challenge) => assert!(challenge.slot == slot && !challenge.identity.is_empty()),
            Err(error) => assert_eq!(error, ChallengeError::Endorsement),
        }
    }
    // A key is RSA or on one curve, and each of these has a low and a high slot at most.
    assert!(kinds.len() <= 2, "{kinds:?}");
}
