//! Machines that their TPM attests: what a script may want of them, what is refused before anything is touched, and what of a
//! transcript that somebody put together is told.

use crate::damage::{entries, mended};
use crate::fake::{Box1, SCRIPT, Table, run_on};
use crate::python;
use crate::rehearsals::shipped;
use hsm::ceremony::conduct::{self, ConductError, TRANSCRIPT};
use hsm::ceremony::device::{Device, DeviceError};
use hsm::ceremony::entry::{Attested, Entry, Event, MachineQuote, Operation, Outcome, Token};
use hsm::ceremony::prepare::prepare;
use hsm::ceremony::verify::on_machines;
use hsm::ceremony::{Attester, Ceremony, Invalid, MachineRefusal, Mode, Refusal, Report, TranscriptError, verify};
use hsm::hexadecimal::Hex;
use hsm::machines::{Machines, Mismatch};
use std::path::{Path, PathBuf};
use tpm::Tpm;
use tpm::simulator::Simulator;
use types::Digest;

const NO_LOG: &str = "/nonexistent";

/// The small script on a machine that is attested, with more lines for that.
fn script(more: &str) -> String {
    let section = format!("[attestation]\nregisters = [7, 11]\n{more}\n[[roles]]");
    SCRIPT.replacen("format = 1", "format = 2", 1).replacen("[[roles]]", &section, 1)
}

/// A policy that a simulator fulfils as it stands.
fn policy_of(simulator: &Simulator, event_log: bool) -> Machines {
    let mut tpm = Tpm::open(&simulator.socket()).expect("it runs");
    let quote = tpm::quote::quote(&mut tpm, &[7, 11], &[0; 32]).expect("it quotes");
    let registers = quote.registers.iter().map(|(at, value)| (at.to_string(), vec![Hex::of(value)]));
    Machines { tpm_keys: vec![Hex::of(quote.key_name())], event_log, registers: registers.collect() }
}

fn with_policy(policy: &Machines) -> String {
    let text = toml::to_string(policy).expect("serialises");
    script(&format!("[attestation.policy]\n{}", text.replace("[registers]", "[attestation.policy.registers]")))
}

/// The log of firmware that measured what [`Simulator::extend`] does into register 11.
fn log(directory: &Path, digest: u8) -> PathBuf {
    let mut first = [&b"Spec ID Event03\0"[..], &[0; 8], &1u32.to_le_bytes(), &[0x0b, 0, 32, 0]].concat();
    first.push(0);
    let mut bytes = [&[0, 0, 0, 0, 3, 0, 0, 0][..], &[0; 20], &(first.len() as u32).to_le_bytes(), &first].concat();
    bytes.extend([11u32.to_le_bytes(), 13u32.to_le_bytes(), 1u32.to_le_bytes()].concat());
    bytes.extend([&[0x0b, 0][..], &[digest; 32], &[0; 4]].concat());
    let path = directory.join(format!("log-{digest}"));
    std::fs::write(&path, bytes).expect("own file");
    path
}

/// A ceremony in a directory of its own.
struct Scene {
    directory: tempfile::TempDir,
    script: String,
    attester: Attester,
    mode: Mode,
    now_ms: u64,
}

impl Scene {
    fn new(simulator: &Simulator, script: String) -> Self {
        let attester = Attester::new(&simulator.socket(), Path::new(NO_LOG));
        let directory = tempfile::tempdir().expect("temporary directory");
        Self { directory, script, attester, mode: Mode::Real, now_ms: 1_000_000 }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join(TRANSCRIPT)
    }

    /// Begins or goes on, for as many acts of the people as they have patience.
    fn hold(&mut self, patience: usize, device: &mut dyn Device) -> Result<Digest, ConductError> {
        self.now_ms += 1_000_000;
        let (place, script) = (self.directory.path(), self.script.as_bytes());
        let prepared = prepare(place, script, self.mode, "test", self.now_ms, &self.attester)?;
        let mut table = Table { patience, now_ms: self.now_ms, ..Table::new() };
        conduct::conduct(&mut prepared.begin()?, &mut table, device, &self.attester, place)
    }

