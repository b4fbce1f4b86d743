//! Calls of contracts: who signs, what is declared, and how large they may be.

use crate::decoders::chain;
use crate::samples::Random;
use types::contract::{KEYS_MAX, SIGNERS_MAX, STEPS_MAX};
use types::{
    Access, Address, Amount, Call, DecodeError, Digest, Draft, Encode, GrantId, ObjectId, ObjectRights, PublicKey,
    SecretKey, StateKey, Step, Transaction, TransactionBody,
};

fn address(key: &SecretKey) -> Address {
    key.public_key().address()
}

fn keys(random: &mut Random, count: usize) -> Vec<SecretKey> {
    (0..count).map(|_| random.secret()).collect()
}

fn sale(keys: &[SecretKey]) -> Call {
    let object = ObjectId::issued(&address(&keys[0]), 1);
    let steps = vec![
        Step::Transfer { object, to: address(&keys[1]) },
        Step::Pay { from: address(&keys[1]), to: address(&keys[0]), amount: Amount(7) },
    ];
    let cosigners = keys[1..].iter().map(SecretKey::public_key).collect();
    Call::new(&address(&keys[0]), cosigners, steps, "a sale".into())
}

fn sign(keys: &[SecretKey], call: Call) -> Result<Transaction, DecodeError> {
    let keys: Vec<&SecretKey> = keys.iter().collect();
    Transaction::sign_together(&chain(), &keys, 5, 6, TransactionBody::Call(Box::new(call)))
}

#[test]
fn a_call_declares_what_its_steps_need_and_the_senders_account() {
    let mut random = Random::new(1);
    let keys = keys(&mut random, 3);
    let resource = Digest::sha256(b"a file");
    let (seller, buyer) = (address(&keys[0]), address(&keys[1]));
    let call = sale(&keys[..2]);
    let declared = |key: StateKey| call.access.iter().find(|access| access.key == key).map(|access| access.write);
    assert_eq!(declared(seller.into()), Some(true));
    assert_eq!(declared(buyer.into()), Some(true));
    assert_eq!(declared(ObjectId::issued(&seller, 1).into()), Some(true));
    assert_eq!(call.access.len(), 3);
    let grant = Step::Revoke { grantor: seller, grantee: buyer, resource };
    let call = Call::new(&address(&keys[2]), Vec::new(), vec![grant], Default::default());
    let expected = [
        Access { key: address(&keys[2]).into(), write: false },
        Access { key: GrantId::of(&seller, &buyer, &resource).into(), write: true },
    ];
    assert_eq!(call.access, expected);
}

#[test]
fn every_party_signs_the_same_message_and_one_wrong_signature_is_enough() {
    let mut random = Random::new(2);
    for count in 1..=SIGNERS_MAX {
        let keys = keys(&mut random, count);
        let transaction = sign(&keys, sale(&[keys.clone(), self::keys(&mut random, 1)].concat()[..count.max(2)]));
        if count == 1 {
            // The buyer's signature is needed and not there.
            assert_eq!(transaction.unwrap_err(), DecodeError::NotCanonical { field: "signers" });
            continue;
        }
        let transaction = transaction.unwrap();
        assert_eq!(transaction.claims().count(), count);
        assert_eq!(transaction.claim_count(), count);
        assert!(transaction.verify().is_ok());
        assert!(keys.iter().all(|key| transaction.is_signed_by(&address(key))));
        assert!(!transaction.is_signed_by(&random.address()));
        let (raw, signature) = (transaction.raw(), 65);
        for which in 0..count {
            let mut forged = raw.to_vec();
            let at = raw.len() - (count - which) * signature + 10;
            forged[at] ^= 1;
            let forged = Transaction::parse(&chain(), forged.into()).unwrap();
            assert_eq!(forged.id(), transaction.id());
            assert!(forged.verify().is_err(), "signature {which} of {count}");
        }
        let without_the_last = raw.slice(..raw.len() - signature);
        assert!(Transaction::parse(&chain(), without_the_last).is_err());
    }
}

#[test]
fn parties_sign_a_draft_one_after_the_other_wherever_they_are() {
    let mut random = Random::new(3);
    let keys = keys(&mut random, 3);
    let body = TransactionBody::Call(Box::new(sale(&keys)));
    let draft = Draft::new(&chain(), &keys[0].public_key(), 5, 6, body.clone()).unwrap();
    let sent = draft.unsigned().to_vec();
    let received = Draft::parse(&chain(), sent.into()).unwrap();
    assert_eq!(received, draft);
    let signatures: Vec<_> = received
        .signers()
        .iter()
        .map(|signer| keys.iter().find(|key| key.public_key() == *signer).unwrap().sign(&received.message()))
        .collect();
    assert!(received.clone().finish(&signatures[..2]).is_err());
    let transaction = received.finish(&signatures).unwrap();
    assert_eq!((transaction.id(), transaction.body()), (draft.id(), &body));
    assert!(transaction.verify().is_ok());
    assert_eq!(Ok(transaction), sign(&keys, sale(&keys)));
}

