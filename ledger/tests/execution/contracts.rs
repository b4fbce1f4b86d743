//! Scenarios of the contracts: who may do what, and that all of a call happens or nothing.

use crate::workload::{commit, genesis, key, ordered};
use ledger::{CALL_SLOTS_MAX, Executed, Ledger, LedgerOptions, MemoryState, StateReader, Value, slot_of};
use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::sync::Arc;
use types::*;

const ISSUER: u32 = 0;
const BUYER: u32 = 1;
const STRANGER: u32 = 2;

struct Scene {
    chain: ChainId,
    ledger: Ledger,
    state: Arc<MemoryState>,
    height: u64,
    nonce: u64,
}

fn address(who: u32) -> Address {
    key(who).public_key().address()
}

fn bond() -> ObjectId {
    ObjectId::issued(&address(ISSUER), 7)
}

fn create(quantity: u128, transferable: bool, divisible: bool) -> Step {
    let (issuer, content) = (address(ISSUER), Digest::sha256(b"the terms"));
    let rights = ObjectRights { transferable, divisible };
    Step::Create { issuer, salt: 7, owner: issuer, quantity: Amount(quantity), rights, content }
}

impl Scene {
    /// Over several shards, run on workers; everybody holds 100.
    fn new() -> Self {
        let allocation = |who| Allocation { address: address(who), balance: Amount(100) };
        let genesis = genesis((0..10).map(allocation).collect(), Parameters::default());
        let state = Arc::new(MemoryState::default());
        let options = LedgerOptions { parallel_min: 0, ..LedgerOptions::default() };
        let (ledger, start) = Ledger::genesis(&genesis, NonZeroU16::new(8).unwrap(), state.clone(), options).unwrap();
        state.apply(&start.changes);
        Self { chain: genesis.chain_id(), ledger, state, height: 0, nonce: 0 }
    }

    fn sign(&mut self, signers: &[u32], change: impl FnOnce(&mut Call), steps: Vec<Step>) -> Transaction {
        let keys: Vec<SecretKey> = signers.iter().map(|who| key(*who)).collect();
        let cosigners = keys[1..].iter().map(SecretKey::public_key).collect();
        let mut call = Call::new(&address(signers[0]), cosigners, steps, Default::default());
        change(&mut call);
        self.nonce += 1;
        let keys: Vec<&SecretKey> = keys.iter().collect();
        let body = TransactionBody::Call(Box::new(call));
        Transaction::sign_together(&self.chain, &keys, 1_002_000, self.nonce, body).unwrap()
    }

    fn execute(&mut self, transactions: Vec<Transaction>) -> Executed {
        self.height += 1;
        let entries = transactions.into_iter().map(ordered).collect();
        let executed = self.ledger.execute(commit(self.height, 1_001_000, entries)).unwrap();
        self.state.apply(&executed.changes);
        self.ledger.persisted(Height(self.height));
        executed
    }

    /// One call; its events, or why it was refused.
    fn call(&mut self, signers: &[u32], steps: Vec<Step>) -> Result<Vec<LedgerEvent>, Reject> {
        let transaction = self.sign(signers, |_| (), steps);
        let mut executed = self.execute(vec![transaction]);
        match executed.receipts[0].outcome {
            Outcome::Emitted(digest) => {
                let (position, events) = executed.events.pop().expect("events");
                assert_eq!((position, LedgerEvent::digest(&events)), (0, digest));
                Ok(events)
            }
            Outcome::Rejected(reject) => {
                assert_eq!((executed.events, executed.changes), (vec![], vec![]), "nothing happens of what is refused");
                Err(reject)
            }
            Outcome::Applied => panic!("a call says what it did"),
        }
    }

    fn balance(&self, who: u32) -> u128 {
        self.state.value(&address(who).into()).unwrap().unwrap().account().unwrap().balance.0
    }

    fn object(&self, object: ObjectId) -> Option<Object> {
        match self.state.value(&object.into()).unwrap()? {
            Value::Object(object) => Some(*object),
            other => panic!("{other:?} is no object"),
        }
    }
}

