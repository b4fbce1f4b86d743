//! Eight elements of GF(2^255 − 19) side by side, one in each 64-bit lane, in AVX-512 IFMA.
//!
//! Five limbs of 51 bits. A *tight* element has limbs below 2^51 + 2^17; every function takes tight ones and returns
//! tight ones. The multiplier takes the low 52 bits of each limb, so a sum must be carried before it is multiplied.
//! A multiplication is 50 IFMA operations for eight products, about 55 cycles on Zen 4; a squaring 30.

use super::field_constants::{SQRT_M1, TWO_P};
use crate::ifma::five;
use core::arch::x86_64::*;

const MASK_51: i64 = (1 << 51) - 1;

/// Eight field elements.
#[derive(Clone, Copy)]
pub(super) struct Fe8(pub(super) [__m512i; 5]);

/// One field element in five limbs.
pub(super) type Limbs = [u64; 5];

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn splat(limbs: &Limbs) -> Fe8 {
    Fe8(five!(|i| _mm512_set1_epi64(limbs[i].cast_signed())))
}

/// From limbs below 2^52, limb by limb and lane by lane.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn from_lanes(limbs: &[[u64; 8]; 5]) -> Fe8 {
    // SAFETY: each limb has 64 bytes, and the load may be unaligned.
    Fe8(five!(|i| unsafe { _mm512_loadu_si512(limbs[i].as_ptr().cast()) }))
}

/// Limb by limb and lane by lane.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn to_lanes(a: Fe8) -> [[u64; 8]; 5] {
    let mut limbs = [[0_u64; 8]; 5];
    for (lanes, limb) in limbs.iter_mut().zip(a.0) {
        // SAFETY: `lanes` is 64 bytes, and the store may be unaligned.
        unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), limb) };
    }
    limbs
}

/// Brings limbs below 2^63 to tight ones.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn carry(z: [__m512i; 5]) -> Fe8 {
    let mask = _mm512_set1_epi64(MASK_51);
    let c = five!(|i| _mm512_srli_epi64::<51>(z[i]));
    let around = _mm512_mullo_epi64(c[4], _mm512_set1_epi64(19));
    Fe8([
        _mm512_add_epi64(_mm512_and_si512(z[0], mask), around),
        _mm512_add_epi64(_mm512_and_si512(z[1], mask), c[0]),
        _mm512_add_epi64(_mm512_and_si512(z[2], mask), c[1]),
        _mm512_add_epi64(_mm512_and_si512(z[3], mask), c[2]),
        _mm512_add_epi64(_mm512_and_si512(z[4], mask), c[3]),
    ])
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn add(a: &Fe8, b: &Fe8) -> Fe8 {
    carry(five!(|i| _mm512_add_epi64(a.0[i], b.0[i])))
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn sub(a: &Fe8, b: &Fe8) -> Fe8 {
    let two_p = splat(&TWO_P);
    // Each limb of 2p exceeds a tight limb, so nothing wraps.
    carry(five!(|i| _mm512_sub_epi64(_mm512_add_epi64(a.0[i], two_p.0[i]), b.0[i])))
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn neg(a: &Fe8) -> Fe8 {
    sub(&splat(&[0; 5]), a)
}

/// Folds ten columns of low and high halves (a high half counts double in the next column) and carries.
/// Columns are below 2^56, folded ones below 2^61.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn fold(lo: &[__m512i; 9], hi: &[__m512i; 9]) -> Fe8 {
    let nineteen = _mm512_set1_epi64(19);
    let mut columns = [_mm512_setzero_si512(); 10];
    columns[..9].copy_from_slice(lo);
    for (column, hi) in columns[1..].iter_mut().zip(hi) {
        *column = _mm512_add_epi64(*column, _mm512_add_epi64(*hi, *hi));
    }
    carry(five!(|i| _mm512_add_epi64(columns[i], _mm512_mullo_epi64(columns[i + 5], nineteen))))
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn mul(a: &Fe8, b: &Fe8) -> Fe8 {
    let zero = _mm512_setzero_si512();
    let (mut lo, mut hi) = ([zero; 9], [zero; 9]);
    for i in 0..5 {
        for j in 0..5 {
            lo[i + j] = _mm512_madd52lo_epu64(lo[i + j], a.0[i], b.0[j]);
            hi[i + j] = _mm512_madd52hi_epu64(hi[i + j], a.0[i], b.0[j]);
        }
    }
    fold(&lo, &hi)
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn square(a: &Fe8) -> Fe8 {
    let zero = _mm512_setzero_si512();
    let (mut lo, mut hi) = ([zero; 9], [zero; 9]);
    // Products of different limbs occur twice: they are summed once, doubled, and the squares of limbs added.
    for i in 0..5 {
        for j in i + 1..5 {
            lo[i + j] = _mm512_madd52lo_epu64(lo[i + j], a.0[i], a.0[j]);
            hi[i + j] = _mm512_madd52hi_epu64(hi[i + j], a.0[i], a.0[j]);
        }
    }
    for (lo, hi) in lo.iter_mut().zip(&mut hi) {
        *lo = _mm512_add_epi64(*lo, *lo);
        *hi = _mm512_add_epi64(*hi, *hi);
    }
    for i in 0..5 {
        lo[2 * i] = _mm512_madd52lo_epu64(lo[2 * i], a.0[i], a.0[i]);
        hi[2 * i] = _mm512_madd52hi_epu64(hi[2 * i], a.0[i], a.0[i]);
    }
    fold(&lo, &hi)
}

/// Lanes of `b` where `mask` is set, of `a` elsewhere.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn select(mask: __mmask8, a: &Fe8, b: &Fe8) -> Fe8 {
    Fe8(five!(|i| _mm512_mask_blend_epi64(mask, a.0[i], b.0[i])))
}

/// The one representative below p, limbs below 2^51.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn canonical(a: &Fe8) -> Fe8 {
    let mask = _mm512_set1_epi64(MASK_51);
    let nineteen = _mm512_set1_epi64(19);
    // After one more carry the value is below 2p, so at most one p is taken away: q is whether value + 19 ≥ 2^255.
    let mut l = carry(a.0).0;
    let mut q = _mm512_srli_epi64::<51>(_mm512_add_epi64(l[0], nineteen));
    for limb in &l[1..] {
        q = _mm512_srli_epi64::<51>(_mm512_add_epi64(*limb, q));
    }
    let mut c = _mm512_mullo_epi64(q, nineteen);
    for limb in &mut l {
        let sum = _mm512_add_epi64(*limb, c);
        c = _mm512_srli_epi64::<51>(sum);
        *limb = _mm512_and_si512(sum, mask);
    }
    Fe8(l)
}

/// Lanes that are zero.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn zero_lanes(a: &Fe8) -> __mmask8 {
    let [l0, l1, l2, l3, l4] = canonical(a).0;
    let any = _mm512_or_si512(_mm512_or_si512(_mm512_or_si512(l0, l1), _mm512_or_si512(l2, l3)), l4);
    _mm512_testn_epi64_mask(any, any)
}

