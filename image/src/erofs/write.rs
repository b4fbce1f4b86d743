//! Writing: inodes and the indexes of compressed files first, one after another in the order of paths, then blocks of data.

use super::{
    BLOCK, BLOCK_COUNT, CLUSTER_BLOCKS, COMPRESSED_LAYOUT, FEATURES, INDEX_HEADER, INODE, MAGIC, PLAIN_LAYOUT, SUPER,
    TYPE_FOLLOWS, TYPE_HEAD, TYPE_PLAIN, lz4,
};
use crate::tree::{Node, Tree};
use std::collections::BTreeMap;

/// Input that one cluster is offered: what a cluster of code or zeros can hold, within reason.
const OFFER: usize = 1 << 20;

/// A file's data, laid out.
struct Data {
    layout: u16,
    size: u32,
    /// Entries of the index; block numbers count from the file's first block.
    index: Vec<[u16; 4]>,
    blocks: Vec<u8>,
}

/// Writes a file system.
pub fn write(tree: &Tree, id: &[u8; 16]) -> Vec<u8> {
    // The root is the empty path.
    let mut paths = vec![""];
    paths.extend(tree.nodes.keys().map(String::as_str));
    let files: BTreeMap<&str, Data> = tree
        .nodes
        .iter()
        .filter_map(|(path, node)| match node {
            Node::Folder => None,
            Node::File { bytes, .. } => Some((path.as_str(), compress(bytes))),
            Node::Link(target) => Some((path.as_str(), plain(target.as_bytes()))),
        })
        .collect();
    // Numbers follow from the lengths of the indexes alone.
    let mut at = SUPER + 256;
    let mut numbers: BTreeMap<&str, u64> = BTreeMap::new();
    for path in &paths {
        numbers.insert(path, (at / INODE) as u64);
        let index = files.get(path).filter(|data| !data.index.is_empty());
        at += INODE + index.map_or(0, |data| INDEX_HEADER + data.index.len() * 8);
        at = at.next_multiple_of(INODE);
    }
    let mut out = vec![0; at.next_multiple_of(BLOCK)];
    for (serial, path) in paths.iter().enumerate() {
        let folder = matches!(tree.nodes.get(*path), None | Some(Node::Folder));
        let made = folder.then(|| plain(&folder_blocks(tree, path, &numbers)));
        let Some(data) = made.as_ref().or_else(|| files.get(path)) else { continue };
        let first = out.len() / BLOCK;
        let mode = tree.nodes.get(*path).map_or(0o040_755, Node::mode);
        let start = numbers[path] as usize * INODE;
        let links = if folder { 2 + subfolders(tree, path) } else { 1 };
        let mut inode = Vec::with_capacity(INODE);
        for field in [data.layout << 1, 0, mode, links] {
            inode.extend(field.to_le_bytes());
        }
        let blocks = (data.blocks.len() / BLOCK) as u32;
        let location = if data.layout == COMPRESSED_LAYOUT { blocks } else { first as u32 };
        for field in [data.size, 0, location, serial as u32 + 1, 0, 0] {
            inode.extend(field.to_le_bytes());
        }
        out[start..start + INODE].copy_from_slice(&inode);
        put_index(&mut out, start, first as u32, data);
        out.extend(&data.blocks);
    }
    let superblock = superblock(&out, numbers[""], paths.len() as u64, id);
    out[SUPER..SUPER + superblock.len()].copy_from_slice(&superblock);
    out
}

fn put_index(out: &mut [u8], start: usize, first: u32, data: &Data) {
    if data.index.is_empty() {
        return;
    }
    // The header: clusters of more than one block, LZ4, logical clusters of a block.
    out[start + INODE + 4] = 2;
    let mut at = start + INODE + INDEX_HEADER;
    for [kind, offset, low, high] in &data.index {
        let value = u32::from(*high) << 16 | u32::from(*low);
        let value = if *kind == TYPE_FOLLOWS { value } else { value + first };
        out[at..at + 2].copy_from_slice(&kind.to_le_bytes());
        out[at + 2..at + 4].copy_from_slice(&offset.to_le_bytes());
        out[at + 4..at + 8].copy_from_slice(&value.to_le_bytes());
        at += 8;
    }
}

fn superblock(out: &[u8], root: u64, inodes: u64, id: &[u8; 16]) -> Vec<u8> {
    let mut block = MAGIC.to_le_bytes().to_vec();
    block.extend([0; 8]);
    block.extend([12, 0]);
    block.extend((root as u16).to_le_bytes());
    block.extend(inodes.to_le_bytes());
    block.extend([0; 12]);
    block.extend(((out.len() / BLOCK) as u32).to_le_bytes());
    block.extend([0; 8]);
    block.extend(id);
    block.extend(b"stele-root\0\0\0\0\0\0");
    block.extend(FEATURES.to_le_bytes());
    // LZ4 alone, and behind the superblock its settings.
    block.extend(1_u16.to_le_bytes());
    block.resize(128, 0);
    block.extend(14_u16.to_le_bytes());
    block.extend(u16::MAX.to_le_bytes());
    block.extend((CLUSTER_BLOCKS as u16).to_le_bytes());
    block.extend([0; 10]);
    block
}

