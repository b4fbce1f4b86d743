//! The chunks of a state: which peer is asked for which, and the file that they come together in.
//!
//! Bounded: [`PER_PEER_MAX`] chunks asked of a peer at a time. A peer that fails too often in a row, and one whose chunk
//! is not that of the manifest, is asked no more. After a crash their roots tell which chunks the file holds.

use crate::state_sync::pack::{self, ChunkError, PACKED_BYTES_MAX};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use types::{AuthorityIndex, StateManifest};

/// Chunks asked of one peer at a time.
const PER_PEER_MAX: usize = 8;
/// Failures in a row after which a peer is asked no more.
const FAILURES_MAX: u32 = 5;
/// Refusals for want of budget after which a peer is asked no more, and the pause after one: two minutes together.
const REFUSALS_MAX: u32 = 240;
const REFUSED_PAUSE_MS: u64 = 500;
/// Pause after a failure, times their number.
const FAILED_PAUSE_MS: u64 = 200;

#[derive(Debug, Default)]
struct Peer {
    asked: usize,
    failures: u32,
    refusals: u32,
    pause_until_ms: u64,
}

/// A request to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Whom to ask.
    pub peer: AuthorityIndex,
    /// For which chunk.
    pub index: u32,
}

/// How an order ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The chunk is in the file.
    Stored,
    /// The peer gives no more for now.
    Refused,
    /// No answer.
    Failed,
    /// A chunk of something else.
    Lied,
}

/// Who is asked for what.
#[derive(Debug)]
pub struct Chunks {
    missing: BTreeSet<u32>,
    peers: BTreeMap<AuthorityIndex, Peer>,
}

impl Chunks {
    /// With these chunks to come from these peers.
    pub fn new(missing: BTreeSet<u32>, peers: &BTreeSet<AuthorityIndex>) -> Self {
        Self { missing, peers: peers.iter().map(|peer| (*peer, Peer::default())).collect() }
    }

    /// What to ask next; `None` while nothing can be asked.
    pub fn next(&mut self, now_ms: u64) -> Option<Order> {
        let able = |peer: &Peer| peer.asked < PER_PEER_MAX && peer.pause_until_ms <= now_ms;
        let index = *self.missing.first()?;
        let (peer, state) =
            self.peers.iter_mut().filter(|(_, peer)| able(peer)).min_by_key(|(_, peer)| (peer.asked, peer.failures))?;
        state.asked += 1;
        self.missing.remove(&index);
        Some(Order { peer: *peer, index })
    }

    /// An order has ended.
    pub fn ended(&mut self, now_ms: u64, order: Order, outcome: Outcome) {
        if outcome != Outcome::Stored {
            self.missing.insert(order.index);
        }
        let Some(peer) = self.peers.get_mut(&order.peer) else { return };
        peer.asked -= 1;
        match outcome {
            Outcome::Stored => (peer.failures, peer.refusals) = (0, 0),
            Outcome::Refused => {
                peer.refusals += 1;
                peer.pause_until_ms = now_ms + REFUSED_PAUSE_MS;
                if peer.refusals > REFUSALS_MAX {
                    self.peers.remove(&order.peer);
                }
            }
            Outcome::Failed => {
                peer.failures += 1;
                peer.pause_until_ms = now_ms + u64::from(peer.failures) * FAILED_PAUSE_MS;
                if peer.failures > FAILURES_MAX {
                    self.peers.remove(&order.peer);
                }
            }
            Outcome::Lied => drop(self.peers.remove(&order.peer)),
        }
    }

    /// Whether nobody is left to ask.
    pub fn is_abandoned(&self) -> bool {
        self.peers.is_empty()
    }

    /// Whether nothing has to be asked for; some may still be under way.
    pub fn is_asked(&self) -> bool {
        self.missing.is_empty()
    }

    /// Peers that are left.
    pub fn peers(&self) -> BTreeSet<AuthorityIndex> {
        self.peers.keys().copied().collect()
    }
}

/// Bytes of the file for each chunk: its length, and the chunk as it came.
const SLOT_BYTES: u64 = 4 + PACKED_BYTES_MAX as u64;

/// Opens the file for a state, and says which chunks it lacks. What it has is checked.
pub fn open(path: &Path, manifest: &StateManifest) -> io::Result<(File, BTreeSet<u32>)> {
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    let whole = |index: &u32| slot(&file, *index).is_ok_and(|packed| check(manifest, *index, &packed).is_ok());
    let missing = (0..manifest.chunks.len() as u32).filter(|index| !whole(index)).collect();
    Ok((file, missing))
}

/// Puts a chunk into the file, if it is the manifest's.
pub fn store(file: &File, manifest: &StateManifest, index: u32, packed: &[u8]) -> io::Result<Outcome> {
    if let Err(error) = check(manifest, index, packed) {
        tracing::warn!(index, %error, "a chunk is not the one of its manifest");
        return Ok(Outcome::Lied);
    }
    let slot = [&(packed.len() as u32).to_le_bytes(), packed].concat();
    file.write_all_at(&slot, u64::from(index) * SLOT_BYTES)?;
    Ok(Outcome::Stored)
}

fn check(manifest: &StateManifest, index: u32, packed: &[u8]) -> Result<(), ChunkError> {
    let chunk = manifest.chunks.get(index as usize).ok_or(ChunkError::Rows)?;
    if packed.len() > PACKED_BYTES_MAX {
        return Err(ChunkError::Packing);
    }
    pack::unpack(chunk, packed).map(drop)
}

/// A chunk as it came.
pub fn slot(file: &File, index: u32) -> io::Result<Vec<u8>> {
    let (at, mut length) = (u64::from(index) * SLOT_BYTES, [0; 4]);
    file.read_exact_at(&mut length, at)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > PACKED_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut packed = vec![0; length];
    file.read_exact_at(&mut packed, at + 4)?;
    Ok(packed)
}

#[cfg(test)]
mod tests;
