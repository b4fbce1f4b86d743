//! Something for each of many blocks, for what a node holds of a whole run. Rounds may be anything: adversaries make
//! them up.

use std::collections::BTreeMap;
use types::{AuthorityIndex, BlockRef, Digest, Round};

/// A map by block.
#[derive(Clone, Debug)]
pub(crate) struct Held<T> {
    rows: BTreeMap<Round, Vec<(AuthorityIndex, Digest, T)>>,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self { rows: BTreeMap::new() }
    }
}

impl<T> Held<T> {
    /// Adds a block, unless it is there.
    pub fn insert(&mut self, block: BlockRef, value: T) {
        let row = self.rows.entry(block.round).or_default();
        if !row.iter().any(|(author, digest, _)| (*author, digest) == (block.author, &block.digest)) {
            row.push((block.author, block.digest, value));
        }
    }

    /// What is held of a block.
    pub fn get(&self, block: &BlockRef) -> Option<&T> {
        let row = self.rows.get(&block.round)?;
        row.iter()
            .find(|(author, digest, _)| (*author, digest) == (block.author, &block.digest))
            .map(|(_, _, value)| value)
    }

    /// Lets go of everything up to a round.
    pub fn forget_through(&mut self, round: Round) {
        while self.rows.first_key_value().is_some_and(|(lowest, _)| *lowest <= round) {
            self.rows.pop_first();
        }
    }

    /// What is held of the highest block of an author, of those that count.
    pub fn highest_of(&self, author: AuthorityIndex, counts: impl Fn(&T) -> bool) -> Option<&T> {
        let of = |(by, _, value): &&(AuthorityIndex, Digest, T)| *by == author && counts(value);
        self.rows.values().rev().find_map(|row| row.iter().find(of)).map(|(_, _, value)| value)
    }

    /// Whether a block is there.
    pub fn contains(&self, block: &BlockRef) -> bool {
        self.get(block).is_some()
    }

    /// Everything of a round.
    pub fn row(&self, round: Round) -> impl Iterator<Item = &T> {
        self.rows.get(&round).into_iter().flatten().map(|(_, _, value)| value)
    }
}
