//! The machines of a ceremony: each start of one is attested before anything else happens, and the whole before the close.
//!
//! What the TPM signs along covers the ceremony, the script and the hash of the entry before, so everything up to there.
//! Between two quotes nothing but the people sees which machine it is. A rehearsal asks for the same and insists on nothing:
//! it may be held anywhere.

use super::{Ceremony, Phase};
use crate::ceremony::entry::{Attested, MachineQuote};
use crate::ceremony::plan::is_text;
use crate::ceremony::refusal::{MachineRefusal, Refusal};
use crate::ceremony::statement::Purpose;
use crate::hexadecimal::Hex;
use crate::machines::{Machines, Mismatch, Replay, adds_up};
use serde::Serialize;
use std::collections::BTreeMap;
use tpm::event_log::EventLog;
use tpm::quote::Value;

/// Longest reason for which there is no attestation, in bytes.
const REASON_MAX: usize = 512;

/// When a machine is attested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// The ceremony began on it.
    Start,
    /// The ceremony went on, on it.
    Resume,
    /// All steps are over.
    Close,
}

impl Moment {
    /// For people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Start => "at the start",
            Self::Resume => "as the ceremony went on",
            Self::Close => "at the close",
        }
    }
}

/// What has been attested of the machine that is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It was started, and said nothing yet.
    Started(Moment),
    /// It was attested.
    Attested,
    /// So was all that was done.
    Whole,
}

/// A machine, as it was attested or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestedMachine {
    /// The entry that says so.
    pub entry: u64,
    /// When.
    pub moment: Moment,
    /// What its TPM says; else why it says nothing.
    pub said: Result<Said, String>,
    /// What the TPM had to sign along.
    qualifying: [u8; 32],
}

/// What a machine's TPM says, verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Name of the attestation key: which TPM it is.
    pub key_name: Vec<u8>,
    /// Starts since the TPM was made or cleared.
    pub resets: u32,
    /// Resumptions since the last of them.
    pub restarts: u32,
    /// The registers.
    pub registers: BTreeMap<u8, Value>,
    /// What the event log adds up to. `None` where there is none.
    pub event_log: Option<Replay>,
    /// How it stands with the script's policy. `None` where there is none; only a rehearsal goes on with another machine.
    pub policy: Option<Result<(), Mismatch>>,
}

impl AttestedMachine {
    /// For people.
    pub fn describe(&self) -> String {
        let when = self.moment.describe();
        let said = match &self.said {
            Err(reason) => return format!("THE MACHINE IS NOT ATTESTED {when}: {reason}"),
            Ok(said) => said,
        };
        let log = match (self.moment, said.adds_up()) {
            (Moment::Close, _) => "",
            (_, None) => ", without an event log",
            (_, Some(true)) => ", with the event log of these registers",
            (_, Some(false)) => ", WITH AN EVENT LOG THAT DOES NOT ADD UP to its registers",
        };
        let mut text = format!("the machine {when}: TPM {}, start {}{log}", Hex::of(&said.key_name), said.resets);
        if let Some(Err(mismatch)) = &said.policy {
            text.push_str(&format!("\nTHE SCRIPT'S POLICY DOES NOT LET IT THROUGH: {mismatch}"));
        }
        text
    }
}

impl Said {
    /// Whether the event log explains the registers; `None` where there is none.
    pub fn adds_up(&self) -> Option<bool> {
        self.event_log.as_ref().map(|replay| adds_up(replay, &self.registers).is_ok())
    }

    fn boot(&self) -> (&[u8], u32, u32) {
        (&self.key_name, self.resets, self.restarts)
    }
}

impl Ceremony {
    /// Everything that was attested of machines, in order. Empty where the script does not ask for it.
    pub fn machines(&self) -> &[AttestedMachine] {
        &self.machines
    }

    /// Whether a machine that is not attested, or not as the script wants it, holds no ceremony.
    pub fn insists_on_machine(&self) -> bool {
        !self.mode.is_rehearsal() && self.script.attestation.as_ref().is_some_and(|wanted| wanted.required)
    }

    /// Holds all machines against a policy of the reader's, whatever the script says.
    ///
    /// # Errors
    /// The entry at fault, and why; the first entry where nothing was attested.
    pub fn check_machines(&self, policy: &Machines) -> Result<(), (u64, MachineRefusal)> {
        if self.machines.is_empty() {
            return Err((0, MachineRefusal::Missing("the script does not ask for it".to_owned())));
        }
        for (place, machine) in self.machines.iter().enumerate() {
            let said = machine.said.as_ref().map_err(|none| (machine.entry, MachineRefusal::Missing(none.clone())))?;
            let log = self.log_for(&self.machines[..place], machine.moment, said);
            let checked = policy.check(&said.key_name, &said.registers, log);
            checked.map_err(|mismatch| (machine.entry, mismatch.into()))?;
        }
        Ok(())
    }

