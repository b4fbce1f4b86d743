//! Eight numbers modulo a curve's prime p side by side, one in each 64-bit lane, in AVX-512 IFMA.
//!
//! Five limbs of 52 bits, Montgomery form with R = 2^260, which leaves four bits above p.
//!
//! * [`Fe8`]: limbs below 2^52, so that it can be multiplied. Its value is not reduced; bounds are told as multiples of p. A
//!   product of factors below u·p and v·p is below (u·v/16 + 1)·p.
//! * [`Loose`]: signed limbs below 2^62 in magnitude, the form of sums. [`carry`] takes a value from 0 to 16 p, [`reduce`] any
//!   up to 2^10·p in magnitude, to an element below (2 + 2^-25)·p.

use super::constants::Shape;
use crate::ifma::five;
use core::arch::x86_64::*;

/// One number in limbs of 52 bits.
pub(in crate::weierstrass) type Limbs52 = [u64; 5];

const MASK_52: i64 = (1 << 52) - 1;

/// Eight elements that can be multiplied.
#[derive(Clone, Copy)]
pub(super) struct Fe8(pub(super) [__m512i; 5]);

/// Eight sums.
#[derive(Clone, Copy)]
pub(super) struct Loose(pub(super) [__m512i; 5]);

impl From<Fe8> for Loose {
    #[inline(always)]
    fn from(a: Fe8) -> Self {
        Self(a.0)
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn splat(limbs: &Limbs52) -> Fe8 {
    Fe8(five!(|i| _mm512_set1_epi64(limbs[i].cast_signed())))
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn add(a: impl Into<Loose>, b: impl Into<Loose>) -> Loose {
    let (a, b): (Loose, Loose) = (a.into(), b.into());
    Loose(five!(|i| _mm512_add_epi64(a.0[i], b.0[i])))
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn sub(a: impl Into<Loose>, b: impl Into<Loose>) -> Loose {
    let (a, b): (Loose, Loose) = (a.into(), b.into());
    Loose(five!(|i| _mm512_sub_epi64(a.0[i], b.0[i])))
}

/// a · 2^`BITS`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn shifted<const BITS: u32>(a: impl Into<Loose>) -> Loose {
    let a: Loose = a.into();
    Loose(five!(|i| _mm512_slli_epi64::<BITS>(a.0[i])))
}

/// −a in the lanes of `mask`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn negated(mask: __mmask8, a: impl Into<Loose>) -> Loose {
    let (a, zero): (Loose, _) = (a.into(), _mm512_setzero_si512());
    Loose(five!(|i| _mm512_mask_sub_epi64(a.0[i], mask, zero, a.0[i])))
}

/// From a value of 0 to 16 p.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn carry(a: Loose) -> Fe8 {
    let mask = _mm512_set1_epi64(MASK_52);
    let mut limbs = a.0;
    for i in 0..4 {
        limbs[i + 1] = _mm512_add_epi64(limbs[i + 1], _mm512_srai_epi64::<52>(limbs[i]));
        limbs[i] = _mm512_and_si512(limbs[i], mask);
    }
    Fe8(limbs)
}

/// From a value of up to 2^10 p in magnitude.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn reduce<C: Shape>(a: Loose) -> Fe8 {
    let mut limbs = a.0;
    // All multiples of 2^256 but one: what is left is positive even where the lower limbs are negative.
    let above = _mm512_sub_epi64(_mm512_srai_epi64::<48>(limbs[4]), _mm512_set1_epi64(1));
    limbs[4] = _mm512_sub_epi64(limbs[4], _mm512_slli_epi64::<48>(above));
    for (limb, bits, minus) in C::FOLD {
        let term = _mm512_sllv_epi64(above, _mm512_set1_epi64(bits.cast_signed()));
        limbs[*limb] = if *minus { _mm512_sub_epi64(limbs[*limb], term) } else { _mm512_add_epi64(limbs[*limb], term) };
    }
    carry(Loose(limbs))
}

