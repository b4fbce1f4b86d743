//! The sign-once guard: what was approved is on the disk before it is signed, and nothing that contradicts it is ever
//! approved again, whatever consensus asks for and however often the process dies.
//!
//! Rounds rise: a statement is approved for a (epoch, round) above every earlier one, or is the identical statement of
//! one of the last [`Limits::rounds`] rounds, which is answered again. A height has one header: a vote is approved for
//! a height above the forgotten ones, and for the header that was voted for before. Memory and file are bounded; what
//! leaves the memory is refused. Deliberately absent: keys, sockets, and what a statement means.
//!
//! A file alone protects against crashes, not against its own replacement by an older copy: that is what the [`fence`] is
//! for, and [`Mark`] takes what a guard knows elsewhere. No clock decides anything.

mod activation;
mod disk;
pub mod fence;
mod journal;
mod mark;
mod nv_index;
#[cfg(test)]
mod nv_index_tests;
#[cfg(test)]
mod power_loss;
mod record;
#[cfg(test)]
mod simulated;
mod standing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod two_lives;
mod window;

use crate::atomic_file;
use crate::config::FenceConfig;
use crate::error::{ConfigError, Fault, SignError, StartError, StoreError};
use crate::refusal::Slot;
use disk::{Disk, LockedFile};
use fence::{Fence, Witness};
use journal::Journal;
use nv_index::NvAnchor;
use record::Record;
use standing::{Binding, Standing};
use std::path::Path;
use types::codec::Encode;
use types::{AuthorityIndex, ChainId, Digest, HeaderVote, Height, PublicKey, RoundStatement, Signature};
use window::Window;

pub use activation::{Activation, Review};
pub use mark::{Imported, Mark, MarkError};
pub use standing::{ACTIONS_MAX, Act, Action, Floor};

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
    fence: Fence,
    limits: Limits,
    /// A signature made since the last record; it is written with the next one, at no cost of its own.
    unwritten: Option<(Slot, Signature)>,
}

impl Guard {
    /// Makes a new, empty guard file, and the NV index of its TPM. Only right for a validator that has never signed.
    /// `at` is the time in seconds since 1970, for the record.
    ///
    /// # Errors
    /// [`ConfigError::KeyExists`] where there is a file, [`ConfigError::FenceForeign`] where the TPM knows of a signer
    /// before; those of the TPM; faults of the disk.
    pub fn create(path: &Path, identity: &Identity, fence: &FenceConfig, at: u64) -> Result<(), StartError> {
        if path.exists() {
            return Err(ConfigError::KeyExists.about(path.display()));
        }
        let mut witness = witness(fence, identity, Index::New)?;
        Self::create_with(path, identity, Limits::default(), &mut witness, Floor::NONE, (Act::Created, at))
    }

    /// Opens the guard file, locks it, holds it against its fence, and reads it.
    ///
    /// # Errors
    /// [`ConfigError::GuardMissing`], [`ConfigError::GuardForeign`], [`ConfigError::GuardLocked`],
    /// [`ConfigError::GuardDamaged`]; [`ConfigError::GuardMoved`] and [`ConfigError::GuardStale`] for a copy; those of the
    /// TPM; faults of the disk.
    pub fn open(path: &Path, identity: &Identity, fence: &FenceConfig) -> Result<Self, StartError> {
        // First the file, so that a missing one is told as such.
        let (file, content) = LockedFile::open(path)?;
        let witness = witness(fence, identity, Index::Known)?;
        Self::on_disk(Box::new(file), &content, identity, Limits::default(), witness)
            .map_err(|cause| cause.about(path.display()))
    }

    fn create_with(
        path: &Path,
        identity: &Identity,
        limits: Limits,
        witness: &mut Witness,
        floor: Floor,
        (act, at): (Act, u64),
    ) -> Result<(), StartError> {
        let mut standing = Standing { floor, ..Standing::new(Binding::None) };
        standing.record(act, at);
        let fail = |cause: StoreError| cause.about(path.display());
        // The anchor is asked before the file is in the making, whose identity is known only then.
        Fence::bind(witness, &mut standing, &Digest::ZERO).map_err(fail)?;
        let first = |of_file: &Digest| Record::Standing(standing.of(of_file));
        let content = |of_file| journal::file(identity, &[first(&of_file)], limits.file_bytes).0;
        atomic_file::create_from(path, &mut |file| Ok(content(disk::identity(file)?)))
            .map_err(|error| atomic_file::start_error(&error, path))?;
        Fence::outdate_others(witness, &standing).map_err(fail)
    }

    fn on_disk(
        disk: Box<dyn Disk>,
        content: &[u8],
        identity: &Identity,
        limits: Limits,
        witness: Witness,
    ) -> Result<Self, StoreError> {
        let (journal, records) = Journal::open(disk, content, identity, limits.file_bytes)?;
        let (window, standing) = replay(records, limits)?;
        let (fence, changed) = Fence::start(witness, standing, &journal.file_identity()?)?;
        let mut guard = Self { window, journal, fence, limits, unwritten: None };
        if changed {
            guard.write_standing()?;
        }
        Ok(guard)
    }

