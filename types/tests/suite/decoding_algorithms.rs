//! Algorithms that are unknown, of the wrong kind, or registered without being supported.

use crate::decoders::chain;
use crate::samples::{Random, transcribe_transaction};
use std::str::FromStr;
use types::alg::AlgKind;
use types::key::SignatureError;
use types::transaction::TransactionError;
use types::{
    AlgId, AuthorityIndex, Committee, CommitteeError, Decode, DecodeError, Digest, Encode, Epoch, Genesis,
    GenesisError, KeyError, PublicKey, Reject, Signature, TimestampMs, Transaction,
};

fn known(id: u8, kind: AlgKind) -> bool {
    AlgId::ALL.into_iter().any(|alg| alg as u8 == id && alg.kind() == kind)
}

#[test]
fn ids_that_are_unknown_or_of_the_wrong_kind_are_a_typed_error() {
    for id in 0..=u8::MAX {
        let bytes: Vec<u8> = std::iter::once(id).chain([0; 4000]).collect();
        let unknown = DecodeError::UnknownAlgorithm(id);
        let key = PublicKey::from_bytes(&bytes).unwrap_err();
        let signature = Signature::from_bytes(&bytes).unwrap_err();
        let digest = Digest::from_bytes(&bytes).unwrap_err();
        assert_eq!(key == unknown, !known(id, AlgKind::Signature), "{id}: {key}");
        assert_eq!(signature == unknown, !known(id, AlgKind::Signature), "{id}: {signature}");
        assert_eq!(digest == unknown, !known(id, AlgKind::Digest), "{id}: {digest}");
    }
}

#[test]
fn a_transaction_of_an_unknown_algorithm_is_refused_as_such() {
    let mut random = Random::new(1);
    let transaction = random.transaction(&chain());
    let mut raw = transaction.raw().to_vec();
    let key_at = 1 + Digest::ENCODED_LEN + 8 + 8;
    for id in (0..=u8::MAX).filter(|id| !known(*id, AlgKind::Signature)) {
        raw[key_at] = id;
        let error = Transaction::parse(&chain(), raw.clone().into()).unwrap_err();
        assert_eq!(error, TransactionError::Decode(DecodeError::UnknownAlgorithm(id)));
        assert_eq!(Reject::from(error), Reject::AlgorithmNotAllowed);
    }
}

#[test]
fn registered_keys_are_read_at_their_length_and_verify_nothing() {
    let mut random = Random::new(2);
    for alg in AlgId::ALL {
        let (key_len, signature_len) = (alg.public_key_len(), alg.signature_len());
        if alg.kind() == AlgKind::Digest {
            assert_eq!(PublicKey::from_parts(alg, &[]), Err(KeyError::NotASignatureAlgorithm(alg)));
            assert_eq!(Signature::from_parts(alg, &[]), Err(KeyError::NotASignatureAlgorithm(alg)));
            continue;
        }
        for wrong in [0, key_len - 1, key_len + 1] {
            let error = KeyError::WrongLength { alg, expected: key_len, found: wrong };
            assert_eq!(PublicKey::from_parts(alg, &vec![0; wrong]), Err(error));
        }
        let key = PublicKey::from_parts(alg, &random.bytes(key_len)).unwrap();
        let signature = Signature::from_parts(alg, &random.bytes(signature_len)).unwrap();
        assert_eq!((key.to_bytes().len(), signature.to_bytes().len()), (1 + key_len, 1 + signature_len));
        assert_eq!(PublicKey::from_bytes(&key.to_bytes()).as_ref(), Ok(&key));
        assert_eq!(PublicKey::from_str(&key.to_string()).as_ref(), Ok(&key));
        assert_eq!(Signature::from_str(&signature.to_string()).as_ref(), Ok(&signature));

        let verdict = key.verify_bytes(b"message", &signature);
        assert!(verdict.is_err(), "{alg}");
        assert_eq!(verdict == Err(SignatureError::Unsupported(alg)), !alg.supported(), "{alg}");
        for other in AlgId::ALL.into_iter().filter(|other| *other != alg && other.kind() == AlgKind::Signature) {
            let signature = Signature::from_parts(other, &random.bytes(other.signature_len())).unwrap();
            let mismatch = SignatureError::AlgorithmMismatch { key: alg, signature: other };
            assert_eq!(key.verify_bytes(b"message", &signature), Err(mismatch));
        }
    }
}

#[test]
fn a_transaction_of_an_unsupported_algorithm_is_read_and_does_not_verify() {
    let mut random = Random::new(3);
    for alg in AlgId::ALL.into_iter().filter(|alg| alg.kind() == AlgKind::Signature && !alg.supported()) {
        let key = PublicKey::from_parts(alg, &random.bytes(alg.public_key_len())).unwrap();
        let signature = Signature::from_parts(alg, &random.bytes(alg.signature_len())).unwrap();
        let raw = transcribe_transaction(&chain(), TimestampMs(1), 2, &key, &random.transaction_body(), &signature);
        let transaction = Transaction::parse(&chain(), raw.into()).unwrap();
        assert_eq!(transaction.verify(), Err(SignatureError::Unsupported(alg)));
    }
}

#[test]
fn a_committee_has_keys_of_ed25519_and_p256_and_of_no_other_algorithm() {
    let mut random = Random::new(4);
    for alg in AlgId::ALL.into_iter().filter(|alg| alg.kind() == AlgKind::Signature) {
        let key = PublicKey::from_parts(alg, &random.bytes(alg.public_key_len())).unwrap();
        let mut consensus = random.authorities(4);
        let mut transport = consensus.clone();
        consensus[2].consensus_key = key.clone();
        transport[3].transport_key = key;
        let refused = ![AlgId::Ed25519, AlgId::EcdsaP256].contains(&alg);
        let error = |index| refused.then_some(CommitteeError::Algorithm(AuthorityIndex(index)));
        assert_eq!(Committee::new(Epoch(1), consensus).err(), error(2), "{alg}");
        assert_eq!(Committee::new(Epoch(1), transport).err(), error(3), "{alg}");
    }
}

#[test]
fn no_genesis_allows_algorithms_that_this_build_cannot_verify() {
    let mut genesis = Random::new(5).genesis();
    for alg in AlgId::ALL {
        genesis.signature_algorithms = vec![alg.name().to_owned()];
        let usable = alg.supported() && alg.kind() == AlgKind::Signature;
        let error = GenesisError::Algorithm(alg.name().to_owned());
        assert_eq!(genesis.check(), if usable { Ok(()) } else { Err(error) });
    }
    genesis.signature_algorithms = vec!["ed25519".to_owned(), "Ed25519".to_owned()];
    assert_eq!(genesis.check(), Err(GenesisError::Algorithm("Ed25519".to_owned())));
}

#[test]
fn a_genesis_allows_every_supported_algorithm_at_once_and_at_least_one() {
    let mut genesis = Random::new(6).genesis();
    genesis.signature_algorithms = AlgId::signing().map(|alg| alg.name().to_owned()).collect();
    assert_eq!(genesis.check(), Ok(()));
    assert_eq!(genesis.algorithms(), Ok(AlgId::signing().collect()));
    assert_eq!(Genesis::from_toml(&genesis.to_toml()).as_ref(), Ok(&genesis));
    genesis.signature_algorithms.clear();
    assert_eq!(genesis.check(), Err(GenesisError::NoAlgorithm));
    assert_eq!(Genesis::from_toml(&genesis.to_toml()), Err(GenesisError::NoAlgorithm));
}
