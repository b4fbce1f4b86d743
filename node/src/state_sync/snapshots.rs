//! The snapshots of this node: the state at each height that the plan names is read once, in order, beside execution; its
//! root is computed for the header that is to carry it, and its chunks are kept in a directory, for peers that take a
//! state and for proofs.
//!
//! Heights and roots are the same on all nodes, so several peers can serve one joiner. One thread owns the directory; a
//! state is read on a thread of its own, at most one at a time. A root that is not known when its height comes is waited
//! for. What a start finds is checked whole, and what is damaged is removed: the next state takes its place.
//!
//! Bounded: [`READS_MAX`] chunks read at a time, a budget of bytes a second, and the newest certified snapshot with those
//! above it on the disk, older ones only while somebody takes them.

mod check;
mod kept;
mod serving;

use crate::durable;
use crate::replica::serve::{Archive, ServeError};
use crate::state_sync::certified::Vouched;
use crate::state_sync::pack::{self, Pack, PackError};
use crate::state_sync::stream::StreamError;
use crate::tables::{TableError, Tables};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use ledger::Approvals;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, Scope};
use std::time::{Duration, Instant};
use storage::state::StateSnapshot;
use thiserror::Error;
use tokio::sync::Semaphore;
use types::{Digest, Genesis, Height, LedgerHeader, Parameters, SnapshotPlan};

pub use kept::list;

/// Chunks read at a time. Full: the request is declined, and asked again.
const READS_MAX: usize = 16;
/// How long a snapshot that another has superseded is kept after it was last asked for.
const LEASE: Duration = Duration::from_secs(120);
/// How often is looked for what is certified, and for what nobody wants.
const LOOK: Duration = Duration::from_secs(2);
/// How often somebody who waits for a root says so.
const SAY: Duration = Duration::from_secs(5);
/// Orders to the thread. Full: execution waits for a moment.
const ORDERS: usize = 16;

/// How a node serves its snapshots, and which it takes.
#[derive(Clone, Debug)]
pub struct Service {
    /// Bytes a second of chunks, to all peers together.
    pub bytes_per_second: u64,
    /// What the ledger began with.
    pub genesis: Arc<Genesis>,
    /// The epoch's parameters.
    pub parameters: Parameters,
    /// The height that the epoch begins behind.
    pub anchor: Height,
    /// Where they are kept.
    pub dir: PathBuf,
}

/// Why there is no root.
#[derive(Debug, Error)]
pub enum RootError {
    /// It was not computed because the state could not be read.
    #[error("the root of the state behind height {height} cannot be computed: {what}")]
    Failed {
        /// Which state.
        height: Height,
        /// What went wrong.
        what: String,
    },
    /// What is needed to compute it is not in the database.
    #[error("the state behind height {0} is gone, and its root is not known")]
    Gone(Height),
    /// The database.
    #[error(transparent)]
    Table(#[from] TableError),
}

enum Order {
    /// Read the state behind a header; the database may be further and hold what was before.
    Take { header: Box<LedgerHeader>, approvals: Box<Approvals>, held: Sender<()> },
    /// End.
    Stop,
}

/// What the keeper of the directory is told.
enum News {
    /// A state was read.
    Taken(Height),
    /// End.
    Stop,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Snapshots(Arc<Shared>);

struct Shared {
    service: Service,
    plan: SnapshotPlan,
    tables: Tables,
    archive: Archive,
    orders: Sender<Order>,
    news: Sender<News>,
    stopping: AtomicBool,
    reads: Arc<Semaphore>,
    state: Mutex<State>,
    /// A root was computed.
    computed: Condvar,
    /// Milliseconds that execution has waited for roots.
    waited_ms: AtomicU64,
    /// Held by a test, it keeps states from being read.
    #[cfg(test)]
    gate: Arc<Mutex<()>>,
}

#[derive(Default)]
struct State {
    kept: BTreeMap<Height, Arc<Kept>>,
    /// Roots of states that were read in this run, or why they could not be.
    roots: BTreeMap<Height, Result<Digest, String>>,
    reading: Option<Height>,
    /// When the budget allows the next chunk.
    budget_at: Option<Instant>,
}

/// A snapshot on the disk.
struct Kept {
    pack: Pack,
    /// First segment of the log that is needed with it; none where the log has not all that a joiner needs from it.
    segment: Option<u64>,
    /// What vouches for it, once it is known; also in its directory.
    vouched: Mutex<Option<Arc<Vouched>>>,
    /// When it was last asked for.
    used: Mutex<Option<Instant>>,
}

impl Snapshots {
    /// Starts the thread. What the directory holds is kept, as far as it is whole; that is looked at beside what follows.
    pub fn start(service: Service, tables: Tables, archive: Archive) -> io::Result<(Self, JoinHandle<()>)> {
        let (orders, queue) = bounded(ORDERS);
        let (news, heard) = bounded(ORDERS);
        let plan = SnapshotPlan::new(service.anchor, service.parameters.snapshot_interval_heights);
        let shared = Arc::new(Shared {
            service,
            plan,
            tables,
            archive,
            orders,
            news,
            stopping: AtomicBool::new(false),
            reads: Arc::new(Semaphore::new(READS_MAX)),
            state: Mutex::default(),
            computed: Condvar::new(),
            waited_ms: AtomicU64::new(0),
            #[cfg(test)]
            gate: Arc::default(),
        });
        shared.load()?;
        let owned = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("snapshots".into()).spawn(move || owned.run(&queue, &heard))?;
        Ok((Self(shared), thread))
    }

