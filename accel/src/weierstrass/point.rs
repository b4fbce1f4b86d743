//! Points in Jacobian coordinates, x = X/Z², y = Y/Z³, exact in every case: equal points, opposite ones, and infinity,
//! which is Z = 0.

use super::curve::Curve;
use super::montgomery::{Limbs, Modulus, Residue, invert_all, limbs_from_be, subtract};

/// A number modulo the curve's prime.
pub(super) type Fe<C> = Residue<<C as Curve>::Field>;

/// A point that is not at infinity.
#[derive(Clone, Copy)]
pub(super) struct Affine<C: Curve> {
    pub(super) x: Fe<C>,
    pub(super) y: Fe<C>,
}

/// Any point.
#[derive(Clone, Copy)]
pub(super) struct Jacobian<C: Curve> {
    pub(super) x: Fe<C>,
    pub(super) y: Fe<C>,
    pub(super) z: Fe<C>,
}

impl<C: Curve> Affine<C> {
    /// G.
    pub(super) fn generator() -> Self {
        Self { x: Residue::reduced(&C::G[0]), y: Residue::reduced(&C::G[1]) }
    }

    /// From its compressed form (SEC 1 §2.3.4): 02 or 03, then x below p. `None` where there is no such point.
    pub(super) fn decode(encoding: &[u8; 33]) -> Option<Self> {
        let (tag, x) = encoding.split_first().expect("33 bytes");
        let odd = match tag {
            2 => false,
            3 => true,
            _ => return None,
        };
        let x = Fe::<C>::canonical(&limbs_from_be(x.try_into().expect("32 bytes")))?;
        let square = right_side::<C>(&x);
        // p = 3 modulo 4, so a root is the power of (p + 1) / 4.
        let y = square.power(&root_exponent::<C>());
        if y.square() != square {
            return None;
        }
        // No point has y = 0, as there is none of order two; so y and −y differ in parity.
        let is_odd = y.number()[0] & 1 == 1;
        Some(Self { x, y: if is_odd == odd { y } else { y.negated() } })
    }
}

/// (p + 1) / 4.
pub(super) fn root_exponent<C: Curve>() -> Limbs {
    let [l0, l1, l2, l3] = subtract(&C::Field::PRIME, &[3, 0, 0, 0]).0;
    let quarter = [l0 >> 2 | l1 << 62, l1 >> 2 | l2 << 62, l2 >> 2 | l3 << 62, l3 >> 2];
    super::montgomery::add(&quarter, &[1, 0, 0, 0]).0
}

/// x³ + ax + b.
fn right_side<C: Curve>(x: &Fe<C>) -> Fe<C> {
    let cube = x.square().mul(x).add(&Residue::reduced(&C::B));
    if C::A_IS_MINUS_3 { cube.sub(&x.double().add(x)) } else { cube }
}

impl<C: Curve> Jacobian<C> {
    pub(super) const INFINITY: Self = Self { x: Residue::ONE, y: Residue::ONE, z: Residue::ZERO };

    pub(super) fn is_infinity(&self) -> bool {
        self.z.is_zero()
    }

    /// 4 multiplications and 4 squarings for a = −3.
    pub(super) fn double(&self) -> Self {
        let gamma = self.y.square();
        let beta = self.x.mul(&gamma);
        let third = if C::A_IS_MINUS_3 {
            let delta = self.z.square();
            self.x.sub(&delta).mul(&self.x.add(&delta))
        } else {
            self.x.square()
        };
        let alpha = third.double().add(&third);
        let beta4 = beta.double().double();
        let x = alpha.square().sub(&beta4.double());
        let gamma2 = gamma.double();
        let y = alpha.mul(&beta4.sub(&x)).sub(&gamma2.square().double());
        Self { x, y, z: self.y.mul(&self.z).double() }
    }

    /// self + q; 8 multiplications and 3 squarings.
    pub(super) fn add_affine(&self, q: &Affine<C>) -> Self {
        if self.is_infinity() {
            return Self { x: q.x, y: q.y, z: Residue::ONE };
        }
        let zz = self.z.square();
        let (u2, s2) = (q.x.mul(&zz), q.y.mul(&self.z.mul(&zz)));
        self.add_scaled(&self.x, &self.y, &u2, &s2, &self.z)
    }

    /// self + q; 12 multiplications and 4 squarings.
    pub(super) fn add(&self, q: &Self) -> Self {
        if self.is_infinity() {
            return *q;
        }
        if q.is_infinity() {
            return *self;
        }
        let (zz1, zz2) = (self.z.square(), q.z.square());
        let (u1, s1) = (self.x.mul(&zz2), self.y.mul(&q.z.mul(&zz2)));
        let (u2, s2) = (q.x.mul(&zz1), q.y.mul(&self.z.mul(&zz1)));
        self.add_scaled(&u1, &s1, &u2, &s2, &self.z.mul(&q.z))
    }

    /// The sum of (u1 : s1 : z) and (u2 : s2 : z), of which the first is self.
    fn add_scaled(&self, u1: &Fe<C>, s1: &Fe<C>, u2: &Fe<C>, s2: &Fe<C>, z: &Fe<C>) -> Self {
        let (h, r) = (u2.sub(u1), s2.sub(s1));
        if h.is_zero() {
            return if r.is_zero() { self.double() } else { Self::INFINITY };
        }
        let hh = h.square();
        let (hhh, v) = (h.mul(&hh), u1.mul(&hh));
        let x = r.square().sub(&hhh).sub(&v.double());
        let y = r.mul(&v.sub(&x)).sub(&s1.mul(&hhh));
        Self { x, y, z: z.mul(&h) }
    }

    /// Whether its x is one of `candidates` (below p), without a division. False at infinity.
    pub(super) fn has_x(&self, candidates: impl IntoIterator<Item = Limbs>) -> bool {
        let zz = self.z.square();
        let x = self.x.number();
        !self.is_infinity() && candidates.into_iter().any(|candidate| zz.times_number(&candidate) == x)
    }
}

/// Each point, none at infinity, with Z = 1.
pub(super) fn to_affine<C: Curve>(points: &[Jacobian<C>]) -> Vec<Affine<C>> {
    let mut inverses: Vec<Fe<C>> = points.iter().map(|point| point.z).collect();
    invert_all(&mut inverses);
    let scale = |(point, inverse): (&Jacobian<C>, Fe<C>)| {
        let square = inverse.square();
        Affine { x: point.x.mul(&square), y: point.y.mul(&square.mul(&inverse)) }
    };
    points.iter().zip(inverses).map(scale).collect()
}
