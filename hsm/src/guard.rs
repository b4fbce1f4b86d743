//! The sign-once guard: what was approved is on the disk before it is signed, and nothing that contradicts it is ever
//! approved again, whatever consensus asks for and however often the process dies.
//!
//! Rounds rise: a statement is approved for a (epoch, round) above every earlier one, or is the identical statement of
//! one of the last [`Limits::rounds`] rounds, which is answered again. A height has one header: a vote is approved for
//! a height above the forgotten ones, and for the header that was voted for before. Memory and file are bounded; what
//! leaves the memory is refused. Deliberately absent: keys, sockets, and what a statement means.
//!
//! A guard file protects against crashes, not against its own replacement by an older copy: that needs a fence outside
//! of the machine's disk.

mod disk;
mod journal;
#[cfg(test)]
mod power_loss;
mod record;
#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;
mod window;

use crate::atomic_file;
use crate::error::{ConfigError, Fault, SignError, StartError, StoreError};
use crate::refusal::Slot;
use disk::{Disk, LockedFile};
use journal::Journal;
use record::Record;
use std::path::Path;
use types::{AuthorityIndex, ChainId, HeaderVote, PublicKey, RoundStatement, Signature};
use window::Window;

/// Whose guard it is. A file opens only for the identity it was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The ledger.
    pub chain: ChainId,
    /// The validator.
    pub author: AuthorityIndex,
    /// Its consensus key.
    pub key: PublicKey,
}

/// How much is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Rounds that are answered again; 1,024 by default.
    pub rounds: usize,
    /// Heights whose header is remembered; 4,096 by default.
    pub heights: usize,
    /// Bytes of the file, all written in advance so that a record changes data alone; 4 MiB by default.
    pub file_bytes: usize,
}

const ROUNDS: usize = 1024;
const HEIGHTS: usize = 4096;
const FILE_BYTES: usize = 4 << 20;

// A file that holds nothing but the window, at most 160 bytes a round and 48 a height, is less than half full.
const _: () = assert!(ROUNDS * 160 + HEIGHTS * 48 < FILE_BYTES / 2);

impl Default for Limits {
    fn default() -> Self {
        Self { rounds: ROUNDS, heights: HEIGHTS, file_bytes: FILE_BYTES }
    }
}

/// How a request may be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Approval {
    /// The statement is new, and on the disk: sign it.
    Fresh,
    /// The identical statement was approved before; its signature where it is remembered, else sign it again.
    Known(Option<Signature>),
}

/// The guard of one validator. Holds a lock on its file.
pub struct Guard {
    window: Window,
    journal: Journal,
    limits: Limits,
    /// A signature made since the last record; it is written with the next one, at no cost of its own.
    unwritten: Option<(Slot, Signature)>,
}

impl Guard {
    /// Makes a new, empty guard file. Only right for a validator that has never signed.
    ///
    /// # Errors
    /// [`ConfigError::KeyExists`] where there is a file; faults of the disk.
    pub fn create(path: &Path, identity: &Identity) -> Result<(), StartError> {
        Self::create_with(path, identity, Limits::default())
    }

    /// Opens the guard file, locks it, and reads it.
    ///
    /// # Errors
    /// [`ConfigError::GuardMissing`], [`ConfigError::GuardForeign`], [`ConfigError::GuardLocked`],
    /// [`ConfigError::GuardDamaged`]; faults of the disk.
    pub fn open(path: &Path, identity: &Identity) -> Result<Self, StartError> {
        Self::open_with(path, identity, Limits::default())
    }

    fn create_with(path: &Path, identity: &Identity, limits: Limits) -> Result<(), StartError> {
        atomic_file::create(path, &journal::empty(identity, limits.file_bytes))
            .map_err(|error| atomic_file::start_error(&error, path))
    }

    fn open_with(path: &Path, identity: &Identity, limits: Limits) -> Result<Self, StartError> {
        let (file, content) = LockedFile::open(path)?;
        Self::on_disk(Box::new(file), &content, identity, limits).map_err(|cause| cause.about(path.display()))
    }

    fn on_disk(disk: Box<dyn Disk>, content: &[u8], identity: &Identity, limits: Limits) -> Result<Self, StoreError> {
        let (journal, records) = Journal::open(disk, content, identity, limits.file_bytes)?;
        let mut window = Window::new(limits);
        for record in records {
            // A record that contradicts an earlier one was not written by this code.
            if !window.replay(record) {
                return Err(ConfigError::GuardDamaged.into());
            }
        }
        Ok(Self { window, journal, limits, unwritten: None })
    }

    /// Approves a statement with its votes. On return of [`Approval::Fresh`] it is durable.
    ///
    /// # Errors
    /// [`SignError::Refused`] with the evidence; [`SignError::Fault`] where the file fails, after which nothing new is
    /// approved before a restart.
    pub fn approve(&mut self, statement: &RoundStatement, votes: &[HeaderVote]) -> Result<Approval, SignError> {
        let slot = Slot { epoch: statement.epoch, round: statement.round };
        let digest = statement.digest();
        if let Some(signature) = self.window.judge(slot, &digest, votes)? {
            return Ok(Approval::Known(signature));
        }
        if !self.journal.has_room() {
            self.compact()?;
        }
        let record = Record::Approval { slot, digest, votes: votes.to_vec(), signature: self.unwritten.clone() };
        self.journal.append(&record)?;
        self.unwritten = None;
        self.window.approved(slot, digest, votes);
        Ok(Approval::Fresh)
    }

    /// Remembers the signature of an approved statement, to answer with it again.
    pub fn signed(&mut self, statement: &RoundStatement, signature: &Signature) {
        let slot = Slot { epoch: statement.epoch, round: statement.round };
        if self.window.signed(slot, &statement.digest(), signature) {
            self.unwritten = Some((slot, signature.clone()));
        }
    }

    /// The highest approved round.
    pub fn mark(&self) -> Option<Slot> {
        self.window.mark()
    }

    /// Writes the window into a new file in place of the old one. A failure before the exchange changes nothing.
    fn compact(&mut self) -> Result<(), Fault> {
        self.journal.replace(&self.window.records(), self.limits.file_bytes)
    }
}
