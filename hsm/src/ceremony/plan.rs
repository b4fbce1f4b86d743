//! What each kind of step asks people, asks the device, and writes. Pure: from the script and what was recorded.

use super::entry::{Operation, Outcome};
use super::refusal::Refusal;
use super::script::{Action, Step};
use super::state::{Ceremony, Current};
use super::statement::Purpose;
use serde::Serialize;
use std::net::SocketAddr;
use types::PublicKey;

/// What an answer must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Any text without control characters, of 1 to this many bytes.
    Text(usize),
    /// As text, of at least 8 bytes: it has to be something that nobody knew before today.
    Beacon,
    /// A whole number from 1, without leading zeros.
    Number,
    /// Address and port.
    Address,
    /// `sha256:` and 64 lower-case hexadecimal digits.
    Digest,
    /// A digest, or `none`.
    DigestOrNone,
    /// `none`, `vendor-clone` or `wrap`.
    BackUp,
}

impl Form {
    /// For people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Text(_) => "a short text without control characters",
            Self::Beacon => "a text of at least 8 bytes that nobody could know before today",
            Self::Number => "a whole number from 1, without leading zeros",
            Self::Address => "an address and a port, as 192.0.2.1:7000",
            Self::Digest => "sha256: and 64 lower-case hexadecimal digits",
            Self::DigestOrNone => "none, or sha256: and 64 lower-case hexadecimal digits",
            Self::BackUp => "none, vendor-clone or wrap",
        }
    }

    /// Whether a file's digest is as good an answer.
    pub fn is_digest(self) -> bool {
        matches!(self, Self::Digest | Self::DigestOrNone)
    }

    /// Whether `answer` has this form.
    pub fn accepts(self, answer: &str) -> bool {
        match self {
            Self::Text(most) => is_text(answer, most),
            Self::Beacon => answer.len() >= 8 && is_text(answer, 512),
            Self::Number => answer.parse::<u64>().is_ok_and(|number| number > 0 && number.to_string() == answer),
            Self::Address => answer.parse::<SocketAddr>().is_ok_and(|address| address.to_string() == answer),
            Self::Digest => is_digest(answer),
            Self::DigestOrNone => answer == "none" || is_digest(answer),
            Self::BackUp => ["none", "vendor-clone", "wrap"].contains(&answer),
        }
    }
}

/// 1 to `most` bytes without control characters.
pub(super) fn is_text(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn is_digest(text: &str) -> bool {
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.strip_prefix("sha256:").is_some_and(|digits| digits.len() == 64 && digits.bytes().all(lower))
}

/// Something that people are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Its name, in transcripts and answers files.
    pub id: &'static str,
    /// For people.
    pub text: &'static str,
    /// What the answer must look like.
    pub form: Form,
}

const fn question(id: &'static str, text: &'static str, form: Form) -> Question {
    Question { id, text, form }
}

const BEACON: Question =
    question("beacon", "A public value of today, e.g. a headline or the hash of a block", Form::Beacon);
const REASON: Question = question("reason", "Why", Form::Text(512));

