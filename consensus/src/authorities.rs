//! Sets of validators as bits, for what is counted and walked once for every block.

use types::committee::COMMITTEE_MAX;
use types::{AuthorityIndex, Committee};

/// A set of validators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AuthoritySet([u64; COMMITTEE_MAX.div_ceil(64)]);

impl AuthoritySet {
    /// Adds a member; whether it is new.
    pub fn insert(&mut self, member: AuthorityIndex) -> bool {
        let (word, bit) = (member.index() / 64, 1u64 << (member.index() % 64));
        let fresh = self.0[word] & bit == 0;
        self.0[word] |= bit;
        fresh
    }

    /// Adds the members of another set.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }

    /// Those that are not in another set.
    pub fn without(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] & !other.0[word]))
    }

    /// Those that are in another set too.
    pub fn and(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] & other.0[word]))
    }

    pub fn contains(&self, member: AuthorityIndex) -> bool {
        self.0[member.index() / 64] & (1u64 << (member.index() % 64)) != 0
    }

    /// The members, in order.
    pub fn iter(&self) -> impl Iterator<Item = AuthorityIndex> + use<> {
        (0u16..).zip(self.0).flat_map(|(word, bits)| {
            let mut rest = bits;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros() as u16;
                (rest != 0).then(|| {
                    rest &= rest - 1;
                    AuthorityIndex(word * 64 + bit)
                })
            })
        })
    }

    /// The stake of its members.
    pub fn stake(&self, committee: &Committee) -> u64 {
        self.iter().map(|member| committee.stake(member).0).sum()
    }
}

/// A set of validators with its stake: each is counted once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    members: AuthoritySet,
    stake: u64,
}

impl Tally {
    /// Counts a member that was not counted yet.
    pub fn add(&mut self, member: AuthorityIndex, committee: &Committee) {
        if self.members.insert(member) {
            self.stake += committee.stake(member).0;
        }
    }

    /// The stake counted.
    pub fn stake(&self) -> u64 {
        self.stake
    }
}
