//! The group on curve25519-dalek, which picks its own backend (serial, AVX2, AVX-512 IFMA) at run time.

use super::{Group, Parts};
use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
use std::iter::once;

/// The arithmetic on curve25519-dalek.
pub(super) struct Portable;

fn decode(encoding: &[u8; 32]) -> Option<EdwardsPoint> {
    CompressedEdwardsY(*encoding).decompress()
}

impl Group for Portable {
    type Key = EdwardsPoint;
    type Point = EdwardsPoint;

    const NAME: &'static str = "cpu";
    const ALONE_MAX: usize = 3;
    const ONE_BY_REFERENCE: bool = false;

    fn decode_keys(&self, encodings: &[[u8; 32]]) -> Vec<Option<EdwardsPoint>> {
        encodings.iter().map(decode).collect()
    }

    fn decode_points(&self, encodings: &[[u8; 32]], points: &mut Vec<Option<EdwardsPoint>>) {
        points.extend(encodings.iter().map(decode));
    }

    fn sum_vanishes<'a>(
        &'a self,
        points: impl ExactSizeIterator<Item = (i128, &'a EdwardsPoint)>,
        keys: impl ExactSizeIterator<Item = (Scalar, &'a EdwardsPoint)>,
        b: &Scalar,
    ) -> bool {
        // A negative z goes to the point, so that the scalar keeps its 128 bits and the upper windows stay empty.
        let magnitude = |z: i128| Scalar::from(z.unsigned_abs());
        let signed = points.map(|(z, point)| (magnitude(z), if z < 0 { -point } else { *point }));
        let terms = once((-b, ED25519_BASEPOINT_POINT)).chain(keys.map(|(a, key)| (a, *key))).chain(signed);
        let (scalars, points): (Vec<Scalar>, Vec<EdwardsPoint>) = terms.unzip();
        let sum = EdwardsPoint::vartime_multiscalar_mul(scalars, points);
        sum.mul_by_cofactor().is_identity()
    }

    fn hold_alone(&self, parts: &[Parts<'_, Self>]) -> Vec<bool> {
        let holds = |part: &Parts<'_, Self>| {
            let point = EdwardsPoint::vartime_double_scalar_mul_basepoint(&part.k, &-part.key, &part.s);
            (point - part.point).mul_by_cofactor().is_identity()
        };
        parts.iter().map(holds).collect()
    }
}
