//! The kernel of Ed25519: constants, the table of the base point, and WGSL put together. The passes lie in verify.wgsl.

use super::field::{self, limbs, literal, montgomery_limbs};
use super::kernel::{self, KernelSource};
use super::weierstrass::numbers::{Number, Prime, number};
use crate::ed25519::round_constants::ROUND_CONSTANTS;

/// Parts of a scalar, of 64 bits each, that share their doublings.
const PARTS: u32 = 4;
/// Multiples of a part's base, from 0 on: digits of four bits with a sign, of eight for the base point.
const KEY_MULTIPLES: u32 = 9;
const BASE_MULTIPLES: u32 = 129;

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
    source += kernel::BINDINGS;
    source += include_str!("ed25519/verify.wgsl");
    let mut constants: Vec<u32> =
        ROUND_CONSTANTS.iter().flat_map(|round| [*round as u32, (*round >> 32) as u32]).collect();
    constants.extend(base_multiples(&field));
    KernelSource {
        label: "ed25519",
        source,
        constants,
        // As KEY_SLOT_WORDS and the map of the scratch in verify.wgsl.
        key_words: 1 + PARTS * KEY_MULTIPLES * 36,
        scratch_words: 44,
    }
}

/// For each part j the point B·2^(64j) times 0 to 128, each as y+x, y−x, 2d·x·y in limbs.
fn base_multiples(field: &Prime) -> Vec<u32> {
    let mut base = BASE;
    let mut words = Vec::new();
    for _ in 0..PARTS {
        let mut point = [[0; 4], ONE];
        for _ in 0..BASE_MULTIPLES {
            let [x, y] = point;
            let product = field.mul(&field.mul(&x, &y), &D);
            for element in [field.add(&y, &x), field.sub(&y, &x), field.add(&product, &product)] {
                words.extend(montgomery_limbs(field, &element).map(|limb| limb as u32));
            }
            point = sum(field, &point, &base);
        }
        for _ in 0..64 {
            base = sum(field, &base, &base);
        }
    }
    words
}

/// RFC 8032 §5.1.4, affine: complete.
fn sum(field: &Prime, [x1, y1]: &[Number; 2], [x2, y2]: &[Number; 2]) -> [Number; 2] {
    let cross = field.add(&field.mul(x1, y2), &field.mul(y1, x2));
    let straight = field.add(&field.mul(y1, y2), &field.mul(x1, x2));
    let mixed = field.mul(&field.mul(&D, &field.mul(x1, x2)), &field.mul(y1, y2));
    [
        field.mul(&cross, &field.inverse(&field.add(&ONE, &mixed))),
        field.mul(&straight, &field.inverse(&field.sub(&ONE, &mixed))),
    ]
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
        let table = base_multiples(&field);
        assert_eq!(table.len(), (PARTS * BASE_MULTIPLES * 27) as usize);
        let half = field.inverse(&[2, 0, 0, 0]);
        for (index, entry) in table.chunks(27).enumerate().step_by(5) {
            let (sum, difference) = (value(&field, &entry[..9]), value(&field, &entry[9..18]));
            let y = field.mul(&field.add(&sum, &difference), &half);
            let x = field.mul(&field.sub(&sum, &difference), &half);
            let mut encoding = y;
            encoding[3] |= (x[0] & 1) << 63;
            let bytes: Vec<u8> = encoding.iter().flat_map(|word| word.to_le_bytes()).collect();
            let (part, multiple) = (index / BASE_MULTIPLES as usize, index % BASE_MULTIPLES as usize);
            let scalar = (0..part).fold(Scalar::from(multiple as u64), |scalar, _| scalar * Scalar::from(1u128 << 64));
            assert_eq!(bytes, (ED25519_BASEPOINT_POINT * scalar).compress().to_bytes(), "{part}, {multiple}");
            let product = field.mul(&field.mul(&x, &y), &D);
            assert_eq!(value(&field, &entry[18..]), field.add(&product, &product));
        }
    }
}
