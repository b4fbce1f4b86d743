//! Which partitions are ours. Tables are read from the disks themselves, with our own decoder; a partition's device is the
//! one whose start the kernel tells to be the same.
//!
//! Two disks with the same root are refused: it could not be said whose state is meant.

use crate::{Fault, say};
use image_formats::boot_line::BootLine;
use image_formats::gpt::{Guid, PRIMARY_SECTORS, SECTOR, Table};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use stele_image::disk::ROOT;
pub use stele_image::disk::{CONFIGURATION, STATE, SYSTEM};

/// How long a disk may take to appear.
const PATIENCE: Duration = Duration::from_secs(20);

/// The disk that the machine boots from.
#[derive(Clone, Debug)]
pub struct Disk {
    /// Its name under `/sys/class/block`.
    pub name: String,
    /// Its table.
    pub table: Table,
    /// The partition with the root.
    pub root: PathBuf,
}

impl Disk {
    /// The device of the first partition of a kind.
    pub fn partition(&self, kind: Guid) -> Option<PathBuf> {
        device(&self.name, self.table.first_of(kind)?.first)
    }
}

/// The one disk that holds the root of the command line, if it has appeared.
pub fn look_for_root(line: &BootLine) -> Result<Option<Disk>, Fault> {
    let mut found: Vec<Disk> = Vec::new();
    for (name, table) in tables() {
        let ours = table.partitions.iter().find(|part| part.kind == ROOT && part.id == line.partition());
        if let Some(root) = ours.and_then(|part| device(&name, part.first)) {
            found.push(Disk { name, table, root });
        }
    }
    match (found.pop(), found.pop()) {
        (Some(one), Some(other)) => {
            let text = format!("disks {} and {} both hold this root: take one out", one.name, other.name);
            Err(Fault::Machine(text))
        }
        (disk, _) => Ok(disk),
    }
}

/// Waits for it.
pub fn find_root(line: &BootLine) -> Result<Disk, Fault> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look_for_root(line)? {
            Some(disk) => return Ok(disk),
            None if Instant::now() > deadline => {
                return Err(Fault::Machine(format!("no disk holds the root {}", line.partition())));
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// The devices of all partitions of a kind on all disks, this disk's first.
pub fn everywhere(disk: &Disk, kind: Guid) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = disk.partition(kind).into_iter().collect();
    for (name, table) in tables().into_iter().filter(|(name, _)| *name != disk.name) {
        let ours = table.partitions.iter().filter(|part| part.kind == kind);
        all.extend(ours.filter_map(|part| device(&name, part.first)));
    }
    all
}

/// All disks, in the order of their names.
pub fn names() -> Vec<String> {
    let entries = std::fs::read_dir("/sys/class/block").into_iter().flatten().flatten();
    let disks = entries.filter(|entry| !entry.path().join("partition").exists());
    let mut names: Vec<String> = disks.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| !["loop", "ram", "dm-", "sr", "zram"].iter().any(|other| name.starts_with(other)));
    names.sort();
    names
}

/// The tables of all disks that have one.
fn tables() -> Vec<(String, Table)> {
    let read = |name: &String| {
        let mut start = vec![0; PRIMARY_SECTORS as usize * SECTOR];
        File::open(Path::new("/dev").join(name)).ok()?.read_exact(&mut start).ok()?;
        match Table::decode(&start) {
            Ok(table) => Some((name.clone(), table)),
            Err(error) => {
                say(format_args!("{name}: {error}"));
                None
            }
        }
    };
    names().iter().filter_map(read).collect()
}

/// The device of the partition of a disk that begins at a sector.
fn device(disk: &str, first: u64) -> Option<PathBuf> {
    let entries = std::fs::read_dir(Path::new("/sys/class/block").join(disk)).ok()?.flatten();
    let mut partitions = entries.filter(|entry| entry.path().join("partition").exists());
    let found = partitions.find(|entry| {
        let start = std::fs::read_to_string(entry.path().join("start")).unwrap_or_default();
        start.trim().parse() == Ok(first)
    })?;
    let device = Path::new("/dev").join(found.file_name());
    device.exists().then_some(device)
}