#[test]
fn signers_stand_once_and_in_order() {
    let mut random = Random::new(4);
    let keys = keys(&mut random, 3);
    let not_canonical = Err(DecodeError::NotCanonical { field: "cosigners" });
    let with = |cosigners: Vec<PublicKey>| sign(&keys, Call { cosigners, ..sale(&keys) }).map(drop);
    let mut cosigners = sale(&keys).cosigners;
    assert_eq!(with(cosigners.clone()), Ok(()));
    cosigners.reverse();
    assert_eq!(with(cosigners.clone()), not_canonical);
    assert_eq!(with(vec![cosigners[0].clone(); 2]), not_canonical);
    assert_eq!(with(vec![keys[0].public_key()]), not_canonical);
}

#[test]
fn declared_keys_stand_once_and_in_order() {
    let mut random = Random::new(5);
    let keys = keys(&mut random, 2);
    let access = sale(&keys).access;
    let not_canonical = Err(DecodeError::NotCanonical { field: "access" });
    let with = |access: Vec<Access>| sign(&keys, Call { access, ..sale(&keys) }).map(drop);
    assert_eq!(with(access.iter().rev().copied().collect()), not_canonical);
    assert_eq!(with(vec![access[0], Access { write: false, ..access[0] }]), not_canonical);
    assert_eq!(with(Vec::new()), Ok(()), "it is the ledger that refuses it, with a reason");
}

#[test]
fn sizes_have_limits() {
    let mut random = Random::new(6);
    let keys = keys(&mut random, SIGNERS_MAX + 1);
    let too_long = |field, length, limit| Err(DecodeError::TooLong { field, length, limit });
    assert_eq!(sign(&keys, sale(&keys)).map(drop), too_long("cosigners", SIGNERS_MAX, SIGNERS_MAX - 1));
    let keys = &keys[..2];
    let mut access: Vec<_> = (0..=KEYS_MAX).map(|_| Access { key: random.address().into(), write: true }).collect();
    access.sort_by_key(|access| access.key);
    let declares = |access: &[Access]| sign(keys, Call { access: access.to_vec(), ..sale(keys) }).map(drop);
    assert_eq!(declares(&access), too_long("access", KEYS_MAX + 1, KEYS_MAX));
    assert_eq!(declares(&access[..KEYS_MAX]), Ok(()));
    let step = sale(keys).steps[0].clone();
    let does = |count| sign(keys, Call { steps: vec![step.clone(); count], ..sale(keys) }).map(drop);
    assert_eq!(does(STEPS_MAX + 1), too_long("steps", STEPS_MAX + 1, STEPS_MAX));
    assert_eq!((does(1), does(STEPS_MAX)), (Ok(()), Ok(())));
    assert_eq!(does(0), Err(DecodeError::NotCanonical { field: "steps" }));
    let memo = Call { memo: vec![0; (1 << 16) + 1].into(), ..sale(keys) };
    assert_eq!(sign(keys, memo).map(drop), too_long("memo", (1 << 16) + 1, 1 << 16));
}

#[test]
fn identifiers_and_row_keys_read_back_in_one_spelling() {
    let mut random = Random::new(7);
    for _ in 0..200 {
        let key = random.state_key();
        assert_eq!(StateKey::from_row_key(&key.to_row_key()), Some(key));
        let object = ObjectId::from_bytes(random.array());
        assert_eq!(object.to_string().parse(), Ok(object));
        assert!(object.to_string().to_uppercase().parse::<ObjectId>().is_err());
        assert!(object.to_string().replace("object:", "grant:").parse::<ObjectId>().is_err());
        let upper = format!("object:{}", hex::encode_upper(object.as_bytes()));
        assert!(upper.parse::<ObjectId>().is_err() || upper == object.to_string());
    }
    for wrong in [&[0; 31][..], &[1; 33], &[9; 33], &[2; 34]] {
        assert_eq!(StateKey::from_row_key(wrong), None);
    }
}

#[test]
fn what_an_object_allows_is_in_two_bits() {
    for (transferable, divisible, bits) in [(false, false, 0), (true, false, 1), (false, true, 2), (true, true, 3)] {
        assert_eq!(ObjectRights { transferable, divisible }.to_bytes(), [bits]);
    }
}
