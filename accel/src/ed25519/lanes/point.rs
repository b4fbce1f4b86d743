//! Eight points of edwards25519 side by side: decoding, addition, doubling. Formulas are complete: no special cases.
//!
//! Extended coordinates (X : Y : Z : T), x = X/Z, y = Y/Z, T = XY/Z (Hisil, Wong, Carter, Dawson 2008, a = −1).

use super::alone::Prepared8;
use super::field::{
    Fe8, Limbs, add, from_lanes, invert, mul, neg, odd_lanes, select, splat, sqrt_ratio, square, sub, to_lanes,
    zero_lanes,
};
use super::field_constants::{D, D2, ONE, ZERO};
use crate::ifma::five;
use core::arch::x86_64::*;

/// Eight points.
#[derive(Clone, Copy)]
pub(super) struct Point8 {
    pub(super) x: Fe8,
    pub(super) y: Fe8,
    pub(super) z: Fe8,
    pub(super) t: Fe8,
}

/// One affine point, made ready to be added: y + x, y − x, 2dxy, −2dxy.
#[derive(Clone, Debug)]
#[repr(C)]
pub(in crate::ed25519) struct Niels(pub(super) [Limbs; 4]);

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn identity() -> Point8 {
    Point8 { x: splat(&ZERO), y: splat(&ONE), z: splat(&ONE), t: splat(&ZERO) }
}

/// 9 multiplications, one of them by 2d.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn add_points(p: &Point8, q: &Point8) -> Point8 {
    let a = mul(&sub(&p.y, &p.x), &sub(&q.y, &q.x));
    let b = mul(&add(&p.y, &p.x), &add(&q.y, &q.x));
    let c = mul(&mul(&p.t, &q.t), &splat(&D2));
    let z = mul(&p.z, &q.z);
    from_ratio(&a, &b, &c, &add(&z, &z))
}

/// p plus a point of its own in each lane. 8 multiplications.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn add_points_prepared(p: &Point8, q: &Prepared8) -> Point8 {
    let a = mul(&sub(&p.y, &p.x), &q.minus);
    let b = mul(&add(&p.y, &p.x), &q.plus);
    from_ratio(&a, &b, &mul(&p.t, &q.t2d), &mul(&p.z, &q.z2))
}

/// The last four multiplications that additions share.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn from_ratio(a: &Fe8, b: &Fe8, c: &Fe8, d: &Fe8) -> Point8 {
    let (e, f, g, h) = (sub(b, a), sub(d, c), add(d, c), add(b, a));
    Point8 { x: mul(&e, &f), y: mul(&g, &h), z: mul(&f, &g), t: mul(&e, &h) }
}

/// p plus one and the same q in every lane, −q in the lanes of `negative`. 7 multiplications.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn add_niels(p: &Point8, q: &Niels, negative: __mmask8) -> Point8 {
    let [plus, minus, t2d, neg_t2d] = [splat(&q.0[0]), splat(&q.0[1]), splat(&q.0[2]), splat(&q.0[3])];
    let a = mul(&sub(&p.y, &p.x), &select(negative, &minus, &plus));
    let b = mul(&add(&p.y, &p.x), &select(negative, &plus, &minus));
    let c = mul(&p.t, &select(negative, &t2d, &neg_t2d));
    from_ratio(&a, &b, &c, &add(&p.z, &p.z))
}

/// 4 multiplications and 4 squarings (RFC 8032 §5.1.4).
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn double(p: &Point8) -> Point8 {
    let (a, b, zz) = (square(&p.x), square(&p.y), square(&p.z));
    let h = add(&a, &b);
    let e = sub(&h, &square(&add(&p.x, &p.y)));
    let g = sub(&a, &b);
    let f = add(&add(&zz, &zz), &g);
    Point8 { x: mul(&e, &f), y: mul(&g, &h), z: mul(&f, &g), t: mul(&e, &h) }
}

