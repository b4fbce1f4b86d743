//! People at a terminal. What is secret is typed without being shown, and never goes anywhere but to the key or token.
//!
//! A prompt that nobody can answer, because standard input is no terminal, is an error that says so, and never a hang.

use hsm::ceremony::device::Modules;
use hsm::ceremony::officer::{OfficerKey, passphrase_of, pin_of};
use hsm::ceremony::room::{Room, RoomError, Turn, now_ms};
use hsm::ceremony::script::Step;
use hsm::ceremony::state::Officer;
use hsm::ceremony::{Ceremony, Question};
use hsm::secret::Secret;
use std::collections::BTreeMap;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use types::{Digest, Signature};

/// The people.
pub struct Terminal {
    modules: Modules,
    /// Where officers' keys are, so that only the passphrase is asked for again.
    places: BTreeMap<String, Place>,
}

#[derive(Clone, Debug)]
enum Place {
    File(PathBuf),
    Token { module: PathBuf, token: String, label: String },
}

impl Terminal {
    /// At this process's standard input.
    ///
    /// # Errors
    /// [`RoomError::NoTerminal`].
    pub fn new(modules: Modules) -> Result<Self, RoomError> {
        if !io::stdin().is_terminal() {
            return Err(RoomError::NoTerminal("everything".to_owned()));
        }
        Ok(Self { modules, places: BTreeMap::new() })
    }

    fn line(prompt: &str) -> Result<String, RoomError> {
        eprint!("{prompt} ");
        let io = |source| RoomError::Io { what: "the terminal".to_owned(), source };
        io::stderr().flush().map_err(io)?;
        let mut line = String::new();
        match io::stdin().lock().read_line(&mut line).map_err(io)? {
            0 => Err(RoomError::Stopped),
            _ if line.trim() == "stop" => Err(RoomError::Stopped),
            _ => Ok(line.trim().to_owned()),
        }
    }

    fn place(&mut self, seat: &str) -> Result<Place, RoomError> {
        if let Some(place) = self.places.get(seat) {
            return Ok(place.clone());
        }
        let file = Self::line(&format!("{seat}: key file of `stele key generate`, or empty for a token:"))?;
        let place = if file.is_empty() {
            let module = Self::line(&format!("{seat}: PKCS#11 module:"))?.into();
            let token = Self::line(&format!("{seat}: label of the token:"))?;
            Place::Token { module, token, label: Self::line(&format!("{seat}: label of the key:"))? }
        } else {
            Place::File(file.into())
        };
        self.places.insert(seat.to_owned(), place.clone());
        Ok(place)
    }

    /// Opened for each signature: an officer who went out cannot sign.
    fn open(&mut self, seat: &str) -> Result<OfficerKey, RoomError> {
        let opened = match self.place(seat)? {
            Place::File(path) => {
                let passphrase = Secret::ask(&passphrase_of(seat, &path))?;
                OfficerKey::in_file(seat, &path, &passphrase)
            }
            Place::Token { module, token, label } => {
                let pin = || Ok(Secret::ask(&pin_of(seat, &token))?);
                OfficerKey::in_token(seat, &self.modules, (&module, &token, &label), pin)
            }
        };
        if opened.is_err() {
            self.places.remove(seat);
        }
        opened
    }

    /// Until somebody gives an answer that can be used.
    fn turn<T>(prompt: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Turn<T>, RoomError> {
        loop {
            let line = Self::line(prompt)?;
            if let Some(reason) = line.strip_prefix("except ") {
                return Ok(Turn::Except(reason.trim().to_owned()));
            }
            match read(&line) {
                Ok(value) => return Ok(Turn::Go(value)),
                Err(hint) => eprintln!("  {hint}"),
            }
        }
    }
}

impl Room for Terminal {
    fn arrival(&mut self, ceremony: &Ceremony) -> Result<Option<Officer>, RoomError> {
        loop {
            for role in &ceremony.script().roles {
                let taken = |seat: &str| ceremony.officers().iter().any(|here| here.seat == seat);
                let free = role.officers.iter().filter(|seat| !taken(&seat.id)).map(|seat| seat.id.as_str());
                let free: Vec<_> = free.collect();
                eprintln!("{}: {} needed; free seats: {}", role.title, role.quorum, free.join(", "));
            }
            let seat = Self::line("Who is next? A seat, or empty when all are here:")?;
            if seat.is_empty() {
                return Ok(None);
            }
            let Some((role, planned)) = ceremony.script().seat(&seat) else {
                eprintln!("  there is no such seat");
                continue;
            };
            let name = match &planned.name {
                Some(name) => name.clone(),
                None => Self::line(&format!("{seat}: name of the person:"))?,
            };
            match self.open(&seat) {
                Ok(key) => {
                    let (role, key) = (role.id.clone(), key.public().clone());
                    return Ok(Some(Officer { role, seat, name, key }));
                }
                Err(RoomError::Stopped) => return Err(RoomError::Stopped),
                Err(error) => eprintln!("  {error}"),
            }
        }
    }

    fn begin(&mut self, ceremony: &Ceremony, step: &Step) -> Result<Turn<()>, RoomError> {
        let (number, total) = (ceremony.finished().len() + 1, ceremony.script().steps.len());
        eprintln!("\n── step {number} of {total}: {} ──", step.title);
        if !step.say.is_empty() {
            eprintln!("Read aloud:\n{}", step.say);
        }
        Self::turn("Enter to begin, `except REASON`, or `stop`:", |line| match line {
            "" => Ok(()),
            _ => Err("only Enter begins the step".to_owned()),
        })
    }

    fn answer(&mut self, _: &Step, question: &Question) -> Result<Turn<String>, RoomError> {
        let file = if question.form.is_digest() { "; `@PATH` takes a file's digest" } else { "" };
        Self::turn(&format!("{} ({}{file}):", question.text, question.form.describe()), |line| {
            let answer = match line.strip_prefix('@') {
                Some(path) if question.form.is_digest() => {
                    let bytes = std::fs::read(Path::new(path)).map_err(|error| format!("{path}: {error}"))?;
                    Digest::sha256(&bytes).to_string()
                }
                _ => line.to_owned(),
            };
            if question.form.accepts(&answer) {
                Ok(answer)
            } else {
                Err(format!("it must be {}", question.form.describe()))
            }
        })
    }

    fn sign(&mut self, seats: &[String], message: &[u8; 47], about: &str) -> Result<(String, Signature), RoomError> {
        eprintln!("To be signed: {about}\n  message {}", hex::encode(message));
        loop {
            let seat = match seats {
                [seat] => seat.clone(),
                _ => Self::line(&format!("Who signs? One of {}:", seats.join(", ")))?,
            };
            if !seats.contains(&seat) {
                eprintln!("  nobody on that seat is asked");
                continue;
            }
            match self.open(&seat).and_then(|mut key| key.sign(message)) {
                Ok(signature) => return Ok((seat, signature)),
                Err(error) => {
                    eprintln!("  {error}");
                    Self::line("Enter to try again, or `stop`:")?;
                }
            }
        }
    }

    fn failed(&mut self, step: &Step, reason: &str) -> Result<Turn<()>, RoomError> {
        eprintln!("Step {:?} failed: {reason}", step.id);
        Self::turn("`again`, `except REASON`, or `stop`:", |line| match line {
            "again" => Ok(()),
            _ => Err("nothing is tried again by itself: a token may count tries".to_owned()),
        })
    }

    fn tell(&mut self, text: &str) {
        eprintln!("{text}");
    }

    fn now_ms(&mut self) -> u64 {
        now_ms()
    }
}
