//! Whether an entry may stand where it stands, and what is so after it.

use super::{Ceremony, Current, Document, Finished, Key, Moment, Officer, Order, Phase, Standing};
use crate::ceremony::entry::{self, Entry, Event, Operation, Outcome, PROBES, Start};
use crate::ceremony::plan::is_text;
use crate::ceremony::refusal::{MachineRefusal, Refusal};
use crate::ceremony::script::{Action, Algorithm, FORMATS, Script, Step};
use crate::ceremony::statement::Mode;
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{AlgId, PublicKey, Signature};

/// Longest name of a person, in bytes.
const PERSON_MAX: usize = 128;
/// Longest reason, in bytes.
const REASON_MAX: usize = 512;

impl Ceremony {
    /// Begins with the first entry.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn start(entry: &Entry) -> Result<Self, Refusal> {
        let Event::Start(start) = &entry.event else {
            return Err(Refusal::NoStart);
        };
        if entry.n != 0 {
            return Err(Refusal::Number { claimed: entry.n, expected: 0 });
        }
        let script = check_start(start)?;
        let mode = Mode::of(start.rehearsal);
        let id = entry::hash(mode, &[0; 32], &entry.text());
        Ok(Self {
            mode,
            id,
            head: id,
            entries: 1,
            last_ms: entry.time_ms,
            script: Arc::new(script),
            script_digest: start.script_digest,
            officers: Vec::new(),
            keys: BTreeMap::new(),
            token: None,
            finished: Vec::new(),
            documents: Vec::new(),
            machines: Vec::new(),
            standing: Standing::Started(Moment::Start),
            phase: Phase::Gathering,
        })
    }

    /// Takes the next entry. After a refusal the ceremony is as it was.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn apply(&mut self, entry: &Entry) -> Result<(), Refusal> {
        if entry.n != self.entries {
            return Err(Refusal::Number { claimed: entry.n, expected: self.entries });
        }
        if entry.time_ms < self.last_ms {
            return Err(Refusal::ClockBackwards { back_ms: self.last_ms - entry.time_ms });
        }
        let head = entry::hash(self.mode, &self.head, &entry.text());
        self.event(&entry.event, entry.time_ms, head)?;
        self.head = head;
        self.entries += 1;
        self.last_ms = entry.time_ms;
        Ok(())
    }

    /// Every arm checks first and changes then.
    fn event(&mut self, event: &Event, time_ms: u64, head: [u8; 32]) -> Result<(), Refusal> {
        let order = self.order();
        let out_of_order = || Refusal::OutOfOrder { event: event.name(), due: order.describe() };
        if order == Order::Complete {
            return Err(Refusal::Complete);
        }
        match (event, &order) {
            (Event::Start(_), _) => return Err(Refusal::StartTwice),
            (Event::Present { role, seat, name, key, signature }, Order::Gather { .. }) => {
                let officer = Officer { role: role.clone(), seat: seat.clone(), name: name.clone(), key: key.clone() };
                self.check_officer(&officer, signature)?;
                self.officers.push(officer);
            }
            (Event::Open {}, Order::Gather { lacking: None }) => self.phase = Phase::Between,
            (Event::Open {}, Order::Gather { lacking: Some((role, needed, have)) }) => {
                return Err(Refusal::Quorum { role: (*role).to_owned(), needed: *needed, have: *have });
            }
            (Event::Resume { .. }, _) if !matches!(self.phase, Phase::Closed { .. }) => {
                if let Phase::In(current) = &mut self.phase {
                    current.unanswered |= current.pending.take().is_some();
                }
                self.standing = Standing::Started(Moment::Resume);
            }
            (Event::Attestation(attested), Order::Attest { moment, .. }) => {
                let moment = *moment;
                self.attest(attested, moment)?;
            }
            (Event::Close { .. }, Order::Attest { moment: Moment::Close, .. }) => {
                return Err(MachineRefusal::NoClosingQuote.into());
            }
            (_, Order::Attest { .. }) => return Err(out_of_order()),
            (Event::Begin { step }, Order::Begin(due)) if *step == due.id => {
                self.phase = Phase::In(Current::new(time_ms))
            }
            (Event::Close { done, excepted }, Order::Close) => {
                let left_out = self.finished.iter().filter(|step| step.excepted.is_some()).count() as u64;
                if (*done, *excepted) != (self.finished.len() as u64 - left_out, left_out) {
                    return Err(Refusal::Counts);
                }
                self.phase = Phase::Closed { root: head, signed: Vec::new() };
            }
            (Event::Sign { seat, signature }, Order::Sign { message, .. }) => {
                let Phase::Closed { signed, .. } = &self.phase else { return Err(out_of_order()) };
                self.check_vote(seat, None, signed, message, signature)?;
                let seat = seat.clone();
                if let Phase::Closed { signed, .. } = &mut self.phase {
                    signed.push(seat);
                }
            }
            _ => {
                let (Phase::In(current), Some(step)) = (&self.phase, event.step()) else {
                    return Err(out_of_order());
                };
                if step != self.step().id {
                    return Err(Refusal::WrongStep { step: step.to_owned(), due: order.describe() });
                }
                let mut current = current.clone();
                let out_of_order = out_of_order();
                drop(order);
                return self.event_in(event, &mut current, out_of_order);
            }
        }
        Ok(())
    }

    /// An event within the step under way.
    fn event_in(&mut self, event: &Event, current: &mut Current, out_of_order: Refusal) -> Result<(), Refusal> {
        let order = self.order();
        match (event, order) {
            (Event::Answer { question, answer, .. }, Order::Ask(_, due)) => {
                if question != due.id {
                    return Err(Refusal::NoQuestion(question.clone()));
                }
                if !due.form.accepts(answer) {
                    return Err(Refusal::Answer { question: question.clone(), form: due.form.describe() });
                }
                current.answers.insert(question.clone(), answer.clone());
            }
            (Event::Approval { seat, signature, .. }, Order::Approve { step, seats, message, exception }) => {
                let signed = match &mut current.exception {
                    Some((_, signed)) => signed,
                    None => &mut current.approved,
                };
                let roles = if exception { &self.script.exceptions } else { &step.approve };
                self.check_vote(seat, Some(roles), signed, &message, signature)?;
                if !seats.contains(seat) {
                    // His role has its quorum; one signature more proves nothing and was not asked for.
                    return Err(Refusal::NotAsked(seat.clone()));
                }
                signed.push(seat.clone());
            }
            (Event::Request { operation, .. }, Order::Do { operation: due, requested: false, .. }) => {
                if *operation != due {
                    return Err(Refusal::OtherOperation);
                }
                current.pending = Some(due);
            }
            (Event::Result { outcome, .. }, Order::Do { step, operation, requested: true, .. }) => {
                let step = step.clone();
                self.result(&step, &operation, outcome)?;
                current.pending = None;
                current.unanswered = false;
                current.outcomes.push(outcome.clone());
            }
            (Event::Failure { reason, .. }, Order::Do { requested: true, .. }) => {
                if !is_text(reason, REASON_MAX) {
                    return Err(Refusal::Text("the reason"));
                }
                current.pending = None;
                current.unanswered = true;
            }
            (Event::Document { step, file, text }, Order::Write { file: due_file, text: due_text, .. }) => {
                if (file, text) != (&due_file, &due_text) {
                    return Err(Refusal::OtherDocument);
                }
                current.written = true;
                self.documents.push(Document { step: step.clone(), file: due_file, text: due_text });
            }
            (Event::Exception { reason, .. }, order) if current.exception.is_none() => {
                // What the device does must be known before it is decided to do without.
                if matches!(order, Order::Do { requested: true, .. }) {
                    return Err(out_of_order);
                }
                if !is_text(reason, REASON_MAX) {
                    return Err(Refusal::Text("the reason"));
                }
                current.exception = Some((reason.clone(), Vec::new()));
            }
            (Event::Done { .. }, Order::Finish(_)) | (Event::Excepted { .. }, Order::Leave(_)) => {
                self.finish(current);
                return Ok(());
            }
            (_, Order::Blocked(_, refusal)) => return Err(refusal),
            _ => return Err(out_of_order),
        }
        self.phase = Phase::In(current.clone());
        Ok(())
    }

    /// Ends the step under way, done or left out.
    fn finish(&mut self, current: &mut Current) {
        let step = self.step().clone();
        if let (Action::DestroyKey { key }, true) = (&step.action, current.outcomes.contains(&Outcome::Destroyed {})) {
            self.keys.remove(key);
        }
        let excepted = current.exception.take().map(|(reason, _)| reason);
        self.finished.push(Finished { step: step.id, excepted });
        self.phase = Phase::Between;
    }

    /// Takes what the device answered.
    fn result(&mut self, step: &Step, operation: &Operation, outcome: &Outcome) -> Result<(), Refusal> {
        match (operation, outcome) {
            (Operation::Initialise { token: label } | Operation::Open { token: label }, Outcome::Token(token)) => {
                if token.label != *label {
                    return Err(Refusal::OtherOutcome);
                }
                self.token = Some(token.clone());
            }
            (Operation::Generate { label, .. } | Operation::Find { label }, Outcome::Key { public }) => {
                let (Action::GenerateKey { key, .. } | Action::FindKey { key, .. }) = &step.action else {
                    return Err(Refusal::OtherOutcome);
                };
                let known = [Algorithm::Ed25519, Algorithm::EcdsaP256].map(Algorithm::id);
                let wanted = match operation {
                    Operation::Generate { algorithm, .. } => &[algorithm.id()],
                    _ => &known[..],
                };
                if !wanted.contains(&public.alg()) {
                    return Err(Refusal::OtherAlgorithm);
                }
                if let Some((name, _)) = self.keys.iter().find(|(_, known)| known.public == *public) {
                    return Err(Refusal::KeyTwice(name.clone()));
                }
                let made = Key { label: label.clone(), public: public.clone(), probed: false };
                self.keys.insert(key.clone(), made);
            }
            (Operation::Probe { .. }, Outcome::Probes(probes)) => {
                if !probes.iter().map(|probe| probe.probe.as_str()).eq(PROBES) {
                    return Err(Refusal::OtherProbes);
                }
                if let Some(probe) = probes.iter().find(|probe| !probe.held) {
                    let (probe, observed) = (probe.probe.clone(), probe.observed.clone());
                    return Err(Refusal::KeyNotHeld { probe, observed });
                }
                if let Action::ProbeKey { key } = &step.action
                    && let Some(key) = self.keys.get_mut(key)
                {
                    key.probed = true;
                }
            }
            (Operation::Sign { label, message }, Outcome::Signature { signature }) => {
                let key = self.keys.values().find(|key| key.label == *label).ok_or(Refusal::OtherOutcome)?;
                let message = hex::decode(message).map_err(|_| Refusal::OtherOperation)?;
                key.public.verify_bytes(&message, signature).map_err(|_| Refusal::KeySignature)?;
            }
            (Operation::Destroy { .. }, Outcome::Destroyed {}) => {}
            _ => return Err(Refusal::OtherOutcome),
        }
        Ok(())
    }

    fn check_officer(&self, officer: &Officer, signature: &Signature) -> Result<(), Refusal> {
        let Officer { role, seat, name, key } = officer;
        let no_seat = || Refusal::NoSeat { role: role.clone(), seat: seat.clone() };
        let (in_role, planned) = self.script.seat(seat).ok_or_else(no_seat)?;
        if in_role.id != *role {
            return Err(no_seat());
        }
        if !is_text(name, PERSON_MAX) {
            return Err(Refusal::Text("the officer's name"));
        }
        let here = self.officers.iter().find(|here| here.seat == *seat || here.name == *name || here.key == *key);
        if let Some(here) = here {
            return Err(Refusal::OfficerTwice(here.name.clone()));
        }
        let other = |what| Refusal::OtherOfficer { what, seat: seat.clone() };
        if planned.name.as_ref().is_some_and(|planned| planned != name) {
            return Err(other("name"));
        }
        if planned.key.as_ref().is_some_and(|planned| planned != key) {
            return Err(other("key"));
        }
        // Nobody takes a seat with a key or name that the script gives to another one.
        let seats = self.script.roles.iter().flat_map(|role| &role.officers).filter(|other| other.id != *seat);
        for planned in seats {
            if planned.key.as_ref() == Some(key) || planned.name.as_ref() == Some(name) {
                return Err(Refusal::OtherOfficer { what: "seat", seat: seat.clone() });
            }
        }
        check_signature(key, &self.attendance(role, seat, name, key), signature, seat)
    }

    fn check_vote(
        &self,
        seat: &str,
        roles: Option<&[String]>,
        signed: &[String],
        message: &[u8],
        signature: &Signature,
    ) -> Result<(), Refusal> {
        let officer = self.officers.iter().find(|officer| officer.seat == seat);
        let officer = officer.ok_or_else(|| Refusal::NotPresent(seat.to_owned()))?;
        if signed.iter().any(|signed| signed == seat) {
            return Err(Refusal::SignedTwice(seat.to_owned()));
        }
        if roles.is_some_and(|roles| !roles.contains(&officer.role)) {
            return Err(Refusal::NotAsked(seat.to_owned()));
        }
        check_signature(&officer.key, message, signature, seat)
    }
}

