//! The directory of an export: finished parts, and `manifest.json`, which names them. Files are written under a name ending
//! in `.new`. When all of a part are whole and durable, `manifest.json.new` announces them; then they get their names, and it
//! becomes the manifest. So an interruption at any moment leaves what the next run can finish, and whatever else looks like
//! a part is somebody else's: it is refused, and never replaced or removed.

use super::ExportError;
use super::manifest::{self, MANIFEST, Manifest, Part, PartFile, unfinished};
use super::rows::{Row, TABLES, Table};
use super::sink::{Format, Sink};
use crate::durable;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use types::{ChainId, Digest, Height};

const LOCK: &str = "LOCK";

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
    /// [`ExportError::OtherLedger`] and [`ExportError::OtherFormat`] where it holds another, [`ExportError::PartDamaged`]
    /// where a file is gone or of another length, [`ExportError::Leftovers`] where there are parts that nothing names,
    /// [`ExportError::InUse`], those of [`Manifest::read`], [`ExportError::Write`].
    pub fn open(dir: &Path, ledger: ChainId, format: Format) -> Result<Self, ExportError> {
        fs::create_dir_all(dir).map_err(ExportError::writing(dir))?;
        let lock_path = dir.join(LOCK);
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&lock_path);
        let lock = lock.map_err(ExportError::writing(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ExportError::InUse(dir.to_owned())),
            Err(TryLockError::Error(error)) => return Err(ExportError::writing(&lock_path)(error)),
        }
        let manifest = Manifest::read(dir)?.unwrap_or_else(|| Manifest::new(ledger, format));
        if manifest.ledger != ledger {
            return Err(ExportError::OtherLedger { dir: dir.to_owned(), found: manifest.ledger, expected: ledger });
        }
        if manifest.format != format {
            return Err(ExportError::OtherFormat { dir: dir.to_owned(), found: manifest.format, wanted: format });
        }
        for file in manifest.files() {
            let path = dir.join(&file.file);
            if length(&path) != Some(file.bytes) {
                return Err(ExportError::PartDamaged { path });
            }
        }
        let announced =
            manifest.announced(dir)?.filter(|next| next.parts.last().is_some_and(|part| is_whole(dir, part)));
        let settled = announced.is_none();
        let manifest = announced.unwrap_or(manifest);
        refuse_leftovers(dir, &manifest)?;
        if !settled {
            settle(dir, &manifest)?;
        }
        remove_unfinished(dir)?;
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
                sink.put(row).map_err(|error| ExportError::rows(&unfinished(&self.dir, table.name))(error))?;
                *count += 1;
            }
        }
        self.open = Some(part);
        Ok(())
    }

    fn begin(&self, from: Height) -> Result<OpenPart, ExportError> {
        let table = |table: Table| {
            let path = unfinished(&self.dir, table.name);
            let file = File::create(&path).map_err(ExportError::writing(&path))?;
            Ok((Sink::create(self.manifest.format, table, file).map_err(ExportError::rows(&path))?, 0))
        };
        let tables = TABLES.into_iter().map(table).collect::<Result<_, ExportError>>()?;
        Ok(OpenPart { from, to: from, header: Digest::ZERO, tables })
    }

    /// Ends the part that is being written, if there is one.
    pub fn finish_part(&mut self) -> Result<(), ExportError> {
        let Some(OpenPart { from, to, header, tables }) = self.open.take() else { return Ok(()) };
        let mut files = Vec::with_capacity(tables.len());
        for ((sink, rows), table) in tables.into_iter().zip(TABLES) {
            let new = unfinished(&self.dir, table.name);
            let written = sink.finish().map_err(ExportError::rows(&new))?;
            let file = format!("{}-{:012}-{:012}.{}", table.name, from.0, to.0, self.manifest.format.extension());
            let table = table.name.to_owned();
            files.push(PartFile { table, file, rows, bytes: written.bytes, sha256: written.sha256 });
        }
        self.manifest.parts.push(Part { from, to, header, files });
        self.announce()?;
        settle(&self.dir, &self.manifest)
    }

    fn announce(&self) -> Result<(), ExportError> {
        let path = unfinished(&self.dir, MANIFEST);
        let written = (|| {
            let mut file = File::create(&path)?;
            file.write_all(&self.manifest.to_json()?)?;
            file.sync_all()?;
            durable::sync_dir(&self.dir)
        })();
        written.map_err(ExportError::writing(&path))
    }
}

/// Gives the files of the part that was announced their names, as many as have none yet, and then the manifest its own.
fn settle(dir: &Path, manifest: &Manifest) -> Result<(), ExportError> {
    let rename = |new: &Path, path: &Path| fs::rename(new, path).map_err(ExportError::writing(path));
    for file in manifest.parts.last().into_iter().flat_map(|part| &part.files) {
        let new = unfinished(dir, &file.table);
        if new.exists() {
            rename(&new, &dir.join(&file.file))?;
        }
    }
    durable::sync_dir(dir).map_err(ExportError::writing(dir))?;
    rename(&unfinished(dir, MANIFEST), &dir.join(MANIFEST))?;
    durable::sync_dir(dir).map_err(ExportError::writing(dir))
}

/// Whether every file of a part that was announced is there, under the one name or the other.
fn is_whole(dir: &Path, part: &Part) -> bool {
    let found = |file: &PartFile| length(&unfinished(dir, &file.table)).or_else(|| length(&dir.join(&file.file)));
    part.files.iter().all(|file| found(file) == Some(file.bytes))
}

fn refuse_leftovers(dir: &Path, manifest: &Manifest) -> Result<(), ExportError> {
    let mut files = manifest::part_files(dir)?;
    for file in manifest.files() {
        files.remove(&file.file);
    }
    if files.is_empty() {
        return Ok(());
    }
    Err(ExportError::Leftovers { dir: dir.to_owned(), files: files.into_iter().collect() })
}

/// Removes what an interruption left of a part that was not announced; it is written again.
fn remove_unfinished(dir: &Path) -> Result<(), ExportError> {
    for name in TABLES.iter().map(|table| table.name).chain([MANIFEST]) {
        let path = unfinished(dir, name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(ExportError::writing(&path)(error)),
            _ => {}
        }
    }
    Ok(())
}

fn length(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|found| found.len())
}