    fn held(&mut self) -> Vec<u8> {
        self.hold(usize::MAX, &mut Box1::new()).expect("is held");
        self.transcript()
    }

    fn transcript(&self) -> Vec<u8> {
        std::fs::read(self.path()).expect("written")
    }

    fn report(&self) -> Report {
        Report::of(&verify(&self.transcript(), None))
    }
}

/// A device that is not to be touched.
struct Untouched;

impl Device for Untouched {
    fn run(&mut self, _: &Operation, _: bool) -> Result<Outcome, DeviceError> {
        panic!("the token was touched");
    }

    fn reopen(&mut self, _: &Token) -> Result<(), DeviceError> {
        panic!("the token was touched");
    }
}

/// A device at whose probe something happens to the machine.
struct Meanwhile<'a>(&'a mut Box1, &'a mut dyn FnMut());

impl Device for Meanwhile<'_> {
    fn run(&mut self, operation: &Operation, again: bool) -> Result<Outcome, DeviceError> {
        if matches!(operation, Operation::Probe { .. }) {
            (self.1)();
        }
        self.0.run(operation, again)
    }

    fn reopen(&mut self, token: &Token) -> Result<(), DeviceError> {
        self.0.reopen(token)
    }
}

fn machine(error: &ConductError) -> &MachineRefusal {
    match error {
        ConductError::Transcript(TranscriptError::Refused(Refusal::Machine(refusal))) => refusal,
        other => panic!("{other:?}"),
    }
}

/// What both verifiers say of bytes that are no good: ours in words that a program reads, the other with the same entry.
fn told(bytes: &[u8]) -> (u64, MachineRefusal) {
    let error = verify(bytes, None).map(drop).expect_err("forged");
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("forged");
    std::fs::write(&path, bytes).expect("own file");
    match error {
        Invalid::Entry { entry, reason: Refusal::Machine(refusal) } => {
            if let Some(theirs) = python::run(&path) {
                let text = String::from_utf8_lossy(&theirs.stdout);
                assert!(text.contains(&format!("\"entry {entry}:")), "ours {entry}: {refusal}, theirs {text}");
                assert!(!text.contains("malformed"), "{text}");
            }
            (entry, refusal)
        }
        other => panic!("{other:?}"),
    }
}

fn agreed(bytes: &[u8]) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("transcript");
    std::fs::write(&path, bytes).expect("own file");
    let Some(theirs) = python::run(&path) else { return };
    let ours = serde_json::to_string_pretty(&Report::of(&verify(bytes, None))).expect("serialises");
    assert_eq!(String::from_utf8_lossy(&theirs.stdout).trim(), ours, "{theirs:?}");
}

#[test]
fn each_start_of_the_machine_is_attested_and_so_is_the_whole() {
    let mut simulator = Simulator::start();
    let mut scene = Scene::new(&simulator, script(""));
    let mut device = Box1::new();
    scene.hold(9, &mut device).expect_err("stopped");
    simulator.restart();
    scene.hold(usize::MAX, &mut device).expect("goes on");
    let report = scene.report();
    assert!(report.valid, "{report:?}");
    let machines: Vec<_> =
        report.machines.iter().map(|machine| serde_json::to_value(machine.moment).expect("serialises")).collect();
    assert_eq!(machines, ["start", "resume", "close"]);
    assert_eq!(report.machines[0].entry, 1, "before anybody comes in");
    assert!(report.machines.iter().all(|machine| machine.tpm_key_name == report.machines[0].tpm_key_name));
    let resets: Vec<_> = report.machines.iter().map(|machine| machine.resets.expect("a quote")).collect();
    assert!(resets[1] > resets[0] && resets[2] == resets[1], "{resets:?}");
    agreed(&scene.transcript());
}

