//! The kernel's initial file system: an uncompressed cpio archive in the "newc" form, with all that would differ between two
//! builds (owners, times, inode numbers of the machine) set to constants.

use crate::tree::{Node, Tree};
use image_formats::field::bytes_at;

/// Writes an archive.
pub fn encode(tree: &Tree) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, (path, node)) in tree.nodes.iter().enumerate() {
        let bytes = match node {
            Node::Folder => &[],
            Node::File { bytes, .. } => &bytes[..],
            Node::Link(target) => target.as_bytes(),
        };
        entry(&mut out, index + 1, node.mode(), path, bytes);
    }
    entry(&mut out, 0, 0, "TRAILER!!!", &[]);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

/// The content of a file in an archive.
pub fn file<'a>(archive: &'a [u8], path: &str) -> Option<&'a [u8]> {
    let mut at = 0;
    loop {
        let header = bytes_at(archive, at, 110).filter(|header| header.starts_with(b"070701"))?;
        let field =
            |n: usize| usize::from_str_radix(std::str::from_utf8(&header[6 + 8 * n..14 + 8 * n]).ok()?, 16).ok();
        let (length, name_length) = (field(6)?, field(11)?);
        let name = bytes_at(archive, at + 110, name_length)?.strip_suffix(b"\0")?;
        let start = (at + 110 + name_length).next_multiple_of(4);
        match name {
            name if name == path.as_bytes() => return bytes_at(archive, start, length),
            b"TRAILER!!!" => return None,
            _ => at = start.checked_add(length)?.next_multiple_of(4),
        }
    }
}

fn entry(out: &mut Vec<u8>, inode: usize, mode: u16, path: &str, bytes: &[u8]) {
    let links = if mode & 0o170_000 == 0o040_000 { 2 } else { 1 };
    let fields = [inode, mode.into(), 0, 0, links, 0, bytes.len(), 0, 0, 0, 0, path.len() + 1, 0];
    out.extend(b"070701");
    fields.iter().for_each(|field| out.extend(format!("{field:08X}").bytes()));
    out.extend(path.bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend(bytes);
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_begins_and_ends_as_the_kernel_expects() {
        let mut tree = Tree::default();
        tree.program("init", *b"abc");
        let bytes = encode(&tree);
        assert!(bytes.starts_with(
            b"070701000000010000 81ED".iter().filter(|b| **b != b' ').copied().collect::<Vec<_>>().as_slice()
        ));
        assert_eq!((file(&bytes, "init"), file(&bytes, "absent")), (Some(&b"abc"[..]), None));
        assert!((0..bytes.len()).all(|length| file(&bytes[..length], "absent").is_none()));
        let trailer = bytes.windows(11).position(|window| window == b"TRAILER!!!\0");
        assert!(trailer.is_some_and(|at| at > 110) && bytes.len().is_multiple_of(512));
    }
}
