//! Merkle trees over ordered lists: RFC 6962 §2.1 with SHA-256. Leaves and nodes hash under different first bytes, so
//! neither can pass for the other, and a tree over n leaves is split at the largest power of two below n.
//!
//! The builder here is the reference; `accel` builds large trees on the best device and must agree with it.

mod lanes;

use crate::codec::{Decode, DecodeError, Encode, Reader, put_list};
use crate::digest::Digest;

/// Longest path that a proof may have: a tree of 2^40 leaves.
const PATH_MAX: usize = 40;

/// First byte of what is hashed for a leaf, and for a node.
const LEAF: u8 = 0;
const NODE: u8 = 1;
/// Nodes that are hashed at a time.
const NODES: usize = 16;

/// Hash of a leaf with this content.
pub fn leaf_hash(content: &[u8]) -> Digest {
    digest(lanes::hash_one(LEAF, content))
}

/// Hashes of leaves with these contents, in order: many cost less than each by itself.
pub fn leaf_hashes<'a>(contents: impl IntoIterator<Item = &'a [u8]>) -> Vec<Digest> {
    lanes::hash_each(LEAF, contents).into_iter().map(digest).collect()
}

fn node_hash(left: &Digest, right: &Digest) -> Digest {
    digest(lanes::hash_one(NODE, &joined(left, right)))
}

fn joined(left: &Digest, right: &Digest) -> [u8; 64] {
    let mut both = [0; 64];
    both[..32].copy_from_slice(left.as_bytes());
    both[32..].copy_from_slice(right.as_bytes());
    both
}

fn digest(bytes: [u8; 32]) -> Digest {
    Digest::from_parts(crate::AlgId::Sha256, bytes).expect("SHA-256 is a digest algorithm")
}

/// Root over the contents of leaves, in order; over no leaves it is the hash of nothing.
pub fn merkle_root<T: AsRef<[u8]>>(leaves: impl IntoIterator<Item = T>) -> Digest {
    let leaves: Vec<T> = leaves.into_iter().collect();
    root_of_hashes(leaf_hashes(leaves.iter().map(AsRef::as_ref)))
}

/// Root over leaf hashes, in order.
///
/// Pairing neighbours level by level and promoting an odd last one gives the tree of RFC 6962.
pub fn root_of_hashes(mut level: Vec<Digest>) -> Digest {
    if level.is_empty() {
        return Digest::sha256(&[]);
    }
    while level.len() > 1 {
        raise(&mut level);
    }
    level[0]
}

/// Puts the next level of a tree in the place of a level.
fn raise(level: &mut Vec<Digest>) {
    let (pairs, odd) = (level.len() / 2, level.len() % 2);
    let mut contents = [[0; 64]; NODES];
    for start in (0..pairs).step_by(NODES) {
        let count = NODES.min(pairs - start);
        for (content, pair) in contents.iter_mut().zip(level[2 * start..].as_chunks::<2>().0) {
            *content = joined(&pair[0], &pair[1]);
        }
        let hashes = lanes::hash_each(NODE, contents[..count].iter().map(|content| &content[..]));
        level[start..].iter_mut().zip(hashes).for_each(|(place, hash)| *place = digest(hash));
    }
    if odd == 1 {
        level[pairs] = level[2 * pairs];
    }
    level.truncate(pairs + odd);
}

/// Proof that a leaf stands at a position of a list with a known root (RFC 6962 §2.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MerkleProof {
    /// Position of the leaf.
    pub index: u64,
    /// Number of leaves in the list.
    pub count: u64,
    /// Sibling hashes, from the leaf upward.
    pub path: Vec<Digest>,
}

impl MerkleProof {
    /// Proves leaf `index` of a list of leaf hashes; `None` where there is no such leaf.
    pub fn build(mut level: Vec<Digest>, index: usize) -> Option<Self> {
        if index >= level.len() {
            return None;
        }
        let (count, mut position, mut path) = (level.len() as u64, index, Vec::new());
        while level.len() > 1 {
            if let Some(sibling) = level.get(position ^ 1) {
                path.push(*sibling);
            }
            raise(&mut level);
            position /= 2;
        }
        Some(Self { index: index as u64, count, path })
    }

    /// Whether `content` is the leaf at [`MerkleProof::index`] of the list whose root is `root`.
    pub fn verify(&self, content: &[u8], root: &Digest) -> bool {
        if self.index >= self.count {
            return false;
        }
        let (mut hash, mut position, mut last) = (leaf_hash(content), self.index, self.count - 1);
        let mut path = self.path.iter();
        while last > 0 {
            // An even last position has no sibling and is promoted as it is.
            if position % 2 == 1 {
                let Some(sibling) = path.next() else { return false };
                hash = node_hash(sibling, &hash);
            } else if position < last {
                let Some(sibling) = path.next() else { return false };
                hash = node_hash(&hash, sibling);
            }
            position /= 2;
            last /= 2;
        }
        path.next().is_none() && hash == *root
    }
}

impl Encode for MerkleProof {
    fn encode(&self, out: &mut Vec<u8>) {
        self.index.encode(out);
        self.count.encode(out);
        put_list(out, &self.path);
    }
}

impl Decode for MerkleProof {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            index: u64::decode(reader)?,
            count: u64::decode(reader)?,
            path: reader.list("merkle path", PATH_MAX)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(count: usize) -> Vec<Vec<u8>> {
        (0..count).map(|leaf| vec![leaf as u8; leaf % 5]).collect()
    }

    /// RFC 6962 §2.1, transcribed: split at the largest power of two below n.
    fn naive_root(leaves: &[Vec<u8>]) -> Digest {
        match leaves {
            [] => Digest::sha256(&[]),
            [leaf] => leaf_hash(leaf),
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                node_hash(&naive_root(&leaves[..split]), &naive_root(&leaves[split..]))
            }
        }
    }

    #[test]
    fn roots_are_those_of_rfc_6962() {
        for count in 0..70 {
            assert_eq!(merkle_root(contents(count)), naive_root(&contents(count)), "{count} leaves");
        }
    }

    #[test]
    fn every_leaf_is_proven_and_nothing_else_is() {
        for count in 1..40 {
            let leaves = contents(count);
            let root = merkle_root(&leaves);
            let hashes: Vec<_> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
            for index in 0..count {
                let proof = MerkleProof::build(hashes.clone(), index).expect("there is such a leaf");
                assert!(proof.verify(&leaves[index], &root));
                assert!(!proof.verify(b"another leaf", &root));
                let moved = MerkleProof { index: (index as u64 + 1) % count as u64, ..proof.clone() };
                assert!(
                    count == 1 || !moved.verify(&leaves[index], &root) || leaves[index] == leaves[moved.index as usize]
                );
                let longer = MerkleProof { path: [&proof.path[..], &[root]].concat(), ..proof };
                assert!(!longer.verify(&leaves[index], &root));
            }
            assert_eq!(MerkleProof::build(hashes, count), None);
        }
    }
}
