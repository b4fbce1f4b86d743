//! A ceremony whose prompts are all answered from a file.

use super::answers::{AnsweringRoom, Answers};
use super::attester::Attester;
use super::conduct::{self, ConductError};
use super::device::{Device, DeviceError, Hsm, Modules};
use super::entry::{Operation, Outcome, Token};
use super::prepare::prepare;
use super::script::{Action, Script};
use super::{Mode, room::now_ms};
use crate::error::ConfigError;
use crate::pkcs11::admin::AdminError;
use crate::softhsm;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use types::Digest;

/// What a rehearsal makes and throws away, in the directory of the ceremony.
const THROW_AWAY: &str = "throw-away";

/// What is run.
#[derive(Clone, Copy, Debug)]
pub struct Unattended<'a> {
    /// Bytes of the script.
    pub script: &'a [u8],
    /// The answers file.
    pub answers: &'a Path,
    /// Whether it counts.
    pub mode: Mode,
    /// Where transcript and documents go.
    pub directory: &'a Path,
    /// Name and version of the program.
    pub program: &'a str,
    /// The machine's TPM.
    pub attester: &'a Attester,
}

/// Makes the directory of a rehearsal and SoftHSM2's configuration in it; its path is what
/// [`softhsm::CONF_VARIABLE`] has to be when [`Unattended::run`] is called.
///
/// # Errors
/// Those of the file system.
pub fn throw_away_token(directory: &Path) -> io::Result<PathBuf> {
    softhsm::write_conf(&directory.join(THROW_AWAY))
}

impl Unattended<'_> {
    /// Begins the ceremony, or goes on where it stopped; the root.
    ///
    /// # Errors
    /// [`ConductError`].
    pub fn run(&self, out: Box<dyn Write>) -> Result<Digest, ConductError> {
        let script = Script::parse(self.script)?;
        let answers = Answers::read(self.answers, &script, self.mode)?;
        let throw_away = self.directory.join(THROW_AWAY);
        let made = if self.mode.is_rehearsal() { &throw_away } else { self.directory };
        std::fs::create_dir_all(made).map_err(|source| ConductError::Io { path: made.to_owned(), source })?;
        let prepared = prepare(self.directory, self.script, self.mode, self.program, now_ms(), self.attester)?;
        let modules = Modules::default();
        let token = script.steps.iter().find_map(|step| match &step.action {
            Action::OpenToken { token } => Some((token, true)),
            Action::InitialiseToken { token } => Some((token, false)),
            _ => None,
        });
        let mut device: Box<dyn Device> = match token {
            None => Box::new(NoDevice),
            Some((token, old)) => {
                let pins = answers.pins(self.mode, &throw_away)?;
                let missing = || DeviceError::from(AdminError::from(ConfigError::ModuleMissing));
                let mut hsm = Hsm::load(&modules, &answers.module().ok_or_else(missing)?, pins)?;
                if old && self.mode.is_rehearsal() {
                    hsm.prepare(token, answers.prepared())?;
                }
                Box::new(hsm)
            }
        };
        let mut room = AnsweringRoom::new(answers, modules, throw_away, out);
        let mut transcript = prepared.begin()?;
        conduct::conduct(&mut transcript, &mut room, &mut *device, self.attester, self.directory)
    }
}

/// For scripts without a token.
#[derive(Debug)]
pub struct NoDevice;

impl Device for NoDevice {
    fn run(&mut self, _: &Operation, _: bool) -> Result<Outcome, DeviceError> {
        Err(DeviceError::NotOpen)
    }

    fn reopen(&mut self, _: &Token) -> Result<(), DeviceError> {
        Err(DeviceError::NotOpen)
    }
}
