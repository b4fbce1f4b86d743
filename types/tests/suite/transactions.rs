//! What a transaction's id covers, and what its signature covers.

use crate::decoders::chain;
use crate::samples::{Random, transcribe_transaction};
use types::transaction::TransactionError;
use types::{
    AlgId, Amount, ChainId, DecodeError, Digest, Reject, SecretKey, Signature, TimestampMs, Transaction,
    TransactionBody, TransactionId,
};

#[test]
fn what_is_signed_is_what_is_parsed() {
    let mut random = Random::new(1);
    for _ in 0..300 {
        let (secret, body) = (random.secret(), random.transaction_body());
        let (until, nonce) = (random.number(), random.number());
        let signed = Transaction::sign(&chain(), &secret, until, nonce, body.clone()).unwrap();
        let parsed = Transaction::parse(&chain(), signed.raw().clone()).unwrap();
        assert_eq!(parsed, signed);
        assert_eq!((parsed.valid_until(), parsed.nonce(), parsed.body()), (TimestampMs(until), nonce, &body));
        assert_eq!((parsed.key(), parsed.sender()), (&secret.public_key(), secret.public_key().address()));
        assert_eq!(parsed.verify(), Ok(()));
        let key = secret.public_key();
        let transcribed = transcribe_transaction(&chain(), TimestampMs(until), nonce, &key, &body, parsed.signature());
        assert_eq!(parsed.raw(), &transcribed);
    }
}

#[test]
fn a_transfer_is_as_long_as_it_says() {
    let mut random = Random::new(2);
    for memo in [0, 1, 327, 1000] {
        for alg in AlgId::signing() {
            let body =
                TransactionBody::Transfer { to: random.address(), amount: Amount(1), memo: vec![0; memo].into() };
            let key = SecretKey::from_seed(alg, random.array()).unwrap();
            let signed = Transaction::sign(&chain(), &key, 1, 1, body).unwrap();
            assert_eq!(signed.raw().len(), Transaction::transfer_overhead(alg) + memo);
        }
    }
}

#[test]
fn a_key_that_is_elsewhere_signs_the_same_transaction() {
    let mut random = Random::new(9);
    for alg in AlgId::signing() {
        let (key, body) = (SecretKey::from_seed(alg, random.array()).unwrap(), random.transaction_body());
        let here = Transaction::sign(&chain(), &key, 5, 6, body.clone()).unwrap();
        let there = Transaction::sign_with::<DecodeError>(&chain(), &key.public_key(), 5, 6, body, |message| {
            Ok(key.sign(message))
        });
        assert_eq!(there, Ok(here));
    }
}

#[test]
fn a_memo_that_is_too_long_is_told_before_anything_is_signed() {
    let mut random = Random::new(10);
    let body = |memo: usize| TransactionBody::Certify { document: Digest::ZERO, memo: vec![0; memo].into() };
    let key = random.secret();
    let signed = |memo| {
        let mut asked = false;
        let result = Transaction::sign_with::<DecodeError>(&chain(), &key.public_key(), 1, 1, body(memo), |message| {
            asked = true;
            Ok(key.sign(message))
        });
        (result.map(drop), asked)
    };
    assert_eq!(signed(1 << 16), (Ok(()), true));
    let error = DecodeError::TooLong { field: "memo", length: (1 << 16) + 1, limit: 1 << 16 };
    assert_eq!(signed((1 << 16) + 1), (Err(error), false));
}

#[test]
fn the_id_does_not_depend_on_the_signature() {
    let mut random = Random::new(3);
    for _ in 0..100 {
        let signed = random.transaction(&chain());
        let unsigned = &signed.raw()[..signed.raw().len() - 65];
        let forged = Signature::from_parts(AlgId::Ed25519, &random.bytes(64)).unwrap();
        let raw = [unsigned, &[AlgId::Ed25519 as u8], forged.as_bytes()].concat();
        let parsed = Transaction::parse(&chain(), raw.into()).unwrap();
        assert_eq!((parsed.id(), parsed.sender()), (signed.id(), signed.sender()));
        assert!(parsed.verify().is_err());
    }
}

