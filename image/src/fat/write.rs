//! Writing a volume: folders first, files behind them, each in one piece.

use super::{CLUSTERS_MIN, END, ENTRY, FOLDER, FatError, File, LONG_NAME, SECTOR, VOLUME, short_name_sum};
use std::collections::BTreeMap;

const RESERVED: usize = 32;
/// 1 January 2020: firmware shows it, nothing depends on it.
const DATE: u16 = 40 << 9 | 1 << 5 | 1;
const ROOT_CLUSTER: u32 = 2;

/// A folder that is being laid out.
#[derive(Default)]
struct Folder<'a> {
    folders: BTreeMap<&'a str, Folder<'a>>,
    files: BTreeMap<&'a str, &'a [u8]>,
}

/// Writes a volume of `bytes` bytes.
pub fn write(files: &[File], bytes: usize) -> Result<Vec<u8>, FatError> {
    let mut root = Folder::default();
    for (path, content) in files {
        let mut folder = &mut root;
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_some() {
                folder = folder.folders.entry(part).or_default();
            } else {
                folder.files.insert(part, content);
            }
        }
    }
    let sectors = bytes / SECTOR;
    // Two tables of four bytes a cluster, and the clusters, share what is left over.
    let table_sectors = (sectors.saturating_sub(RESERVED) + 2).div_ceil(SECTOR / 4 + 2);
    let clusters = sectors.saturating_sub(RESERVED + 2 * table_sectors);
    if clusters < CLUSTERS_MIN {
        return Err(FatError::Full { needed: (CLUSTERS_MIN + RESERVED + 2 * 512) * SECTOR, bytes });
    }
    let mut volume = Layout { next: ROOT_CLUSTER, table: vec![0x0FFF_FFF8, 0x0FFF_FFFF], data: Vec::new() };
    volume.folder(&root, None);
    if volume.data.len() > clusters * SECTOR {
        return Err(FatError::Full { needed: volume.data.len(), bytes });
    }
    let used = volume.data.len() / SECTOR;
    let mut out = vec![0; bytes];
    let boot = boot_sector(sectors, table_sectors);
    let information = information_sector(clusters - used, volume.next);
    for (at, sector) in [(0, &boot), (1, &information), (6, &boot), (7, &information)] {
        out[at * SECTOR..(at + 1) * SECTOR].copy_from_slice(sector);
    }
    let table: Vec<u8> = volume.table.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    for copy in 0..2 {
        let at = (RESERVED + copy * table_sectors) * SECTOR;
        out[at..at + table.len()].copy_from_slice(&table);
    }
    let at = (RESERVED + 2 * table_sectors) * SECTOR;
    out[at..at + volume.data.len()].copy_from_slice(&volume.data);
    Ok(out)
}

/// Clusters as they are given away, from 2 on.
struct Layout {
    next: u32,
    table: Vec<u32>,
    data: Vec<u8>,
}

impl Layout {
    /// Takes clusters for so many bytes and chains them; an empty file has none.
    fn take(&mut self, bytes: usize) -> u32 {
        let count = bytes.div_ceil(SECTOR) as u32;
        if count == 0 {
            return 0;
        }
        let first = self.next;
        self.next += count;
        self.table.extend(first + 1..self.next);
        self.table.push(END | 7);
        self.data.resize((self.next - ROOT_CLUSTER) as usize * SECTOR, 0);
        first
    }

    fn put(&mut self, first: u32, content: &[u8]) {
        let at = (first.max(ROOT_CLUSTER) - ROOT_CLUSTER) as usize * SECTOR;
        self.data[at..at + content.len()].copy_from_slice(content);
    }

    /// Lays out a folder and all that is in it; returns its first cluster.
    fn folder(&mut self, folder: &Folder<'_>, parent: Option<u32>) -> u32 {
        let names = folder.folders.keys().chain(folder.files.keys());
        let slots: usize = names.map(|name| 1 + name.encode_utf16().count().div_ceil(13)).sum();
        let own = self.take((slots + 3) * ENTRY);
        let mut content = Vec::new();
        match parent {
            None => content.extend(short_entry(b"STELE      ", VOLUME, 0, 0)),
            Some(parent) => {
                // The root is cluster 0 to those who point up to it.
                let up = if parent == ROOT_CLUSTER { 0 } else { parent };
                content.extend(short_entry(b".          ", FOLDER, own, 0));
                content.extend(short_entry(b"..         ", FOLDER, up, 0));
            }
        }
        let mut number = 0;
        for (name, inner) in &folder.folders {
            let first = self.folder(inner, Some(own));
            number += 1;
            content.extend(named(name, number, FOLDER, first, 0));
        }
        for (name, bytes) in &folder.files {
            let first = self.take(bytes.len());
            self.put(first, bytes);
            number += 1;
            content.extend(named(name, number, 0x20, first, bytes.len() as u32));
        }
        self.put(own, &content);
        own
    }
}

