//! SM2 with SM3, and ECDSA with SHA-256 on P-256 and on secp256k1: many signatures, each checked by itself, with
//! exactly the verdicts of [`types::PublicKey::verify`].
//!
//! A signature holds iff a sum `[a]G + [b]P` has a certain x (`claim`). Scalars fall into four parts, each with a table
//! of multiples; those of a key are made when it is decoded and remembered with it:
//!
//! | piece, one signature | number | multiplications and squarings of each |
//! |---|---|---|
//! | doublings | 60 | 4 + 4 (3 + 4 for a = 0) |
//! | additions for b, in digits of 4 bits | 64 | 8 + 3 |
//! | additions for a, in digits of 11 bits | 24 | 8 + 3 |
//! | a key not at hand: doublings of it, and for its tables | 208 | 4 + 4 |
//! | … additions for its tables | 12 | 12 + 4 |
//! | … a square root and an inversion | 2 | about 50 + 256 |
//!
//! The x is compared without a division. ECDSA's inversions of s are one for the batch. There is no equation for a
//! batch, so a bad signature costs what a good one costs; one that was made to meet an exception costs what it costs
//! without lanes.
//!
//! Thousands a second on one Zen 4 core with AVX-512 (`benches/verify.rs`, the machine shared), statements of 47 bytes,
//! in batches of 64 to 1,024 with the keys at hand: SM2 185, P-256 180, secp256k1 175; with every key to be decoded 60
//! to 70. One by one 32, 28 and 25. Without lanes 30 to 35, and 10 with keys to be decoded. The crate sm2 does 4, p256
//! 3.5, k256 14.
//!
//! Owns the algorithm; arithmetic is a backend (`Group`): `lanes` where the CPU has AVX-512 IFMA, `portable`
//! everywhere.

mod claim;
mod curve;
mod digits;
#[cfg(target_arch = "x86_64")]
mod lanes;
mod montgomery;
mod point;
mod portable;
mod table;

use self::claim::{Claim, Key, claims};
use self::curve::{Curve, P256, Secp256k1, Sm2};
use self::portable::Portable;
use crate::item::Message;
use crate::key_cache::KeyCache;
use std::collections::HashMap;
use std::marker::PhantomData;
use types::AlgId;

/// One signature to check.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The key as it was given: a point in its compressed form.
    pub key: &'a [u8; 33],
    /// What was signed.
    pub message: &'a Message,
    /// r‖s as it was given, big-endian.
    pub signature: &'a [u8; 64],
}

/// Arithmetic on a curve.
trait Group<C: Curve>: Send + Sync + 'static {
    /// Its name in statistics.
    const NAME: &'static str;

    /// Decodes keys; `None` where an encoding is of no point.
    fn decode_keys(&self, encodings: &[[u8; 33]]) -> Vec<Option<Key>>;

    /// Sets the verdict of each claim at its index.
    fn hold(&self, claims: &[Claim<'_>], verdicts: &mut [bool]);
}

/// A verifier of one algorithm's signatures with its cache of decoded keys. Shared by threads.
pub struct Weierstrass {
    inner: Box<dyn Chunks>,
}

impl Weierstrass {
    /// On the fastest arithmetic that this CPU has, remembering about `key_cache_entries` decoded keys of 2 KiB. `None`
    /// for an algorithm that is none of the three.
    pub fn new(alg: AlgId, key_cache_entries: usize) -> Option<Self> {
        let inner = match alg {
            AlgId::Sm2Sm3 => fastest::<Sm2>(key_cache_entries),
            AlgId::EcdsaP256 => fastest::<P256>(key_cache_entries),
            AlgId::EcdsaSecp256k1 => fastest::<Secp256k1>(key_cache_entries),
            _ => return None,
        };
        Some(Self { inner })
    }

    /// On integers of 64 bits, whatever the CPU. `None` for an algorithm that is none of the three.
    pub fn portable(alg: AlgId, key_cache_entries: usize) -> Option<Self> {
        let inner = match alg {
            AlgId::Sm2Sm3 => on_group::<Sm2>(Portable, key_cache_entries),
            AlgId::EcdsaP256 => on_group::<P256>(Portable, key_cache_entries),
            AlgId::EcdsaSecp256k1 => on_group::<Secp256k1>(Portable, key_cache_entries),
            _ => return None,
        };
        Some(Self { inner })
    }

    /// The algorithm.
    pub fn alg(&self) -> AlgId {
        self.inner.alg()
    }

    /// Name of the arithmetic.
    pub fn name(&self) -> &'static str {
        self.inner.name()
    }

    /// The verdict of each entry, in order.
    pub fn verify(&self, entries: &[Entry<'_>]) -> Vec<bool> {
        let mut verdicts = vec![false; entries.len()];
        self.inner.verify(entries, &mut verdicts);
        verdicts
    }

    /// Hits and misses of the key cache since the start.
    pub fn key_cache_counts(&self) -> (u64, u64) {
        self.inner.key_cache_counts()
    }
}

/// [`OnGroup`] with its curve and group erased.
trait Chunks: Send + Sync {
    fn alg(&self) -> AlgId;
    fn name(&self) -> &'static str;
    fn verify<'a>(&self, entries: &[Entry<'a>], verdicts: &mut [bool]);
    fn key_cache_counts(&self) -> (u64, u64);
}

struct OnGroup<C, G> {
    group: G,
    keys: KeyCache<33, Key>,
    curve: PhantomData<C>,
}

fn on_group<C: Curve>(group: impl Group<C>, key_cache_entries: usize) -> Box<dyn Chunks> {
    Box::new(OnGroup { group, keys: KeyCache::new(key_cache_entries), curve: PhantomData::<C> })
}

#[cfg(target_arch = "x86_64")]
fn fastest<C: lanes::Shape>(key_cache_entries: usize) -> Box<dyn Chunks> {
    match lanes::Lanes::<C>::detect() {
        Some(lanes) => on_group::<C>(lanes, key_cache_entries),
        None => on_group::<C>(Portable, key_cache_entries),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn fastest<C: Curve>(key_cache_entries: usize) -> Box<dyn Chunks> {
    on_group::<C>(Portable, key_cache_entries)
}

impl<C: Curve, G: Group<C>> Chunks for OnGroup<C, G> {
    fn alg(&self) -> AlgId {
        C::ALG
    }

    fn name(&self) -> &'static str {
        G::NAME
    }

    fn verify<'a>(&self, entries: &[Entry<'a>], verdicts: &mut [bool]) {
        let mut places: HashMap<&[u8; 33], usize> = HashMap::with_capacity(entries.len());
        let mut distinct = Vec::with_capacity(entries.len());
        let place = |entry: &Entry<'a>| {
            *places.entry(entry.key).or_insert_with(|| {
                distinct.push(entry.key);
                distinct.len() - 1
            })
        };
        let key_of: Vec<usize> = entries.iter().map(place).collect();
        let keys = self.keys.get_or_decode(&distinct, |encodings| self.group.decode_keys(encodings));
        self.group.hold(&claims::<C>(entries, &key_of, &keys), verdicts);
    }

    fn key_cache_counts(&self) -> (u64, u64) {
        self.keys.counts()
    }
}
