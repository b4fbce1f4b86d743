//! How each prime is reduced modulo in limbs of 52 bits, and constants in such limbs.

use super::field::Limbs52;
use crate::weierstrass::curve::{Curve, P256, Secp256k1, Sm2};
use crate::weierstrass::montgomery::{Limbs, Modulus, Residue};

/// A number that is added or taken away after a shift to the left: limb, bits, whether it is taken away.
pub(super) type Shifted = (usize, u64, bool);

/// A curve with the shape of its prime.
pub(in crate::weierstrass) trait Shape: Curve {
    /// −1 / p modulo 2^52; `None` for 1.
    const Q_FACTOR: Option<u64>;
    /// p, without the −1 in limb 0 where `Q_FACTOR` is `None`, and without 2^52 taken away at limb `MINUS_AT`: pairs of
    /// a limb and its value.
    const PRIME_TERMS: &'static [(usize, u64)];
    /// Where p has −1 in place of a large positive limb.
    const MINUS_AT: Option<usize>;
    /// 2^256 modulo p as a sum of powers of two.
    const FOLD: &'static [Shifted];
    /// p, and 2p.
    const PRIMES: [Limbs52; 2] = [limbs_52(&Self::Field::PRIME, 0), limbs_52(&Self::Field::PRIME, 1)];
    /// R = 2^260 modulo p: 1 in Montgomery form.
    const ONE: Limbs52 = limbs_52(&power_of_two::<Self>(260), 0);
    /// R² modulo p.
    const R_SQUARED: Limbs52 = limbs_52(&power_of_two::<Self>(520), 0);
    /// b in Montgomery form.
    const B_LANES: Limbs52 = {
        // 2^260 · b is b doubled 260 times.
        limbs_52(&crate::weierstrass::montgomery::doubled(Self::B, 260, &Self::Field::PRIME), 0)
    };
    /// 2^256 modulo p: a multiplication by it takes from our Montgomery form to that of 64-bit limbs.
    const TO_PORTABLE: Limbs52 = limbs_52(Residue::<Self::Field>::ONE.montgomery(), 0);
}

impl Shape for Sm2 {
    const Q_FACTOR: Option<u64> = None;
    const PRIME_TERMS: &'static [(usize, u64)] = &[(1, (1 << 52) - (1 << 44) + (1 << 12)), (4, (1 << 48) - (1 << 16))];
    const MINUS_AT: Option<usize> = Some(2);
    // 2^224 + 2^96 − 2^64 + 1
    const FOLD: &'static [Shifted] = &[(4, 16, false), (1, 44, false), (1, 12, true), (0, 0, false)];
}

impl Shape for P256 {
    const Q_FACTOR: Option<u64> = None;
    const PRIME_TERMS: &'static [(usize, u64)] = &[(1, 1 << 44), (3, 1 << 36), (4, (1 << 48) - (1 << 16))];
    const MINUS_AT: Option<usize> = None;
    // 2^224 − 2^192 − 2^96 + 1
    const FOLD: &'static [Shifted] = &[(4, 16, false), (3, 36, true), (1, 44, true), (0, 0, false)];
}

impl Shape for Secp256k1 {
    const Q_FACTOR: Option<u64> = Some(0x8_091d_d225_3531);
    const PRIME_TERMS: &'static [(usize, u64)] = &[(0, (1 << 52) - (1 << 32) - 977), (4, 1 << 48)];
    const MINUS_AT: Option<usize> = Some(1);
    // 2^32 + 2^10 − 2^5 − 2^4 + 1
    const FOLD: &'static [Shifted] = &[(0, 32, false), (0, 10, false), (0, 5, true), (0, 4, true), (0, 0, false)];
}

/// 2^exponent modulo p.
const fn power_of_two<C: Curve>(exponent: u32) -> Limbs {
    crate::weierstrass::montgomery::doubled([1, 0, 0, 0], exponent, &C::Field::PRIME)
}

/// a · 2^shift in limbs of 52 bits; the shift is at most 4.
const fn limbs_52(a: &Limbs, shift: u32) -> Limbs52 {
    const MASK: u64 = (1 << 52) - 1;
    let mut limbs = [0; 5];
    let mut i = 0;
    while i < 5 {
        // Bits 52 i − shift and on, of a.
        let (skip, word) = ((52 * i) % 64, (52 * i) / 64);
        let low = a[word] as u128;
        let high = if word < 3 { a[word + 1] as u128 } else { 0 };
        let below = if word > 0 { a[word - 1] } else { 0 };
        let window = (high << 64 | low) << shift;
        let carried = if shift == 0 { 0 } else { (below >> (64 - shift)) as u128 };
        limbs[i] = ((window | carried) >> skip) as u64 & MASK;
        // The window lost the top bits of `high`, which are needed for no limb: 52 + 63 + 4 < 128.
        i += 1;
    }
    limbs
}