/// An entry with its long name before it. Firmware goes by the long name; the short one is a number where the name does not
/// fit into it.
pub(super) fn named(name: &str, number: u32, attributes: u8, first: u32, size: u32) -> Vec<u8> {
    let mut short = [b' '; 11];
    match fits_short(name) {
        Some((stem, extension)) => {
            short[..stem.len()].copy_from_slice(stem.as_bytes());
            short[8..8 + extension.len()].copy_from_slice(extension.as_bytes());
        }
        None => short[..8].copy_from_slice(format!("{number:06}~1").as_bytes()),
    }
    let mut units: Vec<u16> = name.encode_utf16().collect();
    if !units.len().is_multiple_of(13) {
        units.push(0);
    }
    units.resize(units.len().next_multiple_of(13), 0xFFFF);
    let pieces = units.chunks_exact(13).enumerate();
    let last = pieces.len();
    let mut out = Vec::new();
    for (index, piece) in pieces.rev() {
        let order = (index as u8 + 1) | if index + 1 == last { 0x40 } else { 0 };
        let bytes: Vec<u8> = piece.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        out.push(order);
        out.extend(&bytes[..10]);
        out.extend([LONG_NAME, 0, short_name_sum(&short)]);
        out.extend(&bytes[10..22]);
        out.extend([0, 0]);
        out.extend(&bytes[22..]);
    }
    out.extend(short_entry(&short, attributes, first, size));
    out
}

fn fits_short(name: &str) -> Option<(&str, &str)> {
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    let fits = !stem.is_empty() && stem.len() <= 8 && extension.len() <= 3 && plain(stem) && plain(extension);
    fits.then_some((stem, extension))
}

fn short_entry(name: &[u8; 11], attributes: u8, first: u32, size: u32) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    entry[..11].copy_from_slice(name);
    entry[11] = attributes;
    for at in [16, 18, 24] {
        entry[at..at + 2].copy_from_slice(&DATE.to_le_bytes());
    }
    entry[20..22].copy_from_slice(&((first >> 16) as u16).to_le_bytes());
    entry[26..28].copy_from_slice(&(first as u16).to_le_bytes());
    entry[28..32].copy_from_slice(&size.to_le_bytes());
    entry
}

fn boot_sector(sectors: usize, table_sectors: usize) -> [u8; SECTOR] {
    let mut out = [0; SECTOR];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &[0xEB, 0x58, 0x90]);
    put(3, b"STELE   ");
    put(11, &(SECTOR as u16).to_le_bytes());
    put(13, &[1]);
    put(14, &(RESERVED as u16).to_le_bytes());
    put(16, &[2]);
    put(21, &[0xF8]);
    put(24, &[32, 0, 64, 0]);
    put(32, &(sectors as u32).to_le_bytes());
    put(36, &(table_sectors as u32).to_le_bytes());
    put(44, &ROOT_CLUSTER.to_le_bytes());
    put(48, &[1, 0, 6, 0]);
    put(64, &[0x80, 0, 0x29]);
    put(67, &0x0BAD_C0DE_u32.to_le_bytes());
    put(71, b"STELE      FAT32   ");
    put(510, &[0x55, 0xAA]);
    out
}

fn information_sector(free: usize, next: u32) -> [u8; SECTOR] {
    let mut out = [0; SECTOR];
    out[..4].copy_from_slice(b"RRaA");
    out[484..488].copy_from_slice(b"rrAa");
    out[488..492].copy_from_slice(&(free as u32).to_le_bytes());
    out[492..496].copy_from_slice(&next.to_le_bytes());
    out[510..512].copy_from_slice(&[0x55, 0xAA]);
    out
}
