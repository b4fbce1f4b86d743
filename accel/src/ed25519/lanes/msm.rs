//! Σ v·P for many points, each with a signed 128-bit scalar: Pippenger's buckets, eight windows at a time.
//!
//! A lane is a window. All lanes add the same point, each to the bucket of its own digit, so no two lanes ever meet in a
//! bucket. A bucket row (one lane's point) is contiguous in memory; eight rows are transposed into lanes and back.
//!
//! With 8-bit windows a scalar has 16 digits, two passes of eight lanes; with 4-bit windows 32 digits, four passes. For n
//! points that is 2 n additions of eight lanes and 512 to sum the buckets, or 4 n and 64.

use super::field::Fe8;
use super::point::{Niels, Point8, add_niels, add_points, double_times, identity, permute};
pub(super) use crate::transpose::transpose;
use core::arch::x86_64::*;
use std::cell::Cell;

/// A scalar in `-2^127 .. Z_END` (see `coefficients`), and the point that it multiplies.
pub(super) type Term<'a> = (i128, &'a Niels);

/// With this many terms 8-bit windows take fewer additions than 4-bit ones: 2 n + 512 against 4 n + 64.
const WIDE_MIN: usize = 224;

/// One lane's point, 20 limbs and 4 unused words: three cache lines.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Row([u64; 24]);

const IDENTITY_ROW: Row = {
    let mut row = [0; 24];
    (row[5], row[10]) = (1, 1);
    Row(row)
};

thread_local! {
    /// The buckets: bucket of magnitude m in rows 8 m to 8 m + 7; magnitude 0 is where zero digits go, never read.
    /// Kept between sums, because fresh pages would cost a tenth of the work.
    static ROWS: Cell<Vec<Row>> = const { Cell::new(Vec::new()) };
}

/// Lane 0 holds the sum.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn sum(terms: &[Term<'_>]) -> Point8 {
    let mut rows = ROWS.take();
    let sum = if terms.len() >= WIDE_MIN {
        sum_in_windows::<8>(terms, &mut rows)
    } else {
        sum_in_windows::<4>(terms, &mut rows)
    };
    ROWS.set(rows);
    sum
}

#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn sum_in_windows<const BITS: u32>(terms: &[Term<'_>], rows: &mut Vec<Row>) -> Point8 {
    let half = 1_usize << (BITS - 1);
    // Adding Σ half·2^(BITS·i) makes every digit non-negative: it is taken off again digit by digit.
    let centre = u128::MAX / ((1 << BITS) - 1) * half as u128;
    let passes = 128 / (8 * BITS);
    let mut total = identity();
    for pass in (0..passes).rev() {
        rows.clear();
        rows.resize(8 * (half + 1), IDENTITY_ROW);
        for (v, point) in terms {
            let digits = (v.cast_unsigned().wrapping_add(centre) >> (8 * BITS * pass)) as u64;
            let (mut indices, mut negative): ([usize; 8], __mmask8) = ([0; 8], 0);
            for (lane, index) in indices.iter_mut().enumerate() {
                let digit = (digits >> (BITS as usize * lane)) as usize & (2 * half - 1);
                *index = 8 * digit.abs_diff(half) + lane;
                negative |= u8::from(digit < half) << lane;
            }
            let bucket = load(rows, &indices);
            store(rows, &indices, &add_niels(&bucket, point, negative));
        }
        let sums = weighted_sum(rows, half);
        total = add_points(&double_times(&total, 8 * BITS), &sums);
    }
    add_lanes(&total, BITS)
}

/// Σ m · bucket(m) in each lane.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn weighted_sum(rows: &[Row], half: usize) -> Point8 {
    let mut running = load(rows, &rows_of(half));
    let mut total = running;
    for magnitude in (1..half).rev() {
        running = add_points(&running, &load(rows, &rows_of(magnitude)));
        total = add_points(&total, &running);
    }
    total
}

fn rows_of(magnitude: usize) -> [usize; 8] {
    core::array::from_fn(|lane| 8 * magnitude + lane)
}

/// Σ 2^(bits·lane) · p(lane), in lane 0.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn add_lanes(p: &Point8, bits: u32) -> Point8 {
    let mut p = *p;
    for step in 0..3 {
        let distance = 1_i64 << step;
        let from = _mm512_add_epi64(_mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0), _mm512_set1_epi64(distance));
        let higher = double_times(&permute(&p, from), bits << step);
        p = add_points(&p, &higher);
    }
    p
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn load(rows: &[Row], indices: &[usize; 8]) -> Point8 {
    let zero = _mm512_setzero_si512();
    let mut blocks = [[zero; 8]; 3];
    for lane in 0..8 {
        let words: &[u64; 24] = &rows[indices[lane]].0;
        for (part, block) in blocks.iter_mut().enumerate() {
            // SAFETY: part is below 3, so the 64 bytes from word 8·part lie in the row of 192 bytes, which is 64-aligned.
            block[lane] = unsafe { _mm512_load_si512(words.as_ptr().add(8 * part).cast()) };
        }
    }
    let [x0, x1, x2, x3, x4, y0, y1, y2] = transpose(&blocks[0]);
    let [y3, y4, z0, z1, z2, z3, z4, t0] = transpose(&blocks[1]);
    let [t1, t2, t3, t4, ..] = transpose(&blocks[2]);
    Point8 {
        x: Fe8([x0, x1, x2, x3, x4]),
        y: Fe8([y0, y1, y2, y3, y4]),
        z: Fe8([z0, z1, z2, z3, z4]),
        t: Fe8([t0, t1, t2, t3, t4]),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn store(rows: &mut [Row], indices: &[usize; 8], p: &Point8) {
    let (Fe8([x0, x1, x2, x3, x4]), Fe8([y0, y1, y2, y3, y4])) = (p.x, p.y);
    let (Fe8([z0, z1, z2, z3, z4]), Fe8([t0, t1, t2, t3, t4])) = (p.z, p.t);
    let zero = _mm512_setzero_si512();
    let blocks = [
        transpose(&[x0, x1, x2, x3, x4, y0, y1, y2]),
        transpose(&[y3, y4, z0, z1, z2, z3, z4, t0]),
        transpose(&[t1, t2, t3, t4, zero, zero, zero, zero]),
    ];
    for (lane, index) in indices.iter().enumerate() {
        let words: &mut [u64; 24] = &mut rows[*index].0;
        for (part, block) in blocks.iter().enumerate() {
            // SAFETY: part is below 3, so the 64 bytes from word 8·part lie in the row of 192 bytes, which is 64-aligned.
            unsafe { _mm512_store_si512(words.as_mut_ptr().add(8 * part).cast(), block[lane]) }
        }
    }
}
