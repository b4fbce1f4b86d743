//! `stele export --verify`: whether a directory holds what its manifest says, down to the last byte.
//!
//! Everything that is wrong is named, not only the first. It needs no node and takes no lock, changes nothing, and may run on a
//! copy or beside an export that adds to the directory. Deliberately absent: whether the manifest says what it did when it
//! was written; whoever can write files there can write that one too.

use super::ExportError;
use super::manifest::{self, Manifest, PartFile};
use super::sink::Format;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use types::{ChainId, Height};

/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "wrong")]
pub enum Wrong {
    /// It is not there.
    Missing,
    /// It is longer or shorter.
    Length {
        /// How long it is, in bytes.
        found: u64,
        /// How long it was.
        expected: u64,
    },
    /// It has its length, and other bytes.
    Sha256,
    /// It cannot be read.
    Unreadable {
        /// What the operating system says.
        reason: String,
    },
    /// It looks like a part, and the manifest does not name it: a query over all files counts its rows as well.
    NotNamed,
}

/// A file that is not what the manifest says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Its name.
    pub file: String,
    /// What is wrong.
    #[serde(flatten)]
    pub wrong: Wrong,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// The ledger.
    pub ledger: ChainId,
    /// How rows are written.
    pub format: Format,
    /// First height.
    pub from: Option<Height>,
    /// Last height.
    pub to: Option<Height>,
    /// Parts that the manifest names.
    pub parts: usize,
    /// Their files.
    pub files: usize,
    /// Bytes that were read.
    pub bytes: u64,
    /// Everything that is wrong, by part and table, and then what is not named.
    pub damaged: Vec<Damage>,
}

/// Reads all files. `ledger` is the one that it has to be of, if that is known; `progress` hears how many bytes were read of
/// how many.
///
/// # Errors
/// [`ExportError::Nothing`] where there is no manifest, those of [`Manifest::read`], [`ExportError::OtherLedger`],
/// [`ExportError::Read`] where the directory cannot be listed. A damaged file is no error.
pub fn verify(
    dir: &Path,
    ledger: Option<ChainId>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Verified, ExportError> {
    let not_named = not_named(dir)?;
    let manifest = Manifest::read(dir)?.ok_or_else(|| ExportError::Nothing(dir.to_owned()))?;
    if let Some(expected) = ledger.filter(|ledger| *ledger != manifest.ledger) {
        return Err(ExportError::OtherLedger { dir: dir.to_owned(), found: manifest.ledger, expected });
    }
    let of = manifest.files().map(|file| file.bytes).sum();
    let (mut bytes, mut damaged) = (0, Vec::new());
    for file in manifest.files() {
        let wrong = look(&dir.join(&file.file), file, &mut |read| {
            bytes += read;
            progress(bytes, of);
        });
        damaged.extend(wrong.map(|wrong| Damage { file: file.file.clone(), wrong }));
    }
    damaged.extend(not_named.into_iter().map(|file| Damage { file, wrong: Wrong::NotNamed }));
    let (from, to) = manifest.heights().unzip();
    let (parts, files) = (manifest.parts.len(), manifest.files().count());
    Ok(Verified { ledger: manifest.ledger, format: manifest.format, from, to, parts, files, bytes, damaged })
}

/// What looks like a part and is none.
fn not_named(dir: &Path) -> Result<Vec<String>, ExportError> {
    let mut files = manifest::part_files(dir)?;
    // In this order: an export beside names each of the files above in the one, and then in the other.
    let (next, now) = (Manifest::next(dir)?, Manifest::read(dir)?);
    for file in [&next, &now].into_iter().flatten().flat_map(Manifest::files) {
        files.remove(&file.file);
    }
    Ok(files.into_iter().collect())
}

fn look(path: &Path, expected: &PartFile, read: &mut dyn FnMut(u64)) -> Option<Wrong> {
    match hash(path, expected.bytes, read) {
        Ok((found, _)) if found != expected.bytes => Some(Wrong::Length { found, expected: expected.bytes }),
        Ok((_, sha256)) => (sha256 != expected.sha256).then_some(Wrong::Sha256),
        Err(error) if error.kind() == ErrorKind::NotFound => Some(Wrong::Missing),
        Err(error) => Some(Wrong::Unreadable { reason: error.to_string() }),
    }
}

/// Length and SHA-256 of a file; of one that has not the length that is `expected` nothing is read.
fn hash(path: &Path, expected: u64, read: &mut dyn FnMut(u64)) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    if length != expected {
        return Ok((length, String::new()));
    }
    let (mut hasher, mut chunk, mut bytes) = (Sha256::new(), vec![0; CHUNK], 0);
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok((bytes, hex::encode(hasher.finalize()))),
            Ok(count) => {
                hasher.update(&chunk[..count]);
                bytes += count as u64;
                read(count as u64);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
