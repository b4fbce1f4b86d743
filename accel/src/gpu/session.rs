//! All that lives as long as one connection: kernels, key tables, the ring of slots. A reset drops it and makes another.

use super::adapter::{AdapterFacts, OpenError, choose};
use super::connection::Connection;
use super::keys::KeySlots;
use super::pack::{Bounds, Fit};
use super::pipelines::{DriverCache, Kernel, bindings, compile};
use super::slot::{Slot, bounds};
use super::{OpenTimes, Options, Timings, ed25519, weierstrass};
use crate::device::Ticket;
use crate::engine::DeviceFault;
use crate::item::Item;
use std::time::{Duration, Instant};
use types::AlgId;

pub(super) struct Session {
    connection: Connection,
    kernels: Vec<Loaded>,
    slots: Vec<Slot>,
    bounds: Bounds,
    launch_ms_max: u32,
    open_times: OpenTimes,
    timings: Timings,
}

/// A kernel with its key table, bound to every slot.
struct Loaded {
    kernel: Kernel,
    keys: KeySlots,
    groups: Vec<wgpu::BindGroup>,
}

/// What packing came to.
pub(super) struct Filled {
    /// Items in the launch.
    pub(super) items: usize,
    /// Where the next launch goes on.
    pub(super) next: usize,
    /// Items that the host has to verify.
    pub(super) on_host: Vec<usize>,
}

impl Session {
    pub(super) fn open(options: &Options) -> Result<Self, OpenError> {
        let start = Instant::now();
        let (adapter, facts) = choose(options.adapter.as_deref(), options.allow_software)?;
        let connection = Connection::open(&adapter, facts)?;
        let sources: Vec<_> = options.algorithms.iter().filter_map(|alg| Some((*alg, source(*alg)?))).collect();
        let cache = DriverCache::open(&connection, options.cache_dir.as_deref(), &sources);
        let warm = cache.is_warm();
        let layout = bindings(&connection.device);

        let scope = connection.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let mut kernels = Vec::with_capacity(sources.len());
        for (alg, source) in &sources {
            kernels.push(compile(&connection, &layout, &cache, *alg, source, options.checked)?);
        }
        cache.store();
        let words = |of: fn(&Kernel) -> u32| kernels.iter().map(of).max().unwrap_or(1).max(1);
        let binding_words = connection.buffer_bytes_max() / 4;
        let key_slots = u64::from(options.key_slots.max(options.slot_items_max))
            .min(binding_words / u64::from(words(|kernel| kernel.key_words)));
        let scratch_words = u64::from(words(|kernel| kernel.scratch_words));
        // 256 bytes of blocks an item, with room for one long message besides.
        let items = u64::from(options.slot_items_max.clamp(64, 1 << 20))
            .min(key_slots)
            .min(binding_words / scratch_words)
            .min(binding_words / 65);
        let bounds = bounds(usize::try_from(items).unwrap_or(64));
        let scratch = connection.buffer("scratch", items * scratch_words * 4, wgpu::BufferUsages::STORAGE);
        let slots: Vec<_> = (0..options.slots.clamp(1, 16)).map(|_| Slot::new(&connection, &bounds)).collect();
        let kernels = kernels
            .into_iter()
            .map(|kernel| {
                let bytes = key_slots * u64::from(kernel.key_words) * 4;
                let table = connection.buffer(kernel.label, bytes, wgpu::BufferUsages::STORAGE);
                let groups =
                    slots.iter().map(|slot| slot.bind(&connection, &layout, &kernel, &table, &scratch)).collect();
                let keys = KeySlots::new(u32::try_from(key_slots).unwrap_or(u32::MAX));
                Loaded { kernel, keys, groups }
            })
            .collect::<Vec<_>>();
        let out_of_memory = pollster::block_on(scope.pop()).is_some() || connection.check(0).is_err();
        if out_of_memory {
            return Err(OpenError::OutOfMemory { name: connection.facts.name.clone() });
        }
        let compiled = kernels.iter().map(|loaded| (loaded.kernel.alg, loaded.kernel.compiled_in)).collect();
        let open_times = OpenTimes { kernels: compiled, total: start.elapsed(), warm };
        let launch_ms_max = options.launch_ms_max;
        Ok(Self { connection, kernels, slots, bounds, launch_ms_max, open_times, timings: Timings::default() })
    }

    pub(super) fn adapter(&self) -> &AdapterFacts {
        &self.connection.facts
    }

    pub(super) fn open_times(&self) -> &OpenTimes {
        &self.open_times
    }

