//! Certified snapshots outside of a node: copied to a directory chunk by chunk, verified there from genesis alone, and
//! made the state of an empty node. Copying goes on where it was interrupted.

use crate::config::{LOG, SNAPSHOTS, STATE};
use crate::durable;
use crate::state_sync::certified::{Proven, Vouched, VouchedError};
use crate::state_sync::install::{Base, InstallError, Site};
use crate::state_sync::pack::{CERTIFIED, CHUNKS, INDEX, Pack, PackError, unpack};
use crate::state_sync::snapshots;
use crate::state_sync::stream::{self, StreamError};
use crate::tables::Tables;
use consensus::{Config, Pacing};
use miette::Diagnostic;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::state::StateDb;
use thiserror::Error;
use types::{AuthorityIndex, Genesis, Height};

/// Why a snapshot cannot be exported, verified or restored.
#[derive(Debug, Error, Diagnostic)]
pub enum ExportError {
    /// The directory of a node is none.
    #[error("{} is no node's data directory", .0.display())]
    #[diagnostic(help("--data is the directory that node.toml calls data_dir; it holds log and state"))]
    NoData(PathBuf),
    /// There is none.
    #[error("there is no certified snapshot in {}", .0.display())]
    #[diagnostic(help(
        "a node has its first one half of snapshot_interval_heights after the ledger began; `stele snapshot list` shows \
         what there is"
    ))]
    None(PathBuf),
    /// The directory of a snapshot is none.
    #[error("there is no directory {}", .0.display())]
    #[diagnostic(help("--from is a directory that `stele snapshot create --out` made"))]
    NoDirectory(PathBuf),
    /// A file of it is gone.
    #[error("there is no file {}", .0.display())]
    #[diagnostic(help(
        "a snapshot is a directory that `stele snapshot create` made, with the files index, chunks and certified; copy all \
         of them, or create it again"
    ))]
    Missing(PathBuf),
    /// It is not certified.
    #[error("the snapshot in {} is not certified: there is no file {CERTIFIED}", .0.display())]
    #[diagnostic(help("copying was interrupted; run `stele snapshot create` again, and it goes on where it was"))]
    NotCertified(PathBuf),
    /// The directory holds another snapshot.
    #[error("{} holds the snapshot of height {height}", dir.display())]
    #[diagnostic(help("name another directory"))]
    OtherSnapshot {
        /// Which directory.
        dir: PathBuf,
        /// Of which height.
        height: Height,
    },
    /// It is damaged.
    #[error(transparent)]
    #[diagnostic(help(
        "it was altered or cut, or a newer release has made it: copy it anew, take it from another node, or use that release"
    ))]
    Pack(#[from] PackError),
    /// A file.
    #[error("{}: {source}", path.display())]
    #[diagnostic(help("see that it can be read or written, and that its disk has room; then run the command again"))]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not proven.
    #[error("{}: {source}", path.display())]
    #[diagnostic(forward(source))]
    Vouched {
        /// The file that should prove it.
        path: PathBuf,
        /// What does not hold.
        source: VouchedError,
    },
    /// The rows.
    #[error("{}: {source}", path.display())]
    #[diagnostic(help("it was altered or forged; do not use it, and take one from another node"))]
    Rows {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: StreamError,
    },
    /// The rows are those of the root, and not those of the state digest.
    #[error("{}: the sum over its rows is not that of the certified header", .0.display())]
    #[diagnostic(help(
        "do not use it; two signed roots contradict each other, which the ledger's operators have to know"
    ))]
    OtherState(PathBuf),
    /// It lacks what a node starts from.
    #[error("no node can start from the snapshot in {}: who made it lacked the commits below", .0.display())]
    #[diagnostic(help(
        "take it from another node, or create it again when the next one is certified; or let the new node take a state from \
         its peers"
    ))]
    NoCommits(PathBuf),
    /// There is something already.
    #[error("{} is not empty", .0.display())]
    #[diagnostic(help("a snapshot is restored to a node that has never run; move its log and state away"))]
    InUse(PathBuf),
    /// The database.
    #[error("the state cannot be made in {}: {source}", data_dir.display())]
    #[diagnostic(help("see that its disk has room and can be written; then run the command again"))]
    Install {
        /// The node's data directory.
        data_dir: PathBuf,
        /// Why.
        source: InstallError,
    },
}

