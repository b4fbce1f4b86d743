//! Changing one folder of a volume so that power may fail at any moment: whoever reads the volume then finds the files of
//! before or those of after, whole, and never a mixture.
//!
//! What is new goes into clusters that nobody uses, and so does a new copy of the folder's own entries. One sector says which
//! copy counts: that in which the folder's parent holds the number of its first cluster. A disk writes a sector whole or not
//! at all. Only behind that are clusters given back. Clusters that an interrupted change has left taken are found by walking
//! the tree, not by the table, and are free to the next one.

use super::read::Volume;
use super::write::named;
use super::{END, ENTRY, FOLDER, FatError, LONG_NAME, SECTOR, VOLUME};
use image_formats::field::{u16_at, u32_at};
use std::collections::{BTreeMap, BTreeSet};

/// Sectors by their number in the volume. They may reach the disk in any order; those of the next step only when all of
/// these have.
pub type Step = BTreeMap<usize, Vec<u8>>;

/// An entry of a folder with those of its long name before it, byte by byte.
struct Raw {
    name: String,
    bytes: Vec<u8>,
    first: u32,
    size: usize,
    folder: bool,
    /// Where in the folder its own entry lies, behind those of its long name.
    at: usize,
}

/// The steps in which the files of `folder` named by `drop` go and `add` comes. A file of the name of `add` goes.
pub fn change(
    bytes: &[u8],
    folder: &str,
    drop: impl Fn(&str) -> bool,
    add: Option<(&str, &[u8])>,
) -> Result<Vec<Step>, FatError> {
    let volume = Volume::open(bytes)?;
    if !volume.is_whole() {
        return Err(FatError::Truncated);
    }
    let chain = |first, path: &str| volume.links(first).ok_or_else(|| FatError::Chain(path.to_owned()));
    // Down to the folder; `switch` is the place on the volume of the entry that leads to it.
    let root = u32_at(bytes, 44).ok_or(FatError::NoVolume)?;
    let (mut clusters, mut switch) = (chain(root, "")?, None);
    for part in folder.split('/') {
        let entries = entries(&volume.content(&clusters), folder)?;
        let entry = entries.iter().find(|entry| entry.folder && entry.name.eq_ignore_ascii_case(part));
        let entry = entry.ok_or_else(|| FatError::Entry(folder.to_owned()))?;
        let cluster_bytes = volume.cluster_bytes;
        switch = Some(volume.place(clusters[entry.at / cluster_bytes]) + entry.at % cluster_bytes);
        clusters = chain(entry.first, folder)?;
    }
    let switch = switch.ok_or_else(|| FatError::Entry(folder.to_owned()))?;
    let before = volume.content(&clusters);
    let replaced = |name: &str| add.is_some_and(|(new, _)| new.eq_ignore_ascii_case(name));
    let goes = |entry: &Raw| !entry.folder && (drop(&entry.name) || replaced(&entry.name));
    let all = entries(&before, folder)?;

    let mut taken = BTreeSet::new();
    walk(&volume, root, "", 0, &mut taken)?;
    let mut free = (2..volume.clusters as u32 + 2).filter(|cluster| !taken.contains(cluster));
    let mut take = |length: usize| -> Result<Vec<u32>, FatError> {
        let count = length.div_ceil(volume.cluster_bytes);
        let own: Vec<u32> = free.by_ref().take(count).collect();
        let bytes = volume.clusters * volume.cluster_bytes;
        if own.len() == count { Ok(own) } else { Err(FatError::Full { needed: bytes + length, bytes }) }
    };
    // The folder anew: itself and its parent first, what stays as it stands, and the new file.
    let mut after: Vec<u8> = before.chunks_exact(ENTRY).take(2).flatten().copied().collect();
    all.iter().filter(|entry| !goes(entry)).for_each(|entry| after.extend(&entry.bytes));
    let (mut data, mut table) = (Step::new(), BTreeMap::new());
    if let Some((name, content)) = add {
        let own = take(content.len())?;
        let number = 1 + all.iter().filter_map(|entry| short_number(&entry.bytes)).max().unwrap_or(0);
        after.extend(named(name, number, 0x20, own.first().copied().unwrap_or(0), content.len() as u32));
        volume.lay(&own, content, &mut data, &mut table);
    }
    // An entry of zeros ends a folder.
    let own = take(after.len() + ENTRY)?;
    let first = own[0];
    after[20..22].copy_from_slice(&((first >> 16) as u16).to_le_bytes());
    after[26..28].copy_from_slice(&(first as u16).to_le_bytes());
    volume.lay(&own, &after, &mut data, &mut table);

    let mut sector = bytes[switch / SECTOR * SECTOR..][..SECTOR].to_vec();
    let entry = &mut sector[switch % SECTOR..][..ENTRY];
    entry[20..22].copy_from_slice(&((first >> 16) as u16).to_le_bytes());
    entry[26..28].copy_from_slice(&(first as u16).to_le_bytes());
    let chained = volume.table_sectors(bytes, &table);
    // What nobody can reach any more, from this change or an interrupted one.
    let gone: BTreeSet<u32> = all
        .iter()
        .filter(|entry| goes(entry) && entry.size > 0)
        .map(|entry| chain(entry.first, &entry.name))
        .chain([Ok(clusters)])
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .flatten()
        .collect();
    let kept = |cluster: &u32| taken.contains(cluster) && !gone.contains(cluster) || table.contains_key(cluster);
    let stale = (2..volume.clusters as u32 + 2).filter(|cluster| !kept(cluster) && volume.link(*cluster) != Some(0));
    let freed: BTreeMap<u32, u32> = table.clone().into_iter().chain(stale.map(|cluster| (cluster, 0))).collect();
    let used = (2..volume.clusters as u32 + 2).filter(kept).count();
    let mut last = volume.table_sectors(bytes, &freed);
    last.retain(|sector, content| chained.get(sector) != Some(content));
    count_free(bytes, volume.clusters - used, &mut last);
    Ok(vec![data, chained, Step::from([(switch / SECTOR, sector)]), last])
}

