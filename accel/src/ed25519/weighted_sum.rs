//! Σ z·s modulo L for many terms, with a single reduction at the end.

use curve25519_dalek::scalar::Scalar;

/// Two sums of products of 128 and 253 bits, for positive and for negative z: 2^64 terms fit 448 bits.
#[derive(Default)]
pub(super) struct WeightedSum {
    sums: [[u64; 8]; 2],
}

impl WeightedSum {
    pub(super) fn add(&mut self, z: i128, s: &Scalar) {
        let sum = &mut self.sums[usize::from(z < 0)];
        let magnitude = z.unsigned_abs();
        let (words, _) = s.as_bytes().as_chunks::<8>();
        for (shift, factor) in [magnitude as u64, (magnitude >> 64) as u64].into_iter().enumerate() {
            let mut carry = 0_u128;
            for (i, word) in words.iter().enumerate() {
                // (2^64 − 1)² + 2 (2^64 − 1) is just below 2^128.
                carry += u128::from(factor) * u128::from(u64::from_le_bytes(*word)) + u128::from(sum[shift + i]);
                sum[shift + i] = carry as u64;
                carry >>= 64;
            }
            for word in &mut sum[shift + 4..] {
                carry += u128::from(*word);
                *word = carry as u64;
                carry >>= 64;
            }
        }
    }

    pub(super) fn finish(self) -> Scalar {
        let [positive, negative] = self.sums.map(|sum| {
            let mut wide = [0; 64];
            for (bytes, word) in wide.chunks_exact_mut(8).zip(sum) {
                bytes.copy_from_slice(&word.to_le_bytes());
            }
            Scalar::from_bytes_mod_order_wide(&wide)
        });
        positive - negative
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_equals_that_of_scalars() {
        let largest = -Scalar::ONE;
        let mut sum = WeightedSum::default();
        let mut expected = Scalar::ZERO;
        for (i, z) in [i128::MIN, i128::MAX, -1, 0, 1, i128::MIN + 1].into_iter().cycle().take(500).enumerate() {
            let s = largest - Scalar::from(i as u64);
            sum.add(z, &s);
            let product = Scalar::from(z.unsigned_abs()) * s;
            expected += if z < 0 { -product } else { product };
        }
        assert_eq!(sum.finish(), expected);
    }
}
