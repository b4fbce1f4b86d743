//! The hasher of the ledger's lookup tables: keyed, so that a client who chooses addresses cannot make them collide, and
//! without any randomness of its own. No table is ever iterated where order could reach a result.

use std::hash::{BuildHasher, Hasher};

/// Builds [`TableHasher`]s with one key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TableKey([u64; 2]);

impl TableKey {
    /// A key spread from a seed (SplitMix64).
    pub(crate) fn new(seed: u64) -> Self {
        let mix = |step: u64| {
            let mut word = seed.wrapping_add(step.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^ (word >> 31)
        };
        Self([mix(1), mix(2)])
    }
}

impl BuildHasher for TableKey {
    type Hasher = TableHasher;

    fn build_hasher(&self) -> TableHasher {
        TableHasher { key: self.0, state: self.0[0] ^ self.0[1].rotate_left(32) }
    }
}

/// A folded-multiply hash over 16 bytes at a time, for keys of one fixed length a table.
pub(crate) struct TableHasher {
    key: [u64; 2],
    state: u64,
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

impl Hasher for TableHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(16) {
            let mut words = [0; 16];
            words[..chunk.len()].copy_from_slice(chunk);
            let word = u128::from_le_bytes(words);
            self.state = fold(self.state ^ (word as u64) ^ self.key[0], ((word >> 64) as u64) ^ self.key[1]);
            self.key[0] = self.key[0].rotate_left(23);
        }
    }

    /// The domain of a key, after its bytes: no block of its own.
    fn write_u8(&mut self, byte: u8) {
        self.state ^= u64::from(byte).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    /// Length prefixes say nothing where all keys are of one length.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        fold(self.state, self.key[1] | 1)
    }
}