#[test]
fn an_object_is_created_once_handed_on_by_its_owner_alone_and_burned() {
    let mut scene = Scene::new();
    let (object, transfer) = (bond(), |to| Step::Transfer { object: bond(), to: address(to) });
    assert_eq!(scene.call(&[STRANGER], vec![create(1, true, false)]), Err(Reject::NotAuthorised));
    assert_eq!(scene.call(&[ISSUER], vec![create(0, true, false)]), Err(Reject::InvalidQuantity));
    assert_eq!(scene.call(&[ISSUER], vec![transfer(BUYER)]), Err(Reject::UnknownObject));
    let created = scene.call(&[ISSUER], vec![create(1, true, false)]).unwrap();
    assert!(matches!(created[..], [LedgerEvent::Created { object: it, quantity: Amount(1), .. }] if it == object));
    assert_eq!(scene.call(&[ISSUER], vec![create(1, true, false)]), Err(Reject::ObjectExists));
    assert_eq!(scene.call(&[STRANGER], vec![transfer(STRANGER)]), Err(Reject::NotAuthorised));
    assert_eq!(scene.call(&[ISSUER], vec![transfer(ISSUER)]), Err(Reject::SelfTransfer));
    let (from, to, quantity) = (address(ISSUER), address(BUYER), Amount(1));
    let events = vec![LedgerEvent::Transferred { object, from, to, quantity }];
    assert_eq!(scene.call(&[ISSUER], vec![transfer(BUYER)]), Ok(events));
    assert_eq!(scene.call(&[ISSUER], vec![Step::Burn { object }]), Err(Reject::NotAuthorised));
    let events = vec![LedgerEvent::Burned { object, owner: to, quantity }];
    assert_eq!(scene.call(&[BUYER], vec![Step::Burn { object }]), Ok(events));
    assert_eq!(scene.object(object), None);
}

#[test]
fn an_object_that_is_not_transferable_or_divisible_stays_as_it_is() {
    let mut scene = Scene::new();
    scene.call(&[ISSUER], vec![create(5, false, false)]).unwrap();
    let object = bond();
    let transfer = Step::Transfer { object, to: address(BUYER) };
    assert_eq!(scene.call(&[ISSUER], vec![transfer]), Err(Reject::NotTransferable));
    assert_eq!(
        scene.call(&[ISSUER], vec![Step::Split { object, salt: 0, quantity: Amount(2) }]),
        Err(Reject::NotDivisible)
    );
}

#[test]
fn parts_of_an_asset_are_split_sold_and_put_together_and_none_of_it_is_lost() {
    let mut scene = Scene::new();
    let whole = bond();
    let part = ObjectId::part(&whole, 1);
    scene.call(&[ISSUER], vec![create(10, true, true)]).unwrap();
    let split = |quantity| Step::Split { object: whole, salt: 1, quantity: Amount(quantity) };
    for wrong in [0, 10, 11, u128::MAX] {
        assert_eq!(scene.call(&[ISSUER], vec![split(wrong)]), Err(Reject::InvalidQuantity));
    }
    scene.call(&[ISSUER], vec![split(4), Step::Transfer { object: part, to: address(BUYER) }]).unwrap();
    assert_eq!(scene.call(&[ISSUER], vec![split(1)]), Err(Reject::ObjectExists));
    let (left, sold) = (scene.object(whole).unwrap(), scene.object(part).unwrap());
    assert_eq!((left.quantity, left.owner), (Amount(6), address(ISSUER)));
    assert_eq!((sold.quantity, sold.owner, sold.asset), (Amount(4), address(BUYER), left.asset));
    let merge = Step::Merge { object: part, into: whole };
    assert_eq!(scene.call(&[BUYER], vec![merge.clone()]), Err(Reject::DifferentObjects), "two owners");
    scene.call(&[BUYER], vec![Step::Transfer { object: part, to: address(ISSUER) }]).unwrap();
    assert_eq!(scene.call(&[ISSUER], vec![Step::Merge { object: whole, into: whole }]), Err(Reject::DifferentObjects));
    let merged = scene.call(&[ISSUER], vec![merge]).unwrap();
    assert_eq!(merged, [LedgerEvent::Merged { object: part, into: whole, quantity: Amount(10) }]);
    assert_eq!((scene.object(part), scene.object(whole).unwrap().quantity), (None, Amount(10)));
}

#[test]
fn what_is_issued_again_under_a_salt_is_another_asset() {
    let mut scene = Scene::new();
    let (whole, part) = (bond(), ObjectId::part(&bond(), 1));
    scene
        .call(&[ISSUER], vec![create(10, true, true), Step::Split { object: whole, salt: 1, quantity: Amount(4) }])
        .unwrap();
    scene.call(&[ISSUER], vec![Step::Burn { object: whole }, create(10, true, true)]).unwrap();
    let merge = Step::Merge { object: part, into: whole };
    assert_eq!(scene.call(&[ISSUER], vec![merge]), Err(Reject::DifferentObjects));
}

