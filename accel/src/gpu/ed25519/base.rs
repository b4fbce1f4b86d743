//! Multiples of the base point for the kernel's table. Plain arithmetic modulo 2^255 − 19 that runs once at start; the
//! curve library does not show affine coordinates.

/// A number modulo p, below 2^255, least significant word first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Number([u64; 4]);

const P: Number = Number([0xffff_ffff_ffff_ffed, u64::MAX, u64::MAX, 0x7fff_ffff_ffff_ffff]);
/// d = −121665 / 121666 (RFC 8032 §5.1).
const D: Number = Number([0x75eb_4dca_1359_78a3, 0x0070_0a4d_4141_d8ab, 0x8cc7_4079_7779_e898, 0x5203_6cee_2b6f_fe73]);
const BASE_X: Number =
    Number([0xc956_2d60_8f25_d51a, 0x692c_c760_9525_a7b2, 0xc0a4_e231_fdd6_dc5c, 0x2169_36d3_cd6e_53fe]);
const BASE_Y: Number =
    Number([0x6666_6666_6666_6658, 0x6666_6666_6666_6666, 0x6666_6666_6666_6666, 0x6666_6666_6666_6666]);
const ONE: Number = Number([1, 0, 0, 0]);
const ZERO: Number = Number([0; 4]);

impl Number {
    /// The value plus `more` times 2^256, which is 38 modulo p.
    fn reduce(mut words: [u64; 4], mut more: u64) -> Self {
        loop {
            let mut carry = u128::from(more) * 38;
            for word in &mut words {
                carry += u128::from(*word);
                *word = carry as u64;
                carry >>= 64;
            }
            more = carry as u64;
            if more == 0 {
                break;
            }
        }
        // Below 2^256 = 2p + 38: at most two times p too many.
        let mut value = Self(words);
        while value.0.iter().rev().ge(P.0.iter().rev()) {
            value = value.minus_raw(P);
        }
        value
    }

    fn minus_raw(self, other: Self) -> Self {
        let mut borrow = false;
        Self(std::array::from_fn(|index| {
            let (difference, first) = self.0[index].overflowing_sub(other.0[index]);
            let (difference, second) = difference.overflowing_sub(u64::from(borrow));
            borrow = first | second;
            difference
        }))
    }

    fn add(self, other: Self) -> Self {
        let mut carry = 0;
        let words = std::array::from_fn(|index| {
            carry += u128::from(self.0[index]) + u128::from(other.0[index]);
            let word = carry as u64;
            carry >>= 64;
            word
        });
        Self::reduce(words, carry as u64)
    }

    fn negative(self) -> Self {
        if self == ZERO { ZERO } else { P.minus_raw(self) }
    }

    fn times(self, other: Self) -> Self {
        let mut wide = [0u64; 8];
        for (i, a) in self.0.into_iter().enumerate() {
            let mut carry = 0u128;
            for (j, b) in other.0.into_iter().enumerate() {
                carry += u128::from(a) * u128::from(b) + u128::from(wide[i + j]);
                wide[i + j] = carry as u64;
                carry >>= 64;
            }
            wide[i + 4] = carry as u64;
        }
        let mut carry = 0u128;
        let words = std::array::from_fn(|index| {
            carry += u128::from(wide[index]) + u128::from(wide[index + 4]) * 38;
            let word = carry as u64;
            carry >>= 64;
            word
        });
        Self::reduce(words, carry as u64)
    }

    /// 1 / self = self^(p − 2).
    fn inverse(self) -> Self {
        let exponent = P.minus_raw(Self([2, 0, 0, 0]));
        (0..255).rev().fold(ONE, |power, bit| {
            let square = power.times(power);
            if exponent.0[bit / 64] >> (bit % 64) & 1 == 1 { square.times(self) } else { square }
        })
    }

    /// In ten limbs of 26 and 25 bits in turn.
    fn limbs(self) -> [u32; 10] {
        std::array::from_fn(|index| {
            let (offset, bits) = ((51 * index).div_ceil(2), 26 - index % 2);
            let (word, shift) = (offset / 64, offset % 64);
            let high = if shift == 0 || word == 3 { 0 } else { self.0[word + 1] << (64 - shift) };
            ((self.0[word] >> shift | high) & ((1 << bits) - 1)) as u32
        })
    }
}

/// B times 0 to `last`, each as (y+x, y−x, 2d·x·y) in limbs.
pub(super) fn multiples(last: usize) -> Vec<u32> {
    let (mut x, mut y) = (ZERO, ONE);
    let mut words = Vec::with_capacity((last + 1) * 30);
    for _ in 0..=last {
        let product = x.times(y).times(D);
        for number in [y.add(x), y.add(x.negative()), product.add(product)] {
            words.extend(number.limbs());
        }
        // RFC 8032 §5.1.4, affine.
        let (cross, straight) = (x.times(BASE_Y).add(y.times(BASE_X)), y.times(BASE_Y).add(x.times(BASE_X)));
        let mixed = D.times(x).times(BASE_X).times(y).times(BASE_Y);
        x = cross.times(ONE.add(mixed).inverse());
        y = straight.times(ONE.add(mixed.negative()).inverse());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
    use curve25519_dalek::scalar::Scalar;

    fn number(limbs: &[u32]) -> Number {
        let mut sum = ZERO;
        for limb in limbs.iter().enumerate().rev().map(|(index, limb)| (25 + (index + 1) % 2, *limb)) {
            for _ in 0..limb.0 {
                sum = sum.add(sum);
            }
            sum = sum.add(Number([limb.1.into(), 0, 0, 0]));
        }
        sum
    }

    #[test]
    fn the_table_holds_the_multiples_that_the_curve_library_computes() {
        let table = multiples(128);
        assert_eq!(table.len(), 129 * 30);
        let half = Number([2, 0, 0, 0]).inverse();
        for (index, entry) in table.chunks(30).enumerate() {
            let (sum, difference) = (number(&entry[..10]), number(&entry[10..20]));
            let y = sum.add(difference).times(half);
            let x = sum.add(difference.negative()).times(half);
            let mut encoding = y.0;
            encoding[3] |= (x.0[0] & 1) << 63;
            let bytes: Vec<u8> = encoding.iter().flat_map(|word| word.to_le_bytes()).collect();
            assert_eq!(bytes, (ED25519_BASEPOINT_POINT * Scalar::from(index as u64)).compress().to_bytes(), "{index}");
            let product = x.times(y).times(D);
            assert_eq!(number(&entry[20..]), product.add(product));
        }
    }
}
