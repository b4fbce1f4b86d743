//! The rules of a ceremony as a fold over its entries: [`Ceremony::apply`] says whether an entry may stand where it
//! stands, [`Ceremony::order`] what is due next.
//!
//! One set of rules for the program that writes, the one that resumes and the one that verifies: a transcript is good iff
//! every entry applies. No clock, no file, no device here. Signatures are checked where they stand.

mod apply;
mod machine;
mod order;

use super::entry::{Operation, Outcome, Token};
use super::script::{Action, Script, Step};
use super::statement::{Mode, Purpose};
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{Digest, PublicKey};

use machine::Standing;
pub use machine::{AttestedMachine, Moment, Said};
pub use order::Order;

/// A ceremony up to some entry.
#[derive(Clone, Debug)]
pub struct Ceremony {
    mode: Mode,
    /// Hash of the first entry.
    id: [u8; 32],
    /// Hash of the last one.
    head: [u8; 32],
    entries: u64,
    last_ms: u64,
    script: Arc<Script>,
    script_digest: Digest,
    officers: Vec<Officer>,
    keys: BTreeMap<String, Key>,
    token: Option<Token>,
    finished: Vec<Finished>,
    documents: Vec<Document>,
    machines: Vec<AttestedMachine>,
    standing: Standing,
    phase: Phase,
}

#[derive(Clone, Debug)]
enum Phase {
    Gathering,
    Between,
    In(Current),
    Closed { root: [u8; 32], signed: Vec<String> },
}

/// An officer who is present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Officer {
    /// Role in the script.
    pub role: String,
    /// Seat in the script.
    pub seat: String,
    /// Who.
    pub name: String,
    /// Verifies what he signs.
    pub key: PublicKey,
}

/// A key that the ceremony knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Label in the token.
    pub label: String,
    /// The public half.
    pub public: PublicKey,
    /// Whether all probes failed to get at it.
    pub probed: bool,
}

/// A step that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The step.
    pub step: String,
    /// Why it was left out; `None` where it was done.
    pub excepted: Option<String>,
}

/// A file that a ceremony wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The step that wrote it.
    pub step: String,
    /// Its name.
    pub file: String,
    /// Its content.
    pub text: String,
}

/// The step under way.
#[derive(Clone, Debug)]
pub(super) struct Current {
    pub(super) began_ms: u64,
    pub(super) answers: BTreeMap<String, String>,
    pub(super) outcomes: Vec<Outcome>,
    approved: Vec<String>,
    /// Whether the device was asked for the operation that is due, and its answer is not known.
    unanswered: bool,
    pending: Option<Operation>,
    written: bool,
    exception: Option<(String, Vec<String>)>,
}

impl Ceremony {
    /// Whether it counts.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The hash of the first entry, which names this ceremony.
    pub fn id(&self) -> &[u8; 32] {
        &self.id
    }

    /// The hash of the last entry.
    pub fn head(&self) -> &[u8; 32] {
        &self.head
    }

    /// How many entries there are.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The time of the last entry, in milliseconds since the Unix epoch.
    pub fn last_ms(&self) -> u64 {
        self.last_ms
    }

    /// The script.
    pub fn script(&self) -> &Script {
        &self.script
    }

    /// The digest of the script.
    pub fn script_digest(&self) -> Digest {
        self.script_digest
    }

    /// Who is present, in the order of coming.
    pub fn officers(&self) -> &[Officer] {
        &self.officers
    }

