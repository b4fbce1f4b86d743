//! The GPU engine: exact verdicts on any adapter with Vulkan and 64-bit integers in shaders, through wgpu.
//!
//! One thread a signature, no randomness, the same control flow whatever the bytes are. A launch is three passes: prepare
//! the keys that the device has not seen (decode, tables of multiples), hash and recode, verify. Keys stay in a table on the
//! device until others need the room, so a frequent account's key is decoded once.
//!
//! | file | what it owns |
//! |---|---|
//! | `adapter` | which adapters there are, which one is taken |
//! | `connection` | one open device and what went wrong on it |
//! | `kernel`, `ed25519`, `weierstrass` | sources and constants of the kernels |
//! | `pipelines` | compiled kernels, the driver's cache on disk |
//! | `keys`, `pack` | which key lies where; items as words |
//! | `slot` | the ring of buffers; one launch |
//!
//! Nothing here trusts the device: [`crate::Device`] says who checks it.

mod adapter;
mod ceiling;
mod compress;
mod connection;
mod ed25519;
mod field;
mod kernel;
mod keys;
mod pack;
mod pipelines;
mod session;
mod slot;
mod tree;
mod weierstrass;

pub use self::adapter::{AdapterFacts, OpenError, Unusable, adapters};
pub use self::ceiling::{Ceiling, ceilings};
pub use self::tree::TreeEngine;

use self::session::Session;
use crate::device::{Device, Ticket};
use crate::engine::{DeviceFault, Engine};
use crate::item::Batch;
use crate::verdicts::Verdicts;
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use types::AlgId;

/// The algorithms that have a kernel.
pub const ALGORITHMS: [AlgId; 4] = [AlgId::Ed25519, AlgId::Sm2Sm3, AlgId::EcdsaP256, AlgId::EcdsaSecp256k1];

/// How to open an engine.
#[derive(Clone, Debug)]
pub struct Options {
    /// Part of the adapter's name. Default: the best that is no software driver.
    pub adapter: Option<String>,
    /// Whether a software driver (Mesa's lavapipe) will do. Default no: the CPU engine is faster.
    pub allow_software: bool,
    /// Where the driver's compiled kernels are kept between starts. Default: nowhere.
    pub cache_dir: Option<PathBuf>,
    /// Items of a launch. Default 16,896: a warp for each scheduler of 132 multiprocessors. Range 64 to 1,048,576; less where
    /// the device's buffers are smaller.
    pub slot_items_max: u32,
    /// Launches in flight. Default 3, range 1 to 16.
    pub slots: u32,
    /// Keys that stay prepared on the device, for each algorithm: 5.2 KB each for Ed25519, 1.2 KB else. Default 65,536; at least
    /// [`Options::slot_items_max`].
    pub key_slots: u32,
    /// Kernels to compile. Default all.
    pub algorithms: Vec<AlgId>,
    /// How long a launch may take, in milliseconds. Default 10,000.
    pub launch_ms_max: u32,
    /// Compile kernels with bounds checks in the shaders: slower, for fuzzing them.
    pub checked: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            adapter: None,
            allow_software: false,
            cache_dir: None,
            slot_items_max: 16_896,
            slots: 3,
            key_slots: 65_536,
            algorithms: ALGORITHMS.to_vec(),
            launch_ms_max: 10_000,
            checked: false,
        }
    }
}

/// Sums over all launches since the engine was opened or reset. Nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Launches that came back.
    pub launches: u64,
    /// Items in them.
    pub items: u64,
    /// Keys that lay on the device already.
    pub key_hits: u64,
    /// Keys that had to be prepared.
    pub key_misses: u64,
    /// Packing, on the host's clock.
    pub pack_ns: u64,
    /// From the first copy to the verdicts in host memory, on the host's clock; launches overlap.
    pub turnaround_ns: u64,
    /// Copies to the device, on its clock; 0 where it does not tell.
    pub upload_ns: u64,
    /// Decoding keys and making their tables, on the device's clock.
    pub prepare_keys_ns: u64,
    /// Hashing, decoding R, recoding scalars.
    pub hash_ns: u64,
    /// The sums of points.
    pub verify_ns: u64,
    /// Copies back; 0 where the device does not tell.
    pub read_back_ns: u64,
}

/// How long opening took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenTimes {
    /// Compiling each kernel. Some drivers compile at the first launch only.
    pub kernels: Vec<(AlgId, Duration)>,
    /// All of it.
    pub total: Duration,
    /// Whether the driver's compiled code was found on disk.
    pub warm: bool,
}

/// A batch whose launches are not all back.
struct Pending {
    verdicts: Verdicts,
    /// Launches on their way, and one for the submission itself while it lasts.
    launches: usize,
}

/// Verifies on a GPU. One thread owns it.
pub struct GpuEngine {
    options: Options,
    session: Session,
    broken: Option<DeviceFault>,
    next_ticket: u64,
    pending: HashMap<Ticket, Pending>,
    done: VecDeque<(Ticket, Result<Verdicts, DeviceFault>)>,
}

impl GpuEngine {
    /// Opens the adapter, compiles the kernels, makes the buffers. Takes from a tenth of a second to a minute: do it in the
    /// background.
    ///
    /// # Errors
    /// [`OpenError`] with the reason why no engine can run here.
    pub fn open(options: &Options) -> Result<Self, OpenError> {
        let session = Session::open(options)?;
        Ok(Self {
            options: options.clone(),
            session,
            broken: None,
            next_ticket: 0,
            pending: HashMap::new(),
            done: VecDeque::new(),
        })
    }