fn plain(bytes: &[u8]) -> Data {
    let mut blocks = bytes.to_vec();
    blocks.resize(bytes.len().next_multiple_of(BLOCK), 0);
    Data { layout: PLAIN_LAYOUT, size: bytes.len() as u32, index: Vec::new(), blocks }
}

fn compress(bytes: &[u8]) -> Data {
    let lclusters = bytes.len().div_ceil(BLOCK);
    let mut blocks = Vec::new();
    let mut index = vec![[u16::MAX; 4]; lclusters];
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let (packed, held) = lz4::compress(&rest[..rest.len().min(OFFER)], CLUSTER_BLOCKS * BLOCK);
        let count = packed.len().div_ceil(BLOCK);
        let first = blocks.len() / BLOCK;
        // Shorter by a block at least, or it lies as it is.
        let (kind, held, count) = if count * BLOCK < held {
            blocks.resize((first + count) * BLOCK - packed.len(), 0);
            blocks.extend(packed);
            (TYPE_HEAD, held, count)
        } else {
            // The kernel counts what lies in the last block as whole, and refuses more of it than a block: what ends the file
            // does not cross from one block to the next.
            let ends = rest.len() <= BLOCK && at % BLOCK + rest.len() > BLOCK;
            let held = if ends { BLOCK - at % BLOCK } else { rest.len().min(BLOCK) };
            blocks.extend(&rest[..held]);
            blocks.resize((first + 1) * BLOCK, 0);
            (TYPE_PLAIN, held, 1)
        };
        let (head, next) = (at / BLOCK, (at + held).div_ceil(BLOCK).min(lclusters));
        let next = if at + held < bytes.len() { (at + held) / BLOCK } else { next };
        index[head] = [kind, (at % BLOCK) as u16, first as u16, (first >> 16) as u16];
        #[allow(clippy::needless_range_loop, reason = "the number is what is written")]
        for follower in head + 1..next {
            let back = (follower - head) as u16;
            let told = if back == 1 { BLOCK_COUNT | count as u16 } else { back };
            index[follower] = [TYPE_FOLLOWS, 0, told, (next - follower) as u16];
        }
        at += held;
    }
    if blocks.len() >= bytes.len().next_multiple_of(BLOCK) {
        return plain(bytes);
    }
    Data { layout: COMPRESSED_LAYOUT, size: bytes.len() as u32, index, blocks }
}

fn children<'a>(tree: &'a Tree, path: &'a str) -> impl Iterator<Item = (&'a str, &'a Node)> {
    tree.nodes.iter().filter_map(move |(child, node)| {
        let name = if path.is_empty() { child.as_str() } else { child.strip_prefix(path)?.strip_prefix('/')? };
        (!name.contains('/')).then_some((name, node))
    })
}

fn subfolders(tree: &Tree, path: &str) -> u16 {
    children(tree, path).filter(|(_, node)| matches!(node, Node::Folder)).count() as u16
}

/// A folder's blocks: entries sorted by name over all of them, in each block entries first, names behind.
fn folder_blocks(tree: &Tree, path: &str, numbers: &BTreeMap<&str, u64>) -> Vec<u8> {
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let mut entries: Vec<(&[u8], u64, u8)> = vec![(b".", numbers[path], 2), (b"..", numbers[parent], 2)];
    for (name, node) in children(tree, path) {
        let full = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
        let kind = match node {
            Node::Folder => 2,
            Node::File { .. } => 1,
            Node::Link(_) => 7,
        };
        entries.push((name.as_bytes(), numbers[full.as_str()], kind));
    }
    entries.sort();
    let mut out = Vec::new();
    let mut rest = &entries[..];
    while !rest.is_empty() {
        let mut used = 0;
        let fitting = rest.iter().take_while(|entry| {
            used += 12 + entry.0.len();
            used <= BLOCK
        });
        let (now, later) = rest.split_at(fitting.count());
        rest = later;
        let start = out.len();
        let mut name_at = now.len() * 12;
        for (name, number, kind) in now {
            out.extend(number.to_le_bytes());
            out.extend((name_at as u16).to_le_bytes());
            out.extend([*kind, 0]);
            name_at += name.len();
        }
        now.iter().for_each(|entry| out.extend(entry.0));
        if !rest.is_empty() {
            out.resize(start + BLOCK, 0);
        }
    }
    out
}
