//! The group in eight lanes of AVX-512 IFMA: decoding eight points at once, and sums in eight windows at once.
//!
//! A decoded key comes with its multiple by 2^126, so that a scalar modulo L falls into two of 126 bits: every term of
//! the equation then has a scalar of at most 128 bits, and the sum has half as many windows.
//!
//! Single checks go eight at a time. Safe to use only through [`Lanes::detect`], which asks the CPU.
#![allow(unsafe_code)]

mod alone;
mod field;
mod field_constants;
mod msm;
mod point;
mod sha512;

use self::alone::{FixedTable, Lane};
use self::point::{Niels, decode, double_times, identity_lanes, to_niels, to_niels_scaled};
use super::{Entry, Group, Parts};
use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::scalar::Scalar;

/// Bits of the low part of a split scalar. L < 2^126 · 2^126.1, so both parts are in the range of signed digits.
const SPLIT_BITS: u32 = 126;

/// A decoded key.
#[derive(Clone)]
pub(super) struct Key {
    point: Niels,
    /// 2^[`SPLIT_BITS`] times the point.
    high: Niels,
}

/// Proof that the CPU has the instructions, and the base point in the form of a key.
pub(super) struct Lanes {
    base: Key,
    base_multiples: FixedTable,
    base_high_multiples: FixedTable,
}

impl Lanes {
    /// `None` where the CPU lacks an instruction set.
    pub(super) fn detect() -> Option<Self> {
        if !crate::ifma::is_present() {
            return None;
        }
        // SAFETY: all target features of the function have just been detected.
        let keys = unsafe { decode_keys(&core::array::from_fn::<_, 8, _>(multiple_of_base)) };
        let keys: Vec<Key> = keys.into_iter().flatten().collect();
        let keys: &[Key; 8] = keys.as_slice().try_into().expect("multiples of the base point are on the curve");
        Some(Self {
            base: keys[0].clone(),
            base_multiples: FixedTable::new(&keys.each_ref().map(|key| key.point.clone())),
            base_high_multiples: FixedTable::new(&keys.each_ref().map(|key| key.high.clone())),
        })
    }
}

fn multiple_of_base(position: usize) -> [u8; 32] {
    (ED25519_BASEPOINT_POINT * Scalar::from(position as u64 + 1)).compress().to_bytes()
}

impl Group for Lanes {
    type Key = Key;
    type Point = Niels;

    const NAME: &'static str = "cpu-avx512";
    const ALONE_MAX: usize = 8;
    const ONE_BY_REFERENCE: bool = true;

    fn decode_keys(&self, encodings: &[[u8; 32]]) -> Vec<Option<Key>> {
        // SAFETY: a `Lanes` exists only where all target features of the function were detected.
        unsafe { decode_keys(encodings) }
    }

    fn decode_points(&self, encodings: &[[u8; 32]], points: &mut Vec<Option<Niels>>) {
        // SAFETY: a `Lanes` exists only where all target features of the function were detected.
        unsafe { decode_points(encodings, points) }
    }

