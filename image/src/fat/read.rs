//! Reading a volume of any cluster size. All counts are bounded by the volume itself: a chain has no more links than there
//! are clusters, folders are no deeper than eight.

use super::{CLUSTERS_MIN, END, ENTRY, FOLDER, FatError, File, LONG_NAME, SECTOR, VOLUME};
use image_formats::field::{bytes_at, u16_at, u32_at};

const DEPTH_MAX: usize = 8;
const FILES_MAX: usize = 4096;

/// All files of a volume, in the order of folders, by name.
pub fn read(bytes: &[u8]) -> Result<Vec<File>, FatError> {
    let volume = Volume::open(bytes)?;
    let mut files = Vec::new();
    let root = u32_at(bytes, 44).ok_or(FatError::NoVolume)?;
    let mut budget = bytes.len();
    volume.folder(root, "", 0, &mut budget, &mut files)?;
    files.sort();
    Ok(files)
}

struct Volume<'a> {
    table: &'a [u8],
    data: &'a [u8],
    cluster_bytes: usize,
    clusters: usize,
}

impl<'a> Volume<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, FatError> {
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
        let part = |at: usize, length: usize| bytes_at(bytes, at * SECTOR, length * SECTOR).ok_or(FatError::Truncated);
        Ok(Self {
            table: part(reserved, table)?,
            data: part(start, clusters * per_cluster)?,
            cluster_bytes: per_cluster * SECTOR,
            clusters,
        })
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
                let units = [&entry[1..11], &entry[14..26], &entry[28..32]].concat();
                let units = units.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
                long.push((entry[0] & 0x1F, units.take_while(|unit| *unit != 0 && *unit != 0xFFFF).collect()));
                if long.len() > 20 {
                    return Err(damaged());
                }
                continue;
            }
            long.sort();
            let units: Vec<u16> = long.drain(..).flat_map(|piece| piece.1).collect();
            if entry[11] & VOLUME != 0 || entry[0] == b'.' {
                continue;
            }
            let name = if units.is_empty() { short_name(entry) } else { String::from_utf16(&units).ok() };
            let name = name.filter(|name| !name.is_empty() && !name.contains(['/', '\0'])).ok_or_else(damaged)?;
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

fn short_name(entry: &[u8]) -> Option<String> {
    let part = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(|text| text.trim_end().to_owned());
    let (stem, extension) = (part(&entry[..8])?, part(&entry[8..11])?);
    Some(if extension.is_empty() { stem } else { format!("{stem}.{extension}") })
}
