//! Secret chance: where canaries stand and which verdicts are checked again. BLAKE3 as an extensible-output function,
//! keyed once from the system's randomness, so that neither a device nor a client can know the next throw.

use blake3::OutputReader;

/// A stream of throws.
pub(crate) struct Dice(OutputReader);

impl Dice {
    /// From the system's randomness, or from a seed that makes it repeatable.
    pub(crate) fn new(seed: Option<[u8; 32]>) -> Result<Self, getrandom::Error> {
        let mut key = seed.unwrap_or_default();
        if seed.is_none() {
            getrandom::fill(&mut key)?;
        }
        Ok(Self(blake3::Hasher::new_keyed(&key).update(b"stele/accel/dice").finalize_xof()))
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes);
        bytes
    }

    /// A number below `end`, which is at least 1. Its bias, `end` / 2^64, is nothing for numbers of items.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let wide = u128::from(u64::from_le_bytes(self.bytes())) * end as u128;
        (wide >> 64) as usize
    }

    /// How many to skip before the next hit, where each is hit with probability 1 / `one_in`.
    pub(crate) fn skip(&mut self, one_in: u32) -> usize {
        if one_in <= 1 {
            return 0;
        }
        // Uniform in (0, 1]: the logarithm is finite.
        let uniform = ((u64::from_le_bytes(self.bytes()) >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        (uniform.ln() / (-1.0 / f64::from(one_in)).ln_1p()) as usize
    }

    /// `count` different numbers below `end` (which is at least as large), in order.
    pub(crate) fn distinct(&mut self, count: usize, end: usize) -> Vec<usize> {
        debug_assert!(count <= end, "no {count} different numbers below {end}");
        let mut drawn: Vec<usize> = Vec::with_capacity(count);
        while drawn.len() < count {
            let number = self.below(end);
            if let Err(place) = drawn.binary_search(&number) {
                drawn.insert(place, number);
            }
        }
        drawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_hit_with_the_asked_probability() {
        let mut dice = Dice::new(Some([1; 32])).expect("a seed");
        for one_in in [1_u32, 2, 10, 1024] {
            let hits = 4000_u64;
            let walked: u64 = (0..hits).map(|_| dice.skip(one_in) as u64 + 1).sum();
            let mean = walked as f64 / hits as f64;
            assert!((mean / f64::from(one_in) - 1.0).abs() < 0.06, "one in {one_in} became one in {mean}");
        }
    }

    #[test]
    fn drawn_positions_differ_are_ordered_and_reach_every_place() {
        let mut dice = Dice::new(Some([2; 32])).expect("a seed");
        let mut hits = [0_u32; 9];
        for _ in 0..3000 {
            let drawn = dice.distinct(4, hits.len());
            assert!(drawn.is_sorted_by(|a, b| a < b));
            drawn.into_iter().for_each(|position| hits[position] += 1);
        }
        assert!(hits.iter().all(|hits| (1150..1520).contains(hits)), "{hits:?} about 1333 each");
    }

    #[test]
    fn two_dice_from_the_system_differ_and_two_from_a_seed_do_not() {
        let throw = |seed| Dice::new(seed).expect("randomness").bytes::<16>();
        assert_ne!(throw(None), throw(None));
        assert_eq!(throw(Some([3; 32])), throw(Some([3; 32])));
    }
}
