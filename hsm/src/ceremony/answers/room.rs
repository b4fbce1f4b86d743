//! The people of an unattended ceremony: their names, answers and keys come from the file.

use super::{Answer, Answers, EXCEPT, IF_IT_FAILS, Place};
use crate::ceremony::Question;
use crate::ceremony::device::Modules;
use crate::ceremony::officer::{OfficerKey, passphrase_of, pin_of};
use crate::ceremony::room::{Room, RoomError, Turn, now_ms};
use crate::ceremony::script::Step;
use crate::ceremony::state::{Ceremony, Officer};
use crate::secret::Secret;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use types::{Digest, Signature};

/// Sits in for the people.
pub struct AnsweringRoom {
    answers: Answers,
    modules: Modules,
    /// Directory for what is made for a rehearsal.
    throw_away: PathBuf,
    /// By seat, once opened.
    keys: BTreeMap<String, OfficerKey>,
    /// Steps whose failure was excepted already.
    excepted: BTreeSet<String>,
    /// Where what happens is told.
    out: Box<dyn Write>,
}

impl AnsweringRoom {
    /// With the modules that are loaded already, and a place to tell what happens.
    pub fn new(answers: Answers, modules: Modules, throw_away: PathBuf, out: Box<dyn Write>) -> Self {
        Self { answers, modules, throw_away, keys: BTreeMap::new(), excepted: BTreeSet::new(), out }
    }

    fn open(&mut self, seat: &str) -> Result<&mut OfficerKey, RoomError> {
        if !self.keys.contains_key(seat) {
            let held = self.held(seat)?;
            self.keys.insert(seat.to_owned(), held);
        }
        Ok(self.keys.get_mut(seat).expect("it was just put there"))
    }

    fn held(&self, seat: &str) -> Result<OfficerKey, RoomError> {
        let officers = &self.answers.file.officers;
        let officer = officers.iter().find(|officer| officer.seat == seat);
        let officer = officer.ok_or_else(|| RoomError::NoTerminal(format!("a signature by {seat}")))?;
        let beside = |path: &PathBuf| self.answers.beside(path);
        match &officer.key {
            Place::ThrowAway => {
                let made = Answers::throw_away_key(seat, &self.throw_away)?;
                OfficerKey::in_file(seat, &made.path, &Secret::read_file(&made.passphrase_file)?)
            }
            Place::File { path, passphrase_file } => {
                let path = beside(path);
                let source = self.answers.source(passphrase_file)?;
                OfficerKey::in_file(seat, &path, &source.read_asking(&passphrase_of(seat, &path))?)
            }
            Place::Token { module, token, label, pin_file } => {
                let pin = || Ok(self.answers.source(pin_file)?.read_asking(&pin_of(seat, token))?);
                OfficerKey::in_token(seat, &self.modules, (&beside(module), token, label), pin)
            }
        }
    }

    fn given(&self, step: &str, name: &str) -> Option<&Answer> {
        self.answers.file.steps.get(step)?.get(name)
    }

    fn text(&self, step: &str, name: &str) -> Option<String> {
        match self.given(step, name)? {
            Answer::Text(text) => Some(text.clone()),
            _ => None,
        }
    }
}

impl Room for AnsweringRoom {
    fn arrival(&mut self, ceremony: &Ceremony) -> Result<Option<Officer>, RoomError> {
        let absent = |seat: &str| ceremony.officers().iter().all(|here| here.seat != seat);
        let next = self.answers.file.officers.iter().find(|officer| absent(&officer.seat));
        let Some((seat, name)) = next.map(|officer| (officer.seat.clone(), officer.name.clone())) else {
            return Ok(None);
        };
        let role = ceremony.script().seat(&seat).map(|(role, _)| role.id.clone()).unwrap_or_default();
        let key = self.open(&seat)?.public().clone();
        Ok(Some(Officer { role, seat, name, key }))
    }

    fn begin(&mut self, ceremony: &Ceremony, step: &Step) -> Result<Turn<()>, RoomError> {
        let number = ceremony.finished().len() + 1;
        let total = ceremony.script().steps.len();
        self.tell(&format!("step {number} of {total}: {}", step.title));
        Ok(self.text(&step.id, EXCEPT).map_or(Turn::Go(()), Turn::Except))
    }

    fn answer(&mut self, step: &Step, question: &Question) -> Result<Turn<String>, RoomError> {
        if let Some(reason) = self.text(&step.id, EXCEPT) {
            return Ok(Turn::Except(reason));
        }
        Ok(Turn::Go(match self.given(&step.id, question.id) {
            Some(Answer::Text(text)) => text.clone(),
            Some(Answer::Number(number)) => number.to_string(),
            Some(Answer::File { file }) => {
                let path = self.answers.beside(file);
                let io = |source| RoomError::Io { what: path.display().to_string(), source };
                Digest::sha256(&std::fs::read(&path).map_err(io)?).to_string()
            }
            None => return Err(RoomError::NoTerminal(format!("{:?} of step {:?}", question.id, step.id))),
        }))
    }

    fn sign(&mut self, seats: &[String], message: &[u8; 47], _about: &str) -> Result<(String, Signature), RoomError> {
        let officers = &self.answers.file.officers;
        let seat = seats.iter().find(|seat| officers.iter().any(|officer| officer.seat == **seat));
        let seat = seat.ok_or_else(|| RoomError::NoTerminal(format!("a signature by one of {}", seats.join(", "))))?;
        let signature = self.open(seat)?.sign(message)?;
        Ok((seat.clone(), signature))
    }

    fn failed(&mut self, step: &Step, reason: &str) -> Result<Turn<()>, RoomError> {
        // A step that is left out from the start can be met as a blocked one after an interruption.
        let answer = self.text(&step.id, IF_IT_FAILS).or_else(|| self.text(&step.id, EXCEPT));
        match answer {
            Some(answer) if self.excepted.insert(step.id.clone()) => Ok(Turn::Except(answer)),
            _ => Err(RoomError::Failed { step: step.id.clone(), reason: reason.to_owned() }),
        }
    }

    fn tell(&mut self, text: &str) {
        // Nobody to tell it to is no reason to stop.
        let _ = writeln!(self.out, "{text}");
    }

    fn now_ms(&mut self) -> u64 {
        now_ms()
    }
}
