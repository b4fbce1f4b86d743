//! The GPU beside the threads' own engines: a verifier that has the device, checks what it says, and has a CPU engine for
//! what the device loses.
//!
//! With `--engine gpu` it is opened before the first line is read and takes every chunk. With `auto` it is opened in the
//! background once the input has shown to be long, and takes as many chunks as keep it busy; the threads verify the rest
//! themselves. Deliberately absent: how a device is trusted, which is `accel`'s.

use super::VerifyError;
use super::input::CHUNK_LINES_MAX;
use accel::gpu::{GpuEngine, OpenError, Options, adapters};
use accel::{
    Device, DeviceConfig, DeviceError, DeviceFault, DeviceState, Item, Job, Origin, Placement, Priority, TrustConfig,
    Verdicts, Verifier, VerifierConfig, VerifyStats,
};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Chunks that a device is given at once: several launches of a large card.
pub const CHUNKS_MAX: usize = 48;
/// Longest wait for kernels to compile and known answers to be given.
const START_MAX: Duration = Duration::from_secs(180);
/// Rejects that are verified again on the CPU, a second: nobody else uses this CPU.
const CHECKS_PER_S: u32 = 20_000;

/// A device that serves, or will.
pub struct Gpu {
    verifier: Verifier,
    unopened: Arc<OnceLock<OpenError>>,
    chunks: Arc<AtomicUsize>,
}

/// Whether there is an adapter that `auto` would take.
pub fn present() -> bool {
    adapters().iter().any(|adapter| adapter.unusable.is_none() && !adapter.is_software())
}

impl Gpu {
    /// Opens it in the background. `adapter` is part of a name; a software adapter is taken when it is named.
    ///
    /// # Errors
    /// [`VerifyError::Service`] where threads do not start. A device that does not open never has room.
    pub fn open(adapter: Option<&str>, threads: usize) -> Result<Self, VerifyError> {
        let trust = TrustConfig { client_checks_per_s: CHECKS_PER_S, ..TrustConfig::default() };
        let config = VerifierConfig {
            threads,
            queue_items_max: 2 * CHUNKS_MAX * CHUNK_LINES_MAX,
            device: DeviceConfig { placement: Placement::Device, trust, ..DeviceConfig::default() },
            ..VerifierConfig::default()
        };
        let options = Options {
            adapter: adapter.map(str::to_owned),
            allow_software: adapter.is_some(),
            cache_dir: cache_dir(),
            ..Options::default()
        };
        let unopened = Arc::new(OnceLock::new());
        let why = unopened.clone();
        let open = move || {
            let engine = GpuEngine::open(&options).map_err(|reason| {
                // The first reason is kept.
                why.set(reason.clone()).ok();
                DeviceError::new(reason)
            })?;
            Ok(Box::new(engine) as Box<dyn Device>)
        };
        let verifier = Verifier::start_with_device(config, open).map_err(VerifyError::Service)?;
        Ok(Self { verifier, unopened, chunks: Arc::new(AtomicUsize::new(0)) })
    }

    /// Opens it and waits until it serves.
    ///
    /// # Errors
    /// [`VerifyError::NoGpu`] with the reason why there is none.
    pub fn serving(adapter: Option<&str>, threads: usize) -> Result<Self, VerifyError> {
        let gpu = Self::open(adapter, threads)?;
        match (gpu.verifier.await_device(START_MAX), gpu.unopened.get()) {
            (DeviceState::Serving, _) => Ok(gpu),
            (_, Some(reason)) => Err(VerifyError::NoGpu(reason.clone())),
            (_, None) => Err(VerifyError::GpuFailed),
        }
    }

    /// Whether it serves and has room for a chunk.
    pub fn is_free(&self) -> bool {
        // No wait: how it is now.
        self.chunks.load(Ordering::Relaxed) < CHUNKS_MAX
            && self.verifier.await_device(Duration::ZERO) == DeviceState::Serving
    }

    /// Verifies; `done` is called on another thread. Waits while there is no room.
    pub fn submit(&self, items: Vec<Item>, done: impl FnOnce(Result<Verdicts, DeviceFault>) + Send + 'static) {
        self.chunks.fetch_add(1, Ordering::Relaxed);
        let chunks = self.chunks.clone();
        let mut job = Job {
            origin: Origin::Client(0),
            priority: Priority::Sync,
            deadline: Instant::now() + START_MAX,
            items,
            done: Box::new(move |verdicts| {
                chunks.fetch_sub(1, Ordering::Relaxed);
                done(verdicts);
            }),
        };
        while let Err(busy) = self.verifier.submit(job) {
            std::thread::sleep(Duration::from_millis(busy.retry_after_ms.into()));
            job = *busy.job;
        }
    }

    /// What the device did, and what had to be done for it.
    pub fn stats(&self) -> VerifyStats {
        self.verifier.stats()
    }
}

/// Where compiled kernels are kept: a warm start takes a fraction of a cold one.
fn cache_dir() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let root = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute()).or_else(home)?;
    Some(root.join("stele").join("gpu"))
}
