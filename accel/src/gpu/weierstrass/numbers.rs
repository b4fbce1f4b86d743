//! Arithmetic modulo a 256-bit prime on the host: for constants and tables, computed once at start. Plain and slow, on
//! purpose: it owes nothing to the kernels that it feeds. Deliberately absent: anything secret, anything on a hot path.

/// A 256-bit number, least significant word first.
pub(crate) type Number = [u64; 4];

/// A modulus above 2^255, with what Montgomery multiplication needs.
#[derive(Clone, Copy)]
pub(crate) struct Prime {
    value: Number,
    /// −value⁻¹ mod 2^64.
    negative_inverse: u64,
    /// 2^512 mod value.
    square_of_r: Number,
}

/// Reads 64 hexadecimal digits.
pub(crate) const fn number(digits: &str) -> Number {
    let digits = digits.as_bytes();
    assert!(digits.len() == 64, "a 256-bit number has 64 digits");
    let (mut words, mut at) = ([0; 4], 0);
    while at < 64 {
        let digit = match digits[at] {
            digit @ b'0'..=b'9' => digit - b'0',
            digit @ b'a'..=b'f' => digit - b'a' + 10,
            _ => panic!("not a lower-case hexadecimal digit"),
        };
        words[3 - at / 16] = words[3 - at / 16] << 4 | digit as u64;
        at += 1;
    }
    words
}

/// The sum and its carry.
pub(crate) fn add(a: &Number, b: &Number) -> (Number, bool) {
    let (mut sum, mut carry) = ([0; 4], false);
    for (word, (a, b)) in sum.iter_mut().zip(a.iter().zip(b)) {
        let (low, first) = a.overflowing_add(*b);
        let (low, second) = low.overflowing_add(u64::from(carry));
        (*word, carry) = (low, first || second);
    }
    (sum, carry)
}

/// The difference and its borrow.
pub(crate) fn sub(a: &Number, b: &Number) -> (Number, bool) {
    let (mut difference, mut borrow) = ([0; 4], false);
    for (word, (a, b)) in difference.iter_mut().zip(a.iter().zip(b)) {
        let (low, first) = a.overflowing_sub(*b);
        let (low, second) = low.overflowing_sub(u64::from(borrow));
        (*word, borrow) = (low, first || second);
    }
    (difference, borrow)
}

/// Bit `at`.
pub(crate) fn bit(a: &Number, at: usize) -> bool {
    a[at / 64] >> (at % 64) & 1 == 1
}

impl Prime {
    /// From an odd prime above 2^255.
    pub(crate) fn new(value: Number) -> Self {
        // Newton: each round doubles the number of right bits, of which an odd number is its own inverse to three.
        let inverse =
            (0..5).fold(value[0], |inverse, _| inverse.wrapping_mul(2u64.wrapping_sub(value[0].wrapping_mul(inverse))));
        let mut prime = Self { value, negative_inverse: inverse.wrapping_neg(), square_of_r: [0; 4] };
        prime.square_of_r = (0..512).fold([1, 0, 0, 0], |power, _| prime.add(&power, &power));
        prime
    }

    /// The modulus itself.
    pub(crate) fn value(&self) -> &Number {
        &self.value
    }

    /// a + b.
    pub(crate) fn add(&self, a: &Number, b: &Number) -> Number {
        let (sum, carry) = add(a, b);
        let (less, borrow) = sub(&sum, &self.value);
        if carry || !borrow { less } else { sum }
    }

    /// a − b.
    pub(crate) fn sub(&self, a: &Number, b: &Number) -> Number {
        let (difference, borrow) = sub(a, b);
        if borrow { add(&difference, &self.value).0 } else { difference }
    }

    /// a·b.
    pub(crate) fn mul(&self, a: &Number, b: &Number) -> Number {
        self.montgomery(&self.montgomery(a, b), &self.square_of_r)
    }

    /// a^exponent.
    pub(crate) fn pow(&self, a: &Number, exponent: &Number) -> Number {
        (0..256).rev().fold([1, 0, 0, 0], |power, at| {
            let square = self.mul(&power, &power);
            if bit(exponent, at) { self.mul(&square, a) } else { square }
        })
    }

