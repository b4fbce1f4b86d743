//! The hash tree of dm-verity, as the kernel and `veritysetup` have it (format 1, SHA-256, blocks of 4096 bytes): each
//! block's hash is that of salt and block, 128 hashes make a block of the level above, levels lie from the top down behind a
//! superblock. Data and tree share a partition: the tree begins where the data ends.

use sha2::{Digest, Sha256};
use thiserror::Error;

/// Bytes of a block.
pub const BLOCK: usize = 4096;
const HASH: usize = 32;
const PER_BLOCK: usize = BLOCK / HASH;
/// The same for all images: a salt per image would have to come from somewhere, and two builds must be alike.
pub const SALT: [u8; 32] = *b"stele image: root under verity 1";
const MAGIC: &[u8; 8] = b"verity\0\0";

/// A root hash.
pub type RootHash = [u8; HASH];

/// Why there is no tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VerityError {
    /// Not a whole number of blocks, or none.
    #[error("the data is not a whole number of blocks of 4096 bytes")]
    Length,
    /// No superblock, or one of another format.
    #[error("there is no hash tree of the format that the image uses")]
    Superblock,
    /// Less than the tree of so much data.
    #[error("the hash tree is cut off")]
    Truncated,
    /// A block does not match its hash.
    #[error("block {block} of level {level} does not match its hash")]
    Mismatch {
        /// 0 is the data.
        level: usize,
        /// Within the level.
        block: usize,
    },
    /// The top does not match the root hash.
    #[error("the top of the hash tree does not match the root hash")]
    Root,
}

/// A tree over some data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// The hash of the top block.
    pub root: RootHash,
    /// Blocks of data.
    pub data_blocks: u64,
    /// Superblock and levels, as they lie behind the data.
    pub bytes: Vec<u8>,
}

impl Tree {
    /// Hashes all of `data`.
    pub fn over(data: &[u8]) -> Result<Self, VerityError> {
        if data.is_empty() || !data.len().is_multiple_of(BLOCK) {
            return Err(VerityError::Length);
        }
        let mut levels: Vec<Vec<u8>> = Vec::new();
        let mut below = hashes_of(data);
        loop {
            below.resize(below.len().next_multiple_of(BLOCK), 0);
            let top = below.len() == BLOCK;
            levels.push(below);
            if top {
                break;
            }
            below = hashes_of(&levels[levels.len() - 1]);
        }
        let root = hash(&levels[levels.len() - 1]);
        let data_blocks = (data.len() / BLOCK) as u64;
        let mut bytes = superblock(data_blocks);
        levels.iter().rev().for_each(|level| bytes.extend(level));
        Ok(Self { root, data_blocks, bytes })
    }

    /// Whether this is the tree of some data.
    pub fn covers(&self, data: &[u8]) -> bool {
        Self::over(data).as_ref() == Ok(self)
    }
}

/// Checks data with the tree behind it against a root hash, and returns the data. The first block that differs is named.
pub fn check<'a>(partition: &'a [u8], data_blocks: u64, root: &RootHash) -> Result<&'a [u8], VerityError> {
    let length = usize::try_from(data_blocks).ok().and_then(|n| n.checked_mul(BLOCK)).ok_or(VerityError::Length)?;
    let (data, rest) = partition.split_at_checked(length).ok_or(VerityError::Truncated)?;
    if rest.get(..BLOCK) != Some(&superblock(data_blocks)[..]) {
        return Err(VerityError::Superblock);
    }
    let expected = Tree::over(data)?;
    let found = rest.get(..expected.bytes.len()).ok_or(VerityError::Truncated)?;
    // Levels from the bottom up, so that damage in the data is told from damage in the tree.
    if found != expected.bytes {
        let at = found.iter().zip(&expected.bytes).position(|(a, b)| a != b).unwrap_or_default();
        return Err(locate(&expected, found, at));
    }
    if expected.root != *root { Err(VerityError::Root) } else { Ok(data) }
}

