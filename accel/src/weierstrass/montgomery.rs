//! Numbers modulo a prime of 256 bits, in Montgomery form with R = 2^256 and four limbs of 64 bits, least significant
//! first.
//!
//! Always reduced, so that equality is that of limbs. Time depends on the values: for public data only.

use std::marker::PhantomData;

/// A number of 256 bits, least significant limb first.
pub(crate) type Limbs = [u64; 4];

/// How a multiple of the prime is found while reducing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// By multiplication.
    Any,
    /// 2^256 − 2^224 − 2^96 + 2^64 − 1.
    Sm2,
    /// 2^256 − 2^224 + 2^192 + 2^96 − 1.
    P256,
    /// 2^256 − 2^32 − 977.
    Secp256k1,
}

/// A prime above 2^255.
pub(crate) trait Modulus: Copy + Eq + std::fmt::Debug + Send + Sync + 'static {
    /// The prime.
    const PRIME: Limbs;
    /// Its shape.
    const SHAPE: Shape;
    /// −1 / prime modulo 2^64.
    const NEGATED_INVERSE: u64 = negated_inverse(Self::PRIME[0]);
    /// R modulo the prime.
    const R: Limbs = negated_limbs(&Self::PRIME);
    /// R² modulo the prime.
    const R_SQUARED: Limbs = doubled(Self::R, 256, &Self::PRIME);
}

const fn negated_inverse(low: u64) -> u64 {
    // Newton's iteration doubles the number of right bits; an odd number is its own inverse in three.
    let mut inverse = low;
    let mut step = 0;
    while step < 5 {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(low.wrapping_mul(inverse)));
        step += 1;
    }
    inverse.wrapping_neg()
}

/// 2^256 − a for a not zero.
const fn negated_limbs(a: &Limbs) -> Limbs {
    subtract(&[0; 4], a).0
}

/// a · 2^times modulo the prime.
pub(crate) const fn doubled(mut a: Limbs, times: u32, prime: &Limbs) -> Limbs {
    let mut step = 0;
    while step < times {
        let (sum, carry) = add(&a, &a);
        a = reduce_once(&sum, carry, prime);
        step += 1;
    }
    a
}

/// a + b + carry, and what is carried out. The methods of the library are not constant functions yet.
const fn carrying(a: u64, b: u64, carry: bool) -> (u64, bool) {
    let (sum, first) = a.overflowing_add(b);
    let (sum, second) = sum.overflowing_add(carry as u64);
    (sum, first | second)
}

/// a − b − borrow, and what is borrowed.
const fn borrowing(a: u64, b: u64, borrow: bool) -> (u64, bool) {
    let (difference, first) = a.overflowing_sub(b);
    let (difference, second) = difference.overflowing_sub(borrow as u64);
    (difference, first | second)
}

/// a + b, and what is carried out.
pub(crate) const fn add(a: &Limbs, b: &Limbs) -> (Limbs, bool) {
    let (l0, c) = carrying(a[0], b[0], false);
    let (l1, c) = carrying(a[1], b[1], c);
    let (l2, c) = carrying(a[2], b[2], c);
    let (l3, c) = carrying(a[3], b[3], c);
    ([l0, l1, l2, l3], c)
}

/// a − b, and whether that is negative.
pub(crate) const fn subtract(a: &Limbs, b: &Limbs) -> (Limbs, bool) {
    let (l0, c) = borrowing(a[0], b[0], false);
    let (l1, c) = borrowing(a[1], b[1], c);
    let (l2, c) = borrowing(a[2], b[2], c);
    let (l3, c) = borrowing(a[3], b[3], c);
    ([l0, l1, l2, l3], c)
}

/// Whether a < b.
pub(crate) const fn less(a: &Limbs, b: &Limbs) -> bool {
    subtract(a, b).1
}

/// From a + carry · 2^256 below twice the prime.
const fn reduce_once(a: &Limbs, carry: bool, prime: &Limbs) -> Limbs {
    let (difference, negative) = subtract(a, prime);
    // By masks: a branch would be guessed wrongly every other time.
    let keep = 0_u64.wrapping_sub((negative & !carry) as u64);
    let [d0, d1, d2, d3] = difference;
    [a[0] & keep | d0 & !keep, a[1] & keep | d1 & !keep, a[2] & keep | d2 & !keep, a[3] & keep | d3 & !keep]
}

