//! The kernel of Ed25519: constants, the table of the base point, and WGSL put together. The passes lie in verify.wgsl.

use super::field::{self, limbs, literal, montgomery_limbs};
use super::kernel::KernelSource;
use super::weierstrass::halves;
use super::weierstrass::numbers::{Number, Prime, number};
use crate::ed25519::round_constants::ROUND_CONSTANTS;

/// Bits of a window of k, and of s.
const WINDOW_BITS: [u32; 2] = [5, 10];

const ONE: Number = [1, 0, 0, 0];
/// p = 2^255 − 19, d, and B (RFC 8032 §5.1).
const P: Number = number("7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed");
const D: Number = number("52036cee2b6ffe738cc740797779e89800700a4d4141d8ab75eb4dca135978a3");
const BASE: [Number; 2] = [
    number("216936d3cd6e53fec0a4e231fdd6dc5c692cc7609525a7b2c9562d608f25d51a"),
    number("6666666666666666666666666666666666666666666666666666666666666658"),
];
/// (p − 1) / 4: 2 to it is a root of −1.
const QUARTER: Number = number("1ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffb");

pub(super) fn kernel() -> KernelSource {
    let field = Prime::new(P);
    let mut source = field::shared_functions() + &field::functions("p", &field);
    let constants = [
        ("ZERO", [0; 4]),
        ("ONE", ONE),
        ("TWO", [2, 0, 0, 0]),
        ("D", D),
        ("D2", field.add(&D, &D)),
        ("SQRT_MINUS_ONE", field.pow(&[2, 0, 0, 0], &QUARTER)),
        ("TO_MONTGOMERY", field.power_of_two(field::MONTGOMERY_BITS)),
    ];
    for (name, value) in constants {
        source += &format!("const {name} = {};\n", literal(&montgomery_limbs(&field, &value)));
    }
    source += &format!("const PLAIN_ONE = {};\n", literal(&limbs(&ONE)));
    for (name, bits) in [("KEY_HALVES", WINDOW_BITS[0]), ("BASE_HALVES", WINDOW_BITS[1])] {
        source += &format!("const {name} = {};\n", halves(bits));
    }
    source += include_str!("ed25519/verify.wgsl");
    let mut constants: Vec<u32> =
        ROUND_CONSTANTS.iter().flat_map(|round| [*round as u32, (*round >> 32) as u32]).collect();
    constants.extend(base_multiples(&field, 1 << (WINDOW_BITS[1] - 1)));
    KernelSource {
        label: "ed25519",
        source,
        constants,
        // As KEY_SLOT_WORDS and the map of the scratch in verify.wgsl.
        key_words: 1 + 36 * (1 + (1 << (WINDOW_BITS[0] - 1))),
        scratch_words: 46,
    }
}

/// B times 0 to `last`, each as y+x, y−x, 2d·x·y in limbs.
fn base_multiples(field: &Prime, last: u32) -> Vec<u32> {
    let [mut x, mut y] = [[0; 4], ONE];
    let mut words = Vec::new();
    for _ in 0..=last {
        let product = field.mul(&field.mul(&x, &y), &D);
        for element in [field.add(&y, &x), field.sub(&y, &x), field.add(&product, &product)] {
            words.extend(montgomery_limbs(field, &element).map(|limb| limb as u32));
        }
        // RFC 8032 §5.1.4, affine.
        let cross = field.add(&field.mul(&x, &BASE[1]), &field.mul(&y, &BASE[0]));
        let straight = field.add(&field.mul(&y, &BASE[1]), &field.mul(&x, &BASE[0]));
        let mixed = field.mul(&field.mul(&D, &field.mul(&x, &BASE[0])), &field.mul(&y, &BASE[1]));
        x = field.mul(&cross, &field.inverse(&field.add(&ONE, &mixed)));
        y = field.mul(&straight, &field.inverse(&field.sub(&ONE, &mixed)));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
    use curve25519_dalek::scalar::Scalar;

    /// The residue that limbs in Montgomery form stand for.
    fn value(field: &Prime, words: &[u32]) -> Number {
        let shift = field.power_of_two(29);
        let factor = field.inverse(&field.power_of_two(field::MONTGOMERY_BITS));
        let sum = words.iter().rev().fold([0; 4], |sum, word| {
            let limb = *word as i32;
            let magnitude = [u64::from(limb.unsigned_abs()), 0, 0, 0];
            let shifted = field.mul(&sum, &shift);
            if limb < 0 { field.sub(&shifted, &magnitude) } else { field.add(&shifted, &magnitude) }
        });
        field.mul(&sum, &factor)
    }

    #[test]
    fn the_table_holds_the_multiples_that_the_curve_library_computes() {
        let field = Prime::new(P);
        let table = base_multiples(&field, 40);
        let half = field.inverse(&[2, 0, 0, 0]);
        for (index, entry) in table.chunks(27).enumerate() {
            let (sum, difference) = (value(&field, &entry[..9]), value(&field, &entry[9..18]));
            let y = field.mul(&field.add(&sum, &difference), &half);
            let x = field.mul(&field.sub(&sum, &difference), &half);
            let mut encoding = y;
            encoding[3] |= (x[0] & 1) << 63;
            let bytes: Vec<u8> = encoding.iter().flat_map(|word| word.to_le_bytes()).collect();
            assert_eq!(bytes, (ED25519_BASEPOINT_POINT * Scalar::from(index as u64)).compress().to_bytes(), "{index}");
            let product = field.mul(&field.mul(&x, &y), &D);
            assert_eq!(value(&field, &entry[18..]), field.add(&product, &product));
        }
    }
}
