//! The CPU engine: always present, takes every algorithm that this build supports, and is the oracle of other engines.
//!
//! A batch is cut into chunks, at least one a thread, and the chunks are verified side by side. With one thread there is
//! no pool at all. The cache of decoded keys is shared by the threads.

use crate::ed25519::{Ed25519, Entry};
use crate::engine::{DeviceFault, Engine};
use crate::item::{Batch, Item};
use crate::verdicts::Verdicts;
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

/// Verifies on the CPU.
pub struct CpuEngine {
    ed25519: Ed25519,
    pool: Option<rayon::ThreadPool>,
    threads: usize,
}

impl CpuEngine {
    /// An engine of `threads` threads (at least one) that remembers about `key_cache_entries` decoded keys.
    ///
    /// # Errors
    /// [`CpuEngineError`] where the system refuses threads or randomness.
    pub fn new(threads: usize, key_cache_entries: usize) -> Result<Self, CpuEngineError> {
        let ed25519 = Ed25519::new(key_cache_entries).map_err(CpuEngineError::Randomness)?;
        let pool = match threads {
            0 | 1 => None,
            _ => Some(
                rayon::ThreadPoolBuilder::new()
                    .num_threads(threads)
                    .thread_name(|index| format!("accel.cpu.{index}"))
                    .build()?,
            ),
        };
        Ok(Self { ed25519, pool, threads: threads.max(1) })
    }

    fn verify_chunk(&self, batch: &Batch, items: &[Item], verdicts: &mut [bool]) {
        let mut entries = Vec::with_capacity(items.len());
        let mut positions = Vec::with_capacity(items.len());
        for (position, item) in items.iter().enumerate() {
            match ed25519_entry(item) {
                Some(entry) => {
                    positions.push(position);
                    entries.push(entry);
                }
                None => verdicts[position] = item.verify_alone(),
            }
        }
        for (position, valid) in positions.into_iter().zip(self.ed25519.verify(&entries, batch.path())) {
            verdicts[position] = valid;
        }
    }
}

fn ed25519_entry(item: &Item) -> Option<Entry<'_>> {
    if item.key.alg() != AlgId::Ed25519 || item.signature.alg() != AlgId::Ed25519 {
        return None;
    }
    Some(Entry {
        key: item.key.as_bytes().try_into().ok()?,
        message: item.message.bytes()?,
        signature: item.signature.as_bytes().try_into().ok()?,
    })
}

impl Engine for CpuEngine {
    fn name(&self) -> &'static str {
        self.ed25519.name()
    }

    fn supports(&self, alg: AlgId) -> bool {
        alg.supported()
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
        self.ed25519.key_cache_counts()
    }
}