    /// Takes the state behind a header. Waits until it is held, which takes no I/O; it is read meanwhile.
    pub fn take(&self, header: &LedgerHeader, approvals: Approvals) {
        let (held, done) = bounded(1);
        let order = Order::Take { header: Box::new(header.clone()), approvals: Box::new(approvals), held };
        if self.0.orders.send(order).is_ok() {
            // It fails only when the thread is gone.
            let _ = done.recv();
        }
    }

    /// The root of a state that was taken in this run, if it is known.
    pub fn root_if_known(&self, height: Height) -> Option<Digest> {
        self.0.lock().roots.get(&height)?.as_ref().ok().copied()
    }

    /// The root of a state that was taken in this run; waits for it.
    pub fn root(&self, height: Height) -> Result<Digest, RootError> {
        let begun = Instant::now();
        let mut state = self.0.lock();
        let mut said = 0;
        loop {
            match state.roots.get(&height) {
                Some(Ok(root)) => {
                    self.0.waited_ms.fetch_add(begun.elapsed().as_millis() as u64, Ordering::Relaxed);
                    return Ok(*root);
                }
                Some(Err(what)) => return Err(RootError::Failed { height, what: what.clone() }),
                None if state.reading != Some(height) => return Err(RootError::Gone(height)),
                None => {}
            }
            let (back, timeout) = self.0.computed.wait_timeout(state, SAY).unwrap_or_else(PoisonError::into_inner);
            state = back;
            if timeout.timed_out() {
                said += SAY.as_secs();
                tracing::warn!(
                    height = height.0,
                    waited_s = said,
                    "execution waits for the root of an earlier state; snapshot_interval_heights is too small for this state and disk"
                );
            }
        }
    }

    /// How long execution has waited for roots since the start.
    pub fn waited(&self) -> Duration {
        Duration::from_millis(self.0.waited_ms.load(Ordering::Relaxed))
    }

    /// The first segment of the log that those who take a state from here need; none where nothing is kept.
    pub fn first_segment(&self) -> Option<u64> {
        self.0.lock().kept.values().filter_map(|kept| kept.segment).min()
    }

    /// While it is locked no state is read.
    #[cfg(test)]
    pub fn gate(&self) -> Arc<Mutex<()>> {
        Arc::clone(&self.0.gate)
    }

