//! Taking an image apart: every hash is computed anew from the bytes, the command line that is measured names the root that
//! is there, the root holds nothing that does not belong, and PCR 11 is told.

use crate::content::{self, ContentError};
use crate::cpio;
use crate::disk;
use crate::erofs::{self, ErofsError};
use crate::fat::{self, FatError};
use crate::modinfo;
use crate::modules;
use crate::uki::{Uki, UkiError};
use image_formats::boot_line::{Flavour, MEMORY_ROOT, partition_of};
use image_formats::field::bytes_at;
use image_formats::gpt::{BACKUP_SECTORS, GptError, PRIMARY_SECTORS, Partition, SECTOR, Table};
use image_formats::verity::{self, VerityError};
use serde::Serialize;
use thiserror::Error;

/// Why an image is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum VerifyError {
    /// The table at the start.
    #[error("{0}")]
    Table(#[from] GptError),
    /// The copy at the end differs, or is damaged.
    #[error("the copy of the partition table at the end is not the one at the start: the image is cut off or damaged")]
    Backup,
    /// The file is not as long as its table says.
    #[error("the image has {bytes} bytes, its partition table speaks of {told}")]
    Length {
        /// What it has.
        bytes: u64,
        /// What the table says.
        told: u64,
    },
    /// A partition is missing.
    #[error("there is no {0} partition")]
    Missing(&'static str),
    /// The system partition.
    #[error("the system partition: {0}")]
    System(#[from] FatError),
    /// A file that does not belong into the system partition.
    #[error("the system partition holds {0}, which does not belong there")]
    Foreign(String),
    /// A kernel image.
    #[error("{file}: {source}")]
    Uki {
        /// Which one.
        file: String,
        /// Why.
        source: UkiError,
    },
    /// No slot has the root of a kernel image.
    #[error("{0}: no slot, and in a ceremony's not itself, holds the root that it names")]
    NoRoot(String),
    /// The root of a kernel image.
    #[error("{file}: its root file system: {source}")]
    Verity {
        /// Whose root.
        file: String,
        /// Why.
        source: VerityError,
    },
    /// The files in a root.
    #[error("the root file system: {0}")]
    Root(#[from] ErofsError),
    /// What does not belong there.
    #[error("the root file system: {0}")]
    Content(#[from] ContentError),
    /// A module that does not belong there.
    #[error("{0}")]
    Modules(String),
    /// A flavour, or a release, that was not asked for.
    #[error("this is release {release} of {flavour}, {wanted} was asked for")]
    Unwanted {
        /// What it is.
        release: u64,
        /// What it is.
        flavour: Flavour,
        /// What was asked for.
        wanted: String,
    },
}

/// What is asked for beyond soundness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only this flavour.
    pub flavour: Option<Flavour>,
    /// No release before this one.
    pub release_min: Option<u64>,
}

/// One kernel image with its root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its path in the system partition.
    pub file: String,
    /// Its release.
    pub release: u64,
    /// Its flavour.
    pub flavour: String,
    /// SHA-256 of the kernel image without signature.
    pub uki_sha256: String,
    /// Whether it is signed; by whom is the firmware's business.
    pub signed: bool,
    /// Root hash.
    pub root_hash: String,
    /// What PCR 11 will be.
    pub pcr11: String,
    /// Whether a machine's state is sealed: required, if-possible, never.
    pub seal: String,
    /// SHA-256 of the key that has signed the policies under which a sealed state opens, as a TPM names it; none where the
    /// image brings no signed policies.
    pub policy_key: Option<String>,
    /// Files in the root.
    pub files: usize,
    /// Kernel modules, early and late.
    pub modules: Vec<String>,
}

/// Checks an image or a disk. `disk` is all of it.
pub fn verify(disk: &[u8], wanted: Wanted) -> Result<Vec<Entry>, VerifyError> {
    let table = Table::decode(disk.get(..PRIMARY_SECTORS as usize * SECTOR).unwrap_or(disk))?;
    let told = table.sectors.saturating_mul(SECTOR as u64);
    if told != disk.len() as u64 {
        return Err(VerifyError::Length { bytes: disk.len() as u64, told });
    }
    let end = disk.len().saturating_sub(BACKUP_SECTORS as usize * SECTOR);
    if Table::decode_backup(&disk[end..], table.sectors).as_ref() != Ok(&table) {
        return Err(VerifyError::Backup);
    }
    let part = |partition: &Partition| {
        let place = usize::try_from(partition.offset()).ok().zip(usize::try_from(partition.bytes()).ok());
        place.and_then(|(at, length)| bytes_at(disk, at, length)).unwrap_or_default()
    };
    let system = part(table.first_of(disk::SYSTEM).ok_or(VerifyError::Missing("system"))?);
    let mut entries = Vec::new();
    for (file, bytes) in &fat::read(system)? {
        if !is_ours(file) {
            return Err(VerifyError::Foreign(file.clone()));
        }
        if !file.starts_with("EFI/Linux/") {
            continue;
        }
        let uki = Uki::parse(bytes).map_err(|source| VerifyError::Uki { file: file.clone(), source })?;
        let line = &uki.line;
        let fits = wanted.flavour.is_none_or(|flavour| flavour == line.flavour)
            && wanted.release_min.is_none_or(|release| release <= line.release);
        if !fits {
            let flavour = wanted.flavour.map(|flavour| flavour.to_string() + " ").unwrap_or_default();
            let wanted = format!("{flavour}from release {} on", wanted.release_min.unwrap_or_default());
            return Err(VerifyError::Unwanted { release: line.release, flavour: line.flavour, wanted });
        }
        let slot = if line.flavour == Flavour::Ceremony {
            cpio::file(uki.initrd, MEMORY_ROOT)
        } else {
            table.first_of(disk::CONFIGURATION).ok_or(VerifyError::Missing("configuration"))?;
            let id = partition_of(&line.root);
            let ours = |partition: &&Partition| partition.kind == disk::ROOT && partition.id == id;
            table.partitions.iter().find(ours).map(part)
        };
        let slot = slot.ok_or_else(|| VerifyError::NoRoot(file.clone()))?;
        let root = verity::check(slot, line.data_blocks, &line.root);
        let root = root.map_err(|source| VerifyError::Verity { file: file.clone(), source })?;
        let tree = erofs::read(root)?;
        content::check(&tree)?;
        entries.push(Entry {
            file: file.clone(),
            release: line.release,
            flavour: line.flavour.to_string(),
            uki_sha256: hex::encode(uki.unsigned_sha256),
            signed: uki.signed,
            root_hash: hex::encode(line.root),
            pcr11: hex::encode(uki.pcr11),
            seal: line.seal.to_string(),
            policy_key: uki.policy_key.as_ref().map(|key| hex::encode(&key.name()[2..])),
            files: tree.nodes.len(),
            modules: module_names(&uki, &tree)?,
        });
    }
    if entries.is_empty() { Err(VerifyError::Missing("kernel image in the system")) } else { Ok(entries) }
}

/// Whether a file belongs into the system partition.
fn is_ours(file: &str) -> bool {
    matches!(file, "EFI/BOOT/BOOTX64.EFI" | "loader/loader.conf" | "loader/random-seed")
        || file.strip_prefix("EFI/Linux/stele-").is_some_and(|rest| rest.ends_with(".efi"))
}

fn module_names(uki: &Uki<'_>, tree: &crate::tree::Tree) -> Result<Vec<String>, VerifyError> {
    let late = match tree.nodes.get("usr/lib/stele/modules/index") {
        Some(crate::tree::Node::File { bytes, .. }) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    };
    let early = String::from_utf8_lossy(cpio::file(uki.initrd, "modules/index").unwrap_or_default());
    // Late modules may need early ones, never the other way round.
    let names = modules::audit(&format!("{early}{late}"), uki.line.flavour).map_err(VerifyError::Modules)?;
    for (path, node) in &tree.nodes {
        let crate::tree::Node::File { bytes, .. } = node else { continue };
        let name = modules::name_of(path);
        let known = name.as_ref().is_some_and(|name| names.contains(name));
        if (name.is_some() || modinfo::is_module(bytes)) && !known {
            return Err(VerifyError::Modules(format!("{path} is a kernel module that no index names")));
        }
    }
    Ok(names)
}

#[cfg(test)]
pub(crate) mod tests;
