//! People and a device that live in the test: the same ones every time, from seeds, with a clock that is turned by hand.

use hsm::ceremony::conduct::{self, ConductError};
use hsm::ceremony::device::{Device, DeviceError};
use hsm::ceremony::entry::{Entry, Event, Machine, Operation, Outcome, PROBES, Probe, Start, Token};
use hsm::ceremony::room::{Room, RoomError, Turn};
use hsm::ceremony::script::Step;
use hsm::ceremony::state::{Ceremony, Officer};
use hsm::ceremony::{Attester, Question, Script, Transcript};
use hsm::pkcs11::admin::AdminError;
use std::collections::BTreeMap;
use std::path::Path;
use types::{AlgId, Digest, SecretKey, Signature};

/// Small, and with every kind of entry that signs.
pub const SCRIPT: &str = r#"
format = 1
id = "small"
version = 1
title = "Small"
exceptions = ["officer"]
[[roles]]
id = "officer"
title = "Officer"
quorum = 2
officers = [{ id = "one" }, { id = "two" }, { id = "three" }]
[[roles]]
id = "witness"
title = "Witness"
quorum = 1
officers = [{ id = "eve" }]
[[steps]]
id = "token"
title = "Token"
approve = ["officer"]
do.initialise-token = { token = "t" }
[[steps]]
id = "make"
title = "Make"
approve = ["officer", "witness"]
do.generate-key = { key = "k", label = "l", algorithm = "ecdsa-p256" }
[[steps]]
id = "probe"
title = "Probe"
do.probe-key = { key = "k" }
[[steps]]
id = "possess"
title = "Possess"
do.prove-possession = { key = "k" }
[[steps]]
id = "seen"
title = "Seen"
do.observe = { by = "witness" }
"#;

/// The key of a seat: P-256 for `two`, Ed25519 for the others.
pub fn key(seat: &str) -> SecretKey {
    let alg = if seat == "two" { AlgId::EcdsaP256 } else { AlgId::Ed25519 };
    SecretKey::from_seed(alg, *Digest::sha256(seat.as_bytes()).as_bytes()).expect("a scalar")
}

/// The people.
pub struct Table {
    /// Who comes, in this order.
    pub seats: Vec<&'static str>,
    /// Steps that are left out, and why.
    pub except: BTreeMap<&'static str, &'static str>,
    /// After so many calls somebody stops the program.
    pub patience: usize,
    /// The clock.
    pub now_ms: u64,
}

impl Table {
    pub fn new() -> Self {
        Self { seats: vec!["one", "two", "eve"], except: BTreeMap::new(), patience: usize::MAX, now_ms: 1_000_000 }
    }

    fn call(&mut self) -> Result<(), RoomError> {
        self.patience = self.patience.checked_sub(1).ok_or(RoomError::Stopped)?;
        Ok(())
    }
}

impl Room for Table {
    fn arrival(&mut self, ceremony: &Ceremony) -> Result<Option<Officer>, RoomError> {
        self.call()?;
        let absent = |seat: &&&str| ceremony.officers().iter().all(|here| here.seat != ***seat);
        Ok(self.seats.iter().find(absent).map(|seat| {
            let role = ceremony.script().seat(seat).map(|(role, _)| role.id.clone()).unwrap_or_default();
            Officer { role, seat: (*seat).to_owned(), name: format!("Person {seat}"), key: key(seat).public_key() }
        }))
    }

    fn begin(&mut self, _: &Ceremony, step: &Step) -> Result<Turn<()>, RoomError> {
        self.call()?;
        Ok(self.except.get(step.id.as_str()).map_or(Turn::Go(()), |reason| Turn::Except((*reason).to_owned())))
    }

    fn answer(&mut self, step: &Step, question: &Question) -> Result<Turn<String>, RoomError> {
        self.call()?;
        // Stopped between the beginning and the exception: the people say it again.
        if let Some(reason) = self.except.get(step.id.as_str()) {
            return Ok(Turn::Except((*reason).to_owned()));
        }
        Ok(Turn::Go(if question.id == "beacon" { "headline of today" } else { "EX" }.to_owned()))
    }

    fn sign(&mut self, seats: &[String], message: &[u8; 47], _: &str) -> Result<(String, Signature), RoomError> {
        self.call()?;
        Ok((seats[0].clone(), key(&seats[0]).sign_bytes(message)))
    }

    fn failed(&mut self, step: &Step, reason: &str) -> Result<Turn<()>, RoomError> {
        match self.except.get(step.id.as_str()) {
            Some(reason) => Ok(Turn::Except((*reason).to_owned())),
            None => Err(RoomError::Failed { step: step.id.clone(), reason: reason.to_owned() }),
        }
    }