#[test]
fn stopped_anywhere_it_is_attested_anew_and_goes_on() {
    let simulator = Simulator::start();
    for stops in (0..).step_by(3) {
        let mut scene = Scene::new(&simulator, script(""));
        let mut device = Box1::new();
        if scene.hold(stops, &mut device).is_ok() {
            assert!(stops > 20);
            return;
        }
        scene.hold(usize::MAX, &mut device).expect("goes on");
        assert!(scene.report().valid && device.made == 1, "stopped after {stops}");
    }
}

#[test]
fn interrupted_before_its_attestation_a_start_counts_for_nothing() {
    let simulator = Simulator::start();
    let mut scene = Scene::new(&simulator, script(""));
    let whole = scene.held();
    let start = whole.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
    std::fs::write(scene.path(), &whole[..start]).expect("own file");
    scene.held();
    let report = scene.report();
    assert!(report.valid && report.machines[0].entry == 2, "{:?}", report.machines);
    // And where the closing quote was made, and the power went before the close.
    let bytes = scene.transcript();
    let close = bytes.windows(10).position(|window| window == b"{\"close\":{").expect("closes");
    let line = bytes[..close].iter().rposition(|byte| *byte == b'\n').expect("not first") + 1;
    std::fs::write(scene.path(), &bytes[..line]).expect("own file");
    scene.held();
    let report = scene.report();
    assert!(report.valid, "{report:?}");
    assert_eq!(report.machines.len(), 4, "the closing quote again, of the machine that went on");
    agreed(&scene.transcript());
}

#[test]
fn a_machine_that_the_policy_does_not_let_through_touches_nothing() {
    let simulator = Simulator::start();
    let policy = policy_of(&simulator, false);
    let mut scene = Scene::new(&simulator, with_policy(&policy));
    scene.held();
    assert_eq!(scene.report().machines.iter().map(|machine| machine.policy).collect::<Vec<_>>(), [Some(true); 2]);
    agreed(&scene.transcript());

    // Another TPM; the same one, with another image.
    let other = Simulator::start();
    let mut elsewhere = Scene::new(&other, with_policy(&policy));
    let error = elsewhere.hold(usize::MAX, &mut Untouched).expect_err("another machine");
    assert!(matches!(machine(&error), MachineRefusal::Policy(Mismatch::Key { .. })), "{error}");
    assert!(!elsewhere.path().exists(), "nothing was begun");
    simulator.extend(11);
    let mut changed = Scene::new(&simulator, with_policy(&policy));
    let error = changed.hold(usize::MAX, &mut Untouched).expect_err("another image");
    let MachineRefusal::Policy(Mismatch::Register { register: 11, found, expected }) = machine(&error) else {
        panic!("{error}")
    };
    assert!(error.to_string().contains(&found.to_string()) && error.to_string().contains(&expected[0].to_string()));
    assert!(!changed.path().exists(), "nothing was begun");
}

#[test]
fn a_ceremony_does_not_go_on_where_the_policy_does_not_let_it() {
    let simulator = Simulator::start();
    let mut scene = Scene::new(&simulator, with_policy(&policy_of(&simulator, false)));
    // The token is open by then.
    scene.hold(14, &mut Box1::new()).expect_err("stopped");
    let before = scene.transcript();
    assert!(String::from_utf8_lossy(&before).contains("\"serial\":\"42\""), "the token was opened");
    simulator.extend(7);
    let error = scene.hold(usize::MAX, &mut Untouched).expect_err("Secure Boot is another");
    assert!(matches!(machine(&error), MachineRefusal::Policy(Mismatch::Register { register: 7, .. })), "{error}");
    assert_eq!(scene.transcript(), before, "nothing was written");
}

