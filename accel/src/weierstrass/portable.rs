//! The sums one by one, on integers of 64 bits. Exact in every case, so it also answers where the lanes cannot.

use super::Group;
use super::claim::{Claim, Key};
use super::curve::Curve;
use super::digits::{BASE_WIDTH, KEY_WIDTH, PARTS, base_digits, key_digits};
use super::point::{Affine, Jacobian};
use super::table::{KEY_PART_BITS, KeyTable, Line};

/// Arithmetic on any CPU.
pub(super) struct Portable;

impl<C: Curve> Group<C> for Portable {
    const NAME: &'static str = "cpu";

    fn decode_keys(&self, encodings: &[[u8; 33]]) -> Vec<Option<Key>> {
        encodings.iter().map(decode_key::<C>).collect()
    }

    fn hold(&self, claims: &[Claim<'_>], verdicts: &mut [bool]) {
        for claim in claims {
            verdicts[claim.index] = holds::<C>(claim);
        }
    }
}

/// The key with its table; `None` where the encoding is of no point.
pub(super) fn decode_key<C: Curve>(encoding: &[u8; 33]) -> Option<Key> {
    Affine::<C>::decode(encoding).map(|point| Key::new::<C>(KeyTable::new(&point)))
}

/// Whether the claim is true.
pub(super) fn holds<C: Curve>(claim: &Claim<'_>) -> bool {
    sum::<C>(claim).has_x([Some(claim.x), claim.x_above].into_iter().flatten())
}

/// The sum that the claim speaks of.
pub(super) fn sum<C: Curve>(claim: &Claim<'_>) -> Jacobian<C> {
    let base = C::base_table();
    let (of_key, of_base) = (key_digits::<C>(&claim.of_key), base_digits(&claim.base));
    let mut sum = Jacobian::INFINITY;
    for bit in (0..KEY_PART_BITS).rev() {
        sum = sum.double();
        if bit % KEY_WIDTH == 0 {
            for part in 0..PARTS {
                let digit = of_key[part * of_key.len() / PARTS + bit / KEY_WIDTH];
                if digit != 0 {
                    let line = &claim.key.table.0[part][usize::from(digit.unsigned_abs()) - 1];
                    sum = sum.add_affine(&signed(line, digit < 0));
                }
            }
        }
        if bit % BASE_WIDTH == 0 && bit / BASE_WIDTH < of_base.len() / PARTS {
            for part in 0..PARTS {
                let digit = of_base[part * of_base.len() / PARTS + bit / BASE_WIDTH];
                if digit != 0 {
                    let line = base.line(part, usize::from(digit.unsigned_abs()));
                    sum = sum.add_affine(&signed(line, digit < 0));
                }
            }
        }
    }
    sum
}

fn signed<C: Curve>(line: &Line, negative: bool) -> Affine<C> {
    let point = line.point::<C>();
    if negative { Affine { x: point.x, y: point.y.negated() } } else { point }
}
