//! What people try at a ceremony: the wrong step, twice, without a quorum, with a clock that goes back.

use crate::fake::{Box1, SCRIPT, Table, key, run, start};
use hsm::ceremony::conduct::ConductError;
use hsm::ceremony::entry::{Entry, Event, Operation};
use hsm::ceremony::room::{Room, RoomError};
use hsm::ceremony::{Ceremony, Order, Refusal, Script, TranscriptError};
use types::SecretKey;

/// A ceremony that is driven entry by entry.
struct Driven(Ceremony);

impl Driven {
    fn new(script: &str) -> Self {
        Self(Ceremony::start(&start(script, false)).expect("a script"))
    }

    fn try_at(&mut self, time_ms: u64, event: Event) -> Result<(), Refusal> {
        self.0.apply(&Entry { n: self.0.entries(), time_ms, event })
    }

    fn try_to(&mut self, event: Event) -> Result<(), Refusal> {
        self.try_at(self.0.last_ms() + 1, event)
    }

    fn present(&mut self, seat: &str, name: &str, key: &SecretKey) -> Result<(), Refusal> {
        let role = if seat == "eve" { "witness" } else { "officer" };
        self.present_as(role, seat, name, key)
    }

    fn present_as(&mut self, role: &str, seat: &str, name: &str, key: &SecretKey) -> Result<(), Refusal> {
        let public = key.public_key();
        let signature = key.sign_bytes(&self.0.attendance(role, seat, name, &public));
        let (role, seat, name) = (role.to_owned(), seat.to_owned(), name.to_owned());
        self.try_to(Event::Present { role, seat, name, key: public, signature })
    }

    fn approve(&mut self, seat: &str) -> Result<(), Refusal> {
        let (step, message) = match self.0.order() {
            Order::Approve { step, message, .. } => (step.id.clone(), message),
            other => panic!("{other:?}"),
        };
        self.try_to(Event::Approval { step, seat: seat.to_owned(), signature: key(seat).sign_bytes(&message) })
    }

    /// All but seat `three` are here.
    fn opened() -> Self {
        let mut driven = Self::new(SCRIPT);
        for seat in ["one", "two", "eve"] {
            driven.present(seat, seat, &key(seat)).expect("comes in");
        }
        driven.try_to(Event::Open {}).expect("enough are here");
        driven
    }
}

fn begin(step: &str) -> Event {
    Event::Begin { step: step.to_owned() }
}

fn done(step: &str) -> Event {
    Event::Done { step: step.to_owned() }
}

#[test]
fn an_officer_counts_once_whatever_he_calls_himself() {
    let mut driven = Driven::new(SCRIPT);
    driven.present("one", "Ann", &key("one")).expect("comes in");
    let twice = Err(Refusal::OfficerTwice("Ann".to_owned()));
    assert_eq!(driven.present("one", "Bob", &key("two")), twice, "the seat is taken");
    assert_eq!(driven.present("two", "Ann", &key("two")), twice, "the person is here");
    assert_eq!(driven.present("two", "Bob", &key("one")), twice, "the key is here");
    let no_seat = driven.present("four", "Bob", &key("two"));
    assert!(matches!(no_seat, Err(Refusal::NoSeat { .. })));
    assert!(matches!(driven.present_as("witness", "two", "Bob", &key("two")), Err(Refusal::NoSeat { .. })));
    assert_eq!(driven.present("two", "Bob\x1b[2J", &key("two")), Err(Refusal::Text("the officer's name")));
    // A presence signed by another one's key.
    let (public, other) = (key("two").public_key(), key("eve"));
    let signature = other.sign_bytes(&driven.0.attendance("officer", "two", "Bob", &public));
    let [role, seat, name] = ["officer", "two", "Bob"].map(str::to_owned);
    let forged = driven.try_to(Event::Present { role, seat, name, key: public, signature });
    assert_eq!(forged, Err(Refusal::Signature("two".to_owned())));
}

