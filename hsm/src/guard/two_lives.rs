//! The guard against its own copies: restored disks and second instances, over an anchor that fails as disks do. These
//! tests fail when the limit is not kept at a start, when a reservation is used that was found and not made, or when a
//! process goes on without reading the anchor after its claim.

mod histories;

use super::fence::Anchor;
use super::record::{HEADER_LEN, RECORD_MAX};
use super::simulated::SimulatedDisk;
use super::*;
use crate::refusal::Refusal;
use std::sync::{Arc, Mutex};
use types::block::votes_digest;
use types::{Epoch, Round, SecretKey};

const SMALL: Limits = Limits { rounds: 8, heights: 12, file_bytes: HEADER_LEN + RECORD_MAX + 1024 };
const ROUNDS: u64 = 16;

/// An anchor in memory, shared by all who have the machine.
#[derive(Clone)]
struct Memory(Arc<Mutex<State>>);

struct State {
    value: Digest,
    claims: u64,
    /// Calls until it fails once; the failing one happens or not.
    fails_in: Option<u64>,
    fails_after_the_fact: bool,
}

impl Memory {
    fn new() -> Self {
        let state = State { value: Digest::ZERO, claims: 0, fails_in: None, fails_after_the_fact: false };
        Self(Arc::new(Mutex::new(state)))
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().expect("one thread"))
    }

    fn claims(&self) -> u64 {
        self.with(|state| state.claims)
    }

    fn witness(&self) -> Witness {
        Witness::Anchor(Box::new(self.clone()), ROUNDS)
    }
}

impl State {
    fn fails(&mut self) -> bool {
        let now = self.fails_in == Some(0);
        self.fails_in = self.fails_in.and_then(|calls| calls.checked_sub(1));
        now
    }
}

impl Anchor for Memory {
    fn value(&mut self) -> Result<Digest, StoreError> {
        self.with(|state| if state.fails() { Err(Fault::FenceSilent.into()) } else { Ok(state.value) })
    }

    fn extend(&mut self, claim: &Digest) -> Result<(), StoreError> {
        self.with(|state| {
            let fails = state.fails();
            if !fails || state.fails_after_the_fact {
                state.value = Standing::value_after(&state.value, claim);
                state.claims += 1;
            }
            if fails { Err(Fault::FenceSilent.into()) } else { Ok(()) }
        })
    }
}

fn identity() -> Identity {
    let key = SecretKey::ed25519_from_seed([7; 32]).public_key();
    Identity { chain: ChainId(Digest::sha256(b"chain")), author: AuthorityIndex(2), key }
}

fn open(disk: &SimulatedDisk, witness: Witness) -> Result<Guard, StoreError> {
    Guard::on_disk(Box::new(disk.clone()), &disk.content(), &identity(), SMALL, witness)
}

fn statement(epoch: u64, round: u64, variant: u8, votes: &[HeaderVote]) -> RoundStatement {
    RoundStatement {
        chain: identity().chain,
        epoch: Epoch(epoch),
        round: Round(round),
        author: AuthorityIndex(2),
        body_digest: Digest::sha256(&[variant]),
        votes_digest: votes_digest(votes),
    }
}

fn approve(guard: &mut Guard, round: u64, variant: u8) -> Result<Approval, SignError> {
    guard.approve(&statement(0, round, variant, &[]), &[])
}

fn vote(height: u64, variant: u8) -> HeaderVote {
    HeaderVote { height: Height(height), header: Digest::sha256(&[variant]) }
}

fn slot(round: u64) -> Slot {
    Slot { epoch: Epoch(0), round: Round(round) }
}

fn fenced(round: u64, variant: u8, from: u64) -> Result<Approval, SignError> {
    let asked = statement(0, round, variant, &[]).digest();
    Err(Refusal::Fenced { slot: slot(round), from: slot(from), asked }.into())
}

/// A new file and its anchor.
fn new() -> (SimulatedDisk, Memory) {
    let anchor = Memory::new();
    let disk = SimulatedDisk::guard(&identity(), SMALL, &mut anchor.witness(), 0);
    (disk, anchor)
}

#[test]
fn an_orderly_end_loses_no_round_and_a_crash_loses_what_was_reserved() {
    let (disk, anchor) = new();
    let mut guard = open(&disk, anchor.witness()).expect("a new file");
    assert_eq!(approve(&mut guard, 1, 1), Ok(Approval::Fresh));
    guard.close().expect("a disk that works");
    let mut guard = open(&disk, anchor.witness()).expect("the same file");
    assert_eq!(approve(&mut guard, 2, 1), Ok(Approval::Fresh));
    drop(guard);
    let mut guard = open(&disk, anchor.witness()).expect("the same file");
    assert_eq!(guard.floor().from, slot(2 + ROUNDS));
    assert_eq!(approve(&mut guard, 3, 1), fenced(3, 1, 2 + ROUNDS));
    assert_eq!(approve(&mut guard, 2, 1), Ok(Approval::Known(None)), "what the file knows is answered");
    assert_eq!(approve(&mut guard, 2 + ROUNDS, 1), Ok(Approval::Fresh));
}

