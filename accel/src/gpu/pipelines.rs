//! Kernels, compiled for one device, with the driver's cache of compiled code on disk.
//!
//! Our own sources are compiled without naga's index clamps and loop counters: every index comes from the host's own packing,
//! never from a peer's bytes. [`super::Options::checked`] turns them on, for fuzzing.
#![allow(unsafe_code)]

use super::adapter::OpenError;
use super::connection::Connection;
use super::kernel::KernelSource;
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use types::AlgId;

/// The passes of every kernel, in order.
pub(super) const PASSES: [&str; 3] = ["prepare_keys", "hash", "verify"];
/// A larger file is not ours.
const CACHE_BYTES_MAX: u64 = 256 << 20;

/// A compiled kernel.
pub(super) struct Kernel {
    pub(super) alg: AlgId,
    pub(super) label: &'static str,
    pub(super) passes: [wgpu::ComputePipeline; 3],
    pub(super) constants: wgpu::Buffer,
    pub(super) key_words: u32,
    pub(super) scratch_words: u32,
    /// How long the driver took for it.
    pub(super) compiled_in: Duration,
}

/// The bindings that all kernels share.
pub(super) fn bindings(device: &wgpu::Device) -> wgpu::BindGroupLayout {
    let read = wgpu::BufferBindingType::Storage { read_only: true };
    let write = wgpu::BufferBindingType::Storage { read_only: false };
    let types = [wgpu::BufferBindingType::Uniform, read, read, read, write, read, write, write];
    let entries: Vec<_> = (0..)
        .zip(types)
        .map(|(binding, ty)| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
            count: None,
        })
        .collect();
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some("kernel"), entries: &entries })
}

/// Compiles one kernel.
pub(super) fn compile(
    connection: &Connection,
    layout: &wgpu::BindGroupLayout,
    cache: &DriverCache,
    alg: AlgId,
    source: &KernelSource,
    checked: bool,
) -> Result<Kernel, OpenError> {
    let start = Instant::now();
    let device = &connection.device;
    let failed = |error: wgpu::Error| OpenError::Kernel {
        name: connection.facts.name.clone(),
        kernel: source.label,
        reason: error.to_string(),
    };
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let descriptor = wgpu::ShaderModuleDescriptor {
        label: Some(source.label),
        source: wgpu::ShaderSource::Wgsl(source.source.as_str().into()),
    };
    let module = if checked {
        device.create_shader_module(descriptor)
    } else {
        // SAFETY: the source is ours, validated by naga; its indices are bounded by what `pack.rs` and `slot.rs` write, its
        // loops by constants and by the number of a message's blocks.
        unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
    };
    let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(source.label),
        bind_group_layouts: &[Some(layout)],
        immediate_size: 0,
    });
    let passes = PASSES.map(|entry_point| {
        device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(source.label),
            layout: Some(&layout),
            module: &module,
            entry_point: Some(entry_point),
            compilation_options: wgpu::PipelineCompilationOptions {
                // Kernels write what they read.
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: cache.cache.as_ref(),
        })
    });
    if let Some(error) = pollster::block_on(scope.pop()) {
        return Err(failed(error));
    }
    let bytes: &[u8] = bytemuck::cast_slice(&source.constants);
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
    let constants = connection.buffer(source.label, bytes.len() as u64, usage);
    connection.queue.write_buffer(&constants, 0, bytes);
    Ok(Kernel {
        alg,
        label: source.label,
        passes,
        constants,
        key_words: source.key_words,
        scratch_words: source.scratch_words,
        compiled_in: start.elapsed(),
    })
}

/// The driver's compiled code, kept in a file between starts. A file that is missing, foreign or damaged costs time alone: the
/// driver checks its own header, and the name holds adapter, driver and sources.
pub(super) struct DriverCache {
    cache: Option<wgpu::PipelineCache>,
    path: Option<PathBuf>,
    stored: Option<Vec<u8>>,
}

impl DriverCache {
    pub(super) fn open(connection: &Connection, dir: Option<&Path>, sources: &[(AlgId, KernelSource)]) -> Self {
        let none = Self { cache: None, path: None, stored: None };
        let (true, Some(dir), Some(key)) = (connection.has_pipeline_cache, dir, connection.cache_key.as_ref()) else {
            return none;
        };
        let mut hasher = Sha256::new();
        for part in [key, &connection.facts.driver, &connection.facts.driver_info] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        sources.iter().for_each(|(_, source)| hasher.update(&source.source));
        let path = dir.join(format!("pipelines-{}.bin", hex::encode(&hasher.finalize()[..12])));
        let stored = read_checked(&path);
        // SAFETY: the data is what an earlier call stored in the file of this adapter, driver and these sources, whole by
        // its digest; the driver checks its own header besides.
        let cache = unsafe {
            connection.device.create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
                label: Some("kernels"),
                data: stored.as_deref(),
                fallback: true,
            })
        };
        Self { cache: Some(cache), path: Some(path), stored }
    }

    /// Whether compiled code was found on disk.
    pub(super) fn is_warm(&self) -> bool {
        self.stored.is_some()
    }

    /// Writes what the driver compiled, if it is new. A failure costs the next start time and is told in the log.
    pub(super) fn store(&self) {
        let (Some(cache), Some(path)) = (&self.cache, &self.path) else { return };
        let Some(data) = cache.get_data().filter(|data| self.stored.as_ref() != Some(data)) else { return };
        if let Err(error) = write_checked(path, &data) {
            tracing::warn!(path = %path.display(), %error, "the compiled GPU kernels could not be kept");
        }
    }
}

/// The file's data if its digest, the first 32 bytes, holds.
fn read_checked(path: &Path) -> Option<Vec<u8>> {
    let length = std::fs::metadata(path).ok()?.len();
    if length > CACHE_BYTES_MAX {
        return None;
    }
    let file = std::fs::read(path).ok()?;
    let (digest, data) = file.split_first_chunk::<32>()?;
    (Sha256::digest(data).as_slice() == digest).then(|| data.to_vec())
}

fn write_checked(path: &Path, data: &[u8]) -> std::io::Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    // Renamed into place, so that no start ever reads half of it.
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    std::fs::write(&temporary, [Sha256::digest(data).as_slice(), data].concat())?;
    std::fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_cache_file_is_taken_for_none() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("deep/pipelines.bin");
        assert_eq!(read_checked(&path), None);
        write_checked(&path, b"compiled").expect("room");
        assert_eq!(read_checked(&path).as_deref(), Some(&b"compiled"[..]));
        let mut file = std::fs::read(&path).expect("written");
        file[35] ^= 1;
        std::fs::write(&path, &file).expect("room");
        assert_eq!(read_checked(&path), None);
        std::fs::write(&path, [0; 10]).expect("room");
        assert_eq!(read_checked(&path), None);
    }
}
