//! A simulator's certificates and the proof with them; and everything that must not be proof.

use super::*;
use crate::quote::QuoteError;
use crate::simulator::{Maker, Simulator};
use crate::wire::Reader;
use proptest::prelude::*;
use std::time::{Duration, SystemTime};
use webpki::Error;

const SECRET: [u8; 32] = [0x5a; 32];

fn open(simulator: &Simulator) -> Tpm {
    Tpm::open(&simulator.socket()).expect("it runs")
}

fn roots(maker: &Maker) -> Roots {
    let mut roots = Roots::default();
    roots.trust(&maker.root()).expect("a certificate");
    roots.know(&maker.issuer()).expect("a certificate");
    roots
}

fn verify(maker: &Maker, certificate: &Certificate) -> Result<Endorsed, CertificateError> {
    roots(maker).verify(certificate, &[], SystemTime::now())
}

/// Certificates and attestation key.
fn told(simulator: &Simulator) -> (Vec<Certificate>, Vec<u8>) {
    let Endorsement { attestation_key, certificates, chain } = read(&mut open(simulator)).expect("a TPM tells");
    assert!(chain.is_empty(), "swtpm_setup leaves none");
    (certificates, attestation_key)
}

/// Makes what a maker does of a slot that swtpm_setup leaves empty.
fn certify(maker: &Maker, simulator: &Simulator, slot: Slot) {
    let template = slot.template();
    let made = Loaded::with(&mut open(simulator), |loaded| loaded.primary(Hierarchy::Endorsement, &template));
    let public = made.expect("the TPM makes it").public;
    // What the template has before its unique field, the public area has as well.
    let unique = template.len() - if slot == Slot::P256High { 4 } else { 2 };
    let mut unique = Reader(&public[unique..]);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let first = hex(unique.sized().expect("a number"));
    let der = match unique.sized() {
        None => maker.certify(&["--days", "9", "--modulus", &first]),
        Some(y) => maker.certify(&["--days", "9", "--ecc-x", &first, "--ecc-y", &hex(y), "--ecc-curveid", "secp256r1"]),
    };
    simulator.leave(slot.index(), &der);
}

/// Each kind of key: RSA and P-384 as swtpm_setup leaves them, the others certified here.
#[test]
fn a_tpm_proves_that_it_has_the_attestation_key() {
    let maker = Maker::new();
    let simulator = Simulator::made_by(&maker);
    certify(&maker, &simulator, Slot::Rsa2048High);
    certify(&maker, &simulator, Slot::P256High);
    let (certificates, key) = told(&simulator);
    let slots: Vec<_> = certificates.iter().map(|certificate| certificate.slot).collect();
    assert_eq!(slots, [Slot::Rsa2048, Slot::Rsa2048High, Slot::P256High, Slot::P384High]);
    for certificate in &certificates {
        let endorsed = verify(&maker, certificate).expect("genuine");
        assert!(endorsed.issuer.contains("swtpm-localca"), "{}", endorsed.issuer);
        for secret in [&SECRET[..], &[1], &[0; 20]] {
            let challenge = challenge(&endorsed, &key, secret).expect("a challenge");
            let answer = activate(&mut open(&simulator), &challenge).expect("a TPM answers");
            assert_eq!(**answer, *secret, "{:?}", certificate.slot);
        }
    }
    let quoted = quote::quote(&mut open(&simulator), &[0, 7], &[]).expect("a TPM quotes");
    assert_eq!(quoted.key, key, "the key that was proven is the one that quotes");
}

/// The slot that most makers fill beside RSA, with 64 zeros in its template.
#[test]
fn a_p256_key_of_the_low_range_proves_it_too() {
    let (maker, simulator) = (Maker::new(), Simulator::start());
    assert_eq!(told(&simulator).0, [], "nobody has certified it yet");
    let template = Slot::P256.template();
    let made = Loaded::with(&mut open(&simulator), |loaded| loaded.primary(Hierarchy::Endorsement, &template));
    let public = made.expect("the TPM makes it").public;
    let mut point = Reader(&public[public.len() - 68..]);
    let mut coordinate =
        || -> String { point.sized().expect("a coordinate").iter().map(|byte| format!("{byte:02x}")).collect() };
    let (x, y) = (coordinate(), coordinate());
    simulator.leave(Slot::P256.index(), &maker.certify(&["--days", "9", "--ecc-x", &x, "--ecc-y", &y]));
    let (certificates, key) = told(&simulator);
    let endorsed = verify(&maker, &certificates[0]).expect("genuine");
    let challenge = challenge(&endorsed, &key, &SECRET).expect("a challenge");
    assert_eq!(**activate(&mut open(&simulator), &challenge).expect("a TPM answers"), SECRET);
}

