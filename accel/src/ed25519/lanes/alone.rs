//! Eight signatures side by side, each checked by itself: `[8](s·B − k·A − R) = O` in every lane. No randomness, and the
//! same work whatever the input.
//!
//! Both scalars are split at 2^126, so there are 32 windows of 4 bits: 128 doublings, and in each window four additions,
//! from tables of the multiples 1 to 8 of −A and of −2^126·A (made for the occasion) and of B and 2^126·B.

use super::field::{Fe8, add, from_lanes, mul, neg, select, splat};
use super::field_constants::{D2, ONE, ZERO};
use super::point::{Niels, Point8, add_points_prepared, double, double_times, identity, identity_lanes};
use super::{Key, split};
use crate::ifma::five;
use core::arch::x86_64::*;
use curve25519_dalek::scalar::Scalar;

const WINDOWS: u32 = 32;
/// Σ 8·16^i: makes every digit of a split scalar non-negative.
const CENTRE: u128 = u128::MAX / 15 * 8;

/// A point of each lane ready to be added: y + x, y − x, 2z, 2dt.
#[derive(Clone, Copy)]
pub(super) struct Prepared8 {
    pub(super) plus: Fe8,
    pub(super) minus: Fe8,
    pub(super) z2: Fe8,
    pub(super) t2d: Fe8,
}

/// One signature, decoded.
pub(super) struct Lane<'a> {
    pub(super) key: &'a Key,
    pub(super) point: &'a Niels,
    pub(super) k: Scalar,
    pub(super) s: Scalar,
}

/// The multiples 1 to 8 of a fixed point, multiple m in lane m − 1: y + x, y − x, 2dxy. Looked up by permutation.
pub(super) struct FixedTable([[[u64; 8]; 5]; 3]);

impl FixedTable {
    pub(super) fn new(multiples: &[Niels; 8]) -> Self {
        let part = |part: usize| {
            core::array::from_fn(|limb| core::array::from_fn(|lane: usize| multiples[lane].0[part][limb]))
        };
        Self([part(0), part(1), part(2)])
    }
}

/// A digit of each lane: its magnitude, 0 to 8, and the lanes where it is negative.
#[derive(Clone, Copy)]
struct Digits {
    magnitude: __m512i,
    negative: __mmask8,
}

/// The lanes whose signature holds. Fewer than eight: the last is repeated.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn hold(lanes: &[Lane<'_>], base: &FixedTable, base_high: &FixedTable) -> __mmask8 {
    let Some(last) = lanes.last() else { return 0 };
    let lane = |i: usize| lanes.get(i).unwrap_or(last);
    let (mut k, mut s) = ([[0_u128; 8]; 2], [[0_u128; 8]; 2]);
    for i in 0..8 {
        for (halves, scalar) in [(&mut k, &lane(i).k), (&mut s, &lane(i).s)] {
            let (low, high) = split(scalar);
            halves[0][i] = low.cast_unsigned().wrapping_add(CENTRE);
            halves[1][i] = high.cast_unsigned().wrapping_add(CENTRE);
        }
    }
    let table = multiples(&negated(&gather([0, 1, 2, 3, 4, 5, 6, 7].map(|i| &lane(i).key.point))));
    let table_high = multiples(&negated(&gather([0, 1, 2, 3, 4, 5, 6, 7].map(|i| &lane(i).key.high))));

    let mut sum = identity();
    for window in (0..WINDOWS).rev() {
        sum = double(&double(&double(&double(&sum))));
        sum = add_points_prepared(&sum, &look_up(&table, digits(&k[0], window)));
        sum = add_points_prepared(&sum, &look_up(&table_high, digits(&k[1], window)));
        sum = add_points_prepared(&sum, &look_up_fixed(base, digits(&s[0], window)));
        sum = add_points_prepared(&sum, &look_up_fixed(base_high, digits(&s[1], window)));
    }
    let r = gather([0, 1, 2, 3, 4, 5, 6, 7].map(|i| lane(i).point));
    identity_lanes(&double_times(&add_points_prepared(&sum, &negated(&r)), 3))
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn digits(biased: &[u128; 8], window: u32) -> Digits {
    let (mut magnitudes, mut negative) = ([0; 8], 0);
    for (lane, scalar) in biased.iter().enumerate() {
        let digit = (scalar >> (4 * window)) as u64 & 15;
        magnitudes[lane] = digit.abs_diff(8);
        negative |= u8::from(digit < 8) << lane;
    }
    // SAFETY: the array is 64 bytes, and the load may be unaligned.
    Digits { magnitude: unsafe { _mm512_loadu_si512(magnitudes.as_ptr().cast()) }, negative }
}

