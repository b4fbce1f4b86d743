//! Merkle roots on the GPU: the trees of [`types::merkle`], with SHA-256 or SM3. Leaves and nodes are hashed on the device, level
//! by level; the root alone comes back. It has a connection of its own, so that a tree waits for no signature's launch and
//! whoever needs a root needs no hold of the verifier.
//!
//! A tree that is larger than the device's buffers is made of whole subtrees of a power of two, joined here. Deliberately
//! absent: proofs, and when a tree is large enough for a GPU to pay: that is measured by the caller.

mod kernels;
#[cfg(test)]
mod tests;

use self::kernels::{Kernel, Levels, bindings, compile, levels};
use super::Options;
use super::adapter::{AdapterFacts, OpenError, choose};
use super::connection::Connection;
use super::kernel::WORKGROUP;
use crate::engine::DeviceFault;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use types::{AlgId, Digest};

/// Longer leaves are hashed where they are: on the device one of them would hold up its whole workgroup.
const LEAF_BYTES_MAX: usize = 4096;
/// Padded leaves of an upload. One leaf fits, and its padding.
const UPLOAD_BYTES: usize = 16 << 20;
/// Most leaves that one buffer holds: half a gibibyte of digests.
const SUBTREE_LEAVES_MAX: u64 = 1 << 24;
/// Bytes from one set of parameters to the next; no device asks for more.
const PARAMS_STRIDE: u64 = 256;
/// Levels of the largest subtree, and its leaves.
const PARAMS: u64 = 26;
/// Workgroups in a row of a launch; more make more rows.
const ROW: u32 = 32_768;

/// Merkle roots on a GPU. One thread owns it.
pub struct TreeEngine {
    connection: Connection,
    kernels: [Kernel; 2],
    layout: wgpu::BindGroupLayout,
    params: wgpu::Buffer,
    blocks: wgpu::Buffer,
    spans: wgpu::Buffer,
    root: wgpu::Buffer,
    levels: Levels,
    subtree_leaves_max: usize,
    launch_ms_max: u32,
}

/// Leaves on their way to the device.
#[derive(Default)]
struct Upload {
    blocks: Vec<u8>,
    spans: Vec<u32>,
    /// Position in the subtree of the first of them.
    first: u32,
}

impl TreeEngine {
    /// Opens the adapter and compiles the kernels. Of the options, adapter, `allow_software` and `launch_ms_max` matter.
    ///
    /// # Errors
    /// [`OpenError`] with the reason why no engine can run here.
    pub fn open(options: &Options) -> Result<Self, OpenError> {
        Self::with_subtrees(options, SUBTREE_LEAVES_MAX)
    }

    fn with_subtrees(options: &Options, leaves_max: u64) -> Result<Self, OpenError> {
        let (adapter, facts) = choose(options.adapter.as_deref(), options.allow_software)?;
        let connection = Connection::open(&adapter, facts)?;
        let layout = bindings(&connection.device);
        let kernels = [compile(&connection, &layout, AlgId::Sha256)?, compile(&connection, &layout, AlgId::Sm3)?];
        let copied = wgpu::BufferUsages::COPY_DST;
        let storage = wgpu::BufferUsages::STORAGE | copied;
        let params = connection.buffer("tree params", PARAMS * PARAMS_STRIDE, wgpu::BufferUsages::UNIFORM | copied);
        let blocks = connection.buffer("tree blocks", UPLOAD_BYTES as u64, storage);
        let spans = connection.buffer("tree spans", UPLOAD_BYTES as u64 / 8, storage);
        let root = connection.buffer("tree root", 32, wgpu::BufferUsages::MAP_READ | copied);
        let fitting = (connection.buffer_bytes_max() / 32).min(leaves_max).max(2);
        let mut engine = Self {
            levels: levels(&connection, &layout, [&params, &blocks, &spans], 2),
            subtree_leaves_max: 1 << fitting.ilog2(),
            launch_ms_max: options.launch_ms_max,
            connection,
            kernels,
            layout,
            params,
            blocks,
            spans,
            root,
        };
        // The first launch compiles on some drivers; and a device that cannot do this is told now.
        let name = || engine.connection.facts.name.clone();
        if engine.connection.check(0).is_err() {
            return Err(OpenError::OutOfMemory { name: name() });
        }
        let name = name();
        for alg in [AlgId::Sha256, AlgId::Sm3] {
            engine
                .merkle_root(alg, &[[0u8; 1]; 3])
                .map_err(|fault| OpenError::Refused { name: name.clone(), reason: fault.to_string() })?;
        }
        Ok(engine)
    }