#[test]
fn every_bit_but_the_signatures_changes_the_id_and_breaks_the_signature() {
    let mut random = Random::new(5);
    for _ in 0..3 {
        let signed = random.transaction(&chain());
        let mut ids = vec![signed.id()];
        let covered = signed.raw().len() - 65;
        for bit in 0..covered * 8 {
            let mut raw = signed.raw().to_vec();
            raw[bit / 8] ^= 1 << (bit % 8);
            if let Ok(parsed) = Transaction::parse(&chain(), raw.into()) {
                ids.push(parsed.id());
                if bit % 16 == 0 {
                    assert!(parsed.verify().is_err());
                }
            }
        }
        let (parsed, at_least) = (ids.len(), (8 + 8 + 32 + 32) * 8);
        assert!(parsed > at_least, "most changes are still transactions, {parsed} were");
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), parsed);
    }
}

#[test]
fn bodies_that_could_be_confused_have_different_ids() {
    let mut random = Random::new(5);
    let (secret, to, document) = (random.secret(), random.address(), random.digest());
    let transfer =
        |units, memo: &'static [u8]| TransactionBody::Transfer { to, amount: Amount(units), memo: memo.into() };
    let certify = |memo: &'static [u8]| TransactionBody::Certify { document, memo: memo.into() };
    let bodies = [transfer(1, b""), transfer(2, b""), transfer(1, b"\0"), certify(b""), certify(b"\0")];
    let mut ids: Vec<TransactionId> = Vec::new();
    for body in bodies {
        for (until, nonce) in [(1, 1), (1, 2), (2, 1)] {
            ids.push(Transaction::sign(&chain(), &secret, until, nonce, body.clone()).unwrap().id());
        }
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

#[test]
fn a_transaction_of_another_ledger_says_so() {
    let mut random = Random::new(6);
    let other = ChainId(Digest::sha256(b"another"));
    let signed = random.transaction(&other);
    let error = Transaction::parse(&chain(), signed.raw().clone()).unwrap_err();
    assert_eq!(error, TransactionError::WrongChain(other));
    assert_eq!(Reject::from(error), Reject::WrongChain);
}

#[test]
fn versions_and_bodies_to_come_are_malformed_here() {
    let signed = Random::new(7).transaction(&chain());
    let body_at = 1 + Digest::ENCODED_LEN + 8 + 8 + 33;
    for (at, field) in [(0, "transaction version"), (body_at, "transaction body")] {
        let mut raw = signed.raw().to_vec();
        raw[at] = 9;
        let error = Transaction::parse(&chain(), raw.into()).unwrap_err();
        assert_eq!(error, TransactionError::Decode(DecodeError::UnknownTag { field, value: 9 }));
        assert_eq!(Reject::from(error), Reject::Malformed);
    }
}

#[test]
fn reject_codes_are_stable() {
    let codes: Vec<(u16, &str)> = Reject::ALL.iter().map(|reject| (reject.code(), reject.label())).collect();
    let pinned = [
        (1, "malformed"),
        (2, "too_large"),
        (3, "wrong_chain"),
        (4, "expired"),
        (5, "valid_until_too_far"),
        (6, "duplicate"),
        (7, "bad_signature"),
        (8, "algorithm_not_allowed"),
        (9, "unknown_sender"),
        (10, "overdraft"),
        (11, "balance_overflow"),
        (12, "self_transfer"),
        (13, "zero_amount"),
        (14, "too_many_live_ids"),
        (15, "not_governing"),
        (16, "wrong_epoch"),
        (17, "epoch_closing"),
        (18, "already_approved"),
        (19, "unknown_validator"),
        (20, "changes_nothing"),
        (21, "committee_size"),
        (22, "invalid_stake"),
        (23, "repeated_validator"),
        (24, "invalid_validator"),
        (25, "invalid_parameters"),
        (26, "quorum_unreachable"),
        (27, "declared_keys"),
        (28, "undeclared"),
        (29, "not_authorised"),
        (30, "unknown_object"),
        (31, "object_exists"),
        (32, "not_transferable"),
        (33, "not_divisible"),
        (34, "invalid_quantity"),
        (35, "different_objects"),
        (36, "unknown_grant"),
        (37, "invalid_grant"),
        (38, "not_granted"),
    ];
    assert_eq!(codes, pinned);
    assert_eq!(Reject::from_code(0), None);
    assert_eq!(Reject::from_code(39), None);
}