/// From ten columns to their sum / R: Montgomery's reduction, one limb after the other.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn montgomery<C: Shape>(lo: &[__m512i; 9], hi: &[__m512i; 9]) -> Loose {
    let (zero, mask) = (_mm512_setzero_si512(), _mm512_set1_epi64(MASK_52));
    let mut columns = [zero; 10];
    columns[..9].copy_from_slice(lo);
    for (column, hi) in columns[1..].iter_mut().zip(hi) {
        *column = _mm512_add_epi64(*column, *hi);
    }
    for i in 0..5 {
        let q = match C::Q_FACTOR {
            None => _mm512_and_si512(columns[i], mask),
            Some(factor) => _mm512_madd52lo_epu64(zero, columns[i], _mm512_set1_epi64(factor.cast_signed())),
        };
        for (limb, value) in C::PRIME_TERMS {
            let value = _mm512_set1_epi64(value.cast_signed());
            columns[i + limb] = _mm512_madd52lo_epu64(columns[i + limb], q, value);
            columns[i + limb + 1] = _mm512_madd52hi_epu64(columns[i + limb + 1], q, value);
        }
        if let Some(limb) = C::MINUS_AT {
            columns[i + limb] = _mm512_sub_epi64(columns[i + limb], q);
        }
        // The low 52 bits are zero now, or, where p's lowest limb was left out, q, which it would have taken away.
        columns[i + 1] = _mm512_add_epi64(columns[i + 1], _mm512_srai_epi64::<52>(columns[i]));
    }
    Loose(five!(|i| columns[i + 5]))
}

/// a · b / R, not carried.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn mul_loose<C: Shape>(a: &Fe8, b: &Fe8) -> Loose {
    let zero = _mm512_setzero_si512();
    let (mut lo, mut hi) = ([zero; 9], [zero; 9]);
    for i in 0..5 {
        for j in 0..5 {
            lo[i + j] = _mm512_madd52lo_epu64(lo[i + j], a.0[i], b.0[j]);
            hi[i + j] = _mm512_madd52hi_epu64(hi[i + j], a.0[i], b.0[j]);
        }
    }
    montgomery::<C>(&lo, &hi)
}

/// a² / R, not carried.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn square_loose<C: Shape>(a: &Fe8) -> Loose {
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
    montgomery::<C>(&lo, &hi)
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn mul<C: Shape>(a: &Fe8, b: &Fe8) -> Fe8 {
    carry(mul_loose::<C>(a, b))
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn square<C: Shape>(a: &Fe8) -> Fe8 {
    carry(square_loose::<C>(a))
}

/// Lanes of `b` where `mask` is set, of `a` elsewhere.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn select(mask: __mmask8, a: &Fe8, b: &Fe8) -> Fe8 {
    Fe8(five!(|i| _mm512_mask_blend_epi64(mask, a.0[i], b.0[i])))
}

/// Lanes where a sum of up to 2^10 p in magnitude is a multiple of p.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn zero_lanes<C: Shape>(a: Loose) -> __mmask8 {
    // What is reduced is above 0 and below 3p.
    let a = reduce::<C>(a);
    equal_lanes(&a, &splat(&C::PRIMES[0])) | equal_lanes(&a, &splat(&C::PRIMES[1]))
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn equal_lanes(a: &Fe8, b: &Fe8) -> __mmask8 {
    let mut equal = 0xff;
    for (a, b) in a.0.iter().zip(&b.0) {
        equal &= _mm512_cmpeq_epi64_mask(*a, *b);
    }
    equal
}

/// The one representative below p of an element below 2p.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn canonical<C: Shape>(a: &Fe8) -> Fe8 {
    let less = carry(sub(*a, splat(&C::PRIMES[0])));
    select(_mm512_movepi64_mask(less.0[4]), &less, a)
}

/// The numbers themselves, below p, out of Montgomery form.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn numbers<C: Shape>(a: &Fe8) -> Fe8 {
    canonical::<C>(&mul::<C>(a, &splat(&[1, 0, 0, 0, 0])))
}

/// a^exponent, in windows of four bits.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn power<C: Shape>(a: &Fe8, exponent: &[u64; 4]) -> Fe8 {
    let one = splat(&C::ONE);
    let mut powers = [one; 16];
    for i in 1..16 {
        powers[i] = mul::<C>(&powers[i - 1], a);
    }
    let mut product = one;
    for limb in exponent.iter().rev() {
        for window in (0..16).rev() {
            for _ in 0..4 {
                product = square::<C>(&product);
            }
            let digit = (limb >> (4 * window)) as usize & 15;
            if digit != 0 {
                product = mul::<C>(&product, &powers[digit]);
            }
        }
    }
    product
}

#[cfg(test)]
mod tests;