    /// Ends the thread.
    pub fn stop(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
        // Full: it looks for itself.
        drop(self.0.news.try_send(News::Stop));
        drop(self.0.orders.send(Order::Stop));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the maps whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    fn run(&self, queue: &Receiver<Order>, heard: &Receiver<News>) {
        let database = self.tables.database();
        std::thread::scope(|scope| {
            // Execution waits for a state to be held, so whoever writes and syncs files is somebody else.
            let keeper = std::thread::Builder::new().name("snapshot-files".into());
            if let Err(error) = keeper.spawn_scoped(scope, || self.tend(heard)) {
                tracing::error!(%error, "snapshots are not kept");
            }
            let checker = std::thread::Builder::new().name("snapshot-check".into());
            if let Err(error) = checker.spawn_scoped(scope, || self.check_chunks()) {
                tracing::warn!(%error, "snapshots are not checked before they are read");
            }
            while let Ok(Order::Take { header, approvals, held }) = queue.recv() {
                let snapshot = database.snapshot();
                self.lock().reading = Some(header.height);
                drop(held);
                self.start_reading(scope, snapshot, *header, *approvals);
            }
        });
    }

    /// Tends the directory.
    fn tend(&self, heard: &Receiver<News>) {
        self.check_vouched();
        let mut looked = Instant::now();
        loop {
            match heard.recv_timeout(LOOK) {
                Ok(News::Taken(height)) => self.keep(height),
                Ok(News::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.is_stopping() {
                return;
            }
            if looked.elapsed() >= LOOK {
                self.look();
                looked = Instant::now();
            }
        }
    }

    fn start_reading<'scope, 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        snapshot: StateSnapshot<'env>,
        header: LedgerHeader,
        approvals: Approvals,
    ) where
        'env: 'scope,
    {
        let height = header.height;
        let read = move || {
            let begun = Instant::now();
            #[cfg(test)]
            drop(self.gate.lock());
            let result = self.read(&snapshot, &header, &approvals);
            let mut state = self.lock();
            let result = result.map_err(|error| error.to_string());
            match &result {
                Ok(root) => {
                    let ms = begun.elapsed().as_millis() as u64;
                    tracing::info!(height = height.0, %root, ms, "the root of the state is computed");
                }
                Err(what) => tracing::error!(height = height.0, %what, "the state could not be read"),
            }
            state.roots.insert(height, result);
            while state.roots.len() > 2 {
                state.roots.pop_first();
            }
            state.reading.take_if(|reading| *reading == height);
            drop(state);
            self.computed.notify_all();
            // Full while files are slow: the state is found at the next start.
            drop(self.news.try_send(News::Taken(height)));
        };
        let spawned = std::thread::Builder::new().name("snapshot".into()).spawn_scoped(scope, read);
        if let Err(error) = spawned {
            let mut state = self.lock();
            state.roots.insert(height, Err(error.to_string()));
            state.reading = None;
            self.computed.notify_all();
        }
    }

    /// Reads a state into its directory, and gives its root. The root is what execution waits for: files that fail cost the
    /// snapshot alone.
    fn read(
        &self,
        snapshot: &StateSnapshot<'_>,
        header: &LedgerHeader,
        approvals: &Approvals,
    ) -> Result<Digest, StreamError> {
        let (part, whole) = (self.dir_of(header.height, ".part"), self.dir_of(header.height, ""));
        let not_kept = |error: io::Error| {
            tracing::error!(height = header.height.0, dir = %self.service.dir.display(), %error, "the snapshot is not kept");
        };
        let cleared = [&part, &whole].into_iter().try_for_each(|old| durable::remove_dir(old));
        let dir = cleared.is_ok().then_some(part.as_path());
        cleared.unwrap_or_else(not_kept);
        let root_height = self.plan.root_height(header.height);
        let (manifest, written) = pack::pack(snapshot, header, approvals, root_height, dir, &self.stopping)?;
        if written {
            let placed = std::fs::rename(&part, &whole).and_then(|()| durable::sync_dir(&self.service.dir));
            // What is not in place is found to be missing when the directory is read.
            placed.unwrap_or_else(not_kept);
        }
        Ok(manifest.root())
    }
}

/// Why a snapshot cannot be served.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The rows.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The log.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The snapshot.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// A file.
    #[error(transparent)]
    Io(#[from] io::Error),
}

#[cfg(test)]
mod tests;
