//! Reading a volume of any cluster size. All counts are bounded by the volume itself: a chain has no more links than there
//! are clusters, folders are no deeper than eight.

use super::{CLUSTERS_MIN, END, ENTRY, FOLDER, FatError, File, LONG_NAME, SECTOR, Step, VOLUME};
use image_formats::field::{bytes_at, u16_at, u32_at};
use std::collections::BTreeMap;

const DEPTH_MAX: usize = 8;
const FILES_MAX: usize = 4096;

/// All files of a volume, in the order of folders, by name. It may be cut off behind the last of them: what is free holds nothing.
pub fn read(bytes: &[u8]) -> Result<Vec<File>, FatError> {
    let volume = Volume::open(bytes)?;
    let mut files = Vec::new();
    let root = u32_at(bytes, 44).ok_or(FatError::NoVolume)?;
    let mut budget = bytes.len();
    volume.folder(root, "", 0, &mut budget, &mut files)?;
    files.sort();
    Ok(files)
}

/// Bytes of a volume, of which this is the beginning.
pub fn bytes(beginning: &[u8]) -> Result<u64, FatError> {
    Volume::open(beginning).map(|volume| volume.bytes as u64)
}

/// Bytes of a volume up to where all that follows is free.
pub fn used(bytes: &[u8]) -> Result<usize, FatError> {
    let volume = Volume::open(bytes)?;
    let last = (2..volume.clusters as u32 + 2).rev().find(|cluster| volume.link(*cluster) != Some(0));
    Ok(volume.place(last.map_or(2, |cluster| cluster + 1)))
}

/// A volume whose boot sector makes sense.
pub(super) struct Volume<'a> {
    table: &'a [u8],
    /// All of it, or its beginning.
    data: &'a [u8],
    /// Of the whole volume.
    bytes: usize,
    pub(super) cluster_bytes: usize,
    pub(super) clusters: usize,
    /// First sector and sectors of each of the two tables.
    tables: (usize, usize),
}

