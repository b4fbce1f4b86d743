//! One place in the ring: buffers that live as long as the device, through which one launch after the other goes. Packing into
//! one slot, computing on another and reading a third back overlap.
//!
//! A slot's upload buffer is mapped while the slot is free; it is mapped again when the launch is done.

use super::connection::Connection;
use super::kernel::WORKGROUP;
use super::pack::{BLOCK_BYTES_MAX, Bounds, ITEM_WORDS, KEY_WORDS, Packed};
use super::pipelines::Kernel;
use crate::device::Ticket;
use crate::engine::DeviceFault;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use types::AlgId;

/// Timestamps of a launch: before the copies in, before and after each pass, after the copies out.
const TIMESTAMPS: u32 = 8;
const TIMESTAMP_BYTES: u64 = 8 * TIMESTAMPS as u64;
const PARAMS_BYTES: u64 = 256;

/// Where the parts of a launch lie in the upload buffer.
#[derive(Clone, Copy)]
struct Sizes {
    items: u64,
    new_keys: u64,
    blocks: u64,
    results: u64,
}

impl Sizes {
    fn of(bounds: &Bounds) -> Self {
        let items = bounds.items as u64;
        Self {
            items: (items * ITEM_WORDS as u64 * 4).next_multiple_of(256),
            new_keys: (items * KEY_WORDS as u64 * 4).next_multiple_of(256),
            blocks: (bounds.block_bytes as u64).next_multiple_of(256),
            results: (items * 4).next_multiple_of(256),
        }
    }
}

/// The bounds of a launch of `items` items: room for 256 bytes of hashed stream each, and for one long message.
pub(super) fn bounds(items: usize) -> Bounds {
    Bounds { items, block_bytes: items * 256 + BLOCK_BYTES_MAX }
}

/// Nanoseconds on the device, by its own clock. Zero where it has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DeviceTimes {
    pub(super) upload_ns: u64,
    pub(super) passes_ns: [u64; 3],
    pub(super) read_back_ns: u64,
}

/// A launch on its way.
pub(super) struct Busy {
    pub(super) ticket: Ticket,
    pub(super) started: Instant,
    pub(super) submission: wgpu::SubmissionIndex,
}

pub(super) struct Slot {
    pub(super) packed: Packed,
    pub(super) busy: Option<Busy>,
    upload: wgpu::Buffer,
    params: wgpu::Buffer,
    items: wgpu::Buffer,
    new_keys: wgpu::Buffer,
    blocks: wgpu::Buffer,
    results: wgpu::Buffer,
    read_back: wgpu::Buffer,
    times: Option<(wgpu::QuerySet, wgpu::Buffer)>,
    sizes: Sizes,
    /// Buffers of the two that are mapped; above two where mapping failed.
    mapped: Arc<AtomicU32>,
}

/// Both buffers are mapped.
const BOTH: u32 = 2;
const FAILED: u32 = 1 << 16;

