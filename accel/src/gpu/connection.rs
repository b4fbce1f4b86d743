//! One open device with its queue, and what the driver says went wrong on it. Knows no kernel and no batch.

use super::adapter::{AdapterFacts, OpenError};
use crate::engine::DeviceFault;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const FINE: u8 = 0;
const LOST: u8 = 1;
const OUT_OF_MEMORY: u8 = 2;
const MISUSED: u8 = 3;

/// An open device.
pub(super) struct Connection {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) facts: AdapterFacts,
    pub(super) limits: wgpu::Limits,
    /// Nanoseconds of a timestamp's tick; `None` where there are no timestamps.
    pub(super) tick_ns: Option<f32>,
    /// Whether a timestamp can be taken between passes too.
    pub(super) has_encoder_timestamps: bool,
    pub(super) has_pipeline_cache: bool,
    /// Key of the driver's pipeline cache.
    pub(super) cache_key: Option<String>,
    trouble: Arc<AtomicU8>,
}

impl Connection {
    /// Opens the device of `adapter` with the adapter's own limits.
    pub(super) fn open(adapter: &wgpu::Adapter, facts: AdapterFacts) -> Result<Self, OpenError> {
        let optional = wgpu::Features::TIMESTAMP_QUERY
            | wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS
            | wgpu::Features::PIPELINE_CACHE;
        let features = wgpu::Features::SHADER_INT64 | (adapter.features() & optional);
        let limits = adapter.limits();
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("stele"),
            required_features: features,
            required_limits: limits.clone(),
            experimental_features: wgpu::ExperimentalFeatures::disabled(),
            memory_hints: wgpu::MemoryHints::Performance,
            trace: wgpu::Trace::Off,
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))
            .map_err(|error| OpenError::Refused { name: facts.name.clone(), reason: error.to_string() })?;
        let trouble = Arc::new(AtomicU8::new(FINE));
        let seen = Arc::clone(&trouble);
        device.set_device_lost_callback(move |reason, words| {
            // A device that we drop is told as lost too.
            if reason != wgpu::DeviceLostReason::Destroyed {
                tracing::error!(?reason, words, "the GPU is lost");
            }
            seen.fetch_max(LOST, Ordering::Relaxed);
        });
        let (seen, name) = (Arc::clone(&trouble), facts.name.clone());
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            tracing::error!(adapter = name, %error, "the GPU refused a command");
            let kind = if matches!(error, wgpu::Error::OutOfMemory { .. }) { OUT_OF_MEMORY } else { MISUSED };
            seen.store(kind, Ordering::Relaxed);
        }));
        let tick_ns = features.contains(wgpu::Features::TIMESTAMP_QUERY).then(|| queue.get_timestamp_period());
        let has_encoder_timestamps = features.contains(wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS);
        let has_pipeline_cache = features.contains(wgpu::Features::PIPELINE_CACHE);
        let cache_key = wgpu::util::pipeline_cache_key(&adapter.get_info());
        Ok(Self {
            device,
            queue,
            facts,
            limits,
            tick_ns,
            has_encoder_timestamps,
            has_pipeline_cache,
            cache_key,
            trouble,
        })
    }

    /// What went wrong since the device was opened, if anything did. Does not heal.
    pub(super) fn check(&self, items: usize) -> Result<(), DeviceFault> {
        match self.trouble.load(Ordering::Relaxed) {
            FINE => Ok(()),
            OUT_OF_MEMORY => Err(DeviceFault::OutOfMemory { items }),
            _ => Err(DeviceFault::Lost),
        }
    }

    /// The largest buffer that can be made and bound, in bytes, a multiple of 256.
    pub(super) fn buffer_bytes_max(&self) -> u64 {
        self.limits.max_buffer_size.min(self.limits.max_storage_buffer_binding_size) & !255
    }

    /// A buffer of at least `bytes`.
    pub(super) fn buffer(&self, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        let size = bytes.next_multiple_of(256).max(256);
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage,
            mapped_at_creation: usage.contains(wgpu::BufferUsages::MAP_WRITE),
        })
    }
}
