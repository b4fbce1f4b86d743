//! Decoding and sums against curve25519-dalek.

use super::super::coefficients::{Coefficients, Z_END};
use super::field_constants::{D, D2, ONE, SQRT_M1, ZERO};
use super::*;
use crate::ed25519::portable::Portable;
use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT as B, EIGHT_TORSION};
use curve25519_dalek::edwards::EdwardsPoint;
use std::iter::once;

/// Points of every kind: neutral, small order, large order with and without a torsion part.
fn points(count: u64) -> Vec<EdwardsPoint> {
    (0..count).map(|i| B * Scalar::from(i / 3) + EIGHT_TORSION[(i % 8) as usize]).collect()
}

fn points_of(lanes: &Lanes, encodings: &[[u8; 32]]) -> Vec<Option<Niels>> {
    let mut points = Vec::new();
    lanes.decode_points(encodings, &mut points);
    points
}

/// Whether the lanes and dalek both find that the sum, less its true value as one more term, vanishes; and that it does
/// not when that value is off by the base point.
fn check_sum(lanes: &Lanes, z: &[i128], a: &[Scalar]) {
    let all = points((z.len() + a.len()) as u64);
    let (rs, keys) = all.split_at(z.len());
    let scalar = |z: &i128| if *z < 0 { -Scalar::from(z.unsigned_abs()) } else { Scalar::from(z.unsigned_abs()) };
    let by_z: EdwardsPoint = z.iter().zip(rs).map(|(z, r)| r * scalar(z)).sum();
    let by_a: EdwardsPoint = a.iter().zip(keys).map(|(a, key)| key * a).sum();
    let b = Scalar::from(77_u64);
    let rest = B * b - by_z - by_a;
    for (rest, expected) in [(rest, true), (rest + EIGHT_TORSION[3], true), (rest + B, false), (rest - B * b, false)] {
        let encodings: Vec<[u8; 32]> = rs.iter().map(|point| point.compress().to_bytes()).collect();
        let decoded = points_of(lanes, &encodings);
        let points: Vec<(i128, &Niels)> =
            z.iter().copied().zip(decoded.iter().map(|point| point.as_ref().expect("a point"))).collect();
        let encodings: Vec<[u8; 32]> = keys.iter().chain(once(&rest)).map(|key| key.compress().to_bytes()).collect();
        let decoded = lanes.decode_keys(&encodings);
        let scalars = a.iter().copied().chain(once(Scalar::ONE));
        let keys: Vec<(Scalar, &Key)> = scalars.zip(decoded.iter().map(|key| key.as_ref().expect("a point"))).collect();
        assert_eq!(
            lanes.sum_vanishes(points.iter().copied(), keys.iter().copied(), &b),
            expected,
            "{} and {} terms",
            z.len(),
            a.len()
        );
    }
}

#[test]
fn sums_agree_with_dalek_for_scalars_at_every_edge() {
    let Some(lanes) = Lanes::detect() else { return };
    let zs = [0, 1, -1, 7, 8, -8, 127, 128, -128, -129, i128::MIN, i128::MIN + 1, Z_END - 1, Z_END / 2, 1 << 126];
    let largest = -Scalar::ONE;
    let low = Scalar::from((1_u128 << SPLIT_BITS) - 1);
    let scalars = [Scalar::ZERO, Scalar::ONE, largest, largest - low, low, low + Scalar::ONE];
    for z in zs {
        check_sum(&lanes, &[z], &[]);
    }
    for a in scalars {
        check_sum(&lanes, &[], &[a]);
    }
    check_sum(&lanes, &zs, &scalars);
    // Enough terms for the wide windows.
    check_sum(&lanes, &zs.repeat(20), &scalars.repeat(20));
}

#[test]
fn sums_agree_with_dalek_for_random_scalars_of_every_count() {
    let Some(lanes) = Lanes::detect() else { return };
    let coefficients = Coefficients::from_system().expect("randomness");
    for count in [0, 1, 2, 7, 8, 9, 30, 74, 75, 111, 112, 113, 300] {
        let (mut z, mut a) = (vec![], vec![]);
        coefficients.draw(count, |_, drawn| z.push(drawn));
        coefficients.draw(count, |_, drawn| a.push(Scalar::from(drawn.unsigned_abs()) * largest_but(count)));
        check_sum(&lanes, &z, &a);
    }
}

fn largest_but(count: usize) -> Scalar {
    -Scalar::from(count as u64 + 1)
}

#[test]
fn encodings_decode_as_in_dalek() {
    let Some(lanes) = Lanes::detect() else { return };
    let mut encodings: Vec<[u8; 32]> = points(100).iter().map(|point| point.compress().to_bytes()).collect();
    for i in 0..1_000_u32 {
        encodings.push(*blake3::hash(&i.to_le_bytes()).as_bytes());
    }
    for low in 0..=255 {
        for (fill, top) in [(0xff, 0x7f), (0xff, 0xff), (0, 0), (0, 0x80)] {
            let mut encoding = [fill; 32];
            (encoding[0], encoding[31]) = (low, top);
            encodings.push(encoding);
        }
    }
    let (ours, theirs) = (lanes.decode_keys(&encodings), Portable.decode_keys(&encodings));
    let alone = points_of(&lanes, &encodings);
    assert!(theirs.iter().any(Option::is_none));
    for (i, ((ours, alone), theirs)) in ours.iter().zip(&alone).zip(&theirs).enumerate() {
        assert_eq!(ours.is_some(), theirs.is_some(), "{:?}", encodings[i]);
        assert_eq!(alone.is_some(), theirs.is_some());
        let (Some(ours), Some(theirs)) = (ours, theirs) else { continue };
        // Ours less the canonical encoding of theirs must vanish even before the cofactor: the sign of x shows only
        // where the point is not its own negative, so it is compared through the limbs.
        let again = points_of(&lanes, &[theirs.compress().to_bytes()]).pop().flatten().expect("a point");
        assert_eq!(canonical(&ours.point), canonical(&again), "{:?}", encodings[i]);
    }
}

/// The four parts as numbers below p, compared through u128 arithmetic on limbs.
fn canonical(point: &Niels) -> [[u64; 5]; 4] {
    point.0.map(|mut limbs| {
        let mask = (1 << 51) - 1;
        for _ in 0..3 {
            let mut carry = 0;
            for limb in &mut limbs {
                *limb += carry;
                carry = *limb >> 51;
                *limb &= mask;
            }
            limbs[0] += 19 * carry;
        }
        let at_least_p = limbs[0] >= mask - 18 && limbs[1..].iter().all(|limb| *limb == mask);
        if at_least_p { [limbs[0] - (mask - 18), 0, 0, 0, 0] } else { limbs }
    })
}

#[test]
fn constants_are_what_they_are_said_to_be() {
    if Lanes::detect().is_none() {
        return;
    }
    #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
    fn check() {
        use super::field::{add, mul, splat, square, sub, zero_lanes};
        let (d, one, root) = (splat(&D), splat(&ONE), splat(&SQRT_M1));
        let (small, large) = (splat(&[121_665, 0, 0, 0, 0]), splat(&[121_666, 0, 0, 0, 0]));
        assert_eq!(zero_lanes(&add(&mul(&d, &large), &small)), 0xff);
        assert_eq!(zero_lanes(&sub(&add(&d, &d), &splat(&D2))), 0xff);
        assert_eq!(zero_lanes(&add(&square(&root), &one)), 0xff);
        assert_eq!(zero_lanes(&splat(&ZERO)), 0xff);
    }
    // SAFETY: `detect` found all target features of the function.
    unsafe { check() }
}