    /// The adapter it runs on.
    pub fn adapter(&self) -> &AdapterFacts {
        &self.connection.facts
    }

    /// Root over the contents of leaves, in order: that of [`types::merkle::merkle_root`], with this hash; over no leaves the
    /// hash of nothing.
    ///
    /// # Errors
    /// [`DeviceFault::Unsupported`] for what is no SHA-256 and no SM3, else what the device did. After a fault of the device
    /// the engine is of no more use.
    pub fn merkle_root<T: AsRef<[u8]>>(&mut self, alg: AlgId, leaves: &[T]) -> Result<Digest, DeviceFault> {
        self.root(alg, leaves, |upload, leaf| {
            let content = leaf.as_ref();
            if content.len() > LEAF_BYTES_MAX {
                upload.push_digest(&hash(alg, &[&[0], content]));
            } else {
                upload.push_content(content);
            }
        })
    }

    /// Root over leaf hashes, in order: that of [`types::merkle::root_of_hashes`], with this hash.
    ///
    /// # Errors
    /// As [`TreeEngine::merkle_root`].
    pub fn root_of_hashes(&mut self, alg: AlgId, leaves: &[Digest]) -> Result<Digest, DeviceFault> {
        self.root(alg, leaves, |upload, leaf| upload.push_digest(leaf.as_bytes()))
    }

    fn root<T>(&mut self, alg: AlgId, leaves: &[T], push: impl Fn(&mut Upload, &T)) -> Result<Digest, DeviceFault> {
        let kernel = self.kernels.iter().position(|kernel| kernel.alg == alg).ok_or(DeviceFault::Unsupported(alg))?;
        if leaves.is_empty() {
            return Ok(digest(alg, hash(alg, &[])));
        }
        let mut roots = Vec::with_capacity(leaves.len().div_ceil(self.subtree_leaves_max));
        for subtree in leaves.chunks(self.subtree_leaves_max) {
            self.reserve(subtree.len())?;
            let mut upload = Upload::default();
            for leaf in subtree {
                if upload.blocks.len() + LEAF_BYTES_MAX + 128 > UPLOAD_BYTES {
                    self.hash_leaves(kernel, &mut upload)?;
                }
                push(&mut upload, leaf);
            }
            self.hash_leaves(kernel, &mut upload)?;
            roots.push(self.hash_nodes(kernel, subtree.len())?);
        }
        // Subtrees are whole levels of the tree: what is left is paired as the device pairs.
        while roots.len() > 1 {
            let pair = |pair: &[[u8; 32]]| match pair {
                [left, right] => hash(alg, &[&[1], left, right]),
                _ => pair[0],
            };
            roots = roots.chunks(2).map(pair).collect();
        }
        Ok(digest(alg, roots[0]))
    }

    /// Buffers for the levels of this many leaves.
    fn reserve(&mut self, leaves: usize) -> Result<(), DeviceFault> {
        if leaves <= self.levels.leaves {
            return Ok(());
        }
        let scope = self.connection.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let leaves = leaves.next_power_of_two();
        let levels = levels(&self.connection, &self.layout, [&self.params, &self.blocks, &self.spans], leaves);
        if pollster::block_on(scope.pop()).is_some() {
            return Err(DeviceFault::OutOfMemory { items: leaves });
        }
        self.levels = levels;
        Ok(())
    }

    /// Hashes what is uploaded into the first buffer, and empties it.
    fn hash_leaves(&self, kernel: usize, upload: &mut Upload) -> Result<(), DeviceFault> {
        let count = upload.count();
        if count == 0 {
            return Ok(());
        }
        let queue = &self.connection.queue;
        queue.write_buffer(&self.blocks, 0, &upload.blocks);
        queue.write_buffer(&self.spans, 0, bytemuck::cast_slice(&upload.spans));
        self.write_params(0, [count, 0, upload.first, 0]);
        let mut encoder = self.connection.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        self.pass(&mut encoder, &self.kernels[kernel].leaves, 0, 0, count);
        queue.submit([encoder.finish()]);
        upload.first += count;
        upload.blocks.clear();
        upload.spans.clear();
        self.connection.check(count as usize)
    }