/// The count of free clusters, where there is one. Firmware goes without it.
fn count_free(bytes: &[u8], free: usize, step: &mut Step) {
    let place = usize::from(u16_at(bytes, 48).unwrap_or_default());
    let sector = bytes.get(place * SECTOR..(place + 1) * SECTOR).filter(|_| place > 0);
    if let Some(sector) = sector.filter(|sector| sector.starts_with(b"RRaA")) {
        let mut sector = sector.to_vec();
        sector[488..492].copy_from_slice(&(free as u32).to_le_bytes());
        // Where to look first is not told any more.
        sector[492..496].copy_from_slice(&u32::MAX.to_le_bytes());
        step.insert(place, sector);
    }
}

/// All clusters of the tree below a folder.
fn walk(volume: &Volume<'_>, first: u32, path: &str, depth: usize, taken: &mut BTreeSet<u32>) -> Result<(), FatError> {
    let damaged = || FatError::Chain(path.to_owned());
    let clusters = volume.links(first).ok_or_else(damaged)?;
    for entry in entries(&volume.content(&clusters), path)? {
        if entry.folder && depth < 8 {
            walk(volume, entry.first, &entry.name, depth + 1, taken)?;
        } else if entry.size > 0 {
            taken.extend(volume.links(entry.first).ok_or_else(damaged)?);
        }
    }
    taken.extend(clusters);
    // Marked as broken by somebody: neither free nor anybody's.
    taken
        .extend((2..volume.clusters as u32 + 2).filter(|cluster| depth == 0 && volume.link(*cluster) == Some(END - 1)));
    Ok(())
}

/// The entries of a folder but those for itself and its parent, and the volume's name.
fn entries(content: &[u8], path: &str) -> Result<Vec<Raw>, FatError> {
    let mut out = Vec::new();
    let (mut long, mut raw): (Vec<(u8, Vec<u16>)>, Vec<u8>) = (Vec::new(), Vec::new());
    for (place, entry) in content.chunks_exact(ENTRY).enumerate().take_while(|(_, entry)| entry[0] != 0) {
        if entry[0] == 0xE5 {
            long.clear();
            raw.clear();
            continue;
        }
        raw.extend(entry);
        if entry[11] == LONG_NAME {
            long.push((entry[0] & 0x1F, super::read::units(entry)));
            continue;
        }
        let name = super::read::name(&mut long, entry);
        let bytes = std::mem::take(&mut raw);
        if entry[0] == b'.' {
            continue;
        }
        let high = u32::from(u16_at(entry, 20).unwrap_or_default());
        out.push(Raw {
            name: name.ok_or_else(|| FatError::Entry(path.to_owned()))?,
            bytes,
            first: high << 16 | u32::from(u16_at(entry, 26).unwrap_or_default()),
            size: u32_at(entry, 28).unwrap_or_default() as usize,
            folder: entry[11] & FOLDER != 0,
            at: place * ENTRY,
        });
        if entry[11] & VOLUME != 0 {
            // Kept byte by byte by nobody: only the root has one, which is never written anew.
            out.pop();
        }
    }
    Ok(out)
}

/// The number in a short name of ours.
fn short_number(bytes: &[u8]) -> Option<u32> {
    let name = bytes.get(bytes.len().checked_sub(ENTRY)?..)?;
    std::str::from_utf8(&name[..6]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
