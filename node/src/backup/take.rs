//! Adds to a backup what a node has certified since.

use super::depot::Depot;
use super::read::{self, Follow};
use super::{BackupError, Kept, Manifest, Range};
use crate::committees::Checkers;
use crate::config::LOG;
use crate::rebuild::Source;
use crate::replica::serve::Archive;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use storage::log::LogReader;
use types::Height;

/// Bytes at which a range is full.
const RANGE_BYTES: usize = 64 << 20;
/// Heights of a run.
const RUN_HEIGHTS: u64 = 256;

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// node.toml, to be kept as well.
    pub config: Option<&'a Path>,
    /// Leaves the last so many heights out: those that are not cold yet.
    pub keep: u64,
    /// Bytes at which a range is full.
    pub range_bytes: usize,
    /// Heights that are asked for at once, and proven by one certificate.
    pub run_heights: u64,
}

impl Default for Wanted<'_> {
    fn default() -> Self {
        Self { config: None, keep: 0, range_bytes: RANGE_BYTES, run_heights: RUN_HEIGHTS }
    }
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Done {
    /// First height of the backup.
    pub from: Option<Height>,
    /// Last height of the backup.
    pub to: Option<Height>,
    /// Heights that were added.
    pub added: u64,
    /// Bytes that were put.
    pub bytes_put: u64,
    /// Bytes of the backup.
    pub bytes: u64,
    /// The last height that the node has certified and flushed.
    pub certified: Height,
}

/// Adds all that is new. `progress` hears of every run of heights, with the last one that is to come.
///
/// # Errors
/// [`BackupError`]: what was finished stays, and the next run goes on behind it.
pub fn take(
    source: &Source,
    depot: &Depot,
    wanted: &Wanted<'_>,
    progress: &mut dyn FnMut(Height, Height),
) -> Result<Done, BackupError> {
    let tables = source.tables()?;
    let log = LogReader::open(&source.data_dir.join(LOG), source.identity)?;
    let archive = Archive::new(source.chain(), Arc::new(log), tables.clone());
    let mut checkers = Checkers::of_node(&source.genesis, &tables)?;
    let mut manifest = match Manifest::find(depot)? {
        Some(manifest) if manifest.ledger == source.chain() => manifest,
        Some(other) => return Err(BackupError::OtherLedger { expected: source.chain(), found: other.ledger }),
        None => Manifest::new(source.chain(), put_genesis(depot, source)?),
    };
    // What was lost or altered since is put back.
    if manifest.genesis.is_lost(depot)? {
        manifest.genesis = put_genesis(depot, source)?;
    }
    manifest.identity = Some(hex::encode(source.identity));
    if let Some(path) = wanted.config {
        let text = std::fs::read(path).map_err(|source| BackupError::File { path: path.to_owned(), source })?;
        manifest.config = Some(Kept::put(depot, "node", "toml", text)?);
    }
    if !checkers.changes().is_empty() {
        let mut proofs = Vec::new();
        types::codec::put_list(&mut proofs, checkers.changes());
        manifest.epochs = Some(Kept::put(depot, "epochs", "bin", proofs)?);
    }
    let certified = archive.certified()?;
    let last = Height(certified.0.saturating_sub(wanted.keep));
    let mut put = Put::open(depot, &mut manifest, &archive, wanted.range_bytes)?;
    let mut done = Done { certified, ..Done::default() };
    while put.next <= last {
        let from = put.next;
        let response = archive.commits(from, Height(last.0.min(from.0 + wanted.run_heights - 1)))?;
        let epoch = response.commits.last().map(|commit| commit.header.epoch);
        let missing = BackupError::Refused { from, reason: "blocks_or_certificate_missing" };
        let checker = checkers.of_epoch(epoch.ok_or(missing)?)?;
        let frame = response.to_body();
        let heights = put.follow.check(checker, from, response)?;
        put.add(&frame, heights.last().expect("a run that was checked has heights").0)?;
        done.added += heights.len() as u64;
        progress(put.held(), last);
    }
    done.bytes_put = put.finish()?;
    manifest.put(depot)?;
    if let Some(config) = &manifest.config
        && config.is_lost(depot)?
    {
        return Err(BackupError::ConfigLost { place: depot.place(), file: config.file.clone() });
    }
    (done.from, done.to) = manifest.heights().map_or((None, None), |(from, to)| (Some(from), Some(to)));
    done.bytes = manifest.bytes();
    Ok(done)
}

fn put_genesis(depot: &Depot, source: &Source) -> Result<Kept, BackupError> {
    Ok(Kept::put(depot, "genesis", "toml", source.genesis.to_toml().into_bytes())?)
}

/// The range that is being filled.
struct Put<'a> {
    depot: &'a Depot,
    manifest: &'a mut Manifest,
    range_bytes: usize,
    follow: Follow,
    from: Height,
    next: Height,
    bytes: Vec<u8>,
    /// The last range, where it was not full and its heights are taken over.
    replaced: Option<Range>,
    /// Whether it has heights that are in no range yet.
    added: bool,
    put: u64,
}

impl<'a> Put<'a> {
    fn open(
        depot: &'a Depot,
        manifest: &'a mut Manifest,
        archive: &Archive,
        range_bytes: usize,
    ) -> Result<Self, BackupError> {
        let ledger = manifest.ledger;
        let mut bytes = read::head(ledger);
        let last = manifest.ranges.last();
        let (held, follow) = match last {
            Some(range) => (Some(range.to), Follow::behind(range.to, range.header)),
            None => (None, Follow::default()),
        };
        let replaced = manifest.ranges.pop_if(|last| last.kept.bytes < range_bytes as u64 / 2);
        if let Some(range) = &replaced {
            bytes = range.kept.get(depot)?;
        }
        let next = match held {
            Some(held) => held.next(),
            None => archive.oldest(Height(1))?,
        };
        let oldest = archive.oldest(next)?;
        if oldest > next {
            return Err(BackupError::Released { wanted: next, oldest });
        }
        let from = replaced.as_ref().map_or(next, |range| range.from);
        Ok(Self { depot, manifest, range_bytes, follow, from, next, bytes, replaced, added: false, put: 0 })
    }

    fn held(&self) -> Height {
        Height(self.next.0 - 1)
    }

    fn add(&mut self, frame: &[u8], last: Height) -> Result<(), BackupError> {
        read::put_frame(&mut self.bytes, frame);
        (self.next, self.added) = (last.next(), true);
        if self.bytes.len() >= self.range_bytes { self.close() } else { Ok(()) }
    }

    /// Puts the range, and then the manifest that names it.
    fn close(&mut self) -> Result<(), BackupError> {
        let Some((to, header)) = self.follow.last() else { return Ok(()) };
        let bytes = std::mem::replace(&mut self.bytes, read::head(self.manifest.ledger));
        self.put += bytes.len() as u64;
        let stem = format!("ranges/{:012}-{:012}", self.from.0, to.0);
        let kept = Kept::put(self.depot, &stem, "ledger", bytes)?;
        self.manifest.ranges.push(Range { from: self.from, to, header, kept });
        self.manifest.put(self.depot)?;
        if let Some(replaced) = self.replaced.take() {
            self.depot.remove(&replaced.kept.file)?;
        }
        (self.from, self.added) = (self.next, false);
        Ok(())
    }

    fn finish(mut self) -> Result<u64, BackupError> {
        if self.added {
            self.close()?;
        }
        // Nothing was added to it.
        self.manifest.ranges.extend(self.replaced.take());
        Ok(self.put)
    }
}
