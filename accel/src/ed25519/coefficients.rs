//! The secret random coefficients of the batch equation: BLAKE3 as an extensible-output function, keyed once from the
//! system's randomness, a fresh stream for each batch. Nobody can choose signatures that fit coefficients drawn later.

use std::sync::atomic::{AtomicU64, Ordering};

/// Coefficients lie in `-2^127 .. Z_END`: signed 128-bit numbers whose digits, moved to be centred on zero, fit sixteen
/// 8-bit windows and thirty-two 4-bit ones alike (`z + Σ 8·16^i < 2^128`). 2^127.9 values.
pub(super) const Z_END: i128 = 0x7777_7777_7777_7777_7777_7777_7777_7778;

pub(super) struct Coefficients {
    seed: [u8; 32],
    streams: AtomicU64,
}

impl Coefficients {
    pub(super) fn from_system() -> Result<Self, getrandom::Error> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        Ok(Self { seed, streams: AtomicU64::new(0) })
    }

    /// Hands `count` fresh coefficients to `take`, with their positions.
    pub(super) fn draw(&self, count: usize, mut take: impl FnMut(usize, i128)) {
        let stream = self.streams.fetch_add(1, Ordering::Relaxed);
        let mut reader = blake3::Hasher::new_keyed(&self.seed).update(&stream.to_le_bytes()).finalize_xof();
        let mut position = 0;
        while position < count {
            let mut bytes = [0; 4096];
            let wanted = (16 * (count - position)).min(bytes.len());
            reader.fill(&mut bytes[..wanted]);
            let (drawn, _) = bytes[..wanted].as_chunks::<16>();
            for z in drawn.iter().map(|bytes| i128::from_le_bytes(*bytes)).filter(|z| *z < Z_END) {
                take(position, z);
                position += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_position_gets_one_fresh_coefficient_in_range() {
        let coefficients = Coefficients::from_system().expect("randomness");
        let mut seen = HashSet::new();
        for count in [1, 255, 256, 257, 3000] {
            let mut next = 0;
            coefficients.draw(count, |position, z| {
                assert_eq!(position, next);
                assert!(z < Z_END);
                assert!(seen.insert(z), "a coefficient came twice");
                next += 1;
            });
            assert_eq!(next, count);
        }
    }
}
