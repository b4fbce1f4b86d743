//! Certified snapshots outside of a node: copied to a directory chunk by chunk, verified there from genesis alone, and
//! made the state of an empty node. Copying goes on where it was interrupted.

use crate::durable;
use crate::replica::intake::Checker;
use crate::state_sync::certified::Vouched;
use crate::state_sync::history::{Commit, History};
use crate::state_sync::install::{Base, InstallError, Site};
use crate::state_sync::pack::{CERTIFIED, CHUNKS, INDEX, Pack, PackError, Rows, unpack};
use crate::state_sync::snapshots;
use crate::state_sync::stream::{self, StreamError};
use crate::wire::state::{Certified, history_response};
use consensus::{Config, Pacing};
use miette::Diagnostic;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;
use types::{AuthorityIndex, EpochChain, EpochChangeError, EpochStart, Genesis, GenesisError, Height};

/// Why a snapshot cannot be exported, verified or restored.
#[derive(Debug, Error, Diagnostic)]
pub enum ExportError {
    /// There is none.
    #[error("there is no certified snapshot in {}", .0.display())]
    #[diagnostic(help(
        "a node has its first one half of snapshot_interval_heights after the ledger began; `stele snapshot list` shows \
         what there is"
    ))]
    None(PathBuf),
    /// It is not certified.
    #[error("the snapshot in {} is not certified", .0.display())]
    #[diagnostic(help("copying was interrupted; run `stele snapshot create` again"))]
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
    #[diagnostic(help("it was altered or cut; take it from another node"))]
    Pack(#[from] PackError),
    /// A file.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Genesis gives no committee.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// An epoch does not follow.
    #[error("its epochs do not follow from this genesis: {0}")]
    Epoch(#[from] EpochChangeError),
    /// Headers, certificates and manifest do not belong together.
    #[error("it is not what the validators of this genesis have certified: {0}")]
    #[diagnostic(help("it is of another ledger, or forged; do not use it"))]
    NotProven(&'static str),
    /// The rows.
    #[error(transparent)]
    Rows(#[from] StreamError),
    /// It lacks what a node starts from.
    #[error("it can be verified, but no node can start from it: the node that made it lacked the commits below")]
    #[diagnostic(help("export it from another node, or let the new node take a state from its peers"))]
    NoCommits,
    /// There is something already.
    #[error("{} is not empty", .0.display())]
    #[diagnostic(help("a snapshot is restored to a node that has never run; move its log and state away"))]
    InUse(PathBuf),
    /// The database.
    #[error(transparent)]
    Install(#[from] InstallError),
}

/// Chunks that are done, and all of them.
pub type Tell<'a> = &'a mut dyn FnMut(usize, usize);

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> ExportError {
    move |source| ExportError::Io { path: path.to_owned(), source }
}

/// A snapshot that holds from genesis on.
#[derive(Debug)]
pub struct Verified {
    /// The state.
    pub pack: Pack,
    /// What vouches for it.
    pub vouched: Vouched,
    /// The epoch whose committee certified the root.
    pub start: EpochStart,
}

/// Copies the newest certified snapshot of a node, which may run meanwhile. Every chunk is checked on the way.
pub fn create(snapshots_dir: &Path, out: &Path, tell: Tell<'_>) -> Result<Pack, ExportError> {
    let kept = snapshots::list(snapshots_dir).map_err(io_at(snapshots_dir))?;
    let newest = kept.into_iter().rev().flatten().find(|kept| kept.vouched.is_some());
    let pack = newest.ok_or_else(|| ExportError::None(snapshots_dir.to_owned()))?.pack;
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

/// Checks a snapshot from genesis on: epochs, certificates, every chunk, and the sum over all rows.
pub fn verify(dir: &Path, genesis: &Genesis, tell: Tell<'_>) -> Result<Verified, ExportError> {
    let pack = Pack::open(dir)?;
    let vouched = Vouched::read(dir)?.ok_or_else(|| ExportError::NotCertified(dir.to_owned()))?;
    let start = proven(&pack, &vouched, genesis)?;
    let count = pack.manifest().chunks.len();
    let mut rows = Rows::new(count, |index| {
        let rows = pack.rows(index).map_err(io::Error::other)?;
        tell(index + 1, count);
        Ok(rows)
    });
    let total = stream::read(&mut rows, |_| Ok::<_, StreamError>(()))?;
    if total.sum.digest() != vouched.certified.header.state_digest {
        return Err(ExportError::NotProven("the sum over its rows is not that of the header"));
    }
    Ok(Verified { pack, vouched, start })
}

/// What vouches for a snapshot holds from genesis on, and is for this one. Gives the epoch of the root.
fn proven(pack: &Pack, vouched: &Vouched, genesis: &Genesis) -> Result<EpochStart, ExportError> {
    let mut epochs = EpochChain::from_genesis(genesis)?;
    vouched.epochs.iter().cloned().try_for_each(|change| epochs.push(change))?;
    let Certified { header, root, .. } = &vouched.certified;
    let (chain, summary) = (epochs.ledger(), &pack.manifest().summary);
    let Some((root, certificate)) = root else { return Err(ExportError::NotProven("its root is not certified")) };
    let start = epochs.epoch(root.epoch).ok_or(ExportError::NotProven("its epoch is not proven"))?;
    same(root.chain, chain, "its root is of another ledger")?;
    same(root.state_root, pack.root(), "its root is another one")?;
    same(certificate.vote.header, root.digest(), "the certificate is over another header")?;
    let certified = certificate.vote.height == root.height && certificate.verify(chain, &start.committee).is_ok();
    same(certified, true, "the certificate does not hold")?;
    same(summary.chain, chain, "it is of another ledger")?;
    same(summary.header, header.digest(), "its header is another one")?;
    same((summary.height, summary.timestamp), (header.height, header.timestamp), "its height is another one")?;
    Ok(start.clone())
}

fn same<T: PartialEq>(one: T, other: T, what: &'static str) -> Result<(), ExportError> {
    if one == other { Ok(()) } else { Err(ExportError::NotProven(what)) }
}

/// Makes a verified snapshot the state of a node that has never run. It goes on from there with commits of its peers.
pub fn restore(verified: &Verified, data_dir: &Path, identity: [u8; 32], tell: Tell<'_>) -> Result<(), ExportError> {
    let Verified { pack, vouched, start } = verified;
    let site = Site::new(data_dir);
    for used in [crate::config::STATE, crate::config::LOG].map(|name| data_dir.join(name)) {
        if used.exists() {
            return Err(ExportError::InUse(used));
        }
    }
    let (header, chain) = (&vouched.certified.header, vouched.certified.header.chain);
    let committee = Arc::new(start.committee.clone());
    let first = start.anchor.height.next();
    let checker = Checker::new(chain, Arc::clone(&committee), start.parameters.clone());
    let commits = commits(vouched, &checker, first)?;
    let config = Config {
        chain,
        committee,
        me: AuthorityIndex(0),
        anchor: start.anchor,
        parameters: start.parameters.clone(),
        pacing: Pacing::default(),
    };
    let mut certificate = vouched.certified.certificate.clone();
    if let Some(last) = vouched.epochs.last().filter(|last| last.start.anchor.height == header.height) {
        certificate = last.certificate.clone();
    }
    let base =
        Base { header: header.clone(), certificate, commits, epochs: vouched.epochs.clone(), first, replay_from: 0 };
    site.prepare().map_err(io_at(data_dir))?;
    let count = pack.manifest().chunks.len();
    let mut rows = Rows::new(count, |index| {
        let rows = pack.rows(index).map_err(io::Error::other)?;
        tell(index + 1, count);
        Ok(rows)
    });
    site.build(identity, &config, &base, &mut rows)?;
    site.exchange().map_err(io_at(data_dir))?;
    Ok(())
}

/// The commits below the state, checked like those of a peer.
fn commits(vouched: &Vouched, checker: &Checker, first: Height) -> Result<Vec<Commit>, ExportError> {
    let mut history = History::below(&vouched.certified.header, &checker.parameters, first);
    if history.wanted().is_some() {
        let commits = vouched.commits.as_ref().ok_or(ExportError::NoCommits)?;
        history.take(checker, &history_response(commits)).map_err(ExportError::NotProven)?;
        if history.wanted().is_some() {
            return Err(ExportError::NoCommits);
        }
    }
    Ok(history.into_commits())
}
