//! The sums in eight lanes of AVX-512 IFMA, a signature in each, with the same work whatever the input.
//!
//! Safe to use only through [`Lanes::detect`], which asks the CPU. Lanes that met an exception (see `point`) are done
//! again by `portable`, and so are signatures of which two values of x will do.
#![allow(unsafe_code)]

mod constants;
mod field;
mod keys;
mod lines;
mod point;

pub(super) use self::constants::Shape;
use self::field::reduce;
use self::lines::{from_numbers, gather};
use self::point::{Point8, add_affine, double, exceptional_lanes, from_affine, lanes_with_x};
use super::Group;
use super::claim::{Claim, Key};
use super::digits::{BASE_DIGITS, BASE_WIDTH, KEY_DIGITS, KEY_WIDTH, PARTS, base_digits, key_digits};
use super::montgomery::{Limbs, Residue};
use super::point::{Affine, Jacobian, to_affine};
use super::portable;
use super::table::{BaseTable, KEY_MULTIPLES, KEY_PART_BITS, Line};
use core::arch::x86_64::*;
use std::marker::PhantomData;

/// With fewer the portable arithmetic is faster.
const CLAIMS_MIN: usize = 2;

/// The sum starts from this multiple of G, and not from infinity: digits of π, so that no honest sum meets an
/// exception.
const OFFSET: Limbs = [0x2440_9380_82ef_a98e, 0x1319_8a2e_0370_7344, 0x243f_6a88_85a3_08d3, 0x0452_821e_638d_0137];

/// Proof that the CPU has the instructions, and where a sum starts.
pub(super) struct Lanes<C> {
    start: Line,
    /// What the start has become in the end: 2^60 times it, as a multiple of G.
    start_scaled: Limbs,
    curve: PhantomData<C>,
}

impl<C: Shape> Lanes<C> {
    /// `None` where the CPU lacks an instruction set.
    pub(super) fn detect() -> Option<Self> {
        if !crate::ifma::is_present() {
            return None;
        }
        let generator = Affine::<C>::generator();
        let mut start = Jacobian::<C>::INFINITY;
        for bit in (0..256).rev() {
            start = start.double();
            if OFFSET[bit / 64] >> (bit % 64) & 1 == 1 {
                start = start.add_affine(&generator);
            }
        }
        let start = to_affine(&[start])[0];
        let mut start_scaled = Residue::<C::Order>::reduced(&OFFSET);
        for _ in 0..KEY_PART_BITS - KEY_WIDTH {
            start_scaled = start_scaled.double();
        }
        Some(Self {
            start: Line::new(start.x.montgomery(), start.y.montgomery()),
            start_scaled: start_scaled.number(),
            curve: PhantomData,
        })
    }
}

impl<C: Shape> Group<C> for Lanes<C> {
    const NAME: &'static str = "cpu-avx512";

    fn decode_keys(&self, encodings: &[[u8; 33]]) -> Vec<Option<Key>> {
        if encodings.len() == 1 {
            return encodings.iter().map(portable::decode_key::<C>).collect();
        }
        let mut keys = Vec::with_capacity(encodings.len());
        for eight in encodings.chunks(8) {
            // SAFETY: a `Lanes` exists only where all target features of the function were detected.
            unsafe { keys::decode::<C>(eight, &mut keys) }
        }
        keys
    }

