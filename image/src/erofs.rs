//! The root file system: EROFS as Linux reads it (`fs/erofs/erofs_fs.h`), blocks of 4096 bytes, files compressed with LZ4 in
//! clusters of up to 64 KiB where that is shorter. Written from a [`crate::tree::Tree`]: the same tree gives the same bytes.
//!
//! Absent: extended inodes, attributes, devices, owners other than root, files of 4 GiB; the reader refuses them.

mod lz4;
mod read;
mod write;

pub use read::read;
pub use write::write;

use thiserror::Error;

/// Bytes of a block.
const BLOCK: usize = 4096;
/// Where the superblock lies.
const SUPER: usize = 1024;
const MAGIC: u32 = 0xE0F5_E1E2;
/// Bytes of an inode, and the unit of its number.
const INODE: usize = 32;
/// Compressed data ends with its last block; clusters have more than one block.
const FEATURES: u32 = 0x1 | 0x2;
/// Blocks of compressed data in a cluster at most.
const CLUSTER_BLOCKS: usize = 16;
/// Marks an index entry that tells the number of blocks.
const BLOCK_COUNT: u16 = 0x800;
/// Layouts of an inode's data.
const PLAIN_LAYOUT: u16 = 0;
const COMPRESSED_LAYOUT: u16 = 1;
/// Bytes of header before the index of a compressed file.
const INDEX_HEADER: usize = 16;
/// Types of index entries.
const TYPE_PLAIN: u16 = 0;
const TYPE_HEAD: u16 = 1;
const TYPE_FOLLOWS: u16 = 2;

/// Why a file system cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ErofsError {
    /// Another file system, or features that ours never has.
    #[error("this is no EROFS of the kind that the image has")]
    NoVolume,
    /// Something points outside.
    #[error("{0:?} points outside of the file system")]
    Outside(String),
    /// A folder that is not sorted, has entries that are none, or lies in itself.
    #[error("folder {0:?} is damaged")]
    Folder(String),
    /// An inode of a type or mode that the image never has.
    #[error("{path:?} has mode {mode:o}, owner {owner} and group {group}")]
    Mode {
        /// Where it is.
        path: String,
        /// Type and permissions.
        mode: u16,
        /// Owner.
        owner: u16,
        /// Group.
        group: u16,
    },
    /// Data that does not decompress to the length of its file.
    #[error("the data of {0:?} is damaged")]
    Data(String),
    /// More than a root file system has.
    #[error("the file system has too many files, or too much in them")]
    TooMuch,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;
    use proptest::prelude::*;

    fn tree() -> Tree {
        let mut tree = Tree::default();
        let text: Vec<u8> = (0..60_000_u32).flat_map(|n| format!("line {} of many\n", n / 3).into_bytes()).collect();
        let noise: Vec<u8> =
            (0..300_000_u64).map(|n| (n.wrapping_mul(n).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 51) as u8).collect();
        tree.program("usr/bin/text", text);
        tree.file("usr/lib/noise", noise.clone());
        tree.file("usr/lib/mixed", [&noise[..5000], &vec![0; 100_000][..], &noise[..9000]].concat());
        tree.file("etc/small", *b"few bytes");
        tree.file("etc/empty", *b"");
        tree.link("lib", "usr/lib");
        tree.folder("proc");
        (0..200).for_each(|n| tree.file(&format!("many/file with a longer name {n}"), n.to_string()));
        tree
    }

    #[test]
    fn what_is_written_is_read_and_shorter() {
        let bytes = write(&tree(), &[7; 16]);
        assert_eq!(read(&bytes), Ok(tree()));
        let length =
            |node: &crate::tree::Node| if let crate::tree::Node::File { bytes, .. } = node { bytes.len() } else { 0 };
        let all: usize = tree().nodes.values().map(length).sum();
        assert!(bytes.len() < all - all / 8, "{} of {all}", bytes.len());
        assert_eq!(bytes, write(&tree(), &[7; 16]));
    }

    #[test]
    fn files_around_the_size_of_a_block_come_back() {
        for length in [1, 4095, 4096, 4097, 8191, 8192, 8193, 65_535, 65_536, 65_537] {
            let mut tree = Tree::default();
            tree.file("a", vec![b'x'; length]);
            tree.file("b", (0..length).map(|n| (n * n / 7) as u8).collect::<Vec<_>>());
            assert_eq!(read(&write(&tree, &[7; 16])), Ok(tree), "{length}");
        }
    }

    #[test]
    fn a_setuid_bit_is_told() {
        let mut bytes = write(&tree(), &[7; 16]);
        let at = bytes.windows(2).position(|w| w == 0o100_755_u16.to_le_bytes()).unwrap();
        bytes[at..at + 2].copy_from_slice(&0o104_755_u16.to_le_bytes());
        assert!(matches!(read(&bytes), Err(ErofsError::Mode { mode: 0o104_755, .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn damage_is_an_error_or_another_tree(at: prop::sample::Index, near in 1024_usize..40_000, bit in 0_u8..8, cut: prop::sample::Index) {
            let mut tree = tree();
            tree.nodes.remove("usr/bin/text");
            let mut bytes = write(&tree, &[7; 16]);
            let far = at.index(bytes.len());
            bytes[far] ^= 1 << bit;
            let _ = read(&bytes);
            bytes[near] ^= 1 << bit;
            let _ = read(&bytes);
            let _ = read(&bytes[..cut.index(far + 1)]);
        }
    }
}
