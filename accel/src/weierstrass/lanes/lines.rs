//! Between lanes and memory: eight lines of tables, one a lane, become eight points, and back.

use super::constants::Shape;
use super::field::{Fe8, canonical, mul, splat};
use crate::ifma::five;
use crate::transpose::transpose;
use crate::weierstrass::montgomery::Limbs;
use crate::weierstrass::table::Line;
use core::arch::x86_64::*;

const MASK_52: i64 = (1 << 52) - 1;

/// x and y of each line, below 16 p. A line holds numbers times 2^256; that they are times 2^260 here is four bits of
/// shift.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn gather(lines: &[&Line; 8]) -> [Fe8; 2] {
    let mut rows = [_mm512_setzero_si512(); 8];
    for (row, line) in rows.iter_mut().zip(lines) {
        // SAFETY: a line is 64 bytes, aligned to as many.
        *row = unsafe { _mm512_load_si512(line.0.as_ptr().cast()) };
    }
    let [x0, x1, x2, x3, y0, y1, y2, y3] = transpose(&rows);
    [unpack::<4>([x0, x1, x2, x3]), unpack::<4>([y0, y1, y2, y3])]
}

/// Eight numbers of 256 bits.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn from_numbers(numbers: &[Limbs; 8]) -> Fe8 {
    let mut words = [_mm512_setzero_si512(); 4];
    for (i, word) in words.iter_mut().enumerate() {
        let mut lanes = [0; 8];
        for (lane, number) in lanes.iter_mut().zip(numbers) {
            *lane = number[i];
        }
        // SAFETY: the array is 64 bytes, and the load may be unaligned.
        *word = unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) };
    }
    unpack::<0>(words)
}

/// Words of 64 bits to limbs of 52, times 2^`SHIFT`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn unpack<const SHIFT: i64>(words: [__m512i; 4]) -> Fe8 {
    let (zero, mask) = (_mm512_setzero_si512(), _mm512_set1_epi64(MASK_52));
    let [w0, w1, w2, w3] = words;
    // Limb i is bits 52 i − SHIFT to 52 i − SHIFT + 51: of the two words that hold them, the pair shifted to the right.
    let pair = |low: __m512i, high: __m512i, bits: i64| (low, high, bits);
    let parts = [
        pair(zero, w0, 64 - SHIFT),
        pair(w0, w1, 52 - SHIFT),
        pair(w1, w2, 40 - SHIFT),
        pair(w2, w3, 28 - SHIFT),
        pair(w3, zero, 16 - SHIFT),
    ];
    let limbs = five!(|i| {
        let (low, high, bits) = parts[i];
        let low = _mm512_srlv_epi64(low, _mm512_set1_epi64(bits));
        let high = _mm512_sllv_epi64(high, _mm512_set1_epi64(64 - bits));
        _mm512_and_si512(_mm512_or_si512(low, high), mask)
    });
    Fe8(limbs)
}

/// The points of affine coordinates as lines.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn scatter<C: Shape>(x: &Fe8, y: &Fe8) -> [Line; 8] {
    let to_portable = splat(&C::TO_PORTABLE);
    let [x, y] = [x, y].map(|a| *a);
    let [x0, x1, x2, x3] = pack(&canonical::<C>(&mul::<C>(&x, &to_portable)));
    let [y0, y1, y2, y3] = pack(&canonical::<C>(&mul::<C>(&y, &to_portable)));
    let mut lines = [Line::ZERO; 8];
    for (line, row) in lines.iter_mut().zip(transpose(&[x0, x1, x2, x3, y0, y1, y2, y3])) {
        // SAFETY: a line is 64 bytes, aligned to as many.
        unsafe { _mm512_store_si512(line.0.as_mut_ptr().cast(), row) };
    }
    lines
}

/// Limbs of 52 bits to words of 64.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn pack(a: &Fe8) -> [__m512i; 4] {
    let [l0, l1, l2, l3, l4] = a.0;
    [
        _mm512_or_si512(l0, _mm512_slli_epi64::<52>(l1)),
        _mm512_or_si512(_mm512_srli_epi64::<12>(l1), _mm512_slli_epi64::<40>(l2)),
        _mm512_or_si512(_mm512_srli_epi64::<24>(l2), _mm512_slli_epi64::<28>(l3)),
        _mm512_or_si512(_mm512_srli_epi64::<36>(l3), _mm512_slli_epi64::<16>(l4)),
    ]
}

/// The lowest limb of each lane.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn odd_lanes(numbers: &Fe8) -> __mmask8 {
    _mm512_test_epi64_mask(numbers.0[0], _mm512_set1_epi64(1))
}

/// Lane by lane, limb by limb.
#[cfg(test)]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn to_limbs(a: &Fe8) -> [super::field::Limbs52; 8] {
    let mut limbs = [[0; 5]; 8];
    for (i, limb) in a.0.iter().enumerate() {
        let mut lanes = [0_u64; 8];
        // SAFETY: the array is 64 bytes, and the store may be unaligned.
        unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), *limb) };
        for (lane, value) in limbs.iter_mut().zip(lanes) {
            lane[i] = value;
        }
    }
    limbs
}
