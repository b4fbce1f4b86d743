//! What the directory of snapshots holds: found again after a start, vouched for as soon as the certificates are there,
//! removed when newer ones have taken its place or when it is damaged.

use super::{Kept, LEASE, Shared, SnapshotError};
use crate::durable;
use crate::replica::serve::ServeError;
use crate::state_sync::certified::Vouched;
use crate::state_sync::pack::{CERTIFIED, Pack, PackError};
use crate::tables::Tables;
use crate::wire::state::{Certified, CommitWithHeaders};
use consensus::Checkpoint;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use types::{Decode, Encode, Epoch, EpochChange, Height};

/// A snapshot in a node's directory.
#[derive(Debug)]
pub struct KeptSnapshot {
    /// The state.
    pub pack: Pack,
    /// What vouches for it, once it is certified.
    pub vouched: Option<Vouched>,
}

/// The snapshots in a node's directory, oldest first, with those that cannot be read. Changes nothing; a node may run.
pub fn list(dir: &Path) -> io::Result<Vec<Result<KeptSnapshot, PackError>>> {
    let mut found = Vec::new();
    for (_, path) in directories(dir)? {
        found.push(Pack::open(&path).and_then(|pack| Ok(KeptSnapshot { vouched: Vouched::read(&path)?, pack })));
    }
    Ok(found)
}

/// Directories of whole snapshots, by height.
fn directories(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let height = name.to_str().and_then(|name| name.strip_prefix("state-")?.parse().ok());
        found.extend(height.map(|height: u64| (height, entry.path())));
    }
    found.sort_unstable();
    Ok(found)
}

impl Shared {
    pub(super) fn dir_of(&self, height: Height, suffix: &str) -> PathBuf {
        self.service.dir.join(format!("state-{height}{suffix}"))
    }

    /// Finds what was kept before, and removes what a crash has left.
    pub(super) fn load(&self) -> io::Result<()> {
        std::fs::create_dir_all(&self.service.dir)?;
        let whole = directories(&self.service.dir)?;
        for entry in std::fs::read_dir(&self.service.dir)? {
            let path = entry?.path();
            if !whole.iter().any(|(_, known)| *known == path) {
                remove(&path);
            }
        }
        for (_, path) in whole {
            match Pack::open(&path) {
                Ok(pack) => self.insert(pack),
                Err(error) => {
                    tracing::warn!(%error, "a snapshot is damaged; it is removed");
                    remove(&path);
                }
            }
        }
        Ok(())
    }

    /// A state was read.
    pub(super) fn keep(&self, height: Height) {
        match Pack::open(&self.dir_of(height, "")) {
            Ok(pack) => self.insert(pack),
            Err(error) => tracing::warn!(%error, height = height.0, "the snapshot of a state is not kept"),
        }
    }

    fn insert(&self, pack: Pack) {
        let height = pack.height();
        let segment = self.reach(height).map(|reach| reach.map(|(segment, _)| segment)).unwrap_or_else(|error| {
            tracing::error!(%error, height = height.0, "the commits below a snapshot cannot be read");
            None
        });
        // What a file says that is there already counts once it is proven.
        let kept = Kept { pack, segment, vouched: Mutex::default(), used: Mutex::default() };
        self.lock().kept.insert(height, Arc::new(kept));
    }

