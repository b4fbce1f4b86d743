//! A digest as words, to be read aloud: two lists of 256, short words for the bytes at even places and long ones for those
//! at odd places, so that a word left out, repeated or swapped with its neighbour is heard. The idea is that of the PGP
//! word list; the words are our own, `hsm/ceremonies/words.txt`, and in each list no two begin with the same four letters.

use std::sync::LazyLock;
use thiserror::Error;

const FILE: &str = include_str!("../../ceremonies/words.txt");

/// For each byte: its word at even places, its word at odd places.
static LISTS: LazyLock<Vec<[&str; 2]>> = LazyLock::new(|| {
    FILE.lines()
        .map(|line| {
            let mut columns = line.split(' ').skip(1);
            let mut next = || columns.next().expect("the file is part of the program and a test reads all of it");
            [next(), next()]
        })
        .collect()
});

/// Why words are no digest.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WordsError {
    /// Not 32.
    #[error("{0} words where 32 are expected")]
    Count(usize),
    /// Unknown, or of the other list.
    #[error(
        "word {place} is {word:?}, which is in the list for {parity} places neither in full nor by its first four letters"
    )]
    Unknown {
        /// Its place, from 1.
        place: usize,
        /// The word.
        word: String,
        /// `odd` or `even`, counted from 0.
        parity: &'static str,
    },
}

/// The 32 words of a digest, separated by spaces.
pub fn of(digest: &[u8; 32]) -> String {
    let words = digest.iter().enumerate().map(|(place, byte)| LISTS[usize::from(*byte)][place % 2]);
    words.collect::<Vec<_>>().join(" ")
}

/// The digest of 32 words; their first four letters are enough, and upper case is as good.
///
/// # Errors
/// [`WordsError`] says which word.
pub fn digest(words: &str) -> Result<[u8; 32], WordsError> {
    let words: Vec<_> = words.split_whitespace().collect();
    let mut digest: [u8; 32] = [0; 32];
    if words.len() != digest.len() {
        return Err(WordsError::Count(words.len()));
    }
    for (place, (byte, word)) in digest.iter_mut().zip(&words).enumerate() {
        let spoken = word.to_lowercase();
        let known = |listed: &str| listed == spoken || (spoken.len() == 4 && listed.starts_with(&spoken));
        let found = (0..=u8::MAX).find(|byte| known(LISTS[usize::from(*byte)][place % 2]));
        *byte = found.ok_or_else(|| WordsError::Unknown {
            place: place + 1,
            word: (*word).chars().take(32).collect(),
            parity: ["even", "odd"][place % 2],
        })?;
    }
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_byte_has_a_word_of_its_own_at_even_and_at_odd_places() {
        assert_eq!(LISTS.len(), 256);
        for (number, line) in FILE.lines().enumerate() {
            assert!(line.starts_with(&format!("{number:02x} ")), "{line}");
        }
        for place in [0, 1] {
            let letters: BTreeSet<_> =
                LISTS.iter().map(|words| words[place].get(..4).unwrap_or(words[place])).collect();
            assert_eq!(letters.len(), 256, "list {place}");
        }
        assert_eq!(LISTS.iter().flatten().collect::<BTreeSet<_>>().len(), 512, "no word is in both lists");
    }

    #[test]
    fn words_give_the_digest_back_and_a_mistake_is_heard() {
        let root: [u8; 32] = std::array::from_fn(|place| (place * 37 + 11) as u8);
        let words = of(&root);
        assert_eq!(digest(&words), Ok(root));
        assert_eq!(digest(&words.to_uppercase()), Ok(root));
        let mut swapped: Vec<_> = words.split(' ').collect();
        swapped.swap(4, 5);
        assert!(matches!(digest(&swapped.join(" ")), Err(WordsError::Unknown { place: 5, .. })));
        assert_eq!(digest("apple"), Err(WordsError::Count(1)));
    }
}
