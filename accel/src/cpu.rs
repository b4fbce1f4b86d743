//! The CPU engine: always present, takes every algorithm that this build supports, and is the oracle of other engines.
//!
//! A batch is cut into chunks, at least one a thread, and the chunks are verified side by side. With one thread there is
//! no pool at all. Within a chunk the items go to their algorithms' verifiers. The caches of decoded keys are shared by the
//! threads.

use crate::ed25519::{self, Ed25519};
use crate::engine::{DeviceFault, Engine};
use crate::item::{Batch, Item};
use crate::verdicts::Verdicts;
use crate::weierstrass::{self, Weierstrass};
use rayon::prelude::*;
use thiserror::Error;
use types::AlgId;

/// A chunk's decoded points stay in the second-level cache; larger ones save almost nothing more.
const CHUNK_ITEMS_MAX: usize = 1024;
/// Smaller ones cost more than a second thread gains.
const CHUNK_ITEMS_MIN: usize = 32;

/// Why the engine could not be made.
#[derive(Debug, Error)]
pub enum CpuEngineError {
    /// The system gave no randomness.
    #[error("no randomness from the system: {0}")]
    Randomness(getrandom::Error),
    /// Threads could not be started.
    #[error("the thread pool could not be started")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// An Ed25519 key that was decoded takes about a quarter of the memory of one of the other curves with its table.
const KEY_CACHE_SHARE: usize = 4;

/// Verifies on the CPU.
pub struct CpuEngine {
    ed25519: Ed25519,
    weierstrass: Vec<Weierstrass>,
    pool: Option<rayon::ThreadPool>,
    threads: usize,
}

impl CpuEngine {
    /// An engine of `threads` threads (at least one) that remembers about `key_cache_entries` decoded keys of Ed25519 (half a
    /// kilobyte each) and a quarter as many of each other algorithm (2 KiB each).
    ///
    /// # Errors
    /// [`CpuEngineError`] where the system refuses threads or randomness.
    pub fn new(threads: usize, key_cache_entries: usize) -> Result<Self, CpuEngineError> {
        let ed25519 = Ed25519::new(key_cache_entries).map_err(CpuEngineError::Randomness)?;
        let weierstrass = AlgId::ALL
            .into_iter()
            .filter_map(|alg| Weierstrass::new(alg, key_cache_entries / KEY_CACHE_SHARE))
            .collect();
        let pool = match threads {
            0 | 1 => None,
            _ => Some(
                rayon::ThreadPoolBuilder::new()
                    .num_threads(threads)
                    .thread_name(|index| format!("accel.cpu.{index}"))
                    .build()?,
            ),
        };
        Ok(Self { ed25519, weierstrass, pool, threads: threads.max(1) })
    }

    fn verify_chunk(&self, batch: &Batch, items: &[Item], verdicts: &mut [bool]) {
        let entries = Positioned::of(items, ed25519_entry);
        entries.set(self.ed25519.verify(&entries.entries, batch.path()), verdicts);
        for verifier in &self.weierstrass {
            let entries = Positioned::of(items, |item| weierstrass_entry(item, verifier.alg()));
            if !entries.entries.is_empty() {
                entries.set(verifier.verify(&entries.entries), verdicts);
            }
        }
    }
}

/// The items of one algorithm, and where they stand among all. An item that is of none is invalid: its key and signature
/// name different algorithms, or one that is not supported, or it is an Ed25519 item without its message.
struct Positioned<T> {
    entries: Vec<T>,
    positions: Vec<usize>,
}

impl<T> Positioned<T> {
    fn of<'a>(items: &'a [Item], entry: impl Fn(&'a Item) -> Option<T>) -> Self {
        let (positions, entries) =
            items.iter().enumerate().filter_map(|(position, item)| Some((position, entry(item)?))).unzip();
        Self { entries, positions }
    }

    fn set(&self, valid: Vec<bool>, verdicts: &mut [bool]) {
        for (position, valid) in self.positions.iter().zip(valid) {
            verdicts[*position] = valid;
        }
    }
}

fn ed25519_entry(item: &Item) -> Option<ed25519::Entry<'_>> {
    if item.key.alg() != AlgId::Ed25519 || item.signature.alg() != AlgId::Ed25519 {
        return None;
    }
    Some(ed25519::Entry {
        key: item.key.as_bytes().try_into().ok()?,
        message: item.message.bytes()?,
        signature: item.signature.as_bytes().try_into().ok()?,
    })
}

fn weierstrass_entry(item: &Item, alg: AlgId) -> Option<weierstrass::Entry<'_>> {
    if item.key.alg() != alg || item.signature.alg() != alg {
        return None;
    }
    Some(weierstrass::Entry {
        key: item.key.as_bytes().try_into().ok()?,
        message: &item.message,
        signature: item.signature.as_bytes().try_into().ok()?,
    })
}

impl Engine for CpuEngine {
    fn name(&self) -> &'static str {
        self.ed25519.name()
    }

    fn supports(&self, alg: AlgId) -> bool {
        alg == AlgId::Ed25519 || self.weierstrass.iter().any(|verifier| verifier.alg() == alg)
    }

    fn verify(&mut self, batch: &Batch) -> Result<Verdicts, DeviceFault> {
        let mut verdicts = vec![false; batch.len()];
        let engine = &*self;
        let chunks = batch.len().div_ceil(CHUNK_ITEMS_MAX).max(self.threads.min(batch.len() / CHUNK_ITEMS_MIN)).max(1);
        let chunk = batch.len().div_ceil(chunks).max(1);
        match &self.pool {
            Some(pool) if batch.len() > chunk => pool.install(|| {
                batch
                    .items()
                    .par_chunks(chunk)
                    .zip(verdicts.par_chunks_mut(chunk))
                    .for_each(|(items, verdicts)| engine.verify_chunk(batch, items, verdicts));
            }),
            _ => {
                for (items, verdicts) in batch.items().chunks(chunk).zip(verdicts.chunks_mut(chunk)) {
                    engine.verify_chunk(batch, items, verdicts);
                }
            }
        }
        Ok(Verdicts::from_bools(verdicts))
    }

    fn key_cache_counts(&self) -> (u64, u64) {
        let counts = self.weierstrass.iter().map(Weierstrass::key_cache_counts);
        counts.fold(self.ed25519.key_cache_counts(), |(hits, misses), (h, m)| (hits + h, misses + m))
    }
}