    /// Approves a statement with its votes. On return of [`Approval::Fresh`] it is durable.
    ///
    /// # Errors
    /// [`SignError::Refused`] with the evidence; [`SignError::Fault`] where the file fails, after which nothing new is
    /// approved before a restart, or where the anchor does not answer; [`ConfigError::GuardStale`] where another signer
    /// has moved the anchor.
    pub fn approve(&mut self, statement: &RoundStatement, votes: &[HeaderVote]) -> Result<Approval, SignError> {
        let slot = Slot { epoch: statement.epoch, round: statement.round };
        let digest = statement.digest();
        if let Some(signature) = self.window.judge(slot, &digest, votes, &self.fence.floor())? {
            return Ok(Approval::Known(signature));
        }
        let highest = votes.iter().map(|vote| vote.height).max();
        self.reserve(slot, highest)?;
        if !self.journal.has_room() {
            self.compact()?;
        }
        let written = self.fence.standing().reservation;
        if self.fence.runs_low(slot, highest) {
            self.fence.reserve(slot, highest)?;
        }
        let reservation = self.fence.standing().reservation.filter(|made| Some(*made) != written);
        let signature = self.unwritten.clone();
        let record = Record::Approval { slot, digest, votes: votes.to_vec(), signature, reservation };
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

    /// Does now what the next statement would otherwise wait for: to be called when nobody waits.
    ///
    /// # Errors
    /// Those of the anchor. They come back with the statement that cannot do without it.
    pub fn settle(&mut self) -> Result<(), StoreError> {
        // What was not written for sure must not be claimed.
        if self.fence.is_pending() && !self.journal.has_failed() { self.fence.claim() } else { Ok(()) }
    }

    /// An orderly end: rounds that were reserved and not used are given back.
    ///
    /// # Errors
    /// Faults of the disk; then they stay reserved.
    pub fn close(&mut self) -> Result<(), Fault> {
        match self.fence.give_back(self.window.mark(), self.window.votes().1) {
            Some(_) => self.write_standing(),
            None => Ok(()),
        }
    }

    /// The highest approved round.
    pub fn mark(&self) -> Option<Slot> {
        self.window.mark()
    }

    /// What is refused because a copy of the file may have used it.
    pub fn floor(&self) -> Floor {
        self.fence.floor()
    }

    /// The highest height that cannot be voted for any more.
    pub fn votes_refused_up_to(&self) -> Height {
        self.window.votes().0.max(self.fence.floor().votes_above)
    }

    /// Makes sure that the statement is within what is reserved.
    fn reserve(&mut self, slot: Slot, votes: Option<Height>) -> Result<(), SignError> {
        if self.fence.covers(slot, votes) {
            return Ok(());
        }
        self.settle()?;
        if !self.fence.covers(slot, votes) {
            self.fence.reserve(slot, votes)?;
            if let Err(fault) = self.write_standing() {
                self.fence.forget_reservation();
                return Err(fault.into());
            }
            self.fence.claim()?;
        }
        Ok(())
    }

    fn write_standing(&mut self) -> Result<(), Fault> {
        if !self.journal.has_room() {
            return self.compact();
        }
        self.journal.append(&Record::Standing(self.fence.standing().clone()))
    }

    /// Writes window and standing into a new file in place of the old one. A failure before the exchange changes nothing.
    fn compact(&mut self) -> Result<(), Fault> {
        let (window, standing) = (&self.window, self.fence.standing());
        self.journal.replace(&mut |of_file| window.records(standing.of(of_file)), self.limits.file_bytes)
    }
}

/// What the records of a file add up to.
fn replay(records: Vec<Record>, limits: Limits) -> Result<(Window, Standing), ConfigError> {
    let (mut window, mut standing) = (Window::new(limits), Standing::new(Binding::None));
    for record in records {
        match &record {
            Record::Standing(newer) => standing = newer.clone(),
            // A reservation is made when the one before is in force, never else.
            Record::Approval { reservation: Some(reservation), .. } => {
                standing.adopt();
                standing.reservation = Some(*reservation);
            }
            Record::Approval { .. } | Record::Votes { .. } => {}
        }
        // A record that contradicts an earlier one was not written by this code.
        if !window.replay(record) {
            return Err(ConfigError::GuardDamaged);
        }
    }
    Ok((window, standing))
}

/// What may be found of a TPM's index.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Index {
    /// Nothing: it is made.
    New,
    /// It must be there.
    Known,
    /// It is made where it is not there.
    Any,
}

fn witness(fence: &FenceConfig, identity: &Identity, index: Index) -> Result<Witness, StartError> {
    match fence {
        FenceConfig::Machine(_) => Ok(Witness::Machine(disk::machine())),
        FenceConfig::Tpm(config) => {
            let mut anchor = NvAnchor::open(config, &identity.digest())?;
            match index {
                Index::New => anchor.create_unused(),
                Index::Known => Ok(()),
                Index::Any => anchor.create_if_missing(),
            }
            .map_err(|cause| cause.about(config.subject()))?;
            Ok(Witness::Anchor(Box::new(anchor), config.rounds))
        }
    }
}

impl Identity {
    /// Names the identity where only 32 bytes have room.
    fn digest(&self) -> Digest {
        let mut bytes = b"stele-guard-identity\0".to_vec();
        self.chain.encode(&mut bytes);
        self.author.encode(&mut bytes);
        self.key.encode(&mut bytes);
        Digest::sha256(&bytes)
    }
}