#[test]
fn without_a_tpm_a_ceremony_is_refused_or_says_so() {
    let mut simulator = Simulator::start();
    simulator.stop();
    let mut strict = Scene::new(&simulator, script(""));
    let error = strict.hold(usize::MAX, &mut Untouched).expect_err("there is none");
    assert!(matches!(error, ConductError::Machine(_)), "{error:?}");
    assert!(error.to_string().contains(&simulator.socket().display().to_string()), "{error}");
    assert!(!strict.path().exists(), "nothing was begun");

    let mut lenient = Scene::new(&simulator, script("required = false"));
    lenient.held();
    let report = lenient.report();
    assert_eq!(report.machines.len(), 2);
    assert!(report.machines.iter().all(|machine| machine.none.is_some() && machine.tpm_key_name.is_none()));
    agreed(&lenient.transcript());
    // A reader who insists is told.
    let ceremony = verify(&lenient.transcript(), None).expect("valid");
    let policy = policy_of(&Simulator::start(), false);
    let insisted = on_machines(ceremony, &policy).map(drop);
    let missing =
        |invalid| matches!(invalid, Err(Invalid::Entry { reason: Refusal::Machine(MachineRefusal::Missing(_)), .. }));
    assert!(missing(insisted));
    assert!(missing(on_machines(verify(&crate::fake::transcript(), None).expect("valid"), &policy).map(drop)));
}

#[test]
fn a_rehearsal_may_be_held_anywhere_and_says_what_the_day_would_say() {
    let (simulator, other) = (Simulator::start(), Simulator::start());
    let mut scene = Scene::new(&other, with_policy(&policy_of(&simulator, false)));
    scene.mode = Mode::Rehearsal;
    scene.held();
    let report = scene.report();
    assert!(report.valid && report.machines.iter().all(|machine| machine.policy == Some(false)), "{report:?}");
    agreed(&scene.transcript());
    let mut none = Scene::new(&simulator, with_policy(&policy_of(&simulator, false)));
    none.mode = Mode::Rehearsal;
    none.attester = Attester::new(Path::new("/nonexistent"), Path::new(NO_LOG));
    none.held();
    assert!(none.report().machines.iter().all(|machine| machine.none.is_some()));
}

#[test]
fn a_machine_that_was_started_again_or_is_another_one_does_not_close() {
    let mut simulator = Simulator::start();
    let mut scene = Scene::new(&simulator, script(""));
    let mut token = Box1::new();
    let restarted = scene.hold(usize::MAX, &mut Meanwhile(&mut token, &mut || simulator.restart()));
    let error = restarted.expect_err("started again");
    assert!(matches!(machine(&error), MachineRefusal::OtherBoot { entry: 1, .. }), "{error}");
    scene.hold(usize::MAX, &mut token).expect("attested anew, it goes on");
    assert!(scene.report().valid);

    let mut scene = Scene::new(&simulator, script(""));
    let replaced = scene.hold(usize::MAX, &mut Meanwhile(&mut Box1::new(), &mut || simulator.replace()));
    let error = replaced.expect_err("another TPM");
    assert!(matches!(machine(&error), MachineRefusal::OtherMachine { entry: 1, .. }), "{error}");
    let mut scene = Scene::new(&simulator, script("required = false"));
    let gone = scene.hold(usize::MAX, &mut Meanwhile(&mut Box1::new(), &mut || simulator.stop()));
    let error = gone.expect_err("the TPM is gone");
    assert!(matches!(machine(&error), MachineRefusal::OtherMachine { .. }), "{error}");
}

/// A whole ceremony that was interrupted once, with an event log that the policy wants.
fn attested(simulator: &Simulator) -> (Vec<u8>, Machines) {
    simulator.extend(11);
    let policy = policy_of(simulator, true);
    let directory = tempfile::tempdir().expect("temporary directory");
    let attester = Attester::new(&simulator.socket(), &log(directory.path(), 7));
    let (script, mut device) = (with_policy(&policy), Box1::new());
    let mut run = |mut table: Table| run_on(&attester, directory.path(), &script, &mut table, &mut device);
    run(Table { patience: 9, ..Table::new() }).expect_err("stopped");
    run(Table { now_ms: 2_000_000, ..Table::new() }).expect("goes on");
    (std::fs::read(directory.path().join(TRANSCRIPT)).expect("written"), policy)
}