    /// a⁻¹, of 0 it is 0.
    pub(crate) fn inverse(&self, a: &Number) -> Number {
        self.pow(a, &sub(&self.value, &[2, 0, 0, 0]).0)
    }

    /// 2^exponent.
    pub(crate) fn power_of_two(&self, exponent: usize) -> Number {
        (0..exponent).fold([1, 0, 0, 0], |power, _| self.add(&power, &power))
    }

    /// a·b·2^−256, for a·b below 2^256 times the modulus.
    fn montgomery(&self, a: &Number, b: &Number) -> Number {
        let mut t = [0u64; 6];
        for word in b {
            let mut carry = 0u128;
            for (t, a) in t.iter_mut().zip(a) {
                carry += u128::from(*t) + u128::from(*a) * u128::from(*word);
                *t = carry as u64;
                carry >>= 64;
            }
            carry += u128::from(t[4]);
            (t[4], t[5]) = (carry as u64, (carry >> 64) as u64);
            let factor = u128::from(t[0].wrapping_mul(self.negative_inverse));
            let mut carry = (u128::from(t[0]) + factor * u128::from(self.value[0])) >> 64;
            for at in 1..4 {
                carry += u128::from(t[at]) + factor * u128::from(self.value[at]);
                t[at - 1] = carry as u64;
                carry >>= 64;
            }
            carry += u128::from(t[4]);
            t[3] = carry as u64;
            t[4] = t[5] + (carry >> 64) as u64;
        }
        let product = [t[0], t[1], t[2], t[3]];
        let (less, borrow) = sub(&product, &self.value);
        if t[4] == 1 || !borrow { less } else { product }
    }
}

/// A point that is not infinite.
pub(crate) type Point = [Number; 2];

/// Multiples 1 to `count` of a point of large order on y² = x³ + ax + b: each round adds the last one to all before it,
/// with one inversion.
pub(crate) fn multiples(field: &Prime, a: &Number, point: &Point, count: usize) -> Vec<Point> {
    let mut points = vec![*point];
    while points.len() < count {
        let last = points[points.len() - 1];
        let mut sums = points.clone();
        sums.truncate(count - points.len());
        // Slopes: numerator and denominator, then the denominators' inverses from that of their product.
        let slopes: Vec<[Number; 2]> = sums.iter().map(|other| slope(field, a, &last, other)).collect();
        let mut products = vec![[1, 0, 0, 0]];
        products.extend(slopes.iter().scan([1, 0, 0, 0], |product, [_, denominator]| {
            *product = field.mul(product, denominator);
            Some(*product)
        }));
        let mut inverse = field.inverse(&products[slopes.len()]);
        for (at, [numerator, denominator]) in slopes.iter().enumerate().rev() {
            let slope = field.mul(numerator, &field.mul(&inverse, &products[at]));
            inverse = field.mul(&inverse, denominator);
            sums[at] = third_point(field, &slope, &last, &sums[at]);
        }
        points.extend(sums);
    }
    points
}

/// P + Q on y² = x³ + ax + b, for P ≠ −Q.
pub(crate) fn add_points(field: &Prime, a: &Number, p: &Point, q: &Point) -> Point {
    let [numerator, denominator] = slope(field, a, p, q);
    third_point(field, &field.mul(&numerator, &field.inverse(&denominator)), p, q)
}

fn slope(field: &Prime, a: &Number, p: &Point, q: &Point) -> [Number; 2] {
    if p == q {
        let square = field.mul(&p[0], &p[0]);
        let numerator = field.add(&field.add(&square, &field.add(&square, &square)), a);
        return [numerator, field.add(&p[1], &p[1])];
    }
    [field.sub(&q[1], &p[1]), field.sub(&q[0], &p[0])]
}

fn third_point(field: &Prime, slope: &Number, p: &Point, q: &Point) -> Point {
    let x = field.sub(&field.sub(&field.mul(slope, slope), &p[0]), &q[0]);
    [x, field.sub(&field.mul(slope, &field.sub(&p[0], &x)), &p[1])]
}
