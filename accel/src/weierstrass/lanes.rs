//! The sums in eight lanes of AVX-512 IFMA, a signature in each, with the same work whatever the input.
//!
//! Safe to use only through [`Lanes::detect`], which asks the CPU. Lanes that met an exception (see `point`) are done again by
//! `portable`, and so are signatures of which two values of x will do.
#![allow(unsafe_code)]

mod constants;
mod field;
mod keys;
mod lines;
mod point;

pub(super) use self::constants::Shape;
use self::field::reduce;
use self::lines::{from_numbers, gather};
use self::point::{add_affine, double, exceptional_lanes, from_affine, lanes_with_x};
use super::Group;
use super::claim::{Claim, Key};
use super::digits::{BASE_DIGITS, BASE_WIDTH, KEY_DIGITS, KEY_WIDTH, PARTS, base_digits, key_digits};
use super::montgomery::{Limbs, Residue};
use super::point::{Affine, Jacobian, to_affine};
use super::portable;
use super::table::{KEY_PART_BITS, Line};
use core::arch::x86_64::*;
use std::marker::PhantomData;

/// With fewer the portable arithmetic is faster.
const CLAIMS_MIN: usize = 2;

/// The sum starts from this multiple of G, and not from infinity: digits of π, so that no honest sum meets an exception.
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
        let present = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512ifma");
        if !present {
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
            let (hold, exceptional) = if eight.len() < CLAIMS_MIN {
                (0, 0xff)
            } else {
                // SAFETY: a `Lanes` exists only where all target features of the function were detected.
                unsafe { hold(self, eight) }
            };
            for (lane, claim) in eight.iter().enumerate() {
                let again = exceptional >> lane & 1 == 1 || claim.x_above.is_some();
                verdicts[claim.index] = if again { portable::holds::<C>(claim) } else { hold >> lane & 1 == 1 };
            }
        }
    }
}

/// The lanes whose claim is true but for an x above n, and the lanes that are not known. Fewer than eight: the last is
/// repeated.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn hold<C: Shape>(lanes: &Lanes<C>, claims: &[Claim<'_>]) -> (__mmask8, __mmask8) {
    let Some(last) = claims.last() else { return (0, 0) };
    let base = C::base_table();
    let (mut of_key, mut of_base, mut x) = ([[0; KEY_DIGITS]; 8], [[0; BASE_DIGITS]; 8], [[0; 4]; 8]);
    let mut tables = [&last.key.table.0; 8];
    for lane in 0..8 {
        let claim = claims.get(lane).unwrap_or(last);
        tables[lane] = &claim.key.table.0;
        of_key[lane] = key_digits::<C>(&claim.of_key);
        let scalar = Residue::<C::Order>::from_montgomery(claim.base);
        let scalar = scalar.sub(&Residue::from_montgomery(lanes.start_scaled));
        of_base[lane] = base_digits(scalar.montgomery());
        x[lane] = claim.x;
    }
    let [start_x, start_y] = gather(&[&lanes.start; 8]);
    let mut sum = from_affine::<C>(&reduce::<C>(start_x.into()), &reduce::<C>(start_y.into()));
    for bit in (0..=KEY_PART_BITS - KEY_WIDTH).rev() {
        if bit != KEY_PART_BITS - KEY_WIDTH {
            sum = double::<C>(&sum);
        }
        if bit % KEY_WIDTH == 0 {
            for part in 0..PARTS {
                let position = part * KEY_DIGITS / PARTS + bit / KEY_WIDTH;
                let (mut lines, mut negative, mut none) = ([&Line::ZERO; 8], 0, 0);
                for lane in 0..8 {
                    let digit = of_key[lane][position];
                    negative |= u8::from(digit < 0) << lane;
                    none |= u8::from(digit == 0) << lane;
                    lines[lane] = &tables[lane][part][usize::from(digit.unsigned_abs().saturating_sub(1))];
                }
                sum = add_affine::<C>(&sum, &gather(&lines), negative, none);
            }
        }
        if bit % BASE_WIDTH == 0 {
            for part in 0..PARTS {
                let position = part * BASE_DIGITS / PARTS + bit / BASE_WIDTH;
                let (mut lines, mut negative, mut none) = ([&Line::ZERO; 8], 0, 0);
                for lane in 0..8 {
                    let digit = of_base[lane][position];
                    negative |= u8::from(digit < 0) << lane;
                    none |= u8::from(digit == 0) << lane;
                    lines[lane] = base.line(part, usize::from(digit.unsigned_abs().max(1)));
                }
                sum = add_affine::<C>(&sum, &gather(&lines), negative, none);
            }
        }
    }
    (lanes_with_x::<C>(&sum, &from_numbers(&x)), exceptional_lanes::<C>(&sum))
}

#[cfg(test)]
mod tests;