#[test]
fn starts_alone_use_up_neither_rounds_nor_the_anchor() {
    let (disk, anchor) = new();
    approve(&mut open(&disk, anchor.witness()).expect("a new file"), 1, 1).expect("above all");
    let claims = anchor.claims();
    for _ in 0..10 {
        let guard = open(&disk, anchor.witness()).expect("the same file");
        assert_eq!(guard.floor().from, slot(1 + ROUNDS));
    }
    assert_eq!(anchor.claims(), claims);
}

#[test]
fn a_copy_that_is_older_than_the_last_reservation_does_not_open() {
    let (disk, anchor) = new();
    let mut guard = open(&disk, anchor.witness()).expect("a new file");
    let unused = disk.copy(1);
    approve(&mut guard, 1, 1).expect("above all");
    let used = disk.copy(2);
    approve(&mut guard, 1 + ROUNDS, 1).expect("above all");
    for copy in [unused, used] {
        assert_eq!(open(&copy, anchor.witness()).err(), Some(ConfigError::GuardStale.into()));
    }
    assert!(open(&disk, anchor.witness()).is_ok());
}

#[test]
fn of_two_signers_that_start_from_one_state_one_goes_on() {
    let (disk, anchor) = new();
    let mut first = open(&disk, anchor.witness()).expect("a new file");
    approve(&mut first, 1, 1).expect("above all");
    let mut second = open(&disk.copy(1), anchor.witness()).expect("a copy of the newest");
    assert_eq!(approve(&mut first, 5, 1), Ok(Approval::Fresh));
    assert_eq!(approve(&mut second, 5, 2), fenced(5, 2, 1 + ROUNDS));
    assert_eq!(approve(&mut second, 1 + ROUNDS, 2), Ok(Approval::Fresh));
    assert_eq!(approve(&mut first, 6, 1), Ok(Approval::Fresh), "still below its limit");
    assert_eq!(approve(&mut first, 1 + ROUNDS, 1), Err(ConfigError::GuardStale.into()));
    for round in 2 + ROUNDS..5 * ROUNDS {
        assert_eq!(approve(&mut second, round, 2), Ok(Approval::Fresh), "the other one did not move the anchor");
    }
}

/// The hole of a counter: both files would stand one above where they began.
#[test]
fn a_reservation_that_was_written_and_not_made_is_not_taken_for_another_signers() {
    let (disk, anchor) = new();
    let mut guard = open(&disk, anchor.witness()).expect("a new file");
    let older = disk.copy(1);
    anchor.with(|state| (state.fails_in, state.fails_after_the_fact) = (Some(1), false));
    assert_eq!(approve(&mut guard, 1, 1), Err(Fault::FenceSilent.into()));
    drop(guard);
    let mut other = open(&older, anchor.witness()).expect("as new as the first");
    assert_eq!(approve(&mut other, 5, 2), Ok(Approval::Fresh));
    assert_eq!(open(&disk, anchor.witness()).err(), Some(ConfigError::GuardStale.into()));
}

#[test]
fn a_crash_on_either_side_of_a_claim_is_told_from_a_foreign_one() {
    for happened in [false, true] {
        let (disk, anchor) = new();
        let mut guard = open(&disk, anchor.witness()).expect("a new file");
        anchor.with(|state| (state.fails_in, state.fails_after_the_fact) = (Some(1), happened));
        assert_eq!(approve(&mut guard, 1, 1), Err(Fault::FenceSilent.into()));
        drop(guard);
        let mut guard = open(&disk, anchor.witness()).expect("its own doing");
        assert_eq!(guard.floor().from, if happened { slot(1 + ROUNDS) } else { slot(0) });
        assert_eq!(approve(&mut guard, 1 + ROUNDS, 1), Ok(Approval::Fresh));
    }
}

#[test]
fn an_anchor_that_comes_back_is_asked_again_for_the_same_claim() {
    for happened in [false, true] {
        let (disk, anchor) = new();
        let mut guard = open(&disk, anchor.witness()).expect("a new file");
        anchor.with(|state| (state.fails_in, state.fails_after_the_fact) = (Some(1), happened));
        assert_eq!(approve(&mut guard, 1, 1), Err(Fault::FenceSilent.into()));
        assert_eq!(approve(&mut guard, 1, 1), Ok(Approval::Fresh));
        assert_eq!(anchor.claims(), 1);
    }
}