#[test]
fn no_other_tpm_and_no_other_key_answers() {
    let maker = Maker::new();
    let (one, other) = (Simulator::made_by(&maker), Simulator::made_by(&maker));
    let (certificates, key) = told(&one);
    let (_, strange) = told(&other);
    for certificate in &certificates {
        let endorsed = verify(&maker, certificate).expect("genuine");
        let genuine = challenge(&endorsed, &key, &SECRET).expect("a challenge");
        // A machine that has the certificate of another one, and whose attestation key is in no TPM of the maker.
        let lent = challenge(&endorsed, &strange, &SECRET).expect("a challenge");
        for (simulator, challenge) in [(&other, &genuine), (&one, &lent), (&other, &lent)] {
            let refused = activate(&mut open(simulator), challenge).expect_err("it has not both");
            assert!(refused.code().is_some(), "{refused}");
        }
        assert!(activate(&mut open(&one), &genuine).is_ok());
    }
}

#[test]
fn an_altered_challenge_is_refused() {
    let maker = Maker::new();
    let simulator = Simulator::made_by(&maker);
    let (certificates, key) = told(&simulator);
    for certificate in &certificates {
        let endorsed = verify(&maker, certificate).expect("genuine");
        let genuine = challenge(&endorsed, &key, &SECRET).expect("a challenge");
        let mut tpm = open(&simulator);
        let mut refused = |challenge: Challenge| {
            let answer = activate(&mut tpm, &challenge);
            assert!(answer.as_ref().is_err_and(|error| error.code().is_some()), "{answer:?}");
        };
        for at in (0..genuine.identity.len()).step_by(5) {
            let mut altered = genuine.clone();
            altered.identity[at] ^= 1;
            refused(altered);
        }
        for at in [2, genuine.seed.len() / 2, genuine.seed.len() - 1] {
            let mut altered = genuine.clone();
            altered.seed[at] ^= 1;
            refused(altered);
        }
        refused(Challenge { identity: Vec::new(), ..genuine.clone() });
        refused(Challenge { seed: Vec::new(), ..genuine.clone() });
        refused(Challenge { identity: vec![0; 600], ..genuine });
    }
}

#[test]
fn a_certificate_that_leads_to_no_trusted_root_is_refused() {
    let (maker, stranger) = (Maker::new(), Maker::new());
    let (certificates, _) = told(&Simulator::made_by(&maker));
    let genuine = &certificates[0];
    let unknown = |roots: &Roots| match roots.verify(genuine, &[], SystemTime::now()) {
        Err(CertificateError::Chain(Error::UnknownIssuer)) => {}
        // The strangers' names are the same, their keys are not.
        Err(CertificateError::Chain(Error::InvalidSignatureForPublicKey)) => {}
        other => panic!("{other:?}"),
    };
    unknown(&Roots::default());
    unknown(&roots(&stranger));
    let mut without_the_step = Roots::default();
    without_the_step.trust(&maker.root()).expect("a certificate");
    unknown(&without_the_step);
    let mut believing_nobody = Roots::default();
    believing_nobody.know(&[maker.root(), maker.issuer()].concat()).expect("two certificates");
    unknown(&believing_nobody);
    // Who trusts the step needs no root.
    let mut trusting_the_step = Roots::default();
    trusting_the_step.trust(&maker.issuer()).expect("a certificate");
    assert!(trusting_the_step.verify(genuine, &[], SystemTime::now()).is_ok());
    assert!(matches!(Roots::default().trust(b"no PEM"), Err(CertificateError::Pem(_))));
}

/// As makers do that certify each TPM by an authority of its own: the steps are in the TPM, cut anywhere.
#[test]
fn a_chain_in_the_tpm_leads_to_the_root() {
    let maker = Maker::new();
    let simulator = Simulator::made_by(&maker);
    let step = maker.issuer_der();
    let both = [&step[..], &step, &[0xff; 40]].concat();
    for (part, bytes) in (0..).zip(both.chunks(both.len() / 2 - 50)) {
        simulator.leave(CHAIN + part, bytes);
    }
    let told = read(&mut open(&simulator)).expect("a TPM tells");
    assert_eq!(told.chain, [step.clone(), step]);
    let mut roots = Roots::default();
    roots.trust(&maker.root()).expect("a certificate");
    let now = SystemTime::now();
    assert!(roots.verify(&told.certificates[0], &told.chain, now).is_ok());
    // It is a step, and nothing that is trusted.
    let strange = Roots::default().verify(&told.certificates[0], &told.chain, now);
    assert!(matches!(strange, Err(CertificateError::Chain(Error::UnknownIssuer))), "{strange:?}");
    let nonsense = roots.verify(&told.certificates[0], &[vec![0x30, 0x82, 0, 0]], now);
    assert!(matches!(nonsense, Err(CertificateError::Chain(_))), "{nonsense:?}");
}

