//! Ed25519 in batches, with exactly the verdicts of ZIP-215.
//!
//! For a group of signatures (R, s) under keys A with k = SHA-512(R‖A‖M), one equation is checked:
//! `[8](Σ z·R + Σ (z·k)·A − (Σ z·s)·B) = O`, with a fresh secret 128-bit z for each signature. Both it and the single
//! equation are cofactored, so a group of valid signatures always passes, and a group with an invalid one passes with a
//! probability below 2⁻¹²⁶. A failing group is halved down to single checks, so every verdict is exact.
//!
//! Work for n signatures under m distinct keys that are decoded already:
//!
//! | piece | portable | eight lanes |
//! |---|---|---|
//! | decompression of R, 254 squarings and 20 multiplications | n | n / 8 at a time |
//! | SHA-512, one block for a 47-byte message | n | n / 8 at a time |
//! | reductions modulo L: k, and z·k (Σ z·s is reduced once) | 2 n | 2 n |
//! | additions into buckets of 8-bit windows | 16 n + 32 m | 2 n + 4 m, of eight windows each |
//! | additions to sum the buckets | 8,192 | 512 |
//! | doublings | 256 | 120 |
//!
//! A key that is not at hand costs a decompression, and in eight lanes 126 doublings (an eighth of them each).
//!
//! One bad signature among n costs at most n terms more (½ + ¼ + …) and the single checks of its leaf. Where many are bad,
//! halving stops paying, so after three times n terms what is left goes one by one: the worst case is bounded.
//!
//! Microseconds a signature on one Zen 4 core with AVX-512 (`benches/verify.rs`; the machine was shared, the reference
//! took 26 instead of 22): 2.5 in batches of 1,024 with keys at hand, 6.0 with keys to decode, 4.3 in batches of 64, 9 one
//! by one, 6 with one bad one among 1,024, 17 with all bad. On curve25519-dalek 9.5, ed25519-zebra's batch 14.
//!
//! Owns the algorithm; the group arithmetic is a backend (`Group`): `lanes` where the CPU has AVX-512 IFMA, `portable` on
//! curve25519-dalek everywhere.

mod coefficients;
#[cfg(target_arch = "x86_64")]
mod lanes;
mod portable;
pub(crate) mod round_constants;
mod weighted_sum;

use self::coefficients::Coefficients;
use self::weighted_sum::WeightedSum;
use crate::item::Path;
use crate::key_cache::KeyCache;
use curve25519_dalek::scalar::Scalar;
use sha2::{Digest as _, Sha512};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use types::{AlgId, PublicKey, Signature};

/// One signature to check, over a message of any length.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The key as it was given.
    pub key: &'a [u8; 32],
    /// What was signed.
    pub message: &'a [u8],
    /// R‖s as it was given.
    pub signature: &'a [u8; 64],
}

impl Entry<'_> {
    fn r(&self) -> &[u8; 32] {
        self.signature.first_chunk().expect("64 bytes hold 32")
    }

    fn s(&self) -> Option<Scalar> {
        Scalar::from_canonical_bytes(*self.signature.last_chunk().expect("64 bytes hold 32")).into()
    }

    /// The reference verdict.
    fn holds(&self) -> bool {
        let key = PublicKey::from_parts(AlgId::Ed25519, self.key).expect("32 bytes are a key");
        let signature = Signature::from_parts(AlgId::Ed25519, self.signature).expect("64 bytes are a signature");
        key.verify_bytes(self.message, &signature).is_ok()
    }

    fn k(&self) -> Scalar {
        let wide = Sha512::new().chain_update(self.r()).chain_update(self.key).chain_update(self.message).finalize();
        Scalar::from_bytes_mod_order_wide(&wide.into())
    }
}