    /// The token, once it is open.
    pub fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }

    /// The key with this name in the script.
    pub fn key(&self, name: &str) -> Option<&Key> {
        self.keys.get(name)
    }

    /// All keys that are known and not destroyed.
    pub fn keys(&self) -> impl Iterator<Item = (&str, &Key)> {
        self.keys.iter().map(|(name, key)| (name.as_str(), key))
    }

    /// The steps that are over.
    pub fn finished(&self) -> &[Finished] {
        &self.finished
    }

    /// The files that were written.
    pub fn documents(&self) -> &[Document] {
        &self.documents
    }

    /// The hash of the closing entry.
    pub fn root(&self) -> Option<&[u8; 32]> {
        match &self.phase {
            Phase::Closed { root, .. } => Some(root),
            _ => None,
        }
    }

    /// Seats of those who signed for the whole.
    pub fn signers(&self) -> &[String] {
        match &self.phase {
            Phase::Closed { signed, .. } => signed,
            _ => &[],
        }
    }

    /// Whether nothing is missing.
    pub fn is_complete(&self) -> bool {
        self.order() == Order::Complete
    }

    /// What an officer signs when he comes in.
    pub fn attendance(&self, role: &str, seat: &str, name: &str, key: &PublicKey) -> [u8; 47] {
        let key = key.to_string();
        let parts = [role, seat, name, &key].map(str::as_bytes);
        let parts = [&[&self.id[..], self.script_digest.as_bytes()], &parts[..]].concat();
        Purpose::Attendance.message(self.mode, &parts)
    }

    /// What is due next.
    pub fn order(&self) -> Order<'_> {
        if let (Some(moment), Some(wanted)) = (self.moment(), &self.script.attestation) {
            return Order::Attest { moment, registers: &wanted.registers, qualifying: self.qualifying() };
        }
        match &self.phase {
            Phase::Gathering => {
                let mut roles =
                    self.script.roles.iter().map(|role| (role.id.as_str(), role.quorum, self.here(&role.id)));
                Order::Gather { lacking: roles.find(|(_, needed, have)| have < needed) }
            }
            Phase::Between => self.script.steps.get(self.finished.len()).map_or(Order::Close, Order::Begin),
            Phase::In(current) => self.order_in(self.step(), current),
            Phase::Closed { root, signed } => {
                let seats: Vec<_> = self
                    .officers
                    .iter()
                    .map(|officer| officer.seat.clone())
                    .filter(|seat| !signed.contains(seat))
                    .collect();
                if seats.is_empty() {
                    return Order::Complete;
                }
                Order::Sign { seats, message: Purpose::Root.message(self.mode, &[&self.id, root]) }
            }
        }
    }

    fn order_in<'a>(&'a self, step: &'a Step, current: &Current) -> Order<'a> {
        if let Some((_, signed)) = &current.exception {
            let seats = self.still_needed(&self.script.exceptions, signed, false);
            if seats.is_empty() {
                return Order::Leave(step);
            }
            return Order::Approve { step, seats, message: self.approval(step, Purpose::Exception), exception: true };
        }
        if let Err(refusal) = self.check_feasible(step) {
            return Order::Blocked(step, refusal);
        }
        let open = step.action.questions().iter().find(|question| !current.answers.contains_key(question.id));
        if let Some(question) = open {
            return Order::Ask(step, question);
        }
        // In a drill everybody who came shows his key.
        let all = matches!(step.action, Action::CustodyDrill {});
        let seats = self.still_needed(&step.approve, &current.approved, all);
        if !seats.is_empty() {
            return Order::Approve { step, seats, message: self.approval(step, Purpose::Approval), exception: false };
        }
        if let Some(operation) = &current.pending {
            return Order::Do { step, operation: operation.clone(), requested: true, again: current.unanswered };
        }
        if let Some(operation) = self.operation(step, current) {
            return Order::Do { step, operation, requested: false, again: current.unanswered };
        }
        match self.document(step, current) {
            Some((file, text)) if !current.written => Order::Write { step, file, text },
            _ => Order::Finish(step),
        }
    }

    /// Seats whose signature would count towards a quorum that is not met.
    fn still_needed(&self, roles: &[String], signed: &[String], all: bool) -> Vec<String> {
        let mut seats = Vec::new();
        for role in roles.iter().filter_map(|id| self.script.role(id)) {
            let here: Vec<_> = self.officers.iter().filter(|officer| officer.role == role.id).collect();
            let needed = if all { here.len() } else { role.quorum };
            let have = here.iter().filter(|officer| signed.contains(&officer.seat)).count();
            if have < needed {
                let open = here.iter().filter(|officer| !signed.contains(&officer.seat));
                seats.extend(open.map(|officer| officer.seat.clone()));
            }
        }
        seats
    }

    fn approval(&self, step: &Step, purpose: Purpose) -> [u8; 47] {
        let parts = [&self.id[..], self.script_digest.as_bytes(), step.id.as_bytes(), &self.head];
        purpose.message(self.mode, &parts)
    }

    fn step(&self) -> &Step {
        // A phase within a step begins only where there is one.
        &self.script.steps[self.finished.len()]
    }

    /// How many officers of a role are present.
    fn here(&self, role: &str) -> usize {
        self.officers.iter().filter(|officer| officer.role == role).count()
    }
}