    /// When the machine has to be attested next, if it is now.
    pub(super) fn moment(&self) -> Option<Moment> {
        self.script.attestation.as_ref()?;
        match (self.standing, &self.phase) {
            (Standing::Started(moment), _) => Some(moment),
            (Standing::Attested, Phase::Between) if self.finished.len() == self.script.steps.len() => {
                Some(Moment::Close)
            }
            _ => None,
        }
    }

    /// What the TPM signs along, now.
    pub(super) fn qualifying(&self) -> [u8; 32] {
        let parts = [&self.id[..], self.script_digest.as_bytes(), &self.head];
        *Purpose::Machine.digest(self.mode, &parts).as_bytes()
    }

    /// Takes an attestation that is due.
    pub(super) fn attest(&mut self, attested: &Attested, moment: Moment) -> Result<(), Refusal> {
        let qualifying = self.qualifying();
        let said = match attested {
            Attested::Quote(quote) => Ok(self.check_quote(quote, moment, &qualifying)?),
            Attested::None { reason } if !is_text(reason, REASON_MAX) => return Err(Refusal::Text("the reason")),
            Attested::None { reason } if self.insists_on_machine() => {
                return Err(MachineRefusal::Missing(reason.clone()).into());
            }
            Attested::None { reason } => Err(reason.clone()),
        };
        if moment == Moment::Close {
            self.check_same_boot(said.as_ref().ok())?;
        }
        self.machines.push(AttestedMachine { entry: self.entries, moment, said, qualifying });
        self.standing = if moment == Moment::Close { Standing::Whole } else { Standing::Attested };
        Ok(())
    }

    fn check_quote(&self, quote: &MachineQuote, moment: Moment, due: &[u8; 32]) -> Result<Said, MachineRefusal> {
        let wanted = self.script.attestation.as_ref();
        let genuine = quote.quote().ok_or(tpm::quote::QuoteError::Registers)?;
        let statement = genuine.verify()?;
        if statement.qualifying != due {
            let before = self.machines.iter().find(|machine| statement.qualifying == machine.qualifying);
            return Err(
                before.map_or(MachineRefusal::OtherTranscript, |machine| MachineRefusal::Replayed(machine.entry))
            );
        }
        let registers: Vec<u8> = genuine.registers.keys().copied().collect();
        if let Some(wanted) = wanted.filter(|wanted| wanted.registers != registers) {
            return Err(MachineRefusal::OtherRegisters { found: registers, wanted: wanted.registers.clone() });
        }
        let event_log = quote.event_log.as_ref().map(|log| EventLog::parse(&log.0).map(|log| log.replay()));
        let mut said = Said {
            key_name: statement.key_name,
            resets: statement.resets,
            restarts: statement.restarts,
            registers: genuine.registers,
            event_log,
            policy: None,
        };
        let policy = wanted.and_then(|wanted| wanted.policy.as_ref());
        let log = self.log_for(&self.machines, moment, &said);
        let standing = policy.map(|policy| policy.check(&said.key_name, &said.registers, log));
        if let (Some(Err(mismatch)), false) = (&standing, self.mode.is_rehearsal()) {
            return Err(mismatch.clone().into());
        }
        said.policy = standing;
        Ok(said)
    }

    /// The log that has to explain what a TPM says: at the close that of the start.
    fn log_for<'a>(&self, before: &'a [AttestedMachine], moment: Moment, said: &'a Said) -> Option<&'a Replay> {
        let start = before.last().filter(|_| moment == Moment::Close).and_then(|machine| machine.said.as_ref().ok());
        start.unwrap_or(said).event_log.as_ref()
    }

    /// What closes is what began or went on last.
    fn check_same_boot(&self, now: Option<&Said>) -> Result<(), MachineRefusal> {
        let Some(machine) = self.machines.last() else { return Ok(()) };
        let before = machine.said.as_ref().ok();
        match (before, now) {
            (None, None) => Ok(()),
            (Some(before), Some(now)) if before.boot() == now.boot() => Ok(()),
            (Some(before), Some(now)) if before.key_name == now.key_name => {
                let (before, now) = (before.resets, now.resets);
                Err(MachineRefusal::OtherBoot { entry: machine.entry, before, now })
            }
            _ => {
                let name = |said: Option<&Said>| said.map(|said| Hex::of(&said.key_name)).unwrap_or_default();
                Err(MachineRefusal::OtherMachine { entry: machine.entry, before: name(before), now: name(now) })
            }
        }
    }
}