    pub(super) fn timings(&self) -> Timings {
        let mut timings = self.timings;
        for loaded in &self.kernels {
            let (hits, misses) = loaded.keys.counts();
            (timings.key_hits, timings.key_misses) = (timings.key_hits + hits, timings.key_misses + misses);
        }
        timings
    }

    pub(super) fn kernels(&self) -> usize {
        self.kernels.len()
    }

    pub(super) fn algorithm(&self, kernel: usize) -> AlgId {
        self.kernels[kernel].kernel.alg
    }

    pub(super) fn slot_items(&self) -> usize {
        self.bounds.items
    }

    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn free_slot(&self) -> Option<usize> {
        self.slots.iter().position(|slot| slot.busy.is_none())
    }

    /// Fills a slot with a kernel's items, from item number `from` of a batch on.
    pub(super) fn pack(&mut self, slot: usize, kernel: usize, items: &[Item], from: usize) -> Filled {
        let start = Instant::now();
        let (loaded, packed) = (&mut self.kernels[kernel], &mut self.slots[slot].packed);
        loaded.keys.begin_launch();
        packed.begin(loaded.kernel.alg);
        let mut on_host = Vec::new();
        let mut next = items.len();
        for (position, item) in items.iter().enumerate().skip(from) {
            if item.key.alg() != loaded.kernel.alg {
                continue;
            }
            // The positions of a batch fit: a batch of 2^32 items would be a terabyte.
            match packed.push(item, position as u32, &mut loaded.keys, &self.bounds) {
                Fit::Packed | Fit::Mismatched => {}
                Fit::OnHost => on_host.push(position),
                Fit::Full => {
                    next = position;
                    break;
                }
            }
        }
        self.timings.pack_ns += nanoseconds(start.elapsed());
        Filled { items: packed.len(), next, on_host }
    }

    pub(super) fn launch(&mut self, slot: usize, kernel: usize, ticket: Ticket) -> Result<(), DeviceFault> {
        let (slot_number, loaded) = (slot, &self.kernels[kernel]);
        let slot = &mut self.slots[slot];
        let items = slot.packed.len();
        slot.launch(&self.connection, &loaded.kernel, &loaded.groups[slot_number], ticket)?;
        self.connection.check(items)
    }

    /// Waits until the oldest launch is done or the time is up; calls `valid` for each valid item of what is done. The
    /// tickets of the launches that ended.
    pub(super) fn advance(
        &mut self,
        timeout: Duration,
        mut valid: impl FnMut(Ticket, u32),
    ) -> Result<Vec<Ticket>, DeviceFault> {
        let oldest = self.slots.iter().filter_map(|slot| slot.busy.as_ref()).min_by_key(|busy| busy.started);
        if let Some(oldest) = oldest {
            let allowed = Duration::from_millis(self.launch_ms_max.into());
            let left = allowed.saturating_sub(oldest.started.elapsed());
            let poll = wgpu::PollType::Wait {
                submission_index: Some(oldest.submission.clone()),
                timeout: Some(timeout.min(left)),
            };
            match self.connection.device.poll(poll) {
                Ok(_) => {}
                Err(wgpu::PollError::Timeout) if left > timeout => return Ok(Vec::new()),
                Err(wgpu::PollError::Timeout) => {
                    return Err(DeviceFault::TimedOut { waited_ms: self.launch_ms_max });
                }
                Err(_) => return Err(DeviceFault::Lost),
            }
        }
        self.connection.check(self.bounds.items)?;
        let mut ended = Vec::new();
        for slot in self.slots.iter_mut().filter(|slot| slot.is_done()) {
            let ticket = slot.busy.as_ref().map_or(Ticket(u64::MAX), |busy| busy.ticket);
            let items = slot.packed.len() as u64;
            let (busy, turnaround, times) = slot.take(&self.connection, |position| valid(ticket, position))?;
            ended.push(busy.ticket);
            let timings = &mut self.timings;
            timings.launches += 1;
            timings.items += items;
            timings.turnaround_ns += nanoseconds(turnaround);
            timings.upload_ns += times.upload_ns;
            timings.prepare_keys_ns += times.passes_ns[0];
            timings.hash_ns += times.passes_ns[1];
            timings.verify_ns += times.passes_ns[2];
            timings.read_back_ns += times.read_back_ns;
        }
        Ok(ended)
    }
}

fn source(alg: AlgId) -> Option<super::kernel::KernelSource> {
    match alg {
        AlgId::Ed25519 => Some(ed25519::kernel()),
        AlgId::Sm2Sm3 => Some(weierstrass::sm2()),
        AlgId::EcdsaP256 => Some(weierstrass::p256()),
        AlgId::EcdsaSecp256k1 => Some(weierstrass::secp256k1()),
        _ => None,
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
