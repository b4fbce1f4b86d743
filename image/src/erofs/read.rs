//! Reading: all of a file system into a tree, with every offset checked and the work bounded by the length of the input.

use super::{
    BLOCK, BLOCK_COUNT, COMPRESSED_LAYOUT, ErofsError, FEATURES, INDEX_HEADER, INODE, MAGIC, PLAIN_LAYOUT, SUPER,
    TYPE_FOLLOWS, TYPE_HEAD, TYPE_PLAIN, lz4,
};
use crate::tree::{Node, Tree};
use image_formats::field::{bytes_at, u16_at, u32_at, u64_at};

const NODES_MAX: usize = 20_000;
const DEPTH_MAX: usize = 24;
/// Bytes of all files together at most.
const BYTES_MAX: usize = 1 << 30;

/// Reads everything.
pub fn read(bytes: &[u8]) -> Result<Tree, ErofsError> {
    let superblock = bytes_at(bytes, SUPER, 144).ok_or(ErofsError::NoVolume)?;
    let sound =
        u32_at(superblock, 0) == Some(MAGIC) && superblock[12] == 12 && u32_at(superblock, 80) == Some(FEATURES);
    let (Some(root), Some(0), true) = (u16_at(superblock, 14), u32_at(superblock, 40), sound) else {
        return Err(ErofsError::NoVolume);
    };
    let mut reader = Reader { bytes, tree: Tree::default(), budget: BYTES_MAX.min(bytes.len().saturating_mul(300)) };
    reader.folder(u64::from(root), "", 0)?;
    Ok(reader.tree)
}

struct Reader<'a> {
    bytes: &'a [u8],
    tree: Tree,
    budget: usize,
}

impl<'a> Reader<'a> {
    fn inode(&self, number: u64, path: &str) -> Result<(usize, &'a [u8]), ErofsError> {
        let at = usize::try_from(number).ok().and_then(|number| number.checked_mul(INODE));
        at.and_then(|at| Some((at, bytes_at(self.bytes, at, INODE)?)))
            .ok_or_else(|| ErofsError::Outside(path.to_owned()))
    }

    fn folder(&mut self, number: u64, path: &str, depth: usize) -> Result<(), ErofsError> {
        let damaged = || ErofsError::Folder(path.to_owned());
        if depth > DEPTH_MAX {
            return Err(damaged());
        }
        let (content, mode) = self.data(number, path)?;
        if mode != 0o040_755 {
            return Err(self.wrong_mode(number, path));
        }
        for block in content.chunks(BLOCK) {
            let count = usize::from(u16_at(block, 8).ok_or_else(damaged)?) / 12;
            for index in 0..count {
                let entry = bytes_at(block, index * 12, 12).ok_or_else(damaged)?;
                let name_at = usize::from(u16_at(entry, 8).ok_or_else(damaged)?);
                let next = u16_at(block, (index + 1) * 12 + 8).map(usize::from).filter(|_| index + 1 < count);
                let name = block.get(name_at..next.unwrap_or(block.len())).ok_or_else(damaged)?;
                let name = image_formats::field::text(name).filter(|name| !name.is_empty()).ok_or_else(damaged)?;
                if name == "." || name == ".." {
                    continue;
                }
                let full = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
                if name.contains('/') || self.tree.nodes.contains_key(&full) {
                    return Err(damaged());
                }
                if self.tree.nodes.len() >= NODES_MAX {
                    return Err(ErofsError::TooMuch);
                }
                self.node(u64_at(entry, 0).ok_or_else(damaged)?, full, depth)?;
            }
        }
        Ok(())
    }