    /// Looks for certificates that have come, and removes what newer certified snapshots have superseded.
    pub(super) fn look(&self) {
        let kept: Vec<Arc<Kept>> = self.lock().kept.values().cloned().collect();
        // One that a newer certified one supersedes needs nothing more.
        for kept in kept.iter().rev() {
            match self.vouch(kept) {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, height = kept.pack.height().0, "a snapshot cannot be vouched for yet");
                }
            }
        }
        let newest = kept.iter().filter(|kept| kept.vouched().is_some()).map(|kept| kept.pack.height()).max();
        let mut unwanted: Vec<Height> = kept
            .iter()
            .map(|kept| kept.pack.height())
            .filter(|height| newest.is_some_and(|newest| *height < newest))
            .collect();
        // Without a certificate for long, the two newest are enough.
        let above: Vec<Height> =
            kept.iter().map(|kept| kept.pack.height()).filter(|height| Some(*height) > newest).collect();
        unwanted.extend(&above[..above.len().saturating_sub(2)]);
        for height in unwanted {
            let mut state = self.lock();
            let lapsed = |kept: &Arc<Kept>| {
                let used = *kept.used.lock().unwrap_or_else(PoisonError::into_inner);
                used.is_none_or(|used| used.elapsed() >= LEASE)
            };
            if state.kept.get(&height).is_some_and(lapsed)
                && let Some(kept) = state.kept.remove(&height)
            {
                drop(state);
                remove(kept.pack.dir());
            }
        }
    }

    /// Gives a snapshot up that cannot be read. Nothing is lost with it: the next state takes its place.
    pub(super) fn discard(&self, damaged: &Arc<Kept>, error: &PackError) {
        let mut state = self.lock();
        let height = damaged.pack.height();
        if state.kept.get(&height).is_none_or(|kept| !Arc::ptr_eq(kept, damaged)) {
            return;
        }
        state.kept.remove(&height);
        // Under the lock, so that no state is put in its place meanwhile.
        remove(damaged.pack.dir());
        drop(state);
        tracing::error!(%error, height = height.0, "a snapshot is damaged; it is removed, and the next one takes its place");
    }

    /// Writes down what vouches for a snapshot, if its root is certified by now. Whether it is.
    fn vouch(&self, kept: &Kept) -> Result<bool, SnapshotError> {
        if kept.vouched().is_some() {
            return Ok(true);
        }
        let Some(certified @ Certified { root: Some(_), .. }) = certified(&self.tables, &kept.pack)? else {
            return Ok(false);
        };
        let epoch = certified.root.as_ref().map_or(certified.header.epoch, |(header, _)| header.epoch);
        let Some(epochs) = epochs(&self.tables, epoch)? else { return Ok(false) };
        let commits = match self.reach(kept.pack.height())? {
            // Without them it can still be verified and proven from.
            Some((_, lowest)) => self.commits(kept.pack.height(), lowest).unwrap_or_else(|error| {
                tracing::warn!(%error, "a snapshot is kept without the commits below it");
                None
            }),
            None => None,
        };
        let vouched = Vouched { certified, epochs, commits };
        durable::put(&kept.pack.dir().join(CERTIFIED), &vouched.to_bytes())?;
        tracing::info!(
            height = kept.pack.height().0,
            bytes = kept.pack.packed_bytes(),
            "a snapshot is certified and ready for peers"
        );
        kept.set_vouched(vouched);
        Ok(true)
    }

    /// The commits with which somebody goes on from a height; `None` where some are gone.
    fn commits(&self, top: Height, lowest: Height) -> Result<Option<Vec<CommitWithHeaders>>, ServeError> {
        let (mut commits, mut next) = (Vec::new(), top);
        while next >= lowest && next.0 > 0 {
            let found = self.archive.history(next, lowest)?;
            let Some(last) = found.last() else { return Ok(None) };
            next = Height(last.record.height.0 - 1);
            commits.extend(found);
        }
        Ok(Some(commits))
    }

    /// The first segment of the log with a block that a joiner at this height needs from us, and the lowest height that
    /// he needs; `None` where the log has given one up.
    fn reach(&self, height: Height) -> Result<Option<(u64, Height)>, ServeError> {
        let first_height = self.service.anchor.next();
        if height < first_height {
            // The state that the epoch begins with needs no commits.
            return Ok((height == self.service.anchor).then_some((u64::MAX, first_height)));
        }
        let Some(top) = self.tables.commit_record(height)? else { return Ok(None) };
        let parameters = &self.service.parameters;
        let gc_round = top.leader.round.saturating_sub(parameters.gc_depth_rounds);
        let schedule = Checkpoint::rebuilt_from(parameters, first_height, height);
        let (mut first, mut lowest) = (u64::MAX, first_height);
        for below in (first_height.0..=height.0).rev().map(Height) {
            let Some(record) = self.tables.commit_record(below)? else { return Ok(None) };
            for block in &record.blocks {
                match self.tables.block_place(&block.digest)? {
                    Some(place) => first = first.min(place.block.segment),
                    None if self.tables.synced_header(block)?.is_some() => {}
                    None => return Ok(None),
                }
            }
            if below <= schedule && record.leader.round <= gc_round.next() {
                lowest = below;
                break;
            }
        }
        Ok((first >= self.archive.first_segment()).then_some((first, lowest)))
    }
}

impl Kept {
    pub(super) fn vouched(&self) -> Option<Arc<Vouched>> {
        self.vouched.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_vouched(&self, vouched: Vouched) {
        *self.vouched.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(vouched));
    }
}

/// What the rows say for a snapshot: its header and certificate, and the same for its root where that is certified.
pub(super) fn certified(tables: &Tables, pack: &Pack) -> Result<Option<Certified>, SnapshotError> {
    let Some(header) = tables.header(pack.height())? else { return Ok(None) };
    let certificate = match header.height {
        Height(0) => Some(Certified::genesis_certificate(&header)),
        height => tables.certificate(height)?,
    };
    let Some(certificate) = certificate else { return Ok(None) };
    if header.digest() != pack.manifest().summary.header {
        return Ok(None);
    }
    let root = tables.header(pack.root_height())?.zip(tables.certificate(pack.root_height())?);
    let root = root.filter(|(header, _)| header.state_root == pack.root());
    Ok(Some(Certified { header, certificate, root }))
}

/// How an epoch follows from the first one; `None` where this node does not have it all.
fn epochs(tables: &Tables, epoch: Epoch) -> Result<Option<Vec<EpochChange>>, SnapshotError> {
    let changes = (2..=epoch.0).map(|epoch| tables.epoch_change(Epoch(epoch)));
    Ok(changes.collect::<Result<Option<Vec<_>>, _>>()?)
}

pub(super) fn remove(path: &Path) {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    if let Err(error) = removed {
        tracing::warn!(%error, path = %path.display(), "a snapshot cannot be removed");
    }
}

impl Vouched {
    /// What vouches for the snapshot in a directory; `None` where nothing does yet.
    pub fn read(dir: &Path) -> Result<Option<Self>, PackError> {
        let path = dir.join(CERTIFIED);
        match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(PackError::Io { path, source }),
            Ok(bytes) => Self::from_bytes(&bytes).map(Some).map_err(|source| PackError::Index { path, source }),
        }
    }
}
