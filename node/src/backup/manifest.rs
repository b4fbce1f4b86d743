//! `manifest.json`: what a backup consists of. It is put after what it names, so that an interruption at any moment leaves
//! a backup that is whole, if shorter.

use super::BackupError;
use super::depot::{Depot, DepotError};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use types::{ChainId, Digest, Height};

/// Version of the manifest and of the files.
pub const FORMAT: u64 = 1;
const NAME: &str = "manifest.json";
/// Some hundred bytes a range, and ranges of 64 MiB: this many are a hundred terabytes.
const BYTES_MAX: u64 = 1 << 30;
/// What whoever finds a backup wants to know first.
const HOLDS_NO: &str = "keys, PINs, guard files or other secrets; nothing that the committee has not certified";

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Its name in the place.
    pub file: String,
    /// Length.
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

impl Kept {
    /// Puts bytes under a name that holds the start of their hash, so that no other content ever has it.
    pub fn put(depot: &Depot, stem: &str, extension: &str, bytes: Vec<u8>) -> Result<Self, DepotError> {
        let sha256 = hex::encode(Sha256::digest(&bytes));
        let file = format!("{stem}.{}.{extension}", &sha256[..16]);
        let kept = Self { file, bytes: bytes.len() as u64, sha256 };
        depot.put(&kept.file, bytes)?;
        Ok(kept)
    }

    /// Whether it is gone, or is not what was put.
    pub fn is_lost(&self, depot: &Depot) -> Result<bool, BackupError> {
        match self.get(depot) {
            Ok(_) => Ok(false),
            Err(
                BackupError::Altered(_) | BackupError::Depot(DepotError::Missing { .. } | DepotError::Length { .. }),
            ) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Gets the bytes, which are what was put.
    pub fn get(&self, depot: &Depot) -> Result<Vec<u8>, BackupError> {
        let bytes = depot.get(&self.file, self.bytes)?;
        if bytes.len() as u64 != self.bytes {
            let (name, bytes, expected) = (self.file.clone(), bytes.len() as u64, self.bytes);
            return Err(DepotError::Length { name, bytes, expected }.into());
        }
        if hex::encode(Sha256::digest(&bytes)) == self.sha256 {
            Ok(bytes)
        } else {
            Err(BackupError::Altered(self.file.clone()))
        }
    }
}

/// A range of heights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// First height.
    pub from: Height,
    /// Last height, which is certified.
    pub to: Height,
    /// Digest of the ledger header of the last height, which names all before it.
    pub header: Digest,
    /// The commits.
    pub kept: Kept,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: u64,
    /// The ledger.
    pub ledger: ChainId,
    /// Said to whoever reads it.
    holds_no: String,
    /// What data directory it was taken from, as log and state are marked: hexadecimal. Another validator of the same ledger
    /// can be restored from it all the same.
    pub identity: Option<String>,
    /// The genesis.
    pub genesis: Kept,
    /// node.toml, where it was named: it holds no secrets, but paths and addresses.
    pub config: Option<Kept>,
    /// The proofs of all epochs after the first.
    pub epochs: Option<Kept>,
    /// In rising order of heights, without gaps.
    pub ranges: Vec<Range>,
}

impl Manifest {
    /// Of a ledger, with no heights yet.
    pub fn new(ledger: ChainId, genesis: Kept) -> Self {
        let (holds_no, ranges) = (HOLDS_NO.to_owned(), Vec::new());
        Self { format: FORMAT, ledger, holds_no, identity: None, genesis, config: None, epochs: None, ranges }
    }

    /// Reads it; none where there is no backup.
    pub fn find(depot: &Depot) -> Result<Option<Self>, BackupError> {
        match depot.get(NAME, BYTES_MAX) {
            Ok(bytes) => Self::parse(&bytes, depot).map(Some),
            Err(DepotError::Missing { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads it.
    pub fn read(depot: &Depot) -> Result<Self, BackupError> {
        Self::find(depot)?.ok_or_else(|| BackupError::Nothing(depot.place()))
    }

    fn parse(bytes: &[u8], depot: &Depot) -> Result<Self, BackupError> {
        /// What every version has.
        #[derive(Deserialize)]
        struct Head {
            format: u64,
        }
        /// What the manifest of tables has instead.
        #[derive(Deserialize)]
        struct Tables {
            #[serde(rename = "version")]
            _version: u64,
            #[serde(rename = "parts")]
            _parts: IgnoredAny,
        }
        let invalid = |source| match serde_json::from_slice::<Tables>(bytes) {
            Ok(_) => BackupError::Tables(depot.place()),
            Err(_) => BackupError::Manifest { place: depot.place(), source },
        };
        let Head { format } = serde_json::from_slice(bytes).map_err(invalid)?;
        if format > FORMAT {
            return Err(BackupError::Newer { found: format, known: FORMAT });
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(invalid)?;
        if manifest.ranges.iter().any(|range| range.from > range.to || range.from == Height(0)) {
            return Err(BackupError::Contradictory("a range ends before it begins"));
        }
        if manifest.ranges.windows(2).any(|pair| pair[0].to.next() != pair[1].from) {
            return Err(BackupError::Contradictory("its ranges do not follow each other"));
        }
        Ok(manifest)
    }

    /// Writes it.
    pub fn put(&self, depot: &Depot) -> Result<(), BackupError> {
        let bytes = serde_json::to_vec_pretty(self).expect("numbers, strings and lists have a JSON form");
        Ok(depot.put(NAME, bytes)?)
    }

    /// First and last height.
    pub fn heights(&self) -> Option<(Height, Height)> {
        Some((self.ranges.first()?.from, self.ranges.last()?.to))
    }

    /// Bytes of all ranges.
    pub fn bytes(&self) -> u64 {
        self.ranges.iter().map(|range| range.kept.bytes).sum()
    }
}