    /// From the leaves in the first buffer to their root.
    fn hash_nodes(&self, kernel: usize, leaves: usize) -> Result<[u8; 32], DeviceFault> {
        let mut encoder = self.connection.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut below = u32::try_from(leaves).expect("bounded by the largest subtree");
        let mut level = 0;
        while below > 1 {
            let count = below.div_ceil(2);
            level += 1;
            self.write_params(level, [count, below, 0, 0]);
            self.pass(&mut encoder, &self.kernels[kernel].nodes, level, level as usize % 2, count);
            below = count;
        }
        encoder.copy_buffer_to_buffer(&self.levels.buffers[level as usize % 2], 0, &self.root, 0, 32);
        let submission = self.connection.queue.submit([encoder.finish()]);
        self.read_root(submission)
    }

    fn read_root(&self, submission: wgpu::SubmissionIndex) -> Result<[u8; 32], DeviceFault> {
        const PENDING: u8 = 0;
        const MAPPED: u8 = 1;
        const FAILED: u8 = 2;
        let state = Arc::new(AtomicU8::new(PENDING));
        let told = Arc::clone(&state);
        self.root.map_async(wgpu::MapMode::Read, .., move |result| {
            told.store(if result.is_ok() { MAPPED } else { FAILED }, Ordering::Release);
        });
        let timeout = Some(Duration::from_millis(self.launch_ms_max.into()));
        match self.connection.device.poll(wgpu::PollType::Wait { submission_index: Some(submission), timeout }) {
            Ok(_) => {}
            Err(wgpu::PollError::Timeout) => return Err(DeviceFault::TimedOut { waited_ms: self.launch_ms_max }),
            Err(_) => return Err(DeviceFault::Lost),
        }
        self.connection.check(0)?;
        if state.load(Ordering::Acquire) != MAPPED {
            return Err(DeviceFault::Lost);
        }
        let mut root = [0; 32];
        {
            let view = self.root.get_mapped_range(0..32).map_err(|_| DeviceFault::Lost)?;
            for (bytes, word) in root.chunks_exact_mut(4).zip(view.as_chunks::<4>().0) {
                bytes.copy_from_slice(&u32::from_le_bytes(*word).to_be_bytes());
            }
        }
        self.root.unmap();
        Ok(root)
    }

    fn write_params(&self, level: u32, params: [u32; 4]) {
        self.connection.queue.write_buffer(
            &self.params,
            u64::from(level) * PARAMS_STRIDE,
            bytemuck::cast_slice(&params),
        );
    }

    fn pass(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        pipeline: &wgpu::ComputePipeline,
        level: u32,
        into: usize,
        threads: u32,
    ) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, &self.levels.groups[into], &[level * PARAMS_STRIDE as u32]);
        let groups = threads.div_ceil(WORKGROUP);
        pass.dispatch_workgroups(groups.min(ROW), groups.div_ceil(ROW), 1);
    }
}

impl Upload {
    fn count(&self) -> u32 {
        u32::try_from(self.spans.len() / 2).expect("bounded by the upload")
    }

    fn begin(&self) -> u32 {
        u32::try_from(self.blocks.len() / 64).expect("bounded by the upload")
    }

    /// The byte 0 and the content, padded.
    fn push_content(&mut self, content: &[u8]) {
        let (start, first) = (self.blocks.len(), self.begin());
        let hashed = 1 + content.len();
        let padded = (hashed + 9).next_multiple_of(64);
        self.blocks.push(0);
        self.blocks.extend_from_slice(content);
        self.blocks.push(0x80);
        self.blocks.resize(start + padded - 8, 0);
        self.blocks.extend_from_slice(&(hashed as u64 * 8).to_be_bytes());
        self.spans.extend([first, u32::try_from(padded / 64).expect("bounded by the longest leaf")]);
    }

    /// A leaf's hash, known already.
    fn push_digest(&mut self, digest: &[u8; 32]) {
        let first = self.begin();
        self.blocks.extend_from_slice(digest);
        self.blocks.resize(self.blocks.len() + 32, 0);
        self.spans.extend([first, 0]);
    }
}

fn hash(alg: AlgId, parts: &[&[u8]]) -> [u8; 32] {
    fn of<D: sha2::digest::Digest>(parts: &[&[u8]]) -> Vec<u8> {
        parts.iter().fold(D::new(), |hasher, part| hasher.chain_update(part)).finalize().to_vec()
    }
    let bytes = if alg == AlgId::Sm3 { of::<sm3::Sm3>(parts) } else { of::<sha2::Sha256>(parts) };
    bytes.try_into().expect("both hashes have 32 bytes")
}

fn digest(alg: AlgId, bytes: [u8; 32]) -> Digest {
    Digest::from_parts(alg, bytes).expect("both are digest algorithms")
}
