//! Authors of whom something in a committed block counts for a number of commits: a proof against them, or their mark of
//! the epoch's end. What follows from the last commits alone can be rebuilt from those, so nothing counts for good.

use types::committee::COMMITTEE_MAX;
use types::{AuthorityIndex, Committee, Decode, DecodeError, Encode, Reader, codec};

/// An author who counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counted {
    author: AuthorityIndex,
    /// For how many commits more, the last one included.
    commits_left: u64,
}

impl Encode for Counted {
    fn encode(&self, out: &mut Vec<u8>) {
        self.author.encode(out);
        self.commits_left.encode(out);
    }
}

impl Decode for Counted {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { author: AuthorityIndex::decode(reader)?, commits_left: u64::decode(reader)? })
    }
}

/// Those who count behind a commit, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CountedAuthors(Vec<Counted>);

impl CountedAuthors {
    /// Takes in the next commit: those named in it count for `window` commits, this one included.
    pub(crate) fn note(&mut self, window: u64, named: impl Iterator<Item = AuthorityIndex>) {
        self.0.iter_mut().for_each(|counted| counted.commits_left = counted.commits_left.saturating_sub(1));
        self.0.retain(|counted| counted.commits_left > 0);
        for author in named {
            match self.0.binary_search_by_key(&author, |counted| counted.author) {
                Ok(position) => self.0[position].commits_left = window,
                Err(position) => self.0.insert(position, Counted { author, commits_left: window }),
            }
        }
    }

    /// Who counts, in order.
    pub fn authors(&self) -> impl Iterator<Item = AuthorityIndex> {
        self.0.iter().map(|counted| counted.author)
    }

    /// Whether this is what some commits of a committee leave behind.
    pub(crate) fn fits(&self, committee: &Committee, window: u64) -> bool {
        let known = |counted: &Counted| {
            committee.authority(counted.author).is_some() && (1..=window).contains(&counted.commits_left)
        };
        self.0.iter().all(known) && self.0.is_sorted_by(|one, other| one.author < other.author)
    }
}

impl Encode for CountedAuthors {
    fn encode(&self, out: &mut Vec<u8>) {
        codec::put_list(out, &self.0);
    }
}

impl Decode for CountedAuthors {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(reader.list("counted authors", COMMITTEE_MAX)?))
    }
}
