//! How much work some items are: their number by algorithm. Knows no costs.

use crate::item::Item;
use types::AlgId;

/// The algorithms that sign, in the order of the counts.
pub const SIGNATURES: [AlgId; 5] =
    [AlgId::Ed25519, AlgId::Sm2Sm3, AlgId::EcdsaP256, AlgId::EcdsaSecp256k1, AlgId::MlDsa65];

/// Items by algorithm of their keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    counts: [usize; SIGNATURES.len()],
}

impl Load {
    /// Of some items.
    pub fn of(items: &[Item]) -> Self {
        let mut load = Self::default();
        for item in items {
            load.counts[place(item.key.alg())] += 1;
        }
        load
    }

    /// Of `count` items of one algorithm.
    pub fn single(alg: AlgId, count: usize) -> Self {
        let mut load = Self::default();
        load.counts[place(alg)] = count;
        load
    }

    /// As many of each algorithm more.
    pub fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(count, more)| *count += more);
    }

    /// As many of each algorithm fewer.
    pub fn subtract(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(count, fewer)| *count -= fewer);
    }

    /// At most about `items_max` items, in the same proportions, rounded up.
    pub fn capped(&self, items_max: usize) -> Self {
        let items = self.items();
        if items <= items_max {
            return *self;
        }
        Self { counts: self.counts.map(|count| (count * items_max).div_ceil(items)) }
    }

    /// Items in all.
    pub fn items(&self) -> usize {
        self.counts.iter().sum()
    }

    /// Items of one algorithm.
    pub fn count(&self, alg: AlgId) -> usize {
        self.counts[place(alg)]
    }

    /// The algorithms that occur, with their places in [`SIGNATURES`] and their counts.
    pub fn parts(&self) -> impl Iterator<Item = (usize, AlgId, usize)> + '_ {
        SIGNATURES
            .into_iter()
            .enumerate()
            .zip(self.counts)
            .map(|((place, alg), count)| (place, alg, count))
            .filter(|(_, _, count)| *count > 0)
    }
}

/// Where an algorithm stands in [`SIGNATURES`]. A key never has a digest algorithm.
fn place(alg: AlgId) -> usize {
    SIGNATURES.iter().position(|known| *known == alg).unwrap_or(SIGNATURES.len() - 1)
}