#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn double_times(p: &Point8, times: u32) -> Point8 {
    let mut p = *p;
    for _ in 0..times {
        p = double(&p);
    }
    p
}

/// Lane i of the result is lane `from[i]` of `p`.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn permute(p: &Point8, from: __m512i) -> Point8 {
    Point8 {
        x: Fe8(five!(|i| _mm512_permutexvar_epi64(from, p.x.0[i]))),
        y: Fe8(five!(|i| _mm512_permutexvar_epi64(from, p.y.0[i]))),
        z: Fe8(five!(|i| _mm512_permutexvar_epi64(from, p.z.0[i]))),
        t: Fe8(five!(|i| _mm512_permutexvar_epi64(from, p.t.0[i]))),
    }
}

/// The lanes whose point is the neutral element.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn identity_lanes(p: &Point8) -> __mmask8 {
    zero_lanes(&p.x) & zero_lanes(&sub(&p.y, &p.z))
}

/// Decodes N times eight encodings with the rules of ZIP-215: any y of 255 bits, and a sign for x = 0. The second value is
/// the lanes that are on the curve; the others hold nonsense.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn decode<const N: usize>(encodings: &[[[u8; 32]; 8]; N]) -> [(Point8, __mmask8); N] {
    let one = splat(&ONE);
    let (mut ys, mut us, mut vs, mut signs) = ([one; N], [one; N], [one; N], [0; N]);
    for i in 0..N {
        (ys[i], signs[i]) = parse(&encodings[i]);
        let yy = square(&ys[i]);
        us[i] = sub(&yy, &one);
        // −1 is a square and d is not, so v = d y² + 1 is never zero.
        vs[i] = add(&mul(&yy, &splat(&D)), &one);
    }
    let roots = sqrt_ratio(&us, &vs);
    let mut decoded = [(identity(), 0); N];
    for i in 0..N {
        let (root, on_curve) = roots[i];
        let x = select(odd_lanes(&root) ^ signs[i], &root, &neg(&root));
        decoded[i] = (Point8 { x, y: ys[i], z: one, t: mul(&x, &ys[i]) }, on_curve);
    }
    decoded
}

/// The 255 bits of y, and the lanes where the sign bit is set.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn parse(encodings: &[[u8; 32]; 8]) -> (Fe8, __mmask8) {
    let mut limbs = [[0; 8]; 5];
    let mut signs: __mmask8 = 0;
    for (lane, encoding) in encodings.iter().enumerate() {
        let (words, _) = encoding.as_chunks::<8>();
        let w = [0, 1, 2, 3].map(|i: usize| u64::from_le_bytes(words[i]));
        let mask = (1 << 51) - 1;
        limbs[0][lane] = w[0] & mask;
        limbs[1][lane] = (w[0] >> 51 | w[1] << 13) & mask;
        limbs[2][lane] = (w[1] >> 38 | w[2] << 26) & mask;
        limbs[3][lane] = (w[2] >> 25 | w[3] << 39) & mask;
        limbs[4][lane] = (w[3] >> 12) & mask;
        signs |= u8::from(w[3] >> 63 == 1) << lane;
    }
    (from_lanes(&limbs), signs)
}

/// The eight points, affine and ready to be added.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn to_niels_scaled(p: &Point8) -> [Niels; 8] {
    let inverse = invert(&p.z);
    let (x, y) = (mul(&p.x, &inverse), mul(&p.y, &inverse));
    to_niels(&x, &y)
}

/// The same for affine coordinates.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn to_niels(x: &Fe8, y: &Fe8) -> [Niels; 8] {
    let t2d = mul(&mul(x, y), &splat(&D2));
    let parts = [add(y, x), sub(y, x), t2d, neg(&t2d)].map(|part| to_lanes(part));
    core::array::from_fn(|lane| {
        Niels(core::array::from_fn(|part| core::array::from_fn(|limb| parts[part][limb][lane])))
    })
}