    fn challenges(&self, entries: &[Entry<'_>]) -> Vec<Scalar> {
        // SAFETY: a `Lanes` exists only where all target features of the function were detected.
        unsafe { challenges(entries) }
    }

    fn sum_vanishes<'a>(
        &'a self,
        points: impl ExactSizeIterator<Item = (i128, &'a Niels)>,
        keys: impl ExactSizeIterator<Item = (Scalar, &'a Key)>,
        b: &Scalar,
    ) -> bool {
        let base = (-b, &self.base);
        let mut terms = Vec::with_capacity(points.len() + 2 * keys.len() + 2);
        terms.extend(points);
        for (scalar, key) in keys.chain([base]) {
            let (low, high) = split(&scalar);
            terms.push((low, &key.point));
            terms.push((high, &key.high));
        }
        // SAFETY: a `Lanes` exists only where all target features of the function were detected.
        unsafe { sum_vanishes(&terms) }
    }

    fn hold_alone(&self, parts: &[Parts<'_, Self>]) -> Vec<bool> {
        let mut verdicts = Vec::with_capacity(parts.len());
        for eight in parts.chunks(8) {
            let lanes: Vec<Lane<'_>> =
                eight.iter().map(|part| Lane { key: part.key, point: part.point, k: part.k, s: part.s }).collect();
            // SAFETY: a `Lanes` exists only where all target features of the function were detected.
            let hold = unsafe { alone::hold(&lanes, &self.base_multiples, &self.base_high_multiples) };
            verdicts.extend((0..eight.len()).map(|lane| hold >> lane & 1 == 1));
        }
        verdicts
    }
}

/// The low [`SPLIT_BITS`] bits, and the rest.
fn split(scalar: &Scalar) -> (i128, i128) {
    let (halves, _) = scalar.as_bytes().as_chunks::<16>();
    let [low, high] = [u128::from_le_bytes(halves[0]), u128::from_le_bytes(halves[1])];
    let mask = (1 << SPLIT_BITS) - 1;
    ((low & mask).cast_signed(), (high << (128 - SPLIT_BITS) | low >> SPLIT_BITS).cast_signed())
}

/// Groups of twice eight, the last one filled up with the neutral element, and how many of each are real.
fn groups(encodings: &[[u8; 32]]) -> impl Iterator<Item = ([[[u8; 32]; 8]; 2], usize)> + '_ {
    let mut neutral = [0; 32];
    neutral[0] = 1;
    encodings.chunks(16).map(move |part| {
        let mut group = [[neutral; 8]; 2];
        group.as_flattened_mut()[..part.len()].copy_from_slice(part);
        (group, part.len())
    })
}

#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn decode_points(encodings: &[[u8; 32]], points: &mut Vec<Option<Niels>>) {
    for (group, used) in groups(encodings) {
        let before = points.len();
        for (decoded, on_curve) in decode(&group) {
            for (lane, point) in to_niels(&decoded.x, &decoded.y).into_iter().enumerate() {
                points.push((on_curve >> lane & 1 == 1).then_some(point));
            }
        }
        points.truncate(before + used);
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn decode_keys(encodings: &[[u8; 32]]) -> Vec<Option<Key>> {
    let mut keys = Vec::with_capacity(encodings.len() + 15);
    for (group, used) in groups(encodings) {
        let before = keys.len();
        for (half, (decoded, on_curve)) in decode(&group).into_iter().enumerate() {
            if half * 8 >= used {
                break;
            }
            let points = to_niels(&decoded.x, &decoded.y);
            let highs = to_niels_scaled(&double_times(&decoded, SPLIT_BITS));
            for (lane, (point, high)) in points.into_iter().zip(highs).enumerate() {
                keys.push((on_curve >> lane & 1 == 1).then_some(Key { point, high }));
            }
        }
        keys.truncate(before + used);
    }
    keys
}

#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn challenges(entries: &[Entry<'_>]) -> Vec<Scalar> {
    let mut challenges = Vec::with_capacity(entries.len());
    for part in entries.chunks(8) {
        if part.iter().any(|entry| 64 + entry.message.len() > sha512::INPUT_MAX) {
            challenges.extend(part.iter().map(Entry::k));
            continue;
        }
        let mut blocks = [[0; 128]; 8];
        for (block, entry) in blocks.iter_mut().zip(part) {
            *block = sha512::block([entry.r(), entry.key, entry.message]);
        }
        let digests = sha512::digests(&blocks);
        challenges.extend(digests.iter().take(part.len()).map(Scalar::from_bytes_mod_order_wide));
    }
    challenges
}

#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn sum_vanishes(terms: &[msm::Term<'_>]) -> bool {
    identity_lanes(&double_times(&msm::sum(terms), 3)) & 1 == 1
}

#[cfg(test)]
mod tests;