#[test]
fn names_and_keys_in_the_script_are_for_their_seats_alone() {
    let planned = format!("{{ id = \"one\", name = \"Ann\", key = \"{}\" }}", key("one").public_key());
    let mut driven = Driven::new(&SCRIPT.replace("{ id = \"one\" }", &planned));
    let other = |what| Err(Refusal::OtherOfficer { what, seat: "one".to_owned() });
    assert_eq!(driven.present("one", "Bob", &key("one")), other("name"));
    assert_eq!(driven.present("one", "Ann", &key("two")), other("key"));
    let elsewhere = driven.present("two", "Bob", &key("one"));
    assert_eq!(elsewhere, Err(Refusal::OtherOfficer { what: "seat", seat: "two".to_owned() }));
    driven.present("one", "Ann", &key("one")).expect("as planned");
}

#[test]
fn without_a_quorum_nothing_opens_and_nothing_is_done() {
    let mut driven = Driven::new(SCRIPT);
    driven.present("one", "one", &key("one")).expect("comes in");
    let lacking = Refusal::Quorum { role: "officer".to_owned(), needed: 2, have: 1 };
    assert_eq!(driven.try_to(Event::Open {}), Err(lacking.clone()));

    let directory = tempfile::tempdir().expect("temporary directory");
    let mut table = Table { seats: vec!["one", "eve"], ..Table::new() };
    let error = run(directory.path(), SCRIPT, &mut table, &mut Box1::new()).expect_err("one of two");
    assert!(matches!(error, ConductError::Transcript(TranscriptError::Refused(refusal)) if refusal == lacking));

    let mut driven = Driven::opened();
    driven.try_to(begin("token")).expect("due");
    driven.approve("one").expect("asked");
    let operation = Operation::Initialise { token: "t".to_owned() };
    let request = driven.try_to(Event::Request { step: "token".to_owned(), operation });
    assert!(matches!(request, Err(Refusal::OutOfOrder { event: "request", .. })), "one of two: {request:?}");
}

#[test]
fn an_approval_counts_once_and_only_for_what_was_seen() {
    let mut driven = Driven::opened();
    driven.try_to(begin("token")).expect("due");
    let Order::Approve { message: early, .. } = driven.0.order() else { panic!("an approval is due") };
    driven.approve("one").expect("asked");
    assert_eq!(driven.approve("one"), Err(Refusal::SignedTwice("one".to_owned())));
    assert_eq!(driven.approve("eve"), Err(Refusal::NotAsked("eve".to_owned())), "the witness has no say here");
    assert_eq!(driven.approve("three"), Err(Refusal::NotPresent("three".to_owned())));
    // A signature over the transcript as it was before.
    let (step, seat) = ("token".to_owned(), "two".to_owned());
    let late = driven.try_to(Event::Approval { step, seat, signature: key("two").sign_bytes(&early) });
    assert_eq!(late, Err(Refusal::Signature("two".to_owned())));
    driven.approve("two").expect("asked");
}

#[test]
fn a_step_cannot_be_skipped_nor_done_twice_nor_in_another_order() {
    let mut driven = Driven::opened();
    let out_of_order = |result: Result<(), Refusal>| matches!(result, Err(Refusal::OutOfOrder { .. }));
    assert!(out_of_order(driven.try_to(begin("make"))));
    assert!(out_of_order(driven.try_to(done("token"))));
    assert!(out_of_order(driven.try_to(Event::Close { done: 0, excepted: 0 })));
    driven.try_to(begin("token")).expect("due");
    assert!(out_of_order(driven.try_to(begin("token"))), "twice");
    let wrong = driven.try_to(done("make"));
    assert!(matches!(wrong, Err(Refusal::WrongStep { .. })), "{wrong:?}");
    assert!(out_of_order(driven.try_to(done("token"))), "nothing was done");
    assert!(out_of_order(driven.try_to(Event::Excepted { step: "token".to_owned() })), "nobody asked for that");
    let reason = String::new();
    let empty = driven.try_to(Event::Exception { step: "token".to_owned(), reason });
    assert_eq!(empty, Err(Refusal::Text("the reason")));
    driven.try_to(Event::Exception { step: "token".to_owned(), reason: "no token".to_owned() }).expect("may be asked");
    assert!(out_of_order(driven.try_to(Event::Excepted { step: "token".to_owned() })), "without the quorum");
    driven.approve("two").expect("asked");
    driven.approve("one").expect("asked");
    driven.try_to(Event::Excepted { step: "token".to_owned() }).expect("the quorum agreed");
    // What needs the token can now only be left out as well.
    driven.try_to(begin("make")).expect("due");
    let operation = Operation::Find { label: "l".to_owned() };
    let blocked = driven.try_to(Event::Request { step: "make".to_owned(), operation });
    assert!(matches!(blocked, Err(Refusal::Blocked { .. })), "{blocked:?}");
}

