//! The answer: one bit an item, a bitmap, so that a log can store it as it is.

use std::ops::Range;

/// One verdict an item, in the order of the items. A set bit means valid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdicts {
    words: Vec<u64>,
    len: usize,
}

impl Verdicts {
    /// `len` verdicts, all invalid: a verdict of valid is always an explicit [`Verdicts::set_valid`].
    pub fn all_invalid(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)], len }
    }

    /// From one verdict an item.
    pub fn from_bools(verdicts: impl IntoIterator<Item = bool>) -> Self {
        let mut built = Self { words: Vec::new(), len: 0 };
        for valid in verdicts {
            if built.len.is_multiple_of(64) {
                built.words.push(0);
            }
            built.len += 1;
            if valid {
                built.set_valid(built.len - 1);
            }
        }
        built
    }

    /// Marks item `index` valid.
    ///
    /// # Panics
    /// If `index` is not below [`Verdicts::len`].
    pub fn set_valid(&mut self, index: usize) {
        assert!(index < self.len, "verdict {index} of {}", self.len);
        self.words[index / 64] |= 1 << (index % 64);
    }

    /// Whether item `index` is valid.
    ///
    /// # Panics
    /// If `index` is not below [`Verdicts::len`].
    pub fn get(&self, index: usize) -> bool {
        assert!(index < self.len, "verdict {index} of {}", self.len);
        self.words[index / 64] >> (index % 64) & 1 == 1
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no items.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of valid items.
    pub fn valid_count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether every item is valid; true for none.
    pub fn all_valid(&self) -> bool {
        self.valid_count() == self.len
    }

    /// The verdicts in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = bool> + '_ {
        (0..self.len).map(|index| self.get(index))
    }

    /// The positions of the invalid items, in order.
    pub fn invalid(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.len).filter(|index| !self.get(*index))
    }

    /// The verdicts of a part of the items.
    ///
    /// # Panics
    /// If `range` does not lie within the items.
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.end <= self.len, "verdicts {range:?} of {}", self.len);
        Self::from_bools(range.map(|index| self.get(index)))
    }

    /// The bitmap, least significant bit first, unused bits zero: `len.div_ceil(8)` bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.truncate(self.len.div_ceil(8));
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitmap_keeps_every_verdict_across_word_edges() {
        for len in [0, 1, 63, 64, 65, 130] {
            let expected: Vec<bool> = (0..len).map(|index| index % 3 != 1).collect();
            let verdicts = Verdicts::from_bools(expected.iter().copied());
            assert_eq!(verdicts.iter().collect::<Vec<_>>(), expected);
            assert_eq!(verdicts.len(), len);
            assert_eq!(verdicts.all_valid(), expected.iter().all(|valid| *valid));
            assert_eq!(verdicts.to_bytes().len(), len.div_ceil(8));
            assert_eq!(verdicts.invalid().count(), len - verdicts.valid_count());
            if len > 3 {
                assert_eq!(verdicts.slice(3..len).iter().collect::<Vec<_>>(), expected[3..]);
            }
        }
    }

    #[test]
    fn nothing_is_valid_until_it_was_said() {
        assert_eq!(Verdicts::all_invalid(100).valid_count(), 0);
        assert!(!Verdicts::all_invalid(1).all_valid());
        assert!(Verdicts::all_invalid(0).all_valid());
    }
}
