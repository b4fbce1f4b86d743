//! Approvals, the decision, and the end of an epoch, one scenario each. Accounts 0 to 2 govern, any two of them.

use crate::workload::{commit, genesis, key, ordered, validator};
use ledger::{Approvals, Executed, Ledger, LedgerOptions, MemoryState, OrderedTransaction, ResumeError};
use std::num::NonZeroU16;
use std::sync::Arc;
use types::*;

const TIME: u64 = 1_000_100;

struct Scene {
    genesis: Genesis,
    ledger: Ledger,
    nonce: u64,
}

impl Scene {
    fn new() -> Self {
        let genesis = genesis(vec![], Parameters::default());
        let state = Arc::new(MemoryState::default());
        let (ledger, _) = Ledger::genesis(&genesis, NonZeroU16::MIN, state, LedgerOptions::default()).unwrap();
        Self { genesis, ledger, nonce: 0 }
    }

    fn approval(&mut self, member: u32, epoch: u64, change: &Change) -> OrderedTransaction {
        self.nonce += 1;
        let body = TransactionBody::Govern { epoch: Epoch(epoch), change: Box::new(change.clone()) };
        ordered(Transaction::sign(&self.genesis.chain_id(), &key(member), TIME + 1_000, self.nonce, body).unwrap())
    }

    fn execute(&mut self, last_of_epoch: bool, transactions: Vec<OrderedTransaction>) -> Executed {
        let height = self.ledger.tip().0.next().0;
        let input = ledger::CommitInput { last_of_epoch, ..commit(height, TIME, transactions) };
        self.ledger.execute(input).unwrap()
    }

    fn approve(&mut self, member: u32, epoch: u64, change: &Change) -> Outcome {
        let approval = self.approval(member, epoch, change);
        self.execute(false, vec![approval]).receipts[0].outcome
    }
}

fn remove(index: u32) -> Change {
    Change::Remove { name: format!("validator-{index}") }
}

fn rejected(reject: Reject) -> Outcome {
    Outcome::Rejected(reject)
}

#[test]
fn a_change_is_decided_by_as_many_members_as_the_threshold_says() {
    let mut scene = Scene::new();
    let before = scene.ledger.tip().1.state_digest;
    assert_eq!(scene.approve(0, 1, &remove(3)), Outcome::Applied);
    assert_eq!(scene.ledger.approvals().by_member().count(), 1);
    assert_ne!(scene.ledger.tip().1.state_digest, before, "an approval is part of the state");
    assert_eq!(scene.approve(0, 1, &remove(3)), rejected(Reject::AlreadyApproved));
    assert_eq!(scene.approve(9, 1, &remove(3)), rejected(Reject::NotGoverning));
    let second = scene.approval(1, 1, &remove(3));
    let executed = scene.execute(false, vec![second]);
    assert!(executed.closing && executed.next_epoch.is_none() && executed.header.next_committee.is_none());
    assert_eq!(scene.ledger.approvals().decided(), Some(&remove(3)));
    assert_eq!(scene.approve(2, 1, &remove(2)), rejected(Reject::EpochClosing));
}

#[test]
fn a_member_backs_one_change_at_a_time() {
    let mut scene = Scene::new();
    assert_eq!(scene.approve(0, 1, &remove(3)), Outcome::Applied);
    assert_eq!(scene.approve(0, 1, &remove(2)), Outcome::Applied, "he has changed his mind");
    assert_eq!(scene.approve(1, 1, &remove(3)), Outcome::Applied);
    assert_eq!(scene.ledger.approvals().decided(), None);
    assert_eq!(scene.approve(2, 1, &remove(2)), Outcome::Applied);
    assert_eq!(scene.ledger.approvals().decided(), Some(&remove(2)));
}