#[test]
fn votes_that_a_lost_part_of_the_file_may_have_given_are_not_given_otherwise() {
    let (disk, anchor) = new();
    let mut guard = open(&disk, anchor.witness()).expect("a new file");
    let first = [vote(1, 1)];
    guard.approve(&statement(0, 1, 1, &first), &first).expect("above all");
    let copy = disk.copy(1);
    let second = [vote(2, 1)];
    guard.approve(&statement(0, 2, 1, &second), &second).expect("above all");
    drop(guard);
    let mut restored = open(&copy, anchor.witness()).expect("nothing was reserved since");
    let limit = restored.votes_refused_up_to();
    let round = 1 + ROUNDS;
    let other = [vote(2, 2)];
    let refused = restored.approve(&statement(0, round, 1, &other), &other);
    assert_eq!(refused, Err(Refusal::ForgottenHeight { height: Height(2), floor: limit }.into()));
    let above = [vote(1, 1), vote(limit.0 + 1, 2)];
    assert_eq!(restored.approve(&statement(0, round, 1, &above), &above), Ok(Approval::Fresh));
}

#[test]
fn statements_cost_one_sync_each_and_the_first_after_a_start_one_more() {
    let (disk, anchor) = new();
    let mut guard = open(&disk, anchor.witness()).expect("a new file");
    let start = disk.syncs();
    approve(&mut guard, 1, 1).expect("above all");
    assert_eq!(disk.syncs() - start, 2);
    for round in 2..20 * ROUNDS {
        let before = disk.syncs();
        approve(&mut guard, round, 1).expect("above all");
        guard.settle().expect("an anchor that works");
        assert!(disk.syncs() - before <= 1, "round {round}");
    }
    assert!(anchor.claims() <= 2 * 20 + 2, "{} claims", anchor.claims());
}

#[test]
fn an_operators_word_opens_a_stale_file_and_outdates_the_other() {
    let (disk, anchor) = new();
    let mut guard = open(&disk, anchor.witness()).expect("a new file");
    let copy = disk.copy(1);
    approve(&mut guard, 1, 1).expect("above all");
    guard.close().expect("a disk that works");
    drop(guard);
    let activate = |disk: &SimulatedDisk, activation| {
        let (boxed, witness) = (Box::new(disk.clone()), &mut anchor.witness());
        Guard::activate_on_disk(boxed, &disk.content(), &identity(), SMALL, witness, activation, 9)
    };
    let from = Floor { from: slot(100), votes_above: Height(50) };
    assert_eq!(activate(&copy, Activation::From(from)), Ok(from));
    assert_eq!(open(&disk, anchor.witness()).err(), Some(ConfigError::GuardStale.into()));
    let mut guard = open(&copy, anchor.witness()).expect("an operator vouches for it");
    assert_eq!(approve(&mut guard, 1, 2), fenced(1, 2, 100));
    assert_eq!(approve(&mut guard, 100, 2), Ok(Approval::Fresh));
    drop(guard);
    // After a crash, and nothing but a crash.
    let floor = activate(&copy, Activation::Acknowledge).expect("its own fence");
    assert_eq!(floor.from, slot(101));
    let actions = open(&copy, anchor.witness()).expect("vouched for").fence.standing().actions.clone();
    assert_eq!(actions.iter().map(|action| action.act).collect::<Vec<_>>(), [Act::Activated, Act::Acknowledged]);
}

#[test]
fn without_an_anchor_a_copy_a_restored_file_and_another_machine_are_refused() {
    let machine = |name: &[u8]| Witness::Machine(Digest::sha256(name));
    let disk = SimulatedDisk::guard(&identity(), SMALL, &mut machine(b"here"), 0);
    let mut guard = open(&disk, machine(b"here")).expect("a new file");
    let copy = disk.copy(1);
    for round in 1..100 {
        approve(&mut guard, round, 1).expect("above all, over many exchanges of the file");
    }
    drop(guard);
    assert_eq!(open(&copy, machine(b"here")).err(), Some(ConfigError::GuardMoved.into()));
    assert_eq!(open(&disk, machine(b"there")).err(), Some(ConfigError::GuardMoved.into()));
    assert_eq!(open(&disk, Memory::new().witness()).err(), Some(ConfigError::GuardMoved.into()));
    let mut guard = open(&disk, machine(b"here")).expect("the file itself, which was exchanged on the way");
    assert_eq!(approve(&mut guard, 100, 1), Ok(Approval::Fresh));
}