/// A point of its own in each lane.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn gather(points: [&Niels; 8]) -> Prepared8 {
    let mut parts = [[[0; 8]; 5]; 3];
    for (part, limbs) in parts.iter_mut().enumerate() {
        for (limb, lanes) in limbs.iter_mut().enumerate() {
            for (lane, point) in lanes.iter_mut().zip(points) {
                *lane = point.0[part][limb];
            }
        }
    }
    let one = splat(&ONE);
    let [plus, minus, t2d] = &parts;
    Prepared8 { plus: from_lanes(plus), minus: from_lanes(minus), z2: add(&one, &one), t2d: from_lanes(t2d) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn negated(p: &Prepared8) -> Prepared8 {
    Prepared8 { plus: p.minus, minus: p.plus, z2: p.z2, t2d: neg(&p.t2d) }
}

/// 0 to 8 times p.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn multiples(p: &Prepared8) -> [Prepared8; 9] {
    let mut multiple = identity();
    let mut table = [prepare(&multiple); 9];
    for entry in &mut table[1..] {
        multiple = add_points_prepared(&multiple, p);
        *entry = prepare(&multiple);
    }
    table
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn prepare(p: &Point8) -> Prepared8 {
    Prepared8 {
        plus: add(&p.y, &p.x),
        minus: super::field::sub(&p.y, &p.x),
        z2: add(&p.z, &p.z),
        t2d: mul(&p.t, &splat(&D2)),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn look_up(table: &[Prepared8; 9], digits: Digits) -> Prepared8 {
    let mut found = table[0];
    for (magnitude, entry) in table.iter().enumerate().skip(1) {
        let here = _mm512_cmpeq_epi64_mask(digits.magnitude, _mm512_set1_epi64(magnitude as i64));
        found = Prepared8 {
            plus: select(here, &found.plus, &entry.plus),
            minus: select(here, &found.minus, &entry.minus),
            z2: select(here, &found.z2, &entry.z2),
            t2d: select(here, &found.t2d, &entry.t2d),
        };
    }
    signed(&found, digits.negative)
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn look_up_fixed(table: &FixedTable, digits: Digits) -> Prepared8 {
    // Magnitude 0 wraps to lane 7, and is then replaced by the neutral element.
    let from = _mm512_sub_epi64(digits.magnitude, _mm512_set1_epi64(1));
    let zero = _mm512_testn_epi64_mask(digits.magnitude, digits.magnitude);
    let one = splat(&ONE);
    let [plus, minus, t2d] = [from_lanes(&table.0[0]), from_lanes(&table.0[1]), from_lanes(&table.0[2])];
    let found = Prepared8 {
        plus: select(zero, &Fe8(five!(|i| _mm512_permutexvar_epi64(from, plus.0[i]))), &one),
        minus: select(zero, &Fe8(five!(|i| _mm512_permutexvar_epi64(from, minus.0[i]))), &one),
        z2: add(&one, &one),
        t2d: select(zero, &Fe8(five!(|i| _mm512_permutexvar_epi64(from, t2d.0[i]))), &splat(&ZERO)),
    };
    signed(&found, digits.negative)
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn signed(p: &Prepared8, negative: __mmask8) -> Prepared8 {
    Prepared8 {
        plus: select(negative, &p.plus, &p.minus),
        minus: select(negative, &p.minus, &p.plus),
        z2: p.z2,
        t2d: select(negative, &p.t2d, &neg(&p.t2d)),
    }
}