/// Arithmetic on the curve, as the batch equation needs it.
trait Group: Sized + Send + Sync + 'static {
    /// A decoded key.
    type Key: Send + Sync;
    /// A decoded R.
    type Point: Send;

    /// Its name in statistics.
    const NAME: &'static str;
    /// The largest group that is cheaper one by one.
    const ALONE_MAX: usize;
    /// Whether the reference verifier is faster for one signature.
    const ONE_BY_REFERENCE: bool;

    /// Decodes keys; `None` where an encoding is of no point.
    fn decode_keys(&self, encodings: &[[u8; 32]]) -> Vec<Option<Self::Key>>;

    /// Appends decoded Rs; `None` where an encoding is of no point.
    fn decode_points(&self, encodings: &[[u8; 32]], points: &mut Vec<Option<Self::Point>>);

    /// k of each entry.
    fn challenges(&self, entries: &[Entry<'_>]) -> Vec<Scalar> {
        entries.iter().map(Entry::k).collect()
    }

    /// Whether `[8](Σ z·R + Σ a·A − b·B) = O`.
    fn sum_vanishes<'a>(
        &'a self,
        points: impl ExactSizeIterator<Item = (i128, &'a Self::Point)>,
        keys: impl ExactSizeIterator<Item = (Scalar, &'a Self::Key)>,
        b: &Scalar,
    ) -> bool;

    /// For each whether `[8](s·B − k·A − R) = O`.
    fn hold_alone(&self, parts: &[Parts<'_, Self>]) -> Vec<bool>;
}

/// A signature in its decoded parts.
struct Parts<'a, G: Group> {
    key: &'a G::Key,
    point: &'a G::Point,
    k: Scalar,
    s: Scalar,
}

/// A verifier of Ed25519 signatures with its cache of decoded keys. Shared by threads.
pub struct Ed25519 {
    inner: Box<dyn Chunks>,
}

impl Ed25519 {
    /// On the fastest arithmetic that this CPU has, remembering about `key_cache_entries` decoded keys.
    ///
    /// # Errors
    /// Where the system gives no randomness.
    pub fn new(key_cache_entries: usize) -> Result<Self, getrandom::Error> {
        #[cfg(target_arch = "x86_64")]
        if let Some(lanes) = lanes::Lanes::detect() {
            return Self::with_group(lanes, key_cache_entries);
        }
        Self::portable(key_cache_entries)
    }

    /// On curve25519-dalek, whatever the CPU.
    ///
    /// # Errors
    /// Where the system gives no randomness.
    pub fn portable(key_cache_entries: usize) -> Result<Self, getrandom::Error> {
        Self::with_group(portable::Portable, key_cache_entries)
    }

    fn with_group(group: impl Group, key_cache_entries: usize) -> Result<Self, getrandom::Error> {
        let coefficients = Coefficients::from_system()?;
        let keys = KeyCache::new(key_cache_entries);
        Ok(Self { inner: Box::new(OnGroup { group, keys, coefficients, idle: Mutex::new(Vec::new()) }) })
    }

    /// Name of the arithmetic.
    pub fn name(&self) -> &'static str {
        self.inner.name()
    }

    /// The verdict of each entry, in order.
    pub fn verify(&self, entries: &[Entry<'_>], path: Path) -> Vec<bool> {
        let mut verdicts = vec![false; entries.len()];
        self.inner.verify(entries, path, &mut verdicts);
        verdicts
    }

    /// Hits and misses of the key cache since the start.
    pub fn key_cache_counts(&self) -> (u64, u64) {
        self.inner.key_cache_counts()
    }
}

/// [`OnGroup`] with its group erased.
trait Chunks: Send + Sync {
    fn name(&self) -> &'static str;
    fn verify(&self, entries: &[Entry<'_>], path: Path, verdicts: &mut [bool]);
    fn key_cache_counts(&self) -> (u64, u64);
}

struct OnGroup<G: Group> {
    group: G,
    keys: KeyCache<32, G::Key>,
    coefficients: Coefficients,
    /// Memory of earlier batches, one for each thread that ever ran at once: fresh pages would cost a tenth of the work.
    idle: Mutex<Vec<Memory<G>>>,
}

/// The large arrays of a batch.
struct Memory<G: Group> {
    points: Vec<Option<G::Point>>,
    terms: Vec<Term>,
}

/// A signature whose parts all decoded.
struct Term {
    /// Position in the entries.
    index: usize,
    /// Position among the distinct keys.
    key: usize,
    /// Position among the points.
    point: usize,
    k: Scalar,
    s: Scalar,
    z: i128,
    zk: Scalar,
}

impl<G: Group> Chunks for OnGroup<G> {
    fn name(&self) -> &'static str {
        G::NAME
    }

    fn key_cache_counts(&self) -> (u64, u64) {
        self.keys.counts()
    }

    fn verify(&self, entries: &[Entry<'_>], path: Path, verdicts: &mut [bool]) {
        if G::ONE_BY_REFERENCE && entries.len() == 1 {
            entries.iter().zip(verdicts).for_each(|(entry, valid)| *valid = entry.holds());
            return;
        }
        let mut memory = self.idle().pop().unwrap_or_else(|| Memory { points: Vec::new(), terms: Vec::new() });
        self.verify_within(&mut memory, entries, path, verdicts);
        self.idle().push(memory);
    }
}

impl<G: Group> OnGroup<G> {
    fn idle(&self) -> MutexGuard<'_, Vec<Memory<G>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn verify_within(&self, memory: &mut Memory<G>, entries: &[Entry<'_>], path: Path, verdicts: &mut [bool]) {
        let keys = self.decode(memory, entries);
        let Memory { points, terms } = memory;
        let (group, slots, budget) = (&self.group, vec![usize::MAX; keys.len()], 3 * terms.len());
        let mut resolution = Resolution { group, keys: &keys, points, slots, budget };
        if path == Path::Singly || terms.len() <= G::ALONE_MAX {
            resolution.alone(terms, verdicts);
            return;
        }
        self.coefficients.draw(terms.len(), |position, z| {
            let term = &mut terms[position];
            let magnitude = Scalar::from(z.unsigned_abs());
            (term.z, term.zk) = (z, if z < 0 { -magnitude } else { magnitude } * term.k);
        });
        resolution.together(terms, 0..terms.len(), false, verdicts);
    }

    /// The distinct keys; and in memory the entries whose s, A and R are all in order. The others are invalid as they are.
    fn decode(&self, memory: &mut Memory<G>, entries: &[Entry<'_>]) -> Vec<Option<Arc<G::Key>>> {
        let mut positions: HashMap<&[u8; 32], usize> = HashMap::with_capacity(entries.len());
        let mut distinct = Vec::with_capacity(entries.len());
        let mut candidates = Vec::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            if let Some(s) = entry.s() {
                let key = *positions.entry(entry.key).or_insert_with(|| {
                    distinct.push(entry.key);
                    distinct.len() - 1
                });
                candidates.push((index, key, s));
            }
        }
        let keys = self.keys.get_or_decode(&distinct, |encodings| self.group.decode_keys(encodings));
        candidates.retain(|(_, key, _)| keys[*key].is_some());
        let chosen: Vec<Entry<'_>> = candidates.iter().map(|(index, ..)| entries[*index]).collect();
        let encodings: Vec<[u8; 32]> = chosen.iter().map(|entry| *entry.r()).collect();
        memory.points.clear();
        self.group.decode_points(&encodings, &mut memory.points);
        let challenges = self.group.challenges(&chosen);
        memory.terms.clear();
        for (point, ((index, key, s), k)) in candidates.into_iter().zip(challenges).enumerate() {
            if memory.points[point].is_some() {
                memory.terms.push(Term { index, key, point, k, s, z: 0, zk: Scalar::ZERO });
            }
        }
        keys
    }
}

/// How a group of terms becomes exact single verdicts.
struct Resolution<'a, G: Group> {
    group: &'a G,
    keys: &'a [Option<Arc<G::Key>>],
    points: &'a [Option<G::Point>],
    /// For each distinct key its place in the equation that is being put together, or `usize::MAX`.
    slots: Vec<usize>,
    /// Terms that may still go into equations.
    budget: usize,
}

impl<G: Group> Resolution<'_, G> {
    /// Verdicts of `range`. Where it is `known_to_fail`, the equation need not be tried. True if all are valid.
    fn together(&mut self, terms: &[Term], range: Range<usize>, known_to_fail: bool, verdicts: &mut [bool]) -> bool {
        let part = &terms[range.clone()];
        if part.len() <= G::ALONE_MAX || self.budget < part.len() {
            return self.alone(part, verdicts);
        }
        if !known_to_fail {
            self.budget -= part.len();
            if self.sum_vanishes(part) {
                part.iter().for_each(|term| verdicts[term.index] = true);
                return true;
            }
        }
        // The two halves' sums add up to the sum that is not O, with the same coefficients. So if the first half's sum
        // is O, that of the second is not: that it fails is known without trying.
        let middle = range.start + part.len() / 2;
        let first_valid = self.together(terms, range.start..middle, false, verdicts);
        self.together(terms, middle..range.end, first_valid, verdicts);
        false
    }

    fn alone(&self, terms: &[Term], verdicts: &mut [bool]) -> bool {
        let parts = |term: &Term| Parts { key: self.key(term.key), point: self.point(term), k: term.k, s: term.s };
        let parts: Vec<Parts<'_, G>> = terms.iter().map(parts).collect();
        let mut all_valid = true;
        for (term, valid) in terms.iter().zip(self.group.hold_alone(&parts)) {
            verdicts[term.index] = valid;
            all_valid &= valid;
        }
        all_valid
    }

    fn sum_vanishes(&mut self, terms: &[Term]) -> bool {
        let mut keys: Vec<(Scalar, usize)> = Vec::with_capacity(terms.len());
        let mut b = WeightedSum::default();
        for term in terms {
            b.add(term.z, &term.s);
            let slot = &mut self.slots[term.key];
            if *slot == usize::MAX {
                *slot = keys.len();
                keys.push((term.zk, term.key));
            } else {
                keys[*slot].0 += term.zk;
            }
        }
        keys.iter().for_each(|(_, key)| self.slots[*key] = usize::MAX);
        let points = terms.iter().map(|term| (term.z, self.point(term)));
        let keys = keys.iter().map(|(scalar, key)| (*scalar, self.key(*key)));
        self.group.sum_vanishes(points, keys, &b.finish())
    }

    fn key(&self, position: usize) -> &G::Key {
        self.keys[position].as_ref().expect("a term's key decoded")
    }

    fn point(&self, term: &Term) -> &G::Point {
        self.points[term.point].as_ref().expect("a term's point decoded")
    }
}
