//! What peers and clients get of the snapshots.

use super::kept::certified;
use super::{Kept, Shared, SnapshotError, Snapshots};
use crate::state_sync::certified::Vouched;
use crate::wire::state::{Certified, ManifestResponse, Offer, OffersResponse, StateRequest, history_response};
use bytes::Bytes;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use transport::Reply;
use types::{Digest, Encode, Height, StateKey, StateProof};

/// A chunk that would wait longer than this for the budget is declined.
const BUDGET_WAIT_MAX: Duration = Duration::from_secs(2);
/// Most snapshots in an offer; the newest ones.
const OFFERS: usize = 4;

impl Snapshots {
    /// Answers a peer.
    pub fn answer(&self, network: &Handle, request: StateRequest, reply: Reply) {
        let shared = Arc::clone(&self.0);
        let StateRequest::Chunk { manifest, index } = request else {
            network.spawn_blocking(move || match shared.small_answer(&request) {
                Ok(answer) => {
                    let _ = answer.map(|answer| reply.send(answer));
                }
                Err(error) => tracing::error!(%error, "a snapshot could not be served"),
            });
            return;
        };
        // Both limits decline: the peer asks again, or another.
        let Ok(permit) = Arc::clone(&self.0.reads).try_acquire_owned() else { return };
        let Some(wait) = shared.budget(&manifest, index) else { return };
        network.spawn(async move {
            tokio::time::sleep(wait).await;
            let read = tokio::task::spawn_blocking(move || shared.chunk(&manifest, index)).await;
            if let Ok(Some(chunk)) = read {
                // A peer that has gone away asks again when it is back.
                let _ = reply.send(chunk);
            }
            drop(permit);
        });
    }

    /// Proves what the newest certified state holds under a key, with what vouches for it; `None` while there is none.
    /// Reads and hashes a chunk or two. One that turns out to be damaged is given up, and the one before it asked.
    pub fn prove(&self, key: &StateKey) -> Option<(StateProof, Arc<Vouched>)> {
        loop {
            let (kept, vouched) = {
                let state = self.0.lock();
                state.kept.values().rev().find_map(|kept| Some((Arc::clone(kept), kept.vouched()?)))?
            };
            match kept.pack.prove(key) {
                Ok(proof) => return Some((proof, vouched)),
                Err(error) => self.0.discard(&kept, &error),
            }
        }
    }
}

impl Shared {
    pub(super) fn small_answer(&self, request: &StateRequest) -> Result<Option<Bytes>, SnapshotError> {
        match request {
            StateRequest::Offers => Ok(Some(self.offers()?.to_bytes().into())),
            StateRequest::Manifest(root) => {
                let Some(kept) = self.kept(root) else { return Ok(None) };
                let certified = self.certified(&kept)?;
                let manifest = kept.pack.manifest().clone();
                Ok(certified.map(|certified| ManifestResponse { manifest, certified }.to_bytes().into()))
            }
            StateRequest::History { top, bottom } => Ok(Some(history_response(&self.archive.history(*top, *bottom)?))),
            StateRequest::Chunk { .. } => Ok(None),
        }
    }

    /// What vouches for a snapshot, if it may be offered: its root is certified, or it is the one that the epoch begins
    /// with, for which the epoch's own proof vouches.
    fn certified(&self, kept: &Kept) -> Result<Option<Certified>, SnapshotError> {
        if let Some(vouched) = kept.vouched() {
            return Ok(Some(vouched.certified.clone()));
        }
        let found = certified(&self.tables, &kept.pack)?;
        Ok(found.filter(|found| found.root.is_some() || kept.pack.height() == self.service.anchor))
    }

    /// What is ready.
    pub(super) fn offers(&self) -> Result<OffersResponse, SnapshotError> {
        let (kept, reading) = {
            let state = self.lock();
            (state.kept.values().cloned().collect::<Vec<_>>(), state.reading.is_some())
        };
        let mut offers = Vec::new();
        // That of genesis is for proofs and files: who has nothing makes it for itself.
        for kept in kept.iter().rev().filter(|kept| kept.segment.is_some() && kept.pack.height() > Height(0)) {
            if offers.len() < OFFERS && self.certified(kept)?.is_some() {
                let bytes = kept.pack.manifest().summary.bytes;
                offers.push(Offer { height: kept.pack.height(), manifest: kept.pack.root(), bytes });
            }
        }
        offers.reverse();
        // A state that is read, or not certified yet, will be.
        let preparing = offers.is_empty() && (reading || !kept.is_empty());
        Ok(OffersResponse { offers, preparing })
    }

    fn kept(&self, root: &Digest) -> Option<Arc<Kept>> {
        let kept = self.lock().kept.values().find(|kept| kept.pack.root() == *root).cloned()?;
        *kept.used.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Some(kept)
    }

    /// A chunk, packed. One that is damaged here is not passed on, and its snapshot is given up.
    pub(super) fn chunk(&self, root: &Digest, index: u32) -> Option<Bytes> {
        let kept = self.kept(root)?;
        // What a peer asks for that is not there says nothing of what is.
        kept.pack.packed_len(index as usize)?;
        match kept.pack.packed(index as usize) {
            Ok(chunk) => Some(chunk.into()),
            Err(error) => {
                self.discard(&kept, &error);
                None
            }
        }
    }

    /// How long a chunk has to wait; `None` where that is too long, or there is no such chunk.
    fn budget(&self, root: &Digest, index: u32) -> Option<Duration> {
        let bytes = self.kept(root)?.pack.packed_len(index as usize)?;
        let now = Instant::now();
        let mut state = self.lock();
        let at = state.budget_at.map_or(now, |at| at.max(now));
        let wait = at - now;
        if wait > BUDGET_WAIT_MAX {
            return None;
        }
        let cost = Duration::from_secs_f64(f64::from(bytes) / self.service.bytes_per_second as f64);
        state.budget_at = Some(at + cost);
        Some(wait)
    }
}
