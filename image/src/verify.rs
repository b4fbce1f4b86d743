//! Taking an image apart: every hash is computed anew from the bytes, the command line that is measured names the root that
//! is there, the root holds nothing that does not belong, and PCR 11 is told.

use crate::assemble::{BOOT_LOADER, LOADER_SETTINGS};
use crate::content::{self, ContentError};
use crate::cpio;
use crate::disk;
use crate::erofs::{self, ErofsError};
use crate::failure::Failure;
use crate::fat::{self, FatError};
use crate::modinfo;
use crate::modules::{self, Purpose};
use crate::sign::{self, SignatureError};
use crate::uki::{Uki, UkiError};
use image_formats::boot_line::{Flavour, MEMORY_ROOT, partition_of};
use image_formats::field::bytes_at;
use image_formats::gpt::{BACKUP_SECTORS, GptError, PRIMARY_SECTORS, Partition, SECTOR, Table};
use image_formats::verity::{self, VerityError};
use serde::Serialize;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
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
    /// A signature that no firmware takes.
    #[error("{file}: {source}")]
    Signature {
        /// Of which file.
        file: String,
        /// Why.
        source: SignatureError,
    },
    /// The boot loader is not the one that the image was built with.
    #[error("{BOOT_LOADER} is not the boot loader that the image was built with")]
    Loader,
    /// The boot loader's settings.
    #[error("{} is not as the image was built: somebody could change the command line at the console", LOADER_SETTINGS.0)]
    Settings,
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

impl VerifyError {
    /// What to do about it, for who holds the image.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Unwanted { .. } => "build it for the machine's flavour, with a higher --release than the machine has",
            _ => {
                "copy it anew from where it was built: `cargo xtask image verify` holds there, or it was built wrongly"
            }
        }
    }
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
    /// Whether it is signed, by the key of the certificate that it carries; whether that is to be trusted is the firmware's
    /// business.
    pub signed: bool,
    /// Digest (Authenticode, SHA-256) of the boot loader that it was built with: what the firmware measures into PCR 4.
    pub boot_loader: String,
    /// Whether that is the boot loader which is there. After updates it may be that of the release which was flashed.
    pub own_boot_loader: bool,
    /// Root hash.
    pub root_hash: String,
    /// What PCR 11 will be.
    pub pcr11: String,
    /// Whether a machine's state is sealed: required, if-possible, never.
    pub seal: String,
    /// A ceremony's link to its HSM, as DRIVER,OWN,HSM:PORT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hsm_link: Option<String>,
    /// SHA-256 of the key that has signed the policies under which a sealed state opens, as a TPM names it; none where the
    /// image brings no signed policies.
    pub policy_key: Option<String>,
    /// Files in the root.
    pub files: usize,
    /// Kernel modules, early and late.
    pub modules: Vec<String>,
}

/// What is read of an image or a disk: its tables, and its partitions up to the last one of ours. A machine's state lies behind
/// them.
#[derive(Debug)]
pub struct Disk {
    /// All of its bytes.
    pub bytes: u64,
    /// From its start on.
    start: Vec<u8>,
    /// Its last sectors, where the copy of the table is.
    end: Vec<u8>,
}

impl Disk {
    /// Reads one.
    ///
    /// # Errors
    /// [`Failure`] names the file.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let about = || Failure::io(format!("reading {}", path.display()));
        let mut file = File::open(path).map_err(about())?;
        let bytes = file.seek(SeekFrom::End(0)).map_err(about())?;
        let take = |file: &mut File, from: u64, length: u64| {
            let mut taken = Vec::new();
            file.seek(SeekFrom::Start(from)).map_err(about())?;
            file.take(length).read_to_end(&mut taken).map_err(about())?;
            Ok::<_, Failure>(taken)
        };
        let table = take(&mut file, 0, PRIMARY_SECTORS * SECTOR as u64)?;
        let ours = |partition: &&Partition| [disk::SYSTEM, disk::CONFIGURATION, disk::ROOT].contains(&partition.kind);
        let ends = Table::decode(&table).ok().map(|table| {
            table
                .partitions
                .iter()
                .filter(ours)
                .map(|partition| partition.offset().saturating_add(partition.bytes()))
                .max()
        });
        let start = take(&mut file, 0, ends.flatten().unwrap_or(bytes).min(OURS_MAX))?;
        let copy = BACKUP_SECTORS * SECTOR as u64;
        let end = take(&mut file, bytes.saturating_sub(copy), copy)?;
        Ok(Self { bytes, start, end })
    }
}

/// Bytes up to the end of our last partition at most: four times what they take.
const OURS_MAX: u64 = 1 << 30;

