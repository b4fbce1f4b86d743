//! The program that `prepare_keys` interprets: what is done to a new key, as instructions over registers. Deliberately
//! absent: what an instruction does (prepare.wgsl), and numbers.

use super::Curve;

/// Multiples of the key in its slot.
pub(super) const MULTIPLES: u32 = 16;

pub(super) const OP_MUL: u32 = 0;
pub(super) const OP_ADD_MULTIPLE: u32 = 1;
pub(super) const OP_LOAD: u32 = 2;
pub(super) const OP_STORE: u32 = 3;
pub(super) const OP_CHOOSE_ROOT: u32 = 4;

/// Registers that hold constants at the start, in this order; the last is 1 outside Montgomery form.
pub(super) const GIVEN_REGISTERS: u32 = 4;
const R_SQUARED: u32 = 0;
const CURVE_A: u32 = 1;
const CURVE_B: u32 = 2;
const PLAIN_ONE: u32 = 3;
/// The key.
pub(super) const X: u32 = 5;
pub(super) const Y: u32 = 6;
/// A multiple of it in Jacobian coordinates.
const SUM: [u32; 3] = [11, 12, 13];
/// Quotient of the Z of multiple k + 1 and of multiple k, for k from 2.
const Z_QUOTIENTS: u32 = 17;
/// Powers that the long exponentiation comes back to; none is among the registers it is applied to.
const SAVED: [u32; 6] = [8, 9, 10, 11, 12, 14];

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
        self.push(OP_LOAD, to, 0, 0, multiple - 1);
    }

    fn store(&mut self, from: u32, multiple: u32) {
        self.push(OP_STORE, 0, from, 0, multiple - 1);
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
    p.store(X, 1);

    // 2P: α = 3x² + a, s = 4xy², x' = α² − 2s, y' = α(s − x') − 8y⁴, z' = 2y.
    let [x, y, z] = SUM;
    p.mul(7, X, X);
    p.add(8, 7, 2, 7);
    p.add(8, 8, 1, CURVE_A);
    p.mul(9, Y, Y);
    p.mul(10, X, 9);
    p.add(10, 10, 3, 10);
    p.mul(x, 8, 8);
    p.add(x, x, -2, 10);
    p.add(y, 10, -1, x);
    p.mul(y, 8, y);
    p.mul(9, 9, 9);
    p.add(y, y, -4, 9);
    p.add(y, y, -4, 9);
    p.add(z, Y, 1, Y);
    p.store(x, 2);

    // kP + P, for k from 2: never the same or opposite points, as the order is a large prime.
    for k in 2..MULTIPLES {
        let quotient = Z_QUOTIENTS + k - 2;
        p.mul(7, z, z);
        p.mul(8, X, 7);
        p.mul(7, 7, z);
        p.mul(7, Y, 7);
        p.add(quotient, 8, -1, x);
        p.add(7, 7, -1, y);
        p.mul(9, quotient, quotient);
        p.mul(10, quotient, 9);
        p.mul(9, x, 9);
        p.mul(x, 7, 7);
        p.add(x, x, -1, 10);
        p.add(x, x, -2, 9);
        p.add(9, 9, -1, x);
        p.mul(9, 7, 9);
        p.mul(10, y, 10);
        p.add(y, 9, -1, 10);
        p.mul(z, z, quotient);
        p.store(x, k + 1);
    }

    // One inversion, of the last Z, p − 2 = 4·(p − 3)/4 + 1; from it the inverse of each Z before by its quotient.
    p.long_power(z, curve.power_steps);
    p.square_mul(power, power, 2, z);
    for k in (2..=MULTIPLES).rev() {
        p.load(9, k);
        p.mul(7, power, power);
        p.mul(9, 9, 7);
        p.mul(7, 7, power);
        p.mul(10, 10, 7);
        p.store(9, k);
        if k > 2 {
            p.mul(power, power, Z_QUOTIENTS + k - 3);
        }
    }
    p.0
}