#[test]
fn a_certificate_counts_for_its_time_its_purpose_and_its_kind_of_key() {
    let maker = Maker::new();
    let modulus = format!("c{}1", "0".repeat(510));
    let of = |der: Vec<u8>| Certificate { slot: Slot::Rsa2048, der };
    let short = of(maker.certify(&["--days", "2", "--modulus", &modulus]));
    let day = Duration::from_secs(24 * 3600);
    let at = |now: SystemTime| roots(&maker).verify(&short, &[], now);
    assert!(at(SystemTime::now()).is_ok());
    assert!(matches!(at(SystemTime::now() + 3 * day), Err(CertificateError::Chain(Error::CertExpired { .. }))));
    assert!(matches!(at(SystemTime::now() - 3 * day), Err(CertificateError::Chain(Error::CertNotValidYet { .. }))));
    assert!(matches!(at(SystemTime::UNIX_EPOCH - day), Err(CertificateError::Clock)));

    let platform = of(maker.certify(&["--days", "2", "--type", "platform", "--modulus", &modulus]));
    let refused = verify(&maker, &platform);
    assert!(matches!(refused, Err(CertificateError::Chain(Error::RequiredEkuNotFoundContext(_)))), "{refused:?}");
    assert!(matches!(verify(&maker, &of(maker.certify_for_anything())), Err(CertificateError::Purpose)));

    for slot in [Slot::P256, Slot::P256High, Slot::P384High] {
        let elsewhere = Certificate { slot, ..short.clone() };
        assert!(matches!(verify(&maker, &elsewhere), Err(CertificateError::Key(found)) if found == slot));
    }
    let small = of(maker.certify(&["--days", "2", "--modulus", &format!("c{}1", "0".repeat(254))]));
    assert!(matches!(verify(&maker, &small), Err(CertificateError::Key(Slot::Rsa2048))));
}

#[test]
fn every_altered_byte_of_a_certificate_is_told() {
    let maker = Maker::new();
    let modulus = format!("c{}1", "0".repeat(510));
    let roots = roots(&maker);
    let genuine = Certificate { slot: Slot::Rsa2048, der: maker.certify(&["--days", "2", "--modulus", &modulus]) };
    assert!(roots.verify(&genuine, &[], SystemTime::now()).is_ok());
    for at in 0..genuine.der.len() {
        let mut altered = genuine.clone();
        altered.der[at] ^= 1;
        assert!(roots.verify(&altered, &[], SystemTime::now()).is_err(), "byte {at}");
    }
}

/// A key that signs what it is given, or that could leave its TPM, is no attestation key, whatever TPM it is in.
#[test]
fn only_attestation_keys_are_asked_for() {
    let maker = Maker::new();
    let simulator = Simulator::made_by(&maker);
    let (certificates, key) = told(&simulator);
    let endorsed = verify(&maker, &certificates[0]).expect("genuine");
    for at in 0..20 {
        let mut other = key.clone();
        other[at] ^= 1;
        assert_eq!(challenge(&endorsed, &other, &SECRET), Err(ChallengeError::Key(QuoteError::Key)));
    }
    for secret in [&[][..], &[0; 33]] {
        assert_eq!(challenge(&endorsed, &key, secret), Err(ChallengeError::Secret));
    }
}

#[test]
fn an_index_is_longer_than_its_certificate_or_holds_none() {
    assert_eq!(whole(&[0x30, 0x82, 0, 2, 7, 8, 0xff, 0xff]), Some(&[0x30, 0x82, 0, 2, 7, 8][..]));
    for wrong in [&[][..], &[0x30], &[0x30, 0x82, 0, 3, 7, 8], &[0x31, 0x82, 0, 1, 7], &[0xff; 64]] {
        assert_eq!(whole(wrong), None);
    }
    let simulator = Simulator::start();
    simulator.leave(Slot::Rsa2048.index(), &[0xff; 700]);
    assert!(matches!(read(&mut open(&simulator)), Err(TpmError::Malformed)));
}

proptest! {
    #[test]
    fn no_bytes_make_the_verifier_panic(der in prop::collection::vec(any::<u8>(), 0..300)) {
        for slot in Slot::ALL {
            let verified = Roots::default().verify(&Certificate { slot, der: der.clone() }, &[], SystemTime::now());
            prop_assert!(verified.is_err());
        }
    }
}
