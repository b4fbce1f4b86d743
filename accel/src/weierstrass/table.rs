//! Multiples of G and of a key, affine and ready to be looked up: for each part of a scalar, those by 1 to half the
//! range of a digit.

use super::curve::Curve;
use super::digits::{BASE_DIGITS, BASE_WIDTH, KEY_DIGITS, KEY_WIDTH, PARTS};
use super::montgomery::{Limbs, Residue};
use super::point::{Affine, Fe, Jacobian, to_affine};

/// Multiples in one part of a key's table.
pub(super) const KEY_MULTIPLES: usize = 1 << (KEY_WIDTH - 1);
/// Multiples in one part of G's table.
pub(super) const BASE_MULTIPLES: usize = 1 << (BASE_WIDTH - 1);
/// Bits from one part of a key's scalar to the next.
pub(super) const KEY_PART_BITS: usize = KEY_WIDTH * KEY_DIGITS / PARTS;
const BASE_PART_BITS: usize = BASE_WIDTH * BASE_DIGITS / PARTS;

/// x and y of a point, each in Montgomery form modulo p and reduced: one line of the cache.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u64; 8]);

impl Line {
    pub(super) const ZERO: Self = Self([0; 8]);

    pub(super) fn new(x: &Limbs, y: &Limbs) -> Self {
        let ([x0, x1, x2, x3], [y0, y1, y2, y3]) = (*x, *y);
        Self([x0, x1, x2, x3, y0, y1, y2, y3])
    }

    pub(super) fn point<C: Curve>(&self) -> Affine<C> {
        let [x0, x1, x2, x3, y0, y1, y2, y3] = self.0;
        Affine { x: Fe::<C>::from_montgomery([x0, x1, x2, x3]), y: Fe::<C>::from_montgomery([y0, y1, y2, y3]) }
    }
}

/// Multiples of a key P: in part j those of 2^(64 j) · P by 1 to 8. 2 KiB.
pub(super) struct KeyTable(pub(super) [[Line; KEY_MULTIPLES]; PARTS]);

impl KeyTable {
    /// To be filled.
    pub(super) fn empty() -> Box<Self> {
        Box::new(Self([[Line::ZERO; KEY_MULTIPLES]; PARTS]))
    }

    pub(super) fn new<C: Curve>(key: &Affine<C>) -> Box<Self> {
        let mut table = Self::empty();
        for (line, point) in table.0.as_flattened_mut().iter_mut().zip(multiples(key, KEY_PART_BITS, KEY_MULTIPLES)) {
            *line = Line::new(point.x.montgomery(), point.y.montgomery());
        }
        table
    }

    /// The key itself.
    pub(super) fn point<C: Curve>(&self) -> Affine<C> {
        self.0[0][0].point()
    }
}

/// Multiples of G: in part j those of 2^(66 j) · G by 1 to 1,024. 256 KiB.
pub(super) struct BaseTable(Vec<Line>);

impl BaseTable {
    pub(super) fn new<C: Curve>() -> Self {
        let points = multiples(&Affine::<C>::generator(), BASE_PART_BITS, BASE_MULTIPLES);
        Self(points.iter().map(|point| Line::new(point.x.montgomery(), point.y.montgomery())).collect())
    }

    /// `multiple` is at least 1.
    #[inline]
    pub(super) fn line(&self, part: usize, multiple: usize) -> &Line {
        &self.0[part * BASE_MULTIPLES + multiple - 1]
    }
}

/// For each part, the multiples of 2^(part_bits · part) · P by 1 to `count`. None of them is at infinity.
fn multiples<C: Curve>(point: &Affine<C>, part_bits: usize, count: usize) -> Vec<Affine<C>> {
    let mut first = Jacobian { x: point.x, y: point.y, z: Residue::ONE };
    let mut points = Vec::with_capacity(PARTS * count);
    for _ in 0..PARTS {
        let start = points.len();
        points.push(first);
        for multiple in 2..=count {
            points.push(match multiple % 2 {
                0 => points[start + multiple / 2 - 1].double(),
                _ => points[start + multiple - 2].add(&first),
            });
        }
        for _ in 0..part_bits {
            first = first.double();
        }
    }
    to_affine(&points)
}
