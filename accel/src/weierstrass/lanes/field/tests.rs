//! The eight-lane fields against the portable ones, at the edges of what limbs may hold.

use super::super::lines::to_limbs;
use super::*;
use crate::weierstrass::curve::{P256, Secp256k1, Sm2};
use crate::weierstrass::lanes::Lanes;
use crate::weierstrass::montgomery::Residue;

type Number<C> = Residue<<C as crate::weierstrass::curve::Curve>::Field>;

const FULL: u64 = (1 << 52) - 1;

/// Σ limb · 2^(52 i) for signed limbs.
fn value<C: Shape>(limbs: &[i64; 5]) -> Number<C> {
    let base = Residue::reduced(&[1 << 52, 0, 0, 0]);
    limbs.iter().rev().fold(Residue::ZERO, |sum, limb| {
        let magnitude = Residue::reduced(&[limb.unsigned_abs(), 0, 0, 0]);
        let shifted: Number<C> = sum.mul(&base);
        if *limb < 0 { shifted.sub(&magnitude) } else { shifted.add(&magnitude) }
    })
}

fn values<C: Shape>(a: &Fe8) -> [Number<C>; 8] {
    // SAFETY: the tests run where the lanes were detected.
    unsafe { to_limbs(a) }.map(|limbs| value::<C>(&limbs.map(u64::cast_signed)))
}

fn pseudo_random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    (*state ^ *state >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd) ^ *state >> 17
}

/// Limbs whose value is below 2^257: extreme ones, multiples of p and their neighbours, others.
fn samples<C: Shape>() -> Vec<[[u64; 5]; 8]> {
    let mut state = 0x1234_5678_9abc_def1_u64;
    let mut samples: Vec<[[u64; 5]; 8]> = (0..300)
        .map(|_| {
            core::array::from_fn(|_| {
                let mut limbs = core::array::from_fn(|_| {
                    let word = pseudo_random(&mut state);
                    match word >> 61 {
                        0 => FULL,
                        1 => 0,
                        2 => FULL - (word >> 20 & 3),
                        3 => word >> 20 & 3,
                        _ => word & FULL,
                    }
                });
                limbs[4] &= (1 << 49) - 1;
                limbs
            })
        })
        .collect();
    for prime in C::PRIMES {
        // p − 3 to p + 4, and 2p with them, in the eight lanes; the lowest limb of no prime is near its ends but for
        // 2^52 − 1.
        samples.push(core::array::from_fn(|lane| {
            let mut number = prime;
            let sum = number[0] + lane as u64 - 3;
            number[0] = sum & FULL;
            let mut carry = sum >> 52;
            for limb in &mut number[1..] {
                *limb += carry;
                carry = *limb >> 52;
                *limb &= FULL;
            }
            number
        }));
    }
    samples.push([[0; 5]; 8]);
    samples.push([[FULL, FULL, FULL, FULL, (1 << 49) - 1]; 8]);
    samples
}

#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn from_lanes(lanes: &[[u64; 5]; 8]) -> Fe8 {
    let columns: [[u64; 8]; 5] = core::array::from_fn(|limb| core::array::from_fn(|lane| lanes[lane][limb]));
    // SAFETY: each column has 64 bytes, and the load may be unaligned.
    Fe8(five!(|i| unsafe { _mm512_loadu_si512(columns[i].as_ptr().cast()) }))
}

/// Limbs in range, and a value below 4p.
fn assert_tight(a: &Fe8, what: &str) {
    // SAFETY: the tests run where the lanes were detected.
    for limbs in unsafe { to_limbs(a) } {
        assert!(limbs.iter().all(|limb| *limb <= FULL) && limbs[4] < 1 << 50, "{what}: {limbs:x?}");
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn check<C: Shape>() {
    let samples = samples::<C>();
    // 1 / 2^260
    let r = value::<C>(&C::ONE.map(u64::cast_signed));
    let r_inverse = r.inverted();
    assert_eq!(value::<C>(&C::R_SQUARED.map(u64::cast_signed)), r.mul(&r));
    assert_eq!(value::<C>(&C::B_LANES.map(u64::cast_signed)), Number::<C>::reduced(&C::B).mul(&r));
    for (a, b) in samples.iter().zip(samples.iter().rev()).chain(samples.iter().zip(&samples)) {
        let (x, y) = (from_lanes(a), from_lanes(b));
        let (xs, ys) = (values::<C>(&x), values::<C>(&y));
        let results = [
            mul::<C>(&x, &y),
            square::<C>(&x),
            reduce::<C>(add(x, y)),
            reduce::<C>(sub(x, y)),
            reduce::<C>(sub(shifted::<3>(x), shifted::<5>(y))),
            reduce::<C>(negated(0x0f, x)),
            carry(shifted::<2>(x)),
        ];
        for (result, what) in results[..6].iter().zip(["mul", "square", "add", "sub", "8x − 32y", "±"]) {
            assert_tight(result, what);
        }
        let got = results.each_ref().map(|result| values::<C>(result));
        let canonicals = values::<C>(&numbers::<C>(&x));
        let zero = zero_lanes::<C>(sub(x, y));
        for lane in 0..8 {
            let (p, q) = (xs[lane], ys[lane]);
            let eight = |a: Number<C>| a.double().double().double();
            assert_eq!(got[0][lane], p.mul(&q).mul(&r_inverse), "mul {:x?} {:x?}", a[lane], b[lane]);
            assert_eq!(got[1][lane], p.square().mul(&r_inverse), "square {:x?}", a[lane]);
            assert_eq!(got[2][lane], p.add(&q));
            assert_eq!(got[3][lane], p.sub(&q));
            assert_eq!(got[4][lane], eight(p).sub(&eight(q).double().double()));
            assert_eq!(got[5][lane], if lane < 4 { p.negated() } else { p });
            assert_eq!(got[6][lane], p.double().double());
            assert_eq!(canonicals[lane], p.mul(&r_inverse));
            assert_eq!(zero >> lane & 1 == 1, p == q, "{:x?} = {:x?}", a[lane], b[lane]);
        }
        for (limbs, number) in to_limbs(&numbers::<C>(&x)).into_iter().zip(&canonicals) {
            let canonical = number.number();
            assert_eq!(limbs[0], canonical[0] & FULL);
            assert_eq!(limbs[4], canonical[3] >> 16);
        }
    }
    let x = from_lanes(&samples[0]);
    let power = values::<C>(&power::<C>(&x, &[5, 0, 1 << 63, 0]));
    for (x, power) in values::<C>(&x).into_iter().zip(power) {
        assert_eq!(power, x.mul(&r_inverse).power(&[5, 0, 1 << 63, 0]).mul(&r));
    }
}

#[test]
fn lanes_agree_with_portable_arithmetic_at_every_edge() {
    if Lanes::<Sm2>::detect().is_some() {
        // SAFETY: `detect` found all target features of the functions.
        unsafe {
            check::<Sm2>();
            check::<P256>();
            check::<Secp256k1>();
        }
    }
}
