//! A file that answers every prompt of a ceremony, so that a rehearsal runs unattended. TOML; paths in it are relative to
//! it. It names files with PINs and passphrases, or another [`SecretSource`], and never holds one.
//!
//! The file is checked against the script before anything begins: what is missing is told then, and so is what nobody
//! asks. `room` sits in for the people.

mod room;

use super::Mode;
use super::device::{Pin, Pins};
use super::room::{AnswersError, RoomError};
use super::script::{Action, Algorithm, Script};
use crate::config::KeystoreConfig;
use crate::error::StartError;
use crate::keystore::{self, Cost};
use crate::secret::{self, SecretSource};
use crate::softhsm;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use types::AlgId;

pub use room::AnsweringRoom;

/// Most bytes of an answers file.
const FILE_MAX: u64 = 256 << 10;
/// The reason to leave the step out from the start.
const EXCEPT: &str = "except";
/// The reason to leave the step out where it fails.
const IF_IT_FAILS: &str = "if-it-fails";

/// Answers to one script.
#[derive(Clone, Debug)]
pub struct Answers {
    path: PathBuf,
    file: AnswersFile,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswersFile {
    format: u32,
    #[serde(default)]
    token: TokenAnswers,
    /// What the throw-away token has before the ceremony begins.
    #[serde(default)]
    prepare: Vec<Prepared>,
    officers: Vec<OfficerAnswers>,
    #[serde(default)]
    steps: BTreeMap<String, BTreeMap<String, Answer>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenAnswers {
    module: Option<PathBuf>,
    pin_file: Option<PathBuf>,
    so_pin_file: Option<PathBuf>,
}

/// A key that a throw-away token is to have from before.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prepared {
    /// Its label.
    pub label: String,
    /// What it signs with.
    pub algorithm: Algorithm,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfficerAnswers {
    seat: String,
    name: String,
    key: Place,
}

/// Where an officer's key is.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Place {
    /// Made for this rehearsal.
    ThrowAway,
    /// A file of `stele key generate`.
    File { path: PathBuf, passphrase_file: PathBuf },
    /// A token of his own.
    Token { module: PathBuf, token: String, label: String, pin_file: PathBuf },
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Answer {
    Text(String),
    Number(u64),
    File { file: PathBuf },
}

impl Answers {
    /// Reads a file and checks that it answers this script in full, and nothing else.
    ///
    /// # Errors
    /// [`RoomError::Answers`], [`RoomError::Io`].
    pub fn read(path: &Path, script: &Script, mode: Mode) -> Result<Self, RoomError> {
        let io = |source| RoomError::Io { what: path.display().to_string(), source };
        let length = std::fs::metadata(path).map_err(io)?.len();
        if length > FILE_MAX {
            return Err(io(std::io::Error::other("too long for answers")));
        }
        let text = std::fs::read_to_string(path).map_err(io)?;
        Self::parse(path, &text, script, mode)
    }

    fn parse(path: &Path, text: &str, script: &Script, mode: Mode) -> Result<Self, RoomError> {
        let wrong = |reason| RoomError::Answers { path: path.to_owned(), reason };
        let file: AnswersFile = toml::from_str(text).map_err(|error| wrong(AnswersError::Toml(Box::new(error))))?;
        check(&file, script, mode).map_err(wrong)?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// The module of the ceremony's token; SoftHSM2 where a rehearsal names none.
    pub fn module(&self) -> Option<PathBuf> {
        self.file.token.module.as_ref().map(|path| self.beside(path)).or_else(softhsm::find_module)
    }

    /// What the throw-away token has to have before the ceremony.
    pub fn prepared(&self) -> &[Prepared] {
        &self.file.prepare
    }

    /// Where the PINs are; in a rehearsal, PINs that nobody named are made in `throw_away`.
    ///
    /// # Errors
    /// Those of making them.
    pub fn pins(&self, mode: Mode, throw_away: &Path) -> Result<Pins, RoomError> {
        let source = |named: &Option<PathBuf>, name| match (named, mode) {
            (Some(source), _) => self.source(source),
            (None, Mode::Rehearsal) => Ok(SecretSource::File(made(&throw_away.join(name))?)),
            (None, Mode::Real) => self.source(Path::new(name)),
        };
        let user = source(&self.file.token.pin_file, "pin")?;
        let officer = source(&self.file.token.so_pin_file, "so-pin")?;
        Ok(Box::new(move |pin| match pin {
            Pin::User => user.read_asking(pin.title()),
            Pin::SecurityOfficer => officer.read_asking(pin.title()),
        }))
    }

    /// Where a secret comes from, with the path of a file made relative to this one.
    fn source(&self, text: &Path) -> Result<SecretSource, RoomError> {
        match SecretSource::parse(text) {
            Some(SecretSource::File(path)) => Ok(SecretSource::File(self.beside(&path))),
            Some(SecretSource::Sealed(path)) => Ok(SecretSource::Sealed(self.beside(&path))),
            Some(other) => Ok(other),
            None => Err(RoomError::Answers {
                path: self.path.clone(),
                reason: AnswersError::Source(text.display().to_string()),
            }),
        }
    }

    fn beside(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    /// The keystore of an officer's throw-away key, made where it is not there.
    fn throw_away_key(seat: &str, directory: &Path) -> Result<KeystoreConfig, RoomError> {
        let passphrase_file = made(&directory.join(format!("{seat}.passphrase")))?;
        let config = KeystoreConfig { path: directory.join(format!("{seat}.key")), passphrase_file };
        if !config.path.exists() {
            // It protects nothing, so it costs nothing.
            keystore::generate_account(&config, AlgId::Ed25519, Cost { memory_kib: 8, passes: 1, lanes: 1 })?;
        }
        Ok(config)
    }
}

/// A file with a random secret.
fn made(path: &Path) -> Result<PathBuf, StartError> {
    if !path.exists() {
        secret::create_random(path)?;
    }
    Ok(path.to_owned())
}

fn check(file: &AnswersFile, script: &Script, mode: Mode) -> Result<(), AnswersError> {
    if file.format != 1 {
        return Err(AnswersError::Format(file.format));
    }
    let of_officer = |officer: &OfficerAnswers| match &officer.key {
        Place::ThrowAway => None,
        Place::File { passphrase_file: secret, .. } | Place::Token { pin_file: secret, .. } => Some(secret.clone()),
    };
    let secrets = file.token.pin_file.iter().chain(&file.token.so_pin_file).cloned();
    if let Some(none) =
        secrets.chain(file.officers.iter().filter_map(of_officer)).find(|text| SecretSource::parse(text).is_none())
    {
        return Err(AnswersError::Source(none.display().to_string()));
    }
    if mode == Mode::Real {
        if !file.prepare.is_empty() {
            return Err(AnswersError::RehearsalOnly("`prepare`"));
        }
        if file.officers.iter().any(|officer| matches!(officer.key, Place::ThrowAway)) {
            return Err(AnswersError::RehearsalOnly("a throw-away key"));
        }
        let uses = |wanted: fn(&Action) -> bool| script.steps.iter().any(|step| wanted(&step.action));
        let opens = uses(|action| matches!(action, Action::OpenToken { .. } | Action::InitialiseToken { .. }));
        if opens && file.token.module.is_none() {
            return Err(AnswersError::Token("module"));
        }
        if opens && file.token.pin_file.is_none() {
            return Err(AnswersError::Token("pin_file"));
        }
        if uses(|action| matches!(action, Action::InitialiseToken { .. })) && file.token.so_pin_file.is_none() {
            return Err(AnswersError::Token("so_pin_file"));
        }
    }
    for (place, officer) in file.officers.iter().enumerate() {
        let twice = file.officers[..place].iter().any(|other| other.seat == officer.seat);
        if twice || script.seat(&officer.seat).is_none() {
            return Err(AnswersError::Seat(officer.seat.clone()));
        }
    }
    for role in &script.roles {
        let here = |seat: &&super::script::Seat| file.officers.iter().any(|officer| officer.seat == seat.id);
        let have = role.officers.iter().filter(here).count();
        if have < role.quorum {
            return Err(AnswersError::Officers { role: role.id.clone(), needed: role.quorum, have });
        }
    }
    check_steps(file, script)
}

fn check_steps(file: &AnswersFile, script: &Script) -> Result<(), AnswersError> {
    let none = BTreeMap::new();
    for step in &script.steps {
        let given = file.steps.get(&step.id).unwrap_or(&none);
        let questions = step.action.questions();
        for name in given.keys() {
            let asked =
                questions.iter().any(|question| question.id == name) || [EXCEPT, IF_IT_FAILS].contains(&name.as_str());
            if !asked {
                return Err(AnswersError::Unasked(format!("steps.{}.{name}", step.id)));
            }
        }
        if given.contains_key(EXCEPT) {
            continue;
        }
        for question in questions {
            let (step, question_id) = (step.id.clone(), question.id.to_owned());
            let good = match given.get(question.id) {
                None => return Err(AnswersError::Missing { step, question: question_id }),
                Some(Answer::File { .. }) => question.form.is_digest(),
                Some(Answer::Text(text)) => question.form.accepts(text),
                Some(Answer::Number(number)) => question.form.accepts(&number.to_string()),
            };
            if !good {
                return Err(AnswersError::Form { step, question: question_id, form: question.form.describe() });
            }
        }
    }
    match file.steps.keys().find(|id| script.steps.iter().all(|step| step.id != **id)) {
        Some(id) => Err(AnswersError::Unasked(format!("steps.{id}"))),
        None => Ok(()),
    }
}
