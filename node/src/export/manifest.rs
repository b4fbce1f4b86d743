//! `manifest.json`: what a directory holds, part by part. A part is a range of heights, one file a table. While the files
//! of a part are being given their names, `manifest.json.new` says so: it is the manifest with that part.

use super::ExportError;
use super::rows::TABLES;
use super::sink::Format;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use types::{ChainId, Digest, Height};

/// Version of the manifest and of the tables.
const VERSION: u32 = 3;
/// Its name.
pub const MANIFEST: &str = "manifest.json";
const UNFINISHED: &str = "new";

/// What a directory holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    version: u32,
    /// The ledger.
    pub ledger: ChainId,
    /// How rows are written.
    pub format: Format,
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
    /// One a table, in their order.
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

/// What every version says, whatever else it does.
#[derive(Deserialize)]
struct AnyVersion {
    version: u64,
}

impl Manifest {
    /// Of a directory that holds nothing yet.
    pub fn new(ledger: ChainId, format: Format) -> Self {
        Self { version: VERSION, ledger, format, parts: Vec::new() }
    }

    /// Of a directory; `None` where there is none.
    ///
    /// # Errors
    /// [`ExportError::Newer`] and [`ExportError::Older`] by the version that it says, [`ExportError::Manifest`],
    /// [`ExportError::Gap`], [`ExportError::Read`].
    pub fn read(dir: &Path) -> Result<Option<Self>, ExportError> {
        let path = dir.join(MANIFEST);
        read(&path)?.map(|text| Self::parse(&text, &path)).transpose()
    }

    /// What a directory that holds `self` is about to hold: a part more, whose files may have their names already. `None`
    /// where nothing is about to come; nor is it where that was not written to its end, for no file is renamed before.
    ///
    /// # Errors
    /// [`ExportError::Read`].
    pub fn announced(&self, dir: &Path) -> Result<Option<Self>, ExportError> {
        Ok(Self::next(dir)?.filter(|next| {
            let before = next.parts.split_last().map(|(_, before)| before);
            (next.ledger, next.format, before) == (self.ledger, self.format, Some(&*self.parts))
        }))
    }

    /// `manifest.json.new`, if it was written to its end.
    ///
    /// # Errors
    /// [`ExportError::Read`].
    pub fn next(dir: &Path) -> Result<Option<Self>, ExportError> {
        let path = unfinished(dir, MANIFEST);
        Ok(read(&path)?.and_then(|text| Self::parse(&text, &path).ok()))
    }

    fn parse(text: &[u8], path: &Path) -> Result<Self, ExportError> {
        let invalid = |source| ExportError::Manifest { path: path.to_owned(), source };
        // Before anything else, for another version may say the rest in other words.
        let AnyVersion { version: found } = serde_json::from_slice(text).map_err(invalid)?;
        let known = u64::from(VERSION);
        match found {
            _ if found > known => return Err(ExportError::Newer { path: path.to_owned(), found, known }),
            _ if found < known => return Err(ExportError::Older { path: path.to_owned(), found, known }),
            _ => {}
        }
        let manifest: Self = serde_json::from_slice(text).map_err(invalid)?;
        let follow = manifest.parts.windows(2).all(|pair| pair[1].from == pair[0].to.next());
        if follow && manifest.parts.iter().all(Part::is_sound) {
            Ok(manifest)
        } else {
            Err(ExportError::Gap { path: path.to_owned() })
        }
    }

    /// As a file.
    pub fn to_json(&self) -> io::Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }

    /// First and last height of all parts.
    pub fn heights(&self) -> Option<(Height, Height)> {
        self.parts.first().zip(self.parts.last()).map(|(first, last)| (first.from, last.to))
    }

    /// All files of all parts.
    pub fn files(&self) -> impl Iterator<Item = &PartFile> {
        self.parts.iter().flat_map(|part| &part.files)
    }
}

impl Part {
    /// Whether it has a file for each table, and none outside of its directory.
    fn is_sound(&self) -> bool {
        let plain = |file: &PartFile| Path::new(&file.file).file_name().is_some_and(|name| name == file.file.as_str());
        let tables = self.files.iter().map(|file| file.table.as_str());
        self.from <= self.to && self.files.iter().all(plain) && tables.eq(TABLES.iter().map(|table| table.name))
    }
}

/// Where a file lies that is being written.
pub fn unfinished(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.{UNFINISHED}"))
}

/// Names in a directory that a query over all files of a table would take for its parts.
///
/// # Errors
/// [`ExportError::Read`].
pub fn part_files(dir: &Path) -> Result<BTreeSet<String>, ExportError> {
    let names = || -> io::Result<BTreeSet<String>> {
        let names = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.filter(|name| name.as_ref().map_or(true, |name| looks_like_part(name))).collect()
    };
    names().map_err(ExportError::reading(dir))
}

fn looks_like_part(name: &str) -> bool {
    let table = TABLES.iter().any(|table| name.strip_prefix(table.name).is_some_and(|rest| rest.starts_with('-')));
    let ending = Path::new(name).extension();
    table && [Format::Jsonl, Format::Parquet].iter().any(|format| ending.is_some_and(|it| it == format.extension()))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, ExportError> {
    match fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ExportError::reading(path)(error)),
    }
}
