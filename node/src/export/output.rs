//! The directory of an export: finished parts, and `manifest.json`, which names them. A part is a range of heights, one
//! file a table. Files are written under a name ending in `.new` and renamed when they are whole and durable; the manifest is replaced
//! after that, so that an interruption at any moment leaves what the manifest names.

use super::ExportError;
use super::rows::{Row, TABLES, Table};
use super::sink::{Format, Sink};
use crate::durable;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use types::{ChainId, Digest, Height};

/// Version of the manifest and of the tables.
const VERSION: u32 = 2;
const MANIFEST: &str = "manifest.json";
const LOCK: &str = "LOCK";
const UNFINISHED: &str = "new";

/// What a directory holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    version: u32,
    ledger: ChainId,
    format: Format,
    /// In rising order of heights, without gaps.
    pub parts: Vec<Part>,
}

/// A range of heights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// First height.
    pub from: Height,
    /// Last height.
    pub to: Height,
    /// Digest of the ledger header of the last height, which names all before it.
    pub header: Digest,
    /// One a table.
    pub files: Vec<PartFile>,
}

/// A table's rows of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartFile {
    /// The table.
    pub table: String,
    /// Name in the directory.
    pub file: String,
    /// How many rows.
    pub rows: u64,
    /// Length.
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// A directory that is being added to.
pub struct Output {
    dir: PathBuf,
    manifest: Manifest,
    open: Option<OpenPart>,
    _lock: File,
}

struct OpenPart {
    from: Height,
    to: Height,
    header: Digest,
    tables: Vec<(Sink, u64)>,
}

impl Output {
    /// Makes the directory, or goes on with what an earlier export left there.
    ///
    /// # Errors
    /// [`ExportError::OtherExport`] where it holds another ledger or format, [`ExportError::Manifest`],
    /// [`ExportError::PartDamaged`] where a file is gone or of another length, [`ExportError::InUse`], [`ExportError::File`].
    pub fn open(dir: &Path, ledger: ChainId, format: Format) -> Result<Self, ExportError> {
        fs::create_dir_all(dir).map_err(ExportError::file(dir))?;
        let lock_path = dir.join(LOCK);
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&lock_path);
        let lock = lock.map_err(ExportError::file(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ExportError::InUse(dir.to_owned())),
            Err(TryLockError::Error(error)) => return Err(ExportError::file(&lock_path)(error)),
        }
        let manifest = read_manifest(dir)?.unwrap_or(Manifest { version: VERSION, ledger, format, parts: Vec::new() });
        if (manifest.version, manifest.ledger, manifest.format) != (VERSION, ledger, format) {
            return Err(ExportError::OtherExport { dir: dir.to_owned() });
        }
        for file in manifest.parts.iter().flat_map(|part| &part.files) {
            let path = dir.join(&file.file);
            if fs::metadata(&path).map_or(true, |found| found.len() != file.bytes) {
                return Err(ExportError::PartDamaged { path });
            }
        }
        Ok(Self { dir: dir.to_owned(), manifest, open: None, _lock: lock })
    }

    /// The last height of the last finished part, and the digest of its header.
    pub fn last(&self) -> Option<(Height, Digest)> {
        self.manifest.parts.last().map(|part| (part.to, part.header))
    }

    /// What is finished.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Heights in the part that is being written.
    pub fn open_heights(&self) -> u64 {
        self.open.as_ref().map_or(0, |part| part.to.0 - part.from.0 + 1)
    }

    /// The rows of a height, table by table.
    pub fn put(&mut self, height: Height, header: Digest, rows: [Vec<Row>; TABLES.len()]) -> Result<(), ExportError> {
        let mut part = match self.open.take() {
            Some(part) => part,
            None => self.begin(height)?,
        };
        (part.to, part.header) = (height, header);
        for (((sink, count), rows), table) in part.tables.iter_mut().zip(rows).zip(TABLES) {
            for row in rows {
                sink.put(row).map_err(|source| ExportError::Write { table: table.name, source })?;
                *count += 1;
            }
        }
        self.open = Some(part);
        Ok(())
    }

    fn begin(&self, from: Height) -> Result<OpenPart, ExportError> {
        let table = |table: Table| {
            let path = self.unfinished(table.name);
            let file = File::create(&path).map_err(ExportError::file(&path))?;
            let sink = Sink::create(self.manifest.format, table, file);
            Ok((sink.map_err(|source| ExportError::Write { table: table.name, source })?, 0))
        };
        let tables = TABLES.into_iter().map(table).collect::<Result<_, ExportError>>()?;
        Ok(OpenPart { from, to: from, header: Digest::ZERO, tables })
    }

    fn unfinished(&self, table: &str) -> PathBuf {
        self.dir.join(format!("{table}.{UNFINISHED}"))
    }

    /// Ends the part that is being written, if there is one.
    pub fn finish_part(&mut self) -> Result<(), ExportError> {
        let Some(OpenPart { from, to, header, tables }) = self.open.take() else { return Ok(()) };
        let mut files = Vec::with_capacity(tables.len());
        for ((sink, rows), table) in tables.into_iter().zip(TABLES) {
            let written = sink.finish().map_err(|source| ExportError::Write { table: table.name, source })?;
            let file = format!("{}-{:012}-{:012}.{}", table.name, from.0, to.0, self.manifest.format.extension());
            let path = self.dir.join(&file);
            fs::rename(self.unfinished(table.name), &path).map_err(ExportError::file(&path))?;
            let table = table.name.to_owned();
            files.push(PartFile { table, file, rows, bytes: written.bytes, sha256: written.sha256 });
        }
        self.manifest.parts.push(Part { from, to, header, files });
        self.write_manifest()
    }

    fn write_manifest(&self) -> Result<(), ExportError> {
        let (path, new) = (self.dir.join(MANIFEST), self.dir.join(format!("{MANIFEST}.{UNFINISHED}")));
        let written = (|| {
            let mut file = File::create(&new)?;
            file.write_all(&serde_json::to_vec_pretty(&self.manifest)?)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            durable::sync_dir(&self.dir)
        })();
        written.map_err(ExportError::file(&path))
    }
}

fn read_manifest(dir: &Path) -> Result<Option<Manifest>, ExportError> {
    let path = dir.join(MANIFEST);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ExportError::file(&path)(error)),
    };
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|source| ExportError::Manifest { path: path.clone(), source })?;
    let follows = |pair: &[Part]| pair[1].from == pair[0].to.next();
    let plain = |file: &PartFile| Path::new(&file.file).file_name().is_some_and(|name| name == file.file.as_str());
    let whole = manifest.parts.iter().all(|part| part.from <= part.to && part.files.iter().all(plain));
    if whole && manifest.parts.windows(2).all(follows) { Ok(Some(manifest)) } else { Err(ExportError::Gap { path }) }
}