fn locate(expected: &Tree, found: &[u8], at: usize) -> VerityError {
    let mut counts = vec![(expected.data_blocks as usize).div_ceil(PER_BLOCK)];
    while counts[counts.len() - 1] > 1 {
        counts.push(counts[counts.len() - 1].div_ceil(PER_BLOCK));
    }
    let bottom = expected.bytes.len() - counts[0] * BLOCK;
    let differs = (bottom..found.len()).find(|at| found[*at] != expected.bytes[*at]);
    match differs {
        Some(differs) => VerityError::Mismatch { level: 0, block: (differs - bottom) / HASH },
        None => VerityError::Mismatch { level: 1, block: at.saturating_sub(BLOCK) / BLOCK },
    }
}

fn superblock(data_blocks: u64) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend(1_u32.to_le_bytes());
    out.extend(1_u32.to_le_bytes());
    out.extend(&SALT[..16]);
    out.extend(b"sha256");
    out.resize(64, 0);
    out.extend((BLOCK as u32).to_le_bytes());
    out.extend((BLOCK as u32).to_le_bytes());
    out.extend(data_blocks.to_le_bytes());
    out.extend((SALT.len() as u16).to_le_bytes());
    out.extend([0; 6]);
    out.extend(SALT);
    out.resize(BLOCK, 0);
    out
}

fn hash(block: &[u8]) -> RootHash {
    Sha256::new().chain_update(SALT).chain_update(block).finalize().into()
}

/// On two threads where it is worth it; the order of hashes is that of blocks.
fn hashes_of(data: &[u8]) -> Vec<u8> {
    let serial = |part: &[u8]| part.chunks_exact(BLOCK).flat_map(hash).collect::<Vec<u8>>();
    let half = data.len() / BLOCK / 2 * BLOCK;
    if half < 1 << 20 {
        return serial(data);
    }
    let (front, back) = data.split_at(half);
    std::thread::scope(|scope| {
        let front = scope.spawn(|| serial(front));
        let back = serial(back);
        let mut all = front.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        all.extend(back);
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn partition(blocks: usize) -> (Vec<u8>, Tree) {
        let data: Vec<u8> = (0..blocks * BLOCK).map(|n| (n / 7) as u8).collect();
        let tree = Tree::over(&data).unwrap();
        ([data, tree.bytes.clone()].concat(), tree)
    }

    /// Three blocks of zeros, by hand.
    #[test]
    fn one_level_is_the_hash_of_the_hashes() {
        let tree = Tree::over(&[0; 3 * BLOCK]).unwrap();
        let leaf: [u8; 32] = Sha256::new().chain_update(SALT).chain_update([0; BLOCK]).finalize().into();
        let mut top = leaf.repeat(3);
        top.resize(BLOCK, 0);
        let root: [u8; 32] = Sha256::new().chain_update(SALT).chain_update(&top).finalize().into();
        assert_eq!((tree.root, tree.bytes.len()), (root, 2 * BLOCK));
    }

    #[test]
    fn a_whole_partition_checks_and_a_second_level_stands_above() {
        let (bytes, tree) = partition(200);
        assert_eq!(tree.bytes.len(), (1 + 1 + 2) * BLOCK);
        assert_eq!(check(&bytes, 200, &tree.root).map(<[u8]>::len), Ok(200 * BLOCK));
        assert_eq!(check(&bytes, 200, &[0; 32]), Err(VerityError::Root));
    }

    #[test]
    fn a_flipped_byte_is_named_by_its_block() {
        let (mut bytes, tree) = partition(200);
        bytes[150 * BLOCK + 9] ^= 1;
        assert_eq!(check(&bytes, 200, &tree.root), Err(VerityError::Mismatch { level: 0, block: 150 }));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn flips_and_truncations_never_pass(at in 0_usize..19 * BLOCK, bit in 0_u8..8) {
            let (bytes, tree) = partition(17);
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            prop_assert!(check(&flipped, 17, &tree.root).is_err());
            prop_assert!(check(&bytes[..at], 17, &tree.root).is_err());
        }
    }
}