/// From 32 bytes, big-endian.
pub(crate) fn limbs_from_be(bytes: &[u8; 32]) -> Limbs {
    let (words, _) = bytes.as_chunks::<8>();
    [words[3], words[2], words[1], words[0]].map(u64::from_be_bytes)
}

/// To 32 bytes, big-endian.
pub(crate) fn limbs_to_be(limbs: &Limbs) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (word, limb) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(limbs.iter().rev()) {
        *word = limb.to_be_bytes();
    }
    bytes
}

/// A number modulo `M`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Residue<M>(Limbs, PhantomData<M>);

impl<M: Modulus> Residue<M> {
    pub(crate) const ZERO: Self = Self::from_montgomery([0; 4]);
    pub(crate) const ONE: Self = Self::from_montgomery(M::R);

    /// From a · R, below the prime.
    pub(crate) const fn from_montgomery(limbs: Limbs) -> Self {
        Self(limbs, PhantomData)
    }

    /// a · R.
    pub(crate) const fn montgomery(&self) -> &Limbs {
        &self.0
    }

    /// Any number of 256 bits, which is below twice the prime, brought below the prime.
    pub(crate) fn reduced_limbs(limbs: &Limbs) -> Limbs {
        reduce_once(limbs, false, &M::PRIME)
    }

    /// From any number of 256 bits.
    pub(crate) fn reduced(limbs: &Limbs) -> Self {
        Self::from_montgomery(multiply::<M>(&Self::reduced_limbs(limbs), &M::R_SQUARED))
    }

    /// From a number below the prime; `None` for one that is not.
    pub(crate) fn canonical(limbs: &Limbs) -> Option<Self> {
        less(limbs, &M::PRIME).then(|| Self::reduced(limbs))
    }

    /// The number itself, below the prime.
    pub(crate) fn number(&self) -> Limbs {
        multiply::<M>(&self.0, &[1, 0, 0, 0])
    }

    /// self · b of a number b below the prime: the number itself, without a conversion.
    pub(crate) fn times_number(&self, b: &Limbs) -> Limbs {
        multiply::<M>(&self.0, b)
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.0 == [0; 4]
    }

    #[inline(always)]
    pub(crate) fn add(&self, b: &Self) -> Self {
        let (sum, carry) = add(&self.0, &b.0);
        Self::from_montgomery(reduce_once(&sum, carry, &M::PRIME))
    }

    #[inline(always)]
    pub(crate) fn sub(&self, b: &Self) -> Self {
        let (difference, negative) = subtract(&self.0, &b.0);
        let mask = 0_u64.wrapping_sub(u64::from(negative));
        Self::from_montgomery(add(&difference, &M::PRIME.map(|limb| limb & mask)).0)
    }

    #[inline(always)]
    pub(crate) fn double(&self) -> Self {
        self.add(self)
    }

    pub(crate) fn negated(&self) -> Self {
        Self::ZERO.sub(self)
    }

    #[inline(always)]
    pub(crate) fn mul(&self, b: &Self) -> Self {
        Self::from_montgomery(multiply::<M>(&self.0, &b.0))
    }

    #[inline(always)]
    pub(crate) fn square(&self) -> Self {
        Self::from_montgomery(square::<M>(&self.0))
    }

    /// self^exponent, in windows of four bits.
    pub(crate) fn power(&self, exponent: &Limbs) -> Self {
        let mut powers = [Self::ONE; 16];
        for i in 1..16 {
            powers[i] = powers[i - 1].mul(self);
        }
        let mut product = Self::ONE;
        for limb in exponent.iter().rev() {
            for window in (0..16).rev() {
                product = product.square().square().square().square();
                let digit = (limb >> (4 * window)) as usize & 15;
                if digit != 0 {
                    product = product.mul(&powers[digit]);
                }
            }
        }
        product
    }

    /// 1 / self, and 0 for 0.
    pub(crate) fn inverted(&self) -> Self {
        self.power(&subtract(&M::PRIME, &[2, 0, 0, 0]).0)
    }
}