impl<'a> Volume<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, FatError> {
        let boot = bytes.get(..SECTOR).ok_or(FatError::Truncated)?;
        let small = |at| u16_at(boot, at).map(usize::from).unwrap_or_default();
        let wide = |at| u32_at(boot, at).unwrap_or_default() as usize;
        let per_cluster = usize::from(boot[13]);
        let sound =
            boot[510..] == [0x55, 0xAA] && small(11) == SECTOR && per_cluster.is_power_of_two() && boot[16] == 2;
        if !sound || small(22) != 0 || &boot[82..87] != b"FAT32" {
            return Err(FatError::NoVolume);
        }
        let (reserved, table, sectors) = (small(14), wide(36), wide(32));
        let start = reserved + 2 * table;
        let clusters = sectors.checked_sub(start).ok_or(FatError::NoVolume)? / per_cluster;
        if clusters < CLUSTERS_MIN || (clusters + 2) * 4 > table * SECTOR {
            return Err(FatError::NoVolume);
        }
        let tables = bytes_at(bytes, reserved * SECTOR, 2 * table * SECTOR).ok_or(FatError::Truncated)?;
        let data = &bytes[start * SECTOR..];
        Ok(Self {
            table: &tables[..table * SECTOR],
            data: &data[..data.len().min(clusters * per_cluster * SECTOR)],
            bytes: sectors * SECTOR,
            cluster_bytes: per_cluster * SECTOR,
            clusters,
            tables: (reserved, table),
        })
    }

    /// Whether its free clusters are there as well.
    pub(super) fn is_whole(&self) -> bool {
        self.data.len() == self.clusters * self.cluster_bytes
    }

    /// What the first table says of a cluster.
    pub(super) fn link(&self, cluster: u32) -> Option<u32> {
        u32_at(self.table, 4 * cluster as usize).map(|link| link & 0x0FFF_FFFF)
    }

    /// The clusters of a chain to its end.
    pub(super) fn links(&self, first: u32) -> Option<Vec<u32>> {
        let mut out = Vec::new();
        let mut cluster = first;
        while cluster < END {
            (cluster as usize).checked_sub(2).filter(|index| *index < self.clusters && out.len() <= self.clusters)?;
            out.push(cluster);
            cluster = self.link(cluster)?;
        }
        Some(out)
    }

    /// What lies in some clusters.
    pub(super) fn content(&self, clusters: &[u32]) -> Vec<u8> {
        let one = |cluster: &u32| bytes_at(self.data, (*cluster as usize - 2) * self.cluster_bytes, self.cluster_bytes);
        clusters.iter().filter_map(one).flatten().copied().collect()
    }

    /// Where on the volume a cluster begins.
    pub(super) fn place(&self, cluster: u32) -> usize {
        (self.tables.0 + 2 * self.tables.1) * SECTOR + (cluster as usize - 2) * self.cluster_bytes
    }

    /// Writes content to clusters, with zeros behind it, and chains them.
    pub(super) fn lay(&self, clusters: &[u32], content: &[u8], data: &mut Step, table: &mut BTreeMap<u32, u32>) {
        let pieces = content.chunks(self.cluster_bytes).chain(std::iter::repeat(&[][..]));
        for (place, (cluster, piece)) in clusters.iter().zip(pieces).enumerate() {
            let mut piece = piece.to_vec();
            piece.resize(self.cluster_bytes, 0);
            for (number, sector) in piece.chunks_exact(SECTOR).enumerate() {
                data.insert(self.place(*cluster) / SECTOR + number, sector.to_vec());
            }
            table.insert(*cluster, clusters.get(place + 1).copied().unwrap_or(END | 7));
        }
    }

    /// The sectors of both tables with some links changed; the upper four bits of each are not ours.
    pub(super) fn table_sectors(&self, bytes: &[u8], links: &BTreeMap<u32, u32>) -> Step {
        let mut out = Step::new();
        let (first, length) = self.tables;
        for (cluster, link) in links {
            let at = 4 * *cluster as usize;
            for copy in 0..2 {
                let number = first + copy * length + at / SECTOR;
                let sector = out.entry(number).or_insert_with(|| bytes[number * SECTOR..][..SECTOR].to_vec());
                let entry = &mut sector[at % SECTOR..][..4];
                let kept = u32_at(entry, 0).unwrap_or_default() & 0xF000_0000;
                entry.copy_from_slice(&(kept | link).to_le_bytes());
            }
        }
        out
    }

    /// The bytes of a chain, `limit` at most where it is given. `budget` is what may be read in all.
    fn chain(&self, first: u32, limit: Option<usize>, budget: &mut usize) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let mut cluster = first;
        while limit.is_none_or(|limit| out.len() < limit) && cluster < END {
            let index = (cluster as usize).checked_sub(2).filter(|index| *index < self.clusters)?;
            *budget = budget.checked_sub(self.cluster_bytes)?;
            out.extend(bytes_at(self.data, index * self.cluster_bytes, self.cluster_bytes)?);
            cluster = u32_at(self.table, 4 * cluster as usize)? & 0x0FFF_FFFF;
        }
        if let Some(limit) = limit {
            if out.len() < limit {
                return None;
            }
            out.truncate(limit);
        }
        Some(out)
    }

    fn folder(
        &self,
        first: u32,
        path: &str,
        depth: usize,
        budget: &mut usize,
        files: &mut Vec<File>,
    ) -> Result<(), FatError> {
        let damaged = || FatError::Entry(path.to_owned());
        let content = self.chain(first, None, budget).ok_or_else(|| FatError::Chain(path.to_owned()))?;
        let mut long: Vec<(u8, Vec<u16>)> = Vec::new();
        for entry in content.chunks_exact(ENTRY).take_while(|entry| entry[0] != 0) {
            if entry[0] == 0xE5 {
                long.clear();
                continue;
            }
            if entry[11] == LONG_NAME {
                long.push((entry[0] & 0x1F, units(entry)));
                if long.len() > 20 {
                    return Err(damaged());
                }
                continue;
            }
            let name = name(&mut long, entry);
            if entry[11] & VOLUME != 0 || entry[0] == b'.' {
                continue;
            }
            let name = name.ok_or_else(damaged)?;
            let path = if path.is_empty() { name } else { format!("{path}/{name}") };
            let high = u32::from(u16_at(entry, 20).unwrap_or_default());
            let first = high << 16 | u32::from(u16_at(entry, 26).unwrap_or_default());
            if entry[11] & FOLDER != 0 {
                if depth == DEPTH_MAX {
                    return Err(FatError::TooMany);
                }
                self.folder(first, &path, depth + 1, budget, files)?;
            } else {
                let size = u32_at(entry, 28).unwrap_or_default() as usize;
                let content = self.chain(first, Some(size), budget).ok_or_else(|| FatError::Chain(path.clone()))?;
                files.push((path, content));
            }
            if files.len() > FILES_MAX {
                return Err(FatError::TooMany);
            }
        }
        Ok(())
    }
}

/// The letters in an entry that is a piece of a long name.
pub(super) fn units(entry: &[u8]) -> Vec<u16> {
    let units = [&entry[1..11], &entry[14..26], &entry[28..32]].concat();
    let units = units.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    units.take_while(|unit| *unit != 0 && *unit != 0xFFFF).collect()
}

/// The name of an entry, out of the pieces before it where there are some. None are left for the next one.
pub(super) fn name(long: &mut Vec<(u8, Vec<u16>)>, entry: &[u8]) -> Option<String> {
    long.sort();
    let units: Vec<u16> = long.drain(..).flat_map(|piece| piece.1).collect();
    let name = if units.is_empty() { short_name(entry) } else { String::from_utf16(&units).ok() };
    name.filter(|name| !name.is_empty() && !name.contains(['/', '\0']))
}

fn short_name(entry: &[u8]) -> Option<String> {
    let part = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(|text| text.trim_end().to_owned());
    let (stem, extension) = (part(&entry[..8])?, part(&entry[8..11])?);
    Some(if extension.is_empty() { stem } else { format!("{stem}.{extension}") })
}
