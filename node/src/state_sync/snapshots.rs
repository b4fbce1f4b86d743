//! The states that this node keeps for others: a snapshot of the database at every so many heights, written to a file
//! when somebody asks for it, served in chunks, and given up when nobody has asked for a while.
//!
//! Heights are the same on all nodes and so are the files, which is why several peers can serve one joiner. One thread
//! holds the snapshots; a file is written on a thread of its own. Bounded: [`EXPORTS_MAX`] files, [`READS_MAX`] chunks
//! read at a time, and a budget of bytes a second.

use crate::replica::serve::{Archive, ServeError};
use crate::state_sync::stream::{self, StreamError};
use crate::tables::Tables;
use crate::wire::state::{
    CHUNK_BYTES, CHUNKS_MAX, Manifest, ManifestResponse, Offer, OffersResponse, StateRequest, chunk_digest,
    history_response,
};
use bytes::Bytes;
use consensus::Checkpoint;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use ledger::Approvals;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, Scope};
use std::time::{Duration, Instant};
use storage::state::StateSnapshot;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use transport::Reply;
use types::{Digest, Encode, Height, Parameters};

/// Files at a time.
const EXPORTS_MAX: usize = 2;
/// Chunks read at a time. Full: the request is declined, and asked again.
const READS_MAX: usize = 4;
/// How long a file is kept after it was last asked for.
const LEASE: Duration = Duration::from_secs(120);
/// How often is looked for files that nobody wants.
const LOOK: Duration = Duration::from_secs(5);
/// A chunk that would wait longer than this for the budget is declined.
const BUDGET_WAIT_MAX: Duration = Duration::from_secs(2);
/// Orders to the thread. Full: execution waits for a moment.
const ORDERS: usize = 16;

/// What a node serves, and how much of it.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// Heights between two snapshots; 0 for none.
    pub every_heights: u64,
    /// Bytes a second of chunks, to all peers together.
    pub bytes_per_second: u64,
}

enum Order {
    /// Hold the state as it is now.
    Hold { height: Height, held: Sender<()> },
    /// Write a held state to a file.
    Export(Height),
    /// End.
    Stop,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Snapshots(Arc<Shared>);

struct Shared {
    service: Service,
    parameters: Parameters,
    /// Height of the epoch's first commit.
    first: Height,
    dir: PathBuf,
    tables: Tables,
    archive: Archive,
    orders: Sender<Order>,
    stopping: AtomicBool,
    reads: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Held heights, with the first segment of the log that somebody who takes this state needs from us; none until it
    /// is known that the log still has all of it.
    held: BTreeMap<Height, Option<u64>>,
    exports: BTreeMap<Height, Arc<Export>>,
    exporting: Option<Height>,
    /// When the budget allows the next chunk.
    budget_at: Option<Instant>,
}

/// A state in a file.
struct Export {
    manifest: Manifest,
    digest: Digest,
    file: File,
    path: PathBuf,
    /// First segment of the log that is needed with it.
    segment: u64,
    used: Mutex<Instant>,
}

impl Snapshots {
    /// Starts the thread, in an epoch with these parameters whose first commit has this height. `dir` is emptied.
    pub fn start(
        service: Service,
        (parameters, first): (Parameters, Height),
        dir: PathBuf,
        tables: Tables,
        archive: Archive,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let (orders, queue) = bounded(ORDERS);
        let shared = Arc::new(Shared {
            service,
            parameters,
            first,
            dir,
            tables,
            archive,
            orders,
            stopping: AtomicBool::new(false),
            reads: Arc::new(Semaphore::new(READS_MAX)),
            state: Mutex::default(),
        });
        let owned = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("snapshots".into()).spawn(move || owned.run(&queue))?;
        Ok((Self(shared), thread))
    }

    /// The state is behind `height` now: holds it if one is due. Waits until it is held, which takes no I/O.
    pub fn executed(&self, height: Height) {
        let every = self.0.service.every_heights;
        if every > 0 && height.0.is_multiple_of(every) {
            self.hold(height);
        }
    }

    /// Holds the state, which is behind `height` now, if any is to be held at all: after a start.
    pub fn recovered(&self, height: Height) {
        if self.0.service.every_heights > 0 && height > Height(0) {
            self.hold(height);
        }
    }

    fn hold(&self, height: Height) {
        let (held, done) = bounded(1);
        if self.0.orders.send(Order::Hold { height, held }).is_ok() {
            // It fails only when the thread is gone.
            let _ = done.recv();
        }
    }

    /// The first segment of the log that those who take a state from here need; none where nothing is held.
    pub fn first_segment(&self) -> Option<u64> {
        let state = self.0.lock();
        let exports = state.exports.values().map(|export| export.segment);
        state.held.values().flatten().copied().chain(exports).min()
    }

    /// Ends the thread.
    pub fn stop(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
        drop(self.0.orders.send(Order::Stop));
    }