#[test]
fn the_clock_may_stand_still_and_not_go_back() {
    let mut driven = Driven::opened();
    let last = driven.0.last_ms();
    assert_eq!(driven.try_at(last - 5, begin("token")), Err(Refusal::ClockBackwards { back_ms: 5 }));
    driven.try_at(last, begin("token")).expect("the same millisecond");

    // The conductor stops, and goes on when the clock is right again.
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut device = Box1::new();
    let mut table = Table { patience: 9, ..Table::new() };
    run(directory.path(), SCRIPT, &mut table, &mut device).expect_err("stopped");
    let mut early = Table { now_ms: 5, ..Table::new() };
    let error = run(directory.path(), SCRIPT, &mut early, &mut device).expect_err("the clock went back");
    assert!(error.to_string().contains("the clock went back"), "{error}");
    run(directory.path(), SCRIPT, &mut Table { now_ms: table.now_ms(), ..Table::new() }, &mut device).expect("goes on");
}

#[test]
fn a_key_that_leaks_is_not_accepted_and_can_only_be_excepted() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut device = Box1 { leak: Some("wrap"), ..Box1::new() };
    let error = run(directory.path(), SCRIPT, &mut Table::new(), &mut device).expect_err("extractable");
    assert!(matches!(&error, ConductError::Room(RoomError::Failed { step, reason })
        if step == "probe" && reason.contains("does not stay in the token")));
    let mut table = Table { now_ms: 2_000_000, ..Table::new() };
    table.except.insert("probe", "we know, it is for a test network");
    run(directory.path(), SCRIPT, &mut table, &mut device).expect("excepted");
    let bytes = std::fs::read(directory.path().join("transcript")).expect("written");
    let ceremony = hsm::ceremony::verify(&bytes, None).expect("valid, with an exception");
    assert!(!ceremony.key("k").expect("made").probed);
    assert_eq!(ceremony.finished().iter().filter(|step| step.excepted.is_some()).count(), 1);
}

#[test]
fn a_script_in_a_start_is_checked_like_any_other() {
    let good = start(SCRIPT, false);
    let Event::Start(start) = good.event else { panic!("a start") };
    let try_with = |change: &dyn Fn(&mut hsm::ceremony::entry::Start)| {
        let mut start = start.clone();
        change(&mut start);
        Ceremony::start(&Entry { n: 0, time_ms: 0, event: Event::Start(start) }).map(|_| ()).expect_err("refused")
    };
    assert_eq!(try_with(&|start| start.format = 2), Refusal::Format(2));
    assert_eq!(try_with(&|start| start.nonce = "5A".repeat(32)), Refusal::Nonce);
    assert!(matches!(try_with(&|start| start.script.push('#')), Refusal::ScriptDigest { .. }));
    let broken = |start: &mut hsm::ceremony::entry::Start| {
        start.script = start.script.replace("quorum = 2", "quorum = 4");
        start.script_digest = Script::digest(start.script.as_bytes());
    };
    assert!(matches!(try_with(&broken), Refusal::Script(_)));
}