    /// The adapter it runs on.
    pub fn adapter(&self) -> &AdapterFacts {
        self.session.adapter()
    }

    /// How long opening took.
    pub fn open_times(&self) -> &OpenTimes {
        self.session.open_times()
    }

    /// Where the time went so far.
    pub fn timings(&self) -> Timings {
        self.session.timings()
    }

    fn begin(&mut self, batch: &Batch) -> Result<Ticket, DeviceFault> {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.pending.insert(ticket, Pending { verdicts: Verdicts::all_invalid(batch.len()), launches: 1 });
        for index in 0..self.session.kernels() {
            let alg = self.session.algorithm(index);
            let mut from = 0;
            while let Some(offset) = batch.items()[from..].iter().position(|item| item.key.alg() == alg) {
                from += offset;
                let slot = self.free_slot()?;
                let packed = self.session.pack(slot, index, batch.items(), from);
                let pending = self.pending.get_mut(&ticket).ok_or(DeviceFault::Lost)?;
                for position in packed.on_host {
                    // Long messages: the hash is most of the work, and it is done here.
                    if batch.items()[position].verify_alone() {
                        pending.verdicts.set_valid(position);
                    }
                }
                if packed.items > 0 {
                    pending.launches += 1;
                    self.session.launch(slot, index, ticket)?;
                }
                from = packed.next;
            }
        }
        self.count_down(ticket);
        Ok(ticket)
    }

    /// One launch of a batch is back, or its submission is complete; with the last of them the batch is done.
    fn count_down(&mut self, ticket: Ticket) {
        let Some(pending) = self.pending.get_mut(&ticket) else { return };
        pending.launches -= 1;
        if pending.launches == 0
            && let Some(pending) = self.pending.remove(&ticket)
        {
            self.done.push_back((ticket, Ok(pending.verdicts)));
        }
    }

    /// A slot that holds no launch, waiting for one if need be.
    fn free_slot(&mut self) -> Result<usize, DeviceFault> {
        loop {
            if let Some(slot) = self.session.free_slot() {
                return Ok(slot);
            }
            self.advance(Duration::from_millis(self.options.launch_ms_max.into()))?;
        }
    }

    /// Waits until a launch is done or the time is up, and takes in what is done.
    fn advance(&mut self, timeout: Duration) -> Result<(), DeviceFault> {
        let pending = &mut self.pending;
        let ended = self.session.advance(timeout, |ticket, position| {
            if let Some(pending) = pending.get_mut(&ticket) {
                pending.verdicts.set_valid(position as usize);
            }
        })?;
        ended.into_iter().for_each(|ticket| self.count_down(ticket));
        Ok(())
    }

    fn fail(&mut self, fault: DeviceFault) -> DeviceFault {
        self.broken = Some(fault);
        let mut lost: Vec<_> = self.pending.drain().map(|(ticket, _)| ticket).collect();
        lost.sort_unstable();
        self.done.extend(lost.into_iter().map(|ticket| (ticket, Err(fault))));
        fault
    }
}

impl Device for GpuEngine {
    fn name(&self) -> &str {
        &self.session.adapter().name
    }

    fn supports(&self, alg: AlgId) -> bool {
        (0..self.session.kernels()).any(|index| self.session.algorithm(index) == alg)
    }

    fn batch_items_best(&self) -> usize {
        self.session.slot_items()
    }

    fn slots(&self) -> usize {
        self.session.slots()
    }

    fn submit(&mut self, batch: &Batch) -> Result<Ticket, DeviceFault> {
        if let Some(fault) = self.broken {
            return Err(fault);
        }
        if let Some(item) = batch.items().iter().find(|item| !Device::supports(self, item.key.alg())) {
            return Err(DeviceFault::Unsupported(item.key.alg()));
        }
        self.begin(batch).map_err(|fault| {
            // Nobody knows this ticket.
            self.pending.remove(&Ticket(self.next_ticket - 1));
            self.fail(fault)
        })
    }

    fn wait(&mut self, timeout: Duration) -> Option<(Ticket, Result<Verdicts, DeviceFault>)> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(done) = self.done.pop_front() {
                return Some(done);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if self.pending.is_empty() {
                return None;
            }
            if let Err(fault) = self.advance(left) {
                self.fail(fault);
            } else if left.is_zero() && self.done.is_empty() {
                return None;
            }
        }
    }

    fn in_flight(&self) -> usize {
        self.pending.len() + self.done.len()
    }

    fn reset(&mut self) -> Result<(), DeviceFault> {
        self.pending.clear();
        self.done.clear();
        match Session::open(&self.options) {
            Ok(session) => {
                (self.session, self.broken) = (session, None);
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "the GPU could not be opened again");
                self.broken = Some(DeviceFault::Lost);
                Err(DeviceFault::Lost)
            }
        }
    }
}

impl Engine for GpuEngine {
    fn name(&self) -> &'static str {
        "gpu"
    }

    fn supports(&self, alg: AlgId) -> bool {
        Device::supports(self, alg)
    }

    fn verify(&mut self, batch: &Batch) -> Result<Verdicts, DeviceFault> {
        let ticket = self.submit(batch)?;
        loop {
            let timeout = Duration::from_millis(self.options.launch_ms_max.into());
            match self.wait(timeout) {
                Some((done, verdicts)) if done == ticket => return verdicts,
                // An earlier batch that nobody waited for.
                Some(_) => {}
                None => return Err(self.fail(DeviceFault::TimedOut { waited_ms: self.options.launch_ms_max })),
            }
        }
    }

    fn key_cache_counts(&self) -> (u64, u64) {
        let timings = self.session.timings();
        (timings.key_hits, timings.key_misses)
    }
}
