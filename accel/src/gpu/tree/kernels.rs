//! Kernels of trees, and the buffers that they work on. Knows no tree.

use crate::gpu::adapter::OpenError;
use crate::gpu::compress;
use crate::gpu::connection::Connection;
use types::AlgId;

/// The kernels of one hash.
pub(super) struct Kernel {
    pub(super) alg: AlgId,
    pub(super) leaves: wgpu::ComputePipeline,
    pub(super) nodes: wgpu::ComputePipeline,
}

/// Two buffers that levels go to and fro between, leaves being in the first.
pub(super) struct Levels {
    pub(super) leaves: usize,
    pub(super) buffers: [wgpu::Buffer; 2],
    /// Into the first from the second, and the other way.
    pub(super) groups: [wgpu::BindGroup; 2],
}

/// What both kernels of a tree see.
pub(super) fn bindings(device: &wgpu::Device) -> wgpu::BindGroupLayout {
    let read = wgpu::BufferBindingType::Storage { read_only: true };
    let write = wgpu::BufferBindingType::Storage { read_only: false };
    let types = [wgpu::BufferBindingType::Uniform, read, read, read, write];
    let entries: Vec<_> = (0..)
        .zip(types)
        .map(|(binding, ty)| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: binding == 0, min_binding_size: None },
            count: None,
        })
        .collect();
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some("tree"), entries: &entries })
}

/// Buffers for a tree of this many leaves.
pub(super) fn levels(
    connection: &Connection,
    layout: &wgpu::BindGroupLayout,
    [params, blocks, spans]: [&wgpu::Buffer; 3],
    leaves: usize,
) -> Levels {
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
    let buffers = [leaves, leaves.div_ceil(2)].map(|nodes| connection.buffer("tree level", nodes as u64 * 32, usage));
    let group = |below: &wgpu::Buffer, above: &wgpu::Buffer| {
        let params = wgpu::BufferBinding { buffer: params, offset: 0, size: std::num::NonZero::new(16) };
        let entries = [
            wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(params) },
            wgpu::BindGroupEntry { binding: 1, resource: blocks.as_entire_binding() },
            wgpu::BindGroupEntry { binding: 2, resource: spans.as_entire_binding() },
            wgpu::BindGroupEntry { binding: 3, resource: below.as_entire_binding() },
            wgpu::BindGroupEntry { binding: 4, resource: above.as_entire_binding() },
        ];
        let descriptor = wgpu::BindGroupDescriptor { label: Some("tree"), layout, entries: &entries };
        connection.device.create_bind_group(&descriptor)
    };
    let groups = [group(&buffers[1], &buffers[0]), group(&buffers[0], &buffers[1])];
    Levels { leaves, buffers, groups }
}

/// Compiles the kernels of a hash.
pub(super) fn compile(
    connection: &Connection,
    layout: &wgpu::BindGroupLayout,
    alg: AlgId,
) -> Result<Kernel, OpenError> {
    let (label, function, initial) = match alg {
        AlgId::Sm3 => ("tree-sm3", compress::sm3(), compress::SM3_INITIAL),
        _ => ("tree-sha256", compress::sha256(), compress::SHA256_INITIAL),
    };
    let initial = compress::words(&initial);
    let source =
        format!("alias Words = array<u32, 8>;\nconst INITIAL = {initial};\n{function}{}", include_str!("tree.wgsl"));
    let device = &connection.device;
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some(label),
        source: wgpu::ShaderSource::Wgsl(source.into()),
    });
    let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(label),
        bind_group_layouts: &[Some(layout)],
        immediate_size: 0,
    });
    let [leaves, nodes] = ["hash_leaves", "hash_nodes"].map(|entry_point| {
        device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(label),
            layout: Some(&layout),
            module: &module,
            entry_point: Some(entry_point),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        })
    });
    if let Some(error) = pollster::block_on(scope.pop()) {
        let (name, reason) = (connection.facts.name.clone(), error.to_string());
        return Err(OpenError::Kernel { name, kernel: label, reason });
    }
    Ok(Kernel { alg, leaves, nodes })
}
