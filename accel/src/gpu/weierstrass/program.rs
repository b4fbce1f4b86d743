//! The program that `prepare_keys` interprets: what is done to a new key, as instructions over registers. Deliberately
//! absent: what an instruction does (prepare.wgsl), and numbers.

use super::{Curve, PART_BITS, PARTS};

/// Multiples of each part of the key in its slot: 1 to 4.
pub(super) const MULTIPLES: u32 = 4;

pub(super) const OP_MUL: u32 = 0;
pub(super) const OP_ADD_MULTIPLE: u32 = 1;
pub(super) const OP_LOAD: u32 = 2;
pub(super) const OP_STORE: u32 = 3;
pub(super) const OP_DOUBLE: u32 = 4;
const OP_CHOOSE_ROOT: u32 = 5;

/// Registers that hold constants at the start, in this order; the last is 1 outside Montgomery form.
pub(super) const GIVEN_REGISTERS: u32 = 5;
const R_SQUARED: u32 = 0;
const CURVE_A: u32 = 1;
const CURVE_B: u32 = 2;
const ONE: u32 = 3;
const PLAIN_ONE: u32 = 4;
/// The key.
pub(super) const X: u32 = 5;
pub(super) const Y: u32 = 6;
/// Powers that the long exponentiation comes back to; none is among the registers it is applied to.
const SAVED: [u32; 6] = [8, 9, 10, 11, 12, 13];
/// Multiples 1 to 4 of a part of the key, in Jacobian coordinates.
const JACOBIAN: [[u32; 3]; MULTIPLES as usize] = [[16, 17, 18], [19, 20, 21], [22, 23, 24], [25, 26, 27]];
/// Z of each multiple of each part, and the products of those up to it.
const Z: u32 = 28;
const Z_PRODUCTS: u32 = 45;

/// A step of an exponentiation: `to = from^(2^squarings)·by`, over places of [`SAVED`], place 0 being the base.
pub(super) type PowerStep = (usize, u32, usize, usize);

struct Program(Vec<u32>);

impl Program {
    fn push(&mut self, operation: u32, to: u32, a: u32, b: u32, number: u32) {
        debug_assert!(to < 64 && a < 64 && b < 64 && number < 1 << 11, "fields of an instruction");
        self.0.push(operation | to << 3 | a << 9 | b << 15 | number << 21);
    }

    /// to = a·b.
    fn mul(&mut self, to: u32, a: u32, b: u32) {
        self.square_mul(to, a, 0, b);
    }

    /// to = a^(2^squarings)·b.
    fn square_mul(&mut self, to: u32, a: u32, squarings: u32, b: u32) {
        self.push(OP_MUL, to, a, b, squarings);
    }

    /// to = a + times·b, for times within ±4.
    fn add(&mut self, to: u32, a: u32, times: i32, b: u32) {
        self.push(OP_ADD_MULTIPLE, to, a, b, times.wrapping_add(4) as u32);
    }

    fn load(&mut self, to: u32, multiple: u32) {
        self.push(OP_LOAD, to, 0, 0, multiple);
    }

    fn store(&mut self, from: u32, multiple: u32) {
        self.push(OP_STORE, 0, from, 0, multiple);
    }

    fn double(&mut self, to: [u32; 3], point: [u32; 3], times: u32) {
        self.push(OP_DOUBLE, to[0], point[0], 0, times);
    }

    /// to = p + q, for points that are neither the same nor opposite; all in Jacobian coordinates.
    fn add_points(&mut self, [x, y, z]: [u32; 3], [px, py, pz]: [u32; 3], [qx, qy, qz]: [u32; 3]) {
        self.mul(7, pz, pz);
        self.mul(8, qx, 7);
        self.mul(7, 7, pz);
        self.mul(7, qy, 7);
        self.mul(9, qz, qz);
        self.mul(10, px, 9);
        self.mul(9, 9, qz);
        self.mul(9, py, 9);
        self.add(8, 8, -1, 10);
        self.add(7, 7, -1, 9);
        self.mul(z, pz, qz);
        self.mul(z, z, 8);
        self.mul(11, 8, 8);
        self.mul(8, 8, 11);
        self.mul(10, 10, 11);
        self.mul(x, 7, 7);
        self.add(x, x, -1, 8);
        self.add(x, x, -2, 10);
        self.add(10, 10, -1, x);
        self.mul(7, 7, 10);
        self.mul(9, 9, 8);
        self.add(y, 7, -1, 9);
    }

    /// a^((p − 3)/4), of which both a root and an inverse are made. It ends in `SAVED[0]`.
    fn long_power(&mut self, a: u32, steps: &[PowerStep]) {
        let place = |place: usize| if place == 0 { a } else { SAVED[place] };
        for (at, (to, squarings, from, by)) in
            steps.iter().map(|(to, squarings, from, by)| (*to, *squarings, *from, *by)).enumerate()
        {
            let to = if at + 1 == steps.len() { SAVED[0] } else { place(to) };
            self.square_mul(to, place(from), squarings, place(by));
        }
    }
}

/// Instructions for keys of this curve.
pub(super) fn program(curve: &Curve) -> Vec<u32> {
    let mut p = Program(Vec::new());
    let power = SAVED[0];
    // y = g·g^((p−3)/4) is a root of g = x³ + ax + b where g has one, as p ≡ 3 modulo 4.
    p.mul(X, X, R_SQUARED);
    p.mul(7, X, X);
    p.add(7, 7, 1, CURVE_A);
    p.mul(7, 7, X);
    p.add(7, 7, 1, CURVE_B);
    p.long_power(7, curve.power_steps);
    p.mul(Y, power, 7);
    p.mul(8, Y, Y);
    p.add(8, 8, -1, 7);
    p.mul(9, Y, PLAIN_ONE);
    p.push(OP_CHOOSE_ROOT, 0, 8, 9, 0);

    // 2^(66·part)·P, and its multiples; only the first of all is affine as it is.
    let [one, two, three, four] = JACOBIAN;
    for (to, from) in one.into_iter().zip([X, Y, ONE]) {
        p.add(to, from, 0, ONE);
    }
    for part in 0..PARTS {
        if part > 0 {
            p.double(one, one, PART_BITS);
        }
        p.double(two, one, 1);
        p.add_points(three, one, two);
        p.double(four, two, 1);
        for (multiple, [x, _, z]) in (part * MULTIPLES..).zip(JACOBIAN) {
            p.store(x, multiple);
            p.add(Z + multiple, z, 0, ONE);
        }
    }

    // One inversion, p − 2 = 4·(p − 3)/4 + 1, of the product of all Z; from it the inverse of each, from the last to the first.
    let last = PARTS * MULTIPLES - 1;
    p.add(Z_PRODUCTS, Z, 0, ONE);
    for multiple in 1..=last {
        p.mul(Z_PRODUCTS + multiple, Z_PRODUCTS + multiple - 1, Z + multiple);
    }
    p.long_power(Z_PRODUCTS + last, curve.power_steps);
    p.square_mul(power, power, 2, Z_PRODUCTS + last);
    for multiple in (1..=last).rev() {
        p.mul(7, power, Z_PRODUCTS + multiple - 1);
        p.mul(power, power, Z + multiple);
        p.load(9, multiple);
        p.mul(11, 7, 7);
        p.mul(9, 9, 11);
        p.mul(11, 11, 7);
        p.mul(10, 10, 11);
        p.store(9, multiple);
    }
    p.0
}