    fn hold(&self, claims: &[Claim<'_>], verdicts: &mut [bool]) {
        for eight in claims.chunks(8) {
            let answer = match eight.len() {
                ..CLAIMS_MIN => Answer::UNKNOWN,
                // SAFETY: a `Lanes` exists only where all target features of the function were detected.
                _ => unsafe { hold::<C>(self, eight) },
            };
            for (lane, claim) in eight.iter().enumerate() {
                let again = answer.unknown >> lane & 1 == 1 || claim.x_above.is_some();
                verdicts[claim.index] = if again { portable::holds::<C>(claim) } else { answer.hold >> lane & 1 == 1 };
            }
        }
    }
}

/// What eight lanes say.
#[derive(Clone, Copy)]
struct Answer {
    /// Where the claim is true, but for an x above n.
    hold: __mmask8,
    /// Where that is not known.
    unknown: __mmask8,
}

impl Answer {
    const UNKNOWN: Self = Self { hold: 0, unknown: 0xff };
}

/// Eight claims: their digits, and the tables where these are looked up.
struct Eight<'a> {
    of_key: [[i8; KEY_DIGITS]; 8],
    of_base: [[i16; BASE_DIGITS]; 8],
    tables: [&'a [[Line; KEY_MULTIPLES]; PARTS]; 8],
    x: [Limbs; 8],
}

/// What is added at one place in each lane.
struct Addends<'a> {
    lines: [&'a Line; 8],
    negative: __mmask8,
    none: __mmask8,
}

impl<'a> Eight<'a> {
    /// Of up to eight claims; the last one fills what is left.
    fn new<C: Shape>(lanes: &Lanes<C>, claims: &[Claim<'a>], last: &Claim<'a>) -> Self {
        let mut eight = Self {
            of_key: [[0; KEY_DIGITS]; 8],
            of_base: [[0; BASE_DIGITS]; 8],
            tables: [&last.key.table.0; 8],
            x: [[0; 4]; 8],
        };
        for lane in 0..8 {
            let claim = claims.get(lane).unwrap_or(last);
            eight.tables[lane] = &claim.key.table.0;
            eight.of_key[lane] = key_digits::<C>(&claim.of_key);
            let scalar = Residue::<C::Order>::from_montgomery(claim.base);
            let scalar = scalar.sub(&Residue::from_montgomery(lanes.start_scaled));
            eight.of_base[lane] = base_digits(scalar.montgomery());
            eight.x[lane] = claim.x;
        }
        eight
    }

    #[inline]
    fn of_key(&self, part: usize, position: usize) -> Addends<'a> {
        let mut addends = Addends { lines: [&self.tables[0][part][0]; 8], negative: 0, none: 0 };
        for (lane, (digits, table)) in self.of_key.iter().zip(&self.tables).enumerate() {
            let digit = digits[part * (KEY_DIGITS / PARTS) + position];
            let place = usize::from(digit.unsigned_abs().saturating_sub(1));
            addends.set(lane, digit.into(), &table[part][place]);
        }
        addends
    }

    #[inline]
    fn of_base(&self, base: &'a BaseTable, part: usize, position: usize) -> Addends<'a> {
        let mut addends = Addends { lines: [base.line(part, 1); 8], negative: 0, none: 0 };
        for (lane, digits) in self.of_base.iter().enumerate() {
            let digit = digits[part * (BASE_DIGITS / PARTS) + position];
            addends.set(lane, digit, base.line(part, usize::from(digit.unsigned_abs().max(1))));
        }
        addends
    }
}

impl<'a> Addends<'a> {
    #[inline]
    fn set(&mut self, lane: usize, digit: i16, line: &'a Line) {
        self.lines[lane] = line;
        self.negative |= u8::from(digit < 0) << lane;
        self.none |= u8::from(digit == 0) << lane;
    }
}

/// Up to eight claims; the last one fills what is left. (Two eights in turn, so that one would fill the gaps of the
/// other, were tried, and gained nothing.)
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn hold<C: Shape>(lanes: &Lanes<C>, claims: &[Claim<'_>]) -> Answer {
    let Some(last) = claims.last() else { return Answer::UNKNOWN };
    let base = C::base_table();
    let eight = Eight::new(lanes, claims, last);
    let [start_x, start_y] = gather(&[&lanes.start; 8]);
    let mut sum = from_affine::<C>(&reduce::<C>(start_x.into()), &reduce::<C>(start_y.into()));
    for bit in (0..=KEY_PART_BITS - KEY_WIDTH).rev() {
        if bit != KEY_PART_BITS - KEY_WIDTH {
            sum = double::<C>(&sum);
        }
        if bit % KEY_WIDTH == 0 {
            for part in 0..PARTS {
                sum = add_lines::<C>(&sum, &eight.of_key(part, bit / KEY_WIDTH));
            }
        }
        if bit % BASE_WIDTH == 0 {
            for part in 0..PARTS {
                sum = add_lines::<C>(&sum, &eight.of_base(base, part, bit / BASE_WIDTH));
            }
        }
    }
    Answer { hold: lanes_with_x::<C>(&sum, &from_numbers(&eight.x)), unknown: exceptional_lanes::<C>(&sum) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn add_lines<C: Shape>(sum: &Point8, addends: &Addends<'_>) -> Point8 {
    add_affine::<C>(sum, &gather(&addends.lines), addends.negative, addends.none)
}

#[cfg(test)]
mod tests;
