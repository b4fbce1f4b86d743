//! Eight points side by side in Jacobian coordinates: x = X/Z², y = Y/Z³.
//!
//! Additions have no special cases: the sum of equal or of opposite points comes out with Z = 0, and from then on Z
//! stays 0, whatever is added. So one look at Z in the end tells whether a lane went wrong, and such a lane is done
//! again elsewhere. (A doubling never goes wrong, as no point has order two.) Infinity is never met otherwise: a sum
//! starts from a point.
//!
//! Coordinates are below 2.01 p, Z below 2.8 p, and stay so.

use super::constants::Shape;
use super::field::{
    Fe8, Loose, add, carry, mul, mul_loose, negated, reduce, select, shifted, splat, square, square_loose, sub,
    zero_lanes,
};
use core::arch::x86_64::*;

/// Eight points.
#[derive(Clone, Copy)]
pub(super) struct Point8 {
    pub(super) x: Fe8,
    pub(super) y: Fe8,
    pub(super) z: Fe8,
}

#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn from_affine<C: Shape>(x: &Fe8, y: &Fe8) -> Point8 {
    Point8 { x: *x, y: *y, z: splat(&C::ONE) }
}

/// 4 multiplications and 4 squarings, a squaring less for a = 0.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn double<C: Shape>(p: &Point8) -> Point8 {
    let gamma = square::<C>(&p.y);
    let beta = mul_loose::<C>(&p.x, &gamma);
    // 3x² + aZ⁴, below 4p.
    let alpha = if C::A_IS_MINUS_3 {
        let delta = square::<C>(&p.z);
        let sum = add(p.x, delta);
        mul::<C>(&reduce::<C>(sub(p.x, delta)), &reduce::<C>(add(sum, shifted::<1>(sum))))
    } else {
        let xx = square_loose::<C>(&p.x);
        carry(add(xx, shifted::<1>(xx)))
    };
    let beta4 = shifted::<2>(beta);
    let x = reduce::<C>(sub(square_loose::<C>(&alpha), shifted::<1>(beta4)));
    let gamma2 = square_loose::<C>(&gamma);
    let y = reduce::<C>(sub(mul_loose::<C>(&alpha, &reduce::<C>(sub(beta4, x))), shifted::<3>(gamma2)));
    Point8 { x, y, z: carry(shifted::<1>(mul_loose::<C>(&p.y, &p.z))) }
}

/// p plus the affine point (x, y), below 16 p each, with −y in the lanes of `negative`; p itself in the lanes of
/// `none`. 8 multiplications and 3 squarings.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn add_affine<C: Shape>(p: &Point8, [x, y]: &[Fe8; 2], negative: __mmask8, none: __mmask8) -> Point8 {
    let zz = square::<C>(&p.z);
    let u2 = mul_loose::<C>(x, &zz);
    let s2 = negated(negative, mul_loose::<C>(y, &mul::<C>(&p.z, &zz)));
    let sum = add_scaled::<C>(&p.x, &p.y, u2, s2, &p.z);
    Point8 { x: select(none, &sum.x, &p.x), y: select(none, &sum.y, &p.y), z: select(none, &sum.z, &p.z) }
}

/// p + q. 12 multiplications and 4 squarings.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn add_points<C: Shape>(p: &Point8, q: &Point8) -> Point8 {
    let (zz1, zz2) = (square::<C>(&p.z), square::<C>(&q.z));
    let (u1, s1) = (mul::<C>(&p.x, &zz2), mul::<C>(&p.y, &mul::<C>(&q.z, &zz2)));
    let (u2, s2) = (mul_loose::<C>(&q.x, &zz1), mul_loose::<C>(&q.y, &mul::<C>(&p.z, &zz1)));
    add_scaled::<C>(&u1, &s1, u2, s2, &mul::<C>(&p.z, &q.z))
}

/// The sum of (u1 : s1 : z) and (u2 : s2 : z).
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn add_scaled<C: Shape>(u1: &Fe8, s1: &Fe8, u2: Loose, s2: Loose, z: &Fe8) -> Point8 {
    let (h, r) = (reduce::<C>(sub(u2, *u1)), reduce::<C>(sub(s2, *s1)));
    let hh = square::<C>(&h);
    let (hhh, v) = (mul::<C>(&h, &hh), mul_loose::<C>(u1, &hh));
    let x = reduce::<C>(sub(sub(square_loose::<C>(&r), hhh), shifted::<1>(v)));
    let y = reduce::<C>(sub(mul_loose::<C>(&r, &reduce::<C>(sub(v, x))), mul_loose::<C>(s1, &hhh)));
    Point8 { x, y, z: mul::<C>(z, &h) }
}

/// Lanes where an exception made Z zero.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn exceptional_lanes<C: Shape>(p: &Point8) -> __mmask8 {
    zero_lanes::<C>(p.z.into())
}

/// Lanes whose x is the number given, which is below p.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn lanes_with_x<C: Shape>(p: &Point8, x: &Fe8) -> __mmask8 {
    let x = mul::<C>(x, &splat(&C::R_SQUARED));
    zero_lanes::<C>(sub(mul_loose::<C>(&x, &square::<C>(&p.z)), p.x))
}
