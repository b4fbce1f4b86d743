//! A disk in memory that fails after a number of operations, and loses any sectors that were not synced when the power
//! goes. For the guard's tests.

use super::disk::{Disk, ExchangeError};
use super::fence::{Fence, Witness};
use super::record::Record;
use super::standing::{Binding, Standing};
use super::{Identity, Limits, journal};
use std::io;
use std::sync::{Arc, Mutex};
use types::Digest;

const SECTOR: usize = 512;

/// A file's content as a process sees it and as a power loss leaves it.
struct Platters {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// Operations until the disk fails; after that all do.
    lives: u64,
    /// Chooses what is lost.
    seed: u64,
    /// Of the file.
    identity: Digest,
    /// Syncs and exchanges that happened.
    syncs: u64,
}

fn digest(identity: u64) -> Digest {
    Digest::sha256(&identity.to_le_bytes())
}

impl Platters {
    fn random(&mut self) -> u64 {
        // SplitMix64.
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn coin(&mut self) -> bool {
        self.random().is_multiple_of(2)
    }

    /// Whether this operation still happens.
    fn live(&mut self) -> bool {
        let alive = self.lives > 0;
        self.lives = self.lives.saturating_sub(1);
        alive
    }

    fn lose_power(&mut self) {
        self.durable.resize(self.seen.len(), 0);
        for start in (0..self.seen.len()).step_by(SECTOR) {
            let end = (start + SECTOR).min(self.seen.len());
            if self.seen[start..end] != self.durable[start..end] && self.coin() {
                self.durable[start..end].copy_from_slice(&self.seen[start..end]);
            }
        }
        self.seen = self.durable.clone();
    }
}

/// A handle; clones are of the same disk.
#[derive(Clone)]
pub(super) struct SimulatedDisk(Arc<Mutex<Platters>>);

impl SimulatedDisk {
    /// With durable content, which is the very file that it is bound to; `seed` chooses what failures and power losses leave.
    pub(super) fn new(content: &[u8], seed: u64) -> Self {
        let (seen, durable) = (content.to_vec(), content.to_vec());
        let bound =
            journal::inspect(content).ok().and_then(|(_, records)| super::replay(records, Limits::default()).ok());
        let identity = match bound.map(|(_, standing)| standing.binding) {
            Some(Binding::Place { file, .. }) => file,
            _ => digest(0),
        };
        Self(Arc::new(Mutex::new(Platters { seen, durable, lives: u64::MAX, seed, identity, syncs: 0 })))
    }

    /// A new guard file.
    pub(super) fn guard(identity: &Identity, limits: Limits, witness: &mut Witness, seed: u64) -> Self {
        let mut standing = Standing::new(Binding::None);
        Fence::bind(witness, &mut standing, &digest(0)).expect("a witness that speaks");
        Self::new(&journal::file(identity, &[Record::Standing(standing)], limits.file_bytes).0, seed)
    }

    /// A copy of the file, with an identity of its own.
    pub(super) fn copy(&self, seed: u64) -> Self {
        let copy = Self::new(&self.content(), seed);
        copy.with(|disk| disk.identity = digest(seed));
        copy
    }

    /// How often content was made durable.
    pub(super) fn syncs(&self) -> u64 {
        self.with(|disk| disk.syncs)
    }

    /// What a process reads.
    pub(super) fn content(&self) -> Vec<u8> {
        self.with(|disk| disk.seen.clone())
    }

    /// From now on the disk does `lives` operations, and then fails.
    pub(super) fn fail_after(&self, lives: u64) {
        self.with(|disk| disk.lives = lives);
    }

    /// Each sector that was not synced is kept or lost.
    pub(super) fn lose_power(&self) {
        self.with(Platters::lose_power);
    }

    fn with<T>(&self, act: impl FnOnce(&mut Platters) -> T) -> T {
        act(&mut self.0.lock().expect("one thread"))
    }
}

impl Disk for SimulatedDisk {
    fn write(&mut self, bytes: &[u8], offset: usize) -> io::Result<()> {
        self.with(|disk| {
            // A failing write may still have done its work, or a part of it.
            let alive = disk.live();
            let written = if alive { bytes.len() } else { disk.random() as usize % (bytes.len() + 1) };
            let end = offset + written;
            let length = disk.seen.len().max(end);
            disk.seen.resize(length, 0);
            disk.seen[offset..end].copy_from_slice(&bytes[..written]);
            if alive { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        self.with(|disk| {
            if !disk.live() {
                return Err(io::ErrorKind::Other.into());
            }
            disk.durable = disk.seen.clone();
            disk.syncs += 1;
            Ok(())
        })
    }

    fn identity(&self) -> io::Result<Digest> {
        Ok(self.with(|disk| disk.identity))
    }

    fn exchange(&mut self, content: &mut dyn FnMut(&Digest) -> Vec<u8>) -> Result<(), ExchangeError> {
        self.with(|disk| {
            // A new file.
            let identity = digest(disk.random());
            let content = content(&identity);
            let old = std::mem::replace(&mut disk.identity, identity);
            if disk.live() {
                (disk.seen, disk.durable) = (content.clone(), content);
                return Ok(());
            }
            if disk.coin() {
                disk.identity = old;
                return Err(ExchangeError::Undone(io::ErrorKind::StorageFull.into()));
            }
            if disk.coin() {
                (disk.seen, disk.durable) = (content.clone(), content);
            } else {
                disk.identity = old;
            }
            Err(ExchangeError::Unknown(io::ErrorKind::Other.into()))
        })
    }
}