impl Current {
    fn new(began_ms: u64) -> Self {
        Self {
            began_ms,
            answers: BTreeMap::new(),
            outcomes: Vec::new(),
            approved: Vec::new(),
            unanswered: false,
            pending: None,
            written: false,
            exception: None,
        }
    }
}

fn check_start(start: &Start) -> Result<Script, Refusal> {
    if !FORMATS.contains(&start.format) {
        return Err(Refusal::Format(start.format));
    }
    let mut nonce = [0; 32];
    if hex::decode_to_slice(&start.nonce, &mut nonce).is_err() || hex::encode(nonce) != start.nonce {
        return Err(Refusal::Nonce);
    }
    let computed = Script::digest(start.script.as_bytes());
    if start.script_digest != computed {
        return Err(Refusal::ScriptDigest { claimed: start.script_digest, computed });
    }
    let script = Script::parse(start.script.as_bytes())?;
    if script.format == start.format { Ok(script) } else { Err(Refusal::Format(start.format)) }
}

/// Officers' keys are Ed25519 or P-256: what an independent verifier can be expected to know.
fn check_signature(key: &PublicKey, message: &[u8], signature: &Signature, seat: &str) -> Result<(), Refusal> {
    let known = matches!(key.alg(), AlgId::Ed25519 | AlgId::EcdsaP256);
    if known && key.verify_bytes(message, signature).is_ok() {
        Ok(())
    } else {
        Err(Refusal::Signature(seat.to_owned()))
    }
}