#[test]
fn delivery_is_against_payment_or_neither_happens() {
    let mut scene = Scene::new();
    scene.call(&[ISSUER], vec![create(1, true, false)]).unwrap();
    let sale = |price| {
        vec![
            Step::Transfer { object: bond(), to: address(BUYER) },
            Step::Pay { from: address(BUYER), to: address(ISSUER), amount: Amount(price) },
        ]
    };
    assert_eq!(scene.call(&[ISSUER], sale(60)), Err(Reject::NotAuthorised), "the buyer has not signed");
    assert_eq!(scene.call(&[BUYER], sale(60)), Err(Reject::NotAuthorised), "the seller has not signed");
    assert_eq!(scene.call(&[BUYER, ISSUER], sale(101)), Err(Reject::Overdraft));
    assert_eq!(scene.object(bond()).unwrap().owner, address(ISSUER), "delivered to somebody who could not pay");
    assert_eq!(scene.call(&[BUYER, ISSUER], sale(60)).unwrap().len(), 2);
    assert_eq!(scene.object(bond()).unwrap().owner, address(BUYER));
    assert_eq!((scene.balance(ISSUER), scene.balance(BUYER)), (160, 40));
    assert_eq!(scene.call(&[BUYER, ISSUER], sale(1)), Err(Reject::SelfTransfer), "the buyer has it already");
}

#[test]
fn of_two_sales_of_one_object_in_a_commit_the_first_counts() {
    let mut scene = Scene::new();
    scene.call(&[ISSUER], vec![create(1, true, false)]).unwrap();
    let sale = |to| vec![Step::Transfer { object: bond(), to: address(to) }];
    let transactions = vec![scene.sign(&[ISSUER], |_| (), sale(STRANGER)), scene.sign(&[ISSUER], |_| (), sale(BUYER))];
    let executed = scene.execute(transactions);
    assert!(executed.receipts[0].outcome.is_applied());
    assert_eq!(executed.receipts[1].outcome, Outcome::Rejected(Reject::NotAuthorised));
    assert_eq!(scene.object(bond()).unwrap().owner, address(STRANGER));
}

#[test]
fn a_key_that_is_not_declared_for_it_is_not_touched() {
    let mut scene = Scene::new();
    let steps = vec![create(1, true, false)];
    let mut outcome = |change: fn(&mut Call)| {
        let transaction = scene.sign(&[ISSUER], change, steps.clone());
        scene.execute(vec![transaction]).receipts[0].outcome
    };
    let undeclared = Outcome::Rejected(Reject::Undeclared);
    assert_eq!(outcome(|call| call.access.retain(|access| access.key != bond().into())), undeclared);
    assert_eq!(outcome(|call| call.access.iter_mut().for_each(|access| access.write = false)), undeclared);
    let sender = |call: &mut Call| call.access.retain(|access| access.key == bond().into());
    assert_eq!(outcome(sender), undeclared, "the sender's account is looked at");
    assert_eq!(outcome(|call| call.access.clear()), Outcome::Rejected(Reject::DeclaredKeys));
    assert!(outcome(|_| ()).is_applied());
}

#[test]
fn a_call_spans_eight_slots_and_so_eight_shards_at_most() {
    let mut scene = Scene::new();
    // Accounts in slots, and so shards, of their own, and one more in a slot that there is already.
    let mut slots = BTreeSet::new();
    let spread: Vec<u32> = (0..10).filter(|who| slots.insert(slot_of(&address(*who).into()))).collect();
    assert!(spread.len() > CALL_SLOTS_MAX);
    for count in [1, 2, CALL_SLOTS_MAX, CALL_SLOTS_MAX + 1] {
        let payees = spread[1..count].to_vec();
        let pay = |to: &u32| Step::Pay { from: address(spread[0]), to: address(*to), amount: Amount(1) };
        let mut steps: Vec<Step> = payees.iter().take(8).map(pay).collect();
        if steps.is_empty() {
            let (grantor, grantee) = (address(spread[0]), address(spread[0]));
            let resource = Digest::ZERO;
            steps.push(Step::Revoke { grantor, grantee, resource });
        }
        let declared = |call: &mut Call| {
            call.access = spread[..count].iter().map(|who| Access { key: address(*who).into(), write: true }).collect();
            call.access.sort_by_key(|access| access.key);
        };
        let transaction = scene.sign(&[spread[0]], declared, steps);
        let outcome = scene.execute(vec![transaction]).receipts[0].outcome;
        match count {
            1 => assert_eq!(outcome, Outcome::Rejected(Reject::Undeclared), "the grant is not declared"),
            2 | 8 => assert!(outcome.is_applied(), "{count} slots: {outcome:?}"),
            _ => assert_eq!(outcome, Outcome::Rejected(Reject::DeclaredKeys)),
        }
    }
}