    fn tell(&mut self, _: &str) {}

    fn now_ms(&mut self) -> u64 {
        self.now_ms += 1;
        self.now_ms
    }
}

/// A token in memory.
pub struct Box1 {
    /// By label.
    pub keys: BTreeMap<String, SecretKey>,
    /// How many keys were ever made.
    pub made: usize,
    /// What the next call fails with.
    pub failure: Option<AdminError>,
    /// A probe that gets through.
    pub leak: Option<&'static str>,
    pub serial: &'static str,
}

impl Box1 {
    pub fn new() -> Self {
        Self { keys: BTreeMap::new(), made: 0, failure: None, leak: None, serial: "42" }
    }
}

impl Device for Box1 {
    fn run(&mut self, operation: &Operation, again: bool) -> Result<Outcome, DeviceError> {
        if let Some(failure) = self.failure.take() {
            return Err(failure.into());
        }
        Ok(match operation {
            Operation::Initialise { token } | Operation::Open { token } => Outcome::Token(Token {
                label: token.clone(),
                manufacturer: "Tests".to_owned(),
                model: "Box".to_owned(),
                serial: self.serial.to_owned(),
                hardware: "1.0".to_owned(),
                firmware: "1.0".to_owned(),
                library: "none".to_owned(),
                module: Digest::ZERO,
                own_authentication: false,
            }),
            Operation::Generate { label, algorithm, .. } => {
                if !(again && self.keys.contains_key(label)) {
                    assert!(!self.keys.contains_key(label), "a second key with this label");
                    self.made += 1;
                    self.keys.insert(label.clone(), SecretKey::from_seed(algorithm.id(), [9; 32]).expect("a scalar"));
                }
                Outcome::Key { public: self.keys[label].public_key() }
            }
            Operation::Find { label } => Outcome::Key { public: self.keys[label].public_key() },
            Operation::Probe { .. } => Outcome::Probes(
                PROBES
                    .iter()
                    .map(|probe| Probe {
                        probe: (*probe).to_owned(),
                        observed: "as told".to_owned(),
                        held: self.leak != Some(probe),
                    })
                    .collect(),
            ),
            Operation::Sign { label, message } => {
                let message = hex::decode(message).expect("hexadecimal");
                Outcome::Signature { signature: self.keys[label].sign_bytes(&message) }
            }
            Operation::Destroy { label } => {
                self.keys.remove(label);
                Outcome::Destroyed {}
            }
        })
    }

    fn reopen(&mut self, token: &Token) -> Result<(), DeviceError> {
        if token.serial == self.serial {
            return Ok(());
        }
        Err(DeviceError::OtherToken { found: self.serial.to_owned(), expected: token.serial.clone() })
    }
}

/// A first entry, the same every time.
pub fn start(script: &str, rehearsal: bool) -> Entry {
    let start = Start {
        format: Script::parse(script.as_bytes()).map_or(1, |script| script.format),
        rehearsal,
        nonce: "5a".repeat(32),
        script_digest: Script::digest(script.as_bytes()),
        script: script.to_owned(),
        program: "test".to_owned(),
        binary: Digest::ZERO,
        machine: Machine { hostname: Some("vault".to_owned()), secure_boot: Some(false), ..Machine::default() },
    };
    Entry { n: 0, time_ms: 1_000_000, event: Event::Start(start) }
}

/// Begins a ceremony in `directory`, or goes on with it.
pub fn run(directory: &Path, script: &str, table: &mut Table, device: &mut Box1) -> Result<Digest, ConductError> {
    run_on(&Attester::default(), directory, script, table, device)
}

/// The same, on a machine with a TPM. Facts of this machine are in none of both.
pub fn run_on(
    attester: &Attester,
    directory: &Path,
    script: &str,
    table: &mut Table,
    device: &mut Box1,
) -> Result<Digest, ConductError> {
    let path = directory.join(conduct::TRANSCRIPT);
    let mut transcript = if path.exists() {
        let mut transcript = Transcript::resume(&path)?;
        if transcript.ceremony().root().is_none() {
            let resume = Event::Resume { binary: Digest::ZERO, machine: Machine::default() };
            transcript.append(table.now_ms(), resume)?;
        }
        transcript
    } else {
        Transcript::create(&path, &start(script, false))?
    };
    conduct::conduct(&mut transcript, table, device, attester, directory)
}

/// The whole ceremony, as bytes.
pub fn transcript() -> Vec<u8> {
    let directory = tempfile::tempdir().expect("temporary directory");
    run(directory.path(), SCRIPT, &mut Table::new(), &mut Box1::new()).expect("runs");
    std::fs::read(directory.path().join(conduct::TRANSCRIPT)).expect("written")
}