impl Slot {
    pub(super) fn new(connection: &Connection, bounds: &Bounds) -> Self {
        use wgpu::BufferUsages as Usage;
        let sizes = Sizes::of(bounds);
        let upload_bytes = PARAMS_BYTES + sizes.items + sizes.new_keys + sizes.blocks;
        let times = connection.tick_ns.map(|_| {
            let set = connection.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("launch"),
                ty: wgpu::QueryType::Timestamp,
                count: TIMESTAMPS,
            });
            (set, connection.buffer("times", TIMESTAMP_BYTES, Usage::QUERY_RESOLVE | Usage::COPY_SRC))
        });
        Self {
            packed: Packed::new(AlgId::Ed25519),
            busy: None,
            upload: connection.buffer("upload", upload_bytes, Usage::MAP_WRITE | Usage::COPY_SRC),
            params: connection.buffer("params", PARAMS_BYTES, Usage::UNIFORM | Usage::COPY_DST),
            items: connection.buffer("items", sizes.items, Usage::STORAGE | Usage::COPY_DST),
            new_keys: connection.buffer("new keys", sizes.new_keys, Usage::STORAGE | Usage::COPY_DST),
            blocks: connection.buffer("blocks", sizes.blocks, Usage::STORAGE | Usage::COPY_DST),
            results: connection.buffer("results", sizes.results, Usage::STORAGE | Usage::COPY_SRC | Usage::COPY_DST),
            read_back: connection.buffer(
                "read back",
                sizes.results + TIMESTAMP_BYTES,
                Usage::MAP_READ | Usage::COPY_DST,
            ),
            times,
            sizes,
            mapped: Arc::new(AtomicU32::new(0)),
        }
    }

    /// The bindings of a kernel with this slot's buffers.
    pub(super) fn bind(
        &self,
        connection: &Connection,
        layout: &wgpu::BindGroupLayout,
        kernel: &Kernel,
        key_table: &wgpu::Buffer,
        scratch: &wgpu::Buffer,
    ) -> wgpu::BindGroup {
        let buffers = [
            &self.params,
            &self.items,
            &self.blocks,
            &self.new_keys,
            key_table,
            &kernel.constants,
            scratch,
            &self.results,
        ];
        let entries: Vec<_> = (0..)
            .zip(buffers)
            .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
            .collect();
        connection.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(kernel.label),
            layout,
            entries: &entries,
        })
    }

    /// Sends what is packed to the device.
    pub(super) fn launch(
        &mut self,
        connection: &Connection,
        kernel: &Kernel,
        group: &wgpu::BindGroup,
        ticket: Ticket,
    ) -> Result<(), DeviceFault> {
        let started = Instant::now();
        let (items, keys) = (self.packed.len() as u32, self.packed.keys() as u32);
        let params = [items, keys, 0, 0];
        let parts: [(&[u8], &wgpu::Buffer, u64); 4] = [
            (bytemuck::cast_slice(&params), &self.params, PARAMS_BYTES),
            (bytemuck::cast_slice(&self.packed.items), &self.items, self.sizes.items),
            (bytemuck::cast_slice(&self.packed.new_keys), &self.new_keys, self.sizes.new_keys),
            (&self.packed.blocks, &self.blocks, self.sizes.blocks),
        ];
        let mut encoder = connection.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let inside = connection.has_encoder_timestamps;
        let stamp = |encoder: &mut wgpu::CommandEncoder, index| {
            if let (true, Some((set, _))) = (inside, &self.times) {
                encoder.write_timestamp(set, index);
            }
        };
        stamp(&mut encoder, 0);
        let mut offset = 0;
        for (bytes, buffer, room) in parts {
            if !bytes.is_empty() {
                let range = offset..offset + bytes.len() as u64;
                let mut view = self.upload.get_mapped_range_mut(range).map_err(|_| DeviceFault::Lost)?;
                view.slice(..).copy_from_slice(bytes);
                drop(view);
                encoder.copy_buffer_to_buffer(&self.upload, offset, buffer, 0, bytes.len() as u64);
            }
            offset += room;
        }
        self.upload.unmap();
        // A kernel that never ran must not leave the verdicts of the launch before.
        encoder.clear_buffer(&self.results, 0, Some(u64::from(items) * 4));
        for (index, (pass, threads)) in (0..).zip(kernel.passes.iter().zip([keys, items, items])) {
            let timestamp_writes = self.times.as_ref().map(|(set, _)| wgpu::ComputePassTimestampWrites {
                query_set: set,
                beginning_of_pass_write_index: Some(1 + 2 * index),
                end_of_pass_write_index: Some(2 + 2 * index),
            });
            let descriptor = wgpu::ComputePassDescriptor { label: Some(kernel.label), timestamp_writes };
            let mut compute = encoder.begin_compute_pass(&descriptor);
            compute.set_pipeline(pass);
            compute.set_bind_group(0, group, &[]);
            // Without new keys the first pass is empty, and still there for its timestamps.
            if threads > 0 {
                compute.dispatch_workgroups(threads.div_ceil(WORKGROUP), 1, 1);
            }
        }
        encoder.copy_buffer_to_buffer(&self.results, 0, &self.read_back, 0, u64::from(items) * 4);
        stamp(&mut encoder, TIMESTAMPS - 1);
        if let Some((set, resolved)) = &self.times {
            let written = if inside { 0..TIMESTAMPS } else { 1..TIMESTAMPS - 1 };
            encoder.resolve_query_set(set, written, resolved, 0);
            encoder.copy_buffer_to_buffer(resolved, 0, &self.read_back, self.sizes.results, TIMESTAMP_BYTES);
        }
        let submission = connection.queue.submit([encoder.finish()]);
        self.mapped.store(0, Ordering::Relaxed);
        for (buffer, mode) in [(&self.upload, wgpu::MapMode::Write), (&self.read_back, wgpu::MapMode::Read)] {
            let mapped = Arc::clone(&self.mapped);
            buffer.map_async(mode, .., move |result| {
                mapped.fetch_add(if result.is_ok() { 1 } else { FAILED }, Ordering::Release);
            });
        }
        self.busy = Some(Busy { ticket, started, submission });
        Ok(())
    }

    /// Whether the launch is done, or failed.
    pub(super) fn is_done(&self) -> bool {
        self.busy.is_some() && self.mapped.load(Ordering::Acquire) >= BOTH
    }

    /// Takes the answers of a launch that is done: calls `valid` with the position of every valid item. The slot is free then.
    pub(super) fn take(
        &mut self,
        connection: &Connection,
        mut valid: impl FnMut(u32),
    ) -> Result<(Busy, Duration, DeviceTimes), DeviceFault> {
        let busy = self.busy.take().ok_or(DeviceFault::Lost)?;
        if self.mapped.load(Ordering::Acquire) != BOTH {
            return Err(DeviceFault::Lost);
        }
        {
            let view = self.read_back.get_mapped_range(..).map_err(|_| DeviceFault::Lost)?;
            let bytes: &[u8] = &view;
            let (words, _) = bytes.as_chunks::<4>();
            for (position, word) in self.packed.positions.iter().zip(words) {
                match u32::from_le_bytes(*word) {
                    0 => {}
                    1 => valid(*position),
                    // No kernel writes anything else.
                    _ => return Err(DeviceFault::WrongAnswer),
                }
            }
        }
        let times = self.device_times(connection);
        self.read_back.unmap();
        let turnaround = busy.started.elapsed();
        Ok((busy, turnaround, times))
    }

    fn device_times(&self, connection: &Connection) -> DeviceTimes {
        let (Some(tick_ns), Ok(view)) = (
            connection.tick_ns,
            self.read_back.get_mapped_range(self.sizes.results..self.sizes.results + TIMESTAMP_BYTES),
        ) else {
            return DeviceTimes::default();
        };
        let bytes: &[u8] = &view;
        let (words, _) = bytes.as_chunks::<8>();
        // The resolved range starts with the first timestamp that was written.
        let inside = connection.has_encoder_timestamps;
        let first = usize::from(!inside);
        let at =
            |index: usize| index.checked_sub(first).and_then(|index| words.get(index)).map(|w| u64::from_le_bytes(*w));
        let span = |from: usize, to: usize| match (at(from), at(to)) {
            (Some(from), Some(to)) => (to.saturating_sub(from) as f64 * f64::from(tick_ns)) as u64,
            _ => 0,
        };
        DeviceTimes {
            upload_ns: span(0, 1),
            passes_ns: [span(1, 2), span(3, 4), span(5, 6)],
            read_back_ns: if inside { span(6, 7) } else { 0 },
        }
    }
}