    /// Answers a peer.
    pub fn answer(&self, network: &Handle, request: StateRequest, reply: Reply) {
        let shared = Arc::clone(&self.0);
        let StateRequest::Chunk { manifest, index } = request else {
            network.spawn_blocking(move || match shared.small_answer(&request) {
                Ok(answer) => {
                    let _ = answer.map(|answer| reply.send(answer));
                }
                Err(error) => tracing::error!(%error, "a snapshot could not be served"),
            });
            return;
        };
        // Both limits decline: the peer asks again, or another.
        let Ok(permit) = Arc::clone(&self.0.reads).try_acquire_owned() else { return };
        let Some(wait) = shared.budget() else { return };
        network.spawn(async move {
            tokio::time::sleep(wait).await;
            let read = tokio::task::spawn_blocking(move || shared.chunk(&manifest, index)).await;
            if let Ok(Some(chunk)) = read {
                // A peer that has gone away asks again when it is back.
                let _ = reply.send(chunk);
            }
            drop(permit);
        });
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the maps whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, queue: &Receiver<Order>) {
        let database = self.tables.database();
        std::thread::scope(|scope| {
            let mut snapshots: BTreeMap<Height, Arc<StateSnapshot<'_>>> = BTreeMap::new();
            loop {
                match queue.recv_timeout(LOOK) {
                    Ok(Order::Hold { height, held }) => {
                        snapshots.insert(height, Arc::new(database.snapshot()));
                        self.lock().held.insert(height, None);
                        drop(held);
                        self.note_held(height, &mut snapshots);
                    }
                    Ok(Order::Export(height)) => self.start_export(scope, height, snapshots.get(&height)),
                    Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => self.expire(),
                }
            }
        });
    }

    /// A new state is held; of the others, those that a certified one has superseded go.
    fn note_held(&self, height: Height, snapshots: &mut BTreeMap<Height, Arc<StateSnapshot<'_>>>) {
        let segment = self.first_needed(height).unwrap_or_else(|error| {
            tracing::error!(%error, height = height.0, "the commits below a snapshot cannot be read");
            None
        });
        let certified = |height: &Height| self.tables.certificate(*height).is_ok_and(|found| found.is_some());
        let keep_from = snapshots.keys().rev().find(|held| certified(held)).copied().unwrap_or(Height(0));
        snapshots.retain(|held, _| *held >= keep_from);
        // Without a certificate for long, the two newest are enough.
        while snapshots.len() > 2 {
            snapshots.pop_first();
        }
        let mut state = self.lock();
        state.held.insert(height, segment);
        state.held.retain(|held, _| snapshots.contains_key(held));
    }

    /// The first segment of the log with a block that a joiner at this height needs from us; `None` where the log has
    /// given one up.
    fn first_needed(&self, height: Height) -> Result<Option<u64>, ServeError> {
        let Some(top) = self.tables.commit_record(height)? else { return Ok(None) };
        let gc_round = top.leader.round.saturating_sub(self.parameters.gc_depth_rounds);
        let schedule = Checkpoint::rebuilt_from(&self.parameters, self.first, height);
        let mut first = u64::MAX;
        for below in (self.first.0..=height.0).rev().map(Height) {
            let Some(record) = self.tables.commit_record(below)? else { return Ok(None) };
            for block in &record.blocks {
                match self.tables.block_place(&block.digest)? {
                    Some(place) => first = first.min(place.block.segment),
                    None if self.tables.synced_header(block)?.is_some() => {}
                    None => return Ok(None),
                }
            }
            if below <= schedule && record.leader.round <= gc_round.next() {
                break;
            }
        }
        Ok(Some(first).filter(|first| *first >= self.archive.first_segment()))
    }

    fn small_answer(&self, request: &StateRequest) -> Result<Option<Bytes>, ServeError> {
        match request {
            StateRequest::Offers => Ok(Some(self.offers()?.to_bytes().into())),
            StateRequest::Manifest(digest) => {
                let Some(export) = self.export_of(digest) else { return Ok(None) };
                let height = export.manifest.height;
                let (header, certificate) = (self.tables.header(height)?, self.tables.certificate(height)?);
                Ok(header.zip(certificate).map(|(header, certificate)| {
                    let manifest = export.manifest.clone();
                    ManifestResponse { manifest, header, certificate }.to_bytes().into()
                }))
            }
            StateRequest::History { top, bottom } => Ok(Some(history_response(&self.archive.history(*top, *bottom)?))),
            StateRequest::Chunk { .. } => Ok(None),
        }
    }

    /// What is ready. The newest state that has a certificate is written to a file if it is in none.
    fn offers(&self) -> Result<OffersResponse, ServeError> {
        let mut wanted = None;
        let held: Vec<Height> = {
            let state = self.lock();
            state.held.iter().filter(|(_, segment)| segment.is_some()).map(|(height, _)| *height).collect()
        };
        for height in held.into_iter().rev() {
            if self.tables.certificate(height)?.is_some() {
                wanted = Some(height);
                break;
            }
        }
        let mut state = self.lock();
        let newest = state.exports.keys().last().copied();
        if let Some(height) = wanted.filter(|height| newest.is_none_or(|newest| newest < *height))
            && state.exporting.is_none()
            && state.exports.len() < EXPORTS_MAX
            && self.orders.try_send(Order::Export(height)).is_ok()
        {
            state.exporting = Some(height);
        }
        let offer = |export: &Arc<Export>| Offer {
            height: export.manifest.height,
            manifest: export.digest,
            bytes: export.manifest.bytes,
        };
        // A state that is held and not certified yet will be.
        let preparing = state.exporting.is_some() || (state.exports.is_empty() && !state.held.is_empty());
        Ok(OffersResponse { offers: state.exports.values().map(offer).collect(), preparing })
    }

