//! Against a simulated TPM: what opens, and everything that must not.

use super::*;
use crate::simulator::Simulator;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer;

const SECRET: [u8; 64] = [0xA5; 64];
const MEASURED: [u8; 2] = [11, 12];
const BOUND: [u8; 1] = [7];

struct Signatory(SigningKey);

impl Signatory {
    fn new(seed: u8) -> Self {
        Self(SigningKey::from_slice(&[seed; 32]).expect("it is less than the order"))
    }

    fn public(&self) -> PolicyKey {
        PolicyKey(*self.0.verifying_key())
    }

    fn approve(&self, registers: &[(u8, [u8; WIDTH])]) -> SignedPolicy {
        let policy = policy_of(registers);
        let signature: Signature = self.0.sign(&PolicyKey::message(&policy));
        SignedPolicy { policy, signature: signature.to_bytes().into() }
    }
}

fn open(simulator: &Simulator) -> Tpm {
    Tpm::open(&simulator.socket()).expect("it runs")
}

/// A register after so many of the simulator's extensions.
fn extended(times: usize) -> [u8; WIDTH] {
    (0..times).fold([0; WIDTH], |value, _| Sha256::digest([value, [7; WIDTH]].concat()).into())
}

/// What was sealed under one release opens under the second one, and under no third one.
#[test]
fn a_secret_opens_in_every_state_that_was_signed_for() {
    let (simulator, signatory) = (Simulator::start(), Signatory::new(1));
    let key = signatory.public();
    let blob = seal_authorised(&mut open(&simulator), &key, &BOUND, &SECRET).expect("it seals");
    let releases = [1, 2].map(|times| signatory.approve(&[(11, extended(times)), (12, [0; WIDTH])]));
    let unseal = || unseal_authorised(&mut open(&simulator), &key, &releases, &MEASURED, &BOUND, &blob);
    assert!(matches!(unseal(), Err(Refusal::NotSigned)));
    for _ in 0..2 {
        simulator.extend(11);
        assert_eq!(**unseal().expect("it was signed for"), SECRET);
    }
    simulator.extend(12);
    assert!(matches!(unseal(), Err(Refusal::NotSigned)));
}

#[test]
fn a_bound_register_that_changed_keeps_it_shut_for_all_releases() {
    let (simulator, signatory) = (Simulator::start(), Signatory::new(1));
    let key = signatory.public();
    let signed = [signatory.approve(&[(11, [0; WIDTH]), (12, [0; WIDTH])])];
    let blob = seal_authorised(&mut open(&simulator), &key, &BOUND, &SECRET).expect("it seals");
    let unseal = |bound: &[u8]| unseal_authorised(&mut open(&simulator), &key, &signed, &MEASURED, bound, &blob);
    assert_eq!(**unseal(&BOUND).expect("nothing changed"), SECRET);
    // Nor does it help to leave it out.
    assert!(matches!(unseal(&[]), Err(Refusal::Sealed(Failure::OtherState))));
    simulator.extend(7);
    assert!(matches!(unseal(&BOUND), Err(Refusal::Sealed(Failure::OtherState))));
}

#[test]
fn a_strangers_signature_opens_nothing() {
    let (simulator, signatory, stranger) = (Simulator::start(), Signatory::new(1), Signatory::new(2));
    let key = signatory.public();
    let blob = seal_authorised(&mut open(&simulator), &key, &[], &SECRET).expect("it seals");
    let registers = [(11, [0; WIDTH]), (12, [0; WIDTH])];
    let theirs = [stranger.approve(&registers)];
    assert!(!key.has_signed(&theirs[0]) && key.has_signed(&signatory.approve(&registers)));
    let unseal = |key| unseal_authorised(&mut open(&simulator), key, &theirs, &MEASURED, &[], &blob);
    assert!(matches!(unseal(&key), Err(Refusal::Signature)));
    // With the key that made the signature the TPM is content, the sealed object is not.
    assert!(matches!(unseal(&stranger.public()), Err(Refusal::Sealed(Failure::OtherState))));
}

#[test]
fn another_tpm_a_cleared_one_and_an_altered_object_are_told_apart() {
    let (mut simulator, signatory) = (Simulator::start(), Signatory::new(1));
    let key = signatory.public();
    let signed = [signatory.approve(&[(11, [0; WIDTH]), (12, [0; WIDTH])])];
    let seal = |simulator: &Simulator| seal_authorised(&mut open(simulator), &key, &[], &SECRET).expect("it seals");
    let unseal = |simulator: &Simulator, blob: &Blob| {
        unseal_authorised(&mut open(simulator), &key, &signed, &MEASURED, &[], blob)
    };
    let blob = seal(&simulator);
    let mut altered = blob.clone();
    *altered.private.last_mut().expect("it is not empty") ^= 1;
    assert!(matches!(unseal(&simulator, &altered), Err(Refusal::Sealed(Failure::Altered))));
    simulator.restart();
    assert_eq!(**unseal(&simulator, &blob).expect("the same TPM"), SECRET);
    simulator.clear();
    assert!(matches!(unseal(&simulator, &blob), Err(Refusal::Sealed(Failure::OtherTpm))));
    let blob = seal(&simulator);
    simulator.replace();
    assert!(matches!(unseal(&simulator, &blob), Err(Refusal::Sealed(Failure::OtherTpm))));
}

/// The digests that are computed here are those that the TPM computes.
#[test]
fn a_policy_is_told_without_a_tpm() {
    let simulator = Simulator::start();
    simulator.extend(11);
    let digest = Loaded::with(&mut open(&simulator), |loaded| {
        let session = loaded.session(Session::Trial)?;
        loaded.policy_of_registers(session, &MEASURED)?;
        loaded.policy_digest(session)
    });
    assert_eq!(digest.expect("a TPM computes"), policy_of(&[(11, extended(1)), (12, [0; WIDTH])]));
}

#[test]
fn a_point_beside_the_curve_is_no_key() {
    let key = Signatory::new(1).public();
    let mut point = key.point();
    assert_eq!(PolicyKey::from_point(&point), Some(key));
    point[64] ^= 1;
    assert_eq!(PolicyKey::from_point(&point), None);
}