/// Chunks that are done, and all of them.
pub type Tell<'a> = &'a mut dyn FnMut(usize, usize);

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> ExportError {
    move |source| ExportError::Io { path: path.to_owned(), source }
}

/// A snapshot that holds from genesis on, with all that a node starts from.
#[derive(Debug)]
pub struct Verified {
    /// The state.
    pub pack: Pack,
    /// What goes into the database besides it.
    base: Base,
    /// The epoch that it belongs to.
    config: Config,
}

/// The snapshots of the node with this data directory.
pub fn snapshots_of(data_dir: &Path) -> Result<PathBuf, ExportError> {
    let is_one = [LOG, STATE, SNAPSHOTS].iter().any(|part| data_dir.join(part).is_dir());
    if is_one { Ok(data_dir.join(SNAPSHOTS)) } else { Err(ExportError::NoData(data_dir.to_owned())) }
}

/// Copies the newest certified snapshot of a node, which may run meanwhile. Every chunk is checked on the way.
pub fn create(snapshots_dir: &Path, out: &Path, tell: Tell<'_>) -> Result<Pack, ExportError> {
    let kept = snapshots::list(snapshots_dir).map_err(io_at(snapshots_dir))?;
    let newest = kept.into_iter().rev().flatten().find_map(|kept| Some((kept.pack, kept.vouched?)));
    let (pack, vouched) = newest.ok_or_else(|| ExportError::None(snapshots_dir.to_owned()))?;
    if vouched.commits.is_none() {
        return Err(ExportError::NoCommits(pack.dir().to_owned()));
    }
    std::fs::create_dir_all(out).map_err(io_at(out))?;
    if out.join(INDEX).exists() {
        let begun = Pack::index_of(out)?;
        if begun.root() != pack.root() {
            return Err(ExportError::OtherSnapshot { dir: out.to_owned(), height: begun.summary.height });
        }
    }
    // The index first: it says what was begun. What vouches for it last: it says that all is there.
    copy(pack.dir(), out, INDEX)?;
    let path = out.join(CHUNKS);
    let file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(io_at(&path))?;
    let (count, mut offset) = (pack.manifest().chunks.len(), 0);
    for (index, chunk) in pack.manifest().chunks.iter().enumerate() {
        let mut held = vec![0; pack.packed_len(index).unwrap_or(0) as usize];
        let whole = file.read_exact_at(&mut held, offset).is_ok() && unpack(chunk, &held).is_ok();
        if !whole {
            held = pack.packed(index)?;
            file.write_all_at(&held, offset).map_err(io_at(&path))?;
        }
        offset += held.len() as u64;
        tell(index + 1, count);
    }
    file.set_len(offset).and_then(|()| file.sync_all()).map_err(io_at(&path))?;
    copy(pack.dir(), out, CERTIFIED)?;
    durable::sync_dir(out).map_err(io_at(out))?;
    Ok(Pack::open(out)?)
}

fn copy(from: &Path, to: &Path, name: &str) -> Result<(), ExportError> {
    let (source, target, part) = (from.join(name), to.join(name), to.join(format!("{name}.part")));
    std::fs::copy(&source, &part).map_err(io_at(&source))?;
    File::open(&part).and_then(|file| file.sync_all()).map_err(io_at(&part))?;
    std::fs::rename(&part, &target).map_err(io_at(&target))
}

