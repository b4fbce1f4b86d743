//! The chunks of a state: which peer is asked for which, and the file that they come together in.
//!
//! Bounded: [`PER_PEER_MAX`] chunks asked of a peer at a time. A peer that fails too often in a row, and one whose chunk
//! is not that of the manifest, is asked no more. After a crash the digests tell which chunks the file holds.

use crate::wire::state::{CHUNK_BYTES, Manifest, chunk_digest};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use types::AuthorityIndex;

/// Chunks asked of one peer at a time.
const PER_PEER_MAX: usize = 2;
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

/// Opens the file for a state, and says which chunks it lacks.
pub fn open(path: &Path, manifest: &Manifest) -> io::Result<(File, BTreeSet<u32>)> {
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    let held = file.metadata()?.len();
    file.set_len(manifest.bytes)?;
    let mut missing = BTreeSet::new();
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    for (index, digest) in (0u32..).zip(&manifest.chunks) {
        let start = u64::from(index) * CHUNK_BYTES as u64;
        chunk.resize(manifest.chunk_bytes(index as usize).unwrap_or(0), 0);
        let whole = start < held && file.read_exact_at(&mut chunk, start).is_ok() && chunk_digest(&chunk) == *digest;
        if !whole {
            missing.insert(index);
        }
    }
    Ok((file, missing))
}

/// Puts a chunk into the file, if it is the manifest's.
pub fn store(file: &File, manifest: &Manifest, index: u32, chunk: &[u8]) -> io::Result<Outcome> {
    if manifest.chunks.get(index as usize) != Some(&chunk_digest(chunk)) {
        return Ok(Outcome::Lied);
    }
    file.write_all_at(chunk, u64::from(index) * CHUNK_BYTES as u64)?;
    Ok(Outcome::Stored)
}

#[cfg(test)]
mod tests;