/// Inverts each of `numbers`, none of them zero, for one inversion and three multiplications each.
pub(crate) fn invert_all<M: Modulus>(numbers: &mut [Residue<M>]) {
    let mut product = Residue::<M>::ONE;
    let before: Vec<Residue<M>> = numbers
        .iter()
        .map(|number| {
            let before = product;
            product = product.mul(number);
            before
        })
        .collect();
    let mut inverse = product.inverted();
    for (number, before) in numbers.iter_mut().zip(before).rev() {
        (*number, inverse) = (inverse.mul(&before), inverse.mul(number));
    }
}

/// a · b / R modulo the prime, below it; a and b are below the prime.
#[inline(always)]
fn multiply<M: Modulus>(a: &Limbs, b: &Limbs) -> Limbs {
    let mut product = [0_u64; 8];
    for (i, factor) in b.iter().enumerate() {
        let mut carry = 0;
        for (j, limb) in a.iter().enumerate() {
            (product[i + j], carry) = limb.carrying_mul_add(*factor, product[i + j], carry);
        }
        product[i + 4] = carry;
    }
    reduce_product::<M>(&product)
}

/// a² / R modulo the prime, below it; a is below the prime.
#[inline(always)]
fn square<M: Modulus>(a: &Limbs) -> Limbs {
    let mut product = [0_u64; 8];
    for i in 0..3 {
        let mut carry = 0;
        for j in i + 1..4 {
            (product[i + j], carry) = a[i].carrying_mul_add(a[j], product[i + j], carry);
        }
        product[i + 4] = carry;
    }
    for i in (1..8).rev() {
        product[i] = product[i] << 1 | product[i - 1] >> 63;
    }
    let mut carry = false;
    for i in 0..4 {
        let (low, high) = a[i].carrying_mul_add(a[i], 0, 0);
        (product[2 * i], carry) = carrying(product[2 * i], low, carry);
        (product[2 * i + 1], carry) = carrying(product[2 * i + 1], high, carry);
    }
    reduce_product::<M>(&product)
}

/// From a product below prime², limb by limb: a multiple q · prime makes the lowest limb zero.
#[inline(always)]
fn reduce_product<M: Modulus>(product: &[u64; 8]) -> Limbs {
    let mut t = *product;
    let mut above = false;
    for i in 0..4 {
        let multiple = multiple_above::<M>(t[i]);
        let mut carry = false;
        for (j, limb) in multiple.into_iter().enumerate().take(3) {
            (t[i + j + 1], carry) = carrying(t[i + j + 1], limb, carry);
        }
        // The multiple is below the prime, so that at most one is carried in all.
        let (sum, first) = carrying(t[i + 4], multiple[3], carry);
        let (sum, second) = carrying(sum, 0, above);
        (t[i + 4], above) = (sum, first | second);
    }
    reduce_once(&[t[4], t[5], t[6], t[7]], above, &M::PRIME)
}

/// (low + q · prime) / 2^64 with the q that makes this a whole number; below the prime.
#[inline(always)]
fn multiple_above<M: Modulus>(low: u64) -> Limbs {
    let q = low.wrapping_mul(M::NEGATED_INVERSE);
    match M::SHAPE {
        Shape::Any => {
            let (_, carry) = q.carrying_mul_add(M::PRIME[0], low, 0);
            let (l0, carry) = q.carrying_mul_add(M::PRIME[1], carry, 0);
            let (l1, carry) = q.carrying_mul_add(M::PRIME[2], carry, 0);
            let (l2, l3) = q.carrying_mul_add(M::PRIME[3], carry, 0);
            [l0, l1, l2, l3]
        }
        // q is low, and prime + 1 is a multiple of 2^64.
        Shape::Sm2 => subtract(&[q, 0, 0, q], &[q << 32, q >> 32, q << 32, q >> 32]).0,
        Shape::P256 => {
            let (l2, borrow) = borrowing(q, q << 32, false);
            [q << 32, q >> 32, l2, borrowing(q, q >> 32, borrow).0]
        }
        // The low half of q · (2^32 + 977) is low.
        Shape::Secp256k1 => {
            let (_, high) = q.carrying_mul_add((1 << 32) + 977, 0, 0);
            subtract(&[0, 0, 0, q], &[high, 0, 0, 0]).0
        }
    }
}
