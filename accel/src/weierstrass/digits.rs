//! Scalars as signed digits, as the tables want them: Σ digit · 2^(width · position).
//!
//! A constant that is half of each digit's range is added first; then every digit of the plain binary form, less that
//! half, is a signed one, and nothing is carried from digit to digit.

use super::curve::Curve;
use super::montgomery::{Limbs, Modulus, add, less, subtract};

/// Bits of a digit of the scalar of a key.
pub(super) const KEY_WIDTH: usize = 4;
/// Such digits, in [`PARTS`] parts one after the other.
pub(super) const KEY_DIGITS: usize = 64;
/// Bits of a digit of the scalar of G.
pub(super) const BASE_WIDTH: usize = 11;
/// Such digits, in [`PARTS`] parts one after the other.
pub(super) const BASE_DIGITS: usize = 24;
/// Parts of a scalar, each with a table of its own, so that a quarter of the doublings suffices.
pub(super) const PARTS: usize = 4;

const _: () = assert!(KEY_WIDTH * KEY_DIGITS == 256 && BASE_WIDTH * BASE_DIGITS == 264);

/// Digits of −8 to 8.
pub(super) fn key_digits<C: Curve>(scalar: &Limbs) -> [i8; KEY_DIGITS] {
    // Of t and n − t one is below 2^255, so that the constant 0x77…7 makes no carry out of the last digit.
    let negated = subtract(&C::Order::PRIME, scalar).0;
    let negative = less(&negated, scalar);
    let (biased, _) = add(if negative { &negated } else { scalar }, &[0x7777_7777_7777_7777; 4]);
    let mut digits = [0; KEY_DIGITS];
    for (position, digit) in digits.iter_mut().enumerate() {
        let nibble = (biased[position / 16] >> (KEY_WIDTH * (position % 16))) as i8 & 15;
        *digit = if negative { 7 - nibble } else { nibble - 7 };
    }
    digits
}

/// Σ 2^10 · 2^(11 i) for 24 i.
const BASE_BIAS: [u64; 5] = {
    let mut bias = [0_u64; 5];
    let mut position = 0;
    while position < BASE_DIGITS {
        let bit = BASE_WIDTH * position + BASE_WIDTH - 1;
        bias[bit / 64] |= 1 << (bit % 64);
        position += 1;
    }
    bias
};

/// Digits of −1024 to 1023.
pub(super) fn base_digits(scalar: &Limbs) -> [i16; BASE_DIGITS] {
    let [b0, b1, b2, b3, b4] = BASE_BIAS;
    let ([l0, l1, l2, l3], carry) = add(scalar, &[b0, b1, b2, b3]);
    let biased = [l0, l1, l2, l3, b4 + u64::from(carry), 0];
    let mut digits = [0; BASE_DIGITS];
    for (position, digit) in digits.iter_mut().enumerate() {
        let bit = BASE_WIDTH * position;
        let pair = u128::from(biased[bit / 64]) | u128::from(biased[bit / 64 + 1]) << 64;
        *digit = (pair >> (bit % 64)) as i16 & 0x7ff;
        *digit -= 1 << (BASE_WIDTH - 1);
    }
    digits
}
