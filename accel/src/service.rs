//! The service around the engines: takes jobs from many threads, runs one worker that closes batches and verifies them,
//! and hands each job its part of the verdicts.
//!
//! Every accepted job is answered exactly once, also when the service stops (then with [`DeviceFault::Stopped`]).
//! Which batch closes when is [`crate::closing`]; what a faulting device leads to is `engines`.

mod engines;

use self::engines::Engines;
use crate::closing::{Closed, Limits, Origin, Priority, Queue, Waiting};
use crate::cpu::{CpuEngine, CpuEngineError};
use crate::engine::{DeviceFault, Engine};
use crate::item::{Batch, Item, Path};
use crate::stats::VerifyStats;
use crate::suspects::Suspects;
use crate::verdicts::Verdicts;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use thiserror::Error;

/// The knobs of a [`Verifier`].
#[derive(Clone, Copy, Debug)]
pub struct VerifierConfig {
    /// Threads of the CPU engine. Default 1, at least 1.
    pub threads: usize,
    /// A batch closes at once with this many items. Default 1,024.
    pub batch_items_max: usize,
    /// How long the oldest job waits for company while the engine is idle, in microseconds. Default 500.
    pub linger_us: u32,
    /// Items that may wait in all. Default 65,536.
    pub queue_items_max: usize,
    /// Decoded keys to remember, about 450 bytes each. Default 32,768.
    pub key_cache_entries: usize,
}

impl Default for VerifierConfig {
    fn default() -> Self {
        Self { threads: 1, batch_items_max: 1024, linger_us: 500, queue_items_max: 65_536, key_cache_entries: 32_768 }
    }
}

/// Takes the verdicts of a job, in the order of its items, on the worker's thread: keep it short.
pub type Done = Box<dyn FnOnce(Result<Verdicts, DeviceFault>) + Send>;

/// Items of one origin that are answered together. Never split over batches.
pub struct Job {
    /// Who answers for the items.
    pub origin: Origin,
    /// What the verdicts are for.
    pub priority: Priority,
    /// When the verdicts are wanted. A late job is verified all the same.
    pub deadline: Instant,
    /// What to verify.
    pub items: Vec<Item>,
    /// Called exactly once if the job is accepted.
    pub done: Done,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("origin", &self.origin)
            .field("priority", &self.priority)
            .field("items", &self.items.len())
            .finish_non_exhaustive()
    }
}

/// No room: try again later. Holds the job.
#[derive(Debug, Error)]
#[error("the verification queue is full, retry in {retry_after_ms} ms")]
pub struct Busy {
    /// When there is room again, by the present speed; at least 1.
    pub retry_after_ms: u32,
    /// What was refused.
    pub job: Box<Job>,
}

/// Why a verifier could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// The CPU engine could not be made.
    #[error(transparent)]
    Cpu(#[from] CpuEngineError),
    /// The worker thread could not be started.
    #[error("the worker thread could not be started")]
    Thread(#[from] std::io::Error),
}

/// The service. Share it by reference or `Arc`; dropping it stops the worker and answers what still waits.
pub struct Verifier {
    shared: Arc<Shared>,
    worker: Option<JoinHandle<()>>,
}

/// One lock for the waiting jobs and the counts: submitters hold it for one insertion, the worker to take a batch.
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

struct State {
    queue: Queue<Job>,
    suspects: Suspects,
    stats: VerifyStats,
    /// When the worker, if it waits, wakes by itself.
    asleep_until: Option<Option<Instant>>,
    stopping: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code under the lock leaves the state half changed, so what a panicking thread left is good.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Verifier {
    /// Starts the service on the CPU.
    ///
    /// # Errors
    /// [`StartError`] where the system refuses threads or randomness.
    pub fn start(config: VerifierConfig) -> Result<Self, StartError> {
        Self::start_on(config, None)
    }

    /// Starts the service on a device, with the CPU for what the device does not take and for when it fails.
    ///
    /// # Errors
    /// [`StartError`] where the system refuses threads or randomness.
    pub fn start_with_device(config: VerifierConfig, device: Box<dyn Engine>) -> Result<Self, StartError> {
        Self::start_on(config, Some(device))
    }

    fn start_on(config: VerifierConfig, device: Option<Box<dyn Engine>>) -> Result<Self, StartError> {
        let cpu = CpuEngine::new(config.threads, config.key_cache_entries)?;
        let limits = Limits {
            batch_items_max: config.batch_items_max.max(1),
            linger: Duration::from_micros(config.linger_us.into()),
            queue_items_max: config.queue_items_max,
        };
        let stats = VerifyStats { engine: cpu.name(), ..VerifyStats::default() };
        let state = State {
            queue: Queue::new(limits),
            suspects: Suspects::default(),
            stats,
            asleep_until: None,
            stopping: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), wake: Condvar::new() });
        let worker = Worker { shared: Arc::clone(&shared), engines: Engines::new(Box::new(cpu), device) };
        let worker = std::thread::Builder::new().name("accel.verify".into()).spawn(move || worker.run())?;
        Ok(Self { shared, worker: Some(worker) })
    }

    /// Hands in a job; its `done` is called with the verdicts.
    ///
    /// # Errors
    /// [`Busy`] with the job where there is no room for it.
    pub fn submit(&self, job: Job) -> Result<(), Busy> {
        if job.items.is_empty() {
            (job.done)(Ok(Verdicts::all_invalid(0)));
            return Ok(());
        }
        let now = Instant::now();
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        let suspect = state.suspects.is_marked(job.origin, now);
        let (origin, priority, deadline, items) = (job.origin, job.priority, job.deadline, job.items.len());
        if let Err(full) = state.queue.push(now, Waiting { origin, priority, deadline, items, suspect, job }) {
            state.stats.busy += 1;
            let retry_after_ms = u32::try_from(full.retry_after.as_millis()).unwrap_or(u32::MAX).max(1);
            return Err(Busy { retry_after_ms, job: Box::new(full.waiting.job) });
        }
        let next = state.queue.next_close();
        let sleeps_too_long = match (state.asleep_until, next) {
            (Some(Some(until)), Some(next)) => next < until,
            (Some(None), _) => true,
            _ => false,
        };
        drop(guard);
        if sleeps_too_long {
            self.shared.wake.notify_one();
        }
        Ok(())
    }

    /// The counts as of now.
    pub fn stats(&self) -> VerifyStats {
        let state = self.shared.lock();
        VerifyStats { queued: state.queue.items(), ..state.stats.clone() }
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        self.shared.wake.notify_one();
        if let Some(worker) = self.worker.take() {
            // The last reference may be dropped by a `done`, on the worker itself, which cannot wait for its own end.
            if worker.thread().id() != std::thread::current().id() && worker.join().is_err() {
                tracing::error!("the verification worker panicked");
            }
        }
    }
}

