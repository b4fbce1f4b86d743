//! A bounded cache of decoded keys, and of encodings that decode to no key. Keyed by the `N` bytes; knows no curve.
//!
//! Two generations a shard: what is used moves to the young one; when that is full the old one is dropped and the young
//! one takes its place. So memory is bounded, nothing scans, and a key that is used often stays.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

const SHARDS: usize = 16;

type Generation<const N: usize, K> = HashMap<[u8; N], Option<Arc<K>>>;

struct Shard<const N: usize, K> {
    young: Generation<N, K>,
    old: Generation<N, K>,
}

/// The lock of a shard is held for a lookup or an insertion, never while decoding: threads of one batch share the cache.
pub(crate) struct KeyCache<const N: usize, K> {
    shards: [Mutex<Shard<N, K>>; SHARDS],
    /// Keys in one generation of one shard.
    generation_max: usize,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl<const N: usize, K> KeyCache<N, K> {
    /// For about `entries` keys (and at least one a shard and generation).
    pub(crate) fn new(entries: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::new(Shard { young: HashMap::new(), old: HashMap::new() })),
            generation_max: entries.div_ceil(2 * SHARDS).max(1),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// Hits and misses since the start.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }

    /// The decoded form of each of `encodings`; those not known are decoded, all at once.
    pub(crate) fn get_or_decode(
        &self,
        encodings: &[&[u8; N]],
        decode: impl FnOnce(&[[u8; N]]) -> Vec<Option<K>>,
    ) -> Vec<Option<Arc<K>>> {
        let mut missing = Vec::new();
        let mut keys: Vec<Option<Arc<K>>> = Vec::with_capacity(encodings.len());
        for (position, encoding) in encodings.iter().enumerate() {
            let known = self.get(encoding);
            if known.is_none() {
                missing.push(position);
            }
            keys.push(known.flatten());
        }
        self.hits.fetch_add((encodings.len() - missing.len()) as u64, Ordering::Relaxed);
        self.misses.fetch_add(missing.len() as u64, Ordering::Relaxed);
        if !missing.is_empty() {
            let wanted: Vec<[u8; N]> = missing.iter().map(|position| *encodings[*position]).collect();
            for (position, key) in missing.into_iter().zip(decode(&wanted)) {
                let key = key.map(Arc::new);
                self.insert(encodings[position], key.clone());
                keys[position] = key;
            }
        }
        keys
    }

    fn shard(&self, encoding: &[u8; N]) -> std::sync::MutexGuard<'_, Shard<N, K>> {
        // Which shard is no secret and needs no spread beyond that of honest keys: a chosen key can crowd one shard,
        // which evicts earlier there and nothing worse.
        let shard = &self.shards[usize::from(encoding[N - 1]) % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, encoding: &[u8; N]) -> Option<Option<Arc<K>>> {
        let mut shard = self.shard(encoding);
        if let Some(key) = shard.young.get(encoding) {
            return Some(key.clone());
        }
        let key = shard.old.remove(encoding)?;
        self.put(&mut shard, encoding, key.clone());
        Some(key)
    }

    fn insert(&self, encoding: &[u8; N], key: Option<Arc<K>>) {
        self.put(&mut self.shard(encoding), encoding, key);
    }

    fn put(&self, shard: &mut Shard<N, K>, encoding: &[u8; N], key: Option<Arc<K>>) {
        if shard.young.len() >= self.generation_max {
            shard.old = std::mem::take(&mut shard.young);
        }
        shard.young.insert(*encoding, key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoding(number: u32) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        bytes
    }

    /// Decodes to the number itself; odd ones to no key. Counts what it was asked.
    fn look_up(cache: &KeyCache<32, u32>, number: u32, decoded: &mut usize) -> Option<u32> {
        let keys = cache.get_or_decode(&[&encoding(number)], |encodings| {
            *decoded += encodings.len();
            encodings.iter().map(|_| number.is_multiple_of(2).then_some(number)).collect()
        });
        keys[0].as_deref().copied()
    }

    #[test]
    fn a_key_and_a_failure_to_decode_are_both_remembered() {
        let (cache, mut decoded) = (KeyCache::<32, _>::new(64), 0);
        for _ in 0..3 {
            assert_eq!(look_up(&cache, 2, &mut decoded), Some(2));
            assert_eq!(look_up(&cache, 3, &mut decoded), None);
        }
        assert_eq!(decoded, 2);
        assert_eq!(cache.counts(), (4, 2));
    }

    #[test]
    fn the_cache_stays_bounded_and_keeps_what_is_used() {
        let (cache, mut decoded) = (KeyCache::<32, _>::new(256), 0);
        look_up(&cache, 0, &mut decoded);
        for number in 1..10_000 {
            look_up(&cache, number, &mut decoded);
            look_up(&cache, 0, &mut decoded);
        }
        assert_eq!(decoded, 10_000, "the key in use was never evicted");
        let held: usize =
            cache.shards.iter().map(|shard| shard.lock().map_or(0, |s| s.young.len() + s.old.len())).sum();
        assert!(held <= 256, "{held} keys held");
    }
}