/// Checks an image. `image` is all of it.
///
/// # Errors
/// [`VerifyError`] names the first thing that is wrong.
pub fn verify(image: &[u8], wanted: Wanted) -> Result<Vec<Entry>, VerifyError> {
    let end = image.len().saturating_sub(BACKUP_SECTORS as usize * SECTOR);
    check(image.len() as u64, image, &image[end..], wanted)
}

/// Checks an image or a disk.
///
/// # Errors
/// As [`verify`].
pub fn verify_disk(disk: &Disk, wanted: Wanted) -> Result<Vec<Entry>, VerifyError> {
    check(disk.bytes, &disk.start, &disk.end, wanted)
}

/// Checks what is `bytes` long, with our partitions in `start` and the copy of the table in `end`.
fn check(bytes: u64, start: &[u8], end: &[u8], wanted: Wanted) -> Result<Vec<Entry>, VerifyError> {
    let table = Table::decode(start.get(..PRIMARY_SECTORS as usize * SECTOR).unwrap_or(start))?;
    let told = table.sectors.saturating_mul(SECTOR as u64);
    if told != bytes {
        return Err(VerifyError::Length { bytes, told });
    }
    if Table::decode_backup(end, table.sectors).as_ref() != Ok(&table) {
        return Err(VerifyError::Backup);
    }
    let part = |partition: &Partition| {
        let place = usize::try_from(partition.offset()).ok().zip(usize::try_from(partition.bytes()).ok());
        place.and_then(|(at, length)| bytes_at(start, at, length)).unwrap_or_default()
    };
    let system = part(table.first_of(disk::SYSTEM).ok_or(VerifyError::Missing("system"))?);
    let mut entries = Vec::new();
    let files = fat::read(system)?;
    if let Some((foreign, _)) = files.iter().find(|(file, _)| !is_ours(file)) {
        return Err(VerifyError::Foreign(foreign.clone()));
    }
    let loader = loader(&files)?;
    for (file, bytes) in files.iter().filter(|(file, _)| file.starts_with("EFI/Linux/")) {
        let uki = Uki::parse(bytes).map_err(|source| VerifyError::Uki { file: file.clone(), source })?;
        sign::check(bytes).map_err(|source| VerifyError::Signature { file: file.clone(), source })?;
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
            boot_loader: hex::encode(uki.boot_loader),
            own_boot_loader: uki.boot_loader == loader,
            root_hash: hex::encode(line.root),
            pcr11: hex::encode(uki.pcr11),
            seal: line.seal.to_string(),
            hsm_link: line.hsm.as_ref().map(ToString::to_string),
            policy_key: uki.policy_key.as_ref().map(|key| hex::encode(&key.name()[2..])),
            files: tree.nodes.len(),
            modules: module_names(&uki, &tree)?,
        });
    }
    match &entries[..] {
        [] => Err(VerifyError::Missing("kernel image in the system")),
        // A disk that was updated keeps the boot loader that was flashed with it.
        [only] if !only.own_boot_loader => Err(VerifyError::Loader),
        _ => Ok(entries),
    }
}

/// The digest of the boot loader, whose settings and signature hold.
fn loader(files: &[(String, Vec<u8>)]) -> Result<[u8; 32], VerifyError> {
    let named = |name: &str| files.iter().find(|(file, _)| file == name).map(|(_, bytes)| &bytes[..]);
    if named(LOADER_SETTINGS.0) != Some(LOADER_SETTINGS.1) {
        return Err(VerifyError::Settings);
    }
    let program = named(BOOT_LOADER).ok_or(VerifyError::Missing("boot loader in the system"))?;
    let refused = |source| VerifyError::Signature { file: BOOT_LOADER.to_owned(), source };
    sign::check(program).map_err(refused)?;
    sign::digest(program).map_err(|_| refused(SignatureError::Form))
}

/// Whether a file belongs into the system partition.
fn is_ours(file: &str) -> bool {
    [BOOT_LOADER, LOADER_SETTINGS.0, "loader/random-seed"].contains(&file)
        || file.strip_prefix("EFI/Linux/stele-").is_some_and(|rest| rest.ends_with(".efi"))
}

fn module_names(uki: &Uki<'_>, tree: &crate::tree::Tree) -> Result<Vec<String>, VerifyError> {
    let late = match tree.nodes.get("usr/lib/stele/modules/index") {
        Some(crate::tree::Node::File { bytes, .. }) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    };
    let early = String::from_utf8_lossy(cpio::file(uki.initrd, "modules/index").unwrap_or_default());
    // Late modules may need early ones, never the other way round.
    let names = modules::audit(&format!("{early}{late}"), Purpose::of(&uki.line)).map_err(VerifyError::Modules)?;
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