struct Worker {
    shared: Arc<Shared>,
    engines: Engines,
}

impl Worker {
    fn run(mut self) {
        while let Some(closed) = self.next_batch() {
            self.verify(closed);
        }
        let left = self.shared.lock().queue.drain();
        left.into_iter().for_each(|waiting| answer(waiting.job.done, Err(DeviceFault::Stopped)));
    }

    /// Waits for a batch; `None` when the service stops.
    fn next_batch(&self) -> Option<Closed<Job>> {
        let mut state = self.shared.lock();
        loop {
            if state.stopping {
                return None;
            }
            let now = Instant::now();
            if let Some(closed) = state.queue.close(now) {
                return Some(closed);
            }
            let next = state.queue.next_close();
            state.asleep_until = Some(next);
            state = match next {
                Some(next) => {
                    let wait = next.saturating_duration_since(now);
                    self.shared.wake.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
            state.asleep_until = None;
        }
    }

    fn verify(&mut self, closed: Closed<Job>) {
        let mut items = Vec::new();
        let mut parts = Vec::with_capacity(closed.jobs.len());
        for Waiting { origin, mut job, .. } in closed.jobs {
            let start = items.len();
            if items.is_empty() {
                // Most batches of blocks are one job: its items are taken as they are.
                items = std::mem::take(&mut job.items);
            } else {
                items.append(&mut job.items);
            }
            parts.push((origin, start..items.len(), job.done));
        }
        let path = if closed.suspect { Path::Singly } else { Path::Together };
        let batch = Batch::new(items, path);
        let start = Instant::now();
        let ran = self.engines.verify(&batch, start);
        let elapsed = start.elapsed();

        let answers: Vec<_> = parts
            .into_iter()
            .map(|(origin, range, done)| {
                (origin, done, ran.verdicts.as_ref().map(|all| all.slice(range)).map_err(|f| *f))
            })
            .collect();
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        state.queue.observe(batch.len(), closed.suspect, elapsed);
        let invalid = ran.verdicts.as_ref().map_or(0, |all| all.len() - all.valid_count());
        let run_ns = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        state.stats.count_batch(ran.engine, batch.len(), invalid, run_ns);
        state.stats.suspect_items += if closed.suspect { batch.len() as u64 } else { 0 };
        state.stats.device_faults += u64::from(ran.device_faulted);
        (state.stats.key_cache_hits, state.stats.key_cache_misses) = self.engines.key_cache_counts();
        let now = Instant::now();
        for (origin, _, verdicts) in &answers {
            if verdicts.as_ref().is_ok_and(|verdicts| !verdicts.all_valid()) {
                state.suspects.mark(*origin, now);
            }
        }
        drop(guard);
        answers.into_iter().for_each(|(_, done, verdicts)| answer(done, verdicts));
    }
}

/// A panic in a submitter's callback is the submitter's; the worker goes on.
fn answer(done: Done, verdicts: Result<Verdicts, DeviceFault>) {
    if catch_unwind(AssertUnwindSafe(move || done(verdicts))).is_err() {
        tracing::error!("a callback of the verifier panicked");
    }
}