impl Action {
    /// What people are asked, in order.
    pub fn questions(&self) -> &'static [Question] {
        match self {
            Self::ProvePossession { .. } | Self::CustodyDrill {} => &[BEACON],
            Self::AttestKey { .. } => {
                const { &[question("attestation", "Digest of the vendor's attestation, or none", Form::DigestOrNone)] }
            }
            Self::BackUpKey { .. } => {
                const {
                    &[
                        question(
                            "method",
                            "How the vendor keeps a second copy: none, vendor-clone or wrap",
                            Form::BackUp,
                        ),
                        question("evidence", "Digest of the vendor's record of it, or none", Form::DigestOrNone),
                        question("custodian", "Who keeps it and where", Form::Text(256)),
                    ]
                }
            }
            Self::RegisterValidator { .. } => {
                const {
                    &[
                        question("name", "Name of the validator", Form::Text(64)),
                        question("stake", "Stake", Form::Number),
                        question("peer_address", "Address for validators (UDP)", Form::Address),
                        question("client_address", "Address for clients' batches (UDP)", Form::Address),
                        question("rpc_address", "Address of the JSON-RPC (TCP)", Form::Address),
                    ]
                }
            }
            Self::RotateKey { .. } | Self::RevokeKey { .. } | Self::DestroyKey { .. } => &[REASON],
            Self::Observe { .. } => const { &[question("initials", "Initials of who did it", Form::Text(16))] },
            Self::RecordHash { .. } => const { &[question("digest", "Digest of the file", Form::Digest)] },
            Self::InitialiseToken { .. }
            | Self::OpenToken { .. }
            | Self::GenerateKey { .. }
            | Self::FindKey { .. }
            | Self::ProbeKey { .. } => &[],
        }
    }

    /// Names of the keys that have to exist.
    fn keys(&self) -> Vec<&str> {
        match self {
            Self::ProbeKey { key }
            | Self::ProvePossession { key }
            | Self::AttestKey { key }
            | Self::BackUpKey { key }
            | Self::RevokeKey { key }
            | Self::DestroyKey { key } => vec![key],
            Self::RegisterValidator { consensus, transport } => vec![consensus, transport],
            Self::RotateKey { old, new } => vec![old, new],
            _ => Vec::new(),
        }
    }
}

impl Ceremony {
    /// Fails where a step that was left out did not give what this one needs.
    pub(super) fn check_feasible(&self, step: &Step) -> Result<(), Refusal> {
        let blocked = |needs: String| Err(Refusal::Blocked { step: step.id.clone(), needs });
        if matches!(step.action, Action::GenerateKey { .. } | Action::FindKey { .. }) && self.token().is_none() {
            return blocked("the token".to_owned());
        }
        match step.action.keys().into_iter().find(|key| self.key(key).is_none()) {
            Some(key) => blocked(format!("the key {key:?}")),
            None => Ok(()),
        }
    }

    /// What the device is asked next in this step; `None` when it has done its part.
    pub(super) fn operation(&self, step: &Step, current: &Current) -> Option<Operation> {
        let first = || match &step.action {
            Action::InitialiseToken { token } => Some(Operation::Initialise { token: token.clone() }),
            Action::OpenToken { token } => Some(Operation::Open { token: token.clone() }),
            Action::GenerateKey { label, algorithm, .. } => {
                let id = Purpose::KeyId.digest(self.mode(), &[self.id(), step.id.as_bytes()]);
                let id = hex::encode(&id.as_bytes()[..16]);
                Some(Operation::Generate { label: label.clone(), id, algorithm: *algorithm })
            }
            Action::FindKey { label, .. } => Some(Operation::Find { label: label.clone() }),
            Action::ProbeKey { key } => Some(Operation::Probe { label: self.key(key)?.label.clone() }),
            Action::ProvePossession { key } => self.sign(key, self.possession(step, current, key)?),
            Action::RevokeKey { key } => self.sign(key, self.revocation(step, current, key)?),
            Action::RotateKey { old, new } => self.sign(old, self.rotation(step, old, new)?),
            Action::DestroyKey { key } => Some(Operation::Destroy { label: self.key(key)?.label.clone() }),
            Action::AttestKey { .. }
            | Action::BackUpKey { .. }
            | Action::RegisterValidator { .. }
            | Action::CustodyDrill {}
            | Action::Observe { .. }
            | Action::RecordHash { .. } => None,
        };
        match (current.outcomes.len(), &step.action) {
            (0, _) => first(),
            // The new key agrees: nobody can name a key as a successor that he does not have.
            (1, Action::RotateKey { old, new }) => self.sign(new, self.rotation(step, old, new)?),
            _ => None,
        }
    }

