//! The eight-lane field against slow arithmetic modulo p, at the edges of what limbs may hold.

use super::super::field_constants::ONE;
use super::*;

/// A number below p, 64-bit words, least significant first.
type Number = [u64; 4];
const P: Number = [u64::MAX - 18, u64::MAX, u64::MAX, u64::MAX >> 1];

fn add_mod(a: Number, b: Number) -> Number {
    let (mut sum, mut carry) = ([0; 4], 0_u128);
    for i in 0..4 {
        carry += u128::from(a[i]) + u128::from(b[i]);
        sum[i] = carry as u64;
        carry >>= 64;
    }
    if sum.iter().rev().ge(P.iter().rev()) {
        let mut borrow = 0_i128;
        for i in 0..4 {
            borrow += i128::from(sum[i]) - i128::from(P[i]);
            sum[i] = borrow as u64;
            borrow >>= 64;
        }
    }
    sum
}

fn mul_mod(a: Number, b: Number) -> Number {
    let mut product = [0; 4];
    for bit in (0..256).rev() {
        product = add_mod(product, product);
        if b[bit / 64] >> (bit % 64) & 1 == 1 {
            product = add_mod(product, a);
        }
    }
    product
}

fn number(limbs: [u64; 5]) -> Number {
    limbs.into_iter().rev().fold([0; 4], |value, limb| add_mod(mul_mod(value, [1 << 51, 0, 0, 0]), [limb, 0, 0, 0]))
}

fn lane(a: &[[u64; 8]; 5], lane: usize) -> Number {
    number(core::array::from_fn(|limb| a[limb][lane]))
}

/// Tight elements: extreme limbs, p and its neighbours, and pseudo-random ones.
fn samples() -> Vec<[[u64; 8]; 5]> {
    const TIGHT: u64 = (1 << 51) + (1 << 17) - 1;
    const FULL: u64 = (1 << 51) - 1;
    let mut state = 0x1234_5678_9abc_def1_u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        match state >> 61 {
            0 => TIGHT,
            1 => 0,
            2 => FULL,
            3 => FULL - (state >> 56 & 31),
            _ => state >> 13,
        }
    };
    let mut samples: Vec<[[u64; 8]; 5]> =
        (0..200).map(|_| core::array::from_fn(|_| core::array::from_fn(|_| next()))).collect();
    // p − 3 to p + 4 in the eight lanes, and everything at its largest.
    let mut near_p = [[FULL; 8]; 5];
    near_p[0] = core::array::from_fn(|lane| FULL - 21 + lane as u64);
    samples.extend([near_p, [[TIGHT; 8]; 5], [[0; 8]; 5]]);
    samples
}

#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn check_all() {
    let samples = samples();
    for (a, b) in samples.iter().zip(samples.iter().rev()).chain(samples.iter().zip(&samples)) {
        let (x, y) = (from_lanes(a), from_lanes(b));
        let results = [mul(&x, &y), square(&x), add(&x, &y), sub(&x, &y), neg(&x)].map(|result| to_lanes(result));
        let tight = results.iter().flatten().flatten().all(|limb| *limb < (1 << 51) + (1 << 17));
        assert!(tight, "a result is not tight");
        let (zero, odd) = (zero_lanes(&x), odd_lanes(&x));
        for i in 0..8 {
            let (p, q) = (lane(a, i), lane(b, i));
            assert_eq!(lane(&results[0], i), mul_mod(p, q));
            assert_eq!(lane(&results[1], i), mul_mod(p, p));
            assert_eq!(lane(&results[2], i), add_mod(p, q));
            assert_eq!(add_mod(lane(&results[3], i), q), p);
            assert_eq!(add_mod(lane(&results[4], i), p), [0; 4]);
            assert_eq!(zero >> i & 1 == 1, p == [0; 4]);
            assert_eq!(u64::from(odd >> i & 1), p[0] & 1);
        }
    }
    for a in samples.iter().step_by(10) {
        let x = from_lanes(a);
        let (inverse, one) = (invert(&x), splat(&ONE));
        assert_eq!(zero_lanes(&sub(&mul(&x, &inverse), &one)), !zero_lanes(&x));
        // x²/1 has a root, which is x or −x; and 2 is no square modulo p, so 2x²/1 has none but for x = 0.
        let square_of = square(&x);
        let [(root, found), (_, none)] = sqrt_ratio(&[square_of, add(&square_of, &square_of)], &[one; 2]);
        assert_eq!(found, 0xff);
        assert_eq!(zero_lanes(&sub(&root, &x)) | zero_lanes(&add(&root, &x)), 0xff);
        assert_eq!(none, zero_lanes(&x));
    }
}

#[test]
fn arithmetic_agrees_with_slow_arithmetic_at_every_edge() {
    if super::super::Lanes::detect().is_some() {
        // SAFETY: `detect` found all target features of the function.
        unsafe { check_all() }
    }
}
