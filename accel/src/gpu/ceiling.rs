//! What a card can do at most: the rate of the multiplications that all else is made of, measured, so that a kernel's share of
//! it can be told. Not a verdict's matter: results are read by nobody but the compiler, which must not drop the work.

use super::adapter::{OpenError, choose};
use super::connection::Connection;
use super::field;
use super::weierstrass::numbers::{Prime, number};
use super::{Options, kernel::WORKGROUP};
use serde::Serialize;
use std::time::{Duration, Instant};

/// A measured rate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ceiling {
    /// What was counted.
    pub operation: &'static str,
    /// How many of them in a second, on the whole device.
    pub per_second: f64,
}

/// Chains in a thread, so that a multiplication need not wait for the one before.
const CHAINS: u32 = 8;
/// Products in a loop's turn.
const TURN: u32 = 4 * CHAINS;
/// A measurement lasts at least this long.
const MEASURE: Duration = Duration::from_millis(100);
/// Loop turns at most: a launch must end before a driver's watchdog barks.
const TURNS_MAX: u32 = 1 << 16;

/// Measures the rates of 32×32→64-bit multiply-adds and of field multiplications in each form that the kernels use.
///
/// # Errors
/// [`OpenError`] where there is no device.
pub fn ceilings(options: &Options) -> Result<Vec<Ceiling>, OpenError> {
    let (adapter, facts) = choose(options.adapter.as_deref(), options.allow_software)?;
    let connection = Connection::open(&adapter, facts)?;
    let wide = "var a: array<u64, 8>;
      for (var c = 0u; c < 8u; c++) { a[c] = u64(seed + c); }
      for (var turn = 0u; turn < turns; turn++) {
        for (var again = 0u; again < 4u; again++) {
          a[0] += u64(u32(a[0]))*u64(seed); a[1] += u64(u32(a[1]))*u64(seed);
          a[2] += u64(u32(a[2]))*u64(seed); a[3] += u64(u32(a[3]))*u64(seed);
          a[4] += u64(u32(a[4]))*u64(seed); a[5] += u64(u32(a[5]))*u64(seed);
          a[6] += u64(u32(a[6]))*u64(seed); a[7] += u64(u32(a[7]))*u64(seed);
        }
      }
      let sum = a[0] ^ a[1] ^ a[2] ^ a[3] ^ a[4] ^ a[5] ^ a[6] ^ a[7];
      let result = u32(sum ^ (sum >> 32u));";
    let product = "var x: Fe; var y: Fe;
      for (var c = 0u; c < 9u; c++) { x[c] = i32(seed + c); y[c] = i32(seed ^ c); }
      for (var turn = 0u; turn < turns; turn++) { let z = p_mul(x, y); y = x; x = z; }
      let result = bitcast<u32>(x[0] ^ y[8]);";
    // GM/T 0003.5 §2.
    let sm2 = number("fffffffeffffffffffffffffffffffffffffffff00000000ffffffffffffffff");
    let edwards = number("7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed");
    let library = |prime| field::shared_functions() + &field::functions("p", &Prime::new(prime));
    let kernels = [
        ("32×32→64 multiply-add", String::new(), wide, TURN),
        ("multiplication modulo 2^255 − 19", library(edwards), product, 1),
        ("multiplication modulo SM2's p", library(sm2), product, 1),
    ];
    kernels
        .into_iter()
        .map(|(operation, library, body, an_iteration)| {
            let turns_a_second = measure(&connection, operation, &library, body)?;
            Ok(Ceiling { operation, per_second: turns_a_second * f64::from(an_iteration) })
        })
        .collect()
}

/// Loop turns a second, over all threads.
fn measure(connection: &Connection, label: &'static str, library: &str, body: &str) -> Result<f64, OpenError> {
    let device = &connection.device;
    let source = format!(
        "{library}
@group(0) @binding(0) var<storage, read> inputs: array<u32>;
@group(0) @binding(1) var<storage, read_write> outputs: array<u32>;
@compute @workgroup_size({WORKGROUP})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
  let turns = inputs[0];
  let seed = (inputs[1] + id.x) & 0xffffffu;
  {body}
  outputs[id.x] = result;
}}"
    );
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some(label),
        source: wgpu::ShaderSource::Wgsl(source.into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(label),
        layout: None,
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    });
    if let Some(error) = pollster::block_on(scope.pop()) {
        let (name, reason) = (connection.facts.name.clone(), error.to_string());
        return Err(OpenError::Kernel { name, kernel: label, reason });
    }
    // Enough warps for every scheduler of the largest cards, several times; a software driver needs few.
    let groups: u32 = if connection.facts.is_software() { 64 } else { 1 << 14 };
    let threads = groups * WORKGROUP;
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
    let inputs = connection.buffer("inputs", 8, usage);
    let outputs = connection.buffer("outputs", u64::from(threads) * 4, usage);
    let entries = [
        wgpu::BindGroupEntry { binding: 0, resource: inputs.as_entire_binding() },
        wgpu::BindGroupEntry { binding: 1, resource: outputs.as_entire_binding() },
    ];
    let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some(label),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &entries,
    });
    let lost = || OpenError::Refused { name: connection.facts.name.clone(), reason: "the device was lost".into() };
    let mut turns = 16u32;
    loop {
        connection.queue.write_buffer(&inputs, 0, bytemuck::cast_slice(&[turns, 0x0012_3457]));
        connection.queue.submit([]);
        device.poll(wgpu::PollType::wait_indefinitely()).map_err(|_| lost())?;
        let start = Instant::now();
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups(groups, 1, 1);
        }
        connection.queue.submit([encoder.finish()]);
        device.poll(wgpu::PollType::wait_indefinitely()).map_err(|_| lost())?;
        connection.check(0).map_err(|_| lost())?;
        let took = start.elapsed();
        if took >= MEASURE || turns >= TURNS_MAX {
            return Ok(f64::from(turns) * f64::from(threads) / took.as_secs_f64());
        }
        // The first run compiles on some drivers, so its time says little: grow step by step.
        turns = (turns * 4).min(TURNS_MAX);
    }
}