#[test]
fn the_last_height_names_the_next_epoch_and_leaves_no_approvals() {
    let mut scene = Scene::new();
    let empty = scene.ledger.tip().1.state_digest;
    let change = Change::Add { validator: validator(4) };
    let approvals = (0..2).map(|member| scene.approval(member, 1, &change)).collect();
    scene.execute(false, approvals);
    let last = scene.execute(true, vec![]);
    let next = last.next_epoch.unwrap();
    assert_eq!((next.epoch(), next.committee.size()), (Epoch(2), 5));
    assert_eq!(next.anchor, Anchor::of(&last.header));
    let named = EpochStart::digest_of(&next.committee, &next.parameters);
    assert_eq!((last.header.epoch, last.header.next_committee), (Epoch(1), Some(named)));
    assert_eq!(last.checkpoint.approvals, Approvals::default());

    let first = scene.execute(false, vec![]);
    assert_eq!((first.header.epoch, first.header.committee), (Epoch(2), next.committee.digest()));
    assert!(!first.closing && first.header.next_committee.is_none());
    assert_ne!(first.header.state_digest, empty, "the ids of the approvals are live");
    assert_eq!(scene.approve(0, 1, &remove(0)), rejected(Reject::WrongEpoch));
    assert_eq!(scene.approve(0, 2, &change), rejected(Reject::RepeatedValidator));
    assert_eq!(scene.approve(0, 2, &remove(0)), Outcome::Applied);
}

#[test]
fn parameters_hold_from_the_next_epoch_on() {
    let mut scene = Scene::new();
    let parameters = Parameters { validity_window_ms: 1_000, ..Parameters::default() };
    let change = Change::Parameters { parameters: parameters.clone() };
    let approvals = (0..2).map(|member| scene.approval(member, 1, &change)).collect();
    scene.execute(false, approvals);
    let far = |scene: &Scene, nonce| {
        let body = TransactionBody::Certify { document: Digest::ZERO, memo: Default::default() };
        ordered(Transaction::sign(&scene.genesis.chain_id(), &key(8), TIME + 1_001, nonce, body).unwrap())
    };
    let (early, late) = (far(&scene, 1), far(&scene, 2));
    assert_eq!(scene.execute(true, vec![early]).receipts[0].outcome, rejected(Reject::UnknownSender));
    assert_eq!(scene.execute(false, vec![late]).receipts[0].outcome, rejected(Reject::ValidUntilTooFar));
    assert_eq!(scene.ledger.epoch().parameters, parameters);
}

#[test]
fn the_screen_knows_what_is_wrong_with_a_change() {
    let mut scene = Scene::new();
    let screen = scene.ledger.screen();
    let mut check = |member, epoch, change: Change| {
        let approval = scene.approval(member, epoch, &change).transaction.unwrap();
        let next = screen.next_committee(&approval).map(|committee| committee.unwrap().size());
        assert_eq!(screen.check(&approval, TimestampMs(TIME)).err(), next.err());
        next
    };
    assert_eq!(check(0, 1, remove(3)), Ok(3));
    assert_eq!(check(9, 1, remove(3)), Err(Reject::NotGoverning));
    assert_eq!(check(0, 2, remove(3)), Err(Reject::WrongEpoch));
    assert_eq!(check(0, 1, remove(7)), Err(Reject::UnknownValidator));
}

#[test]
fn a_ledger_without_governance_keeps_its_committee() {
    let mut scene = Scene::new();
    scene.genesis.governance = Governance::default();
    let state = Arc::new(MemoryState::default());
    scene.ledger = Ledger::genesis(&scene.genesis, NonZeroU16::MIN, state, LedgerOptions::default()).unwrap().0;
    assert_eq!(scene.approve(0, 1, &remove(3)), rejected(Reject::NotGoverning));
}

#[test]
fn a_checkpoint_goes_on_in_its_own_epoch_alone() {
    let mut scene = Scene::new();
    let first = scene.ledger.epoch().clone();
    let approvals = (0..2).map(|member| scene.approval(member, 1, &remove(3))).collect();
    let decided = scene.execute(false, approvals);
    let last = scene.execute(true, vec![]);
    let second = last.next_epoch.clone().unwrap();
    let bucket = decided.live.added.clone();
    let resume = |start: &EpochStart, executed: &Executed| {
        let state = Arc::new(MemoryState::default());
        let (checkpoint, live) = (executed.checkpoint.clone(), bucket.clone());
        let options = LedgerOptions::default();
        Ledger::resume(&scene.genesis, start.clone(), checkpoint, live, NonZeroU16::MIN, state, options)
    };
    let resumed = resume(&first, &decided).unwrap();
    assert_eq!(resumed.approvals().decided(), Some(&remove(3)), "the decision survives a restart");
    assert_eq!(resume(&second, &last).unwrap().epoch(), &second);
    assert_eq!(resume(&first, &last).err(), Some(ResumeError::OtherEpoch));
    assert_eq!(resume(&second, &decided).err(), Some(ResumeError::OtherEpoch));
}
