//! Eight keys decoded side by side, with their tables.

use super::constants::Shape;
use super::field::{Fe8, add, mul, negated, numbers, power, reduce, splat, square, sub, zero_lanes};
use super::lines::{from_numbers, odd_lanes, scatter};
use super::point::{Point8, add_points, double, from_affine};
use crate::weierstrass::claim::Key;
use crate::weierstrass::digits::PARTS;
use crate::weierstrass::montgomery::{Modulus, less, limbs_from_be, subtract};
use crate::weierstrass::point::root_exponent;
use crate::weierstrass::table::{KEY_MULTIPLES, KEY_PART_BITS, KeyTable};

/// Fewer than eight: the last is repeated, and then left out.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn decode<C: Shape>(encodings: &[[u8; 33]], keys: &mut Vec<Option<Key>>) {
    let Some(last) = encodings.last() else { return };
    let (mut xs, mut in_form, mut odd) = ([[0; 4]; 8], 0_u8, 0_u8);
    for (lane, x) in xs.iter_mut().enumerate() {
        let (tag, number) = encodings.get(lane).unwrap_or(last).split_first().expect("33 bytes");
        *x = limbs_from_be(number.try_into().expect("32 bytes"));
        in_form |= u8::from(matches!(tag, 2 | 3) && less(x, &C::Field::PRIME)) << lane;
        odd |= (tag & 1) << lane;
    }
    let x = mul::<C>(&from_numbers(&xs), &splat(&C::R_SQUARED));
    let cube = mul::<C>(&square::<C>(&x), &x);
    let linear = if C::A_IS_MINUS_3 { sub(sub(cube, x), add(x, x)) } else { cube.into() };
    let right = reduce::<C>(add(linear, splat(&C::B_LANES)));
    let y = power::<C>(&right, &root_exponent::<C>());
    let on_curve = in_form & zero_lanes::<C>(sub(square::<C>(&y), right));
    let flip = odd_lanes(&numbers::<C>(&y)) ^ odd;
    let y = reduce::<C>(negated(flip, y));
    // What is no point goes through like the others, in its lane, and is left out.
    let tables = tables::<C>(&x, &y);
    for (lane, table) in tables.into_iter().enumerate().take(encodings.len()) {
        keys.push((on_curve >> lane & 1 == 1).then(|| Key::new::<C>(table)));
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn tables<C: Shape>(x: &Fe8, y: &Fe8) -> [Box<KeyTable>; 8] {
    let mut first = from_affine::<C>(x, y);
    let mut points: Vec<Point8> = Vec::with_capacity(PARTS * KEY_MULTIPLES);
    for part in 0..PARTS {
        let start = points.len();
        points.push(first);
        for multiple in 2..=KEY_MULTIPLES {
            let point = match multiple % 2 {
                0 => double::<C>(&points[start + multiple / 2 - 1]),
                _ => add_points::<C>(&points[start + multiple - 2], &first),
            };
            points.push(point);
        }
        if part + 1 < PARTS {
            // The last of the multiples is the first doubled three times.
            first = points[start + KEY_MULTIPLES - 1];
            for _ in KEY_MULTIPLES.ilog2() as usize..KEY_PART_BITS {
                first = double::<C>(&first);
            }
        }
    }
    let mut tables = [(); 8].map(|()| KeyTable::empty());
    // One inversion for all points of a lane.
    let mut product = splat(&C::ONE);
    let mut before = Vec::with_capacity(points.len());
    for point in &points {
        before.push(product);
        product = mul::<C>(&product, &point.z);
    }
    let mut inverse = power::<C>(&product, &subtract(&C::Field::PRIME, &[2, 0, 0, 0]).0);
    for (position, point) in points.iter().enumerate().rev() {
        let z_inverse = mul::<C>(&inverse, &before[position]);
        inverse = mul::<C>(&inverse, &point.z);
        let square = square::<C>(&z_inverse);
        let lines = scatter::<C>(&mul::<C>(&point.x, &square), &mul::<C>(&point.y, &mul::<C>(&square, &z_inverse)));
        for (table, line) in tables.iter_mut().zip(lines) {
            table.0.as_flattened_mut()[position] = line;
        }
    }
    tables
}