#[test]
fn balances_at_the_limit_do_not_wrap_in_a_call_either() {
    let (rich, poor) = (address(0), address(1));
    let account = |address, balance| Allocation { address, balance };
    let genesis = genesis(vec![account(rich, Amount::MAX), account(poor, Amount(5))], Parameters::default());
    let state = Arc::new(MemoryState::default());
    let (mut ledger, start) =
        Ledger::genesis(&genesis, NonZeroU16::MIN, state.clone(), LedgerOptions::default()).unwrap();
    state.apply(&start.changes);
    let call =
        Call::new(&poor, vec![], vec![Step::Pay { from: poor, to: rich, amount: Amount(1) }], Default::default());
    let body = TransactionBody::Call(Box::new(call));
    let transaction = Transaction::sign(&genesis.chain_id(), &key(1), 1_002_000, 1, body).unwrap();
    let executed = ledger.execute(commit(1, 1_001_000, vec![ordered(transaction)])).unwrap();
    assert_eq!(executed.receipts[0].outcome, Outcome::Rejected(Reject::BalanceOverflow));
}

#[test]
fn leave_is_given_used_and_taken_back_and_the_trail_says_so() {
    let mut scene = Scene::new();
    let (grantor, grantee, resource) = (address(ISSUER), address(BUYER), Digest::sha256(b"a patient's file"));
    let id = GrantId::of(&grantor, &grantee, &resource);
    let give = |rights, until| Step::Grant { grantor, grantee, resource, rights, expires: TimestampMs(until) };
    let (revoke, purpose) = (Step::Revoke { grantor, grantee, resource }, Digest::sha256(b"a consultation"));
    let exercise = |rights| Step::Exercise { grantee, grantor, resource, rights, purpose };
    let (later, now) = (2_000_000, 1_001_000);
    assert_eq!(scene.call(&[BUYER], vec![give(1, later)]), Err(Reject::NotAuthorised));
    assert_eq!(scene.call(&[ISSUER], vec![give(0, later)]), Err(Reject::InvalidGrant));
    assert_eq!(scene.call(&[ISSUER], vec![give(1, now - 1)]), Err(Reject::InvalidGrant));
    assert_eq!(scene.call(&[BUYER], vec![exercise(1)]), Err(Reject::UnknownGrant));
    assert_eq!(scene.call(&[ISSUER], vec![revoke.clone()]), Err(Reject::UnknownGrant));

    let mut trail = Vec::new();
    let mut entry = |scene: &mut Scene, who: u32, step: Step| {
        let transaction = scene.sign(&[who], |_| (), vec![step]);
        let id = transaction.id();
        let executed = scene.execute(vec![transaction]);
        assert!(executed.receipts[0].outcome.is_applied());
        trail.push((id, executed.events[0].1[0].clone()));
    };
    entry(&mut scene, ISSUER, give(0b110, later));
    assert_eq!(scene.call(&[ISSUER], vec![exercise(2)]), Err(Reject::NotAuthorised), "only the grantee uses it");
    for rights in [0, 1, 0b111] {
        assert_eq!(scene.call(&[BUYER], vec![exercise(rights)]), Err(Reject::NotGranted), "{rights}");
    }
    entry(&mut scene, BUYER, exercise(0b010));
    entry(&mut scene, ISSUER, revoke.clone());
    assert_eq!(scene.call(&[BUYER], vec![exercise(2)]), Err(Reject::NotGranted));
    assert_eq!(scene.call(&[ISSUER], vec![revoke]), Err(Reject::NotGranted));
    entry(&mut scene, ISSUER, give(1, now));
    entry(&mut scene, BUYER, exercise(1));

    // The head that the state holds is that of exactly these entries.
    let Some(Value::Grant(grant)) = scene.state.value(&id.into()).unwrap() else { panic!("a grant") };
    let head = trail.iter().fold(Digest::ZERO, |head, (id, event)| Grant::audited(&head, id, event));
    assert_eq!((grant.entries, grant.audit), (5, head));
    assert!(matches!(trail[2].1, LedgerEvent::Revoked { rights: 0b110, .. }));
}

#[test]
fn leave_is_not_given_to_oneself() {
    let mut scene = Scene::new();
    let (grantor, resource) = (address(ISSUER), Digest::ZERO);
    let expires = TimestampMs(u64::MAX);
    let step = Step::Grant { grantor, grantee: grantor, resource, rights: 1, expires };
    assert_eq!(scene.call(&[ISSUER], vec![step]), Err(Reject::InvalidGrant));
}

#[test]
fn who_has_no_account_calls_nothing() {
    let mut scene = Scene::new();
    let step = Step::Burn { object: bond() };
    assert_eq!(scene.call(&[77], vec![step]), Err(Reject::UnknownSender));
}