    /// The file that the step writes, with its content.
    pub(super) fn document(&self, step: &Step, current: &Current) -> Option<(String, String)> {
        let text = match &step.action {
            Action::RegisterValidator { consensus, transport } => pretty(&Validator {
                name: current.answers.get("name")?,
                consensus_key: self.public(consensus)?,
                transport_key: self.public(transport)?,
                stake: current.answers.get("stake")?.parse().ok()?,
                peer_address: current.answers.get("peer_address")?,
                client_address: current.answers.get("client_address")?,
                rpc_address: current.answers.get("rpc_address")?,
            }),
            Action::RotateKey { old, new } => pretty(&Rotation {
                ceremony: &hex::encode(self.id()),
                rehearsal: self.mode().is_rehearsal(),
                reason: current.answers.get("reason")?,
                old_key: self.public(old)?,
                new_key: self.public(new)?,
                message: &hex::encode(self.rotation(step, old, new)?),
                old_signature: &signature(current, 0)?,
                new_signature: &signature(current, 1)?,
            }),
            Action::RevokeKey { key } => pretty(&Revocation {
                ceremony: &hex::encode(self.id()),
                rehearsal: self.mode().is_rehearsal(),
                reason: current.answers.get("reason")?,
                key: self.public(key)?,
                message: &hex::encode(self.revocation(step, current, key)?),
                signature: &signature(current, 0)?,
            }),
            _ => return None,
        };
        Some((format!("{}.json", step.id), text))
    }

    fn public(&self, key: &str) -> Option<&PublicKey> {
        Some(&self.key(key)?.public)
    }

    fn sign(&self, key: &str, message: [u8; 47]) -> Option<Operation> {
        Some(Operation::Sign { label: self.key(key)?.label.clone(), message: hex::encode(message) })
    }

    fn possession(&self, step: &Step, current: &Current, key: &str) -> Option<[u8; 47]> {
        let (beacon, time) = (current.answers.get("beacon")?, current.began_ms.to_string());
        let key = self.public(key)?.to_string();
        let parts = [&self.id()[..], step.id.as_bytes(), beacon.as_bytes(), time.as_bytes(), key.as_bytes()];
        Some(Purpose::Possession.message(self.mode(), &parts))
    }

    fn rotation(&self, step: &Step, old: &str, new: &str) -> Option<[u8; 47]> {
        let (old, new) = (self.public(old)?.to_string(), self.public(new)?.to_string());
        let parts = [&self.id()[..], step.id.as_bytes(), old.as_bytes(), new.as_bytes()];
        Some(Purpose::Rotation.message(self.mode(), &parts))
    }

    fn revocation(&self, step: &Step, current: &Current, key: &str) -> Option<[u8; 47]> {
        let (key, reason) = (self.public(key)?.to_string(), current.answers.get("reason")?);
        let parts = [&self.id()[..], step.id.as_bytes(), key.as_bytes(), reason.as_bytes()];
        Some(Purpose::Revocation.message(self.mode(), &parts))
    }
}

fn signature(current: &Current, number: usize) -> Option<String> {
    match current.outcomes.get(number)? {
        Outcome::Signature { signature } => Some(signature.to_string()),
        _ => None,
    }
}

fn pretty(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("strings, numbers and flags always serialise");
    text.push('\n');
    text
}

#[derive(Serialize)]
struct Validator<'a> {
    name: &'a str,
    consensus_key: &'a PublicKey,
    transport_key: &'a PublicKey,
    stake: u64,
    peer_address: &'a str,
    client_address: &'a str,
    rpc_address: &'a str,
}

#[derive(Serialize)]
struct Rotation<'a> {
    ceremony: &'a str,
    rehearsal: bool,
    reason: &'a str,
    old_key: &'a PublicKey,
    new_key: &'a PublicKey,
    message: &'a str,
    old_signature: &'a str,
    new_signature: &'a str,
}

#[derive(Serialize)]
struct Revocation<'a> {
    ceremony: &'a str,
    rehearsal: bool,
    reason: &'a str,
    key: &'a PublicKey,
    message: &'a str,
    signature: &'a str,
}