    fn node(&mut self, number: u64, path: String, depth: usize) -> Result<(), ErofsError> {
        let (_, inode) = self.inode(number, &path)?;
        let mode = u16_at(inode, 4).unwrap_or_default();
        if mode == 0o040_755 {
            self.tree.nodes.insert(path.clone(), Node::Folder);
            return self.folder(number, &path, depth + 1);
        }
        let (bytes, _) = self.data(number, &path)?;
        let node = match mode {
            0o100_755 => Node::File { bytes, executable: true },
            0o100_644 => Node::File { bytes, executable: false },
            0o120_777 => Node::Link(String::from_utf8(bytes).map_err(|_| ErofsError::Data(path.clone()))?),
            _ => return Err(self.wrong_mode(number, &path)),
        };
        if u32_at(inode, 24) != Some(0) {
            return Err(self.wrong_mode(number, &path));
        }
        self.tree.nodes.insert(path, node);
        Ok(())
    }

    fn wrong_mode(&self, number: u64, path: &str) -> ErofsError {
        let inode = self.inode(number, path).map(|inode| inode.1).unwrap_or_default();
        let field = |at| u16_at(inode, at).unwrap_or_default();
        ErofsError::Mode { path: path.to_owned(), mode: field(4), owner: field(24), group: field(26) }
    }

    /// An inode's data and mode.
    fn data(&mut self, number: u64, path: &str) -> Result<(Vec<u8>, u16), ErofsError> {
        let outside = || ErofsError::Outside(path.to_owned());
        let (at, inode) = self.inode(number, path)?;
        let format = u16_at(inode, 0).ok_or_else(outside)?;
        let mode = u16_at(inode, 4).ok_or_else(outside)?;
        let size = u32_at(inode, 8).ok_or_else(outside)? as usize;
        self.budget = self.budget.checked_sub(size).ok_or(ErofsError::TooMuch)?;
        let data = match format {
            _ if size == 0 => Vec::new(),
            f if f == PLAIN_LAYOUT << 1 => {
                let first = u32_at(inode, 16).ok_or_else(outside)? as usize;
                bytes_at(self.bytes, first * BLOCK, size).ok_or_else(outside)?.to_vec()
            }
            f if f == COMPRESSED_LAYOUT << 1 => {
                let index =
                    bytes_at(self.bytes, at + INODE + INDEX_HEADER, size.div_ceil(BLOCK) * 8).ok_or_else(outside)?;
                self.decompress(index, size).ok_or_else(|| ErofsError::Data(path.to_owned()))?
            }
            _ => return Err(ErofsError::NoVolume),
        };
        Ok((data, mode))
    }

    fn decompress(&self, index: &[u8], size: usize) -> Option<Vec<u8>> {
        let heads: Vec<(usize, &[u8])> =
            index.chunks_exact(8).enumerate().filter(|(_, entry)| u16_at(entry, 0) != Some(TYPE_FOLLOWS)).collect();
        let start = |head: &(usize, &[u8])| Some(head.0 * BLOCK + usize::from(u16_at(head.1, 2)?));
        let mut out = Vec::with_capacity(size.min(self.budget + size));
        for (place, head) in heads.iter().enumerate() {
            let from = start(head)?;
            let to = heads.get(place + 1).map_or(Some(size), start)?;
            let length = to.checked_sub(from).filter(|_| from == out.len())?;
            let first = u32_at(head.1, 4)? as usize * BLOCK;
            match u16_at(head.1, 0)? {
                // As the kernel has it: where nothing follows, the last block counts as whole.
                TYPE_PLAIN if place + 1 == heads.len() && size.next_multiple_of(BLOCK) - from > BLOCK => return None,
                TYPE_PLAIN if length <= BLOCK => out.extend(bytes_at(self.bytes, first, length)?),
                TYPE_HEAD => {
                    let follower = bytes_at(index, (head.0 + 1) * 8, 8).filter(|f| u16_at(f, 0) == Some(TYPE_FOLLOWS));
                    let told = follower.and_then(|follower| u16_at(follower, 4));
                    let count =
                        told.map_or(Some(1), |told| (told & BLOCK_COUNT != 0).then_some(told & !BLOCK_COUNT))?;
                    let packed = bytes_at(self.bytes, first, usize::from(count) * BLOCK)?;
                    let zeros = packed.iter().position(|byte| *byte != 0)?;
                    out.extend(lz4::decompress(&packed[zeros..], length)?);
                }
                _ => return None,
            }
        }
        (out.len() == size).then_some(out)
    }
}