/// Lanes whose canonical representative is odd.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn odd_lanes(a: &Fe8) -> __mmask8 {
    _mm512_test_epi64_mask(canonical(a).0[0], _mm512_set1_epi64(1))
}

// A chain of squarings waits for itself: one takes about 56 cycles, and two chains side by side hardly more. So powers
// are taken of N at once, with N = 2 where there is enough to do.

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn square_times<const N: usize>(a: &[Fe8; N], times: u32) -> [Fe8; N] {
    let mut a = *a;
    for _ in 0..times {
        for a in &mut a {
            *a = square(a);
        }
    }
    a
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn mul_each<const N: usize>(a: &[Fe8; N], b: &[Fe8; N]) -> [Fe8; N] {
    let mut products = *a;
    for (a, b) in products.iter_mut().zip(b) {
        *a = mul(a, b);
    }
    products
}

/// `(a^(2^250 − 1), a^11)`.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn power_250<const N: usize>(a: &[Fe8; N]) -> ([Fe8; N], [Fe8; N]) {
    let a2 = square_times(a, 1);
    let a9 = mul_each(a, &square_times(&a2, 2));
    let a11 = mul_each(&a2, &a9);
    let e5 = mul_each(&a9, &square_times(&a11, 1));
    let e10 = mul_each(&square_times(&e5, 5), &e5);
    let e20 = mul_each(&square_times(&e10, 10), &e10);
    let e40 = mul_each(&square_times(&e20, 20), &e20);
    let e50 = mul_each(&square_times(&e40, 10), &e10);
    let e100 = mul_each(&square_times(&e50, 50), &e50);
    let e200 = mul_each(&square_times(&e100, 100), &e100);
    (mul_each(&square_times(&e200, 50), &e50), a11)
}

/// `1/a`, and 0 for 0.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn invert(a: &Fe8) -> Fe8 {
    let (e250, a11) = power_250(&[*a]);
    mul(&square_times(&e250, 5)[0], &a11[0])
}

/// A square root of u/v in each lane, and the lanes that have one. v must not be zero.
///
/// RFC 8032 §5.1.3: x = u v³ (u v⁷)^((p−5)/8), times √−1 where v x² = −u.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn sqrt_ratio<const N: usize>(u: &[Fe8; N], v: &[Fe8; N]) -> [(Fe8, __mmask8); N] {
    let (mut uv3, mut uv7) = (*u, *u);
    for i in 0..N {
        let v2 = square(&v[i]);
        uv3[i] = mul(&u[i], &mul(&v2, &v[i]));
        uv7[i] = mul(&uv3[i], &square(&v2));
    }
    let (e250, _) = power_250(&uv7);
    let powers = mul_each(&square_times(&e250, 2), &uv7);
    let mut roots = [(uv3[0], 0); N];
    for i in 0..N {
        let x = mul(&uv3[i], &powers[i]);
        let check = mul(&v[i], &square(&x));
        let direct = zero_lanes(&sub(&check, &u[i]));
        let turned = zero_lanes(&add(&check, &u[i]));
        roots[i] = (select(turned & !direct, &x, &mul(&x, &splat(&SQRT_M1))), direct | turned);
    }
    roots
}

#[cfg(test)]
mod tests;
