//! The service around the engines: takes jobs from many threads, has workers close batches and verify them, and hands each
//! job its part of the verdicts.
//!
//! Two workers draw from one queue: the CPU's, which is always there, and where there is a device, the device's. Which batch
//! closes when is [`crate::closing`]; who takes it is `service::cost` by figures and `service::state` by rules; what is
//! believed of a device is `trust`. A device is opened in the background, and the CPU serves until it has passed its test
//! and whenever it is in quarantine.
//!
//! Every accepted job is answered exactly once, also when the service stops (then with [`DeviceFault::Stopped`]).

mod calibration;
mod config;
mod cost;
mod cpu_worker;
mod device_worker;
mod flights;
mod quarantine;
mod serving;
mod state;

pub use self::config::{DeviceConfig, Placement, VerifierConfig};

use self::cpu_worker::CpuWorker;
use self::device_worker::{DeviceWorker, Open};
use self::state::{Shared, State};
use crate::closing::{Load, Origin, Priority, Waiting};
use crate::cpu::{CpuEngine, CpuEngineError};
use crate::device::{Device, DeviceError, DeviceState};
use crate::engine::{DeviceFault, Engine};
use crate::item::Item;
use crate::stats::VerifyStats;
use crate::verdicts::Verdicts;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use thiserror::Error;

/// How long the end of the service waits for a device thread that is inside the device.
const DEVICE_GRACE: Duration = Duration::from_secs(2);

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
    #[error("a worker thread could not be started")]
    Thread(#[from] std::io::Error),
}

/// The service. Share it by reference or `Arc`; dropping it stops the workers and answers what still waits.
pub struct Verifier {
    shared: Arc<Shared>,
    cpu: Option<JoinHandle<()>>,
    device: Option<JoinHandle<()>>,
}

impl Verifier {
    /// Starts the service on the CPU.
    ///
    /// # Errors
    /// [`StartError`] where the system refuses threads or randomness.
    pub fn start(config: VerifierConfig) -> Result<Self, StartError> {
        Self::launch(config, Box::new(CpuEngine::new(config.threads, config.key_cache_entries)?), None)
    }

    /// Starts the service on an engine of one's own in place of the CPU's.
    ///
    /// # Errors
    /// [`StartError`] where the system refuses threads or randomness.
    pub fn start_on(config: VerifierConfig, engine: Box<dyn Engine>) -> Result<Self, StartError> {
        Self::launch(config, engine, None)
    }

    /// Starts the service on the CPU and, once it is open and has passed its test, on a device. `open` runs in the
    /// background; where it fails the CPU has it all.
    ///
    /// # Errors
    /// [`StartError`] where the system refuses threads or randomness.
    pub fn start_with_device(
        config: VerifierConfig,
        open: impl FnOnce() -> Result<Box<dyn Device>, DeviceError> + Send + 'static,
    ) -> Result<Self, StartError> {
        let cpu = CpuEngine::new(config.threads, config.key_cache_entries)?;
        Self::launch(config, Box::new(cpu), Some(Box::new(open)))
    }

    fn launch(config: VerifierConfig, engine: Box<dyn Engine>, open: Option<Open>) -> Result<Self, StartError> {
        let mut state = State::new(&config);
        state.stats.cpu.name = engine.name().to_owned();
        state.stats.engine = engine.name().to_owned();
        if open.is_some() {
            state.device.ended = false;
            state.device.state = DeviceState::Opening;
            state.stats.device.state = DeviceState::Opening;
        }
        let shared = Arc::new(Shared::new(state));
        let worker = CpuWorker { shared: Arc::clone(&shared), engine };
        let cpu = std::thread::Builder::new().name("accel.verify".into()).spawn(move || worker.run())?;
        // From here on a failure drops the verifier, which ends the first worker.
        let mut verifier = Self { shared: Arc::clone(&shared), cpu: Some(cpu), device: None };
        if let Some(open) = open {
            let worker = DeviceWorker { shared, config: config.device, cpu_threads: config.threads };
            let device = std::thread::Builder::new().name("accel.device".into()).spawn(move || worker.run(open));
            if device.is_err() {
                verifier.shared.lock().device.ended = true;
            }
            verifier.device = Some(device?);
        }
        Ok(verifier)
    }

    /// Waits until it is known whether the device serves: [`DeviceState::Serving`], or [`DeviceState::Quarantined`] where its
    /// test failed, or [`DeviceState::Absent`]; or how it is when `timeout` is over.
    pub fn await_device(&self, timeout: Duration) -> DeviceState {
        let until = Instant::now() + timeout;
        let mut state = self.shared.lock();
        while matches!(state.device.state, DeviceState::Opening | DeviceState::SelfTesting) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.device.state
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
        let load = Load::of(&job.items);
        let now = Instant::now();
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        let suspect = state.suspects.is_marked(job.origin, now);
        // A suspect author's rejects would have to be confirmed on the CPU anyway.
        let device = state.device_takes(&load) && !(suspect && matches!(job.origin, Origin::Author(_)));
        let (origin, priority, deadline, items) = (job.origin, job.priority, job.deadline, job.items.len());
        let waiting = Waiting { origin, priority, deadline, items, load, device, suspect, job };
        if let Err(full) = state.queue.push(now, waiting) {
            state.stats.busy += 1;
            let retry_after = full.retry_after.min(state.device_backlog(now).unwrap_or(Duration::MAX));
            let retry_after_ms = u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX).max(1);
            return Err(Busy { retry_after_ms, job: Box::new(full.waiting.job) });
        }
        let (cpu_sleeps, device_sleeps) = state.sleepers(now);
        drop(guard);
        if cpu_sleeps {
            self.shared.cpu.notify_one();
        }
        if device_sleeps {
            self.shared.device.notify_one();
        }
        Ok(())
    }

    /// The counts as of now.
    pub fn stats(&self) -> VerifyStats {
        let state = self.shared.lock();
        let mut stats = state.stats.clone();
        stats.queued = state.queue.items();
        stats.device.audit_waiting = state.audits.items();
        stats.costs = state.cost.figures();
        stats
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        self.shared.cpu.notify_all();
        self.shared.device.notify_all();
        // The last reference may be dropped by a `done`, on a worker itself, which cannot wait for its own end.
        let me = std::thread::current().id();
        if let Some(cpu) = self.cpu.take()
            && cpu.thread().id() != me
            && cpu.join().is_err()
        {
            tracing::error!("the verification worker panicked");
        }
        if let Some(device) = self.device.take()
            && device.thread().id() != me
        {
            if !self.device_has_ended() {
                tracing::warn!("the device does not return; its thread is left behind");
            } else if device.join().is_err() {
                tracing::error!("the device's worker panicked");
            }
        }
        self.shared.stop();
    }
}

impl Verifier {
    fn device_has_ended(&self) -> bool {
        let until = Instant::now() + DEVICE_GRACE;
        let mut state = self.shared.lock();
        while !state.device.ended && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.device.ended
    }
}

/// A panic in a submitter's callback is the submitter's; the worker goes on.
fn answer(done: Done, verdicts: Result<Verdicts, DeviceFault>) {
    if catch_unwind(AssertUnwindSafe(move || done(verdicts))).is_err() {
        tracing::error!("a callback of the verifier panicked");
    }
}
