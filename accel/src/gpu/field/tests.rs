//! Every function on the device, at the limits of what it takes, against plain arithmetic on the host.

#![allow(clippy::unwrap_used)]

use super::{LIMBS, MONTGOMERY_BITS, functions, limbs, shared_functions};
use crate::gpu::adapter::choose;
use crate::gpu::connection::Connection;
use crate::gpu::weierstrass::numbers::{Number, Prime, number};

type Limbs = [i32; LIMBS];

/// Words of a case's results: product, square, reduced, words, whether zero, the product's words.
const RESULTS: usize = 45;
const KERNEL: &str = "
@group(0) @binding(0) var<storage, read> a: array<i32>;
@group(0) @binding(1) var<storage, read_write> o: array<i32>;
fn element(i: u32) -> Fe { return Fe(a[i], a[i+1u], a[i+2u], a[i+3u], a[i+4u], a[i+5u], a[i+6u], a[i+7u], a[i+8u]); }
fn put(i: u32, x: Fe) { var limbs = x; for (var j = 0u; j < 9u; j++) { o[i + j] = limbs[j]; } }
fn put_words(i: u32, x: Words) { var words = x; for (var j = 0u; j < 8u; j++) { o[i + j] = i32(words[j]); } }
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x * 18u >= arrayLength(&a)) { return; }
  let x = element(id.x * 18u); let y = element(id.x * 18u + 9u); let at = id.x * 45u;
  put(at, p_mul(x, y)); put(at + 9u, p_sq(x)); put(at + 18u, p_red(y)); put_words(at + 27u, p_words(y));
  o[at + 35u] = select(0, 1, p_is_zero(y)); put_words(at + 36u, p_words(p_mul(x, y)));
}";

fn residue(prime: &Prime, limbs: &[i32]) -> Number {
    limbs.iter().rev().fold([0; 4], |sum, limb| {
        let shifted = (0..29).fold(sum, |sum, _| prime.add(&sum, &sum));
        let magnitude = [u64::from(limb.unsigned_abs()), 0, 0, 0];
        if *limb < 0 { prime.sub(&shifted, &magnitude) } else { prime.add(&shifted, &magnitude) }
    })
}

/// Limbs at the bound for `a`, with signs from `pattern`; the value within ±15·2^top.
fn at_the_bound(a: i64, top: u32, pattern: u64) -> Limbs {
    std::array::from_fn(|limb| {
        let sign = if pattern >> limb & 1 == 0 { 1 } else { -1 };
        let magnitude = if limb == LIMBS - 1 { 15 << top } else { a * ((1 << 28) + 16) };
        i32::try_from(sign * magnitude).expect("five times 2^28 is below 2^31")
    })
}

/// j·p + by, and the same number with limbs that borrow of their neighbours.
fn near_multiple(prime: &Prime, j: i64, by: i64, twisted: bool) -> Limbs {
    let mut wide = limbs(prime.value()).map(|limb| i64::from(limb) * j);
    wide[0] += by;
    for limb in 0..LIMBS - 1 {
        let carry = (wide[limb] + (1 << 28)) >> 29;
        wide[limb] -= carry << 29;
        wide[limb + 1] += carry;
    }
    for limb in (0..LIMBS - 1).filter(|limb| twisted && limb % 2 == 0) {
        wide[limb] += 1 << 29;
        wide[limb + 1] -= 1;
    }
    wide.map(|limb| i32::try_from(limb).expect("carried"))
}

fn on_device(connection: &Connection, source: String, inputs: &[Limbs]) -> Vec<i32> {
    let device = &connection.device;
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(source.into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    });
    let flat: Vec<i32> = inputs.iter().flatten().copied().collect();
    let cases = inputs.len() / 2;
    let storage = wgpu::BufferUsages::STORAGE;
    let bytes = (cases * RESULTS * 4) as u64;
    // Exactly as long as the cases, since the kernel asks for its length.
    let buffer = |size, usage| {
        device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    };
    let a = buffer(flat.len() as u64 * 4, storage | wgpu::BufferUsages::COPY_DST);
    let o = buffer(bytes, storage | wgpu::BufferUsages::COPY_SRC);
    let back = buffer(bytes, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
    connection.queue.write_buffer(&a, 0, bytemuck::cast_slice(&flat));
    let entries = [
        wgpu::BindGroupEntry { binding: 0, resource: a.as_entire_binding() },
        wgpu::BindGroupEntry { binding: 1, resource: o.as_entire_binding() },
    ];
    let layout = pipeline.get_bind_group_layout(0);
    let group =
        device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &entries });
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(cases.div_ceil(64) as u32, 1, 1);
    }
    encoder.copy_buffer_to_buffer(&o, 0, &back, 0, bytes);
    connection.queue.submit([encoder.finish()]);
    back.map_async(wgpu::MapMode::Read, .., |result| result.unwrap());
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let view = back.get_mapped_range(..).unwrap();
    bytemuck::cast_slice::<u8, i32>(&view).to_vec()
}