    fn export_of(&self, manifest: &Digest) -> Option<Arc<Export>> {
        let export = self.lock().exports.values().find(|export| export.digest == *manifest).cloned()?;
        *export.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        Some(export)
    }

    fn chunk(&self, manifest: &Digest, index: u32) -> Option<Bytes> {
        let export = self.export_of(manifest)?;
        let mut chunk = vec![0; export.manifest.chunk_bytes(index as usize)?];
        match export.file.read_exact_at(&mut chunk, u64::from(index) * CHUNK_BYTES as u64) {
            Ok(()) => Some(chunk.into()),
            Err(error) => {
                tracing::error!(%error, "a chunk of a snapshot could not be read");
                None
            }
        }
    }

    /// How long a chunk has to wait; `None` where that is too long.
    fn budget(&self) -> Option<Duration> {
        let now = Instant::now();
        let mut state = self.lock();
        let at = state.budget_at.map_or(now, |at| at.max(now));
        let wait = at - now;
        if wait > BUDGET_WAIT_MAX {
            return None;
        }
        let cost = Duration::from_secs_f64(CHUNK_BYTES as f64 / self.service.bytes_per_second as f64);
        state.budget_at = Some(at + cost);
        Some(wait)
    }

    fn start_export<'scope, 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        height: Height,
        snapshot: Option<&Arc<StateSnapshot<'env>>>,
    ) where
        'env: 'scope,
    {
        let Some(snapshot) = snapshot.cloned() else {
            self.lock().exporting = None;
            return;
        };
        scope.spawn(move || {
            let begun = Instant::now();
            let exported = self.export(height, &snapshot);
            let mut state = self.lock();
            state.exporting = None;
            match exported {
                Ok(Some(export)) => {
                    let (bytes, ms) = (export.manifest.bytes, begun.elapsed().as_millis() as u64);
                    tracing::info!(height = height.0, bytes, ms, "a snapshot of the state is ready for peers");
                    state.exports.insert(height, Arc::new(export));
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, height = height.0, "a snapshot of the state could not be written")
                }
            }
        });
    }

    fn export(&self, height: Height, snapshot: &StateSnapshot<'_>) -> Result<Option<Export>, StreamError> {
        let Some(segment) = self.lock().held.get(&height).copied().flatten() else { return Ok(None) };
        let approvals = match Tables::applied_in(snapshot) {
            Ok(applied) => applied.map_or_else(Approvals::default, |applied| applied.ledger.approvals),
            Err(_) => return Ok(None),
        };
        std::fs::create_dir_all(&self.dir)?;
        let path = self.dir.join(format!("state-{height}"));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
        let mut out = Chunked { file: &file, chunk: Vec::new(), digests: Vec::new(), bytes: 0, stop: &self.stopping };
        stream::write(snapshot, &approvals, &mut out)?;
        out.close()?;
        let Chunked { digests: chunks, bytes, .. } = out;
        let header = match self.tables.header(height) {
            Ok(Some(header)) => header.digest(),
            _ => return Ok(None),
        };
        let manifest = Manifest { height, header, bytes, chunks };
        let digest = manifest.digest();
        Ok(Some(Export { manifest, digest, file, path, segment, used: Mutex::new(Instant::now()) }))
    }

    /// Removes files that nobody has asked for lately.
    fn expire(&self) {
        self.lock().exports.retain(|_, export| {
            let used = *export.used.lock().unwrap_or_else(PoisonError::into_inner);
            let keep = used.elapsed() < LEASE;
            if !keep && let Err(error) = std::fs::remove_file(&export.path) {
                tracing::warn!(%error, "a snapshot's file could not be removed");
            }
            keep
        });
    }
}

/// A file that notes the digest of each chunk as it grows.
struct Chunked<'a> {
    file: &'a File,
    chunk: Vec<u8>,
    digests: Vec<Digest>,
    bytes: u64,
    stop: &'a AtomicBool,
}

impl Chunked<'_> {
    fn close(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        if self.stop.load(Ordering::Relaxed) || self.digests.len() == CHUNKS_MAX {
            return Err(io::Error::other("the node stops, or the state is too large"));
        }
        self.file.write_all(&self.chunk)?;
        self.digests.push(chunk_digest(&self.chunk));
        self.bytes += self.chunk.len() as u64;
        self.chunk.clear();
        Ok(())
    }
}

impl Write for Chunked<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = CHUNK_BYTES - self.chunk.len();
        let taken = bytes.len().min(room);
        self.chunk.extend_from_slice(&bytes[..taken]);
        if self.chunk.len() == CHUNK_BYTES {
            self.close()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