/// Checks a snapshot from genesis on: all that [`restore`] puts into a database. What holds here is installed there, and
/// nothing else is.
pub fn verify(dir: &Path, genesis: &Genesis, tell: Tell<'_>) -> Result<Verified, ExportError> {
    if !dir.is_dir() {
        return Err(ExportError::NoDirectory(dir.to_owned()));
    }
    if let Some(missing) = [INDEX, CHUNKS].map(|name| dir.join(name)).into_iter().find(|path| !path.exists()) {
        return Err(ExportError::Missing(missing));
    }
    let pack = Pack::open(dir)?;
    let vouched = Vouched::read(dir)?.ok_or_else(|| ExportError::NotCertified(dir.to_owned()))?;
    let (base, config) = base(&pack, vouched, genesis)?;
    let total = stream::read(&mut pack.stream(tell), |_| Ok::<_, StreamError>(()));
    let total = total.map_err(|error| in_rows(&pack, error))?;
    if total.sum.digest() != base.header.state_digest {
        return Err(ExportError::OtherState(dir.join(CHUNKS)));
    }
    Ok(Verified { pack, base, config })
}

/// A damaged chunk comes out of its reader as an error of the file.
fn in_rows(pack: &Pack, error: StreamError) -> ExportError {
    let rows = |source| ExportError::Rows { path: pack.dir().join(CHUNKS), source };
    match error {
        StreamError::Io(error) => error.downcast().map_or_else(|error| rows(error.into()), ExportError::Pack),
        error => rows(error),
    }
}

/// What a node starts from, once what vouches for it holds.
fn base(pack: &Pack, vouched: Vouched, genesis: &Genesis) -> Result<(Base, Config), ExportError> {
    let refused = |source| ExportError::Vouched { path: pack.dir().join(CERTIFIED), source };
    let Proven { epochs, commits } = vouched.prove(pack, genesis).map_err(refused)?;
    let commits = commits.ok_or_else(|| ExportError::NoCommits(pack.dir().to_owned()))?;
    let start = epochs.last();
    let config = Config {
        chain: epochs.ledger(),
        committee: Arc::new(start.committee.clone()),
        me: AuthorityIndex(0),
        anchor: start.anchor,
        parameters: start.parameters.clone(),
        pacing: Pacing::default(),
    };
    let certificate = vouched.certified.proven_certificate(&start.anchor, epochs.changes());
    let (first, epochs) = (start.anchor.height.next(), epochs.changes().to_vec());
    let base = Base { header: vouched.certified.header, certificate, commits, epochs, first, replay_from: 0 };
    base.checkpoint(&config).map_err(|_| refused(VouchedError::Commits("history_without_its_checkpoint")))?;
    Ok((base, config))
}

/// Makes a verified snapshot the state of a node that has never run. It goes on from there with commits of its peers.
/// Interrupted, it leaves no state, and the next run goes on where it was. Returns the rows that were there already.
pub fn restore(verified: &Verified, data_dir: &Path, identity: [u8; 32], tell: Tell<'_>) -> Result<u64, ExportError> {
    let Verified { pack, base, config } = verified;
    let site = Site::new(data_dir);
    if is_restored(base, data_dir, identity) {
        site.exchange().map_err(io_at(data_dir))?;
        return Ok(pack.manifest().summary.rows);
    }
    for used in [STATE, LOG].map(|name| data_dir.join(name)) {
        if used.exists() {
            return Err(ExportError::InUse(used));
        }
    }
    site.prepare().map_err(io_at(data_dir))?;
    let held =
        site.build(identity, config, base, &pack.root(), &mut pack.stream(tell)).map_err(|error| match error {
            InstallError::Stream(error) => in_rows(pack, error),
            source => ExportError::Install { data_dir: data_dir.to_owned(), source },
        })?;
    site.exchange().map_err(io_at(data_dir))?;
    Ok(held)
}

/// Whether an earlier run was interrupted behind its last step: the state is there, and no node has begun a log over it.
fn is_restored(base: &Base, data_dir: &Path, identity: [u8; 32]) -> bool {
    if data_dir.join(LOG).exists() || !data_dir.join(STATE).exists() {
        return false;
    }
    let applied = StateDb::open_read_only(data_dir.join(STATE), identity).map(Arc::new).map(Tables::new);
    applied.is_ok_and(|tables| matches!(tables.applied(), Ok(Some(applied)) if applied.ledger.header == base.header))
}

#[cfg(test)]
mod tests;