fn check(connection: &Connection, name: &str, prime: &Prime, inputs: &[Limbs], products_alone: bool) {
    let results = on_device(connection, shared_functions() + &functions("p", prime) + KERNEL, inputs);
    let over_r = prime.inverse(&prime.power_of_two(MONTGOMERY_BITS));
    for (case, (pair, result)) in inputs.chunks_exact(2).zip(results.chunks_exact(RESULTS)).enumerate() {
        let [x, y] = [residue(prime, &pair[0]), residue(prime, &pair[1])];
        let word = |at: usize| u64::from(result[at] as u32);
        let words = |at: usize| -> Number { std::array::from_fn(|j| word(at + 2 * j) | word(at + 2 * j + 1) << 32) };
        let case = format!("{name}, case {case}: {pair:?}");
        let product = prime.mul(&prime.mul(&x, &y), &over_r);
        assert_eq!(residue(prime, &result[..9]), product, "{case}");
        assert_eq!(residue(prime, &result[9..18]), prime.mul(&prime.mul(&x, &x), &over_r), "{case}");
        assert!(result[..18].iter().all(|limb| limb.unsigned_abs() <= 1 << 28), "{case}");
        if products_alone {
            continue;
        }
        assert_eq!(residue(prime, &result[18..27]), y, "{case}");
        assert!(result[18..26].iter().all(|limb| limb.unsigned_abs() <= (1 << 28) + 16), "{case}");
        assert!(i64::from(result[26].unsigned_abs()) * 100 <= 51 * (prime.value()[3] >> 40) as i64 + 100, "{case}");
        assert_eq!((words(27), result[35] == 1), (y, y == [0; 4]), "{case}");
        assert_eq!(words(36), product, "{case}");
    }
}

#[test]
fn every_function_is_right_at_the_limits_of_its_operands() {
    let (adapter, facts) =
        choose(None, true).expect("a Vulkan adapter: `cargo xtask setup` installs mesa-vulkan-drivers");
    let connection = Connection::open(&adapter, facts).unwrap();
    let fields = [
        ("P-256", "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff"),
        ("SM2", "fffffffeffffffffffffffffffffffffffffffff00000000ffffffffffffffff"),
        ("secp256k1", "fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f"),
        ("2^255 − 19", "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed"),
        ("the order of P-256", "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"),
        ("the order of secp256k1", "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"),
    ];
    for (number_of, (name, digits)) in fields.into_iter().enumerate() {
        let prime = Prime::new(number(digits));
        let order = number_of >= 4;
        let top = limbs(prime.value())[LIMBS - 1].trailing_zeros();
        let mut bounds = Vec::new();
        for pattern in (0..64).map(|pattern: u64| [0, 0x1ff, 0x155, 0xaa][pattern as usize % 4] ^ (pattern / 4 * 37)) {
            for (a, b) in [(3, 4), (2, 5), (1, 5), (3, 3)] {
                bounds.extend([at_the_bound(a, top, pattern), at_the_bound(b, top, pattern.rotate_right(3) ^ 0x13)]);
            }
        }
        check(&connection, name, &prime, &bounds, order);
        let mut near = Vec::new();
        let multiples = if order { -1..=1 } else { -15..=15 };
        for (j, by) in multiples.flat_map(|j| [-1, 0, 1, 1 << 28].map(|by| (j, by))) {
            // An order's functions take no more than carried limbs.
            for twisted in [false, true].into_iter().filter(|twisted| !(order && *twisted)) {
                near.extend([limbs(&[5, 6, 7, 8]), near_multiple(&prime, j, by, twisted)]);
            }
        }
        check(&connection, name, &prime, &near, false);
    }
}