fn places(entries: &[Entry]) -> Vec<usize> {
    let is = |(at, entry): (usize, &Entry)| matches!(entry.event, Event::Attestation(_)).then_some(at);
    entries.iter().enumerate().filter_map(is).collect()
}

fn quote_at(entries: &mut [Entry], at: usize) -> &mut MachineQuote {
    match &mut entries[at].event {
        Event::Attestation(Attested::Quote(quote)) => quote,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_put_together_is_told_by_both_verifiers() {
    let simulator = Simulator::start();
    let (bytes, policy) = attested(&simulator);
    agreed(&bytes);
    let good = entries(&bytes);
    let places = places(&good);
    let [start, resume, close] = places[..] else { panic!("{places:?}") };
    let forged = |change: &dyn Fn(&mut Vec<Entry>)| {
        let mut entries = good.clone();
        change(&mut entries);
        told(&mended(&entries))
    };
    let stranger = Simulator::start();
    let strangers = policy_of(&stranger, false);
    let strange = {
        let mut scene = Scene::new(&stranger, script(""));
        entries(&scene.held())
    };
    // Of another ceremony on this very machine, and of another machine.
    let another = {
        let mut scene = Scene::new(&simulator, script(""));
        entries(&scene.held())
    };
    for other in [&another, &strange] {
        let (entry, refusal) = forged(&|entries| entries[start].event = other[1].event.clone());
        assert_eq!((entry, refusal), (1, MachineRefusal::OtherTranscript));
    }
    // The quote of another start, and of another place.
    let replayed = forged(&|entries| entries[resume].event = good[start].event.clone());
    assert_eq!(replayed, (resume as u64, MachineRefusal::Replayed(start as u64)));
    let early = forged(&|entries| entries[start].event = good[resume].event.clone());
    assert_eq!(early, (1, MachineRefusal::OtherTranscript));
    let closed = forged(&|entries| entries[close].event = good[resume].event.clone());
    assert_eq!(closed, (close as u64, MachineRefusal::Replayed(resume as u64)));
    // What the firmware measured, altered.
    let log = forged(&|entries| {
        let log = quote_at(entries, start).event_log.as_mut().expect("has one");
        let last = log.0.len() - 5;
        log.0[last] ^= 1;
    });
    assert!(matches!(log, (1, MachineRefusal::Policy(Mismatch::DoesNotAddUp { register: 11, .. }))), "{log:?}");
    let cut = forged(&|entries| quote_at(entries, start).event_log.as_mut().expect("has one").0.truncate(80));
    assert!(matches!(cut, (1, MachineRefusal::Policy(Mismatch::EventLog(_)))), "{cut:?}");
    let none = forged(&|entries| quote_at(entries, start).event_log = None);
    assert_eq!(none, (1, MachineRefusal::Policy(Mismatch::NoEventLog)));
    // The quote itself.
    for change in [
        |quote: &mut MachineQuote| quote.statement.0[20] ^= 1,
        |quote: &mut MachineQuote| quote.signature.0[20] ^= 1,
        |quote: &mut MachineQuote| quote.tpm_key.0[30] ^= 1,
        |quote: &mut MachineQuote| quote.tpm_key.0.push(0),
        |quote: &mut MachineQuote| quote.signature.0.truncate(7),
        |quote: &mut MachineQuote| drop(quote.registers.insert(11, Hex(vec![9; 32]))),
        |quote: &mut MachineQuote| drop(quote.registers.insert(11, Hex(vec![9; 31]))),
        |quote: &mut MachineQuote| drop(quote.registers.insert(24, Hex(vec![9; 32]))),
        |quote: &mut MachineQuote| drop(quote.registers.remove(&7)),
    ] {
        let (entry, refusal) = forged(&|entries| change(quote_at(entries, start)));
        assert!(entry == 1 && matches!(refusal, MachineRefusal::Quote(_)), "{refusal}");
    }
    // No quote at all.
    let unsaid = forged(&|entries| {
        entries[start].event = Event::Attestation(Attested::None { reason: "it was late".to_owned() });
    });
    assert_eq!(unsaid, (1, MachineRefusal::Missing("it was late".to_owned())));
    assert_eq!(forged(&|entries| drop(entries.remove(close))), (close as u64, MachineRefusal::NoClosingQuote));
    for at in [start, resume] {
        let mut entries = good.clone();
        entries.remove(at);
        let error = verify(&mended(&entries), None).map(drop).expect_err("nothing goes on without");
        let out_of_order = matches!(error, Invalid::Entry { reason: Refusal::OutOfOrder { .. }, .. });
        assert!(out_of_order && error.to_string().contains("attestation of the machine"), "{error}");
    }
    // A reader's own policy.
    let read = |policy: &Machines| on_machines(verify(&bytes, None).expect("valid"), policy).map(drop);
    assert_eq!(read(&policy), Ok(()));
    let other = read(&strangers);
    let key = matches!(
        other,
        Err(Invalid::Entry { entry: 1, reason: Refusal::Machine(MachineRefusal::Policy(Mismatch::Key { .. })) })
    );
    assert!(key, "{other:?}");
}

#[test]
fn the_attested_vector_is_what_it_was() {
    let folder = shipped().join("vectors");
    let bytes = std::fs::read(folder.join("attested")).expect("ships");
    let report = serde_json::to_string_pretty(&Report::of(&verify(&bytes, None))).expect("serialises");
    assert_eq!(std::fs::read_to_string(folder.join("attested.json")).expect("ships").trim(), report);
    agreed(&bytes);
}

#[test]
#[ignore = "writes the vector; each TPM signs with another key"]
fn write_the_attested_vector() {
    let folder = shipped().join("vectors");
    let (bytes, _) = attested(&Simulator::start());
    let report = serde_json::to_string_pretty(&Report::of(&verify(&bytes, None))).expect("serialises");
    std::fs::write(folder.join("attested"), bytes).expect("own folder");
    std::fs::write(folder.join("attested.json"), report + "\n").expect("own folder");
}

#[test]
fn a_quote_over_other_registers_than_the_script_wants_is_refused() {
    let simulator = Simulator::start();
    let start = crate::fake::start(&script(""), false);
    let mut ceremony = Ceremony::start(&start).expect("starts");
    let hsm::ceremony::Order::Attest { qualifying, .. } = ceremony.order() else { panic!("is due") };
    let mut tpm = Tpm::open(&simulator.socket()).expect("it runs");
    let quote = tpm::quote::quote(&mut tpm, &[7, 11, 12], &qualifying).expect("it quotes");
    let event = Event::Attestation(Attested::Quote(MachineQuote::of(&quote, None)));
    let refused = ceremony.apply(&Entry { n: 1, time_ms: start.time_ms, event });
    let expected = MachineRefusal::OtherRegisters { found: vec![7, 11, 12], wanted: vec![7, 11] };
    assert_eq!(refused, Err(expected.into()));
}

#[test]
fn a_transcript_is_of_the_format_of_its_script() {
    for (text, right) in [(SCRIPT.to_owned(), 1), (script(""), 2)] {
        let start = crate::fake::start(&text, false);
        Ceremony::start(&start).map(drop).expect("as the script's");
        for wrong in [0, 3 - right, 3] {
            let mut start = start.clone();
            let Event::Start(first) = &mut start.event else { panic!("a start") };
            first.format = wrong;
            assert_eq!(Ceremony::start(&start).map(drop), Err(Refusal::Format(wrong)));
        }
    }
}
